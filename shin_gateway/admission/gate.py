"""Where a call is admitted: all claims on its behalf in one round trip at most, settled when its outcome is known."""

from __future__ import annotations

import secrets
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec

from shin_gateway.admission.claims import Claim, ClaimMode, Standing
from shin_gateway.admission.leases import Leases
from shin_gateway.admission.places import Alone, PlaceClaim, enforced
from shin_gateway.admission.reservations import NOTHING, Reservations
from shin_gateway.admission.waiting import Waiting
from shin_gateway.errors import Refusal, Unavailable
from shin_gateway.stores.errors import StoreError
from shin_gateway.stores.outage import Outage
from shin_gateway.stores.state import StateStore

if TYPE_CHECKING:
    from shin_gateway.addon import Forward
    from shin_gateway.call import Call
    from shin_gateway.outcome import Outcome
    from shin_gateway.reply import Reply

_TRIES = 3
"""How often claims may be changed for others before the last refusal stands."""
_MICRO = 1e-6

_pack = msgspec.msgpack.Encoder().encode
_unpack = msgspec.msgpack.Decoder(tuple[int, list[tuple[float, float, float, float]], int]).decode


class Admission:
    """One worker's way in. `start` it before the first call."""

    def __init__(self, state: StateStore) -> None:
        self.reservations = Reservations(state)
        self._leases = Leases(state, self.reservations)
        self._waiting = Waiting(state, self.reservations.worker)
        self._alone = Alone()
        self._outage = Outage("limits, budgets and places cannot be asked")

    def start(self) -> None:
        self.reservations.start()

    async def close(self) -> None:
        """Settle what can be settled. Call it when no call is under way and before the store is closed."""
        await self.reservations.stop()
        await self._waiting.close()
        await self._leases.close()
        await self.reservations.close()

    async def enter(self, call: Call) -> None:
        """Take what the call's claims ask for, or nothing. Raises what the claim that found no room refuses with."""
        if self._leases.draw(call):
            self._hold_places(call, enforced(call.claims))
            return
        tries = 0
        while (refused := await self._ask(call)) is not None:
            tries += 1
            instead = refused.otherwise(call, refused) if refused.otherwise is not None else None
            if instead is None or tries == _TRIES:
                raise _refusal(call, refused)
            call.claims = [claim for claim in call.claims if claim.addon != refused.addon] + list(instead)

    async def _ask(self, call: Call) -> Claim | None:
        """The claim that refuses; None when all were taken."""
        claims, name = call.claims, call.id + secrets.token_hex(2)
        settles = any(claim.truth is not None for claim in claims)
        try:
            reply = await self.reservations.make(name, _pack([claim.packed() for claim in claims]), settles)
        except StoreError as error:
            return await self._without_store(call, error)
        self._outage.answered()
        refused, standings, waits = _unpack(reply)
        _note_standings(call, standings)
        if refused:
            self.reservations.held.discard(name)
            return claims[refused - 1]
        return await self._let_in(name, call, settles, bool(waits))

    async def _let_in(self, name: str, call: Call, settles: bool, waits: bool) -> Claim | None:
        """Once it has its places; the claim that did not come in time."""
        claims, places = call.claims, enforced(call.claims)
        if waits:
            try:
                late = await self._wait(name, call, places)
            except StoreError as error:
                return await self._without_store(call, error)
            if late is not None:
                return late
        self._hold_places(call, places)
        if settles:
            call.on_end(lambda call, outcome: self._settle(name, claims, call, outcome))
        return None

    def _settle(self, name: str, claims: Sequence[Claim], call: Call, outcome: Outcome) -> None:
        truths = [claim.came_to(call, outcome) for claim in claims if claim.truth is not None]
        self.reservations.settle(name, _pack(truths))

    def _hold_places(self, call: Call, places: Sequence[PlaceClaim]) -> None:
        """Know them here too, for while the store is away."""
        if places:
            self._alone.note(places)
            call.on_end(lambda *_: self._alone.give_back(places))

    async def _wait(self, name: str, call: Call, places: Sequence[PlaceClaim]) -> PlaceClaim | None:
        """Until a reservation has its places; the one that did not come in time, having let go of everything."""
        started = time.perf_counter()
        first = min(places, key=lambda claim: claim.line.max_wait)
        try:
            first.place = await self._waiting.turn(name, first.line.max_wait)
        except BaseException:  # the caller left, or the store did
            self.reservations.settle(name, NOTHING)
            raise
        finally:
            call.outcome.timings.queued += time.perf_counter() - started
        if not first.place:
            return None
        self.reservations.settle(name, NOTHING)
        return first

    async def _without_store(self, call: Call, error: StoreError) -> PlaceClaim | None:
        """Go on without reservations, but not with more calls at once than this worker alone may have. Raises
        Unavailable where a claim must not go unasked."""
        self._outage.failed(error)
        _allow_without_store(call.claims, error)
        places = enforced(call.claims)
        if not places:
            return None
        call.note(places="alone")
        started = time.perf_counter()
        try:
            late = await self._alone.take(places)
        finally:
            call.outcome.timings.queued += time.perf_counter() - started
        if late is None:
            call.on_end(lambda *_: self._alone.give_back(places))
        return late


def gate(admission: Admission, forward: Forward) -> Forward:
    """The layer behind the last addon that may have claimed something."""

    async def layer(call: Call) -> Reply:
        if call.claims:
            await admission.enter(call)
        return await forward(call)

    return layer


def _note_standings(call: Call, standings: Sequence[tuple[float, float, float, float]]) -> None:
    for claim, (wait, used, limit, reset) in zip(call.claims, standings, strict=True):
        seconds = wait * _MICRO if wait > 0 else wait
        claim.standing = Standing(seconds, int(used), int(limit), reset * _MICRO)
        if wait and claim.mode is ClaimMode.SHADOW:
            call.note(**{f"shadow.{claim.addon}": claim.refuse(call, claim).code})


def _refusal(call: Call, claim: Claim) -> Refusal:
    refusal = claim.refuse(call, claim)
    refusal.addon = claim.addon
    return refusal


def _allow_without_store(claims: Sequence[Claim], error: StoreError) -> None:
    """Raises Unavailable where a claim must not go unasked."""
    strict = next(
        (claim for claim in claims if claim.on_store_error == "refuse" and claim.mode is ClaimMode.ENFORCE), None
    )
    if strict is None:
        return
    refusal = Unavailable("What this call may use cannot be looked up now.", code="store_unavailable", retry_after=1.0)
    refusal.addon = strict.addon
    raise refusal from error
