"""Limits and budgets that a virtual key has of its own, made ready once for each key."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

_REMEMBERED = 1000
"""Keys whose own are at hand."""


class Owned[T]:
    """`make` turns what a key of this id says into what can be claimed. Raises what it raises."""

    def __init__(self, make: Callable[[str, Mapping[str, Any]], Sequence[T]]) -> None:
        self._make = make
        self._known: OrderedDict[str, tuple[Mapping[str, Any], Sequence[T]]] = OrderedDict()

    def of(self, key: str, said: Mapping[str, Any]) -> Sequence[T]:
        """Made anew where the key says something else than last time."""
        known = self._known.get(key)
        if known is None or known[0] != said:
            known = self._known[key] = said, self._make(key, said)
            if len(self._known) > _REMEMBERED:
                self._known.popitem(last=False)
        return known[1]
