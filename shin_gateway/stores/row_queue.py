"""From a call that ended to the stream in the state store, without anybody waiting for it.

Rows wait here, bounded, until the store has them: in batches, each applied once however often it
is sent. A writer numbers its batches, and the script that appends a batch remembers the last number.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
import uuid
from collections import deque
from typing import TYPE_CHECKING

from shin_gateway.stores.errors import StoreError
from shin_gateway.stores.rows import CallRow

if TYPE_CHECKING:
    from shin_gateway.stores.state import StateStore

logger = logging.getLogger(__name__)

STREAM = "shin:{rows}"
FIELD = b"r"
"""The one field of an entry: a packed `CallRow`."""

_APPEND = """
local last = tonumber(redis.call('GET', KEYS[2]) or '0')
if last >= tonumber(ARGV[1]) then return 1 end
if redis.call('XLEN', KEYS[1]) >= tonumber(ARGV[2]) then return 0 end
for i = 3, #ARGV do redis.call('XADD', KEYS[1], '*', 'r', ARGV[i]) end
redis.call('SET', KEYS[2], ARGV[1], 'EX', 86400)
return 1
"""

_ROWS = 10_000
_BYTES = 64_000_000
"""Rows that may wait, by number and by size: a store that is down must not eat the memory of the worker."""
_STREAM_ROWS = 1_000_000
"""Rows that may wait in the store for analytics that is down."""
_BATCH_ROWS = 500
_BATCH_BYTES = 1_000_000
_LINGER = 0.05
"""Seconds that the first row of a batch waits for company: the store is asked 20 times a second at most."""
_SEND = 2.0
_PAUSES = (0.05, 2.0)
"""Seconds between tries while the store is down, the first and the longest."""


class RowQueue:
    """`put` never blocks and never fails; `dropped` says how many rows found no place."""

    def __init__(self, store: StateStore, *, limit: int = _ROWS, stream_limit: int = _STREAM_ROWS) -> None:
        self._append = store.script(_APPEND)
        self._limit = limit
        self._stream_limit = stream_limit
        self._writer = f"shin:{{rows}}:writer:{uuid.uuid4().hex}"
        self._number = 0
        self._rows: deque[bytes] = deque()
        self._bytes = 0
        self._wake = asyncio.Event()
        self._empty = asyncio.Event()
        self._empty.set()
        self._flushing = False
        self._task: asyncio.Task[None] | None = None
        self._complained = 0.0
        self.dropped = 0

    def __len__(self) -> int:
        """Rows that the store has not acknowledged yet."""
        return len(self._rows)

    def put(self, row: CallRow) -> None:
        packed = row.encode()
        if len(self._rows) >= self._limit or self._bytes + len(packed) > _BYTES:
            self._drop()
            return
        self._rows.append(packed)
        self._bytes += len(packed)
        self._empty.clear()
        self._wake.set()
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._work())

    async def flush(self, timeout: float) -> int:
        """Wait until the store has every row, for `timeout` seconds at most. Returns how many it has not."""
        self._flushing = True
        try:
            await asyncio.wait_for(self._empty.wait(), timeout)
        except TimeoutError:
            logger.warning("%d rows of calls did not reach the state store in %.1f s", len(self._rows), timeout)
        finally:
            self._flushing = False
        return len(self._rows)

    async def close(self) -> None:
        task, self._task = self._task, None
        if task:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _work(self) -> None:
        while True:
            await self._wake.wait()
            if not self._flushing:
                await asyncio.sleep(_LINGER)
            while self._rows:
                await self._deliver(self._head())
            self._wake.clear()
            self._empty.set()

    def _head(self) -> list[bytes]:
        batch: list[bytes] = []
        size = 0
        for packed in self._rows:
            size += len(packed)
            if batch and (size > _BATCH_BYTES or len(batch) == _BATCH_ROWS):
                break
            batch.append(packed)
        return batch

    async def _deliver(self, batch: list[bytes]) -> None:
        """Send one batch until the store has it. The rows stay in the queue until then."""
        self._number += 1
        pause, longest = _PAUSES
        while (trouble := await self._send(batch)) is not None:
            if pause == _PAUSES[0]:
                logger.warning("rows of calls wait for the state store: %s", trouble)
            await asyncio.sleep(pause * random.uniform(0.75, 1.25))
            pause = min(pause * 2, longest)
        for packed in batch:
            self._rows.popleft()
            self._bytes -= len(packed)

    async def _send(self, batch: list[bytes]) -> str | None:
        """None when the store has the batch, else why it has not."""
        try:
            done = await self._append([STREAM, self._writer], [self._number, self._stream_limit, *batch], alone=_SEND)
        except StoreError as error:
            return str(error)
        except Exception as error:  # the rows stay, and are tried again
            logger.exception("rows of calls cannot be sent")
            return type(error).__name__
        return None if done else "the stream is full; is anything shipping it to analytics?"

    def _drop(self) -> None:
        self.dropped += 1
        now = time.monotonic()
        if now - self._complained >= 60 or not self._complained:
            self._complained = now
            logger.error("the state store takes no rows of calls; %d dropped so far", self.dropped)
