"""One client connection: bytes in, bytes out, and the moment when the client goes away."""

from __future__ import annotations

import asyncio
import socket
import struct
from typing import cast


class Gone(Exception):
    """The client has left."""


class Peer(asyncio.Protocol):
    """Reads into a buffer and writes with flow control. A half-closed client counts as gone."""

    def __init__(self, send_buffer: int = 0) -> None:
        self.gone = asyncio.Event()
        self.transport: asyncio.Transport | None = None
        self._send_buffer = send_buffer
        self._buffer = bytearray()
        self._more = asyncio.Event()
        self._writable = asyncio.Event()
        self._writable.set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self._socket().setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self._send_buffer:
            self._socket().setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, self._send_buffer)
            self.transport.set_write_buffer_limits(high=self._send_buffer)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        self._more.set()

    def eof_received(self) -> None:
        self._leave()

    def connection_lost(self, exc: Exception | None) -> None:
        self._leave()

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    def _leave(self) -> None:
        self.gone.set()
        self._more.set()
        self._writable.set()

    def _socket(self) -> socket.socket:
        return cast(socket.socket, self._transport().get_extra_info("socket"))

    def _transport(self) -> asyncio.Transport:
        if self.transport is None:
            raise Gone
        return self.transport

    async def read(self) -> bytes:
        """Some bytes; b"" once the client is gone."""
        while not self._buffer and not self.gone.is_set():
            self._more.clear()
            await self._more.wait()
        data = bytes(self._buffer)
        self._buffer.clear()
        return data

    async def write(self, data: bytes) -> None:
        """Hand bytes to the socket and wait until it takes more. Raises Gone."""
        if self.gone.is_set():
            raise Gone
        self._transport().write(data)
        await self._writable.wait()
        if self.gone.is_set():
            raise Gone

    async def wait(self, seconds: float) -> None:
        """Let time pass. Raises Gone as soon as the client leaves."""
        try:
            await asyncio.wait_for(self.gone.wait(), seconds)
        except TimeoutError:
            return
        raise Gone

    def close(self) -> None:
        """Send what is left, then FIN."""
        if self.transport is not None:
            self.transport.close()

    def reset(self) -> None:
        """RST instead of FIN; what was not sent is dropped."""
        if self.transport is not None and not self.transport.is_closing():
            self._socket().setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.transport.abort()
