"""A client's calls on a WebSocket to the provider that it wanted to go to: frames go as they came.

One belongs to one lane of one client's connection, opened with the first call and closed with the client's. A frame
goes untouched where no addon changed the call; a changed one says the whole context itself. Where the provider does
not take the upgrade, calls go over HTTPS.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import suppress

import aiohttp
import msgspec
from multidict import CIMultiDict

from shin_gateway.call import Call
from shin_gateway.dialects.sse import SseFramer
from shin_gateway.errors import SHUTTING_DOWN, UpstreamFailed, UpstreamTimeout
from shin_gateway.outcome import Outcome
from shin_gateway.reply import Reply
from shin_gateway.stream import Broken
from shin_gateway.targets import Target
from shin_gateway.upstream import HOP_BY_HOP, SILENCE, Upstream
from shin_gateway.upstream.handshakes import HandshakeRefused
from shin_gateway.upstream.patience import Patience
from shin_gateway.websockets import frames
from shin_gateway.websockets.frames import Create
from shin_gateway.websockets.provider_socket import ProviderSocket, connect, handshake_headers, headers_for

REMEMBERED = 600.0
"""Seconds for which a provider that takes no WebSocket is not asked again."""
NEVER = frozenset({400, 404, 405, 426, 501})
"""Statuses that say so."""

_decode_frame = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


class UpstreamSocket:
    """One lane's way to the provider: where the client wanted to go by itself (`origin`), or, on the gateway (None), to
    any target that takes calls over a WebSocket."""

    def __init__(self, upstream: Upstream, origin: str | None, headers: CIMultiDict[str]) -> None:
        self._upstream = upstream
        self._origin = origin
        self._headers = handshake_headers(headers)
        self._socket: ProviderSocket | None = None
        self._at: Target | None = None
        """Whom it leads to."""
        self._known: set[str] = set()
        """Replies that the provider remembers on this connection."""
        self._unwilling: set[str] = set()
        """Base URLs that were in vain."""

    @property
    def warms(self) -> bool:
        """Whether a frame that only prepares a later call goes up. On the gateway nobody knows yet whom to ask."""
        return self._origin is not None and self._may(self._origin)

    def _may(self, base_url: str) -> bool:
        return base_url not in self._unwilling and self._upstream.declines.get(base_url, 0.0) < time.monotonic()

    def _leads_to(self, target: Target) -> bool:
        if self._origin is None:
            return target.websocket and not target.own_key
        return target.own_key and target.base_url == self._origin

    async def forward(self, create: Create, call: Call, asked: bytes) -> Reply | None:
        """Ask over the socket. None where the call goes elsewhere, or the provider takes none.

        Raises UpstreamFailed and UpstreamTimeout once the frame has gone out.
        """
        target = call.target
        if target is None or not self._leads_to(target) or not self._may(target.base_url):
            return None
        if call.dialect.name != "openai.responses" or call.path != call.arrival.path:
            return None
        started = time.perf_counter()
        try:
            if not await self._open(call, target):
                return None
            return await self._ask(self._frame(create, call, asked), call)
        finally:
            call.outcome.timings.upstream += time.perf_counter() - started

    def close(self) -> None:
        """Let go of the connection, at once."""
        socket, self._socket = self._socket, None
        self._known.clear()
        if socket is not None:
            socket.drop()

    def _frame(self, create: Create, call: Call, asked: bytes) -> bytes:
        if call.raw_body == asked and (create.previous is None or create.previous in self._known):
            return frames.untouched(create)
        return frames.frame_of(call.body, create)

    async def _open(self, call: Call, target: Target) -> bool:
        """Whether there is a connection."""
        same = self._at is not None and (self._at.base_url, self._at.secret) == (target.base_url, target.secret)
        if self._socket is not None and same and await self._socket.is_open():
            return True
        self.close()
        self._at = target
        try:
            self._socket = await connect(self._upstream, call, await headers_for(target, self._headers))
        except HandshakeRefused as refused:
            self._refuse(refused.status in NEVER)
        except TimeoutError:
            self._refuse(forever=True)
        except (aiohttp.ClientError, OSError, ValueError):  # HTTPS will say why
            self._refuse(forever=False)
        return self._socket is not None

    def _refuse(self, forever: bool) -> None:
        assert self._at is not None
        if forever:
            self._unwilling.add(self._at.base_url)
            self._upstream.declines[self._at.base_url] = time.monotonic() + REMEMBERED

    async def _ask(self, frame: bytes, call: Call) -> Reply | None:
        socket, timeouts = self._socket, call.policy.timeouts
        assert socket is not None
        call.outcome.attempts += 1
        stream = _Stream(self, socket, call)
        self._upstream.watch(stream)
        call.on_end(stream.call_ended)
        try:
            with stream.patience.lasting(min(timeouts.first_part, timeouts.total)):
                await socket.send(frame.decode("utf-8", "replace"))
                first = await stream.receive()
        except TimeoutError:
            stream.close()
            raise UpstreamTimeout("The upstream did not begin to reply in time.", code="first_part_timeout") from None
        except Broken:
            stream.close()
            raise UpstreamFailed("The upstream broke off before its first part.", code="upstream_cut") from None
        except BaseException:
            stream.close()
            raise
        return self._reply(stream, first, call)

    def _reply(self, stream: _Stream, first: bytes, call: Call) -> Reply | None:
        call.outcome.timings.first_part_at = call.outcome.timings.first_part_at or time.perf_counter()
        kind = frames.type_of(first)
        if kind == frames.CREATE or not kind:  # an echo: it speaks something else over WebSockets
            stream.close()
            self._refuse(forever=True)
            call.outcome.attempts -= 1
            return None
        if kind == "error" and (failed := _error(first, call)) is not None:
            stream.ended = True
            stream.close()
            return failed
        stream.put_back(first)
        headers: CIMultiDict[str] = CIMultiDict({"content-type": "text/event-stream"})
        return Reply(200, headers, call.dialect, source=stream, framer=SseFramer())

    def remember(self, reply_id: str) -> None:
        self._known.add(reply_id)


class _Head(msgspec.Struct):
    id: str = ""


class _End(msgspec.Struct):
    response: _Head = msgspec.field(default_factory=_Head)


_decode_end = msgspec.json.Decoder(_End).decode


class _Stream:
    """The events of one reply, as a stream over HTTPS has them."""

    def __init__(self, owner: UpstreamSocket, socket: ProviderSocket, call: Call) -> None:
        timeouts = call.policy.timeouts
        self.patience = Patience()
        self.ended = False
        """Whether the last event was read: the connection is free for the next call."""
        self._owner = owner
        self._socket = socket
        self._timings = call.outcome.timings
        self._idle = timeouts.idle
        self._heard = time.perf_counter()
        self._deadline = self._heard + timeouts.total
        self._ready: bytes | None = None
        self._closed = False
        self._is_cut = False

    async def read(self) -> bytes | None:
        if self._ready is not None:
            ready, self._ready = self._ready, None
            return _as_sse(ready)
        if self.ended:
            return b""
        started = time.perf_counter()
        try:
            event = await self._patiently()
        finally:
            now = time.perf_counter()
            self._timings.upstream += now - started
        if event is None:
            if now - self._heard > self._idle:
                raise Broken("upstream_idle")
            return None
        self._heard = now
        return _as_sse(event)

    async def _patiently(self) -> bytes | None:
        wait = min(SILENCE, self._idle, self._deadline - time.perf_counter())
        try:
            with self.patience.lasting(0 if self._is_cut else wait):
                return await self.receive()
        except TimeoutError:
            if self._is_cut:
                raise Broken(SHUTTING_DOWN) from None
            if time.perf_counter() >= self._deadline:
                raise Broken("total_timeout") from None
            return None

    async def receive(self) -> bytes:
        """The next event. Raises Broken."""
        said = await self._socket.receive()
        event = said if isinstance(said, bytes) else said.encode("utf-8", "replace")
        self._note(event)
        return event

    def _note(self, event: bytes) -> None:
        kind = frames.type_of(event)
        if kind not in frames.ENDS:
            return
        self.ended = True
        with suppress(msgspec.MsgspecError, RecursionError):
            if kind in ("response.completed", "response.incomplete") and (known := _decode_end(event).response.id):
                self._owner.remember(known)

    def put_back(self, event: bytes) -> None:
        self._ready = event

    def cut(self) -> None:
        """The gateway is shutting down."""
        self._is_cut = True
        self.patience.end()

    def close(self) -> None:
        """Events that nobody read would be taken for the next reply's."""
        if self._closed:
            return
        self._closed = True
        self.patience.close()
        self._owner._upstream.unwatch(self)
        if not self.ended:
            self._owner.close()

    def call_ended(self, _: Call, __: Outcome) -> None:
        self.close()


def _as_sse(event: bytes) -> bytes:
    if b"\n" in event or b"\r" in event:
        event = b"\ndata: ".join(event.splitlines())
    return b"data: %b\n\n" % event


def _error(frame: bytes, call: Call) -> Reply | None:
    """An error instead of a reply, as HTTPS would have told it; None where it does not say its status."""
    try:
        fields = _decode_frame(frame)
        status = msgspec.json.decode(fields.get("status") or fields.get("status_code") or b"0", type=int)
        told = msgspec.json.decode(fields.get("headers", b"{}"))
    except (msgspec.MsgspecError, RecursionError):
        return None
    if not 400 <= status <= 599 or "error" not in fields:
        return None
    headers: CIMultiDict[str] = CIMultiDict({"content-type": "application/json"})
    for name, value in told.items() if isinstance(told, Mapping) else ():
        if name.lower() not in HOP_BY_HOP and not name.lower().startswith(("content-", "x-shin-")):
            headers[name] = str(value)
    return Reply(status, headers, call.dialect, body=b'{"error":%b}' % bytes(fields["error"]))
