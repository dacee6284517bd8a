"""What histories are made of."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec


class Entry(msgspec.Struct, array_like=True):
    """One item of a history: its id as the client is told it, and the item as it is sent."""

    id: str
    item: msgspec.Raw


class Turn(msgspec.Struct):
    """What one call said that was new, and what was answered."""

    input: list[Entry]
    output: list[Entry]

    @property
    def entries(self) -> list[Entry]:
        return [*self.input, *self.output]


def size(entries: Iterable[Entry]) -> int:
    """Bytes of the items."""
    return sum([len(bytes(entry.item)) for entry in entries])
