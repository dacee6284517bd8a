"""The provider's end of a WebSocket: opened, refused, read and written, without a word of what is said on it."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import aiohttp
from multidict import CIMultiDict

from shin_gateway.stream import Broken
from shin_gateway.upstream import HOP_BY_HOP

NO_CODE, NORMAL = 1005, 1000
"""Close codes (RFC 6455 §7.4.1)."""
PATIENCE = 2.0
"""Seconds that a provider has to answer our closing."""


class Closed(Exception):
    """The provider has closed."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(code, reason)
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
        out: CIMultiDict[str] = CIMultiDict()
        for name, value in self._socket._response.headers.items():
            lower = name.lower()
            if lower not in HOP_BY_HOP and not lower.startswith(("sec-websocket-", "content-", "x-shin-")):
                out.add(name, value)
        return out

    async def receive(self) -> str | bytes:
        """The next message. Raises Closed, and Broken where the connection is gone without that."""
        message = await self._socket.receive()
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
