"""How far a budget can be overspent: never by more than the estimates of calls under way were too low."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import pytest

from shin_gateway.admission import Admission, allowance, bucket, reservations, scripts, window
from shin_gateway.admission.claims import Claim, ClaimMode, Limit
from shin_gateway.admission.ledger import Ledger
from shin_gateway.admission.reservations import BEAT, SILENCE
from shin_gateway.errors import OverBudget, Unavailable
from shin_gateway.stores.state import StateStore
from tests.admission.crowd import Someone, left_over
from tests.stores.servers import Server

LIMIT = 10_000
FOREVER = 4_000_000_000.0


def refuse(*_: Any) -> OverBudget:
    return OverBudget("spent")


def budget(amount: int, truth: int | None, limit: Limit, **more: Any) -> Claim:
    settled = None if truth is None else lambda *_: truth
    return Claim("budget", limit, "everyone", amount, refuse, truth=settled, **more)


@pytest.fixture
async def workers(stores: list[StateStore]) -> AsyncIterator[list[Admission]]:
    workers = [Admission(one) for one in stores]
    yield workers
    for one in workers:
        await one.close()


class Till:
    """What really was spent, and by how much the estimates of the calls under way are too low."""

    def __init__(self) -> None:
        self.spent = self.refused = self.admitted = 0
        self.late: dict[object, int] = {}
        self.worst = 0
        """The most that could be overspent at the last moment when a call was let in."""

    def let_in(self, call: object, estimate: int, truth: int) -> None:
        self.admitted += 1
        self.late[call] = max(0, truth - estimate)
        self.worst = sum(self.late.values())


async def one_call(worker: Admission, till: Till, limit: Limit, chance: random.Random) -> None:
    estimate = chance.choice([0, 1, 50, 100, 400])
    truth = chance.choice([0, estimate // 2, estimate, estimate + chance.randrange(50)])
    await asyncio.sleep(chance.random() * 0.8)
    someone = Someone(budget(estimate, truth, limit))
    asking = asyncio.ensure_future(worker.enter(someone.call))
    leaves = chance.random() < 0.2
    try:
        if leaves:
            await asyncio.sleep(chance.random() * 0.002)
            if asking.cancel():
                with suppress(asyncio.CancelledError):
                    await asking
                return  # whatever was taken is given back
        await asking
        till.let_in(someone, estimate, truth)
        await asyncio.sleep(chance.random() * 0.02)
        till.spent += truth
    except OverBudget:
        till.refused += 1
    finally:
        someone.end()
        await asyncio.sleep(0.05)
        till.late.pop(someone, None)


def booked(kept: dict[bytes, bytes]) -> tuple[int, int]:
    return int(kept.get(b"s", b"0")), int(kept.get(b"r", b"0"))


async def until_settled(workers: list[Admission]) -> None:
    while any(worker.reservations._tasks for worker in workers):
        await asyncio.gather(
            *(task for worker in workers for task in worker.reservations._tasks), return_exceptions=True
        )


@pytest.mark.parametrize("seed", range(3))
async def test_a_thousand_calls_on_three_replicas(
    workers: list[Admission], stores: list[StateStore], seed: int
) -> None:
    chance, till = random.Random(seed), Till()
    limit = allowance("$x", LIMIT, FOREVER, "x")
    await asyncio.gather(*(one_call(workers[i % 3], till, limit, chance) for i in range(1000)))
    await until_settled(workers)
    spent, reserved = booked(await stores[0].run("HGETALL", f"{scripts.PREFIX}{limit.id}:everyone"))
    assert till.refused > 50
    assert (spent, reserved) == (till.spent, 0)
    assert spent <= LIMIT + till.worst
    assert spent > LIMIT * 0.5
    assert set(await left_over(stores[0])) <= {f"{scripts.PREFIX}{name}" for name in ("budgets", "alerts")}
    assert not any(worker.reservations.held or worker.reservations._unsettled for worker in workers)


async def test_estimates_that_are_never_too_low_overspend_nothing(
    workers: list[Admission], stores: list[StateStore]
) -> None:
    limit = allowance("$y", LIMIT, FOREVER, "y")

    async def call(number: int) -> None:
        someone = Someone(budget(100, 100, limit))
        with suppress(OverBudget):
            await workers[number % 3].enter(someone.call)
        someone.end()

    for _ in range(3):
        await asyncio.gather(*(call(number) for number in range(100)))
        await until_settled(workers)
    assert booked(await stores[0].run("HGETALL", f"{scripts.PREFIX}{limit.id}:everyone")) == (LIMIT, 0)


async def test_all_or_nothing(workers: list[Admission], stores: list[StateStore]) -> None:
    """What one claim refuses, no other has taken."""
    open_, shut = bucket("open", 1000, 3600), window("shut", 1, 3600)
    for expected in (True, False, False):
        someone = Someone(budget(10, None, open_), budget(1, None, shut))
        passed = True
        try:
            await workers[0].enter(someone.call)
        except OverBudget:
            passed = False
        assert passed is expected
        assert [claim.standing.used for claim in someone.claims if claim.standing] == ([0, 0] if expected else [10, 1])


async def test_shadow_says_and_takes_what_fits_alone(workers: list[Admission]) -> None:
    limit = window("s", 10, 3600)
    for used, code in ((0, None), (8, "over_budget"), (8, "over_budget")):
        someone = Someone(budget(8, 8, limit, mode=ClaimMode.SHADOW))
        await workers[0].enter(someone.call)
        standing = someone.claims[0].standing
        assert standing is not None and standing.used == used
        assert someone.facts.get("shadow.budget") == code


async def test_alerts_come_once(workers: list[Admission], stores: list[StateStore], caplog: Any) -> None:
    limit = allowance("#al", 100, FOREVER, "al")
    for _ in range(12):
        someone = Someone(budget(10, 10, limit))
        with suppress(OverBudget):
            await workers[0].enter(someone.call)
        someone.end()
        await until_settled(workers)
    told = [alert for _, alert in reversed(await Ledger(stores[0]).alerts(100))]
    assert [(one.level, one.spent, one.limit, one.subject) for one in told] == [
        (level, spent, 100, "everyone") for level, spent in ((50, 50), (75, 80), (90, 90), (100, 100))
    ]
    assert [record.getMessage() for record in caplog.records if "budget" in record.getMessage()] == [
        f'budget "al" of everyone: {spent} tokens of 100 tokens are spent, {level} % or more'
        for spent, level in ((50, 50), (80, 75), (90, 90), (100, 100))
    ]


async def test_a_worker_that_dies_lets_go(stores: list[StateStore], monkeypatch: pytest.MonkeyPatch) -> None:
    """Within SILENCE and two beats; and what one that was only away brings later is still counted."""
    monkeypatch.setattr(reservations, "SILENCE", 0.3)
    monkeypatch.setattr(reservations, "BEAT", 0.1)
    assert SILENCE + 2 * BEAT <= 16
    limit = allowance("$dead", 100, FOREVER, "dead")
    key = f"{scripts.PREFIX}{limit.id}:everyone"
    dying, living = Admission(stores[0]), Admission(stores[1])
    dying.start()
    await asyncio.sleep(0.05)
    assert dying.reservations._beating is not None
    dying.reservations._beating.cancel()
    someone = Someone(budget(100, 60, limit))
    await dying.enter(someone.call)
    living.start()
    async with asyncio.timeout(20):
        while booked(await stores[0].run("HGETALL", key)) != (0, 0):
            await asyncio.sleep(0.05)
    someone.end()  # it was not dead at all
    await until_settled([dying])
    assert booked(await stores[0].run("HGETALL", key)) == (60, 0)
    await living.close()


async def test_a_store_that_freezes(server: Server, stores: list[StateStore], monkeypatch: pytest.MonkeyPatch) -> None:
    """Limits let calls through, budgets do not; nothing that the store did late stays reserved."""
    monkeypatch.setattr(reservations, "BEAT", 0.1)
    store = await StateStore.connect(f"unix://{server.socket}?timeout=0.2")
    worker = Admission(store)
    worker.start()
    limit = allowance("$frozen", 100, FOREVER, "frozen")
    before = Someone(budget(10, 7, limit))
    await worker.enter(before.call)
    with server.frozen():
        lenient, strict = Someone(budget(10, 10, limit)), Someone(budget(10, 10, limit, on_store_error="refuse"))
        await worker.enter(lenient.call)
        assert lenient.claims[0].standing is None
        with pytest.raises(Unavailable):
            await worker.enter(strict.call)
        for someone in (before, lenient, strict):
            someone.end()
        await asyncio.sleep(0.3)
    key = f"{scripts.PREFIX}{limit.id}:everyone"
    async with asyncio.timeout(20):
        while booked(await stores[1].run("HGETALL", key)) != (7, 0):
            await asyncio.sleep(0.05)
    await worker.close()
    await store.close()


async def test_the_books_can_be_read_changed_and_wiped(workers: list[Admission], stores: list[StateStore]) -> None:
    ledger = Ledger(stores[0])
    limits = [allowance("$day", 100, FOREVER, "day"), window("#roll", 100, 86400, "roll")]

    async def spend(amount: int, truth: int) -> tuple[Someone, bool]:
        someone = Someone(*(budget(amount, truth, one) for one in limits))
        try:
            await workers[0].enter(someone.call)
        except OverBudget:
            return someone, False
        return someone, True

    (await spend(90, 80))[0].end()
    await until_settled(workers)
    day, roll = await ledger.accounts()
    assert (day.budget, day.subject, day.money, day.rolling) == ("day", "everyone", True, False)
    assert (day.spent, day.reserved) == (80, 0)
    assert (roll.budget, roll.money, roll.rolling, roll.spent, roll.limit) == ("roll", False, True, 80, 100)
    assert not (await spend(90, 80))[1]

    for account in (day, roll):
        await ledger.set_limit(account, 500)
    assert [one.limit for one in await ledger.accounts()] == [500, 500]
    under_way, passed = await spend(90, 70)
    assert passed
    for account in (day, roll):
        await ledger.set_limit(account, None)
        await ledger.reset(account)
    assert [(one.spent, one.reserved, one.limit) for one in await ledger.accounts()] == [(0, 90, 100), (0, 0, 100)]
    under_way.end()
    await until_settled(workers)
    # What was under way when a rolling budget was emptied is forgotten with it.
    assert [(one.spent, one.reserved) for one in await ledger.accounts()] == [(70, 0), (0, 0)]
    assert (await spend(30, 30))[1]
    assert [one.spent + one.reserved for one in await ledger.accounts(budget="roll")] == [30]
    assert await ledger.accounts(subject="nobody") == []
