"""The provider's end of a WebSocket: opened, refused, read and written, without a word of what is said on it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress

import aiohttp
from multidict import CIMultiDict

from shin_gateway.call import Call
from shin_gateway.call_keys import mentions, unmentioned
from shin_gateway.stream import Broken
from shin_gateway.targets import Target
from shin_gateway.upstream import HOP_BY_HOP, Upstream
from shin_gateway.upstream.handshakes import HandshakeRefused

HEARTBEAT = 30.0
"""Seconds between pings; an upstream that does not answer one in half of that is gone."""
NO_CODE = 1005
"""Where a close frame says no code (RFC 6455 §7.4.1)."""
PATIENCE = 2.0
"""Seconds that a provider has to answer our closing."""


class Closed(Broken):
    """The provider has closed."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__("upstream_cut")
        self.code = code
        self.reason = reason


class ProviderSocket:
    """One open WebSocket."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket

    @property
    def protocol(self) -> str | None:
        """The subprotocol that the provider chose."""
        return self._socket.protocol

    @property
    def headers(self) -> CIMultiDict[str]:
        """Those of its answer to the upgrade, less what concerns its connection to us, and what only we may say."""
        return _without(self._socket._response.headers, "sec-websocket-", "content-", "x-shin-")

    async def is_open(self) -> bool:
        """Whether it can be asked on: providers close what was idle for long, and what came unasked is nobody's."""
        if self._socket.closed:
            return False
        with suppress(TimeoutError, Broken):
            async with asyncio.timeout(0):
                while True:
                    await self.receive()
        return not self._socket.closed

    async def receive(self) -> str | bytes:
        """The next message. Raises Closed, and Broken where the connection is gone without that."""
        try:
            message = await self._socket.receive()
        except (aiohttp.ClientError, OSError, RuntimeError):
            raise Broken("upstream_cut") from None
        if message.type is aiohttp.WSMsgType.TEXT or message.type is aiohttp.WSMsgType.BINARY:
            said: str | bytes = message.data
            return said
        if message.type is aiohttp.WSMsgType.CLOSE:
            raise Closed(message.data or NO_CODE, message.extra or "")
        raise Broken("upstream_cut")

    async def send(self, message: str | bytes) -> None:
        """Once there is room. Raises Broken."""
        try:
            if isinstance(message, str):
                await self._socket.send_str(message)
            else:
                await self._socket.send_bytes(message)
        except (aiohttp.ClientError, OSError, RuntimeError):
            raise Broken("upstream_cut") from None

    async def close(self, code: int, reason: str) -> None:
        """Say goodbye, and wait a little for the answer."""
        with suppress(TimeoutError, aiohttp.ClientError, OSError, RuntimeError):
            async with asyncio.timeout(PATIENCE):
                await self._socket.close(code=code, message=reason.encode()[:120])
        self.drop()

    def drop(self) -> None:
        """Let go of the connection, at once."""
        self._socket._response.close()


async def connect(
    upstream: Upstream, call: Call, headers: CIMultiDict[str], *, protocols: Sequence[str] = (), compress: bool = True
) -> ProviderSocket:
    """A WebSocket to the call's target, with these headers. Raises TimeoutError and what Upstream.open_socket does."""
    assert call.target is not None
    began = time.perf_counter()
    try:
        async with asyncio.timeout(call.policy.timeouts.connect):
            url = call.target.url(unmentioned(call.path))
            return ProviderSocket(
                await upstream.open_socket(url, headers, HEARTBEAT, protocols=protocols, compress=compress)
            )
    except HandshakeRefused as refused:
        call.target.answered(refused.status)
        raise
    finally:
        call.outcome.timings.connect += time.perf_counter() - began


async def headers_for(target: Target, headers: CIMultiDict[str]) -> CIMultiDict[str]:
    """The client's headers with the target's credential, less what holds a key of ours. Raises Unavailable where that
    cannot be had."""
    await target.ready()
    out = CIMultiDict((name, value) for name, value in headers.items() if not mentions(value))
    if not target.own_key:
        out.popall("cookie", None)  # of our own address, which other programs share
    target.authorize(out)
    return out


def handshake_headers(headers: CIMultiDict[str]) -> CIMultiDict[str]:
    """The client's headers of its upgrade, less what concerns its connection to us."""
    out = _without(headers, "sec-websocket-", "x-shin-")
    for name in ("host", "content-length"):
        out.popall(name, None)
    return out


def _without(headers: Mapping[str, str], *beginnings: str) -> CIMultiDict[str]:
    """Headers less what concerns one connection only, and what begins so."""
    out: CIMultiDict[str] = CIMultiDict()
    for name, value in headers.items():
        lower = name.lower()
        if lower not in HOP_BY_HOP and not lower.startswith(beginnings):
            out.add(name, value)
    return out
