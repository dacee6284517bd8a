"""Where the records of virtual keys lie: in hashes of one hash tag, so that one step changes all that belongs together.

`records` has the records by id, `digests` the ids by digest, `order` the ids by age, `revoked` those that are gone for
good by when, and `changes` is the stream that every worker listens to.
"""

from __future__ import annotations

from importlib.resources import files
from typing import Literal

import msgspec

from shin_gateway.keys.records import KeyRecord, decode
from shin_gateway.stores.changes import Changes
from shin_gateway.stores.errors import StoreError
from shin_gateway.stores.state import StateStore

RECORDS = "shin:{keys}:records"
DIGESTS = "shin:{keys}:digests"
ORDER = "shin:{keys}:order"
REVOKED = "shin:{keys}:revoked"
CHANGES = "shin:{keys}:changes"

MOST = 100_000
"""Keys that there may be at once."""
TOMBSTONES = 1000
"""Revoked keys that still show in the list; the oldest go first..."""
TOMBSTONE = 30 * 86400
"""...and each after so many seconds."""
CHANGES_KEPT = 10_000
"""Many more than come to pass between two looks of a worker."""

PATIENCE = 5.0
"""Seconds that the store may take where no call waits."""

Written = Literal["written", "changed", "full"]

_WRITE = files("shin_gateway.keys").joinpath("write.lua").read_text("utf-8")
_FIND = """
local id = redis.call('HGET', KEYS[1], ARGV[1])
return id and redis.call('HGET', KEYS[2], id)
"""


class Shelf:
    def __init__(self, state: StateStore) -> None:
        self._state = state
        self._write = state.script(_WRITE)
        self._find = state.script(_FIND)
        self._changes = Changes(state, CHANGES, PATIENCE)

    async def find(self, digest: str) -> KeyRecord | None:
        """The key that has this secret, on the way of a call. Raises StoreError."""
        return _record(await self._find([DIGESTS, RECORDS], [digest]))

    async def get(self, id: str) -> KeyRecord | None:
        """Raises StoreError."""
        return _record(await self._state.run("HGET", RECORDS, id))

    async def read(self, id: str) -> KeyRecord | None:
        """As `get`, for who can wait."""
        return _record(await self._state.run_alone("HGET", RECORDS, id, timeout=PATIENCE))

    async def page(self, after: str | None, count: int) -> list[KeyRecord] | None:
        """The newest keys first, from the one after `after` on; None where there is no such key. Raises StoreError."""
        start = 0
        if after is not None:
            rank = await self._state.run_alone("ZREVRANK", ORDER, after, timeout=PATIENCE)
            if rank is None:
                return None
            start = rank + 1
        ids = await self._state.run_alone("ZREVRANGE", ORDER, start, start + count - 1, timeout=PATIENCE)
        found = await self._state.run_alone("HMGET", RECORDS, *ids, timeout=PATIENCE) if ids else []
        return [decode(one) for one in found if one is not None]  # None: swept away meanwhile

    async def write(self, old: KeyRecord | None, new: KeyRecord) -> Written:
        """Put `new` in the place of `old`, unless something else is there now, and tell all workers.

        Raises StoreError; after StoreTimeout it may be written or not.
        """
        gone = sorted(old.digests - new.digests) if old else []
        come = sorted(new.digests - old.digests) if old else sorted(new.digests)
        bounds = (MOST, TOMBSTONES, new.revoked or 0, TOMBSTONE, CHANGES_KEPT)
        records = old.encode() if old else b"", new.encode()
        answer: bytes = await self._write(
            [RECORDS, DIGESTS, ORDER, REVOKED, CHANGES],
            [new.id, *records, new.created, *bounds, len(gone), *gone, *come],
            alone=PATIENCE,
        )
        return answer.decode()  # type: ignore[return-value]

    async def newest_change(self) -> bytes:
        """The id of the last change so far. Raises StoreError."""
        return await self._changes.newest()

    async def changes(self, after: bytes, block: float, timeout: float) -> list[tuple[bytes, str]]:
        """Changes after the one named, as their ids and the ids of keys; waits `block` seconds for the first.

        Raises StoreError, at the latest after `timeout` seconds more.
        """
        found = await self._changes.after(after, CHANGES_KEPT, block, timeout)
        return [(id, fields[1].decode()) for id, fields in found]


def _record(data: bytes | None) -> KeyRecord | None:
    try:
        return None if data is None else decode(data)
    except msgspec.MsgspecError:
        raise StoreError("state store: a virtual key cannot be read") from None
