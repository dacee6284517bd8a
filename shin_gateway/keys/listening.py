"""How a worker hears of every change to a virtual key within a second, or knows that it cannot.

What it knows counts as fresh only while the store has said, less than `TRUST` seconds ago, that nothing else has
changed. So a change is heard in time or, with the store or the way to it frozen, what is known is no longer trusted.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable

from shin_gateway.keys.shelf import Shelf
from shin_gateway.stores.errors import StoreError

log = logging.getLogger(__name__)

TRUST = 0.9
"""Seconds for which the store's word holds."""
BLOCK = 0.2
"""Seconds that one read waits for a change. Servers look at such times ten times a second only, so about 0.3: two
reads one after the other are within `TRUST`."""
TIMEOUT = 0.5
"""Seconds beyond that in which the answer has to be here."""
PAUSE = 0.2


class Listener:
    """`on_change` is called with a key's id; `on_gap` where changes may have been missed."""

    def __init__(self, shelf: Shelf, on_change: Callable[[str], None], on_gap: Callable[[], None]) -> None:
        self._shelf = shelf
        self._on_change = on_change
        self._on_gap = on_gap
        self._task: asyncio.Task[None] | None = None
        self.heard = float("-inf")
        """The loop's time at which all changes so far were known."""

    @property
    def trusted(self) -> bool:
        return asyncio.get_running_loop().time() - self.heard < TRUST

    def start(self) -> None:
        self._task = asyncio.create_task(self._listen(), name="changes of virtual keys")

    async def close(self) -> None:
        if self._task is None:
            return
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task
        self._task = None

    async def _listen(self) -> None:
        while True:
            try:
                await self._follow()
            except StoreError as error:
                log.debug("changes of virtual keys: %s", error)
            except Exception:
                log.exception("changes of virtual keys cannot be followed")
            await asyncio.sleep(PAUSE)

    async def _follow(self) -> None:
        last = await self._shelf.newest_change()
        self._on_gap()
        while True:
            asked = asyncio.get_running_loop().time()
            changes = await self._shelf.changes(last, BLOCK, TIMEOUT)
            for id, key in changes:
                last = id
                self._on_change(key)
            self.heard = asked  # what changed after the server answered is not in the answer
