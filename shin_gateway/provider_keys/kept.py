"""Kept credentials as one worker knows them: read at the start, told of every change, held while the store is away."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from pathlib import Path

from shin_gateway.provider_keys.shelf import Shelf, decode
from shin_gateway.sealing import Master, Sealer, Unusable, master_key
from shin_gateway.secret import SecretMissing
from shin_gateway.stores.changes import NONE
from shin_gateway.stores.errors import StoreError
from shin_gateway.stores.state import StateStore

log = logging.getLogger(__name__)

BLOCK, TIMEOUT = 10.0, 2.0
"""Seconds that one read waits for a change, and beyond that in which the answer has to be here."""
PAUSE = 0.5
"""Seconds before a store that is away is asked again."""
PURPOSE = "credentials"

_SEALED_ELSEWHERE = "is sealed with another master key: name that one in SHIN_MASTER_KEY_OLD, or set it again"


def sealer_of(master: Master) -> Sealer:
    return master.sealer(PURPOSE)


def place_of(name: str) -> str:
    """What a credential is sealed together with."""
    return f"credential {name}"


class Kept:
    """`start` it, and `close` it."""

    def __init__(self, state: StateStore, home: Path | None) -> None:
        self._shelf = Shelf(state)
        self._home = home
        self._found: dict[str, bytes] | None = None
        """As they lie in the store; None before it has said."""
        self._values: dict[str, str] = {}
        self._unreadable: frozenset[str] = frozenset()
        self._sealer: Sealer | None = None
        self._complaint = ""
        self._following: asyncio.Task[None] | None = None

    def value(self, name: str) -> str:
        found = self._values.get(name)
        if found is not None:
            return found
        if name in self._unreadable:
            raise SecretMissing(f"kept:{name} {_SEALED_ELSEWHERE}")
        if self._found is None:
            raise SecretMissing(f"kept:{name} cannot be read before the state store answers")
        raise SecretMissing(f"kept:{name} is not set; `shin credential set {name}` does")

    async def start(self) -> None:
        """Read what is there. Raises Unusable; a store that is away is waited for later."""
        last = NONE
        try:
            last = await self._shelf.newest_change()
            await self._read()
        except StoreError as error:
            log.warning("kept credentials cannot be read yet: %s", error)
        self._following = asyncio.create_task(self._follow(last), name="changes of kept credentials")

    async def close(self) -> None:
        if self._following is None:
            return
        self._following.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._following
        self._following = None

    async def _follow(self, last: bytes) -> None:
        while True:
            try:
                last = await self._shelf.change_after(last, BLOCK, TIMEOUT)
                await self._read()  # without a change too: a store that was put back to an older state tells of none
            except StoreError as error:
                log.debug("changes of kept credentials: %s", error)
                last = NONE  # another store may be there next; what is known stays
                await asyncio.sleep(PAUSE)
            except Unusable as error:
                self._complain(str(error))
                await asyncio.sleep(BLOCK)
            except Exception as error:
                self._complain(type(error).__name__)
                await asyncio.sleep(BLOCK)

    def _complain(self, why: str) -> None:
        if why != self._complaint:
            log.error("changes of kept credentials cannot be followed: %s", why)
        self._complaint = why

    async def _read(self) -> None:
        """All of them: they are few, and change seldom."""
        found = await self._shelf.everything()
        if found == self._found:
            return
        if found and self._sealer is None:
            self._sealer = sealer_of(await asyncio.to_thread(master_key, self._home))
        values = {name: self._opened(name, data) for name, data in found.items()}
        self._values = {name: value for name, value in values.items() if value is not None}
        unreadable = frozenset(values) - frozenset(self._values)
        for name in sorted(unreadable - self._unreadable):
            # No error: mitmproxy ends a worker that logs one while it starts, and other providers' keys may be good.
            log.warning("kept:%s %s", name, _SEALED_ELSEWHERE)
        self._unreadable = unreadable
        self._found = found

    def _opened(self, name: str, data: bytes) -> str | None:
        assert self._sealer is not None
        try:
            plain = self._sealer.open(place_of(name), decode(data).sealed)
            return None if plain is None else plain.decode()
        except (StoreError, UnicodeDecodeError):
            return None
