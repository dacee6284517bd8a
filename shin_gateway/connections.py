"""Clients' HTTP/1 and HTTP/2 connections: mitmproxy's own, with bounds, and a sender that can wait for room."""

from __future__ import annotations

import asyncio
import re
import time
from dataclasses import dataclass
from typing import Any, cast

import h2.errors
import h2.events
import h2.settings
import h11
from h11._readers import ChunkedReader
from mitmproxy import http
from mitmproxy.proxy import commands, events, layer
from mitmproxy.proxy.layers.http import (
    ErrorCode,
    HttpEvent,
    RequestProtocolError,
    ResponseData,
    ResponseEndOfMessage,
    ResponseHeaders,
)
from mitmproxy.proxy.layers.http._base import ReceiveHttp
from mitmproxy.proxy.layers.http._http1 import Http1Server, make_error_response
from mitmproxy.proxy.layers.http._http2 import Http2Server

from shin_gateway.listening.limits import ListenLimits

TOGETHER = 65_536
"""Bytes of a body that go out in one write with the head: a write costs more than the copy."""

UNREAD = 1_000_000
"""Bytes from an HTTP/1 client that may wait until they can be understood."""


TOO_LARGE = (431, "The request's headers are too large.")
MALFORMED = (400, "The request's headers cannot be read safely.")

# Some take each of these for a line's end, and some do not (RFC 9112 §2.2, §5.2).
_FOLDED = re.compile(rb"\n[ \t]")
_BARE_CR = re.compile(rb"\r(?!\n)")
_BARE_END = re.compile(rb"\n\r?\n")

PATIENCE, COST = 10.0, {h2.events.StreamReset: 10, h2.events.PingReceived: 1, h2.events.RemoteSettingsChanged: 1}
"""Seconds, and what events that bring nothing cost a client within them (CVE-2023-44487, CVE-2019-9512, -9515)."""

MOST = 2000
"""What it may cost: 200 resets, 2,000 pings. Programs that cancel a lot are far below that."""


@dataclass
class HeadAndMore(ResponseHeaders):
    """The head of a reply whose first bytes follow at once."""


class CallHttp1Server(Http1Server):
    """An HTTP/1 connection with bounds: the original keeps a head that never ends, and fails on trailers."""

    chunked = False
    """Whether the body under way, or the last one, is sent in chunks."""
    _head = b""
    """Of a reply whose body goes out with it."""

    def __init__(self, context: layer.Context, limits: ListenLimits) -> None:
        super().__init__(context)
        self._limits = limits

    def send(self, event: HttpEvent) -> layer.CommandGenerator[None]:
        """As the original, which looks for the header again at every part of a stream and writes each event alone."""
        if (self.chunked or self._head) and isinstance(event, ResponseData):
            head, self._head = self._head, b""
            yield commands.SendData(self.conn, head + (chunk(event.data) if self.chunked else event.data))
        elif isinstance(event, ResponseHeaders):
            self.chunked = _is_chunked(event.response)
            holds = isinstance(event, HeadAndMore) or 0 < len(event.response.raw_content or b"") <= TOGETHER
            yield from self._hold(super().send(event)) if holds else super().send(event)
        elif isinstance(event, ResponseEndOfMessage) and not self.chunked:
            yield from self.mark_done(response=True)
        else:
            yield from super().send(event)

    def _hold(self, sending: layer.CommandGenerator[None]) -> layer.CommandGenerator[None]:
        """Keep the head of a reply whose body is at hand, and follows at once."""
        for command in sending:
            if isinstance(command, commands.SendData):
                self._head += command.data
            else:
                yield command

    def _handle_event(self, event: events.Event) -> layer.CommandGenerator[None]:
        yield from super()._handle_event(event)
        if isinstance(event, events.DataReceived) and len(self.buf) > UNREAD and self.state != self.done:
            yield from self._end()

    def read_headers(self, event: events.ConnectionEvent) -> layer.CommandGenerator[None]:
        wrong = self._wrong_head() if isinstance(event, events.DataReceived) else None
        if wrong is None:
            yield from super().read_headers(event)
            return
        yield commands.SendData(self.conn, make_error_response(*wrong))
        yield commands.CloseConnection(self.conn)
        self.state = self.done

    def _wrong_head(self) -> tuple[int, str] | None:
        """Why what has come so far is no head that we read, as status and message; None while nothing is wrong."""
        data, most = self.buf._data, self._limits.head
        end = data.find(b"\r\n\r\n", 0, most)
        if end < 0:
            if len(data) > most:
                return TOO_LARGE
            return MALFORMED if _BARE_END.search(data) else None
        head = data[:end]
        lines = head.count(b"\n")
        if lines > self._limits.headers:
            return TOO_LARGE
        strict = lines == head.count(b"\r") and not _FOLDED.search(head) and not _BARE_CR.search(head)
        return None if strict and b"\0" not in head else MALFORMED

    def _end(self) -> layer.CommandGenerator[None]:
        """A head, a chunk's first line, trailers or calls sent ahead: more than anybody means to send."""
        underway = self.request is not None
        if not underway:
            yield commands.SendData(self.conn, make_error_response(*TOO_LARGE))
        yield commands.CloseConnection(self.conn)
        if underway:
            error = RequestProtocolError(self.stream_id, "too much to read", ErrorCode.GENERIC_CLIENT_ERROR)
            yield ReceiveHttp(error)
        self.state = self.done

    def read_body(self, event: events.Event) -> layer.CommandGenerator[None]:
        if isinstance(self.body_reader, ChunkedReader):
            self.body_reader = cast("ChunkedReader", _WithoutTrailers(self.body_reader))
        yield from super().read_body(event)


def chunk(part: bytes) -> bytes:
    """RFC 9112 §7.1."""
    return b"%x\r\n%b\r\n" % (len(part), part)


def _is_chunked(response: http.Response) -> bool:
    fields = response.headers.fields
    return any(name.lower() == b"transfer-encoding" and b"chunked" in value.lower() for name, value in fields)


class _WithoutTrailers:
    """A reader of chunks that drops the trailers, as a recipient may (RFC 9110 §6.5.1)."""

    def __init__(self, reader: ChunkedReader) -> None:
        self._reader = reader
        self.read_eof = reader.read_eof

    def __call__(self, buf: Any) -> Any:
        event = self._reader(buf)
        return h11.EndOfMessage() if isinstance(event, h11.EndOfMessage) else event


class CallHttp2Server(Http2Server):
    """An HTTP/2 connection with bounds, whose sender can wait until the client's flow control window has room again."""

    def __init__(self, context: layer.Context, limits: ListenLimits) -> None:
        super().__init__(context)
        self._heard = asyncio.Event()
        self._limits = limits
        self._spent, self._since = 0, 0.0
        self.h2_conn.local_settings[h2.settings.SettingCodes.MAX_HEADER_LIST_SIZE] = limits.head
        self.h2_conn.local_settings.acknowledge()
        self.h2_conn.decoder.max_header_list_size = limits.head

    def _handle_event(self, event: events.Event) -> layer.CommandGenerator[None]:
        yield from super()._handle_event(event)
        if isinstance(event, events.DataReceived):
            self._heard.set()
            # Only now: every call of this read has been told of its reset.
            if (self._spent > MOST or self.head_size > self._limits.head) and self._handle_event != self.done:
                yield from self.protocol_error("too much to no purpose", h2.errors.ErrorCodes.ENHANCE_YOUR_CALM)
        elif isinstance(event, events.ConnectionClosed):
            self._heard.set()

    @property
    def head_size(self) -> int:
        """Bytes of a request's head that has begun, compressed, with what is in its CONTINUATION frames."""
        unfinished = self.h2_conn.incoming_buffer._headers_buffer
        return sum(len(frame.data) for frame in unfinished) if unfinished else 0

    @property
    def head_begun(self) -> bool:
        """Whether a request's head has begun that has not ended."""
        return bool(self.h2_conn.incoming_buffer._headers_buffer)

    def _spend(self, cost: int) -> None:
        now = time.monotonic()
        if now - self._since > PATIENCE:
            self._spent, self._since = 0, now
        self._spent += cost

    def handle_h2_event(self, event: h2.events.Event) -> layer.CommandGenerator[bool]:
        if cost := COST.get(type(event)):
            self._spend(cost)
        elif isinstance(event, h2.events.DataReceived) and not event.data and event.stream_ended is None:
            self._spend(1)
        elif isinstance(event, h2.events.RequestReceived) and len(event.headers or ()) > self._limits.headers:
            yield from self.protocol_error("too many headers", h2.errors.ErrorCodes.ENHANCE_YOUR_CALM)
            return True
        # A reset in one read with the call's end: mitmproxy has forgotten the stream by then, and tells nobody.
        if isinstance(event, h2.events.StreamReset) and event.stream_id not in self.streams:
            yield ReceiveHttp(RequestProtocolError(event.stream_id, "stream reset by client", ErrorCode.CANCEL))
            return False
        return (yield from super().handle_h2_event(event))

    @property
    def waits_for_room(self) -> bool:
        """Whether something of any stream waits for the client's window."""
        return any(self.h2_conn.stream_buffers.values())

    def full(self, stream_id: int) -> bool:
        """Whether something of this stream waits for the client's window (RFC 9113 §5.2)."""
        return bool(self.h2_conn.stream_buffers.get(stream_id))

    async def room(self, stream_id: int) -> None:
        """Until nothing does."""
        while self.full(stream_id):
            self._heard.clear()
            await self._heard.wait()
