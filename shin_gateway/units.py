"""Quantities as people write them in YAML: `1h`, `250ms`, `2MB`. Numbers inside, units outside."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Annotated, Any, NamedTuple

from pydantic import BeforeValidator, PlainSerializer, WithJsonSchema

_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
_BYTES = {"b": 1, "kb": 1000, "mb": 1000**2, "gb": 1000**3, "kib": 1024, "mib": 1024**2, "gib": 1024**3}
_PERIODS = {"s": 1.0, "sec": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "hour": 3600.0, "d": 86400.0, "day": 86400.0}
_THOUSANDS = {"": 1, "k": 1000, "m": 1000**2, "b": 1000**3, "g": 1000**3}
_QUANTITY = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([a-zA-Z]+)\s*")
_AMOUNT = re.compile(r"(\d{1,15}(?:\.\d{1,12})?)\s*([kKmMbBgG]?)", re.ASCII)
_PERIOD = re.compile(r"(\d{1,6}(?:\.\d{1,6})?)?\s*([a-z]+)", re.ASCII)
_LONGEST = 86400.0
_GREATEST = 2**52
"""What can be counted exactly in the state store's scripts: 4.5 million US dollars in billionths."""
BILLION = 1_000_000_000


def _quantity(value: Any, units: dict[str, Any], example: str) -> float:
    match = _QUANTITY.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise ValueError(f"write a number and a unit, like {example}, not {value!r}")
    number, unit = match.groups()
    if unit.lower() not in units:
        raise ValueError(f"unknown unit {unit!r}; use one of {', '.join(units)}")
    return float(number) * units[unit.lower()]


def parse_duration(value: Any) -> float:
    """Seconds in `250ms`, `30s`, `5m`, `1h`, `2d`. A float that is already seconds stays."""
    return value if isinstance(value, float) else _quantity(value, _SECONDS, "30s")


def parse_size(value: Any) -> int:
    """Bytes in `512B`, `64kB`, `32MB`, `1GiB`; decimal and binary units as IEC 80000-13 has them."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    return int(_quantity(value, _BYTES, "32MB"))


Duration = Annotated[
    float,
    BeforeValidator(parse_duration),
    WithJsonSchema({"type": "string", "pattern": r"^\d+(\.\d+)?\s*(ms|s|m|min|h|d)$", "examples": ["30s"]}),
]
"""Seconds, written with a unit."""

Size = Annotated[
    int,
    BeforeValidator(parse_size),
    WithJsonSchema({"type": "string", "pattern": r"^\d+(\.\d+)?\s*([kKmMgG]i?)?[bB]$", "examples": ["32MB"]}),
]
"""Bytes, written with a unit."""


class Rate(NamedTuple):
    """So many in so many seconds."""

    amount: int
    seconds: float

    def __str__(self) -> str:
        return f"{self.amount}/{span(self.seconds)}"


def span(seconds: float) -> str:
    """`min`, `h`, `day`, `30s`, `2h`: as one would write it behind a slash."""
    for word, size in (("day", 86400.0), ("h", 3600.0), ("min", 60.0), ("s", 1.0)):
        if seconds == size:
            return word
        if seconds > size and seconds % size == 0:
            return f"{seconds / size:.0f}{'d' if word == 'day' else word}"
    return f"{seconds:g}s"


def parse_amount(text: str, example: str) -> int:
    """A whole number in `60`, `200k`, `1.5M`, `2B`. Raises ValueError for less than 1 and more than can be counted."""
    match = _AMOUNT.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"write {example}, not {text!r}")
    amount = Decimal(match[1]) * _THOUSANDS[match[2].lower()]
    if amount != amount.to_integral_value():
        raise ValueError(f"{text!r} should be a whole number")
    return _countable(int(amount), text)


def _countable(amount: int, text: str) -> int:
    if amount < 1:
        raise ValueError(f"{text!r} should be more than nothing; to stop somebody, disable his key")
    if amount > _GREATEST:
        raise ValueError(f"{text!r} is more than can be counted")
    return amount


def parse_period(text: str, example: str) -> float:
    """Seconds in `s`, `min`, `h`, `day`, `30s`, `12h`."""
    match = _PERIOD.fullmatch(text.strip().lower())
    if match is None or match[2] not in _PERIODS:
        raise ValueError(f"write {example}, not {text!r}")
    return float(match[1] or 1) * _PERIODS[match[2]]


def parse_rate(value: Any) -> Rate:
    """`60/min`, `10/s`, `200k/min`, `1000/day`, `500/30s`; from a second to a day."""
    if isinstance(value, Rate):
        return value
    example = "a number and a time, like 60/min"
    amount, slash, period = value.partition("/") if isinstance(value, str) else ("", "", "")
    if not slash:
        raise ValueError(f"write {example}, not {value!r}")
    seconds = parse_period(period, example)
    if not 1 <= seconds <= _LONGEST:
        raise ValueError(f"{value!r} should be counted over a second to a day")
    return Rate(parse_amount(amount, example), seconds)


def parse_money(value: Any) -> int:
    """Billionths of a US dollar in `$20`, `$0.50`."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    try:
        text = value.strip().removeprefix("$") if isinstance(value, str) and value.strip().startswith("$") else "?"
        amount = Decimal(text) * BILLION
        if not amount.is_finite() or amount != amount.to_integral_value():
            raise ValueError
    except (ArithmeticError, ValueError):
        raise ValueError(f"write dollars, like $20 or $0.50, not {value!r}") from None
    return _countable(int(amount), str(value))


def dollars(billionths: int) -> str:
    """`$19.87`; small sums keep the digits that say something."""
    amount = Decimal(billionths) / BILLION
    return f"${amount:,.2f}" if amount >= 1 or not billionths else f"${amount:.9f}".rstrip("0")


PerTime = Annotated[
    Rate,
    BeforeValidator(parse_rate),
    PlainSerializer(str),
    WithJsonSchema(
        {"type": "string", "pattern": r"^\d+(\.\d+)?\s*[kKmMbBgG]?\s*/\s*(\d+\s*)?[a-z]+$", "examples": ["60/min"]}
    ),
]
"""A number of something in a time, written `60/min`."""
