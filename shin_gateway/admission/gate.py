"""Where a call is admitted: all claims on its behalf in one round trip, settled when its outcome is known.

A reservation belongs to the worker that made it. One whose settling cannot reach the store is tried again; one that
nobody here knows of, since a store that froze ran it late, is let go of; those of a worker that died are let go of by
the others (lua/beat.lua). So nothing stays reserved for longer than `SILENCE` and a beat or two.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import secrets
import socket
import time
from collections.abc import Awaitable, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from shin_gateway.admission import scripts
from shin_gateway.admission.alerts import tell
from shin_gateway.admission.claims import Claim, ClaimMode, Standing
from shin_gateway.admission.leases import Leases
from shin_gateway.admission.places import Alone, PlaceClaim, enforced
from shin_gateway.admission.waiting import Waiting
from shin_gateway.errors import Refusal, Unavailable
from shin_gateway.stores.errors import StoreError, StoreTimeout
from shin_gateway.stores.outage import Outage
from shin_gateway.stores.state import StateStore

if TYPE_CHECKING:
    from shin_gateway.addon import Forward
    from shin_gateway.call import Call
    from shin_gateway.outcome import Outcome
    from shin_gateway.reply import Reply

log = logging.getLogger(__name__)

BEAT = 3.0
"""Seconds between two signs of life of a worker."""
AGAIN = 0.5
"""Seconds after which what did not reach the store is tried again."""
SILENCE = 10.0
"""Seconds without one after which what a worker holds is let go of."""
_SWEPT = 500
"""Reservations of dead workers that one beat lets go of at most: some milliseconds of the store's time."""
_TRIES = 3
"""How often claims may be changed for others before the last refusal stands."""
_UNSETTLED = 10_000
"""Settlements that wait for a store that is down. Those beyond are let go of as if nothing had been used."""
_MICRO = 1e-6

_pack = msgspec.msgpack.Encoder().encode
_unpack = msgspec.msgpack.Decoder(tuple[int, list[tuple[float, float, float, float]], int]).decode


class Admission:
    """One worker's way in. `start` it before the first call."""

    def __init__(self, state: StateStore) -> None:
        self.worker = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"
        self._enter = state.script(scripts.load("enter"))
        self._leave = state.script(scripts.load("leave"))
        self._beat = state.script(scripts.load("beat"))
        self._waiting = Waiting(state, self.worker)
        self._alone = Alone()
        self._hurry = asyncio.Event()
        self._outage = Outage("limits, budgets and places cannot be asked")
        self._held: set[str] = set()
        """Reservations that were asked for and not settled yet."""
        self._unsettled: dict[str, bytes] = {}
        """Settlements that did not reach the store."""
        self._leases = Leases(
            state, self.worker, self._held, lambda name, truths: self._later(self._send(name, truths))
        )
        self._tasks: set[asyncio.Future[Any]] = set()
        self._beating: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._beating = asyncio.create_task(self._live(), name="admission")

    async def close(self) -> None:
        """Settle what can be settled. Call it when no call is under way and before the store is closed."""
        if self._beating is not None:
            self._beating.cancel()
            await asyncio.gather(self._beating, return_exceptions=True)
        await self._waiting.close()
        await self._leases.close()
        for name, truths in list(self._unsettled.items()):
            self._later(self._send(name, truths))
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=2)

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
        claims = call.claims
        name = call.id + secrets.token_hex(2)
        asked = asyncio.ensure_future(self._reserve(name, claims))
        settles = any(claim.truth is not None for claim in claims)
        if settles:
            self._held.add(name)
        try:
            reply = await asyncio.shield(asked)
        except asyncio.CancelledError:
            self._later(self._abandon(name, asked))
            raise
        except StoreError as error:
            self._held.discard(name)  # should it have been taken after all, the next beats find it
            if settles and isinstance(error, StoreTimeout):
                self._put_off(name, b"")
            return await self._without_store(call, error)
        self._outage.answered()
        refused, standings, waits = _unpack(reply)
        for claim, (wait, used, limit, reset) in zip(claims, standings, strict=True):
            seconds = wait * _MICRO if wait > 0 else wait
            claim.standing = Standing(seconds, int(used), int(limit), reset * _MICRO)
            if wait and claim.mode is ClaimMode.SHADOW:
                call.note(**{f"shadow.{claim.addon}": claim.refuse(call, claim).code})
        if refused:
            self._held.discard(name)
            return claims[refused - 1]
        places = enforced(claims)
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
            self._later(self._send(name, b""))
            raise
        finally:
            call.outcome.timings.queued += time.perf_counter() - started
        if not first.place:
            return None
        self._later(self._send(name, b""))
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

    async def _reserve(self, name: str, claims: Sequence[Claim]) -> bytes:
        packed = _pack([claim.packed() for claim in claims])
        reply: bytes = await self._enter([self._key], [scripts.PREFIX, self.worker, name, packed])
        return reply

    @property
    def _key(self) -> str:
        return f"{scripts.PREFIX}open:{self.worker}"

    # The end of a reservation

    async def _abandon(self, name: str, asked: Awaitable[bytes]) -> None:
        """The caller left while the store was asked: wait for its answer, so that nothing is taken after it is given
        back."""
        await asyncio.wait([asyncio.ensure_future(asked)])
        await self._send(name, b"")

    def _settle(self, name: str, claims: Sequence[Claim], call: Call, outcome: Outcome) -> None:
        truths = [max(0, claim.truth(call, outcome)) for claim in claims if claim.truth is not None]
        self._later(self._send(name, _pack(truths)))

    async def _send(self, name: str, truths: bytes) -> None:
        told = None
        try:
            told = await self._leave([self._key], [scripts.PREFIX, self.worker, name, truths])
        except StoreError:
            if self._put_off(name, truths):
                return
        self._unsettled.pop(name, None)
        self._held.discard(name)
        tell(told or ())

    def _put_off(self, name: str, truths: bytes) -> bool:
        """Settle it when the store can be asked again; whether there is room to remember that."""
        most = _UNSETTLED if truths else _UNSETTLED // 10  # the next beats find what was not used
        if len(self._unsettled) >= most and name not in self._unsettled:
            return False
        self._unsettled[name] = truths
        self._hurry.set()
        return True

    def _later(self, work: Awaitable[None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # While it lives

    async def _live(self) -> None:
        strange: set[str] = set()
        while True:
            self._hurry.clear()
            try:
                strange = await self._round(strange)
            except StoreError as error:
                log.debug("admission: %s", error)
                self._hurry.set()
            except Exception:
                log.exception("admission: a round failed")
            await asyncio.sleep(min(AGAIN, BEAT))
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._hurry.wait(), max(0.0, BEAT - AGAIN))

    async def _round(self, strange: set[str]) -> set[str]:
        """Beat, settle what is left, let go of what was strange before already. Returns what is strange now."""
        names = await self._beat([self._key], [scripts.PREFIX, self.worker, SILENCE, _SWEPT])
        for name, truths in list(self._unsettled.items()):
            await self._send(name, truths)
        open_here = {name.decode() for name in names}
        unknown = open_here - self._held
        for name in unknown & strange:
            await self._send(name, b"")
        return unknown


def gate(admission: Admission, forward: Forward) -> Forward:
    """The layer behind the last addon that may have claimed something."""

    async def layer(call: Call) -> Reply:
        if call.claims:
            await admission.enter(call)
        return await forward(call)

    return layer


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
