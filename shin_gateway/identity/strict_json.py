"""JSON that has one meaning (RFC 8259 §4, RFC 8725 §2.6): no name twice, no NaN, no nesting without end."""

from __future__ import annotations

import json
from typing import Any


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a name stands twice")
    return found


def _refuse(word: str) -> Any:
    raise ValueError("is no number")


_DECODER = json.JSONDecoder(object_pairs_hook=_unique, parse_constant=_refuse)


def read_object(data: bytes) -> dict[str, Any]:
    """Raises ValueError for all that is not one object in UTF-8."""
    try:
        found = _DECODER.decode(data.decode())
    except RecursionError:
        raise ValueError("is nested too deeply") from None
    if not isinstance(found, dict):
        raise ValueError("is no object")
    return found
