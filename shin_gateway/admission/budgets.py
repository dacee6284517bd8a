"""Budgets as people write them, and as claims are made of them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, NamedTuple, Self

from pydantic import BeforeValidator, Field, PlainSerializer, ValidationError, WithJsonSchema, model_validator

from shin_gateway.addon import Settings
from shin_gateway.admission.claims import Claim, Limit, allowance, bucket, window
from shin_gateway.admission.periods import Calendar, Period, Zone, parse_zone
from shin_gateway.admission.rates import said
from shin_gateway.admission.subjects import Per, subject_of
from shin_gateway.units import BILLION, PerTime, Rate, parse_amount, parse_money, parse_period, span

_CALENDAR: dict[str, Calendar] = {"day": "day", "week": "week", "month": "month"}
_ROLLING = re.compile(r"(.+?)\s+rolling")
_TOKENS = re.compile(r"(.+?)\s*tokens")
_EXAMPLE = "an amount and a period, like $20/day, 2M tokens/month or $20/24h rolling"
_LONGEST = 366 * 86400.0
_THROTTLE = Rate(6, 60.0)


class Allowed(NamedTuple):
    """So much in each period."""

    money: bool
    """Whether `amount` is billionths of a US dollar; else it is tokens."""
    amount: int
    period: Calendar | float
    """Of the calendar; or seconds, of which the last so many always count."""

    def __str__(self) -> str:
        over = self.period if isinstance(self.period, str) else f"{span(self.period)} rolling"
        return f"{_plain(self.amount) if self.money else f'{self.amount} tokens'}/{over}"


def _plain(billionths: int) -> str:
    whole, rest = divmod(billionths, BILLION)
    return f"${whole}.{rest:09d}".rstrip("0").rstrip(".")


def parse_allowed(value: Any) -> Allowed:
    """`$20/day`, `2M tokens/week`, `$500/month`, `$20/24h rolling`. Raises ValueError."""
    if isinstance(value, Allowed):
        return value
    amount, slash, period = value.partition("/") if isinstance(value, str) else ("", "", "")
    amount, period = amount.strip(), period.strip()
    tokens = _TOKENS.fullmatch(amount)
    if not slash or not (tokens or amount.startswith("$")):
        raise ValueError(f"write {_EXAMPLE}, not {value!r}")
    number = parse_amount(tokens[1], "a number of tokens, like 2M tokens") if tokens else parse_money(amount)
    return Allowed(tokens is None, number, _period(period))


def _period(text: str) -> Calendar | float:
    if text in _CALENDAR:
        return _CALENDAR[text]
    rolling = _ROLLING.fullmatch(text)
    if rolling is None:
        raise ValueError(f"a budget is for a day, a week or a month, or rolling, like 24h rolling, not {text!r}")
    seconds = parse_period(rolling[1], "a time, like 24h rolling")
    if not 1 <= seconds <= _LONGEST:
        raise ValueError(f"{text!r} should be a second to a year")
    return seconds


PerPeriod = Annotated[
    Allowed,
    BeforeValidator(parse_allowed),
    PlainSerializer(str),
    WithJsonSchema({"type": "string", "examples": ["$20/day", "2M tokens/month", "$20/24h rolling"]}),
]


class OneBudget(Settings):
    """How much may be spent, by whom, and what happens then."""

    limit: PerPeriod | None = None
    """`$20/day`, `2M tokens/month`, or of the last hours: `$20/24h rolling`."""
    per: Per = ("user",)
    """For whom it counts: `user`, `key`, `team`, `project`, `ip`, `model`, `host`, a list of them of which each
    combination counts apart, or `everyone` together."""
    name: Annotated[str, Field(pattern=r"^[\w .$/%+-]{0,60}$")] = ""
    """Budgets of one name are one budget, in whichever policies they stand. If it is not said, the name is made of the
    limit and for whom it counts."""
    timezone: Zone = parse_zone("UTC")
    """Where a day begins at midnight, a week on Monday, a month on its first day."""
    action: Literal["block", "throttle", "downgrade"] = "block"
    """What happens to calls beyond it: `block` answers 400; `throttle` lets some through; `downgrade` asks a cheaper
    model. The last two go on spending."""
    throttle: PerTime | None = None
    """How many calls `throttle` lets through; 6/min if it is not said."""
    downgrade: Annotated[str, Field(max_length=200)] = ""
    """The model that `downgrade` asks: an alias, `provider/model`, or on a provider's own host its name there."""

    @model_validator(mode="after")
    def _sensible(self) -> Self:
        if self.throttle is not None and self.action != "throttle":
            raise ValueError("`throttle` goes with `action: throttle`")
        if bool(self.downgrade) != (self.action == "downgrade"):
            raise ValueError("`action: downgrade` and `downgrade: MODEL` go together")
        return self


class Budgets(OneBudget):
    """One budget, or a list of them."""

    budgets: Annotated[tuple[OneBudget, ...], Field(max_length=20)] = ()
    """Several budgets, in the place of one: all of them hold."""

    @model_validator(mode="after")
    def _either(self) -> Self:
        alone = [name for name in OneBudget.model_fields if name in self.model_fields_set]
        if self.budgets and alone:
            raise ValueError(f"put `{alone[0]}` into one of `budgets`, or leave `budgets` out")
        if any(one.limit is None for one in self.budgets) or (self.limit is None and alone):
            raise ValueError("a budget should have a `limit`")
        names = [name_of(one) for one in self.budgets]
        if len(set(names)) < len(names):
            raise ValueError("two budgets are the same; give them different names if both are meant")
        return self

    @property
    def all(self) -> tuple[OneBudget, ...]:
        return self.budgets or ((self,) if self.limit is not None else ())


def name_of(one: OneBudget) -> str:
    return one.name or f"{one.limit} per {' and '.join(one.per)}"


class Budget:
    """One budget, ready to be claimed."""

    def __init__(self, one: OneBudget, *, prefix: str = "", apart: bool = False) -> None:
        """`prefix` keeps names apart. `apart`: the calls of each policy count apart."""
        assert one.limit is not None
        self.name = prefix + name_of(one)
        self.allowed = one.limit
        self.action = one.action
        self.downgrade = one.downgrade
        self.zone = one.timezone
        self.subject_of = subject_of(one.per, apart)
        id = f"{'$' if self.allowed.money else '#'}{self.name}"
        self._id = id
        rate = one.throttle or _THROTTLE
        self.throttle = bucket(f"throttle:{id}", rate.amount, rate.seconds) if one.action == "throttle" else None
        period = self.allowed.period
        self._period = Period(period, one.timezone) if isinstance(period, str) else None
        self._ends = 0.0
        self._limit = window(id, self.allowed.amount, 60.0 if isinstance(period, str) else period, self.name)

    def limit_at(self, now: float) -> Limit:
        """The limit of the period that runs at `now` (Unix seconds)."""
        if self._period is None:
            return self._limit
        ends = self._period.ends(now)
        if ends != self._ends:
            self._ends, self._limit = ends, allowance(self._id, self.allowed.amount, ends, self.name)
        return self._limit


@dataclass(slots=True, eq=False, kw_only=True)
class BudgetClaim(Claim):
    """Knows which budget it is of."""

    budget: Budget


def read_budget(settings: Mapping[str, Any]) -> Budgets:
    """A virtual key's own budget: settings as those of the addon `budget`, of which `per` is `key` if it is not said.
    Raises ValueError."""
    several = settings.get("budgets")
    if isinstance(several, list | tuple):
        listed = [{"per": "key", **one} if isinstance(one, Mapping) else one for one in several]
        settings = {**settings, "budgets": listed}
    else:
        settings = {"per": "key", **settings}
    try:
        return Budgets.model_validate(settings)
    except ValidationError as error:
        raise ValueError(said(error)) from None


def check_budget(settings: Mapping[str, Any]) -> None:
    """Whether a virtual key may have this budget. Raises ValueError that says what is wrong."""
    if settings and not read_budget(settings).all:
        raise ValueError("budget: should have a `limit`")
