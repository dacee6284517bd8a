"""A request and its answer in mitmproxy's HTTP layer, where the answer may come from a call, part by part.

mitmproxy answers a request either from the server connection that it opened itself or from a body
that an addon holds whole. Ours come from a chain of coroutines, part by part. So the stream layer
sends the head and then lets a hook of its own send it part after part, until the reply has ended.

What it leans on is pinned by tests/test_layers.py, as for `layers`, `connections` and `websockets.layer`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

from mitmproxy import ctx, http
from mitmproxy.proxy import commands, events, layer
from mitmproxy.proxy.layers.http import (
    DropStream,
    ErrorCode,
    HttpLayer,
    HttpRequestHeadersHook,
    HttpResponseHeadersHook,
    HttpResponseHook,
    HttpStream,
    RequestData,
    RequestProtocolError,
    ResponseData,
    ResponseEndOfMessage,
    ResponseHeaders,
    ResponseProtocolError,
    SendHttp,
)

from shin_gateway.connections import CallHttp1Server, CallHttp2Server, HeadAndMore
from shin_gateway.websockets.layer import SocketLayer

QUICK = (HttpRequestHeadersHook, HttpResponseHeadersHook, HttpResponseHook)
"""Hooks whose listeners have nothing to wait for, as a rule."""

DELIVERY = "shin"
"""Key in `flow.metadata` under which the bridge leaves the delivery of a call."""

SOCKET = "shin_socket"
"""Key in `flow.metadata` under which the bridge leaves the upgrade to a WebSocket that ends at us, once granted."""

UPGRADE = "shin_upgrade"
"""The same for one that the chain has yet to grant."""

IGNORED = 64_000_000
"""Bytes of a body that nobody wants, its request being answered already, after which the connection is ended."""

NAMED_HOSTS = "shin_named"
"""Attribute of a client connection: does a policy name this CONNECT host? Set before CONNECT is handled."""


class Delivery(Protocol):
    """What the layers know of a call that is being answered."""

    body_limit: int
    """Bytes of the client's body that are kept; more is thrown away and `too_large` called."""

    def too_large(self) -> None: ...

    def first_part(self) -> bytes:
        """The first part of a streamed reply, if it is at hand; else b"", and it comes as all the others do."""

    def client_left(self) -> None:
        """The client closed the connection or reset the stream."""

    def sent(self) -> None:
        """The whole reply, or as much of it as there was, has been handed to the client's connection."""

    @property
    def streamed(self) -> bool: ...

    cut: bool
    """The stream broke where no error event can follow: the connection has to be closed."""
    stream: CallStream | None
    """Where the parts go, once the head is out."""


@dataclass
class ShinStreamHook(commands.StartHook):
    """The head of a streamed reply is out: send the parts, each as a `PartReady`.

    One hook for the whole stream, beside the layers: a blocking one for each part costs more than the part.
    It holds no Flow, or every mitmproxy addon would get an `update` as well.
    """

    blocking = False
    delivery: Delivery


@dataclass
class PartReady(events.Event):
    """The next bytes of a stream's reply; b"" at the end."""

    stream: CallStream
    part: bytes


@dataclass
class Overdue(events.Event):
    """A client has begun something and does not go on with it: a request's head, or the body of one."""

    layer: HttpLayer
    stream: CallStream | None = None
    """Whose body it is, where others share the connection."""


class CallStream(HttpStream):
    """One request and its answer; a call's answer comes from its delivery, anything else takes mitmproxy's way."""

    flow: http.HTTPFlow
    received = 0
    """Bytes of the request's body so far."""

    @property
    def receiving(self) -> bool:
        """Whether the request's body has not ended yet."""
        return self.client_state in (self.state_consume_request_body, self.state_stream_request_body)

    @property
    def delivery(self) -> Delivery | None:
        return self.flow.metadata.get(DELIVERY) if hasattr(self, "flow") else None

    @property
    def _connection(self) -> object:
        http_layer = self.context.layers[self.context.layers.index(self) - 1]
        return http_layer.connections[self.context.client]  # type: ignore[attr-defined]

    @cached_property
    def _window(self) -> CallHttp2Server | None:
        """The connection, if it has windows."""
        return connection if isinstance(connection := self._connection, CallHttp2Server) else None

    @property
    def chunks_alone(self) -> bool:
        """Whether a part on its way to the client's socket is made a chunk, and nothing else is done with it."""
        connection = self._connection
        return isinstance(connection, CallHttp1Server) and connection.chunked and not self.context.client.tls

    @property
    def full(self) -> bool:
        """Whether something of this stream waits for the client."""
        return self._window is not None and self._window.full(self.stream_id)

    async def room(self) -> None:
        """Until nothing does."""
        if self._window is not None:
            await self._window.room(self.stream_id)

    def handle_event(self, event: events.Event) -> layer.CommandGenerator[None]:
        # While a hook runs, events wait in a queue: tell the delivery now, so that it stops waiting.
        if isinstance(event, RequestProtocolError) and (delivery := self.delivery):
            delivery.client_left()
        yield from super().handle_event(event)

    def handle_connect_regular(self) -> layer.CommandGenerator[None]:
        """Connect at once to a host that no policy names, as a plain proxy would: its greeting may come first."""
        if getattr(self.context.client, NAMED_HOSTS, True) or self.flow.response:
            yield from super().handle_connect_regular()  # type: ignore[no-untyped-call]
            return
        error = yield commands.OpenConnection(self.context.server)
        if error:
            self.flow.response = http.Response.make(502, f"Cannot connect: {error}")
        self.child_layer = layer.NextLayer(self.context)
        yield from self.handle_connect_finish()  # type: ignore[no-untyped-call]

    def state_consume_request_body(self, event: events.Event) -> layer.CommandGenerator[None]:
        if not isinstance(event, RequestData):
            yield from super().state_consume_request_body(event)
            return
        self.received += len(event.data)
        if (delivery := self.delivery) is not None:
            yield from self._keep(delivery, event)
        elif self.flow.response is None:
            yield from super().state_consume_request_body(event)
        elif self.received > IGNORED:
            yield from self._break_off("The body is too large.", ErrorCode.REQUEST_TOO_LARGE)

    def state_stream_request_body(self, event: events.Event) -> layer.CommandGenerator[None]:
        if isinstance(event, RequestData):
            self.received += len(event.data)
        yield from super().state_stream_request_body(event)

    def _keep(self, delivery: Delivery, event: RequestData) -> layer.CommandGenerator[None]:
        """Keep a call's body up to the limit, so that the refusal reaches a client that is still sending."""
        if self.received <= delivery.body_limit:
            self.request_body_buf += event.data
            return
        self.request_body_buf.clear()
        delivery.too_large()
        if self.received > 8 * delivery.body_limit:
            yield from self._break_off("The body is too large.", ErrorCode.REQUEST_TOO_LARGE)

    def _break_off(self, message: str, code: ErrorCode) -> layer.CommandGenerator[None]:
        """Hear no more of a request."""
        if delivery := self.delivery:
            delivery.client_left()
        upward = self.client_state == self.state_stream_request_body and self.server_state != self.state_errored
        self.client_state = self.server_state = self.state_errored
        if upward:
            error = RequestProtocolError(self.stream_id, message, ErrorCode.CLIENT_DISCONNECTED)
            yield SendHttp(error, self.context.server)
        yield SendHttp(ResponseProtocolError(self.stream_id, message, code), self.context.client)
        yield DropStream(self.stream_id)

    def check_killed(self, emit_error_hook: bool) -> layer.CommandGenerator[bool]:
        killed = yield from super().check_killed(emit_error_hook)
        if killed and (delivery := self.delivery):
            delivery.client_left()
        return killed

    def send_response(self, already_streamed: bool = False) -> layer.CommandGenerator[None]:
        delivery = self.delivery
        if delivery is None or SOCKET in self.flow.metadata:
            yield from super().send_response(already_streamed)
            return
        if delivery.streamed:
            yield from self._begin_stream(delivery)
            return
        yield from super().send_response(already_streamed)
        delivery.sent()

    def _begin_stream(self, delivery: Delivery) -> layer.CommandGenerator[None]:
        response, client = self.flow.response, self.context.client
        assert response is not None
        yield HttpResponseHook(self.flow)
        self.server_state = self.state_done
        if (yield from self.check_killed(False)):
            return
        delivery.stream = self
        if part := delivery.first_part():
            yield SendHttp(HeadAndMore(self.stream_id, response, end_stream=False), client)
            yield SendHttp(ResponseData(self.stream_id, part), client)
        else:
            yield SendHttp(ResponseHeaders(self.stream_id, response, end_stream=False), client)
        yield ShinStreamHook(delivery)

    def flow_done(self) -> layer.CommandGenerator[None]:
        upgrade = self.flow.metadata.get(SOCKET)
        if upgrade is None:
            yield from super().flow_done()
            self._untie()
            return
        self.flow.metadata.pop(DELIVERY, None)  # from here on the upgrade's own affair
        self.flow.live = False
        self.child_layer = SocketLayer(self.context, self, upgrade)
        self._handle_event = self.passthrough  # type: ignore[method-assign]
        yield from self.child_layer.handle_event(events.Start())
        yield SendHttp(ResponseEndOfMessage(self.stream_id), self.context.client)

    def _untie(self) -> None:
        """Let go of itself, so that nobody has to look for the call and its bodies in a cycle to free them."""
        if not self._paused_event_queue:
            self.context.layers = []
            self.client_state = self.server_state = _over

    def _handle_event(self, event: events.Event) -> layer.CommandGenerator[None]:
        if isinstance(event, PartReady):
            yield from self._end_stream()
        elif isinstance(event, Overdue):
            yield from self._break_off("The body took too long.", ErrorCode.CANCEL)
        else:
            yield from _without_waiting(super()._handle_event(event))

    def _end_stream(self) -> layer.CommandGenerator[None]:
        delivery = self.delivery
        assert delivery is not None
        # Before the client hears of the end: what it asks next finds its budgets settled and its places free.
        delivery.sent()
        delivery.stream = None
        if delivery.cut:
            error = ResponseProtocolError(self.stream_id, "upstream broke off", ErrorCode.KILL)
            yield SendHttp(error, self.context.client)
            self.flow.live = False
            self.client_state = self.state_errored
            yield DropStream(self.stream_id)
        else:
            yield from self.flow_done()

    def handle_protocol_error(
        self, event: RequestProtocolError | ResponseProtocolError
    ) -> layer.CommandGenerator[None]:
        if delivery := self.delivery:
            delivery.client_left()
        yield from super().handle_protocol_error(event)


def _over(event: events.Event) -> layer.CommandGenerator[None]:
    """The state of a stream that has been dropped: nothing reaches it any more."""
    yield from ()


def _without_waiting(work: layer.CommandGenerator[None]) -> layer.CommandGenerator[None]:
    """`work` with its quick hooks run on the spot: a task, a lock and a way back through all layers for each cost
    more than what their listeners do. Only our own engine can tell; elsewhere every hook takes the long way."""
    run_now = getattr(ctx.master.addons, "run_now", None)
    reply = None
    while True:
        try:
            command = work.send(reply)
        except StopIteration:
            return
        reply = None
        left = command if run_now is None or not isinstance(command, QUICK) else run_now(command)
        if left is not None:
            reply = yield left
