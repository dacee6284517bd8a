"""Quantities as people write them in YAML: `1h`, `250ms`, `2MB`. Numbers inside, units outside."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import BeforeValidator, WithJsonSchema

_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
_BYTES = {"b": 1, "kb": 1000, "mb": 1000**2, "gb": 1000**3, "kib": 1024, "mib": 1024**2, "gib": 1024**3}
_QUANTITY = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([a-zA-Z]+)\s*")


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
