"""Shares of limits that workers hold ahead of their calls: most calls ask nobody, and no limit is passed for it."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from typing import Any

import pytest

from shin_gateway.admission import Admission, Claim, allowance, bucket, leases, reservations, scripts
from shin_gateway.admission.claims import Limit
from shin_gateway.admission.leases import PLENTY, ROUND, STALE
from shin_gateway.errors import OverBudget, Refusal, Unavailable
from shin_gateway.stores.state import StateStore
from tests.admission.crowd import Someone, Upstream, left_over, place, visit
from tests.stores.servers import Server

FOREVER = 4_000_000_000.0


def refuse(*_: Any) -> OverBudget:
    return OverBudget("spent")


def claim(limit: Limit, amount: int, truth: int | None, **more: Any) -> Claim:
    """Nobody is let in unasked: on a machine with other work, the store is not always in time."""
    settled = None if truth is None else lambda *_: truth
    return Claim("budget", limit, "everyone", amount, refuse, truth=settled, on_store_error="refuse", **more)


class Counted(Admission):
    """Counts the calls that had to ask the store, and those that it did not answer in time."""

    asked = lost = 0

    async def _ask(self, call: Any) -> Any:
        self.asked += 1
        try:
            return await super()._ask(call)
        except Unavailable:
            self.lost += 1
            raise


@pytest.fixture
async def workers(stores: list[StateStore]) -> AsyncIterator[list[Counted]]:
    workers = [Counted(one) for one in stores]
    for one in workers:
        one.start()
    yield workers
    for one in workers:
        await one.close()


async def booked(store: StateStore, limit: Limit) -> tuple[int, int]:
    kept = await store.run("HMGET", f"{scripts.PREFIX}{limit.id}:everyone", "s", "r")
    return int(kept[0] or 0), int(kept[1] or 0)


async def crowd(
    workers: list[Counted], count: int, seconds: float, make: Callable[[int], Someone], leaves: int = 10**9
) -> int:
    """So many calls by visitors that each make one after another, in about this time on a machine that keeps up; how
    many were let in. Each one in `leaves` is left by its caller."""
    chance, numbers = random.Random(count), iter(range(count))
    admitted, visitors = 0, 60

    async def one(number: int) -> None:
        nonlocal admitted
        someone = make(number)
        entering = asyncio.ensure_future(workers[number % 3].enter(someone.call))
        try:
            if number % leaves == leaves - 1 and not entering.done():
                await asyncio.sleep(0)
                entering.cancel()
            with suppress(asyncio.CancelledError):
                await entering
                admitted += 1
                await asyncio.sleep(chance.random() * 0.02)
        except (OverBudget, Unavailable):
            pass
        finally:
            someone.end()

    async def visitor() -> None:
        for number in numbers:
            await asyncio.sleep(2 * chance.random() * seconds * visitors / count)
            await one(number)

    await asyncio.gather(*(visitor() for _ in range(visitors)))
    return admitted


async def test_a_budget_far_from_its_end_is_asked_for_seldom(workers: list[Counted], stores: list[StateStore]) -> None:
    limit, spent = allowance("$far", 10**9, FOREVER, "far"), 0

    def make(number: int) -> Someone:
        nonlocal spent
        spent += number % 150
        return Someone(claim(limit, 100, number % 150))

    await crowd(workers, 3000, 2.0, make, leaves=10)
    for worker in workers:
        await worker.close()
    used, reserved = await booked(stores[0], limit)
    assert reserved == 0
    assert spent * 0.8 < used <= spent  # those that were left before they were let in cost nothing
    assert sum(worker.asked for worker in workers) < 1500
    assert not any(worker.reservations.held or worker.reservations._unsettled for worker in workers)


async def test_a_limit_is_leased_as_soon_as_it_is_busy(workers: list[Counted], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases, "ROUND", 3600.0)
    worker, limit = workers[0], allowance("$soon", 10**9, FOREVER, "soon")
    calls = 0
    async with asyncio.timeout(20):
        while worker.asked == calls:
            someone = Someone(claim(limit, 10, 7))
            await worker.enter(someone.call)
            someone.end()
            calls += 1
            await asyncio.sleep(0.01)


async def test_what_is_booked_is_what_was_spent(workers: list[Counted], stores: list[StateStore]) -> None:
    limit, spent, someones = allowance("$true", 10**9, FOREVER, "true"), 0, []
    chance = random.Random(7)
    for _ in range(40):
        for number in range(60):
            truth = chance.randrange(200)
            someone = Someone(claim(limit, 100, truth))
            with suppress(Unavailable):
                await workers[number % 3].enter(someone.call)
                someones.append(someone)
                spent += truth
        chance.shuffle(someones)
        while len(someones) > 30:
            someones.pop().end()
        await asyncio.sleep(0.02)
    used, reserved = await booked(stores[0], limit)
    assert used + reserved >= spent - 30 * 200
    for someone in someones:
        someone.end()
    for worker in workers:
        await worker.close()
    assert await booked(stores[0], limit) == (spent, 0)
    assert sum(worker.asked for worker in workers) < 40 * 60 / 2


async def test_a_budget_is_never_passed(workers: list[Counted], stores: list[StateStore]) -> None:
    """To its last share by leases, call by call from there; what was held ahead comes back in time."""
    most = 100 * PLENTY * 8
    limit = allowance("$end", most, FOREVER, "end")
    seen: list[int] = []

    async def watch() -> None:
        while True:
            seen.append(sum(await booked(stores[0], limit)))
            await asyncio.sleep(0.01)

    watching = asyncio.create_task(watch())
    admitted = await crowd(workers, most // 100 + 1500, 4.0, lambda _: Someone(claim(limit, 100, 100)))
    watching.cancel()
    for worker in workers:
        await worker.close()
    used, reserved = await booked(stores[0], limit)
    assert max(seen) <= most
    assert (used, reserved) == (admitted * 100, 0)
    assert used <= most
    assert most - used < 100 * (50 + sum(worker.lost for worker in workers))
    assert sum(worker.asked for worker in workers) < most / 100


async def test_requests_are_as_many_as_the_limit_says(workers: list[Counted], stores: list[StateStore]) -> None:
    most, began = PLENTY * 8, time.monotonic()
    limit = bucket("r", most, 3600)
    admitted = await crowd(workers, most + 1500, 3.0, lambda _: Someone(claim(limit, 1, None)))
    flowed_back = (time.monotonic() - began) * most / 3600 + 1
    assert most - 50 - sum(worker.lost for worker in workers) < admitted <= most + flowed_back


async def test_a_quick_bucket_is_not_passed_either(workers: list[Counted]) -> None:
    """What flows back while it is held ahead does not count twice."""
    limit, began = bucket("q", 2000, 1), time.monotonic()
    times: list[float] = []

    async def flood(worker: Counted) -> None:
        while time.monotonic() < began + 2.5:
            someone = Someone(claim(limit, 1, None))
            try:
                await worker.enter(someone.call)
                times.append(time.monotonic())
            except (OverBudget, Unavailable):
                await asyncio.sleep(0.005)
            someone.end()
            await asyncio.sleep(0)

    await asyncio.gather(*(flood(worker) for worker in workers for _ in range(5)))
    for first in range(0, len(times), 97):
        for last in range(first, len(times), 89):
            assert last - first + 1 <= 2000 + (times[last] - times[first]) * 2000 + 30


async def test_what_has_all_flowed_back_is_let_go_of(workers: list[Counted], stores: list[StateStore]) -> None:
    worker, limit = workers[0], bucket("back", 1000, 1)
    async with asyncio.timeout(20):
        for _ in range(50):
            someone = Someone(claim(limit, 1, None))
            await worker.enter(someone.call)
            someone.end()
        [lease] = worker._leases._leases.values()
        while lease.asked or not lease.name:
            await asyncio.sleep(0.001)
        time.sleep(0.8)  # a worker that has much else to do: all that it held has come back to the bucket meanwhile
        while worker.reservations.held or await left_over(stores[0]):
            await asyncio.sleep(0.05)


async def test_places_are_never_passed(workers: list[Counted], stores: list[StateStore]) -> None:
    places, upstream, chance = 700, Upstream(), random.Random(9)

    async def one(number: int) -> None:
        await asyncio.sleep(chance.random() * 2)
        await visit(workers[number % 3], upstream, 0.2 + chance.random() * 0.6, place(places, queue=5000, depth=5000))

    await asyncio.gather(*(one(number) for number in range(3500)))
    for worker in workers:
        await worker.close()
    assert upstream.most["p:t:policy"] <= places
    assert upstream.most["p:t:policy"] > places * 0.9
    assert set(await left_over(stores[0])) == set()


async def test_a_store_that_freezes_ends_the_leases(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reservations, "BEAT", 0.1)
    store = await StateStore.connect(f"unix://{server.socket}?timeout=0.2")
    watcher = await StateStore.connect(f"unix://{server.socket}?timeout=5")
    worker = Counted(store)
    worker.start()
    limit, spent = allowance("$frozen", 10**9, FOREVER, "frozen"), 0

    async def calls(count: int) -> int:
        entered = 0
        for _ in range(count):
            someone = Someone(claim(limit, 10, 7))
            with suppress(Unavailable):
                await worker.enter(someone.call)
                entered += 1
            someone.end()
            await asyncio.sleep(0.002)
        return entered

    spent += 7 * await calls(150)
    asked = worker.asked
    spent += 7 * await calls(50)
    assert worker.asked - asked < 25  # it is on lease
    with server.frozen():
        began = time.monotonic()
        while time.monotonic() < began + STALE + 2 * ROUND + 0.3:
            spent += 7 * await calls(5)
        assert await calls(3) == 0
    await asyncio.sleep(1.5)
    spent += 7 * await calls(100)
    await worker.close()
    async with asyncio.timeout(20):
        while await booked(watcher, limit) != (spent, 0):
            await asyncio.sleep(0.05)
    for one in (store, watcher):
        await one.close()


async def test_a_store_that_was_late_once_is_leased_from_again(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases, "_COOL", 3600.0)
    store = await StateStore.connect(f"unix://{server.socket}?timeout=60")
    worker = Counted(store)
    worker.start()
    limit = allowance("$late", 10**9, FOREVER, "late")

    async def visitor() -> None:
        while time.monotonic() < until:
            someone = Someone(claim(limit, 10, 7))
            await worker.enter(someone.call)
            someone.end()
            await asyncio.sleep(0.005)

    until = time.monotonic() + 60
    with server.frozen():
        crowd = asyncio.gather(*(visitor() for _ in range(20)))
        await asyncio.sleep(STALE + 2 * ROUND)
    async with asyncio.timeout(30):
        asked = -1
        while asked != worker.asked:  # until a while passes in which nobody asks
            asked = worker.asked
            await asyncio.sleep(2 * ROUND)
    until = 0.0
    await crowd
    await worker.close()
    await store.close()


async def test_the_leases_of_a_worker_that_dies_are_let_go_of(
    stores: list[StateStore], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reservations, "SILENCE", 0.3)
    monkeypatch.setattr(reservations, "BEAT", 0.1)
    limit, dying, living = allowance("$dead", 10**9, FOREVER, "dead"), Counted(stores[0]), Admission(stores[1])
    dying.start()
    for _ in range(100):
        await dying.enter(Someone(claim(limit, 10, 10), place(10_000)).call)
        await asyncio.sleep(0.003)
    assert (await booked(stores[0], limit))[1] > 100 * 10
    assert dying.reservations._beating is not None
    assert dying._leases._round is not None
    for task in (dying.reservations._beating, dying._leases._round):
        task.cancel()
    living.start()
    async with asyncio.timeout(20):
        while (await booked(stores[0], limit))[1] or set(await left_over(stores[0])) - {f"{scripts.PREFIX}budgets"}:
            await asyncio.sleep(0.05)
    await living.close()


async def test_a_refusal_names_what_is_spent(workers: list[Counted]) -> None:
    """Another limit that has no room is heard of, also while this one is on lease."""
    wide, narrow = bucket("wide", 10**6, 60), bucket("narrow", 30, 3600)
    refused: list[Refusal] = []
    for _ in range(60):
        someone = Someone(claim(wide, 1, None), claim(narrow, 1, None))
        try:
            await workers[0].enter(someone.call)
        except OverBudget as refusal:
            refused.append(refusal)
        await asyncio.sleep(0.005)
    assert len(refused) == 30
