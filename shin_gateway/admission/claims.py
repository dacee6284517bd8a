"""What addons ask for on a call's behalf before it may go on: a share of a limit, reserved now and settled at its end.

An addon of the stages identify and admit appends claims to `call.claims`; behind the last of them the gate asks for
all of them in one atomic step (lua/enter.lua). Amounts are whole numbers: calls, tokens, billionths of a dollar.
"""

from __future__ import annotations

import enum
import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple

from shin_gateway.errors import Refusal

if TYPE_CHECKING:
    from shin_gateway.call import Call
    from shin_gateway.outcome import Outcome

log = logging.getLogger(__name__)

SLOTS = 60
"""Into which a sliding window is divided: it is exact to a 60th of its length, and errs to the strict side."""

MOST = 2**52
"""The largest limit and amount: what comes out of twice as much is still exact in the store's scripts."""

_MICRO = 1_000_000
_MILLI = 1000


class ClaimMode(enum.IntEnum):
    ENFORCE = 0
    SHADOW = 1
    """Says that it would refuse, and refuses nothing."""
    COUNT = 2
    """Is taken whether there is room or not."""


class Limit(NamedTuple):
    """One limit as the store's scripts know it. Made once by `bucket`, `window` or `allowance`, not for every call."""

    kind: Literal["bucket", "window", "allowance", "places"]
    id: str
    """Part of the key: two limits that count apart have different ids."""
    numbers: tuple[int | float, ...]
    name: str = ""
    """Under which somebody may see it and change it; empty: nobody may."""


def bucket(id: str, amount: int, seconds: float, burst: float = 1.0) -> Limit:
    """`amount` in `seconds` come back evenly; `burst` times as much fits into the bucket.

    The store counts in whole microseconds: what comes back less often than once a millisecond does so a fraction of one
    later; what comes back more often is counted exactly to a microsecond's worth for each call.
    """
    each = seconds * _MICRO / amount
    return Limit("bucket", f"b:{id}", (math.ceil(each) if each >= _MILLI else each, max(1, round(amount * burst))))


def window(id: str, amount: int, seconds: float, name: str = "") -> Limit:
    """No window of so many seconds holds more than `amount`."""
    return Limit("window", f"w:{id}", (amount, seconds * _MICRO / SLOTS, SLOTS), name)


def allowance(id: str, amount: int, ends: float, name: str = "") -> Limit:
    """`amount` until `ends` (Unix seconds), which is part of the key."""
    return Limit("allowance", f"a:{id}:{ends:.0f}", (amount, ends * _MICRO), name)


class Standing(NamedTuple):
    """How a limit stood before the call."""

    wait: float
    """Seconds until there is room for it; 0: there is, NEVER: there never will be."""
    used: int
    limit: int
    reset: float
    """Seconds until all of it is back."""

    @property
    def passes(self) -> bool:
        return self.wait == 0

    def remaining(self, amount: int) -> int:
        """What is left once `amount` is taken."""
        return max(0, self.limit - self.used - amount)


NEVER = -1.0

Truth = Callable[["Call", "Outcome"], int]
Refuse = Callable[["Call", "Claim"], Refusal]
Otherwise = Callable[["Call", "Claim"], "Sequence[Claim] | None"]


@dataclass(slots=True, eq=False)
class Claim:
    """What one call asks of one limit."""

    addon: str
    """Who refuses, if there is no room."""
    limit: Limit
    subject: str
    """For whom it counts: `user alice`; what differs here counts apart."""
    amount: int
    refuse: Refuse
    """Why the call may not go on. Asked when `standing` says so."""
    truth: Truth | None = None
    """What it came to, once the call has ended; None: what was asked for stays taken."""
    otherwise: Otherwise | None = None
    """What to ask for in the place of this addon's claims where there is no room, having changed the call; None: no."""
    mode: ClaimMode = ClaimMode.ENFORCE
    on_store_error: Literal["allow", "refuse"] = "allow"
    standing: Standing | None = None
    """How the limit stood; None where nobody could be asked."""

    def came_to(self, call: Call, outcome: Outcome) -> int:
        """What is settled: never less than nothing; what was reserved where nobody can tell."""
        if self.truth is None:
            return self.amount
        try:
            return max(0, self.truth(call, outcome))
        except Exception:  # the other claims of the call are settled all the same
            log.exception("what call %s came to cannot be told to %s", call.id, self.addon)
            return self.amount

    def packed(self) -> tuple[int | float | str, ...]:
        kind, id, numbers, name = self.limit
        settled = 0 if self.truth is None else 1
        known_as = f"{name}:{self.subject}" if name else ""
        return (kind, f"{id}:{self.subject}", self.mode.value, self.amount, settled, *numbers, known_as)
