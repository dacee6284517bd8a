"""The state store: keys, limits, budgets, caches and streams in Valkey, or Redis 7 and newer.

All commands that one tick of the event loop asks for leave in one pipeline, so that a thousand
calls that each want a script cost a handful of round trips. Nothing is retried on the way of a
call: a script that may have run must not run twice. A store that does not answer costs a call at
most its timeout, and after a few of those nothing at all until it answers again.

Every key begins with `shin:`. Keys that meet in one script share a `{hash tag}`.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any, Self

from shin_gateway.stores.errors import CommandError, StoreError, StoreTimeout
from shin_gateway.stores.lanes import pack
from shin_gateway.stores.links import Command, Link, open_link
from shin_gateway.stores.row_queue import RowQueue
from shin_gateway.stores.url import Address, parse_address

__all__ = ["CommandError", "Script", "StateStore", "StoreError", "StoreTimeout"]

logger = logging.getLogger(__name__)

KEYSPACE = "1"
"""Version of what is kept under `shin:` and how. A store with another one is refused."""

_BATCH = 512
"""Commands in one pipeline at most."""
_FLIGHTS = 8
"""Pipelines under way at once; what comes meanwhile waits and leaves together."""
_FAILURES = 4
"""Pipelines in a row without any answer, after which the store counts as down..."""
_PAUSE = 1.0
"""...for so many seconds; then one pipeline tries it again."""

START = 5.0
"""Seconds in which a store has to answer for the first time."""


class StateStore:
    """One store, for one event loop. Made by `connect`; `rows` takes the rows of calls that ended."""

    def __init__(self, address: Address) -> None:
        self.address = address
        self.rows = RowQueue(self)
        self._link: Link = open_link(address)
        self._waiting: deque[tuple[Command, asyncio.Future[Any]]] = deque()
        self._flights: set[asyncio.Task[None]] = set()
        self._alone: set[asyncio.Task[Any]] = set()
        self._scheduled = False
        self._failures = 0
        self._down_until = 0.0
        self._closed = False

    @classmethod
    async def connect(cls, url: str) -> Self:
        """Raises `StoreError` for a wrong URL, a store that cannot be reached or holds another version.

        One that is slow to answer is asked for `START` seconds: no call waits yet, and where all processes of a
        machine begin at once, a quarter of a second may be too little.
        """
        store = cls(parse_address(url))
        try:
            await store._is_there()
        except BaseException:
            await store.close()
            raise
        return store

    def run(self, *command: str | bytes | int | float) -> asyncio.Future[Any]:
        """The reply to one command, RESP3 as it came (strings as bytes). Await it.

        Raises `StoreTimeout` after the address's timeout, `CommandError` for the server's own error to this
        command, `StoreError` for anything else. A caller that is cancelled meanwhile may have run the command.
        """
        packed = Command(command, pack(*command))
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Any] = loop.create_future()
        if self._closed or self._is_down(loop.time()):
            future.set_exception(StoreError(f"state store {self.address}: {'closed' if self._closed else 'down'}"))
            return future
        self._waiting.append((packed, future))
        if not self._scheduled:
            self._scheduled = True
            loop.call_soon(self._depart)
        return future

    async def run_alone(self, *command: str | bytes | int | float, timeout: float | None) -> Any:
        """One command on a connection of its own: for blocking reads and long scripts, never on the way of a call.

        `timeout` in seconds, None waits for as long as the server does. Errors as `run`.
        """
        if self._closed:
            raise StoreError(f"state store {self.address}: closed")
        exchange = asyncio.ensure_future(self._link.exchange([Command(command, pack(*command))], timeout))
        self._alone.add(exchange)
        try:
            (reply,) = await exchange
        except asyncio.CancelledError:
            if not _is_cancelled() and self._closed:
                raise StoreError(f"state store {self.address}: closed") from None
            raise
        finally:
            exchange.cancel()
            self._alone.discard(exchange)
        if isinstance(reply, StoreError):
            raise reply
        return reply

    def script(self, lua: str) -> Script:
        return Script(self, lua)

    async def append(self, stream: str, fields: Mapping[str, str | bytes | int], maxlen: int | None = None) -> bytes:
        """Add one entry to a stream, and let go of the oldest beyond about `maxlen`. Returns the entry's id."""
        bound: tuple[str | int, ...] = ("MAXLEN", "~", maxlen) if maxlen else ()
        flat = [item for pair in fields.items() for item in pair]
        entry: bytes = await self.run("XADD", stream, *bound, "*", *flat)
        return entry

    async def ping(self) -> None:
        """Raises `StoreError` unless the store answers within its timeout."""
        await self.run("PING")

    async def close(self) -> None:
        """Ends every wait with `StoreError`. Rows that wait are lost: `await rows.flush(…)` first."""
        self._closed = True
        await self.rows.close()
        for task in [*self._flights, *self._alone]:
            task.cancel()
        await asyncio.gather(*self._flights, return_exceptions=True)
        self._fail_waiting(StoreError(f"state store {self.address}: closed"))
        await self._link.close()

    def _depart(self) -> None:
        self._scheduled = False
        while self._waiting and len(self._flights) < _FLIGHTS:
            batch = [self._waiting.popleft() for _ in range(min(_BATCH, len(self._waiting)))]
            flight = asyncio.get_running_loop().create_task(self._fly(batch))
            if not flight.done():
                self._flights.add(flight)
                flight.add_done_callback(self._landed)

    def _landed(self, flight: asyncio.Task[None]) -> None:
        self._flights.discard(flight)
        self._depart()

    async def _fly(self, batch: list[tuple[Command, asyncio.Future[Any]]]) -> None:
        try:
            replies = await self._link.exchange([command for command, _ in batch], self.address.timeout)
        except BaseException as error:
            replies = [StoreError(f"state store {self.address}: {type(error).__name__}")] * len(batch)
            if not isinstance(error, (Exception, asyncio.CancelledError)):
                raise
            logger.debug("a pipeline to the state store ended early", exc_info=error)
        self._count(replies)
        for (_, future), reply in zip(batch, replies, strict=True):
            if future.done():
                continue
            if isinstance(reply, StoreError):
                future.set_exception(reply)
            else:
                future.set_result(reply)

    def _count(self, replies: Sequence[Any]) -> None:
        """Keep count of pipelines that nobody answered; a refused command is an answer."""
        if any(not isinstance(reply, StoreError) or isinstance(reply, CommandError) for reply in replies):
            self._failures, self._down_until = 0, 0.0
            return
        self._failures += 1
        if self._failures < _FAILURES:
            return
        if self._failures == _FAILURES:
            logger.warning("%s; nothing more is asked of it for %.0f s at a time", replies[0], _PAUSE)
        self._down_until = asyncio.get_running_loop().time() + _PAUSE
        self._fail_waiting(replies[0])

    def _is_down(self, now: float) -> bool:
        return now < self._down_until or (self._failures >= _FAILURES and bool(self._waiting or self._flights))

    def _fail_waiting(self, error: StoreError) -> None:
        while self._waiting:
            future = self._waiting.popleft()[1]
            if not future.done():
                future.set_exception(error)

    async def _is_there(self) -> None:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + START
        while True:
            try:
                return await self._check_version()
            except StoreTimeout:
                if loop.time() > deadline:
                    raise

    async def _check_version(self) -> None:
        if await self.run_alone("SET", "shin:version", KEYSPACE, "NX", timeout=self.address.timeout):
            return
        reply = await self.run_alone("GET", "shin:version", timeout=self.address.timeout)
        found = (reply or b"").decode(errors="replace")
        if found != KEYSPACE:
            raise StoreError(
                f"state store {self.address} holds data of version {found[:20]!r}, this Shin Gateway keeps version "
                f"{KEYSPACE!r}. Run the Shin Gateway that wrote it, name another database or home for this one, "
                "or delete the keys that begin with 'shin:' to start afresh."
            )


def _is_cancelled() -> bool:
    """Whether who waits was cancelled, rather than what he waits for."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


class Script:
    """A Lua script, sent by its digest and once in full to a server that does not know it yet."""

    def __init__(self, store: StateStore, lua: str) -> None:
        self._store = store
        self._lua = lua
        self._sha = hashlib.sha1(lua.encode(), usedforsecurity=False).hexdigest()

    async def __call__(
        self,
        keys: Sequence[str | bytes],
        args: Sequence[str | bytes | int | float] = (),
        *,
        alone: float | None = None,
    ) -> Any:
        """The script's reply. `alone`: seconds it may take outside of the batch, on a connection of its own."""
        rest = (len(keys), *keys, *args)
        try:
            return await self._send(alone, "EVALSHA", self._sha, *rest)
        except CommandError as error:
            if error.code != "NOSCRIPT":
                raise
        return await self._send(alone, "EVAL", self._lua, *rest)

    def _send(self, alone: float | None, *command: str | bytes | int | float) -> Any:
        return self._store.run(*command) if alone is None else self._store.run_alone(*command, timeout=alone)
