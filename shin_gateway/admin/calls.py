"""What calls there were, and what they came to a day."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Annotated, Literal

from fastapi import APIRouter, Query
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PlainSerializer

from shin_gateway.admin.parts import Parts
from shin_gateway.admin.permissions import needs
from shin_gateway.stores.errors import StoreTimeout
from shin_gateway.stores.queries import MAX_CALLS, CallFilter

PATIENCE = 5.0
"""Seconds that analytics has to answer."""
YEARS = (1970, 2200)
"""What both engines can hold."""
DAYS = 366
"""Days of sums in one answer at most."""

Money = Annotated[Decimal, PlainSerializer(lambda amount: f"{amount.normalize():f}", return_type=str)]
"""US dollars; text, since a float would round them."""
End = Literal["completed", "refused", "failed", "broken", "cancelled"]
Name = Annotated[str, Field(max_length=500)]


def _in_utc(moment: datetime) -> datetime:
    if not YEARS[0] < moment.year < YEARS[1]:
        raise ValueError(f"should be between {YEARS[0]} and {YEARS[1]}")
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def _in_range(day: date) -> date:
    _in_utc(datetime.combine(day, time()))
    return day


Moment = Annotated[datetime, AfterValidator(_in_utc)]
Day = Annotated[date, AfterValidator(_in_range)]


class _Shown(BaseModel):
    model_config = ConfigDict(use_attribute_docstrings=True)


class _Asked(BaseModel):
    """A filter with a typo in its name would find everything, so unknown ones are refused."""

    model_config = ConfigDict(use_attribute_docstrings=True, extra="forbid")


class CallsWanted(_Asked):
    since: Moment | None = None
    """Calls that began then or later; ISO 8601, UTC where it names no offset."""
    until: Moment | None = None
    """Calls that began before then."""
    caller: Name | None = None
    model: Name | None = None
    """As the caller asked for it."""
    policy: Name | None = None
    status: Annotated[int, Field(ge=0, le=999)] | None = None
    """HTTP status of the reply; 0 where there was none."""
    end: End | None = None
    """How the call ended."""
    host: Name | None = None
    limit: Annotated[int, Field(ge=1, le=MAX_CALLS)] = 100
    before: Name | None = None
    """The `next` of the page before."""


class UsageWanted(_Asked):
    since: Day | None = None
    """The first day (UTC); 30 days ago if absent."""
    until: Day | None = None
    """The day after the last one; tomorrow if absent."""
    caller: Name | None = None
    model: Name | None = None
    policy: Name | None = None
    host: Name | None = None
    provider: Name | None = None
    end: End | None = None

    def days(self, today: date) -> tuple[datetime, datetime]:
        """The span as moments, no longer than `DAYS`: the oldest days are left out."""
        until = self.until or today + timedelta(days=1)
        since = max(self.since or until - timedelta(days=30), until - timedelta(days=DAYS))
        return _midnight(since), _midnight(until)


class CallShown(_Shown):
    """One call that ended. Times in milliseconds, bodies are left out."""

    id: str
    at: datetime
    """When it arrived, UTC."""
    caller: str
    caller_kind: str
    """user, key, or anonymous."""
    policy: str
    host: str
    dialect: str
    kind: str
    """chat, complete, respond, embed, count, models, or other."""
    model: str
    """As asked; what served it is `target`."""
    target: str
    provider: str
    stream: bool
    status: int
    end: str
    """completed, refused, failed, broken, or cancelled."""
    cause: str
    addon: str
    """The addon that refused."""
    usage_source: str
    """provider, counted, or empty where there is no usage."""
    input_tokens: int
    """Cached ones and cache writes included."""
    cached_tokens: int
    cache_write_tokens: int
    output_tokens: int
    """Reasoning included."""
    reasoning_tokens: int
    cost: Money | None
    """US dollars as text, null where the price is unknown."""
    queue_ms: float
    connect_ms: float
    first_part_ms: float
    total_ms: float
    overhead_ms: float
    """What the gateway itself took."""
    attempts: int
    call_bytes: int
    reply_bytes: int
    facts: dict[str, str]
    """What addons noted."""


class CallsShown(_Shown):
    """The newest calls first."""

    calls: list[CallShown]
    next: str | None
    """`before` for the page after this one; null on the last page."""


class DayShown(_Shown):
    """What the calls of one day came to that agree in everything else here."""

    day: date
    """UTC."""
    caller: str
    policy: str
    host: str
    model: str
    provider: str
    end: str
    calls: int
    input_tokens: int
    cached_tokens: int
    cache_write_tokens: int
    output_tokens: int
    reasoning_tokens: int
    cost: Money
    """US dollars as text, without the calls whose price is unknown."""
    unpriced: int
    """Calls whose price is unknown."""


class UsageShown(_Shown):
    since: date
    until: date
    """The day after the last one."""
    days: list[DayShown]


def router(parts: Parts) -> APIRouter:
    routes = APIRouter(prefix="/api/v1", tags=["calls"])

    @routes.get("/calls", dependencies=[needs("calls.read")])
    async def calls(wanted: Annotated[CallsWanted, Query()]) -> CallsShown:
        """Recent calls, newest first. A call is here within about a second after its end."""
        found = await _within(parts.analytics.calls(CallFilter(**wanted.model_dump())))
        shown = [CallShown.model_validate(one) for one in found]
        return CallsShown(calls=shown, next=shown[-1].id if len(shown) == wanted.limit else None)

    @routes.get("/usage", dependencies=[needs("calls.read")])
    async def usage(wanted: Annotated[UsageWanted, Query()]) -> UsageShown:
        """Calls, tokens and cost a day, kept longer than the calls themselves; at most 366 days at once."""
        since, until = wanted.days(datetime.now(UTC).date())
        same = wanted.model_dump(exclude={"since", "until"})
        found = await _within(parts.analytics.daily(CallFilter(since=since, until=until, **same)))
        days = [DayShown.model_validate(one) for one in found]
        return UsageShown(since=since.date(), until=until.date(), days=days)

    return routes


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)


async def _within[T](asked: Awaitable[T]) -> T:
    """Better no answer than a wait without end. Raises StoreTimeout."""
    try:
        async with asyncio.timeout(PATIENCE):
            return await asked
    except TimeoutError:
        raise StoreTimeout(f"analytics: no answer in {PATIENCE:g} s") from None
