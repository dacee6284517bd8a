"""Connections to one server of the state store, and the one way to talk over them.

redis-py brings the connection (sockets, TLS, login, hiredis); its client and its pool are left
out. Their defaults are dangerous on the way of a call (a stalled server holds a GET for 59 s,
five seconds and ten retries at a time), and a pool check, a lock and five telemetry records a
command cost more than the command.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import hiredis
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import NoScriptError, OutOfMemoryError, ReadOnlyError, RedisError, ResponseError

from shin_gateway.stores.errors import CommandError, StoreError, StoreTimeout

Make = Callable[[], Awaitable[AbstractConnection]]
"""Makes a connection, not yet connected."""

_IDLE = 16
"""Idle connections kept; more are closed when they come back."""

_CODES = {NoScriptError: "NOSCRIPT", OutOfMemoryError: "OOM", ReadOnlyError: "READONLY"}


def pack(*command: Any) -> bytes:
    """The bytes of one command on the wire. Raises `TypeError` for what is not str, bytes, int or float."""
    return hiredis.pack_command(command)


class Lanes:
    """Connections to one server, the last one back is the first one out. Each carries one batch at a time."""

    def __init__(self, make: Make, name: str, *, connect_timeout: float) -> None:
        self._make = make
        self._name = name
        self._connect_timeout = connect_timeout
        self._idle: list[AbstractConnection] = []
        self._closed = False

    async def exchange(self, packed: Sequence[bytes], timeout: float | None) -> list[Any]:
        """One reply per command, in order; a command that the server refused has its redis-py error in its place.

        Raises `StoreTimeout` when the batch takes longer than `timeout` seconds (None: as long as it takes) in which
        this process ran, `StoreError` when there is no connection. Nothing is tried twice: a script that may have run
        is not run again.
        """
        try:
            connection = await self._ready()
        except (TimeoutError, RedisError, OSError) as error:
            raise self._failed(error, "connecting took too long") from None
        try:
            replies = await _within(timeout, _talk(connection, packed))
        except BaseException as error:
            await connection.disconnect(nowait=True)
            if isinstance(error, (TimeoutError, RedisError, OSError)):
                raise self._failed(error, "no answer in time") from None
            raise
        await self._back(connection)
        return replies

    async def close(self) -> None:
        self._closed = True
        idle, self._idle = self._idle, []
        for connection in idle:
            await connection.disconnect(nowait=True)

    async def _ready(self) -> AbstractConnection:
        while self._idle:
            connection = self._idle.pop()
            if connection.is_connected and not await connection.can_read():
                return connection
            await connection.disconnect(nowait=True)  # closed by the server while it lay idle
        return await _within(self._connect_timeout, self._connected())

    async def _connected(self) -> AbstractConnection:
        connection = await self._make()
        try:
            await connection.connect()
        except BaseException:
            await connection.disconnect(nowait=True)
            raise
        return connection

    async def _back(self, connection: AbstractConnection) -> None:
        if self._closed or len(self._idle) >= _IDLE:
            await connection.disconnect(nowait=True)
        else:
            self._idle.append(connection)

    def _failed(self, error: BaseException, late: str) -> StoreError:
        if isinstance(error, TimeoutError):
            return StoreTimeout(f"state store {self._name}: {late}")
        return StoreError(f"state store {self._name}: {error}")


async def _within[T](seconds: float | None, work: Awaitable[T]) -> T:
    """Raises TimeoutError."""
    if seconds is None:
        return await work
    async with asyncio.timeout(None) as wait:
        bell = _ring(wait, seconds)
        try:
            return await work
        finally:
            bell.cancel()


def _ring(wait: asyncio.Timeout, seconds: float) -> asyncio.TimerHandle:
    """End `wait`, and if the bell itself is late, as long after it once more.

    A machine that stood still, or slept, has stopped the server with us: its answer is on the way, and to go on without
    it would let calls pass their limits.
    """
    loop = asyncio.get_running_loop()
    end = loop.time() + seconds

    def ring() -> None:
        now = loop.time()
        wait.reschedule(now + seconds if now - end > seconds / 2 else now)

    return loop.call_at(end, ring)


async def _talk(connection: AbstractConnection, packed: Sequence[bytes]) -> list[Any]:
    await connection.send_packed_command(packed, check_health=False)
    replies = []
    for _ in packed:
        try:
            replies.append(await connection.read_response())
        except ResponseError as error:
            replies.append(error)
    return replies


def refused(error: ResponseError) -> CommandError:
    """Our error for the server's: redis-py drops the code from some messages."""
    text = str(error)
    return CommandError(f"state store: {text}", _CODES.get(type(error)) or text.partition(" ")[0])
