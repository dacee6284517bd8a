"""mitmproxy's HTTP layer with streams and connections of ours, and what stands beside it in a client's stack.

Only this, `call_stream`, `connections` and `websockets.layer` know mitmproxy's layers; tests/test_layers.py fails when
an upgrade changes what they stand on.
"""

from __future__ import annotations

from mitmproxy import connection
from mitmproxy.proxy import commands, events, layer, layers
from mitmproxy.proxy.layers.http import HttpLayer, HttpStream, ResponseData, is_h3_alpn
from mitmproxy.proxy.layers.http._http1 import make_error_response

from shin_gateway.call_stream import CallStream, Overdue, PartReady
from shin_gateway.connections import CallHttp1Server, CallHttp2Server
from shin_gateway.listening.limits import ListenLimits
from shin_gateway.websockets.layer import Say

UNDECIDED = 131_072
"""Bytes after which a connection must have said what it is: mitmproxy searches all of them anew with each read."""


class CallLayer(HttpLayer):
    """mitmproxy's HTTP layer, with streams of ours and connections that have bounds and say when they have room."""

    limits = ListenLimits()
    http1: CallHttp1Server | None = None
    """The client's connection, if it is of that kind."""

    def _handle_event(self, event: events.Event) -> layer.CommandGenerator[None]:
        if isinstance(event, (PartReady, Say)):  # a tuple is at hand, a union is made anew
            yield from self._pass_on(event)
        elif isinstance(event, Overdue):
            yield from self._end_overdue(event)
        else:
            if isinstance(event, events.Start):
                self._begin()
            yield from super()._handle_event(event)

    def _begin(self) -> None:
        alpn, context = self.context.client.alpn, self.context
        if alpn == b"h2":
            self.connections[context.client] = CallHttp2Server(context.fork(), self.limits)
        elif not is_h3_alpn(alpn):
            self.http1 = self.connections[context.client] = CallHttp1Server(context.fork(), self.limits)

    def _pass_on(self, event: PartReady | Say) -> layer.CommandGenerator[None]:
        """To its stream, or through the tunnel in which the stream's own HTTP layer is. It may have gone meanwhile."""
        stream = event.stream
        if self.streams.get(stream.stream_id) is not stream:
            if (inside := self.tunnel()) is not None and _is_in(stream.context, self.context):
                yield from self.event_to_child(inside, event)
        elif isinstance(event, PartReady) and event.part:
            yield from self._send_part(stream.stream_id, event.part)
        else:
            yield from self.event_to_child(stream, event)

    def _send_part(self, stream_id: int, part: bytes) -> layer.CommandGenerator[None]:
        """Past the stream, which would only hand it on, and into the connection where that has nothing to wait for."""
        data = ResponseData(stream_id, part)
        if self.http1 is not None:
            yield from self.http1.send(data)
        else:
            yield from self.event_to_child(self.connections[self.context.client], data)

    def _end_overdue(self, event: Overdue) -> layer.CommandGenerator[None]:
        if event.layer is not self:
            if (inside := self.tunnel()) is not None:
                yield from self.event_to_child(inside, event)
        elif event.stream is not None:
            if self.streams.get(event.stream.stream_id) is event.stream:
                yield from self.event_to_child(event.stream, event)
        else:
            if getattr(self.connections[self.context.client], "response", None) is None:
                yield commands.SendData(self.context.client, make_error_response(408, "The request took too long."))
            yield commands.CloseConnection(self.context.client)

    def tunnel(self) -> HttpStream | None:
        """The stream that became something else, through which all there is goes."""
        return next((stream for stream in self.streams.values() if stream.child_layer is not None), None)

    def make_stream(self, stream_id: int) -> layer.CommandGenerator[None]:
        self.streams[stream_id] = CallStream(_forked(self.context), stream_id)
        yield from self.event_to_child(self.streams[stream_id], events.Start())


def _is_in(inner: layer.Context, outer: layer.Context) -> bool:
    return inner.layers[: len(outer.layers)] == outer.layers


def _forked(context: layer.Context) -> layer.Context:
    """As the original's `fork`, which makes a server of its own first, for nothing."""
    forked = object.__new__(type(context))
    forked.__dict__.update(context.__dict__)
    forked.layers = context.layers.copy()
    return forked


class Endless(layer.Layer):
    """Ends a connection that has sent much and not said yet what it is."""

    def _handle_event(self, event: events.Event) -> layer.CommandGenerator[None]:
        if isinstance(event, events.Start):
            if self.context.client.state & connection.ConnectionState.CAN_WRITE:
                yield commands.SendData(self.context.client, make_error_response(431))
            yield commands.CloseConnection(self.context.client)


def with_calls(top: layer.Layer | None, limits: ListenLimits) -> None:
    """Turn the HTTP layer in a freshly made stack into ours. Nothing has run in it yet, so the class is all."""
    found = top
    while found is not None:
        if type(found) is HttpLayer:
            found.__class__ = CallLayer
            found.limits = limits  # type: ignore[attr-defined]
            return
        found = getattr(found, "child_layer", None)


def tunnel(context: layer.Context) -> layer.Layer:
    """Pass bytes both ways and look at none of them."""
    if context.client.transport_protocol == "tcp":
        return layers.TCPLayer(context, ignore=True)
    return layers.UDPLayer(context, ignore=True)
