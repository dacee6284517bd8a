"""From the stream in the state store to analytics, in batches, each counted once; and a live look at the stream.

What was taken and not acknowledged stays pending under the one consumer, and is taken again before
anything new: the same entries, so the same token, which analytics has seen if it took them. Who
holds the lease ships; lease, pending and new entries are looked at in one script, so that two
shippers never hold two different batches.
"""

from __future__ import annotations

import asyncio
import logging
import random
import uuid
from collections.abc import AsyncIterator, Sequence

from shin_gateway.stores.analytics import Analytics
from shin_gateway.stores.changes import Changes
from shin_gateway.stores.errors import RowsRejected, StoreError
from shin_gateway.stores.row_queue import FIELD, STREAM
from shin_gateway.stores.rows import CallRow
from shin_gateway.stores.state import StateStore

logger = logging.getLogger(__name__)

DEAD = "shin:{rows}:dead"
"""Entries that are no rows, or rows that analytics refuses: looked at by people, bounded."""
DEAD_ROWS = 1000
BATCH_ROWS = 2000
BATCH_BYTES = 4_000_000

_LEASE = "shin:{rows}:lease"
_ORIGIN = "shin:{rows}:origin"
_GROUP = "shipper"
_LEASE_MS = 10_000
_LOOK = 0.25
"""Seconds between two looks at a stream with nothing new."""
_EVERY = 1.5
"""Seconds after a batch that was not full. A batch costs analytics as much as some hundred rows do: let more come."""
_LINGER_MS = 2000
"""A shipped entry stays so long in the stream, for those who watch it live."""
_PATIENCE = 5.0
_PAUSES = (0.25, 15.0)
"""Seconds between tries while analytics is down, the first and the longest."""

# The scripts run in a full store too (allow-oom): shipping is what empties it.
# KEYS: stream, lease, origin. ARGV: me, lease ms, group, rows, bytes, linger ms, a fresh origin.
# -> nil while another holds the lease, else {origin, entries}
_TAKE = """#!lua flags=allow-oom
local holder = redis.call('GET', KEYS[2])
if holder and holder ~= ARGV[1] then return nil end
redis.call('SET', KEYS[2], ARGV[1], 'PX', ARGV[2])
redis.call('SET', KEYS[3], ARGV[7], 'NX')
local origin = redis.call('GET', KEYS[3])
redis.pcall('XGROUP', 'CREATE', KEYS[1], ARGV[3], '0', 'MKSTREAM')
local function read(from, count)
  local reply = redis.call('XREADGROUP', 'GROUP', ARGV[3], 'one', 'COUNT', count, 'STREAMS', KEYS[1], from)
  return reply and reply[1][2] or {}
end
local entries = read('0', 1000000)
if #entries > 0 then return {origin, entries} end
local bytes = 0
while #entries < tonumber(ARGV[4]) and bytes < tonumber(ARGV[5]) do
  local some = read('>', math.min(50, tonumber(ARGV[4]) - #entries))
  if #some == 0 then break end
  for _, entry in ipairs(some) do
    entries[#entries + 1] = entry
    for _, text in ipairs(entry[2]) do bytes = bytes + #text end
  end
end
if #entries == 0 then
  local now = redis.call('TIME')
  redis.call('XTRIM', KEYS[1], 'MINID', string.format('%.0f', now[1] * 1000 - ARGV[6]))
end
return {origin, entries}
"""

# KEYS: stream. ARGV: group, linger ms, ids. Everything up to the last id has been shipped.
_DONE = """#!lua flags=allow-oom
for i = 3, #ARGV do redis.call('XACK', KEYS[1], ARGV[1], ARGV[i]) end
local now = redis.call('TIME')
local old = now[1] * 1000 - ARGV[2]
local last = tonumber(string.match(ARGV[#ARGV], '^%d+'))
redis.call('XTRIM', KEYS[1], 'MINID', string.format('%.0f', math.min(old, last)))
return 1
"""

# KEYS: lease. ARGV: me.
_RELEASE = """#!lua flags=allow-oom
if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end
return 0
"""

Entry = tuple[bytes, list[bytes] | None]
"""An id, and field, value, field, value; None where the entry is gone."""


class Shipper:
    """Ships until stopped. Several may run; one of them ships, the others stand by."""

    def __init__(self, state: StateStore, analytics: Analytics, *, every: float = _EVERY) -> None:
        self._state = state
        self._analytics = analytics
        self._every = every
        self._me = uuid.uuid4().hex
        self._take = state.script(_TAKE)
        self._done = state.script(_DONE)
        self._release = state.script(_RELEASE)
        self._stopping = asyncio.Event()
        self._ended = asyncio.Event()
        self._ended.set()
        self.shipped = 0
        """Rows that this shipper brought to analytics."""
        self.trouble = ""
        """Why nothing moves, empty while it does."""

    async def run(self) -> None:
        """Ship until `stop`. No trouble of either store ends it."""
        self._ended.clear()
        first, longest = _PAUSES
        pause = first
        try:
            while not self._stopping.is_set():
                try:
                    entries = await self._ship()
                except StoreError as error:
                    self._complain(error)
                    await self._sleep(pause * random.uniform(0.75, 1.25))
                    pause = min(pause * 2, longest)
                    continue
                self.trouble, pause = "", first
                if not _is_full(entries):
                    await self._sleep(self._every if entries else min(_LOOK, self._every))
            await self._let_go()
        finally:
            self._ended.set()

    async def stop(self) -> None:
        """Finish the batch at hand and return. What is left in the stream stays there."""
        self._stopping.set()
        await self._ended.wait()

    async def _ship(self) -> Sequence[Entry]:
        """Take one batch, insert it, acknowledge it. Returns what was in it."""
        taken = await self._take_batch()
        if taken is None or not taken[1]:
            return ()
        origin, entries = taken
        rows = await self._decoded(entries)
        token = f"{origin.decode()}:{entries[0][0].decode()}:{entries[-1][0].decode()}:{len(entries)}"
        rejected = await self._insert(rows, token)
        await self._done([STREAM], [_GROUP, _LINGER_MS, *(id for id, _ in entries)], alone=_PATIENCE)
        self.shipped += len(rows) - rejected
        return entries

    async def _take_batch(self) -> tuple[bytes, list[Entry]] | None:
        args: list[str | int] = [self._me, _LEASE_MS, _GROUP, BATCH_ROWS, BATCH_BYTES, _LINGER_MS, uuid.uuid4().hex]
        taken: tuple[bytes, list[Entry]] | None = await self._take([STREAM, _LEASE, _ORIGIN], args, alone=_PATIENCE)
        return taken

    async def _decoded(self, entries: Sequence[Entry]) -> list[CallRow]:
        rows = []
        for id, fields in entries:
            if fields is None:
                continue
            try:
                rows.append(_row(fields))
            except StoreError as error:
                await self._bury(id, fields, str(error))
        return rows

    async def _insert(self, rows: list[CallRow], token: str) -> int:
        """Insert a batch; where analytics refuses it, row by row. Returns how many it would not take."""
        try:
            await self._analytics.insert(rows, token)
        except RowsRejected:
            return sum([await self._insert_one(row, f"{token}:{index}") for index, row in enumerate(rows)])
        return 0

    async def _insert_one(self, row: CallRow, token: str) -> bool:
        await self._keep_lease()
        try:
            await self._analytics.insert([row], token)
        except RowsRejected as error:
            await self._bury(b"-", [FIELD, row.encode()], str(error))
            return True
        return False

    async def _keep_lease(self) -> None:
        await self._state.run_alone("PEXPIRE", _LEASE, _LEASE_MS, timeout=_PATIENCE)

    async def _bury(self, id: bytes, fields: list[bytes], why: str) -> None:
        logger.error("a row of a call (entry %s) goes to %s: %s", id.decode(), DEAD, why)
        fields = [b"entry", id, b"why", why.encode(), *fields]
        await self._state.run_alone("XADD", DEAD, "MAXLEN", "~", DEAD_ROWS, "*", *fields, timeout=_PATIENCE)

    async def _let_go(self) -> None:
        try:
            await self._release([_LEASE], [self._me], alone=1.0)
        except StoreError:
            logger.debug("the shipper's lease runs out by itself")

    async def _sleep(self, seconds: float) -> None:
        try:
            await asyncio.wait_for(self._stopping.wait(), seconds)
        except TimeoutError:
            return

    def _complain(self, error: StoreError) -> None:
        if not self.trouble:
            logger.warning("calls wait to be shipped to analytics: %s", error)
        self.trouble = str(error)


async def tail(state: StateStore, start: str = "$") -> AsyncIterator[CallRow]:
    """Rows as they arrive, for ever. `start`: an entry's id, `0` for all that is left, `$` for what comes next.

    Raises `StoreError` when the store goes away; whoever watches decides whether to come back.
    """
    changes = Changes(state, STREAM, _PATIENCE)
    last = await changes.newest() if start == "$" else start.encode()  # reading from `$` misses some
    while True:
        for id, fields in await changes.after(last, 500, 5.0, _PATIENCE):
            last = id
            try:
                row = _row(fields)
            except StoreError:
                continue
            yield row


def _is_full(entries: Sequence[Entry]) -> bool:
    """Whether there is likely to be more at once."""
    return len(entries) >= BATCH_ROWS or sum(len(text) for _, fields in entries for text in fields or ()) >= BATCH_BYTES


def _row(fields: Sequence[bytes]) -> CallRow:
    pairs = dict(zip(fields[::2], fields[1::2], strict=True))
    if FIELD not in pairs:
        raise StoreError("not a call row: the entry has no field 'r'")
    return CallRow.decode(pairs[FIELD])
