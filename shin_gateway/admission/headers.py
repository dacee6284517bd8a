"""How much is left of a caller's limits, as the SDKs of the client's dialect read it.

OpenAI: `x-ratelimit-{limit,remaining,reset}-{requests,tokens}`, resets as `1m30s` or `20ms`. Anthropic:
`anthropic-ratelimit-{requests,tokens,input-tokens,output-tokens}-{limit,remaining,reset}`, resets as RFC 3339.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from shin_gateway.admission.periods import rfc3339

if TYPE_CHECKING:
    from shin_gateway.admission.rates import RateClaim, Unit


def of_claims(dialect: str, claims: Iterable[RateClaim]) -> dict[str, str]:
    """For each unit, of the limit of which least is left."""
    tightest: dict[Unit, tuple[float, RateClaim]] = {}
    for claim in claims:
        if claim.standing is None:
            continue
        left = claim.standing.remaining(_taken(claim)) / max(1, claim.standing.limit)
        before = tightest.get(claim.measure.unit)
        if before is None or left < before[0]:
            tightest[claim.measure.unit] = left, claim
    anthropic = dialect.startswith("anthropic.")
    headers: dict[str, str] = {}
    for unit, (_, claim) in tightest.items():
        headers |= _anthropic(unit, claim) if anthropic else _openai(unit, claim)
    return headers


def _taken(claim: RateClaim) -> int:
    """What the call took of it: nothing where it was refused, by this limit or by another."""
    return claim.amount if claim.taken else 0


def _openai(unit: str, claim: RateClaim) -> Mapping[str, str]:
    limit, remaining, reset = _numbers(claim)
    return {
        f"x-ratelimit-limit-{unit}": str(limit),
        f"x-ratelimit-remaining-{unit}": str(remaining),
        f"x-ratelimit-reset-{unit}": go_duration(reset),
    }


def _anthropic(unit: str, claim: RateClaim) -> Mapping[str, str]:
    limit, remaining, reset = _numbers(claim)
    return {
        f"anthropic-ratelimit-{unit}-limit": str(limit),
        f"anthropic-ratelimit-{unit}-remaining": str(remaining),
        f"anthropic-ratelimit-{unit}-reset": rfc3339(math.ceil(time.time() + reset)),
    }


def _numbers(claim: RateClaim) -> tuple[int, int, float]:
    """Limit, what is left, seconds until all of it is back."""
    standing = claim.standing
    assert standing is not None
    taken = _taken(claim)
    reset = standing.reset
    if claim.limit.kind == "bucket":
        reset += taken * claim.limit.numbers[0] / 1e6
    return standing.limit, standing.remaining(taken), reset


def go_duration(seconds: float) -> str:
    """`20ms`, `1.5s`, `1m30s`, `2h0m0s`: as OpenAI's API writes it (Go's time.Duration)."""
    milliseconds = max(0, round(seconds * 1000))
    if milliseconds < 1000:
        return f"{milliseconds}ms" if milliseconds else "0s"
    minutes, rest = divmod(milliseconds, 60_000)
    hours, minutes = divmod(minutes, 60)
    text = f"{rest / 1000:g}s"
    if hours:
        return f"{hours}h{minutes}m{text}"
    return f"{minutes}m{text}" if minutes else text
