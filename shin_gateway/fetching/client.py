"""The client: it connects to what the guard permits, remembers nothing, and keeps no connection."""

from __future__ import annotations

import asyncio
import functools
import socket
import ssl
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, cast

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

from shin_gateway.addresses import AddressGuard, NotPermitted, literal
from shin_gateway.upstream.sessions import open_session

LOOK_UPS = 16
"""Names that are looked up at the same time."""


class Resolver(aiohttp.ThreadedResolver):
    """Asks in threads of its own: a name server that does not answer holds its thread for long, and those of the
    event loop are needed by every other call."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(LOOK_UPS, "look-up")
        super().__init__(cast(asyncio.AbstractEventLoop, _Lookups(self._threads)))

    async def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)


class _Lookups:
    """What a resolver uses of an event loop."""

    def __init__(self, threads: ThreadPoolExecutor) -> None:
        self._threads = threads

    async def getaddrinfo(self, host: str, port: int, **more: int) -> Any:
        work = functools.partial(socket.getaddrinfo, host, port, **more)
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)

    async def getnameinfo(self, address: Any, flags: int = 0) -> Any:
        work = functools.partial(socket.getnameinfo, address, flags)
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)


class GuardedResolver(AbstractResolver):
    """Leaves out of every answer what may not be connected to. Nothing is remembered."""

    def __init__(self, resolver: AbstractResolver, guard: AddressGuard) -> None:
        self._resolver = resolver
        self._guard = guard

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        found = await self._resolver.resolve(host, port, family)
        permitted = [row for row in found if (at := literal(row["host"])) is not None and self._guard.permits(at)]
        if found and not permitted:
            raise NotPermitted
        return permitted

    async def close(self) -> None:
        await self._resolver.close()


def connector_for(
    context: ssl.SSLContext, resolver: AbstractResolver, make_socket: Callable[..., socket.socket] | None
) -> aiohttp.TCPConnector:
    return aiohttp.TCPConnector(
        ssl=context,
        resolver=resolver,
        socket_factory=make_socket,
        use_dns_cache=False,
        force_close=True,  # a kept connection would outlive the check
        limit=0,
    )


def session_on(connector: aiohttp.TCPConnector) -> aiohttp.ClientSession:
    return open_session(connector, headers={"user-agent": "shin-gateway", "accept-encoding": "identity"})
