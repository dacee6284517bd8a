"""What is written to an HTTP/1 client, and when: each write costs a call into the kernel, and a wait is noticed."""

from __future__ import annotations

import pytest
from mitmproxy import connection, http
from mitmproxy.options import Options
from mitmproxy.proxy import commands, events
from mitmproxy.proxy.context import Context
from mitmproxy.proxy.layers.http import (
    HttpEvent,
    ResponseData,
    ResponseEndOfMessage,
    ResponseHeaders,
    ResponseProtocolError,
)
from mitmproxy.proxy.layers.http._base import ReceiveHttp
from mitmproxy.proxy.layers.http._events import ErrorCode

from shin_gateway.connections import TOGETHER, CallHttp1Server, HeadAndMore
from shin_gateway.listening.limits import ListenLimits

CHUNKED = {"transfer-encoding": "chunked"}
REQUEST = b"POST / HTTP/1.1\r\nhost: localhost\r\ncontent-length: 2\r\n\r\n{}"


class Wire:
    """One connection, without a network."""

    def __init__(self) -> None:
        self.client = connection.Client(
            peername=("127.0.0.1", 1),
            sockname=("127.0.0.1", 2),
            timestamp_start=0,
            state=connection.ConnectionState.OPEN,
        )
        self.server = CallHttp1Server(Context(self.client, Options()), ListenLimits())
        list(self.server.handle_event(events.Start()))
        self.stream_id = -1

    def ask(self, request: bytes = REQUEST) -> None:
        found = list(self.server.handle_event(events.DataReceived(self.client, request)))
        self.stream_id = next(one.event.stream_id for one in found if isinstance(one, ReceiveHttp))

    def writes(self, event: HttpEvent) -> list[bytes]:
        return [one.data for one in self.server.handle_event(event) if isinstance(one, commands.SendData)]

    def head(self, response: http.Response) -> list[bytes]:
        return self.writes(ResponseHeaders(self.stream_id, response))

    def data(self, data: bytes) -> list[bytes]:
        return self.writes(ResponseData(self.stream_id, data))

    def end(self) -> list[bytes]:
        return self.writes(ResponseEndOfMessage(self.stream_id))


def whole(body: bytes, status: int = 200) -> http.Response:
    return http.Response.make(status, body, {"content-type": "application/json"})


def streamed(**headers: str) -> http.Response:
    response = http.Response.make(200, b"", headers)
    response.raw_content = None
    return response


@pytest.fixture
def wire() -> Wire:
    wire = Wire()
    wire.ask()
    return wire


def test_a_whole_reply_is_one_write(wire: Wire) -> None:
    for body in (b"{}", b"x" * TOGETHER):
        assert wire.head(whole(body)) == []
        [written] = wire.data(body)
        assert written.startswith(b"HTTP/1.1 200 OK\r\n")
        assert written.endswith(b"content-length: %d\r\n\r\n" % len(body) + body)
        assert wire.end() == []
        wire.ask()  # the connection goes on


def test_a_large_body_is_not_copied(wire: Wire) -> None:
    body = b"x" * (TOGETHER + 1)
    [head] = wire.head(whole(body))
    assert head.endswith(b"\r\n\r\n")
    [written] = wire.data(body)
    assert written is body


def test_a_reply_without_a_body_does_not_wait(wire: Wire) -> None:
    [head] = wire.head(whole(b"", 204))
    assert head.startswith(b"HTTP/1.1 204")
    assert wire.end() == []


def test_the_head_of_a_stream_does_not_wait_for_its_first_part(wire: Wire) -> None:
    [head] = wire.head(streamed(**CHUNKED))
    assert head.endswith(b"\r\n\r\n")
    assert wire.data(b"data: 1\n\n") == [b"9\r\ndata: 1\n\n\r\n"]
    assert wire.end() == [b"0\r\n\r\n"]
    wire.ask()
    assert len(wire.head(streamed(**{"content-length": "3"}))) == 1
    assert wire.data(b"abc") == [b"abc"]
    assert wire.end() == []


def test_a_first_part_that_is_at_hand_goes_out_with_the_head(wire: Wire) -> None:
    for headers, first in ((CHUNKED, b"7\r\ndata: 1\r\n"), ({"content-length": "10"}, b"data: 1")):
        assert wire.writes(HeadAndMore(wire.stream_id, streamed(**headers))) == []
        [written] = wire.data(b"data: 1")
        assert written.startswith(b"HTTP/1.1 200 OK\r\n")
        assert written.endswith(b"\r\n\r\n" + first)
        [second] = wire.data(b"abc")
        assert second in (b"3\r\nabc\r\n", b"abc")
        wire.end()
        wire.ask()


def test_a_stream_after_a_whole_reply_is_chunked_and_the_other_way_round(wire: Wire) -> None:
    for _ in range(2):
        wire.head(whole(b"{}"))
        [written] = wire.data(b"{}")
        assert written.endswith(b"\r\n\r\n{}")
        wire.end()
        wire.ask()
        wire.head(streamed(**{"transfer-encoding": "Chunked"}))
        assert wire.data(b"x") == [b"1\r\nx\r\n"]
        assert wire.end() == [b"0\r\n\r\n"]
        wire.ask()


def test_a_break_closes_the_connection(wire: Wire) -> None:
    wire.head(streamed(**CHUNKED))
    error = ResponseProtocolError(wire.stream_id, "broke off", ErrorCode.KILL)
    assert [type(one) for one in wire.server.handle_event(error)] == [commands.CloseConnection]
