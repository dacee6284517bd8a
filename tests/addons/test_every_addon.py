"""What every addon has to stand, ours and the examples: a new one is tested by being there."""

from __future__ import annotations

import asyncio
import json
from itertools import count

import pytest

from shin_gateway.registry import Registry
from tests.addons.conftest import EXAMPLES
from tests.addons.stand import CHAT, GEMINI, MESSAGES, RESPONSES, Asked, Stand, asking, chat
from tests.provider import Answer, FakeProvider, Stop

NAMED = "/openai/v1/chat/completions"
SETTINGS = {
    "budget": "budgets: [{limit: $100/day}, {limit: 10M tokens/24h rolling, per: everyone}]",
    "log": "bodies: all",
    "parameters": "defaults: {temperature: 0.5}, caps: {max_tokens: 4096, n: 1}",
    "rate_limit": "requests: 1000/min, tokens: 10M/min",
    "retry": "first_wait: 1ms",
    "swap_words": "words: {Falcon: Sparrow}",
}
"""Settings without which an addon would do nothing, or would dawdle."""

CALLERS = ("ann-4711", "bob-4712", "cyd-4713")

REGISTRY = Registry.load([EXAMPLES])
every_addon = pytest.mark.parametrize("addon", REGISTRY)
both_ways = pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])


def line(addon: str, more: str = "") -> str:
    """The addon, and those that it does not go without."""
    settings = ", ".join(filter(None, [SETTINGS.get(addon, ""), more]))
    alone = f"{addon}: {{{settings}}}" if settings else f"{addon}: on"
    return "\n".join([alone, *needed(addon)])


def needed(addon: str) -> list[str]:
    cls = REGISTRY.get(addon)
    return [f"{name}: on" for name in (cls.needs if cls else ())]


async def ended(stand: Stand, asked: Asked) -> None:
    """Nothing of the call is left behind."""
    async with asyncio.timeout(20):
        await stand.settled()
    assert asked.outcome.timings.ended_at


@every_addon
@both_ways
async def test_the_upstream_cannot_be_reached(stand: Stand, provider: FakeProvider, addon: str, stream: bool) -> None:
    await stand.start(line(addon))
    with provider.refusing():
        asked = await stand.ask(chat(stream=stream), NAMED)
    assert asked.status == 502
    assert asked.json()["error"]["code"] == "upstream_unreachable"
    assert (asked.outcome.end, asked.outcome.cause) == ("failed", "upstream_unreachable")
    await ended(stand, asked)


@every_addon
@both_ways
@pytest.mark.parametrize("status", [400, 500])
async def test_the_upstream_fails_before_the_stream(
    stand: Stand, provider: FakeProvider, addon: str, stream: bool, status: int
) -> None:
    provider.default = Answer(status=status)
    await stand.start(line(addon))
    asked = await stand.ask(chat(stream=stream), NAMED)
    assert asked.status == status
    assert asked.json()["error"]["message"]
    await ended(stand, asked)


@every_addon
async def test_the_upstream_fails_during_the_stream(stand: Stand, provider: FakeProvider, addon: str) -> None:
    provider.default = Answer(stop=Stop("rst", after="parts", count=3))
    await stand.start(line(addon))
    asked = await stand.ask(chat(stream=True), NAMED)
    assert (asked.status, asked.outcome.end, asked.outcome.cause) == (200, "broken", "upstream_cut")
    events = [one for one in asked.body.decode().split("\n\n") if one]
    assert "error" in json.loads(events[-1].removeprefix("data: "))
    assert len(provider.seen) == 1
    await ended(stand, asked)


@every_addon
@both_ways
async def test_the_client_leaves_before_the_reply(
    stand: Stand, provider: FakeProvider, addon: str, stream: bool
) -> None:
    provider.default = Answer(stop=Stop("hang", after="call"))
    await stand.start(line(addon))
    delivery = stand.call(chat(stream=stream), NAMED)
    answering = asyncio.ensure_future(delivery.answer())
    (seen,) = await provider.wait_seen(1)
    delivery.client_left()
    assert await answering is None
    await asyncio.wait_for(seen.left, 10)
    assert delivery.call.outcome.end == "cancelled"
    async with asyncio.timeout(20):
        await stand.settled()


@every_addon
async def test_the_client_leaves_during_the_stream(stand: Stand, provider: FakeProvider, addon: str) -> None:
    provider.default = Answer(stop=Stop("hang", after="parts", count=3))
    await stand.start(line(addon))
    asked = await stand.begin(chat(stream=True), NAMED)
    await asked.next()
    waiting = asyncio.ensure_future(asked.next())
    await asyncio.sleep(0)
    asked.delivery.client_left()
    await waiting
    await asyncio.wait_for(provider.seen[0].left, 10)
    assert asked.outcome.end == "cancelled"
    await ended(stand, asked)


@every_addon
@both_ways
async def test_two_callers_never_see_each_others_data(
    stand: Stand, provider: FakeProvider, addon: str, stream: bool
) -> None:
    provider.default = Answer(echo=True)
    await stand.start(line(addon))

    async def ask(caller: str) -> None:
        for number in range(5):
            asked = await stand.ask(chat(f"I am {caller}, call {number}.", stream=stream), NAMED, caller=caller)
            for other in set(CALLERS) - {caller}:
                assert other.encode() not in asked.body
            assert caller.encode() in asked.body

    await asyncio.gather(*map(ask, CALLERS))


@every_addon
@both_ways
async def test_the_same_question_is_answered_to_each_caller(
    stand: Stand, provider: FakeProvider, addon: str, stream: bool
) -> None:
    numbers = count(1)
    provider.rule = lambda _: Answer(text=f"secret-{next(numbers)}")
    await stand.start(line(addon))
    for number, caller in enumerate(CALLERS, 1):
        asked = await stand.ask(chat(stream=stream), NAMED, caller=caller)
        assert f"secret-{number}".encode() in asked.body


@every_addon
@both_ways
@pytest.mark.parametrize("path", [CHAT, RESPONSES, MESSAGES, GEMINI])
async def test_shadow_mode_changes_nothing(
    stand: Stand, provider: FakeProvider, addon: str, path: str, stream: bool
) -> None:
    provider.default = Answer(text="A Sparrow and a Falcon.", tokens=None)
    path, body = asking(path, "Say hello to Falcon.", stream)
    raw = json.dumps(body).encode()
    bodies = []
    for addons in ("\n".join(needed(addon)) or "{}", line(addon, "mode: shadow")):
        await stand.start(addons)
        bodies.append((await stand.ask(raw, path)).body)
        await stand.settled()
        await stand.stop()
    assert bodies[0] == bodies[1]
    without, with_shadow = (seen.body for seen in provider.seen)
    assert without == with_shadow
    assert needed(addon) or without == raw


@every_addon
async def test_shadow_mode_tries_nothing_again(stand: Stand, provider: FakeProvider, addon: str) -> None:
    provider.default = Answer(status=503)
    await stand.start(line(addon, "mode: shadow"))
    asked = await stand.ask(chat())
    assert (asked.status, len(provider.seen)) == (503, 1)


@every_addon
async def test_what_is_no_conversation_passes(stand: Stand, provider: FakeProvider, addon: str) -> None:
    await stand.start(line(addon))
    assert (await stand.ask(b"", "/openai/v1/models", method="GET")).status == 200
    upload = b"--x\r\n\xff\xfe Falcon\r\n--x--\r\n"
    asked = await stand.ask(upload, "/openai/v1/files", headers={"content-type": "multipart/form-data; boundary=x"})
    assert asked.status == 200
    assert provider.seen[-1].body == upload


@every_addon
@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"\xff\xfe", b'{"model": 3}', b'{"messages": 1}', b"9" * 100])
async def test_a_malformed_call_is_refused_or_sent_on(stand: Stand, addon: str, body: bytes) -> None:
    await stand.start(line(addon))
    for path in (NAMED, CHAT, MESSAGES, RESPONSES, GEMINI):
        asked = await stand.ask(body, path)
        assert asked.status < 500
        await ended(stand, asked)
