"""The client's end of a stream: whether it takes more, and the shortest way there."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

from mitmproxy import connection
from mitmproxy.proxy.server import ConnectionHandler

from shin_gateway.call_stream import CallStream
from shin_gateway.connections import chunk
from shin_gateway.delivery import Room

ON_THE_WAY = 65_536
"""Bytes that may wait in a client's socket while the next part is fetched: asyncio's own high-water mark."""


def room_at(handler: ConnectionHandler, client: connection.Client, stream: CallStream | None = None) -> Room:
    """Waits until the client takes more, by socket and by window: mitmproxy itself waits only when it reads."""
    writer = _writer(handler, client)

    async def wait() -> None:
        if writer is not None:
            with contextlib.suppress(ConnectionError):  # its end is told by an event of its own
                await writer.drain()
        if stream is not None:
            await stream.room()

    def room() -> Awaitable[None] | None:
        waiting = writer.transport.get_write_buffer_size() if writer is not None else 0
        return wait() if waiting > ON_THE_WAY or (stream is not None and stream.full) else None

    return room


def straight_to(handler: ConnectionHandler, stream: CallStream) -> Callable[[bytes], None] | None:
    """What writes a part to the client's socket; None where a layer in between has more to do than to hand it on.

    The way through the layers costs as much again as all else that is done with a part.
    """
    writer = _writer(handler, stream.context.client)
    if writer is None or not stream.chunks_alone:
        return None

    def write(part: bytes) -> None:
        if not writer.is_closing():
            writer.write(chunk(part))

    return write


def _writer(handler: ConnectionHandler, client: connection.Client) -> asyncio.StreamWriter | None:
    """Of a client that came by TCP."""
    transport = handler.transports.get(client)
    writer = transport.writer if transport else None
    return writer if isinstance(writer, asyncio.StreamWriter) else None
