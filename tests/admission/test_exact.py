"""Buckets, windows and allowances on a real server against models in Python, with a clock that the test sets."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from shin_gateway.admission import scripts
from shin_gateway.admission.claims import NEVER, SLOTS, Claim, Limit, allowance, bucket, window
from shin_gateway.errors import OverBudget
from shin_gateway.stores.state import StateStore
from tests.stores.servers import Server

BEGIN = 2_000_000_000.0
"""Unix seconds at which the tests' clock begins: far ahead of the server's own, so that no key expires meanwhile."""
MICRO = 1_000_000
PERIOD = 36_000
LIMITS: dict[str, Limit] = {
    "bucket": bucket("b", 100, PERIOD, 1.5),
    "odd": bucket("o", 7, PERIOD - 1, 1.0),
    "window": window("w", 100, PERIOD),
    "allowance": allowance("a", 1000, BEGIN + 3 * PERIOD, "a"),
}


def never(*_: Any) -> Any:
    return OverBudget("no")


class Store:
    """The scripts, with a clock of our own in the place of the server's."""

    def __init__(self, url: str, runner: asyncio.Runner) -> None:
        self._runner = runner
        self.state: StateStore = runner.run(self._connect(url))
        self.enter = self.state.script(self._with_clock("enter"))
        self.leave = self.state.script(self._with_clock("leave"))

    async def _connect(self, url: str) -> StateStore:
        return await StateStore.connect(url)

    def _with_clock(self, name: str) -> str:
        return scripts.load(name).replace("redis.call('TIME')", "redis.call('MGET', 'clock', 'clock:us')")

    def run(self, *command: Any) -> Any:
        async def one() -> Any:
            return await self.state.run(*command)

        return self._runner.run(one())

    def ask(self, name: str, claim: Claim) -> tuple[int, tuple[float, ...]]:
        """Whether it was refused, and how the limit stood."""

        async def one() -> Any:
            packed = msgspec.msgpack.encode([claim.packed()])
            return await self.enter(["k"], [scripts.PREFIX, "w", name, packed])

        refused, (standing,), _ = msgspec.msgpack.decode(self._runner.run(one()))
        return refused, standing

    def settle(self, name: str, truth: int | None) -> None:
        async def one() -> Any:
            truths = b"" if truth is None else msgspec.msgpack.encode([truth])
            return await self.leave(["k"], [scripts.PREFIX, "w", name, truths])

        self._runner.run(one())

    def set_clock(self, now: int) -> None:
        self.run("MSET", "clock", now // MICRO, "clock:us", now % MICRO)


class Taken:
    """One call that was let in: when, how much of what, and what it came to if that is known."""

    def __init__(self, name: str, kind: str, at: int, amount: int) -> None:
        self.name, self.kind, self.at, self.amount = name, kind, at, amount
        self.open = True
        self.truth = amount

    @property
    def spent(self) -> int:
        return 0 if self.open else self.truth


def debt(limit: Limit, taken: list[Taken], now: int) -> float:
    """Microseconds until the bucket is full, had everybody said at once what he would use."""
    each, at, owed = limit.numbers[0], 0, 0.0
    for one in taken:
        owed = max(0.0, owed - (one.at - at)) + one.truth * each
        at = one.at
    return max(0.0, owed - (now - at))


class Machine(RuleBasedStateMachine):
    store: Store

    @initialize()
    def begin(self) -> None:
        self.store.run("FLUSHALL")
        self.now = int(BEGIN * MICRO)
        self.taken: list[Taken] = []
        self.number = 0
        self.store.set_clock(self.now)

    @rule(seconds=st.one_of(st.integers(0, 5000), st.sampled_from([600, PERIOD // 2, PERIOD + 601])))
    def wait(self, seconds: int) -> None:
        self.now += seconds * MICRO
        self.store.set_clock(self.now)

    @rule(
        kind=st.sampled_from(["bucket", "bucket", "window", "allowance"]),
        amount=st.integers(0, 120),
        settles=st.booleans(),
    )
    def ask(self, kind: str, amount: int, settles: bool) -> None:
        self.number += 1
        name = f"n{self.number}"
        claim = Claim("x", LIMITS[kind], "u", amount, never, truth=never if settles else None)
        refused, (wait, used, *_) = self.store.ask(name, claim)
        getattr(self, f"check_{kind}")(amount, refused, wait, used)
        assert bool(refused) == (wait != 0)
        if not refused:
            one = Taken(name, kind, self.now, amount)
            one.open = settles
            self.taken.append(one)

    @rule(kind=st.just("odd"))
    def ask_one(self, kind: str) -> None:
        """Requests, that are never settled: a bucket and nothing else, to the microsecond."""
        self.number += 1
        refused, (wait, *_) = self.store.ask(f"n{self.number}", Claim("x", LIMITS[kind], "u", 1, never))
        each, most = LIMITS[kind].numbers
        owed = debt(LIMITS[kind], self.of(kind), self.now)
        assert wait == pytest.approx(max(0, owed + (1 - most) * each), abs=1)
        assert bool(refused) == (wait > 0)
        if not refused:
            self.taken.append(one := Taken("", kind, self.now, 1))
            one.open = False

    def of(self, kind: str) -> list[Taken]:
        return [one for one in self.taken if one.kind == kind]

    def check_bucket(self, amount: int, refused: int, wait: float, used: int) -> None:
        each, most = LIMITS["bucket"].numbers
        exact = debt(LIMITS["bucket"], self.of("bucket"), self.now)
        assert used >= exact / each - 1e-6  # never more generous than if all had been known before
        if amount > most:
            assert wait == NEVER
        if not refused:
            assert exact + amount * each <= most * each + 1

    def check_window(self, amount: int, refused: int, wait: float, used: int) -> None:
        limit = int(LIMITS["window"].numbers[0])
        assert used == sum(self.window(self.now).values())
        assert (wait == NEVER) == (amount > limit)
        assert bool(refused) == (used + max(amount, 1) > limit)
        if wait > 0:
            later = self.window(self.now + int(wait) + 1)
            assert sum(later.values()) + max(amount, 1) <= limit

    def window(self, now: int) -> Counter[int]:
        _, size, _ = LIMITS["window"].numbers
        newest = int(now // size)
        held: Counter[int] = Counter()
        for one in self.of("window"):
            if one.at // size >= newest - SLOTS:
                held[int(one.at // size)] += one.truth
        return held

    def check_allowance(self, amount: int, refused: int, wait: float, used: int) -> None:
        limit = LIMITS["allowance"].numbers[0]
        assert used == sum(one.truth for one in self.of("allowance"))
        assert bool(refused) == (used + amount > limit or used >= limit)

    def open(self) -> list[Taken]:
        return [one for one in self.taken if one.open]

    @precondition(lambda self: self.open())
    @rule(data=st.data(), truth=st.one_of(st.none(), st.integers(0, 200)))
    def settle(self, data: st.DataObject, truth: int | None) -> None:
        one = data.draw(st.sampled_from(self.open()))
        if one.kind == "bucket":  # what is owed beyond two buckets is forgiven, which the model does not know
            truth = min(truth or 0, one.amount + 10)
        self.store.settle(one.name, truth)
        self.store.settle(one.name, 10_000)  # a second time does nothing
        size = LIMITS["window"].numbers[1]
        one.open = False
        if one.kind != "window" or one.at // size >= self.now // size - SLOTS:  # else it has gone out already
            one.truth = truth or 0

    @invariant()
    def bucket_is_never_too_generous(self) -> None:
        if hasattr(self, "taken"):
            _, (wait, used, *_) = self.store.ask("look", Claim("x", LIMITS["bucket"], "u", 0, never))
            self.check_bucket(0, wait != 0, wait, used)

    @invariant()
    def books_agree(self) -> None:
        if not hasattr(self, "taken"):
            return
        spent = sum(one.truth for one in self.of("allowance") if not one.open)
        held = sum(one.truth for one in self.of("allowance") if one.open)  # or never to be settled
        kept = self.store.run("HMGET", f"{scripts.PREFIX}{LIMITS['allowance'].id}:u", "s", "r")
        assert sum(int(one or 0) for one in kept) == spent + held

    def teardown(self) -> None:
        if not hasattr(self, "taken"):
            return
        for one in self.open():
            self.store.settle(one.name, None)
            one.open, one.truth = False, 0
        assert self.store.run("EXISTS", f"{scripts.PREFIX}open:w") == 0


def test_against_models(server: Server, tmp_path: Path) -> None:
    with asyncio.Runner() as runner:
        store = Store(f"unix://{server.socket}?timeout=5", runner)
        machine = type("OnServer", (Machine,), {"store": store})
        run_state_machine_as_test(
            machine, settings=settings(max_examples=80, stateful_step_count=30, deadline=None, database=None)
        )
        runner.run(store.state.close())


def test_what_came_back_by_itself_is_not_given_back_again(server: Server) -> None:
    """A call holds a hundred until the bucket is full again; the next takes a hundred; the first used none."""
    with asyncio.Runner() as runner:
        store = Store(f"unix://{server.socket}?timeout=5", runner)
        store.run("FLUSHALL")
        claim = Claim("x", bucket("b", 100, PERIOD), "u", 100, never, truth=never)
        store.set_clock(int(BEGIN * MICRO))
        assert store.ask("first", claim)[0] == 0
        store.set_clock(int((BEGIN + PERIOD) * MICRO))
        assert store.ask("second", claim)[0] == 0
        store.settle("first", 0)
        refused, (wait, used, *_) = store.ask("third", claim)
        assert (refused, used) == (1, 100)
        assert wait == PERIOD * MICRO
        store.settle("second", 40)  # its own unused part comes back at once
        assert store.ask("fourth", claim)[1][1] == 40
        runner.run(store.state.close())


def test_clocks_that_jump(server: Server) -> None:
    """Back and ahead, by little and by much: nobody is locked out for long, and no budget is forgotten."""
    with asyncio.Runner() as runner:
        store = Store(f"unix://{server.socket}?timeout=5", runner)
        store.run("FLUSHALL")
        full = {
            name: Claim("x", LIMITS[name], "u", amount, never)
            for name, amount in (("bucket", 150), ("window", 100), ("allowance", 1000))
        }

        def at(seconds: float) -> dict[str, int]:
            store.set_clock(int((BEGIN + seconds) * MICRO))
            return {name: int(store.ask("n", claim)[1][1]) for name, claim in full.items()}

        assert at(0) == {"bucket": 0, "window": 0, "allowance": 0}
        assert at(-30) == {"bucket": 151, "window": 100, "allowance": 1000}
        far = at(-50 * PERIOD)
        assert far == {"bucket": 300, "window": 0, "allowance": 1000}
        wait = store.ask("n", full["bucket"])[1][0]
        assert wait <= 2 * 1.5 * PERIOD * MICRO
        assert at(10 * PERIOD) == {"bucket": 0, "window": 0, "allowance": 1000}
        runner.run(store.state.close())


def test_two_that_are_given_back_do_not_give_back_a_third(server: Server) -> None:
    """What was given back since a call began counts against what it may give back itself."""
    with asyncio.Runner() as runner:
        store = Store(f"unix://{server.socket}?timeout=5", runner)
        store.run("FLUSHALL")
        claim = Claim("x", bucket("b", 100, PERIOD, 3), "u", 100, never, truth=never)
        store.set_clock(int(BEGIN * MICRO))
        for name in ("a", "b"):
            assert store.ask(name, claim)[0] == 0
        store.settle("a", 0)
        store.set_clock(int((BEGIN + PERIOD * 0.98) * MICRO))
        assert store.ask("c", claim)[1][1] == 2
        store.settle("b", 0)
        assert store.ask("d", claim)[1][1] >= 100
        runner.run(store.state.close())


def test_debts_are_two_buckets_at_most(server: Server) -> None:
    with asyncio.Runner() as runner:
        store = Store(f"unix://{server.socket}?timeout=5", runner)
        store.run("FLUSHALL")
        claim = Claim("x", bucket("b", 100, PERIOD), "u", 1, never, truth=never)
        store.set_clock(int(BEGIN * MICRO))
        assert store.ask("a", claim)[0] == 0
        store.settle("a", 100_000)
        refused, (wait, used, *_) = store.ask("b", claim)
        assert (refused, used) == (1, 200)
        assert wait <= 2 * PERIOD * MICRO
        runner.run(store.state.close())
