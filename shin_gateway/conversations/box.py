"""Seals and opens many things at once, in a thread where that takes long."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from shin_gateway.conversations.body import UNREADABLE
from shin_gateway.sealing import Sealer

AT_ONCE = 256_000
"""Bytes that are sealed or opened on the event loop, in 2 ms."""
_EACH = 1_000
"""What one thing costs beside its bytes, in bytes."""


class Box:
    """What a sealer does, for one tenant."""

    def __init__(self, sealer: Sealer) -> None:
        self._sealer = sealer

    async def sealed(self, plain: Sequence[tuple[str, bytes]]) -> list[bytes]:
        """Places and what goes there."""
        if _is_little(plain):
            return self._seal(plain)
        return await asyncio.to_thread(self._seal, plain)

    def _seal(self, plain: Sequence[tuple[str, bytes]]) -> list[bytes]:
        return [self._sealer.seal(place, one) for place, one in plain]

    async def opened[T](self, sealed: Sequence[tuple[str, bytes]], kind: type[T]) -> list[T | None]:
        """None for what was not sealed there with this key."""
        if _is_little(sealed):
            return self._open(sealed, kind)
        return await asyncio.to_thread(self._open, sealed, kind)

    async def open[T](self, place: str, sealed: bytes | None, kind: type[T]) -> T | None:
        return (await self.opened([(place, sealed)], kind))[0] if sealed else None

    def open_raw(self, place: str, sealed: bytes) -> bytes | None:
        return self._sealer.open(place, sealed)

    def _open[T](self, sealed: Sequence[tuple[str, bytes]], kind: type[T]) -> list[T | None]:
        decode = msgspec.json.Decoder(kind).decode
        found: list[T | None] = []
        for place, one in sealed:
            plain = self._sealer.open(place, one)
            found.append(None if plain is None else _decoded(decode, plain))
        return found


async def off_loop[T](size: int, work: Callable[[], T]) -> T:
    """What takes long with so many bytes is done in a thread."""
    return work() if size <= AT_ONCE else await asyncio.to_thread(work)


def _decoded(decode: Any, plain: bytes) -> Any:
    try:
        return decode(plain)
    except UNREADABLE:
        return None


def _is_little(pairs: Sequence[tuple[str, bytes]]) -> bool:
    return sum([len(one) + _EACH for _, one in pairs]) <= AT_ONCE
