"""Any client, any model: the official clients of four APIs, each with models that speak the other three."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import httpx2
import pytest
import pytest_asyncio

from shin_gateway.stores.rows import CallRow
from tests.e2e.crossing import MODELS, POLICY, WAYS, Behind, behind
from tests.e2e.sdk_clients import CLIENTS, Client
from tests.provider import BAD_GATEWAY_PAGE, OVERLOADED, RATE_LIMITED, Answer, Stop, Tokens, ToolCall

TEXT = "Hello from the fake provider."
USES = (ToolCall("weather", {"city": "Zürich", "days": 3}), ToolCall("weather", {"city": "東京"}, id="call_2"))

pytestmark = pytest.mark.asyncio(loop_scope="module")


@dataclass
class Desk:
    """One gateway for all the tests."""

    gateway: Behind
    http: httpx2.AsyncClient
    since: datetime = field(default_factory=lambda: datetime.now(UTC))

    @property
    def url(self) -> str:
        return self.gateway.serving.gateway

    async def row(self) -> CallRow:
        """The row of this test's first call."""
        async with asyncio.timeout(20):
            while not (rows := [row for row in await self.gateway.serving.rows(0) if row.at >= self.since]):
                await asyncio.sleep(0.02)
            return rows[0]


@dataclass
class Way:
    """From one dialect to another."""

    client: Client
    model: str
    target: str
    desk: Desk

    def script(self, *answers: Answer) -> None:
        self.desk.gateway.provider.script(*answers)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def opened(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[tuple[Behind, httpx2.AsyncClient]]:
    async with behind(tmp_path_factory.mktemp("behind")) as gateway, httpx2.AsyncClient(trust_env=False) as http:
        yield gateway, http


@pytest.fixture
def desk(opened: tuple[Behind, httpx2.AsyncClient]) -> Desk:
    gateway, http = opened
    gateway.forget()
    return Desk(gateway, http)


@pytest.fixture(params=WAYS, ids=lambda way: f"{way[0]}-to-{way[1]}")
def way(request: pytest.FixtureRequest, desk: Desk) -> Way:
    client, target = request.param
    return Way(CLIENTS[client](desk.url, desk.http), MODELS[target], target, desk)


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
async def test_a_text(way: Way, stream: bool) -> None:
    way.script(Answer(tokens=Tokens(input=100, output=50, cached=40)))
    heard = await way.client.ask(way.model, stream)
    assert heard.text == TEXT
    assert heard.finish == way.client.finishes[0]
    assert heard.tokens[1] == 50
    assert heard.model == way.model
    row = await way.desk.row()
    assert (row.end, row.status, row.stream, row.target.endswith(way.model)) == ("completed", 200, stream, True)
    assert (row.input_tokens, row.output_tokens, row.cached_tokens, row.usage_source) == (100, 50, 40, "provider")


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
async def test_tools_and_the_turn_after(way: Way, stream: bool) -> None:
    way.script(Answer(thinking="Which city?", tools=USES), Answer())
    heard = await way.client.ask(way.model, stream, tools=True)
    assert [arguments for _, arguments in heard.tools] == [dict(use.arguments) for use in USES]
    assert {name for name, _ in heard.tools} == {"weather"}
    assert heard.finish == way.client.finishes[1]
    again = await way.client.again(way.model, heard, ["sunny in Zürich", "rain in Tokyo"])
    assert again.text == TEXT
    sent = json.dumps(way.desk.gateway.sent, ensure_ascii=False)
    assert sent.index("Zürich") < sent.index("sunny in Zürich") < sent.index("rain in Tokyo")


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("wrong", [RATE_LIMITED, OVERLOADED, BAD_GATEWAY_PAGE], ids=["429", "529", "html"])
async def test_an_error_before_the_reply(way: Way, wrong: Answer, stream: bool) -> None:
    way.script(wrong)
    with pytest.raises(Exception) as raised:
        await way.client.ask(way.model, stream)
    error: Any = raised.value
    assert getattr(error, "status_code", getattr(error, "code", 0)) == wrong.status


async def test_a_page_of_html_with_200(way: Way) -> None:
    way.script(Answer(body=b"<html>hello</html>", body_type="text/html"))
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
    way.script(wrong)
    if way.target in ("chat", "gemini") and not wrong.ending:  # a reason to finish came, and ends it
        assert (await way.client.ask(way.model, True)).text == TEXT
        return
    with pytest.raises(Exception):  # noqa: B017
        await way.client.ask(way.model, True)
    row = await way.desk.row()
    assert row.end in ("broken", "failed")


async def test_what_cannot_be_carried_is_said(desk: Desk) -> None:
    call = {"model": MODELS["messages"], "messages": [{"role": "user", "content": "hi"}], "seed": 7, "logprobs": True}
    answer = await desk.http.post(f"{desk.url}/v1/chat/completions", json=call)
    assert answer.status_code == 200
    assert set(answer.headers["x-shin-dropped"].split(", ")) == {"seed", "logprobs"}
    row = await desk.row()
    assert row.facts["dropped"] == answer.headers["x-shin-dropped"]


@pytest_asyncio.fixture(loop_scope="module")
async def refusing(desk: Desk) -> AsyncIterator[None]:
    serving = desk.gateway.serving
    serving.policy("gateway", POLICY.replace("translate: on", "translate: {unsupported: refuse}"))
    await serving.worker.reload()
    yield
    serving.policy("gateway", POLICY)
    await serving.worker.reload()


@pytest.mark.usefixtures("refusing")
async def test_what_cannot_be_carried_is_refused(desk: Desk) -> None:
    call = {"model": MODELS["messages"], "messages": [{"role": "user", "content": "hi"}], "seed": 7}
    answer = await desk.http.post(f"{desk.url}/v1/chat/completions", json=call)
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == "seed"


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/responses", "/v1/messages"])
async def test_a_call_that_is_none_is_refused_in_its_dialect(desk: Desk, path: str) -> None:
    target = "claude-sonnet-4-5" if "messages" not in path else MODELS["chat"]
    for body in ({"messages": 5}, {"input": 5}, {"messages": [{"role": 7}]}, {"messages": [{"role": "user"}]}):
        answer = await desk.http.post(f"{desk.url}{path}", json={"model": target, "max_tokens": 5, **body})
        assert answer.status_code == 400, (body, answer.text)
        assert answer.json()["error"]["message"]


@pytest.mark.parametrize("model", [MODELS["chat"], MODELS["messages"]])
async def test_a_gemini_client_that_wants_no_events_gets_a_json_array(desk: Desk, model: str) -> None:
    call = {"contents": [{"role": "user", "parts": [{"text": "hi"}]}]}
    answer = await desk.http.post(f"{desk.url}/v1beta/models/{model}:streamGenerateContent", json=call)
    assert answer.headers["content-type"].startswith("application/json")
    chunks = answer.json()
    assert "".join(part["text"] for one in chunks for part in one["candidates"][0]["content"]["parts"]) == TEXT
    assert chunks[-1]["candidates"][0]["finishReason"] == "STOP"


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("client", ["chat", "responses", "messages"])
async def test_a_tool_call_that_gemini_could_not_read_is_no_empty_answer(desk: Desk, client: str, stream: bool) -> None:
    way = Way(CLIENTS[client](desk.url, desk.http), MODELS["gemini"], "gemini", desk)
    candidate = {"content": {"role": "model"}, "finishReason": "MALFORMED_FUNCTION_CALL", "index": 0}
    body = json.dumps({"candidates": [candidate], "modelVersion": way.model, "responseId": "r"})
    wrong = f"data: {body}\n\n" if stream else body
    kind = "text/event-stream" if stream else "application/json"
    way.script(Answer(body=wrong.encode(), body_type=kind), Answer(body=wrong.encode(), body_type=kind))
    with pytest.raises(Exception, match="tool call that cannot be read"):
        await way.client.ask(way.model, stream)
    row = await desk.row()
    assert row.end in ("failed", "broken")
