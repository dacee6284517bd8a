"""Counts, times and words in what a provider reports, which may be missing, null, negative or nonsense."""

from __future__ import annotations

import datetime as dt
from typing import Any


def count(source: object, *names: str) -> int | None:
    """The first of the named members that is a sensible number of tokens."""
    if not isinstance(source, dict):
        return None
    for name in names:
        value = source.get(name)
        if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 1e15:
            return int(value)
    return None


def seconds(source: dict[str, Any], *names: str) -> float | None:
    """The first of the named members that is a sensible length of time."""
    for name in names:
        value = source.get(name)
        if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 1e9:
            return float(value)
    return None


def unix_time(value: object) -> int:
    """Unix seconds of an RFC 3339 time; 0 where it is none, or before 1970."""
    if not isinstance(value, str):
        return 0
    try:
        found = dt.datetime.fromisoformat(value)
        seconds = (found if found.tzinfo else found.replace(tzinfo=dt.UTC)).timestamp()
    except (ValueError, OverflowError):
        return 0
    return max(0, int(seconds))


def word_of(source: dict[str, Any], *names: str) -> str:
    """The first of the named members that is a string, else empty."""
    return next((source[name] for name in names if isinstance(source.get(name), str)), "")


def part_of(source: dict[str, Any], *names: str) -> dict[str, Any]:
    """The first of the named members that is an object, else an empty one."""
    return next((source[name] for name in names if isinstance(source.get(name), dict)), {})
