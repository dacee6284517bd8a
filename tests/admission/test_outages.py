"""What admission makes of a store that is away, comes back, refuses, or whose clock jumps."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest

from shin_gateway.admission import Admission, allowance, bucket, scripts
from shin_gateway.admission.claims import Claim, Limit
from shin_gateway.admission.reservations import BEAT, SILENCE
from shin_gateway.errors import OverBudget, Unavailable
from shin_gateway.stores.errors import CommandError, StoreError, StoreTimeout
from shin_gateway.stores.outage import QUIET, Outage
from shin_gateway.stores.state import StateStore
from tests.admission.crowd import Someone
from tests.stores.servers import Server

FOREVER = 4_000_000_000.0
NOW = 2_000_000_000
WORKERS = f"{scripts.PREFIX}workers"


def claim(limit: Limit, amount: int = 10, truth: int = 7, **more: Any) -> Claim:
    return Claim("x", limit, "u", amount, lambda *_: OverBudget("no"), truth=lambda *_: truth, **more)


@pytest.fixture
async def state(server: Server) -> AsyncIterator[StateStore]:
    state = await StateStore.connect(f"unix://{server.socket}?timeout=3")
    await state.run("FLUSHALL")
    yield state
    await state.close()


class Beats:
    """Signs of life of workers, by a clock that the test sets."""

    def __init__(self, state: StateStore) -> None:
        self._state = state
        lua = scripts.load("beat").replace("redis.call('TIME')", "redis.call('MGET', 'clock', 'zero')")
        self._beat = state.script(lua)

    async def beat(self, worker: str, at: float) -> list[bytes]:
        await self._state.run("MSET", "clock", int(NOW + at), "zero", 0)
        key = f"{scripts.PREFIX}open:{worker}"
        names: list[bytes] = await self._beat([key], [scripts.PREFIX, worker, SILENCE, 500])
        return names

    async def hold(self, *workers: str) -> None:
        """One reservation of each, that nobody settles."""
        for worker in workers:
            await self._state.run("HSET", f"{scripts.PREFIX}open:{worker}", "one", b"\x90")

    async def holds(self, worker: str) -> bool:
        return bool(await self._state.run("EXISTS", f"{scripts.PREFIX}open:{worker}"))


@pytest.mark.parametrize("away", [0, 4, 11, 600, 86400, -4, -600, -86400])
async def test_nobody_who_lives_is_let_go_of_when_the_store_comes_back(state: StateStore, away: int) -> None:
    """Or its clock was set. But who does not live is, soon after."""
    beats = Beats(state)
    await beats.hold("dead", "one", "two")
    for worker, at in (("one", -2.9), ("dead", -2.0), ("two", 0.0)):
        await beats.beat(worker, at)
    for at in range(0, 24, 3):
        await beats.beat("one", away + at + 1)
        await beats.beat("two", away + at + 3)
        assert await beats.holds("one") and await beats.holds("two")
        if at > SILENCE + 2 * BEAT:
            assert not await beats.holds("dead")


async def test_who_comes_new_lets_go_of_all_that_were_before(state: StateStore) -> None:
    beats = Beats(state)
    await beats.hold("dead")
    await beats.beat("dead", 0)
    await beats.beat("new", SILENCE + 1)
    assert not await beats.holds("dead")


async def test_one_limit_that_was_meddled_with_leaves_the_others_right(state: StateStore) -> None:
    worker = Admission(state)
    limits = [bucket("b", 100, 3600), allowance("$a", 100, FOREVER, "a"), allowance("$c", 100, FOREVER, "c")]
    keys = [f"{scripts.PREFIX}{limit.id}:u" for limit in limits]
    someone = Someone(*(claim(limit) for limit in limits))
    await worker.enter(someone.call)
    for key in keys[:2]:
        await state.run("DEL", key)
        await state.run("XADD", key, "*", "meddled", "with")
    someone.end()
    await worker.close()
    assert await state.run("HMGET", keys[2], "s", "r") == [b"7", b"0"]
    assert not await state.run("EXISTS", f"{scripts.PREFIX}open:{worker.reservations.worker}")


async def test_one_lease_that_was_meddled_with_leaves_the_others_right(state: StateStore) -> None:
    limits = [allowance("$one", 10_000, FOREVER, "one"), allowance("$two", 10_000, FOREVER, "two")]
    await state.run("SET", f"{scripts.PREFIX}{limits[0].id}:u", "x")
    renew = state.script(scripts.load("renew"))
    leases = [("", 5, f"lease:{limit.id}", claim(limit, 0).packed(), 100, 256) for limit in limits]
    reply, _ = await renew([f"{scripts.PREFIX}open:w"], [scripts.PREFIX, "w", msgspec.msgpack.encode(leases)])
    assert [got for got, *_ in msgspec.msgpack.decode(reply)] == [0, 100]
    assert await state.run("HMGET", f"{scripts.PREFIX}{limits[1].id}:u", "s", "r") == [b"5", b"100"]
    assert await state.run("HKEYS", f"{scripts.PREFIX}open:w") == [f"lease:{limits[1].id}".encode()]


async def test_lists_that_were_meddled_with_refuse_nobody(state: StateStore) -> None:
    for name in ("budgets", "alerts"):
        await state.run("SET", f"{scripts.PREFIX}{name}", "x")
    worker = Admission(state)
    someone = Someone(claim(allowance("$l", 10, FOREVER, "l"), truth=10, on_store_error="refuse"))
    await worker.enter(someone.call)
    someone.end()
    await worker.close()
    assert await state.run("HMGET", f"{scripts.PREFIX}a:$l:{FOREVER:.0f}:u", "s", "r") == [b"10", b"0"]


async def test_an_outage_is_told_of_once(state: StateStore, caplog: Any) -> None:
    await state.run("SET", f"{scripts.PREFIX}a:$m:{FOREVER:.0f}:u", "x")
    worker, limit = Admission(state), allowance("$m", 10, FOREVER, "m")
    with caplog.at_level(logging.WARNING):
        for _ in range(5):
            with pytest.raises(Unavailable) as refused:
                await worker.enter(Someone(claim(limit, on_store_error="refuse")).call)
            await worker.enter(Someone(claim(limit)).call)
            await worker.enter(Someone(claim(bucket("fine", 1000, 1))).call)
    assert refused.value.code == "store_unavailable" and refused.value.retry_after
    assert [record.message for record in caplog.records] == [
        "limits, budgets and places cannot be asked: state store: WRONGTYPE Operation against a key holding the wrong "
        "kind of value " + caplog.records[0].message.partition("value ")[2]
    ]


def test_when_it_is_over_is_told_too(caplog: Any) -> None:
    now = 100.0
    outage = Outage("x", lambda: now)
    with caplog.at_level(logging.WARNING):
        outage.answered()
        outage.failed(CommandError("OOM", "OOM"))
        now += 5
        outage.failed(StoreTimeout("late"))
        outage.answered()
        now += QUIET
        outage.answered()
        outage.answered()
    assert [record.message for record in caplog.records] == ["x: OOM", "x: over after 5 s and 2 times"]


async def test_what_was_taken_late_is_let_go_of_soon(server: Server, slow: StateStore) -> None:
    """A store that was slow for once: what it did after we had gone on is undone."""
    worker = Admission(slow)
    worker.start()
    await asyncio.sleep(0.05)
    someone = Someone(claim(allowance("$late", 100, FOREVER, "late")))
    with server.frozen():
        await worker.enter(someone.call)
    assert someone.claims[0].standing is None
    async with asyncio.timeout(20):
        while await _held(slow, "$late") != b"0":
            await asyncio.sleep(0.02)
    someone.end()
    await worker.close()


async def test_who_ends_settles_what_did_not_reach_the_store(server: Server, slow: StateStore) -> None:
    worker = Admission(slow)
    someone = Someone(claim(allowance("$end", 100, FOREVER, "end")))
    await worker.enter(someone.call)
    with server.frozen():
        someone.end()
        await asyncio.sleep(0.3)
    await worker.close()
    assert await _held(slow, "$end") == b"0"


async def test_one_call_finds_out_whether_the_store_is_back(server: Server, slow: StateStore) -> None:
    """The others do not wait for it."""
    with server.frozen():
        while not slow._down_until:
            await asyncio.gather(slow.run("PING"), return_exceptions=True)
        await asyncio.sleep(1.05)
        first = slow.run("PING")
        assert all(slow.run("PING").exception() for _ in range(20))
        with pytest.raises(StoreTimeout):
            await first
    await asyncio.sleep(1.05)
    assert await slow.run("PING") == b"PONG"


async def _held(store: StateStore, id: str) -> bytes | None:
    try:
        held: bytes | None = await store.run("HGET", f"{scripts.PREFIX}a:{id}:{FOREVER:.0f}:u", "r")
    except StoreError:
        return None
    return held


@pytest.fixture
async def slow(server: Server) -> AsyncIterator[StateStore]:
    """It may take a tenth of a second."""
    store = await StateStore.connect(f"unix://{server.socket}?timeout=0.1")
    yield store
    await store.close()
