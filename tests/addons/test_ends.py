"""Calls that end, whatever goes wrong: what they hold is given back, and a gateway that stops waits for them."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from shin_gateway.admission.costs import Costs
from shin_gateway.gateway import Gateway
from shin_gateway.policy.resolve import load_policies
from tests.addons.stand import Stand, chat
from tests.provider import Answer, FakeProvider

FAILING = """
from shin_gateway.addon import Addon, Settings, Stage

class FailingSettings(Settings):
    pass

class Failing(Addon[FailingSettings]):
    stage = Stage.OBSERVE
    observer = True

    async def handle(self, call, forward):
        reply = await forward(call)
        if reply.streamed:
            reply.tee(Watch())
        return reply

class Watch:
    def feed(self, part):
        pass

    def finish(self, complete):
        raise KeyError("a bug of an observer")
"""
HELD = """
from shin_gateway.addon import Addon, Settings, Stage

class HeldSettings(Settings):
    number: int = 1

class Held(Addon[HeldSettings]):
    stage = Stage.SHAPE
    stopped = False

    async def stop(self):
        self.stopped = True

    async def handle(self, call, forward):
        assert not self.stopped
        return await forward(call)
"""


async def reload(stand: Stand, lines: str) -> None:
    (stand.policies / "gateway.yaml").write_text(f"hosts: [gateway]\naddons:\n  {lines}\n")
    await stand.gateway.use(load_policies([stand.policies], stand.gateway.registry))


async def all_ended(gateway: Gateway, patience: float) -> bool:
    try:
        async with asyncio.timeout(patience):
            await gateway.drain()
    except TimeoutError:
        return False
    return True


async def until_free(stand: Stand) -> None:
    """Places are given back beside the calls."""
    async with asyncio.timeout(20):
        while (await stand.ask(chat())).status != 200:
            await asyncio.sleep(0.02)


async def test_an_observer_that_fails_at_the_end_of_a_stream(stand: Stand, tmp_path: Path) -> None:
    stand.add(tmp_path / "own" / "failing.py", FAILING)
    await stand.start("failing: on\nconcurrency: {calls: 1, queue: 0}")
    delivery = stand.call(chat(stream=True))
    assert await delivery.answer() is not None
    while await delivery.next_part(lambda: None):
        pass
    delivery.sent()
    await until_free(stand)


async def test_a_claim_of_which_nobody_knows_what_it_came_to(stand: Stand, monkeypatch: pytest.MonkeyPatch) -> None:
    await stand.start("meter: on\nbudget: {limit: $5/day}\nconcurrency: {calls: 1, queue: 0}")
    with monkeypatch.context() as patch:
        patch.setattr(Costs, "came_to", lambda *_: 1 / 0)
        assert (await stand.ask(chat())).status == 200
    await until_free(stand)


async def test_calls_of_a_policy_that_was_replaced_are_waited_for(stand: Stand, provider: FakeProvider) -> None:
    """Twice, as on SIGTERM: for a while, then once more after the clients have been told."""
    await stand.start("meter: on")
    provider.default = Answer(text="a b c d e f g h", pace=0.5)
    delivery = stand.call(chat(stream=True))
    await delivery.answer()
    await reload(stand, "log: on")
    assert not await all_ended(stand.gateway, 0.2)
    assert not await all_ended(stand.gateway, 0.2)
    delivery.client_left()
    assert await all_ended(stand.gateway, 20)


async def test_a_policy_is_replaced_while_a_body_still_comes_in(stand: Stand, tmp_path: Path) -> None:
    stand.add(tmp_path / "own" / "held.py", HELD)
    await stand.start("held: on")
    delivery = stand.call(chat())  # at the request's head
    await reload(stand, "held: {number: 2}")
    await asyncio.sleep(0.05)
    assert not await all_ended(stand.gateway, 0.1)
    reply = await delivery.answer()
    assert reply is not None and reply.status == 200
    delivery.sent()
    assert await all_ended(stand.gateway, 20)


async def test_who_waits_in_a_queue_is_told_of_the_end(stand: Stand, provider: FakeProvider) -> None:
    await stand.start("concurrency: {calls: 1}")
    provider.default = Answer(wait_head=30)
    first, second = stand.call(chat()), stand.call(chat())
    answering = [asyncio.create_task(one.answer()) for one in (first, second)]
    async with asyncio.timeout(20):
        while not provider.seen:
            await asyncio.sleep(0.01)
        for one in (first, second):
            stand.gateway.watch(one)
        stand.gateway.cut()
        replies = await asyncio.gather(*answering)
    assert [reply.status for reply in replies if reply] == [503, 503]
    assert all(b"shutting down" in reply.raw_body for reply in replies if reply)
    for one in (first, second):
        one.sent()
    assert await all_ended(stand.gateway, 20)
    assert [one.call.outcome.cause for one in (first, second)] == ["shutting_down"] * 2
    assert len(provider.seen) == 1


async def test_nothing_begins_after_the_cut(stand: Stand, provider: FakeProvider) -> None:
    """A call that waits between two attempts is told that the gateway is shutting down."""
    await stand.start("retry: {first_wait: 500ms}")
    provider.script(Answer(status=503, body=b"{}", headers=(("retry-after-ms", "300"),)), Answer(wait_head=30))
    delivery = stand.call(chat(stream=True))
    answering = asyncio.create_task(delivery.answer())
    async with asyncio.timeout(20):
        while not provider.seen:
            await asyncio.sleep(0.01)
        stand.gateway.upstream.cut()
        reply = await answering
    assert reply is not None and reply.status == 503 and b"shutting down" in reply.raw_body
    assert len(provider.seen) == 1
    delivery.sent()
