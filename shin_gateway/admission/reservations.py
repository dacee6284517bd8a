"""A worker's reservations in the store: made in one step, settled when it is known what they came to.

A reservation belongs to the worker that made it. One whose settling cannot reach the store is tried again; one that
nobody here knows of, since a store that froze ran it late, is let go of; those of a worker that died are let go of by
the others (lua/beat.lua). So nothing stays reserved for longer than `SILENCE` and a beat or two.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import secrets
import socket
from collections.abc import Awaitable
from typing import Any

from shin_gateway.admission import scripts
from shin_gateway.admission.alerts import tell
from shin_gateway.stores.errors import StoreError, StoreTimeout
from shin_gateway.stores.state import StateStore

log = logging.getLogger(__name__)

BEAT = 3.0
"""Seconds between two signs of life of a worker."""
AGAIN = 0.5
"""Seconds after which what did not reach the store is tried again."""
SILENCE = 10.0
"""Seconds without one after which what a worker holds is let go of."""
_SWEPT = 500
"""Reservations of dead workers that one beat lets go of at most: some milliseconds of the store's time."""
_UNSETTLED = 10_000
"""Settlements that wait for a store that is down. Those beyond are let go of as if nothing had been used."""

NOTHING = b""
"""In the place of what a reservation came to: nothing was used."""


class Reservations:
    """Those of one worker, by name."""

    def __init__(self, state: StateStore) -> None:
        self.worker = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"
        self.held: set[str] = set()
        """Asked for, and not settled yet."""
        self._enter = state.script(scripts.load("enter"))
        self._leave = state.script(scripts.load("leave"))
        self._beat = state.script(scripts.load("beat"))
        self._unsettled: dict[str, bytes] = {}
        """Settlements that did not reach the store."""
        self._hurry = asyncio.Event()
        self._tasks: set[asyncio.Future[Any]] = set()
        self._beating: asyncio.Task[None] | None = None

    @property
    def key(self) -> str:
        return f"{scripts.PREFIX}open:{self.worker}"

    def start(self) -> None:
        self._beating = asyncio.create_task(self._live(), name="admission")

    async def stop(self) -> None:
        """No more signs of life."""
        if self._beating is not None:
            self._beating.cancel()
            await asyncio.gather(self._beating, return_exceptions=True)

    async def close(self) -> None:
        """Settle what can be settled."""
        for name, truths in list(self._unsettled.items()):
            self.settle(name, truths)
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=2)

    async def make(self, name: str, claims: bytes, settles: bool) -> bytes:
        """The reply of lua/enter.lua. `settles`: whether there will be something to settle, if it is taken.

        Raises StoreError. Who is cancelled meanwhile leaves nothing reserved.
        """
        asked = asyncio.ensure_future(self._enter([self.key], [scripts.PREFIX, self.worker, name, claims]))
        if settles:
            self.held.add(name)
        try:
            reply: bytes = await asyncio.shield(asked)
        except asyncio.CancelledError:
            self._later(self._abandon(name, asked))
            raise
        except BaseException as error:
            self.held.discard(name)  # should it have been taken after all, the next beats find it
            if settles and isinstance(error, StoreTimeout):
                self._put_off(name, NOTHING)
            raise
        return reply

    def settle(self, name: str, truths: bytes) -> None:
        """Say what it came to (msgpack, for each claim that is settled). Nobody waits for that."""
        self._later(self._send(name, truths))

    async def _abandon(self, name: str, asked: Awaitable[bytes]) -> None:
        """Wait for the store's answer, so that nothing is taken after it is given back."""
        await asyncio.gather(asked, return_exceptions=True)
        await self._send(name, NOTHING)

    async def _send(self, name: str, truths: bytes) -> None:
        told = None
        try:
            told = await self._leave([self.key], [scripts.PREFIX, self.worker, name, truths])
        except StoreError:
            if self._put_off(name, truths):
                return
        self._unsettled.pop(name, None)
        self.held.discard(name)
        tell(told or ())

    def _put_off(self, name: str, truths: bytes) -> bool:
        """Settle it when the store can be asked again; whether there is room to remember that."""
        most = _UNSETTLED if truths else _UNSETTLED // 10  # the next beats find what was not used
        if len(self._unsettled) >= most and name not in self._unsettled:
            return False
        self._unsettled[name] = truths
        self._hurry.set()
        return True

    def _later(self, work: Awaitable[None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # While it lives

    async def _live(self) -> None:
        strange: set[str] = set()
        while True:
            self._hurry.clear()
            try:
                strange = await self.round(strange)
            except StoreError as error:
                log.debug("admission: %s", error)
                self._hurry.set()
            except Exception:
                log.exception("admission: a round failed")
            await asyncio.sleep(min(AGAIN, BEAT))
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._hurry.wait(), max(0.0, BEAT - AGAIN))

    async def round(self, strange: set[str]) -> set[str]:
        """Beat, settle what is left, let go of what was strange before already. Returns what is strange now."""
        names = await self._beat([self.key], [scripts.PREFIX, self.worker, SILENCE, _SWEPT])
        for name, truths in list(self._unsettled.items()):
            await self._send(name, truths)
        unknown = {name.decode() for name in names} - self.held
        for name in unknown & strange:
            await self._send(name, NOTHING)
        return unknown
