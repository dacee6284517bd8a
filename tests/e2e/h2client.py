"""An HTTP/2 client that resets single streams and leaves the window closed, which httpx2 does not."""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import h2.config
import h2.connection
import h2.errors
import h2.events


class H2Client:
    """One connection through a CONNECT proxy."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, host: str) -> None:
        self._reader, self._writer, self._host = reader, writer, host
        self._h2 = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="utf-8"))
        self._h2.initiate_connection()
        self._events: list[h2.events.Event] = []

    def post(self, path: str, body: object) -> int:
        """Send a call; its stream's id."""
        stream = self._write(path, body)
        self._flush()
        return stream

    def post_and_reset(self, path: str, body: object, count: int) -> None:
        """Send calls, each with its reset right behind it, in one write."""
        for _ in range(count):
            self._h2.reset_stream(self._write(path, body), h2.errors.ErrorCodes.CANCEL)
        self._flush()

    def _write(self, path: str, body: object) -> int:
        data, stream = json.dumps(body).encode(), self._h2.get_next_available_stream_id()
        head = [(":method", "POST"), (":scheme", "https"), (":authority", self._host), (":path", path)]
        self._h2.send_headers(stream, [*head, ("content-length", str(len(data)))])
        self._h2.send_data(stream, data, end_stream=True)
        return stream

    def reset(self, stream: int) -> None:
        self._h2.reset_stream(stream, h2.errors.ErrorCodes.CANCEL)
        self._flush()

    def take(self, stream: int, size: int) -> None:
        """Open the windows for `size` more bytes."""
        self._h2.increment_flow_control_window(size)
        self._h2.increment_flow_control_window(size, stream)
        self._flush()

    async def event(self, kind: type[Any], stream: int) -> Any:
        """The next event of this kind on this stream."""
        while True:
            for event in self._events:
                if isinstance(event, kind) and event.stream_id == stream:
                    self._events.remove(event)
                    return event
            data = await self._reader.read(65536)
            assert data, "the connection was closed"
            self._events += self._h2.receive_data(data)
            self._flush()

    def _flush(self) -> None:
        self._writer.write(self._h2.data_to_send())


@contextlib.asynccontextmanager
async def connect(proxy: str, host: str, port: int, ca: Path) -> AsyncIterator[H2Client]:
    context = ssl.create_default_context(cafile=str(ca))
    context.set_alpn_protocols(["h2"])
    address, _, number = proxy.removeprefix("http://").rpartition(":")
    reader, writer = await asyncio.open_connection(address, int(number))
    try:
        writer.write(f"CONNECT {host}:{port} HTTP/1.1\r\n\r\n".encode())
        await reader.readuntil(b"\r\n\r\n")
        await writer.start_tls(context, server_hostname=host)
        yield H2Client(reader, writer, f"{host}:{port}")
    finally:
        writer.close()
