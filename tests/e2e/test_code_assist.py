"""Gemini CLI with a Google login: calls in an envelope, through the proxy, with addons that read and change them.

The calls are those that Gemini CLI 0.61 makes, the replies are read as it reads them.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.addons.conftest import EXAMPLES
from tests.e2e.corporate import CorporateProxy
from tests.e2e.serving import Serving, serve, write_config
from tests.provider import RATE_LIMITED, Answer, FakeProvider, Stop, Tokens, ToolCall

HOST = "https://cloudcode-pa.googleapis.com"
WHOLE = f"{HOST}/v1internal:generateContent"
STREAM = f"{HOST}/v1internal:streamGenerateContent?alt=sse"
COUNT = f"{HOST}/v1internal:countTokens"
POLICY = """
hosts: [cloudcode-pa.googleapis.com]
extends: observe
addons:
  swap_words: {words: {Falcon: Sparrow}}
  validate: {unknown: refuse}
"""
TEXT = "A Sparrow, two Sparrows; Spar, Sparrow"
WANTED = TEXT.replace("Sparrow", "Falcon")


def asking(text: str) -> dict[str, Any]:
    """As the CLI writes it: two names in snake case, the rest in camel case."""
    request = {
        "contents": [{"role": "user", "parts": [{"text": text}]}],
        "systemInstruction": {"role": "user", "parts": [{"text": "You work on Falcon."}]},
        "tools": [{"functionDeclarations": [{"name": "look_up", "parametersJsonSchema": {"type": "object"}}]}],
        "generationConfig": {"temperature": 1, "topP": 0.95, "thinkingConfig": {"includeThoughts": True}},
        "session_id": "1b2c",
    }
    return {"model": "gemini-2.5-pro", "project": "cloudshell-1", "user_prompt_id": "p########0", "request": request}


def chunks(body: bytes) -> list[Any]:
    """`data: ` lines up to an empty one, joined: how the CLI cuts a stream."""
    found, lines = [], []
    for line in body.decode().splitlines():
        if line.startswith("data: "):
            lines.append(line[6:].strip())
        elif not line and lines:
            found.append(json.loads("\n".join(lines)))
            lines = []
    return found


def said(replies: list[Any]) -> str:
    """What the CLI shows of them: it looks nowhere but into `response`."""
    parts = [part for one in replies for part in one["response"]["candidates"][0]["content"]["parts"]]
    return "".join(part.get("text", "") for part in parts)


@pytest.fixture
async def worker(secure: FakeProvider, tmp_path: Path) -> AsyncIterator[Serving]:
    config = write_config(tmp_path, {}, f"upstream: {{ca: {str(secure.ca_file)!r}}}")
    policies = tmp_path / "policies"
    policies.mkdir()
    (policies / "cli.yaml").write_text(POLICY)
    async with (
        CorporateProxy(secure) as office,
        serve(tmp_path / "home", config, policies, addons=[EXAMPLES], modes=[f"upstream:{office.url}"]) as one,
    ):
        secure.default = Answer(text=TEXT, pieces=3, tokens=Tokens(input=100, output=50, cached=40, reasoning=20))
        yield one


def check_sent(secure: FakeProvider) -> None:
    call = secure.seen[-1].json()
    assert call["request"]["contents"][0]["parts"] == [{"text": "Find Sparrow."}]
    assert call["request"]["systemInstruction"]["parts"] == [{"text": "You work on Sparrow."}]
    wanted = asking("Find Falcon.")
    assert {**call, "request": 0} == {**wanted, "request": 0}
    assert {"session_id", "tools", "generationConfig"} <= call["request"].keys()


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
async def test_texts_are_seen_and_tokens_metered(worker: Serving, secure: FakeProvider, stream: bool) -> None:
    async with worker.client(headers={"authorization": "Bearer ya29.login"}) as client:
        answer = await client.post(STREAM if stream else WHOLE, json=asking("Find Falcon."))
    replies = chunks(answer.content) if stream else [answer.json()]
    assert said(replies) == WANTED
    assert all(one["traceId"] == "fake0001" for one in replies)
    assert (len(replies) > 5) is stream
    check_sent(secure)
    headers = {name.lower(): value for name, value in secure.seen[-1].headers}
    assert headers["authorization"] == "Bearer ya29.login"
    (row,) = await worker.rows()
    assert (row.provider, row.model, row.kind, row.dialect) == (
        "code_assist",
        "gemini-2.5-pro",
        "chat",
        "gemini.generate",
    )
    assert (row.end, row.status, row.stream, row.usage_source) == ("completed", 200, stream, "provider")
    assert (row.input_tokens, row.output_tokens, row.cached_tokens, row.reasoning_tokens) == (100, 50, 40, 20)
    assert row.cost is not None and row.cost > Decimal(0)


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
async def test_arguments_of_tools(worker: Serving, secure: FakeProvider, stream: bool) -> None:
    secure.default = Answer(tools=(ToolCall("look_up", {"bird": "Sparrow", "deep": {"of": ["Sparrow", 2]}}),))
    async with worker.client() as client:
        answer = await client.post(STREAM if stream else WHOLE, json=asking("Find Falcon."))
    (reply,) = chunks(answer.content) if stream else [answer.json()]
    (part,) = reply["response"]["candidates"][0]["content"]["parts"]
    assert part["functionCall"]["args"] == {"bird": "Falcon", "deep": {"of": ["Falcon", 2]}}
    assert part["thoughtSignature"] == "RmFrZQ=="


async def test_a_stream_as_an_array(worker: Serving, secure: FakeProvider) -> None:
    async with worker.client() as client:
        answer = await client.post(STREAM.partition("?")[0], json=asking("Find Falcon."))
    assert said(answer.json()) == WANTED
    (row,) = await worker.rows()
    assert (row.end, row.input_tokens, row.output_tokens) == ("completed", 100, 50)


async def test_a_count_names_its_model_inside(worker: Serving, secure: FakeProvider) -> None:
    call = {
        "request": {"model": "models/gemini-2.5-pro", "contents": [{"role": "user", "parts": [{"text": "Falcon"}]}]}
    }
    async with worker.client() as client:
        answer = await client.post(COUNT, json=call)
    assert answer.json()["totalTokens"] == 100
    assert secure.seen[-1].json()["request"]["contents"][0]["parts"] == [{"text": "Sparrow"}]
    (row,) = await worker.rows()
    assert (row.kind, row.model, row.end, row.cost) == ("count", "gemini-2.5-pro", "completed", None)


async def test_what_no_word_is_in_keeps_its_bytes(worker: Serving, secure: FakeProvider) -> None:
    secure.default = Answer(text="Hello there")
    raw = json.dumps({**asking("Hello."), "request": {"contents": [{"parts": [{"text": "Hello.\u00e9"}]}]}}, indent=3)
    async with worker.client() as client:
        for url in (WHOLE, STREAM):
            answer = await client.post(url, content=raw.encode(), headers={"content-type": "application/json"})
            assert secure.seen[-1].body == raw.encode()
            assert b"Hello there" in answer.content or len(chunks(answer.content)) == 2


async def test_what_goes_wrong(worker: Serving, secure: FakeProvider) -> None:
    async with worker.client() as client:
        secure.script(RATE_LIMITED)
        limited = await client.post(STREAM, json=asking("x"))
        assert (limited.status_code, limited.json()["error"]["status"]) == (429, "RESOURCE_EXHAUSTED")
        refused = await client.post(WHOLE, json={**asking("x"), "request": {"contents": 5}})
        assert (refused.status_code, refused.json()["error"]["status"]) == (400, "INVALID_ARGUMENT")
        assert "request.contents" in refused.json()["error"]["message"]
        for wrong in (Answer(error_after=2), Answer(stop=Stop("rst", after="parts", count=3))):
            secure.script(wrong)
            with_error = b""
            try:
                async with client.stream("POST", STREAM, json=asking("x")) as answer:
                    async for data in answer.aiter_bytes():
                        with_error += data
            except httpx2.HTTPError:
                continue
            assert "error" in chunks(with_error)[-1]
            assert b"finishReason" not in with_error
    assert [row.end for row in await worker.rows(4)] == ["completed", "refused", "failed", "broken"]


async def test_everything_else_passes(worker: Serving, secure: FakeProvider) -> None:
    async with worker.client() as client:
        for method in (
            "loadCodeAssist",
            "onboardUser",
            "retrieveUserQuota",
            "listExperiments",
            "recordCodeAssistMetrics",
        ):
            answer = await client.post(f"{HOST}/v1internal:{method}", json={"metadata": "Falcon"})
            assert "x-shin-call-id" not in answer.headers
            assert secure.seen[-1].json() == {"metadata": "Falcon"}


async def test_at_the_gateway_the_envelope_reaches_any_model(tmp_path: Path, provider: FakeProvider) -> None:
    urls = {"openai": f"{provider.url}/v1", "anthropic": provider.url, "gemini": provider.url}
    more = "models: {fast: gpt-4o}\n"
    async with (
        serve(tmp_path / "home", write_config(tmp_path, urls, more), tmp_path / "policies") as worker,
        httpx2.AsyncClient(trust_env=False) as client,
    ):
        base = worker.gateway
        for model in ("gpt-4o", "fast", "claude-sonnet-4-5", "gemini-2.5-pro", "gemini/gemini-2.5-pro"):
            call = {**asking("Hello"), "model": model}
            whole = await client.post(f"{base}/v1internal:generateContent", json=call)
            assert said([whole.json()]) == "Hello from the fake provider."
            assert whole.json()["response"]["modelVersion"] == model
            streamed = chunks(
                (await client.post(f"{base}/v1internal:streamGenerateContent?alt=sse", json=call)).content
            )
            assert said(streamed) == "Hello from the fake provider."
            assert "request" not in provider.seen[-1].json()
            count = {"request": {"model": f"models/{model}", "contents": call["request"]["contents"]}}
            counted = await client.post(f"{base}/v1internal:countTokens", json=count)
            assert counted.json()["totalTokens"] == 11
