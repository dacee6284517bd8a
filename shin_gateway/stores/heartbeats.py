"""Which workers are alive: each says so every few seconds and is forgotten when it no longer does.

One sorted set by the server's own clock, since a look at it must stay cheap in a store of a million
keys, and must be one command in a Cluster.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket

from shin_gateway.stores.state import StateStore

logger = logging.getLogger(__name__)

EVERY = 3.0
"""Seconds between two beats."""
TTL = 10
"""Seconds of silence after which a worker is gone."""

KEY = "shin:workers"

# KEYS: workers. ARGV: worker, TTL.
_BEAT = """
local now = tonumber(redis.call('TIME')[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', '(' .. (now - ARGV[2]))
redis.call('ZREMRANGEBYSCORE', KEYS[1], now + 1, '+inf') -- the clock was set back; who lives says so again
redis.call('ZADD', KEYS[1], now, ARGV[1])
redis.call('EXPIRE', KEYS[1], ARGV[2])
"""

# KEYS: workers. ARGV: TTL.
_ALIVE = "return redis.call('ZCOUNT', KEYS[1], redis.call('TIME')[1] - ARGV[1], '+inf')"


async def beat(state: StateStore, pid: int) -> None:
    """Say that the worker `pid` of this machine is alive. Raises StoreError."""
    await state.script(_BEAT)([KEY], [_name(pid), TTL])


async def alive(state: StateStore) -> int:
    """How many workers said so in the last `TTL` seconds, on all machines. Raises StoreError."""
    return int(await state.script(_ALIVE)([KEY], [TTL]))


class Heartbeat:
    """Beats for this process. No trouble of the store comes out of it."""

    def __init__(self, state: StateStore) -> None:
        self._state = state
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """The first beat leaves at once."""
        self._task = asyncio.create_task(self._beat(), name="heartbeat")

    async def stop(self) -> None:
        """Be forgotten now instead of in ten seconds. Call it before the store is closed."""
        if self._task is None:
            return
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        self._task = None
        with contextlib.suppress(Exception):
            await self._state.run("ZREM", KEY, _name(os.getpid()))

    async def _beat(self) -> None:
        while True:
            try:
                await beat(self._state, os.getpid())
            except Exception as error:  # a store that is down says so where it matters
                logger.debug("no heartbeat: %s", error)
            await asyncio.sleep(EVERY)


def _name(pid: int) -> str:
    return f"{socket.gethostname()}:{pid}"
