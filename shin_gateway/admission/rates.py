"""Rate limits as people write them, and as claims are made of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Self

from pydantic import Field, ValidationError, model_validator

from shin_gateway.addon import Settings
from shin_gateway.admission.claims import MOST, Claim, Limit, Truth, bucket, window
from shin_gateway.admission.estimates import Estimate, came_to
from shin_gateway.admission.subjects import Per, SubjectOf, subject_of
from shin_gateway.units import PerTime, Rate, span

Unit = Literal["requests", "tokens", "input-tokens", "output-tokens"]
"""What is counted, as the headers name it."""

Count = Callable[[Estimate], int]

_COUNTS: dict[Unit, Count] = {
    "requests": lambda used: 1,
    "tokens": lambda used: min(used.tokens, MOST),
    "input-tokens": lambda used: used.input,
    "output-tokens": lambda used: used.output,
}


class OneLimit(Settings):
    """How much, in what time, and for whom it counts."""

    requests: PerTime | None = None
    """Calls: `60/min`."""
    tokens: PerTime | None = None
    """Tokens of input and output together: `200k/min`."""
    input_tokens: PerTime | None = None
    """Tokens of input."""
    output_tokens: PerTime | None = None
    """Tokens of output."""
    per: Per = ("user",)
    """For whom it counts: `user`, `key`, `team`, `project`, `ip`, `model`, `host`, a list of them of which each
    combination counts apart, or `everyone` together."""
    window: Literal["bucket", "sliding"] = "bucket"
    """`bucket`: what was used comes back evenly. `sliding`: no stretch of that time ever holds more."""
    burst: Annotated[float, Field(ge=0.01, le=100)] = 1.0
    """How much of it may be used at once, of a bucket alone: 1.5 is half as much again."""

    @model_validator(mode="after")
    def _sensible(self) -> Self:
        if self.window == "sliding" and self.burst != 1.0:
            raise ValueError("`burst` is for a bucket; a sliding window has none")
        return self

    @property
    def rates(self) -> dict[Unit, Rate]:
        written: dict[Unit, Rate | None] = {
            "requests": self.requests,
            "tokens": self.tokens,
            "input-tokens": self.input_tokens,
            "output-tokens": self.output_tokens,
        }
        return {unit: rate for unit, rate in written.items() if rate is not None}


class Limits(OneLimit):
    """One limit, or a list of them."""

    limits: Annotated[tuple[OneLimit, ...], Field(max_length=20)] = ()
    """Several limits, in the place of one: all of them hold."""

    @model_validator(mode="after")
    def _either(self) -> Self:
        alone = [name for name in OneLimit.model_fields if name in self.model_fields_set]
        if self.limits and alone:
            raise ValueError(f"put `{alone[0]}` into one of `limits`, or leave `limits` out")
        for one in self.limits:
            if not one.rates:
                raise ValueError("a limit should have `requests`, `tokens`, `input_tokens` or `output_tokens`")
        return self

    @property
    def all(self) -> tuple[OneLimit, ...]:
        return self.limits or (self,)


@dataclass(frozen=True, slots=True)
class Measure:
    """One number of one limit, ready to be claimed."""

    unit: Unit
    rate: Rate
    limit: Limit
    subject: SubjectOf
    count: Count
    truth: Truth | None

    @property
    def words(self) -> str:
        """`60 requests per min`."""
        return f"{self.rate.amount:,} {self.unit.replace('-', ' ')} per {span(self.rate.seconds)}"


@dataclass(slots=True, eq=False, kw_only=True)
class RateClaim(Claim):
    """Knows which limit it is of."""

    measure: Measure
    taken: bool = False
    """Whether the call had it; not where this or another limit refused."""


def compiled(settings: Limits, scope: str, apart: bool) -> list[Measure]:
    """`scope` is part of every id: limits of different scopes never share a count. `apart`: policies do not either."""
    return [
        Measure(unit, rate, _limit(one, unit, rate, scope), subject_of(one.per, apart), _COUNTS[unit], _truth(unit))
        for one in settings.all
        for unit, rate in one.rates.items()
    ]


def _truth(unit: Unit) -> Truth | None:
    """A call that was let in has been made, whatever it came to; tokens are counted when it has ended."""
    if unit == "requests":
        return None
    count = _COUNTS[unit]
    return lambda call, outcome: count(came_to(call, outcome).tokens)


def _limit(one: OneLimit, unit: Unit, rate: Rate, scope: str) -> Limit:
    id = f"{scope}{unit}:{rate}:{'+'.join(one.per)}"
    if one.window == "sliding":
        return window(id, rate.amount, rate.seconds)
    return bucket(f"{id}:{one.burst:g}", rate.amount, rate.seconds, one.burst)


def read_limits(settings: Mapping[str, Any]) -> Limits:
    """A virtual key's own limits: settings as those of the addon `rate_limit`, of which `per` is `key` if it is not
    said. Raises ValueError."""
    try:
        return Limits.model_validate(_per_key(settings))
    except ValidationError as error:
        raise ValueError(said(error)) from None


def check_limits(settings: Mapping[str, Any]) -> None:
    """Whether a virtual key may have these limits. Raises ValueError that says what is wrong."""
    if settings and not any(one.rates for one in read_limits(settings).all):
        raise ValueError("limits: a limit should have `requests`, `tokens`, `input_tokens` or `output_tokens`")


def _per_key(settings: Mapping[str, Any]) -> dict[str, Any]:
    several = settings.get("limits")
    if isinstance(several, list | tuple):
        return {**settings, "limits": [{"per": "key", **one} if isinstance(one, Mapping) else one for one in several]}
    return {"per": "key", **settings}


def said(error: ValidationError) -> str:
    """The first thing that is wrong, and where: `limits[0].requests: write …`."""
    first = error.errors(include_url=False, include_input=False, include_context=False)[0]
    place = "".join(f"[{one}]" if isinstance(one, int) else f".{one}" for one in first["loc"]).removeprefix(".")
    message = first["msg"].removeprefix("Value error, ")
    if first["type"] == "extra_forbidden":
        message = "there is no such setting"
    return f"{place}: {message}" if place else message
