"""Where letters lie in the state store: so many at most, each for so long."""

from __future__ import annotations

import time
from collections.abc import Sequence
from importlib.resources import files
from typing import Any

import msgspec

from shin_gateway.letters.letter import Content, Letter
from shin_gateway.sealing import Master
from shin_gateway.stores.state import StateStore

_AT = "shin:{letters}:"
_PURPOSE = "dead letters"
PATIENCE = 5.0
"""Seconds that the store gets: nobody's call waits for it."""

_pack = msgspec.msgpack.Encoder().encode
_letter = msgspec.msgpack.Decoder(Letter).decode
_content = msgspec.msgpack.Decoder(Content).decode


class Shelf:
    """Every method raises StoreError."""

    def __init__(self, state: StateStore, master: Master) -> None:
        self._state = state
        self._sealer = master.sealer(_PURPOSE)
        self._script = state.script(files("shin_gateway.letters").joinpath("shelf.lua").read_text("utf-8"))

    def sealed(self, id: str, content: Content) -> bytes:
        """Takes its time with a large one: not for the event loop."""
        return self._sealer.seal(id, _pack(content))

    async def put(self, letter: Letter, sealed: bytes, ttl: float, most: int, size: int) -> None:
        bounds = (int(ttl * 1000), most, size)
        now = int(time.time() * 1000)
        await self._run("put", letter.id, now, _pack(letter), sealed, *bounds)

    async def drop(self, ids: Sequence[str]) -> int:
        """How many of them were there."""
        return await self._run("drop", *ids) if ids else 0

    async def latest(self, limit: int, before: str = "") -> list[Letter]:
        """The newest first; `before`: those older than the letter of this id."""
        start = 0
        if before:
            rank = await self._ask("ZREVRANK", f"{_AT}order", before)
            if rank is None:
                return []
            start = rank + 1
        ids = await self._ask("ZREVRANGE", f"{_AT}order", start, start + limit - 1)
        if not ids:
            return []
        now = time.time()
        expires = await self._ask("ZMSCORE", f"{_AT}expires", *ids)
        found = await self._ask("HMGET", f"{_AT}about", *ids)
        return [_letter(one) for one, end in zip(found, expires, strict=True) if one and (end or 0) / 1000 > now]

    async def find(self, id: str) -> Letter | None:
        about = await self._ask("HGET", f"{_AT}about", id)
        return _letter(about) if about and await self._ask("EXISTS", f"{_AT}c:{id}") else None

    async def read(self, id: str) -> Content | None:
        """None where it is gone, or was sealed with another master key."""
        sealed = await self._ask("GET", f"{_AT}c:{id}")
        plain = self._sealer.open(id, sealed) if sealed else None
        return _content(plain) if plain is not None else None

    async def _run(self, *args: str | bytes | int) -> int:
        gone: int = await self._script([f"{_AT}order"], args, alone=PATIENCE)
        return gone

    async def _ask(self, *command: str | bytes | int) -> Any:
        return await self._state.run_alone(*command, timeout=PATIENCE)
