"""Where kept credentials lie in the state store: one hash of sealed records, and a stream that tells of changes."""

from __future__ import annotations

import msgspec

from shin_gateway.stores.changes import Changes
from shin_gateway.stores.errors import StoreError
from shin_gateway.stores.state import StateStore

RECORDS = "shin:{credentials}:records"
CHANGES = "shin:{credentials}:changes"
MOST = 1000
"""Credentials that there may be."""
PATIENCE = 5.0
"""Seconds that the store may take where no call waits."""
_CHANGES_KEPT = 1000

_WRITE = """
-- KEYS: records, changes. ARGV: name, the record as it was ('' for none, '*' for any), the new one ('' for none),
-- most records, changes kept.
local old = redis.call('HGET', KEYS[1], ARGV[1]) or ''
if ARGV[2] ~= '*' and old ~= ARGV[2] then return 'changed' end
if ARGV[3] == '' then
  redis.call('HDEL', KEYS[1], ARGV[1])
else
  if old == '' and redis.call('HLEN', KEYS[1]) >= tonumber(ARGV[4]) then return 'full' end
  redis.call('HSET', KEYS[1], ARGV[1], ARGV[3])
end
redis.call('XADD', KEYS[2], 'MAXLEN', '~', ARGV[5], '*', 'name', ARGV[1])
return 'written'
"""


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """One credential as it lies in the store."""

    sealed: bytes
    at: float
    """Unix seconds."""
    by: str
    """Who set it."""

    def encode(self) -> bytes:
        return msgspec.json.encode(self)


class Shelf:
    """Every method raises StoreError."""

    def __init__(self, state: StateStore) -> None:
        self._state = state
        self._write = state.script(_WRITE)
        self._changes = Changes(state, CHANGES, PATIENCE)

    async def everything(self) -> dict[str, bytes]:
        """Records by name, as they lie there."""
        found = await self._state.run_alone("HGETALL", RECORDS, timeout=PATIENCE)
        pairs = found.items() if isinstance(found, dict) else zip(found[0::2], found[1::2], strict=True)
        return {name.decode(): data for name, data in pairs}

    async def put(self, name: str, new: bytes, old: bytes = b"*") -> str:
        """`written`, or `full`, or `changed` where `old` is given and something else is there; b"" is nothing."""
        answer: bytes = await self._write([RECORDS, CHANGES], [name, old, new, MOST, _CHANGES_KEPT], alone=PATIENCE)
        return answer.decode()

    async def newest_change(self) -> bytes:
        """The id of the last change so far."""
        return await self._changes.newest()

    async def change_after(self, last: bytes, block: float, timeout: float) -> bytes:
        """The id of the newest change after `last`; waits `block` seconds for one, and gives `last` without one."""
        found = await self._changes.after(last, _CHANGES_KEPT * 2, block, timeout)
        return found[-1][0] if found else last


def decode(data: bytes) -> Record:
    """Raises StoreError."""
    try:
        return msgspec.json.decode(data, type=Record)
    except (msgspec.MsgspecError, RecursionError):
        raise StoreError("state store: a kept credential cannot be read") from None
