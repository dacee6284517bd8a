"""What was fetched, and is kept for a while."""

from __future__ import annotations

import time
from collections import OrderedDict
from typing import NamedTuple

_MOST_KEPT = 1000


class Fetched(NamedTuple):
    mime: str
    """What the bytes show, else what the server said; lower case, without parameters."""
    data: bytes
    may_keep: bool = True
    """Whether the server lets it be kept (`cache-control: no-store` does not)."""


class Memory:
    """What was fetched lately, bounded in bytes and time."""

    def __init__(self, most: int, seconds: float) -> None:
        self._most = most
        self._seconds = seconds
        self._kept: OrderedDict[bytes, tuple[float, Fetched]] = OrderedDict()
        self._bytes = 0

    def get(self, key: bytes) -> Fetched | None:
        until, found = self._kept.get(key, (0.0, None))
        return found if until > time.monotonic() else None

    def put(self, key: bytes, found: Fetched) -> None:
        """Keep it, unless it alone would push out much of the rest."""
        if len(found.data) > self._most // 4:
            return
        self._drop(key)
        self._kept[key] = (time.monotonic() + self._seconds, found)
        self._bytes += len(found.data)
        while self._bytes > self._most or len(self._kept) > _MOST_KEPT:
            self._drop(next(iter(self._kept)))

    def _drop(self, key: bytes) -> None:
        _, found = self._kept.pop(key, (0.0, None))
        self._bytes -= len(found.data) if found else 0
