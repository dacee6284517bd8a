"""Shares of limits that a worker holds ahead of its calls, so that most of them need no round trip at all.

Where many calls ask for the same limit, the worker reserves a little more than they will need in the next moment, and
lets them draw on it by itself. A lease is a reservation like any other: it counts as used, is settled when it is
renewed, and is let go of when its worker dies. So a limit is kept exactly; but near it, where each call counts, nothing
is leased, and every call asks the store (`PLENTY`).
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

import msgspec

from shin_gateway.admission import scripts
from shin_gateway.admission.alerts import tell
from shin_gateway.admission.claims import Claim, Standing
from shin_gateway.admission.places import PlaceClaim
from shin_gateway.admission.reservations import Reservations
from shin_gateway.stores.errors import StoreError
from shin_gateway.stores.state import StateStore

if TYPE_CHECKING:
    from shin_gateway.call import Call
    from shin_gateway.outcome import Outcome

log = logging.getLogger(__name__)

ROUND = 0.1
"""Seconds between two renewals."""
STALE = 0.5
"""Seconds without a renewal after which nobody draws on a lease: the store may be away."""
BUSY = 8
"""Calls that ask for a limit between two renewals, from which on it is worth a lease."""
PLENTY = 256
"""Calls like the last ones that there must be room for, or nothing is leased."""
MOST = 1000
"""Leases of one worker. Limits beyond that are asked for call by call."""
_COOL = 2.0
"""Seconds in which what was leased and not drawn on is not leased again."""
_KINDS = frozenset({"bucket", "allowance", "places"})
"""Of limits. A call that claims of another kind asks the store for all that it claims."""
_MICRO = 1e-6

_pack = msgspec.msgpack.Encoder().encode
_unpack = msgspec.msgpack.Decoder(list[tuple[int, int, float, float, int]]).decode


class Lease:
    """One limit's. `held` is reserved in the store: what calls under way hold, what others came to, what is left."""

    __slots__ = (
        "asked", "calls", "claim", "cold_until", "drawn", "drew", "fades", "held", "name", "scarce", "spent",
        "standing", "taken",
    )  # fmt: skip

    def __init__(self, claim: Claim) -> None:
        self.claim = claim
        """The last that asked: the limit as it is now."""
        self.name = ""
        """Of the reservation; empty: there is none."""
        self.held = self.drawn = self.spent = 0
        self.asked = self.calls = self.drew = 0
        """Since the last renewal: how much was asked for, by how many calls, and how many of them had it from here."""
        self.taken = self.cold_until = 0.0
        """On the monotonic clock: when it was reserved; when it may be leased again."""
        self.fades = 1 / (claim.limit.numbers[0] * _MICRO) if claim.limit.kind == "bucket" else 0.0
        """What comes back to a bucket a second: so much of what was taken from it ahead is worth nothing any more."""
        self.scarce = False
        self.standing = Standing(0.0, 0, 0, 0.0)
        """How the limit stood at the last renewal, without what this worker holds."""

    def left(self, now: float) -> float:
        return self.held - self.drawn - self.spent - self.fades * (now - self.taken)

    def gives(self, claim: Claim, now: float) -> bool:
        """Whether there is enough for it. A class that may only use what is idle does not use what is held ahead."""
        if now - self.taken > STALE or (isinstance(claim, PlaceClaim) and claim.line.idle_only):
            return False
        return self.left(now) >= max(1, claim.amount)

    def draw(self, claim: Claim) -> None:
        _, used, limit, reset = self.standing
        claim.standing = Standing(0.0, used + self.drawn + self.spent, limit, reset)
        self.drew += 1
        if claim.truth is None:
            self.spent += claim.amount
        else:
            self.drawn += claim.amount

    @property
    def idle(self) -> bool:
        return not (self.name or self.drawn or self.spent or self.asked)


class Leases:
    """One worker's. It renews them while there are any."""

    def __init__(self, state: StateStore, reservations: Reservations) -> None:
        self._renew = state.script(scripts.load("renew"))
        self._reservations = reservations
        self._leases: dict[tuple[str, str], Lease] = {}
        self._round: asyncio.Task[None] | None = None
        self._stopping = False
        self._resting = True
        """Nothing is leased at the moment."""
        self._wake = asyncio.Event()

    def draw(self, call: Call) -> bool:
        """Whether all that the call claims was had from leases."""
        now, claims = time.monotonic(), call.claims
        if any(claim.limit.kind not in _KINDS for claim in claims):
            return False
        leases = [self._lease(claim) for claim in claims]
        enough = True
        for lease, claim in zip(leases, claims, strict=True):
            lease.asked += claim.amount
            lease.calls += 1
            if self._resting and lease.calls == BUSY:
                self._wake.set()
            enough = enough and lease.gives(claim, now)
        if not enough:
            return False
        for lease, claim in zip(leases, claims, strict=True):
            lease.draw(claim)
        call.on_end(lambda call, outcome: _give_back(claims, leases, call, outcome))
        return True

    def _lease(self, claim: Claim) -> Lease:
        key = claim.limit.id, claim.subject
        lease = self._leases.get(key)
        if lease is None:
            lease = Lease(claim)
            if len(self._leases) < MOST:
                self._leases[key] = lease
                self._go_on()
        lease.claim = claim
        return lease

    def _go_on(self) -> None:
        if self._round is None or self._round.done():
            self._round = asyncio.create_task(self._keep(), name="leases")

    # Renewals

    async def close(self) -> None:
        """Let go of all of them."""
        self._stopping = True
        self._wake.set()
        if self._round is not None:
            await asyncio.gather(self._round, return_exceptions=True)  # cut short, it would leave nobody the wiser
        for lease in self._leases.values():
            lease.asked = lease.calls = 0
        await self._renew_all()

    async def _keep(self) -> None:
        """Renew every ROUND, the first time sooner, until nobody has asked for a while."""
        while self._leases and not self._stopping:
            self._wake.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(ROUND):
                    await self._wake.wait()
            try:
                await self._renew_all()
            except Exception:
                log.exception("leases: a round failed")

    async def _renew_all(self) -> None:
        for key in [key for key, lease in self._leases.items() if lease.idle]:
            del self._leases[key]
        now = time.monotonic()
        batch = [one for lease in self._leases.values() if (one := _Renewal.of(lease, now)) is not None]
        self._resting = not batch
        if not batch:
            return
        held, worker = self._reservations.held, self._reservations.worker
        held.update(one.name for one in batch)
        try:
            packed = _pack([one.packed for one in batch])
            reply, told = await self._renew([self._reservations.key], [scripts.PREFIX, worker, packed])
        except StoreError as error:
            log.debug("leases: %s", error)
            for one in batch:
                self._lose(one)
            return
        for one, said in zip(batch, _unpack(reply), strict=True):
            held.discard(one.lease.name)
            one.got(*said)
            if not one.lease.name:
                held.discard(one.name)
        tell(told)

    def _lose(self, one: _Renewal) -> None:
        """Nobody knows whether the store has heard: settle the old reservation by itself, and begin anew."""
        self._reservations.held.discard(one.name)  # should it have been made, the next beats let go of it
        if one.lease.name:
            self._reservations.settle(one.lease.name, _pack([one.spent]))
        one.lost()


def _give_back(claims: Sequence[Claim], leases: Sequence[Lease], call: Call, outcome: Outcome) -> None:
    for lease, claim in zip(leases, claims, strict=True):
        if claim.truth is not None:
            lease.drawn -= claim.amount
            lease.spent += claim.came_to(call, outcome)


class _Renewal:
    """One lease on its way to the store. Calls may draw meanwhile on what is kept in any case."""

    __slots__ = ("_kept", "_more", "lease", "name", "packed", "spent")

    def __init__(self, lease: Lease, kept: int, more: int, now: float) -> None:
        self.lease = lease
        self.name = f"lease:{secrets.token_hex(8)}"
        # Without a reservation there is nothing to settle yet: what was spent is reserved now, and settled next time.
        self.spent = lease.spent if lease.name else 0
        self._kept = lease.drawn + lease.spent - self.spent + kept
        plenty = PLENTY * max(1, lease.asked // max(1, lease.calls))
        self.packed = (lease.name, self.spent, self.name, _ahead(lease.claim, self._kept), more, plenty)
        lease.held, lease.taken = self.spent + self._kept, now
        lease.asked = lease.calls = lease.drew = 0

    @classmethod
    def of(cls, lease: Lease, now: float) -> _Renewal | None:
        """None where there is nothing to be said."""
        late = now - lease.taken > STALE  # the store or this worker: no call could have drawn on it
        if lease.held and lease.calls and not lease.drew and not late:  # some other limit is what these calls lack
            lease.cold_until = now + _COOL
        busy = lease.calls >= BUSY and now >= lease.cold_until
        until_next = max(ROUND, now - lease.taken) if lease.name else ROUND  # a busy worker is late
        wanted = int(2 * (lease.asked + lease.fades * until_next)) if busy else 0
        left = max(0, int(lease.left(now)))
        all_back = lease.name and not lease.drawn  # nothing is left of it, and its reservation is still there
        if not (wanted or left or lease.spent or all_back):
            lease.asked = lease.calls = lease.drew = 0
            return None
        kept = 0 if lease.scarce else min(left, wanted)
        return cls(lease, kept, wanted - kept, now)

    def got(self, more: int, used: float, limit: float, reset: float, scarce: int) -> None:
        lease = self.lease
        lease.held += more - self.spent
        lease.spent -= self.spent
        lease.name = self.name if self._kept + more else ""
        lease.scarce = bool(scarce)
        lease.standing = Standing(0.0, int(used), int(limit), reset * _MICRO)

    def lost(self) -> None:
        lease = self.lease
        lease.spent -= self.spent
        lease.name, lease.held, lease.taken = "", lease.drawn + lease.spent, 0.0


def _ahead(claim: Claim, amount: int) -> tuple[int | float | str, ...]:
    """The claim as one for a lease."""
    kind, key, mode, _, _, *rest = claim.packed()
    return ("spare" if kind == "places" else kind, key, mode, amount, 1, *rest)
