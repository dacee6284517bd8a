"""Ends what clients begin and do not go on with: slow heads, slow bodies, connections on which nothing happens.

It looks at all connections a few times in every limit, and at mitmproxy's layers for what each of them is doing. So a
call costs nothing, where a timer for each phase of each request would.
"""

from __future__ import annotations

import asyncio
import enum
import logging
import time
from collections.abc import Callable, Hashable, Iterable, Iterator
from dataclasses import dataclass

from mitmproxy.proxy import layer
from mitmproxy.proxy.layers import ClientTLSLayer
from mitmproxy.proxy.server import ConnectionHandler
from mitmproxy.proxy.tunnel import TunnelState

from shin_gateway.call_stream import CallStream, Overdue
from shin_gateway.connections import CallHttp1Server, CallHttp2Server
from shin_gateway.layers import CallLayer
from shin_gateway.listening.limits import ListenLimits

log = logging.getLogger(__name__)

LOOKS = 5
"""Looks at a connection within the shortest limit."""
SLOWEST = 1.0
"""Seconds between two looks, at most."""
AT_ONCE = 200
"""Connections to look at before others get their turn."""


class Phase(enum.Enum):
    """What a client may draw out. Whatever else goes on has limits of its own, or is a tunnel's or WebSocket's."""

    IDLE = enum.auto()
    HEAD = enum.auto()
    BODY = enum.auto()


@dataclass(slots=True)
class Doing:
    """One thing that a connection is doing."""

    phase: Phase
    key: Hashable
    """Differs when it is another head, body or pause than before."""
    layer: CallLayer | None = None
    stream: CallStream | None = None


@dataclass(slots=True)
class Watched:
    """How long we have seen it do that."""

    began: float
    moved: float
    """When the body last grew."""
    received: int = 0


class Patrol:
    """`connections` are mitmproxy's own. `start` it on the event loop that they are on."""

    def __init__(self, limits: ListenLimits, connections: Callable[[], Iterable[ConnectionHandler]]) -> None:
        self._limits = limits
        self._connections = connections
        self._pace = min(SLOWEST, min(limits.head_timeout, limits.body_timeout, limits.idle) / LOOKS)
        self._watched: dict[Hashable, Watched] = {}
        self._now = self._last = 0.0
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._walk(), name="patrol of the ports")

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _walk(self) -> None:
        self._last = time.monotonic()
        while True:
            await asyncio.sleep(self._pace)
            try:
                await self.round()
            except Exception:
                log.exception("a look at the connections failed")

    async def round(self) -> None:
        """Look at every connection once."""
        self._tick()
        watched: dict[Hashable, Watched] = {}
        for count, handler in enumerate(list(self._connections()), 1):
            for doing in what_it_does(handler):
                key = (handler.client.id, doing.key)
                seen = watched[key] = self._watch(self._watched.get(key), doing, handler)
                if self._overdue(doing, seen):
                    await _end(handler, doing)
            if count % AT_ONCE == 0:
                await asyncio.sleep(0)
        self._watched = watched

    def _tick(self) -> None:
        """Time goes on no faster than we look: what came in while the process stood still has yet to be read."""
        now = time.monotonic()
        self._now += min(now - self._last, 2 * self._pace)
        self._last = now

    def _watch(self, seen: Watched | None, doing: Doing, handler: ConnectionHandler) -> Watched:
        received = doing.stream.received if doing.stream is not None else 0
        if seen is None:
            return Watched(self._now, self._now, received)
        if received != seen.received or handler._drain_lock.locked():  # it is we who do not read
            seen.moved, seen.received = self._now, received
        return seen

    def _overdue(self, doing: Doing, seen: Watched) -> bool:
        limits, taken = self._limits, self._now - seen.began
        if doing.phase is Phase.IDLE:
            return taken > limits.idle
        if doing.phase is Phase.HEAD:
            return taken > limits.head_timeout
        if self._now - seen.moved > limits.body_timeout:
            return True
        is_call = doing.stream is not None and doing.stream.delivery is not None
        return is_call and taken > limits.body_timeout and seen.received < taken * limits.body_rate


async def _end(handler: ConnectionHandler, doing: Doing) -> None:
    shared = doing.layer is not None and isinstance(_protocol(doing.layer), CallHttp2Server)
    if doing.layer is None or doing.phase is Phase.IDLE or (shared and doing.phase is Phase.HEAD):
        await handler.on_timeout()
    else:
        await handler.server_event(Overdue(doing.layer, doing.stream if shared else None))


def what_it_does(handler: ConnectionHandler) -> Iterator[Doing]:
    """Nothing, where what it does has other limits."""
    if handler.client.transport_protocol != "tcp" or handler.client not in handler.transports:
        return iter(())
    layers = _layers(handler)
    shaking = [one for one in layers if isinstance(one, ClientTLSLayer) and one.tunnel_state is not TunnelState.OPEN]
    if shaking:
        return iter([Doing(Phase.HEAD, ("handshake", id(shaking[0])))])
    last = layers[-1]
    return _http(last, handler) if isinstance(last, CallLayer) else _undecided(last)


def _layers(handler: ConnectionHandler) -> list[layer.Layer]:
    """From the outermost to the one that the client's bytes go to in the end, through the tunnel of a CONNECT."""
    layers = handler.layer.context.layers
    while isinstance(last := layers[-1], CallLayer) and (inside := last.tunnel()) is not None:
        layers = inside.context.layers
    return layers


def _undecided(outer: layer.Layer) -> Iterator[Doing]:
    """Where nobody knows yet what it will be. Once somebody does, it is none of these."""
    child = getattr(outer, "child_layer", None) or getattr(outer._handle_event, "__self__", None)
    if isinstance(child, layer.NextLayer) and child.layer is None:
        begun = bool(child.data_client())
        yield Doing(Phase.HEAD if begun else Phase.IDLE, ("undecided", id(child)))


def _protocol(http: CallLayer) -> object:
    return http.connections.get(http.context.client)


def _http(http: CallLayer, handler: ConnectionHandler) -> Iterator[Doing]:
    protocol = _protocol(http)
    if isinstance(protocol, CallHttp1Server):
        yield from _http1(http, protocol, handler)
    elif isinstance(protocol, CallHttp2Server):
        yield from _http2(http, protocol, handler)


def _http1(http: CallLayer, protocol: CallHttp1Server, handler: ConnectionHandler) -> Iterator[Doing]:
    key = (id(http), protocol.stream_id)
    if protocol.state == protocol.read_headers:
        if protocol.buf:
            yield Doing(Phase.HEAD, ("head", key), http)
        elif _has_taken_all(handler):
            yield Doing(Phase.IDLE, ("idle", key), http)
    elif protocol.state == protocol.read_body:
        stream = http.streams.get(protocol.stream_id)
        if isinstance(stream, CallStream):
            yield Doing(Phase.BODY, ("body", key), http, stream)


def _http2(http: CallLayer, protocol: CallHttp2Server, handler: ConnectionHandler) -> Iterator[Doing]:
    latest = protocol.h2_conn.highest_inbound_stream_id
    for number, stream in http.streams.items():
        if isinstance(stream, CallStream) and stream.receiving:
            yield Doing(Phase.BODY, ("body", id(http), number), http, stream)
    if protocol.head_begun:
        yield Doing(Phase.HEAD, ("head", id(http), latest), http)
    elif not http.streams and not protocol.waits_for_room and _has_taken_all(handler):
        yield Doing(Phase.IDLE, ("idle", id(http), latest), http)


def _has_taken_all(handler: ConnectionHandler) -> bool:
    """A client that reads slowly is not idle."""
    writer = handler.transports[handler.client].writer
    return not isinstance(writer, asyncio.StreamWriter) or not writer.transport.get_write_buffer_size()
