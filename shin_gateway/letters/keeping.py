"""Keeps what failed, at the call's end, when the client has its answer already."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from shin_gateway import encodings
from shin_gateway.addon import Settings
from shin_gateway.dialects import multipart
from shin_gateway.errors import Refusal
from shin_gateway.letters.letter import REPLAY, Content, headers_of, is_dead, letter
from shin_gateway.letters.shelf import Shelf
from shin_gateway.sealing import master_key
from shin_gateway.stores.errors import StoreError
from shin_gateway.stores.outage import Outage
from shin_gateway.stores.state import StateStore
from shin_gateway.units import Duration, Size

if TYPE_CHECKING:
    from shin_gateway.call import Call
    from shin_gateway.outcome import Outcome

log = logging.getLogger(__name__)


class LetterSettings(Settings):
    """What is kept of calls that failed for good, and for how long."""

    ttl: Annotated[Duration, Field(ge=1, le=366 * 86400)] = 7 * 86400.0
    """How long a letter is kept."""
    body: Annotated[Size, Field(ge=0, le=16_000_000)] = 1_000_000
    """The largest body that is kept; of a larger one only what is said about it."""
    most: Annotated[int, Field(ge=1, le=100_000)] = 1000
    """Letters in the whole list; the oldest go first."""
    size: Annotated[Size, Field(ge=1000, le=10_000_000_000)] = 64_000_000
    """Bytes of the whole list in the state store."""


class Letters:
    """One policy's."""

    def __init__(self, state: StateStore, home: Path | None, settings: LetterSettings) -> None:
        self._state = state
        self._home = home
        self._settings = settings
        self._shelf: Shelf | None = None
        self._writing = 0
        self._outage = Outage("calls that failed cannot be kept")

    async def start(self) -> None:
        """Raises Unusable where there is no master key to rely on."""
        self._shelf = Shelf(self._state, await asyncio.to_thread(master_key, self._home))

    def watch(self, call: Call) -> None:
        """Remember the call as it is now, and keep it if it fails."""
        if REPLAY in call.headers:
            return
        came = _Came(call)
        call.on_end(lambda call, outcome: self._end(call, outcome, came))

    def _end(self, call: Call, outcome: Outcome, came: _Came) -> Awaitable[None] | None:
        if not is_dead(call, outcome):
            return None
        if self._writing >= _AT_ONCE:
            log.warning("call %s is not kept: too many fail at once", call.id)
            return None
        return self._keep(call, outcome, came)

    async def _keep(self, call: Call, outcome: Outcome, came: _Came) -> None:
        assert self._shelf is not None
        self._writing += 1
        try:
            body = await asyncio.to_thread(came.body, self._settings.body)
            about = letter(call, outcome, came.path, came.size, body is not None)
            content = Content(headers_of(call), body or b"")
            sealed = await asyncio.to_thread(self._shelf.sealed, call.id, content)
            settings = self._settings
            await self._shelf.put(about, sealed, settings.ttl, settings.most, settings.size)
            self._outage.answered()
        except StoreError as error:
            self._outage.failed(error)
        finally:
            self._writing -= 1


_AT_ONCE = 50


class _Came:
    """The call's body before any addon further in has changed it."""

    __slots__ = ("_coding", "_patch", "_raw", "path", "size")

    def __init__(self, call: Call) -> None:
        self._raw, self._patch = call.raw_body, call.patch
        self._coding = call.headers.get("content-encoding", "")
        self.path = call.path
        self.size = call.size

    def body(self, limit: int) -> bytes | None:
        """None where it is too large, or cannot be read."""
        if self.size > limit:
            return None
        raw = b"".join(multipart.pieces(self._raw, self._patch)) if self._patch else self._raw
        try:
            return encodings.decode(raw, self._coding, limit) if self._coding else raw
        except Refusal:
            return None
