"""What `layers.py` and `call_stream.py` stand on in mitmproxy. When an upgrade changes it, this says where to look."""

from __future__ import annotations

import inspect
import re

from h2.frame_buffer import FrameBuffer
from h11._receivebuffer import ReceiveBuffer
from mitmproxy import connection, hooks, options
from mitmproxy.http import Headers
from mitmproxy.proxy import commands, context, layer
from mitmproxy.proxy.layers import http
from mitmproxy.proxy.layers.http._http1 import Http1Server
from mitmproxy.proxy.layers.http._http2 import Http2Server
from mitmproxy.proxy.layers.http._http_h2 import BufferedH2Connection
from mitmproxy.proxy.mode_servers import ProxyConnectionHandler
from mitmproxy.proxy.server import ConnectionHandler
from mitmproxy.proxy.tunnel import TunnelLayer

from shin_gateway.call_stream import CallStream, ShinStreamHook
from shin_gateway.flows import _headers_of
from shin_gateway.layers import CallLayer, _forked


def test_streams_are_made_and_answered_where_we_override_them() -> None:
    for ours, theirs in ((CallLayer, http.HttpLayer), (CallStream, http.HttpStream)):
        for name, method in vars(ours).items():
            if inspect.isfunction(method) and hasattr(theirs, name):
                ours_takes = list(inspect.signature(method).parameters)
                assert ours_takes == list(inspect.signature(getattr(theirs, name)).parameters), name
    assert {"make_stream", "_handle_event"} <= vars(http.HttpLayer).keys()
    assert {
        "send_response",
        "handle_protocol_error",
        "state_consume_request_body",
        "flow_done",
        "check_killed",
    } <= vars(http.HttpStream).keys()


def test_a_stream_makes_no_other_kind_of_stream() -> None:
    """`make_stream` is the one place where mitmproxy makes an HttpStream."""
    made = "= HttpStream("
    assert inspect.getsource(http).count(made) == inspect.getsource(http.HttpLayer.make_stream).count(made) == 1


def test_the_class_of_a_fresh_http_layer_is_all_that_differs() -> None:
    assert vars(CallLayer).keys().isdisjoint({"__init__", "__slots__"})
    assert "streams" in inspect.getsource(http.HttpLayer.__init__)


def test_a_hook_that_does_not_block_is_still_run() -> None:
    assert hooks.all_hooks["shin_stream"] is ShinStreamHook
    assert not ShinStreamHook.blocking
    source = inspect.getsource(ConnectionHandler)
    assert "if hook.blocking:" in source
    assert "async def server_event" in source
    assert issubclass(ShinStreamHook, commands.StartHook)


def test_no_silence_ends_a_connection_while_a_hook_runs() -> None:
    """Parts that go straight to the socket tell the watchdog nothing."""
    assert "with self.timeout_watchdog.disarm():" in inspect.getsource(ProxyConnectionHandler.handle_hook)


def test_a_connections_own_protocol_can_be_chosen() -> None:
    assert "self.connections.setdefault(self.context.client, http_conn)" in inspect.getsource(
        http.HttpLayer._handle_event
    )
    assert "self.h2_conn = BufferedH2Connection" in inspect.getsource(Http2Server.__mro__[1])
    assert "stream_buffers" in BufferedH2Connection.__annotations__


def test_layers_queue_events_while_they_wait() -> None:
    assert "_paused_event_queue" in inspect.getsource(layer.Layer)


def test_what_a_connection_is_doing_can_be_seen() -> None:
    """What `listening.patrol` looks at, and the bounds in `connections`."""
    assert {"_drain_lock", "transports", "layer"} <= set(
        inspect.getsource(ConnectionHandler).replace(".", " ").replace(":", " ").split()
    )
    assert {"on_timeout", "server_event"} <= vars(ConnectionHandler).keys()
    assert "self.tunnel_state = TunnelState.OPEN" in inspect.getsource(TunnelLayer)
    assert "self.state = self.read_headers" in inspect.getsource(Http1Server.__mro__[1])
    assert isinstance(ReceiveBuffer()._data, bytearray)
    assert FrameBuffer(server=True)._headers_buffer == []


def test_a_whole_body_follows_its_head_at_once() -> None:
    """`CallHttp1Server` keeps the head until the body comes."""
    source = inspect.getsource(http.HttpStream.send_response)
    assert re.search(
        r"ResponseHeaders\([^\n]*\n\s+self\.context\.client,\n\s+\)\n\s+if content:\n\s+yield SendHttp\(", source
    )
    assert "content = self.flow.response.raw_content" in source
    ending = inspect.getsource(Http1Server.send).partition("ResponseEndOfMessage):")[2].partition("elif")[0]
    assert ending.count("yield") == 2
    assert "yield from self.mark_done(response=True)" in ending


def test_what_we_make_without_the_originals_constructors() -> None:
    client = connection.Client(peername=("127.0.0.1", 1), sockname=("127.0.0.1", 2), timestamp_start=0)
    original = context.Context(client, options.Options())
    ours, theirs = _forked(original), original.fork()
    assert vars(ours) == vars(theirs)
    assert ours.layers is not original.layers
    fields = ((b"a", b"1"), (b"A", b"2"))
    assert vars(_headers_of(fields)) == vars(Headers(fields))
