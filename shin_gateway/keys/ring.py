"""Who calls with a virtual key: known without asking when it was seen lately, unknown within a second of its end."""

from __future__ import annotations

import asyncio
import logging
import time

from shin_gateway.call_keys import VIRTUAL_KEY
from shin_gateway.caller import Caller
from shin_gateway.errors import Unauthenticated
from shin_gateway.keys.listening import Listener
from shin_gateway.keys.memory import Entry, Memory, Unknown
from shin_gateway.keys.minting import digest_of, is_id, is_whole
from shin_gateway.keys.records import KeyRecord
from shin_gateway.keys.shelf import Shelf
from shin_gateway.stores.errors import StoreError
from shin_gateway.stores.outage import Outage
from shin_gateway.stores.state import StateStore

log = logging.getLogger(__name__)

GRACE = 300.0
"""Seconds after the last word of a store that is away, for which the keys seen before still work."""
MAX_AGE = 60.0
"""Seconds after which a key is looked up again although nobody told of a change: a store that was put back to an older
state tells of none."""
LOOKING = 1000
"""Look-ups under way at once."""

Looked = Entry | StoreError | None


class KeyRing:
    """One worker's knowledge of virtual keys. `start` it, or every look-up costs a round trip."""

    def __init__(self, state: StateStore, *, grace: float = GRACE) -> None:
        self._shelf = Shelf(state)
        self._grace = grace
        self._memory = Memory()
        self._unknown = Unknown()
        self._looking: dict[str, asyncio.Task[Looked]] = {}
        self._listener = Listener(self._shelf, self._changed, self._missed)
        self._outage = Outage("virtual keys cannot be looked up")
        self._epoch = 0
        self._changes = 0
        self.round_trips = 0
        """Look-ups that went to the store."""

    def start(self) -> None:
        self._listener.start()

    async def close(self) -> None:
        await self._listener.close()
        looking = list(self._looking.values())
        for task in looking:
            task.cancel()
        await asyncio.gather(*looking, return_exceptions=True)

    async def caller_of(self, secret: str) -> Caller | None:
        """Whose virtual key this is; None for what is none of ours.

        Raises Unauthenticated for one that does not work, without saying why, and StoreError where it cannot be
        looked up.
        """
        if not secret.startswith(VIRTUAL_KEY):
            return None
        if not is_whole(secret):
            raise _refused()
        digest = digest_of(secret)
        entry = await self._entry(digest)
        if not entry.record.opens(digest, time.time()):
            raise _refused()
        return entry.caller

    async def caller_by_id(self, key_id: str) -> Caller:
        """Who a key stands for, for who has shown elsewhere that he holds it. Raises as `caller_of`."""
        if not is_id(key_id):
            raise _refused()
        entry = await self._entry(key_id)
        if entry.record.status(time.time()) != "active":
            raise _refused()
        return entry.caller

    async def _entry(self, name: str) -> Entry:
        """`name` is a digest or an id."""
        entry = self._memory.find(name)
        if entry is not None and self._is_fresh(entry):
            return entry
        if entry is None and self._unknown.holds(name, _now()):
            raise _refused()
        found = await self._look(name)
        if isinstance(found, StoreError):
            raise StoreError(str(found)) from found  # one for each who waits
        if found is None:
            raise _refused()
        return found

    def _is_fresh(self, entry: Entry) -> bool:
        return entry.epoch == self._epoch and self._listener.trusted and _now() - entry.seen < MAX_AGE

    async def _look(self, name: str) -> Looked:
        """All who want to know the same at the same time share one look-up."""
        task = self._looking.get(name)
        if task is None:
            if len(self._looking) >= LOOKING:
                return StoreError("too many keys are being looked up")
            task = self._looking[name] = asyncio.create_task(self._fetch(name))
            task.add_done_callback(lambda _: self._looking.pop(name, None))
        await asyncio.wait([task])  # one of them may leave
        return StoreError("the gateway is shutting down") if task.cancelled() else task.result()

    async def _fetch(self, name: str) -> Looked:
        epoch, changes = self._epoch, self._changes
        self.round_trips += 1
        try:
            record = await self._read(name)
        except StoreError as error:
            self._outage.failed(error)
            return self._within_grace(name) or error
        except Exception as error:
            log.exception("a virtual key could not be looked up")
            return StoreError(type(error).__name__)
        self._outage.answered()
        if record is None:
            self._memory.forget(name)
            self._unknown.add(name, _now())
            return None
        entry = Entry(record, record.caller, _now(), epoch)
        if changes == self._changes:  # else it may be the one that changed meanwhile
            self._memory.keep(entry)
        return entry

    async def _read(self, name: str) -> KeyRecord | None:
        return await (self._shelf.get(name) if is_id(name) else self._shelf.find(name))

    def _within_grace(self, name: str) -> Entry | None:
        entry = self._memory.find(name)
        if entry is None:
            return None
        known = max(entry.seen, self._listener.heard) if entry.epoch == self._epoch else entry.seen
        return entry if _now() - known < self._grace else None

    def _changed(self, id: str) -> None:
        self._changes += 1
        self._memory.forget(id)
        self._unknown.clear()

    def _missed(self) -> None:
        """We were away: everything is asked for anew, and still there in case the store goes away again."""
        self._memory.confirm(self._epoch, self._listener.heard)
        self._epoch += 1
        self._unknown.clear()


def _now() -> float:
    return asyncio.get_running_loop().time()


def _refused() -> Unauthenticated:
    """The same for all that does not work: who guesses learns nothing."""
    return Unauthenticated("The key is unknown, expired or disabled.")
