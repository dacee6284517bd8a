"""What one client may hold on to at the admin server."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from shin_gateway.admin.problems import problem
from shin_gateway.admin.server import make_server, open_port
from shin_gateway.listening.limits import BanSettings, ListenLimits

pytestmark = pytest.mark.asyncio(loop_scope="module")
LIMITS = ListenLimits(
    head=2000, head_timeout=1.0, body_timeout=1.0, connections=20, ban=BanSettings(after=3, lasts=60.0, loopback=True)
)


async def _app(scope: Scope, receive: Receive, send: Send) -> None:
    request = Request(scope, receive)
    reply: Response = JSONResponse({"bytes": len(await request.body())})
    if "guess" in request.headers.get("authorization", ""):
        reply = problem(401)
    await reply(scope, receive, send)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def port() -> AsyncIterator[int]:
    address: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    made = make_server(_app, address.set_result, LIMITS)
    answering = asyncio.create_task(made.serve(sockets=[open_port("127.0.0.1", 0)]))
    yield (await address)[1]
    made.should_exit = True
    await answering


async def said(port: int, data: bytes, drop: bytes = b"") -> tuple[float, bytes]:
    """Seconds until the server hangs up, and what it said."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    began, got = time.monotonic(), b""
    writer.write(data)
    async with asyncio.timeout(20):
        with contextlib.suppress(ConnectionError):
            while True:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(0.05):
                        part = await reader.read(65536)
                        if not part:
                            break
                        got += part
                writer.write(drop)
    writer.transport.abort()
    return time.monotonic() - began, got


POST = b"POST / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n"
SLOW = {
    "nothing": (b"", b""),
    "a line": (b"GET / HT", b"x"),
    "headers": (b"GET / HTTP/1.1\r\nhost: x\r\n", b"a: b\r\n"),
    "a body": (POST + b"content-length: 99\r\n\r\n{", b""),
    "a second head": (b"GET / HTTP/1.1\r\nhost: x\r\n\r\nGET / HTTP/1.1\r\n", b"a: b\r\n"),
}


@pytest.mark.parametrize("shape", SLOW)
async def test_what_does_not_end_is_ended(port: int, shape: str) -> None:
    seconds, _ = await said(port, *SLOW[shape])
    assert seconds > 0.9


async def test_a_body_that_goes_on(port: int) -> None:
    _, got = await said(port, POST + b"content-length: 40\r\n\r\n", b"x")
    assert got.endswith(b'{"bytes":40}')


@pytest.mark.parametrize("size", [b"5000000", b"-1", b"99999999999999999999"])
async def test_too_large_a_body(port: int, size: bytes) -> None:
    _, got = await said(port, POST + b"content-length: " + size + b"\r\n\r\n")
    assert got.startswith((b"HTTP/1.1 413", b"HTTP/1.1 400"))


async def test_too_large_a_head(port: int) -> None:
    _, got = await said(port, b"GET / HTTP/1.1\r\nhost: x\r\na: " + b"x" * 5000)
    assert got.startswith(b"HTTP/1.1 4")


async def test_too_many_connections_are_closed_at_once(port: int) -> None:
    many = [await asyncio.open_connection("127.0.0.1", port) for _ in range(20)]
    assert (await said(port, POST + b"\r\n"))[1] == b""
    for _, writer in many:
        writer.transport.abort()


async def test_guessing_is_slowed(port: int) -> None:
    async def status(key: bytes) -> bytes:
        return (await said(port, POST + b"content-length: 0\r\nauthorization: Bearer " + key + b"\r\n\r\n"))[1][9:12]

    assert await status(b"good") == b"200"
    assert [await status(b"guess%d" % number) for number in range(4)] == [b"401"] * 3 + [b"429"]
    assert [await status(key) for key in (b"good", b"other")] == [b"200", b"429"]
