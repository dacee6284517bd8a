"""Periods of a budget: days, weeks and months of a calendar, in the time zone of those who pay."""

from __future__ import annotations

import zoneinfo
from datetime import UTC, date, datetime, time, timedelta
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, PlainSerializer, WithJsonSchema

Calendar = Literal["day", "week", "month"]


class Period:
    """The running period of one kind. Remembers it, so that a call costs one comparison."""

    def __init__(self, kind: Calendar, zone: zoneinfo.ZoneInfo) -> None:
        self._kind = kind
        self._zone = zone
        self._starts = self._ends = 0.0

    def ends(self, now: float) -> float:
        """When the period of `now` ends, both Unix seconds. A clock that jumps finds the period that it jumped to."""
        if not self._starts <= now < self._ends:
            self._starts, self._ends = bounds(self._kind, self._zone, now)
        return self._ends


def bounds(kind: Calendar, zone: zoneinfo.ZoneInfo, now: float) -> tuple[float, float]:
    """The midnights between which `now` lies, Unix seconds. Weeks begin on Monday (ISO 8601)."""
    today = datetime.fromtimestamp(now, UTC).astimezone(zone).date()
    first = _first(kind, today)
    return _midnight(first, zone), _midnight(_next(kind, first), zone)


def _first(kind: Calendar, day: date) -> date:
    if kind == "week":
        return day - timedelta(days=day.weekday())
    return day.replace(day=1) if kind == "month" else day


def _next(kind: Calendar, first: date) -> date:
    if kind == "month":
        return (first + timedelta(days=31)).replace(day=1)
    return first + timedelta(days=7 if kind == "week" else 1)


def _midnight(day: date, zone: zoneinfo.ZoneInfo) -> float:
    """The day's first moment. Where clocks are put forward at midnight, the first that there is."""
    return datetime.combine(day, time(), zone).timestamp()


def parse_zone(value: Any) -> zoneinfo.ZoneInfo:
    """Raises ValueError for what is no name of the IANA time zone database."""
    if isinstance(value, zoneinfo.ZoneInfo):
        return value
    try:
        return zoneinfo.ZoneInfo(value)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, TypeError, OSError):
        raise ValueError(f"write the name of a time zone, like Europe/Berlin, not {value!r}") from None


Zone = Annotated[
    zoneinfo.ZoneInfo,
    BeforeValidator(parse_zone),
    PlainSerializer(str),
    WithJsonSchema({"type": "string", "examples": ["Europe/Berlin"]}),
]


def in_words(seconds: float) -> str:
    """`2 d 4 h`, `4 h 12 min`, `40 s`: as people read it, rounded up."""
    left = max(1, -(-seconds // 1))
    units = (("d", 86400), ("h", 3600), ("min", 60), ("s", 1))
    words = []
    for word, size in units:
        count, left = divmod(left, size)
        if count:
            words.append(f"{count:.0f} {word}")
    return " ".join(words[:2])


def rfc3339(at: float, zone: zoneinfo.ZoneInfo | None = None) -> str:
    """`2026-11-22T00:00:00+01:00`, in UTC with a `Z`."""
    if zone is None:
        return datetime.fromtimestamp(round(at), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return datetime.fromtimestamp(round(at), UTC).astimezone(zone).isoformat()
