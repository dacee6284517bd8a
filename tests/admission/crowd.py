"""Calls without a gateway around them: what claims places, and a counter that knows nothing of the store."""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, cast

from shin_gateway.admission import Admission
from shin_gateway.admission.claims import Claim, ClaimMode
from shin_gateway.admission.places import Class, Line, PlaceClaim, places
from shin_gateway.call import Call
from shin_gateway.errors import RateLimited, Refusal
from shin_gateway.outcome import Outcome
from shin_gateway.stores.state import StateStore

WEIGHTS: dict[Class, int] = {"critical": 16, "high": 8, "normal": 4, "low": 2, "batch": 1}
_numbers = itertools.count(1)


def refuse(call: Call, claim: Claim) -> Refusal:
    assert isinstance(claim, PlaceClaim)
    return RateLimited("no", code="queue_timeout" if claim.place else "queue_full")


def place(
    calls: int = 1,
    *,
    id: str = "t",
    subject: str = "policy",
    tenant: str = "user ann",
    name: Class = "normal",
    queue: int = 100,
    depth: int = 1000,
    most: int | None = None,
    idle_only: bool = False,
    max_wait: float = 10,
    mode: ClaimMode = ClaimMode.ENFORCE,
    on_store_error: Any = "allow",
) -> PlaceClaim:
    line = Line(name, WEIGHTS[name], depth, calls if most is None else most, idle_only, max_wait)
    return PlaceClaim(
        "concurrency", places(id, calls, queue), subject, 1, refuse, lambda *_: 0, mode=mode,
        on_store_error=on_store_error, line=line, tenant=tenant,
    )  # fmt: skip


class Someone:
    """As much of a call as the gate knows."""

    def __init__(self, *claims: Claim) -> None:
        self.id = f"{next(_numbers):028x}"
        self.claims = list(claims)
        self.outcome = Outcome()
        self.facts: dict[str, str] = {}
        self._ends: list[Callable[[Call, Outcome], Any]] = []

    @property
    def call(self) -> Call:
        return cast(Call, self)

    def note(self, **facts: str) -> None:
        self.facts.update(facts)

    def on_end(self, callback: Callable[[Call, Outcome], Any]) -> None:
        self._ends.append(callback)

    def end(self) -> None:
        while self._ends:
            self._ends.pop()(self.call, self.outcome)


class Upstream:
    """Counts who is there at once."""

    def __init__(self) -> None:
        self.now: Counter[str] = Counter()
        self.most: Counter[str] = Counter()
        self.order: list[str] = []

    @contextmanager
    def visit(self, name: str, *keys: str) -> Iterator[None]:
        self.order.append(name)
        for key in keys:
            self.now[key] += 1
            self.most[key] = max(self.most[key], self.now[key])
        try:
            yield
        finally:
            for key in keys:
                self.now[key] -= 1


async def visit(
    admission: Admission, upstream: Upstream, seconds: float, *claims: PlaceClaim, name: str = ""
) -> Someone:
    """Go in, stay, and leave, however it ends. Raises Refusal."""
    someone = Someone(*claims)
    try:
        await admission.enter(someone.call)
        with upstream.visit(name, *(claim.key for claim in claims)):
            await asyncio.sleep(seconds)
    finally:
        someone.end()
    return someone


async def left_over(state: StateStore) -> dict[str, int]:
    """Keys of the admission that would never go by themselves, but for the list of workers."""
    found = {}
    for key in await state.run("KEYS", "shin:{admission}:*"):
        if await state.run("TTL", key) == -1 and key != b"shin:{admission}:workers":
            found[key.decode()] = 1
    return found


async def settled(admissions: list[Admission], state: StateStore, seconds: float = 20) -> dict[str, int]:
    """What is left over, once nothing is on its way any more."""
    for _ in range(int(seconds / 0.05)):
        if not any(one.reservations._tasks for one in admissions) and not (found := await left_over(state)):
            return {}
        await asyncio.sleep(0.05)
    return found
