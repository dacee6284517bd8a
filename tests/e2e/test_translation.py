"""Any client, any model: the official clients of four APIs, each with models that speak the other three."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.e2e.sdk_clients import CLIENTS, Client
from tests.e2e.serving import Serving, serve, write_config
from tests.provider import BAD_GATEWAY_PAGE, OVERLOADED, RATE_LIMITED, Answer, FakeProvider, Stop, Tokens, ToolCall

TEXT = "Hello from the fake provider."
MODELS = {"chat": "talks-1", "responses": "answers-1", "messages": "claude-sonnet-4-5", "gemini": "gemini-2.5-pro"}
"""A model for each dialect, whose provider speaks no other."""
USES = (ToolCall("weather", {"city": "Zürich", "days": 3}), ToolCall("weather", {"city": "東京"}, id="call_2"))
WAYS = [(client, target) for client in CLIENTS for target in MODELS if client != target]
ROWS = """\
  talks: {base_url: URL, api_key: env:SHIN_TEST_KEY, models: ['talks-*'], dialects: {openai.chat: /chat/completions}}
  answers: {base_url: URL, api_key: env:SHIN_TEST_KEY, models: ['answers-*'], dialects: {openai.responses: /responses}}
"""


@dataclass
class Way:
    """From one dialect to another."""

    client: Client
    model: str
    target: str
    serving: Serving
    provider: FakeProvider

    @property
    def sent(self) -> Any:
        """The last call that the provider saw."""
        return self.provider.seen[-1].json()


@pytest.fixture
async def gateway(tmp_path: Path, provider: FakeProvider) -> AsyncIterator[tuple[Serving, httpx2.AsyncClient]]:
    urls = {"openai": f"{provider.url}/v1", "anthropic": provider.url, "gemini": provider.url}
    config = write_config(tmp_path, urls)
    with config.open("a") as more:  # still inside `providers`
        more.write(ROWS.replace("URL", f"{provider.url}/v1"))
    policies = tmp_path / "policies"
    policies.mkdir()
    (policies / "gateway.yaml").write_text("hosts: [gateway]\nextends: observe\naddons: {translate: on}\n")
    async with (
        serve(tmp_path / "home", config, policies) as serving,
        httpx2.AsyncClient(trust_env=False) as http,
    ):
        yield serving, http


@pytest.fixture(params=WAYS, ids=lambda way: f"{way[0]}-to-{way[1]}")
def way(request: pytest.FixtureRequest, gateway: tuple[Serving, httpx2.AsyncClient], provider: FakeProvider) -> Way:
    client, target = request.param
    serving, http = gateway
    return Way(CLIENTS[client](serving.gateway, http), MODELS[target], target, serving, provider)


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
async def test_a_text(way: Way, stream: bool) -> None:
    way.provider.script(Answer(tokens=Tokens(input=100, output=50, cached=40)))
    heard = await way.client.ask(way.model, stream)
    assert heard.text == TEXT
    assert heard.finish == way.client.finishes[0]
    assert heard.tokens[1] == 50
    assert heard.model == way.model
    (row,) = await way.serving.rows()
    assert (row.end, row.status, row.stream, row.target.endswith(way.model)) == ("completed", 200, stream, True)
    assert (row.input_tokens, row.output_tokens, row.cached_tokens, row.usage_source) == (100, 50, 40, "provider")


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
async def test_tools_and_the_turn_after(way: Way, stream: bool) -> None:
    way.provider.script(Answer(thinking="Which city?", tools=USES), Answer())
    heard = await way.client.ask(way.model, stream, tools=True)
    assert [arguments for _, arguments in heard.tools] == [dict(use.arguments) for use in USES]
    assert {name for name, _ in heard.tools} == {"weather"}
    assert heard.finish == way.client.finishes[1]
    again = await way.client.again(way.model, heard, ["sunny in Zürich", "rain in Tokyo"])
    assert again.text == TEXT
    sent = json.dumps(way.sent, ensure_ascii=False)
    assert sent.index("Zürich") < sent.index("sunny in Zürich") < sent.index("rain in Tokyo")


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("wrong", [RATE_LIMITED, OVERLOADED, BAD_GATEWAY_PAGE], ids=["429", "529", "html"])
async def test_an_error_before_the_reply(way: Way, wrong: Answer, stream: bool) -> None:
    way.provider.script(wrong)
    with pytest.raises(Exception) as raised:
        await way.client.ask(way.model, stream)
    error: Any = raised.value
    assert getattr(error, "status_code", getattr(error, "code", 0)) == wrong.status


async def test_a_page_of_html_with_200(way: Way) -> None:
    way.provider.script(Answer(body=b"<html>hello</html>", body_type="text/html"))
    with pytest.raises(Exception) as raised:
        await way.client.ask(way.model, False)
    error: Any = raised.value
    assert getattr(error, "status_code", getattr(error, "code", 0)) == 502


@pytest.mark.parametrize(
    "wrong",
    [Answer(error_after=2), Answer(ending=False), Answer(stop=Stop("rst", after="parts", count=4))],
    ids=["error event", "no end", "reset"],
)
async def test_a_stream_that_fails_never_ends_well(way: Way, wrong: Answer) -> None:
    way.provider.script(wrong)
    if way.target in ("chat", "gemini") and not wrong.ending:  # a reason to finish came, and ends it
        assert (await way.client.ask(way.model, True)).text == TEXT
        return
    with pytest.raises(Exception):  # noqa: B017
        await way.client.ask(way.model, True)
    (row,) = await way.serving.rows()
    assert row.end in ("broken", "failed")


async def test_what_cannot_be_carried_is_said(gateway: tuple[Serving, httpx2.AsyncClient]) -> None:
    serving, http = gateway
    call = {"model": MODELS["messages"], "messages": [{"role": "user", "content": "hi"}], "seed": 7, "logprobs": True}
    answer = await http.post(f"{serving.gateway}/v1/chat/completions", json=call)
    assert answer.status_code == 200
    assert set(answer.headers["x-shin-dropped"].split(", ")) == {"seed", "logprobs"}
    (row,) = await serving.rows()
    assert row.facts["dropped"] == answer.headers["x-shin-dropped"]


async def test_what_cannot_be_carried_is_refused(gateway: tuple[Serving, httpx2.AsyncClient]) -> None:
    serving, http = gateway
    serving.policy("gateway", "hosts: [gateway]\nextends: observe\naddons:\n  translate: {unsupported: refuse}\n")
    call = {"model": MODELS["messages"], "messages": [{"role": "user", "content": "hi"}], "seed": 7}
    async with asyncio.timeout(20):
        while (answer := await http.post(f"{serving.gateway}/v1/chat/completions", json=call)).status_code == 200:
            await asyncio.sleep(0.05)
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == "seed"


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/responses", "/v1/messages"])
async def test_a_call_that_is_none_is_refused_in_its_dialect(
    gateway: tuple[Serving, httpx2.AsyncClient], path: str
) -> None:
    serving, http = gateway
    target = "claude-sonnet-4-5" if "messages" not in path else MODELS["chat"]
    for body in ({"messages": 5}, {"input": 5}, {"messages": [{"role": 7}]}, {"messages": [{"role": "user"}]}):
        answer = await http.post(f"{serving.gateway}{path}", json={"model": target, "max_tokens": 5, **body})
        assert answer.status_code == 400, (body, answer.text)
        assert answer.json()["error"]["message"]


@pytest.mark.parametrize("model", [MODELS["chat"], MODELS["messages"]])
async def test_a_gemini_client_that_wants_no_events_gets_a_json_array(
    gateway: tuple[Serving, httpx2.AsyncClient], model: str
) -> None:
    serving, http = gateway
    call = {"contents": [{"role": "user", "parts": [{"text": "hi"}]}]}
    answer = await http.post(f"{serving.gateway}/v1beta/models/{model}:streamGenerateContent", json=call)
    assert answer.headers["content-type"].startswith("application/json")
    chunks = answer.json()
    assert "".join(part["text"] for one in chunks for part in one["candidates"][0]["content"]["parts"]) == TEXT
    assert chunks[-1]["candidates"][0]["finishReason"] == "STOP"


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("client", ["chat", "responses", "messages"])
async def test_a_tool_call_that_gemini_could_not_read_is_no_empty_answer(
    gateway: tuple[Serving, httpx2.AsyncClient], provider: FakeProvider, client: str, stream: bool
) -> None:
    serving, http = gateway
    way = Way(CLIENTS[client](serving.gateway, http), MODELS["gemini"], "gemini", serving, provider)
    candidate = {"content": {"role": "model"}, "finishReason": "MALFORMED_FUNCTION_CALL", "index": 0}
    body = json.dumps({"candidates": [candidate], "modelVersion": way.model, "responseId": "r"})
    wrong = f"data: {body}\n\n" if stream else body
    kind = "text/event-stream" if stream else "application/json"
    provider.script(Answer(body=wrong.encode(), body_type=kind), Answer(body=wrong.encode(), body_type=kind))
    with pytest.raises(Exception, match="tool call that cannot be read"):
        await way.client.ask(way.model, stream)
    (row, *_) = await serving.rows()
    assert row.end in ("failed", "broken")
