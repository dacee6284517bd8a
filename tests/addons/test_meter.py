"""Tokens and cost, in every dialect, whole and streamed, given and counted."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest

from addons.meter import KEPT, _Watch
from shin_gateway import dialects, tokens
from shin_gateway.dialects.sse import SseFramer
from shin_gateway.outcome import Usage
from tests.addons.stand import (
    CHAT,
    COMPLETIONS,
    EMBEDDINGS,
    GEMINI,
    MESSAGES,
    RESPONSES,
    Asked,
    Stand,
    asking,
    chat,
)
from tests.provider import OVERLOADED, RATE_LIMITED, Answer, FakeProvider, Stop, Tokens

PATHS = [CHAT, COMPLETIONS, RESPONSES, MESSAGES, GEMINI]
FAILED_AT_ONCE = Answer(
    body=b'data: {"error": {"type": "server_error", "message": "Sorry."}}\n\n', body_type="text/event-stream"
)
NAMED = "/openai/v1/chat/completions"
"""A path of the gateway that names the provider."""
TOKENS = Tokens(input=100, cached=60, cache_write=10, output=40, reasoning=15)


def events(asked: Asked) -> list[Any]:
    lines = [line.removeprefix("data: ") for line in asked.body.decode().splitlines() if line.startswith("data: {")]
    return [json.loads(line) for line in lines]


async def counted(text: str, model: str = "gpt-4o") -> int:
    return await tokens.count([text], model)


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("path", PATHS)
async def test_usage_of_the_provider(stand: Stand, provider: FakeProvider, path: str, stream: bool) -> None:
    provider.default = Answer(tokens=TOKENS)
    await stand.start("meter: on")
    path, body = asking(path, "hello", stream)
    asked = await stand.ask(body, path)
    await stand.settled()
    usage = asked.outcome.usage
    assert usage is not None
    assert asked.outcome.usage_source == "provider"
    assert (usage.input, usage.output, usage.cached) == (100, 40, 60)
    assert asked.outcome.cost is not None
    assert asked.outcome.cost > 0


async def test_cost_is_known_before_a_whole_reply_goes_out(stand: Stand) -> None:
    await stand.start("meter: on")
    begun = await stand.begin(chat())
    assert begun.outcome.cost == Decimal("0.0000975")  # 11 x $2.50 + 7 x $10 a million
    await begun.read()


@pytest.mark.parametrize("path", [CHAT, NAMED])
async def test_a_stream_is_asked_for_its_usage_unseen_by_the_client(
    stand: Stand, provider: FakeProvider, path: str
) -> None:
    await stand.start("meter: on")
    asked = await stand.ask(chat(stream=True), path)
    assert provider.seen[0].json()["stream_options"] == {"include_usage": True}
    assert all(event["choices"] for event in events(asked))
    assert asked.body.endswith(b"data: [DONE]\n\n")
    assert asked.outcome.usage == Usage(input=11, output=7)
    assert b"stream_options" not in asked.call.body


async def test_who_asked_for_usage_itself_gets_it(stand: Stand, provider: FakeProvider) -> None:
    await stand.start("meter: on")
    body = json.dumps(chat(stream=True, stream_options={"include_usage": True})).encode()
    asked = await stand.ask(body, NAMED)
    assert provider.seen[0].body == body
    assert events(asked)[-1]["usage"]["prompt_tokens"] == 11
    assert asked.outcome.usage == Usage(input=11, output=7)


@pytest.mark.parametrize("path", [MESSAGES, GEMINI, RESPONSES])
async def test_who_tells_unasked_is_not_asked(stand: Stand, provider: FakeProvider, path: str) -> None:
    await stand.start("meter: on")
    path, body = asking(path, "hello", stream=True)
    raw = json.dumps(body).encode()
    await stand.ask(raw, path)
    assert provider.seen[0].body == raw


async def test_each_attempt_is_asked_and_hidden_alike(stand: Stand, provider: FakeProvider) -> None:
    await stand.start("meter: on\nretry: {first_wait: 1ms}")
    provider.script(FAILED_AT_ONCE, Answer())
    asked = await stand.ask(chat(stream=True), NAMED)
    assert [seen.json()["stream_options"] for seen in provider.seen] == [{"include_usage": True}] * 2
    assert all(event["choices"] for event in events(asked))
    assert asked.outcome.usage == Usage(input=11, output=7)
    assert asked.outcome.usage_source == "provider"


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("path", PATHS)
async def test_what_the_provider_does_not_tell_is_counted(
    stand: Stand, provider: FakeProvider, path: str, stream: bool
) -> None:
    provider.default = Answer(tokens=None, text="One two three four.")
    await stand.start("meter: on")
    path, body = asking(path, "Count me in", stream)
    asked = await stand.ask(body, path)
    await stand.settled()
    model = asked.call.model
    expected = Usage(input=await counted("Count me in", model), output=await counted("One two three four.", model))
    assert asked.outcome.usage == expected
    assert asked.outcome.usage_source == "counted"
    assert asked.outcome.cost is not None


async def test_tools_count_too(stand: Stand, provider: FakeProvider) -> None:
    provider.default = Answer(tokens=None)
    await stand.start("meter: on")
    tools = [{"type": "function", "function": {"name": f"tool_{n}", "parameters": {}}} for n in range(50)]
    asked = await stand.ask(chat("hi", tools=tools))
    await stand.settled()
    assert asked.outcome.usage is not None
    assert asked.outcome.usage.input > await counted(json.dumps(tools))


async def test_nothing_is_counted_when_the_policy_says_so(stand: Stand, provider: FakeProvider) -> None:
    provider.default = Answer(tokens=None)
    await stand.start("meter: {count_missing: false}")
    for stream in (False, True):
        asked = await stand.ask(chat(stream=stream), NAMED)
        await stand.settled()
        assert (asked.outcome.usage, asked.outcome.usage_source, asked.outcome.cost) == (None, "", None)


@pytest.mark.parametrize(("path", "parts"), [(CHAT, 2), (COMPLETIONS, 1), (RESPONSES, 5), (MESSAGES, 4), (GEMINI, 1)])
async def test_a_stream_that_the_client_left_is_estimated(
    stand: Stand, provider: FakeProvider, path: str, parts: int
) -> None:
    text = "Words without an end " * 20
    provider.default = Answer(text=text, pieces=(text, "never seen"), stop=Stop("hang", after="parts", count=parts))
    await stand.start("meter: on\nlog: on")
    path, body = asking(path, "Count me in", stream=True)
    asked = await stand.begin(body, path)
    while b"without an end" not in asked.body:
        assert await asked.next()
    asked.delivery.client_left()
    row = await stand.row()
    model = asked.call.model
    assert (row.end, row.usage_source) == ("cancelled", "counted")
    assert row.output_tokens >= await counted(text, model)
    # Anthropic and Gemini have told the input by then.
    assert row.input_tokens == (
        11 if path not in (CHAT, COMPLETIONS, RESPONSES) else await counted("Count me in", model)
    )
    assert row.cost is not None
    assert row.cost > 0


async def test_a_stream_left_after_its_last_event_has_told_all(stand: Stand, provider: FakeProvider) -> None:
    provider.default = Answer(stop=Stop("hang", after="parts", count=9))
    await stand.start("meter: on")
    asked = await stand.begin(chat(stream=True, stream_options={"include_usage": True}), NAMED)
    while b"[DONE]" not in asked.body:
        assert await asked.next()
    asked.delivery.client_left()
    await stand.settled()
    assert asked.outcome.usage == Usage(input=11, output=7)
    assert asked.outcome.usage_source == "provider"


async def test_a_broken_stream_is_estimated(stand: Stand, provider: FakeProvider) -> None:
    provider.default = Answer(stop=Stop("rst", after="parts", count=4))
    await stand.start("meter: on\nlog: on")
    await stand.ask(chat(stream=True), NAMED)
    row = await stand.row()
    assert (row.end, row.usage_source) == ("broken", "counted")
    assert row.output_tokens > 0


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/v1/messages/count_tokens", {"model": "claude-sonnet-4-5", "messages": []}),
        ("GET", "/openai/v1/models", b""),
    ],
)
async def test_what_is_free_has_no_usage(stand: Stand, method: str, path: str, body: Any) -> None:
    await stand.start("meter: on")
    asked = await stand.ask(body, path, method=method)
    await stand.settled()
    assert asked.status == 200
    assert (asked.outcome.usage, asked.outcome.cost) == (None, None)


@pytest.mark.parametrize("answer", [RATE_LIMITED, OVERLOADED, FAILED_AT_ONCE, Answer(error_after=0)])
async def test_a_failed_call_costs_nothing(stand: Stand, provider: FakeProvider, answer: Answer) -> None:
    provider.default = answer
    await stand.start("meter: on")
    asked = await stand.ask(chat(stream=True), NAMED)
    await stand.settled()
    assert (asked.outcome.usage, asked.outcome.cost) == (None, None)


async def test_embeddings(stand: Stand) -> None:
    await stand.start("meter: on")
    asked = await stand.ask({"model": "text-embedding-3-small", "input": ["a", "b"]}, EMBEDDINGS)
    assert asked.outcome.usage is not None
    assert asked.outcome.usage.output == 0
    assert asked.outcome.cost is not None


def whole(model: str, **usage: Any) -> Answer:
    said = {"index": 0, "message": {"role": "assistant", "content": "Hello there."}, "finish_reason": "stop"}
    return Answer(body=json.dumps({"model": model, "choices": [said], **usage}).encode())


async def test_the_price_is_that_of_the_model_which_answered(stand: Stand, provider: FakeProvider) -> None:
    usage = {"usage": {"prompt_tokens": 1_000_000, "completion_tokens": 0}}
    provider.script(whole("gpt-4o-mini-2024-07-18", **usage), whole("unheard-of", **usage))
    await stand.start("meter: on")
    assert (await stand.ask(chat())).outcome.cost == Decimal("0.15")
    assert (await stand.ask(chat())).outcome.cost == Decimal("2.5")


async def test_an_unknown_price_is_unknown(stand: Stand) -> None:
    await stand.start("meter: on")
    asked = await stand.ask(chat(model="ollama/llama3"))
    assert asked.outcome.usage == Usage(input=11, output=7)
    assert asked.outcome.cost is None


async def test_prices_of_ones_own(stand: Stand) -> None:
    prices = {"llama3": {"input": "$2", "output": 1.5}, "openai/gpt-4o": {"input": "$0"}}
    await stand.start("meter: on", prices=prices)
    assert (await stand.ask(chat(model="ollama/llama3"))).outcome.cost == Decimal("0.0000325")
    assert (await stand.ask(chat())).outcome.cost == 0


@pytest.mark.parametrize("usage", ["nonsense", 3, [], {"prompt_tokens": "many"}, {"prompt_tokens": -4}, None])
async def test_nonsense_for_usage_is_none(stand: Stand, provider: FakeProvider, usage: Any) -> None:
    provider.default = whole("gpt-4o", usage=usage)
    await stand.start("meter: on")
    asked = await stand.ask(chat())
    await stand.settled()
    assert asked.status == 200
    assert asked.outcome.usage_source == "counted"


@pytest.mark.parametrize("body", [b"", b"not json", b"[1", b'{"model": 7}'])
async def test_a_reply_or_call_that_is_no_json_passes(stand: Stand, provider: FakeProvider, body: bytes) -> None:
    await stand.start("meter: on")
    assert (await stand.ask(body, NAMED)).status in (200, 400)
    provider.default = Answer(body=body)
    asked = await stand.ask(chat())
    await stand.settled()
    assert (asked.status, asked.body) == (200, body)


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
async def test_compressed_replies(stand: Stand, provider: FakeProvider, stream: bool) -> None:
    provider.default = Answer(encoding="gzip")
    await stand.start("meter: on")
    asked = await stand.ask(chat(stream=stream), NAMED)
    assert asked.outcome.usage == Usage(input=11, output=7)


def test_a_long_stream_is_kept_in_bounds() -> None:
    watch = _Watch(dialects.get("openai.chat"))
    piece = b'data: {"choices":[{"index":0,"delta":{"content":"word "}}],"pad":"%s"}\n\n' % (b"x" * 4000)
    rounds = 3 * KEPT // len(piece)
    framer = SseFramer()
    for _ in range(rounds):
        for part in framer.feed(piece):
            watch.feed(part)
    watch.finish(complete=False)
    said = watch.said
    (text,) = said.texts()
    assert len(text) < KEPT
    assert len(text.split()) * said.scale == pytest.approx(rounds, rel=0.01)


@pytest.mark.parametrize(("then", "spent"), [(Answer(tokens=Tokens(1000, 500)), 1000), (Answer(status=400), None)])
async def test_an_attempt_that_brought_nonsense_counts_for_nothing(
    stand: Stand, provider: FakeProvider, then: Answer, spent: int | None
) -> None:
    """What the last one used is what the call did."""
    await stand.start("meter: on\nretry: {first_wait: 1ms}\ntranslate: on")
    provider.script(Answer(body=b"}{"), then)
    asked = await stand.ask({**chat(), "model": "claude-sonnet-4-5"})
    await stand.settled()
    assert asked.outcome.attempts == 2
    assert (asked.outcome.usage.input if asked.outcome.usage else None) == spent


async def test_nothing_is_no_stream(stand: Stand, provider: FakeProvider) -> None:
    """A client takes it for the end of one."""
    await stand.start("meter: on\nretry: {first_wait: 1ms}")
    provider.script(Answer(body=b""), Answer(text="Hello"))
    asked = await stand.ask(chat(stream=True))
    assert asked.outcome.attempts == 2 and b"Hello" in asked.body
