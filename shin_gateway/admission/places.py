"""Places: how many calls may be under way at once, and in which order those beyond wait."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from shin_gateway.admission.claims import Claim, ClaimMode, Limit

Class = Literal["critical", "high", "normal", "low", "batch"]

CLASSES: tuple[Class, ...] = ("critical", "high", "normal", "low", "batch")
"""Of priority, the most urgent first."""


class Line(NamedTuple):
    """What waiting in one class of a queue is like. Made once, not for every call."""

    name: Class
    weight: int
    depth: int
    """Calls of the class that may wait."""
    most: int
    """Places that calls of the class may fill."""
    idle_only: bool
    max_wait: float
    """Seconds."""


def places(id: str, calls: int, queue: int) -> Limit:
    """`calls` at once; `queue` more may wait, those of classes that only use idle places not counted."""
    return Limit("places", f"p:{id}", (calls, queue))


@dataclass(slots=True, eq=False, kw_only=True)
class PlaceClaim(Claim):
    """One place, given back when the call has ended."""

    line: Line
    tenant: str
    """Whose calls come in the order of their arrival; others' of the same class take turns with them."""
    place: int = 0
    """Where the call stood in the queue when it gave up; 0: it found no room in it."""

    def packed(self) -> tuple[int | float | str, ...]:
        kind, id, (calls, queue), _ = self.limit
        line, idle = self.line, 1 if self.line.idle_only else 0
        own = (line.most, line.name, line.weight, line.depth, idle, self.tenant)
        return (kind, f"{id}:{self.subject}", self.mode.value, 1, 1, calls, queue, *own, "")

    @property
    def key(self) -> str:
        return f"{self.limit.id}:{self.subject}"

    @property
    def calls(self) -> int:
        return int(self.limit.numbers[0])

    @property
    def queue(self) -> int:
        return int(self.limit.numbers[1])


def enforced(claims: Sequence[Claim]) -> list[PlaceClaim]:
    """The places among a call's claims, in the order in which they are taken."""
    found = [one for one in claims if isinstance(one, PlaceClaim) and one.mode is ClaimMode.ENFORCE]
    return sorted(found, key=lambda claim: claim.key) if len(found) > 1 else found


class Alone:
    """Places as this worker knows them by itself, for while the store cannot be asked: first come, first served."""

    def __init__(self) -> None:
        self._held: Counter[str] = Counter()
        self._lines: dict[str, deque[asyncio.Future[None]]] = {}

    def note(self, claims: Sequence[PlaceClaim]) -> None:
        """The store has given these."""
        for claim in claims:
            self._held[claim.key] += 1

    def give_back(self, claims: Sequence[PlaceClaim]) -> None:
        for claim in claims:
            self._pass_on(claim.key)

    async def take(self, claims: Sequence[PlaceClaim]) -> PlaceClaim | None:
        """All of them; else the one that there was no room for, or not in time, and none."""
        taken: list[PlaceClaim] = []
        try:
            for claim in claims:
                if not await self._take(claim):
                    self.give_back(taken)
                    return claim
                taken.append(claim)
        except asyncio.CancelledError:
            self.give_back(taken)
            raise
        return None

    async def _take(self, claim: PlaceClaim) -> bool:
        if self._held[claim.key] < claim.line.most:
            self._held[claim.key] += 1
            return True
        line = self._lines.setdefault(claim.key, deque())
        if len(line) >= claim.queue:
            return False
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        line.append(turn)
        try:
            async with asyncio.timeout(claim.line.max_wait):
                await turn
        except BaseException as error:
            if turn.done() and not turn.cancelled():
                self._pass_on(claim.key)
            elif turn in line:
                line.remove(turn)
            if isinstance(error, TimeoutError):
                claim.place = len(line) + 1
                return False
            raise
        return True

    def _pass_on(self, key: str) -> None:
        """The place goes to who waits for it; else it is free."""
        line = self._lines.get(key)
        while line:
            turn = line.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        self._lines.pop(key, None)
        self._held[key] -= 1
        if self._held[key] <= 0:
            del self._held[key]
