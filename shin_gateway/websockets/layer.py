"""A WebSocket of which we are the server: mitmproxy's own layer insists on one further on.

The layer owns the protocol (RFC 6455, permessage-deflate), its carriage what the messages mean.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Protocol

import wsproto.events as ws
from mitmproxy import http
from mitmproxy.proxy import commands, context, events, layer
from mitmproxy.proxy.layers.http import HttpStream
from mitmproxy.proxy.server import ConnectionHandler
from wsproto.connection import Connection, ConnectionState, ConnectionType
from wsproto.extensions import PerMessageDeflate
from wsproto.frame_protocol import CloseReason, FrameDecoder, FrameProtocol
from wsproto.utilities import LocalProtocolError, generate_accept_token, split_comma_header

from shin_gateway.delivery import Room

VERSION = "13"

_LOOK = 1.0
"""Seconds between two looks at whether a connection that is not read from is still there."""


class Carried(Protocol):
    """Whom the messages are for."""

    limit: int
    """Bytes of one message; a longer one ends the connection."""

    def receive(self, message: str | bytes) -> None: ...

    def client_left(self, code: int | None = None, reason: str = "") -> None:
        """The connection is gone, or must go: nothing more can be received. `code`: what it was closed with."""


@dataclass
class Say(events.Event):
    """Frames for the client, or its connection's end where there are none."""

    stream: HttpStream
    messages: Iterable[ws.Event]
    hang_up: bool = False


@dataclass
class ShinSocketHook(commands.StartHook):
    """The upgrade is answered: run what is carried, until the connection is over.

    It holds no Flow, or every mitmproxy addon would get an `update` as well.
    """

    blocking = False
    socket: SocketLayer


class SocketLayer(layer.Layer):
    """Frames of one client, in and out."""

    def __init__(self, context: context.Context, stream: HttpStream, upgrade: Upgrade) -> None:
        super().__init__(context)
        self.stream = stream
        """The HTTP stream that became this connection, by which events find their way here."""
        self.carried = upgrade.carried
        self.left = asyncio.Event()
        """Set when the client has closed its end."""
        self.heard = time.monotonic()
        """When anything came from the client."""
        self.legible = True
        """Whether what comes in can still be read, its closing too."""
        extensions = [upgrade.deflate] if upgrade.deflate else []
        self._connection = Connection(ConnectionType.SERVER, list(extensions))
        self._pieces: list[str | bytes | bytearray] = []
        self._size = 0
        self._deaf = False
        """Whether messages are thrown away: one of us has closed."""

    def _handle_event(self, event: events.Event) -> layer.CommandGenerator[None]:
        if isinstance(event, events.Start):
            yield ShinSocketHook(self)
        elif isinstance(event, events.DataReceived) and event.connection is self.context.client:
            yield from self._hear(event.data)
        elif isinstance(event, events.ConnectionClosed) and event.connection is self.context.client:
            self._leave()
            yield commands.CloseConnection(self.context.client)
        elif isinstance(event, Say):
            for message in event.messages:
                yield from self._say(message)
            if event.hang_up:
                yield commands.CloseConnection(self.context.client)

    def _hear(self, data: bytes) -> layer.CommandGenerator[None]:
        self.heard = time.monotonic()
        if not self.legible or (self._deaf and self._connection.state is not ConnectionState.LOCAL_CLOSING):
            return
        self._connection.receive_data(data)
        for event in self._connection.events():
            if isinstance(event, ws.CloseConnection):
                yield from self._end(event)
                return
            if self._deaf:
                continue
            if isinstance(event, ws.Ping):
                yield from self._say(event.response())
            elif isinstance(event, ws.Message):
                yield from self._take(event)

    def _take(self, event: ws.Message[Any]) -> layer.CommandGenerator[None]:
        self._pieces.append(event.data)
        self._size += len(event.data) or 1  # or a message could have pieces without end
        if self._size > self.carried.limit:
            yield from self._fail(CloseReason.MESSAGE_TOO_BIG, "The message is too large.")
        elif event.message_finished:
            pieces, self._pieces, self._size = self._pieces, [], 0
            self.carried.receive(_joined(pieces))

    def _end(self, event: ws.CloseConnection) -> layer.CommandGenerator[None]:
        """The client closes, or what it sends is no WebSocket."""
        state = self._connection.state
        if state is ConnectionState.OPEN:
            self.legible = False
            yield from self._fail(event.code, "The message cannot be read.")
            return
        if state is ConnectionState.REMOTE_CLOSING:
            yield from self._say(event.response())
        self._leave(event.code, event.reason or "")
        yield commands.CloseConnection(self.context.client)

    def _fail(self, code: int, reason: str) -> layer.CommandGenerator[None]:
        yield from self._say(ws.CloseConnection(code, reason))
        self._pieces = []
        self.carried.client_left(code, reason)

    def _leave(self, code: int | None = None, reason: str = "") -> None:
        self._deaf = True
        self.left.set()
        self._pieces = []
        self.carried.client_left(code, reason)

    def _say(self, event: ws.Event) -> layer.CommandGenerator[None]:
        try:
            data = self._connection.send(event)
        except LocalProtocolError:  # closed meanwhile
            return
        if isinstance(event, ws.CloseConnection):
            self._deaf = True
        yield commands.SendData(self.context.client, data)


def _joined(pieces: list[str | bytes | bytearray]) -> str | bytes:
    if isinstance(pieces[0], str):
        return "".join(piece for piece in pieces if isinstance(piece, str))
    return b"".join(piece for piece in pieces if not isinstance(piece, str))


class Deflate(PerMessageDeflate):
    """permessage-deflate (RFC 7692) that inflates no read beyond what a message may have."""

    def __init__(self, limit: int) -> None:
        super().__init__()
        self._limit = limit

    def frame_inbound_payload_data(self, proto: FrameDecoder | FrameProtocol, data: bytes) -> bytes | CloseReason:
        if not self._inbound_compressed or not self._inbound_is_compressible or self._decompressor is None:
            return data
        try:
            out = self._decompressor.decompress(bytes(data), self._limit + 1)
        except Exception:  # zlib.error
            return CloseReason.INVALID_FRAME_PAYLOAD_DATA
        return CloseReason.MESSAGE_TOO_BIG if self._decompressor.unconsumed_tail else out


@dataclass
class Upgrade:
    """A request that becomes a WebSocket."""

    carried: Carried
    deflate: Deflate | None
    response: http.Response
    """The answer to it."""


def upgrade(request: http.Request, carried: Carried) -> Upgrade | None:
    """Accept a WebSocket (RFC 6455 §4.2.2); None where the request cannot become one."""
    key = request.headers.get("sec-websocket-key", "")
    version = request.headers.get("sec-websocket-version", "")
    if not key or version != VERSION or request.http_version != "HTTP/1.1":
        return None
    headers = http.Headers(
        upgrade="websocket", connection="Upgrade", sec_websocket_accept=generate_accept_token(key.encode()).decode()
    )
    deflate = Deflate(carried.limit)
    accepted = _accept(deflate, request.headers.get("sec-websocket-extensions", ""))
    if accepted is not None:
        headers["sec-websocket-extensions"] = accepted
    now = time.time()
    response = http.Response(b"HTTP/1.1", 101, b"Switching Protocols", headers, b"", None, now, now)
    return Upgrade(carried, deflate if accepted is not None else None, response)


def _accept(deflate: Deflate, offers: str) -> str | None:
    """The first offer of permessage-deflate that we can take."""
    for offer in split_comma_header(offers.encode("ascii", "replace")):
        if offer.partition(";")[0].strip().lower() != deflate.name:
            continue
        try:
            accepted = deflate.accept(offer)
        except ValueError:  # a window that is no number
            continue
        if isinstance(accepted, str):
            return f"{deflate.name}; {accepted}" if accepted else deflate.name
    return None


class ClientSocket:
    """The client's end, for the carriage."""

    def __init__(self, socket: SocketLayer, handler: ConnectionHandler, room: Room) -> None:
        self.room = room
        self._socket = socket
        self._handler = handler
        self._free = asyncio.Event()

    @property
    def silence(self) -> float:
        return time.monotonic() - self._socket.heard

    async def send(self, messages: Iterable[bytes]) -> None:
        texts = [ws.TextMessage(message.decode("utf-8", "replace")) for message in messages]
        await self._handler.server_event(Say(self._socket.stream, texts))

    async def send_bytes(self, message: bytes) -> None:
        await self._handler.server_event(Say(self._socket.stream, [ws.BytesMessage(bytearray(message))]))

    def hold(self, on: bool) -> None:
        """Where mitmproxy, after each read, waits for those whom it writes to. To pause the transport would not do:
        asyncio's reader pauses it too when its own buffer is full, and then goes on by itself."""
        if on:
            self._free.clear()
            self._handler.drain_writers = self._until_free  # type: ignore[method-assign]
        else:
            self._free.set()
            self._handler.__dict__.pop("drain_writers", None)

    async def _until_free(self) -> None:
        """Or until the connection is gone, which nobody tells those who do not read."""
        end = self._handler.transports.get(self._socket.context.client)
        while not self._free.is_set() and end is not None and end.writer is not None and not end.writer.is_closing():
            with suppress(TimeoutError):
                async with asyncio.timeout(_LOOK):
                    await self._free.wait()

    async def ping(self) -> None:
        await self._handler.server_event(Say(self._socket.stream, [ws.Ping()]))

    async def close(self, code: int, reason: str) -> None:
        if not self._socket.left.is_set():
            await self._handler.server_event(Say(self._socket.stream, [ws.CloseConnection(code, reason)]))

    async def hang_up(self) -> None:
        await self._handler.server_event(Say(self._socket.stream, (), hang_up=True))
