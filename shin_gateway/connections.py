"""Clients' HTTP/1 and HTTP/2 connections: mitmproxy's own, with bounds, and a sender that can wait for room."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import h2.events
import h11
from h11._readers import ChunkedReader
from mitmproxy.proxy import commands, events, layer
from mitmproxy.proxy.layers.http import (
    ErrorCode,
    HttpEvent,
    RequestProtocolError,
    ResponseData,
    ResponseHeaders,
)
from mitmproxy.proxy.layers.http._base import ReceiveHttp
from mitmproxy.proxy.layers.http._http1 import Http1Server, make_error_response
from mitmproxy.proxy.layers.http._http2 import Http2Server

UNREAD = 1_000_000
"""Bytes from an HTTP/1 client that may wait until they can be understood."""


class CallHttp1Server(Http1Server):
    """An HTTP/1 connection with bounds: the original keeps a head that never ends, and fails on trailers."""

    _chunked = False

    def send(self, event: HttpEvent) -> layer.CommandGenerator[None]:
        """As the original, which looks for the header again at every part of a stream."""
        if isinstance(event, ResponseHeaders):
            self._chunked = "chunked" in event.response.headers.get("transfer-encoding", "").lower()
        if self._chunked and isinstance(event, ResponseData):
            yield commands.SendData(self.conn, b"%x\r\n%b\r\n" % (len(event.data), event.data))
        else:
            yield from super().send(event)

    def _handle_event(self, event: events.Event) -> layer.CommandGenerator[None]:
        yield from super()._handle_event(event)
        if isinstance(event, events.DataReceived) and len(self.buf) > UNREAD and self.state != self.done:
            yield from self._end()

    def _end(self) -> layer.CommandGenerator[None]:
        """A head, a chunk's first line, trailers or calls sent ahead: more than anybody means to send."""
        underway = self.request is not None
        if not underway:
            yield commands.SendData(self.conn, make_error_response(431, "The request's headers are too large."))
        yield commands.CloseConnection(self.conn)
        if underway:
            error = RequestProtocolError(self.stream_id, "too much to read", ErrorCode.GENERIC_CLIENT_ERROR)
            yield ReceiveHttp(error)
        self.state = self.done

    def read_body(self, event: events.Event) -> layer.CommandGenerator[None]:
        if isinstance(self.body_reader, ChunkedReader):
            self.body_reader = cast("ChunkedReader", _WithoutTrailers(self.body_reader))
        yield from super().read_body(event)


class _WithoutTrailers:
    """A reader of chunks that drops the trailers, as a recipient may (RFC 9110 §6.5.1)."""

    def __init__(self, reader: ChunkedReader) -> None:
        self._reader = reader
        self.read_eof = reader.read_eof

    def __call__(self, buf: Any) -> Any:
        event = self._reader(buf)
        return h11.EndOfMessage() if isinstance(event, h11.EndOfMessage) else event


class CallHttp2Server(Http2Server):
    """An HTTP/2 connection whose sender can wait until the client's flow control window has room again."""

    def __init__(self, context: layer.Context) -> None:
        super().__init__(context)
        self._heard = asyncio.Event()

    def _handle_event(self, event: events.Event) -> layer.CommandGenerator[None]:
        yield from super()._handle_event(event)
        if isinstance(event, events.DataReceived | events.ConnectionClosed):
            self._heard.set()

    def handle_h2_event(self, event: h2.events.Event) -> layer.CommandGenerator[bool]:
        # A reset in one read with the call's end: mitmproxy has forgotten the stream by then, and tells nobody.
        if isinstance(event, h2.events.StreamReset) and event.stream_id not in self.streams:
            yield ReceiveHttp(RequestProtocolError(event.stream_id, "stream reset by client", ErrorCode.CANCEL))
            return False
        return (yield from super().handle_h2_event(event))

    def full(self, stream_id: int) -> bool:
        """Whether something of this stream waits for the client's window (RFC 9113 §5.2)."""
        return bool(self.h2_conn.stream_buffers.get(stream_id))

    async def room(self, stream_id: int) -> None:
        """Until nothing does."""
        while self.full(stream_id):
            self._heard.clear()
            await self._heard.wait()
