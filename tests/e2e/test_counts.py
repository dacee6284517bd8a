"""Tokens counted in three APIs for models of every provider: by the provider where it counts, else by us."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anthropic
import httpx2
import openai
import pytest
from google import genai
from google.genai import errors as genai_errors
from google.genai import types

from tests.e2e.serving import Serving, serve, write_config
from tests.provider import RATE_LIMITED, Answer, FakeProvider, Tokens

SAY = "How many tokens are these?"
HERE = 6
"""Of `SAY`, counted by us for a model of OpenAI's."""
ROWS = """
  chats: {like: generic, base_url: '%(url)s/chats/v1', dialects: {openai.chat: /chat/completions}}
  silent: {like: generic, base_url: '%(url)s/silent/v1', quirks: {words: {count: "no"}}}
"""
PARAMETERS = {"type": "object", "properties": {"city": {"type": "string"}}}


@dataclass
class Clients:
    serving: Serving
    provider: FakeProvider
    http: httpx2.AsyncClient

    async def responses(self, model: str, text: str = SAY, **more: Any) -> int:
        base = f"{self.serving.gateway}/v1"
        client = openai.AsyncOpenAI(api_key="sk", base_url=base, http_client=self.http, max_retries=0)
        done = await client.responses.input_tokens.count(model=model, input=text, **more)
        assert done.object == "response.input_tokens"
        return done.input_tokens

    async def messages(self, model: str, text: str = SAY, **more: Any) -> int:
        base = self.serving.gateway
        client = anthropic.AsyncAnthropic(api_key="sk", base_url=base, http_client=self.http, max_retries=0)
        said: Any = [{"role": "user", "content": text}]
        return (await client.messages.count_tokens(model=model, messages=said, **more)).input_tokens

    async def gemini(self, model: str, text: str = SAY, **more: Any) -> int:
        options = types.HttpOptions(base_url=self.serving.gateway, httpx_async_client=self.http)
        client = genai.Client(api_key="sk", http_options=options)
        return (await client.aio.models.count_tokens(model=model, contents=text, **more)).total_tokens or 0


CLIENTS: dict[str, Callable[..., Callable[..., Awaitable[int]]]] = {
    "responses": lambda clients: clients.responses,
    "messages": lambda clients: clients.messages,
    "gemini": lambda clients: clients.gemini,
}
TARGETS = {
    "gpt-4o": "/v1/responses/input_tokens",
    "claude-sonnet-4-5": "/v1/messages/count_tokens",
    "gemini-2.5-pro": "/models/gemini-2.5-pro:countTokens",
    "vertex/gemini-2.5-pro": "/projects/p/locations/l/publishers/google/models/gemini-2.5-pro:countTokens",
    "chats/llama": "",
    "silent/llama": "",
}
"""Models, and where their providers are asked."""


@pytest.fixture
async def clients(tmp_path: Path, provider: FakeProvider) -> AsyncIterator[Clients]:
    urls = {"openai": f"{provider.url}/v1", "anthropic": provider.url, "gemini": provider.url}
    urls["vertex"] = f"{provider.url}/v1/projects/p/locations/l"
    config = write_config(tmp_path, urls, ROWS % {"url": provider.url})
    policies = tmp_path / "policies"
    policies.mkdir()
    (policies / "gateway.yaml").write_text("hosts: [gateway]\nextends: observe\naddons: {translate: on}\n")
    async with (
        serve(tmp_path / "home", config, policies) as serving,
        httpx2.AsyncClient(trust_env=False) as http,
    ):
        yield Clients(serving, provider, http)


async def test_any_client_counts_for_any_model(clients: Clients) -> None:
    clients.provider.default = Answer(tokens=Tokens(input=123))
    for client, (model, path) in itertools.product(CLIENTS, TARGETS.items()):
        before = len(clients.provider.seen)
        assert await CLIENTS[client](clients)(model) == (123 if path else HERE), (client, model)
        asked = [seen.path for seen in clients.provider.seen[before:]]
        assert len(asked) == bool(path), (client, model)
        assert not path or (asked[0].endswith(path) and SAY in clients.provider.seen[-1].body.decode())
    rows = await clients.serving.rows(len(CLIENTS) * len(TARGETS))
    assert {row.end for row in rows} == {"completed"}
    assert all(row.kind == "count" and not row.cost for row in rows)
    assert [row.facts.get("counted", "") for row in rows] == [*[""] * 4, "here", "here"] * len(CLIENTS)


async def test_all_that_the_model_reads_is_asked_about(clients: Clients) -> None:
    tools: Any = [{"name": "weather", "description": "in a city", "input_schema": PARAMETERS}]
    await clients.messages("gpt-4o", system="Be brief.", tools=tools)
    asked = clients.provider.seen[-1].json()
    assert (asked["instructions"], asked["tools"][0]["name"]) == ("Be brief.", "weather")
    assert not {"max_output_tokens", "stream", "store"} & asked.keys()
    await clients.messages("gemini-2.5-pro", system="Be brief.", tools=tools)
    inner = clients.provider.seen[-1].json()["generateContentRequest"]
    assert (inner["model"], inner["systemInstruction"]["parts"][0]["text"]) == ("models/gemini-2.5-pro", "Be brief.")
    await clients.messages("vertex/gemini-2.5-pro", system="Be brief.", tools=tools)
    assert {"contents", "systemInstruction", "tools"} <= clients.provider.seen[-1].json().keys()
    await clients.responses("claude-sonnet-4-5", instructions="Be brief.")
    assert "max_tokens" not in clients.provider.seen[-1].json()
    assert await clients.messages("chats/llama", system="Be brief.", tools=tools) > HERE + 8


NO_SUCH_API = [Answer(status=404, body=b'{"detail": "Not Found"}'), Answer(status=405), Answer(status=501, body=b"<p>")]


async def test_a_server_that_does_not_count(clients: Clients) -> None:
    for client, model in itertools.product(CLIENTS, ("gpt-4o", "claude-sonnet-4-5", "gemini-2.5-pro")):
        clients.provider.script(*NO_SUCH_API)
        for _ in NO_SUCH_API:
            counted = await CLIENTS[client](clients)(model)
            assert counted == (HERE if model == "gpt-4o" else 8), "Claude and Gemini have more for the same"


async def test_errors_are_the_clients_own(clients: Clients) -> None:
    gone = b'{"type":"error","error":{"type":"not_found_error","message":"model: claude-gone"}}'
    answers = ((Answer(status=404, body=gone), 404), (RATE_LIMITED, 429), (Answer(status=401), 502))
    for client, (answer, status) in itertools.product(CLIENTS, answers):
        clients.provider.default = answer
        with pytest.raises((openai.APIStatusError, anthropic.APIStatusError, genai_errors.APIError)) as raised:
            await CLIENTS[client](clients)("claude-gone")
        error: Any = raised.value
        untouched = client == "messages" and status == 502  # by its own API's error
        assert getattr(error, "status_code", getattr(error, "code", 0)) == (401 if untouched else status)


async def test_what_is_no_count(clients: Clients) -> None:
    for body in (b"<html>", b"[]", b'{"input_tokens": "7"}', b'{"input_tokens": 1e400}', b"{}"):
        clients.provider.default = Answer(body=body)
        with pytest.raises(openai.InternalServerError, match="count of tokens is malformed"):
            await clients.responses("claude-sonnet-4-5")


async def test_a_call_that_is_none(clients: Clients) -> None:
    for path, body in (
        ("/v1/responses/input_tokens", {"model": "claude-sonnet-4-5", "input": 5}),
        ("/v1/messages/count_tokens", {"model": "gpt-4o", "messages": [{"role": 5}]}),
        ("/v1beta/models/chats%2Fllama:countTokens", {"contents": 7}),
        ("/v1beta/models/gpt-4o:countTokens", {"generateContentRequest": {"contents": [{"parts": 5}]}}),
        ("/v1/messages/count_tokens", {"model": "silent/llama", "messages": "x"}),
    ):
        answer = await clients.http.post(f"{clients.serving.gateway}{path}", json=body)
        assert answer.status_code == 400, (path, answer.text)
        assert any(name in answer.json()["error"]["message"] for name in ("input", "messages", "contents"))


async def test_a_long_history(clients: Clients) -> None:
    text = "one two three four " * 50_000
    assert await clients.messages("chats/llama", text) == pytest.approx(200_000, rel=0.01)
    clients.provider.default = Answer(tokens=Tokens(input=200_001))
    assert await clients.gemini("gpt-4o", text) == 200_001
