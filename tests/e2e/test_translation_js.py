"""The official Node clients of four APIs, each with models that speak the other three, in one Node process."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from typing import Any

import pytest
import pytest_asyncio

from tests.e2e.crossing import MODELS, WAYS, Behind, behind, told
from tests.e2e.js.node import Node, node
from tests.e2e.replies import (
    BLOCKED,
    CITED,
    CLAIM,
    LENGTH,
    LOOK,
    MIXED,
    MIXED_SEALS,
    NO,
    PIECES,
    REFUSED,
    SAID,
    THOUGHT,
    URL,
)
from tests.provider import Answer, Stop, Tokens, ToolCall

pytestmark = pytest.mark.asyncio(loop_scope="module")
whole_and_streamed = pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])

TEXT = "Hello from the fake provider."
USES = (
    ToolCall("weather", {"city": "Zürich", "days": 3}),
    ToolCall("weather", {"city": "東京"}, id="call_2"),
    ToolCall("now", {}, id="call_3"),
)
ENDS = {
    "chat": ("stop", "tool_calls", "length"),
    "responses": ("completed", "completed", "max_output_tokens"),
    "messages": ("end_turn", "tool_use", "max_tokens"),
    "gemini": ("STOP", "STOP", "MAX_TOKENS"),
}
"""How each API calls a regular end, a stop for tools, and the caller's limit."""
REFUSALS = {
    "chat": {"content_filter"},
    "responses": {"content_filter"},
    "messages": {"refusal"},
    "gemini": {"SAFETY", "PROHIBITED_CONTENT"},
}
PIXEL = base64.b64encode(b"\x89PNG\r\n\x1a\n" + b"pixel" * 9).decode()


@dataclass
class Way:
    """From one client to one target's dialect."""

    client: str
    target: str
    node: Node
    behind: Behind

    async def ask(self, step: str, *answers: Answer, **asked: Any) -> dict[str, Any]:
        self.behind.provider.script(*answers)
        return await self.node.ask(self.client, step, model=MODELS[self.target], **asked)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def everything(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[tuple[Node, Behind]]:
    async with behind(tmp_path_factory.mktemp("behind")) as gateway, node(gateway.serving.gateway) as clients:
        yield clients, gateway


@pytest.fixture(params=WAYS, ids=lambda way: f"{way[0]}-to-{way[1]}")
def way(request: pytest.FixtureRequest, everything: tuple[Node, Behind]) -> Way:
    clients, gateway = everything
    gateway.forget()
    return Way(*request.param, clients, gateway)


@whole_and_streamed
async def test_a_text(way: Way, stream: bool) -> None:
    tokens = Tokens(input=100, output=50, cached=40, reasoning=10)
    heard = await way.ask("text", Answer(tokens=tokens), stream=stream)
    assert "raised" not in heard, heard
    assert (heard["text"], heard["finish"]) == (TEXT, ENDS[way.client][0])
    assert (heard["tokens"], heard["cached"]) == ([100, 50], 40)
    assert heard["model"] == MODELS[way.target]
    assert heard["id"]
    if stream:
        assert "".join(heard["pieces"]) == TEXT
        assert len(heard["pieces"]) > 2
    assert "You are a weatherman." in json.dumps(way.behind.sent)


@pytest.mark.parametrize("absent", ["x-request-id", "request-id"])
async def test_the_requests_id(way: Way, absent: str) -> None:
    """Each provider names it in a header of its own, and so does each client."""
    heard = await way.ask("text", Answer(without=(absent,)), stream=False)
    assert way.client == "gemini" or heard["requestId"] == "req_fake0001"


@whole_and_streamed
async def test_parallel_tools_and_the_turn_after(way: Way, stream: bool) -> None:
    heard = await way.ask("tools", Answer(tools=USES), Answer(), stream=stream)
    assert "raised" not in heard, heard
    first, second = heard["first"], heard["second"]
    assert first["tools"] == [[use.name, dict(use.arguments)] for use in USES]
    assert first["finish"] == ENDS[way.client][1]
    assert len(set(first["ids"])) == 3
    assert second["text"] == TEXT
    wanted = [(use.name, dict(use.arguments), f"{use.name} {n}") for n, use in enumerate(USES)]
    assert told(way.target, way.behind.sent) == wanted


@whole_and_streamed
async def test_the_clients_own_loop_of_tools(way: Way, stream: bool) -> None:
    if way.client == "responses":
        pytest.skip("this client has none")
    heard = await way.ask("agent", Answer(tools=USES), Answer(), stream=stream)
    assert "raised" not in heard, heard
    assert heard == {"ran": [[use.name, dict(use.arguments)] for use in USES], "text": TEXT}
    wanted = [(use.name, dict(use.arguments), f"{use.name} {n}") for n, use in enumerate(USES)]
    assert told(way.target, way.behind.sent) == wanted


SEALS = {"messages": "RmFrZVNpZ25hdHVyZQ==", "gemini": "RmFrZQ==", "responses": "ZmFrZSBlbmNyeXB0ZWQgcmVhc29uaW5n"}
"""What the fake provider signs its thoughts with."""


@whole_and_streamed
async def test_thoughts_go_back_to_the_one_who_thought_them(way: Way, stream: bool) -> None:
    answer = Answer(thinking="Which city is it?", tools=USES[:2])
    heard = await way.ask("tools", answer, Answer(), stream=stream, **THINK[way.client])
    assert "raised" not in heard, heard
    if not (stream and way.client == "chat"):  # whose accumulator keeps the last piece of what it does not know
        assert heard["first"]["thought"] == "Which city is it?"
    sent = json.dumps(way.behind.sent)
    assert SEALS.get(way.target, "") in sent


THINK: dict[str, dict[str, Any]] = {
    "chat": {"reasoning_effort": "medium"},
    "responses": {"reasoning": {"effort": "medium", "summary": "auto"}},
    "messages": {"thinking": {"type": "enabled", "budget_tokens": 4000}},
    "gemini": {"thinkingConfig": {"thinkingBudget": 4000, "includeThoughts": True}},
}


@pytest.mark.parametrize("drip", [0, 7], ids=["in parts", "in drips"])
async def test_a_thought_a_text_and_tools_in_one_stream(way: Way, drip: int) -> None:
    mixed = replace(MIXED[way.target](), drip=drip)
    heard = await way.ask("tools", mixed, Answer(), stream=True, **THINK[way.client])
    assert "raised" not in heard, heard
    first = heard["first"]
    assert first["text"] == LOOK
    assert first["tools"] == [["weather", json.loads("".join(pieces))] for pieces in PIECES]
    if way.client != "chat":  # whose accumulator keeps the last piece of what it does not know
        assert first["thought"] == THOUGHT
    wanted = [("weather", json.loads("".join(pieces)), f"weather {n}") for n, pieces in enumerate(PIECES)]
    assert told(way.target, way.behind.sent) == wanted
    sent = json.dumps(way.behind.sent)
    assert [seal for seal in MIXED_SEALS[way.target] if seal not in sent] == []


@whole_and_streamed
async def test_structured_output(way: Way, stream: bool) -> None:
    heard = await way.ask("structured", Answer(text='{"city":"fake","days":10}'), stream=stream)
    assert "raised" not in heard, heard
    assert heard["parsed"] == {"city": "fake", "days": 10}
    assert '"days"' in json.dumps(way.behind.sent)


@whole_and_streamed
async def test_where_a_claim_comes_from(way: Way, stream: bool) -> None:
    heard = await way.ask("search", CITED[way.target](stream), stream=stream)
    assert "raised" not in heard, heard
    assert heard["text"] == CLAIM
    assert set(heard["cited"]) == {URL}


@pytest.mark.parametrize("target", MODELS)
async def test_two_turns_over_a_websocket(everything: tuple[Node, Behind], target: str) -> None:
    """The second says only what is new."""
    clients, gateway = everything
    gateway.forget()
    gateway.provider.script(Answer(thinking="Which?", tools=USES), Answer())
    assert await clients.ask("responses", "socket", model=MODELS[target]) == {"text": TEXT}
    wanted = [(use.name, dict(use.arguments), f"{use.name} {n}") for n, use in enumerate(USES)]
    assert told(target, gateway.sent) == wanted


@whole_and_streamed
@pytest.mark.parametrize("target", MODELS)
async def test_a_legacy_completion(everything: tuple[Node, Behind], target: str, stream: bool) -> None:
    clients, gateway = everything
    gateway.forget()
    assert await clients.ask("chat", "completion", model=MODELS[target], stream=stream) == {"text": TEXT}


@whole_and_streamed
async def test_the_limit_of_tokens(way: Way, stream: bool) -> None:
    heard = await way.ask("text", LENGTH[way.target](stream), stream=stream)
    assert "raised" not in heard, heard
    assert (heard["text"], heard["finish"]) == (SAID, ENDS[way.client][2])
    assert heard["tokens"] == [11, 7]


@whole_and_streamed
async def test_a_refusal(way: Way, stream: bool) -> None:
    heard = await way.ask("text", REFUSED[way.target](stream), stream=stream)
    assert "raised" not in heard, heard
    assert NO in heard["text"] + heard["refusal"]
    assert heard["finish"] in REFUSALS[way.client] or heard["refusal"]


@whole_and_streamed
async def test_what_the_provider_withheld(way: Way, stream: bool) -> None:
    heard = await way.ask("text", BLOCKED[way.target](stream), stream=stream)
    assert "raised" not in heard, heard
    assert heard["finish"] in REFUSALS[way.client]


@whole_and_streamed
async def test_an_image(way: Way, stream: bool) -> None:
    heard = await way.ask("image", Answer(), stream=stream, data=PIXEL, mime="image/png")
    assert heard["text"] == TEXT
    sent = json.dumps(way.behind.sent)
    assert PIXEL in sent
    assert "image/png" in sent


ERRORS: dict[int, tuple[str, int]] = {
    400: ("BadRequestError", 400),
    401: ("InternalServerError", 502),
    404: ("NotFoundError", 404),
    413: ("ContentTooLargeError", 413),
    429: ("RateLimitError", 429),
    500: ("InternalServerError", 500),
    503: ("ServiceUnavailableError", 503),
    529: ("OverloadedError", 529),
}
"""By the provider's status: the class in Anthropic's client, and the status. A bad key is ours, not the client's."""
PLAIN = {"ContentTooLargeError": "APIError", "ServiceUnavailableError": "InternalServerError"}
PLAIN |= {"OverloadedError": "InternalServerError"}
"""OpenAI's client has fewer."""


@whole_and_streamed
@pytest.mark.parametrize("status", ERRORS)
async def test_an_error(way: Way, status: int, stream: bool) -> None:
    heard = await way.ask("text", Answer(status=status, headers=(("retry-after", "7"),)), stream=stream)
    name, known = ERRORS[status]
    wanted = {"messages": name, "gemini": "ApiError"}.get(way.client, PLAIN.get(name, name))
    assert (heard["raised"], heard["status"]) == (wanted, known)
    assert heard["message"]
    if way.client != "gemini" and status in (429, 503, 529):
        assert heard["retryAfter"] == "7"


CUT = {
    "error": Answer(error_after=2),
    "no end": Answer(ending=False),
    "reset": Answer(stop=Stop("rst", after="parts", count=4)),
}


@pytest.mark.parametrize("how", CUT)
async def test_a_stream_that_fails_raises(way: Way, how: str) -> None:
    if how == "no end" and way.target in ("chat", "gemini"):
        pytest.skip("a finish reason is the end there; many servers send no [DONE]")
    heard = await way.ask("text", CUT[how], stream=True)
    assert heard.get("raised"), heard
    said = ("had an error", "verloaded") if how == "error" else ("The upstream broke off in the middle of its reply.",)
    assert any(words in heard["message"] for words in said), heard
