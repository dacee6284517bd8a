"""What a client may hold on to at the ports."""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import Any

import pytest

from shin_gateway.listening.crowd import Crowd
from shin_gateway.listening.limits import ListenLimits
from shin_gateway.listening.patrol import Patrol
from tests.e2e.h2client import connect
from tests.e2e.listening.limited import CALL, PATH, held, open_connections, opened
from tests.e2e.serving import CHAT, Serving
from tests.e2e.shin import until
from tests.e2e.wire import Wire, chunked, request
from tests.provider import Answer, FakeProvider, Stop

pytestmark = pytest.mark.asyncio(loop_scope="module")


# ── sizes ───────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "headers", [["a: " + "x" * 17_000], [f"a{number}: b" for number in range(60)]], ids=["bytes", "count"]
)
@pytest.mark.parametrize("port", ["gateway", "proxy"])
async def test_too_large_a_head(worker: Serving, provider: FakeProvider, port: str, headers: list[str]) -> None:
    address, path = (worker.gateway, PATH) if port == "gateway" else (worker.proxy(), f"{provider.url}{PATH}")
    assert (await Wire(address).ask(request(path, CALL, *headers))).status == 431
    assert not provider.seen
    assert (await Wire(address).ask(request(path, CALL, *headers[:30], "b: " + "x" * 9000)[:])).status in (200, 431)


async def test_heads_within_the_limits(worker: Serving) -> None:
    for headers in (["a: " + "x" * 15_000], [f"a{number}: b" for number in range(40)]):
        assert (await Wire(worker.gateway).ask(request(PATH, CALL, *headers))).status == 200
    big = json.dumps(CHAT | {"padding": "\n" * 100_000}, indent=1).encode()
    assert (await Wire(worker.gateway).ask(request(PATH, big))).status == 200


@pytest.mark.parametrize(
    "headers", [[("a", "x" * 20_000)], [(f"a{number}", "b") for number in range(60)]], ids=["bytes", "count"]
)
async def test_too_large_a_head_over_http2(worker: Serving, secure: FakeProvider, headers: list[Any]) -> None:
    async with connect(worker.proxy(), "localhost", secure.port, worker.ca) as client:
        head = [(":method", "POST"), (":scheme", "https"), (":authority", "localhost"), (":path", PATH)]
        client._h2.send_headers(1, head + headers, end_stream=True)
        client._flush()
        async with asyncio.timeout(20):
            while await client._reader.read(65536):
                pass
    assert not secure.seen


async def test_a_body_that_is_not_as_long_as_it_says_over_http2(worker: Serving, secure: FakeProvider) -> None:
    async with connect(worker.proxy(), "localhost", secure.port, worker.ca) as client:
        head = [(":method", "POST"), (":scheme", "https"), (":authority", "localhost"), (":path", PATH)]
        client._h2.send_headers(1, [*head, ("content-length", "5")])
        client._h2.send_data(1, CALL, end_stream=True)
        client._flush()
        async with asyncio.timeout(20):
            while await client._reader.read(65536):
                pass
    await until(lambda: not held(worker))
    assert not secure.seen


@pytest.mark.parametrize("path", [PATH, "/nothing/here"])
@pytest.mark.parametrize("form", ["length", "chunked"])
async def test_too_large_a_body(worker: Serving, provider: FakeProvider, path: str, form: str) -> None:
    body = b"x" * 900_000
    data = request(path, body)
    if form == "chunked":
        data = request(path, None, "transfer-encoding: chunked") + chunked(*[body[:60_000]] * 15)
    assert (await Wire(worker.gateway).ask(data)).status == (413 if path == PATH else 404)
    assert not provider.seen


# ── what two readers would read differently ─────────────────────────────────────────────────────

HEAD = "POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n"
SMUGGLED = {
    "both lengths": f"{HEAD}content-length: 4\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    "two lengths": f"{HEAD}content-length: 4\r\ncontent-length: 5\r\n\r\n0\r\n\r\n",
    "a list of lengths": f"{HEAD}content-length: 4, 4\r\n\r\n0\r\n\r\n",
    "a length with a sign": f"{HEAD}content-length: +4\r\n\r\n0\r\n\r\n",
    "a length that is none": f"{HEAD}content-length: 0x4\r\n\r\n0\r\n\r\n",
    "chunked by another name": f"{HEAD}transfer-encoding: xchunked\r\n\r\n0\r\n\r\n",
    "chunked and identity": f"{HEAD}transfer-encoding: chunked, identity\r\n\r\n0\r\n\r\n",
    "chunked twice": f"{HEAD}transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunked by tab": f"{HEAD}transfer-encoding:\x0bchunked\r\n\r\n0\r\n\r\n",
    "chunked in HTTP/1.0": f"{HEAD.replace('/1.1', '/1.0')}transfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    "a folded line": f"{HEAD}transfer-encoding:\r\n chunked\r\n\r\n0\r\n\r\n",
    "a folded value": f"{HEAD}x: a\r\n\tb\r\n\r\n",
    "a bare CR": f"{HEAD}x: a\rtransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    "a bare LF": f"{HEAD}x: a\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    "a CR here and an LF there": f"{HEAD}x: a\rb: c\nd: e\r\n\r\n",
    "no CR at all": HEAD.replace("\r", "") + "\n",
    "a NUL": f"{HEAD}x: a\0b\r\n\r\n",
    "a space before the colon": f"{HEAD}content-length : 4\r\n\r\n0\r\n\r\n",
    "no name": f"{HEAD}: 4\r\n\r\n",
    "no colon": f"{HEAD}nothing\r\n\r\n",
    "a chunk's size with a sign": f"{HEAD}transfer-encoding: chunked\r\n\r\n+4\r\nabcd\r\n0\r\n\r\n",
    "a chunk's size in hexadecimal": f"{HEAD}transfer-encoding: chunked\r\n\r\n0x4\r\nabcd\r\n0\r\n\r\n",
    "a chunk's size below zero": f"{HEAD}transfer-encoding: chunked\r\n\r\n-4\r\nabcd\r\n0\r\n\r\n",
    "a chunk longer than it says": f"{HEAD}transfer-encoding: chunked\r\n\r\n2\r\nabcd\r\n0\r\n\r\n",
    "a chunk's size without end": f"{HEAD}transfer-encoding: chunked\r\n\r\n{'0' * 30}4\r\nabcd\r\n0\r\n\r\n",
}


@pytest.mark.parametrize("shape", SMUGGLED)
async def test_what_can_be_read_in_two_ways_is_refused(worker: Serving, provider: FakeProvider, shape: str) -> None:
    hidden = b"GET /v1/models HTTP/1.1\r\nhost: localhost\r\n\r\n"
    answers = await Wire(worker.gateway).send(SMUGGLED[shape].encode("latin-1") + hidden)
    assert [answer.status for answer in answers] in ([400], [])
    assert not provider.seen
    assert not held(worker)


# ── HTTP/2 ──────────────────────────────────────────────────────────────────────────────────────


async def test_a_thousand_resets_end_the_connection_and_leave_nothing(worker: Serving, secure: FakeProvider) -> None:
    secure.default = Answer(stop=Stop("hang", after="call"))
    before = len(asyncio.all_tasks())
    async with connect(worker.proxy(), "localhost", secure.port, worker.ca) as client:
        with contextlib.suppress(ConnectionError):
            client.post_and_reset(PATH, {"model": "gpt-4o", "messages": []}, 1000)
        with contextlib.suppress(ConnectionError):
            async with asyncio.timeout(20):
                while await client._reader.read(65536):
                    pass
        assert client._reader.at_eof() or client._writer.is_closing() or client._reader.exception()
    await until(lambda: not held(worker) and not open_connections(worker))
    await until(lambda: len(asyncio.all_tasks()) <= before + 2)


FRAMES = {
    "pings": b"\x00\x00\x08\x06\x00\x00\x00\x00\x00" + b"\x00" * 8,
    "settings": b"\x00\x00\x06\x04\x00\x00\x00\x00\x00\x00\x03\x00\x00\x00\x64",
}


@pytest.mark.parametrize("kind", FRAMES)
async def test_a_flood_of_frames_ends_the_connection(worker: Serving, secure: FakeProvider, kind: str) -> None:
    async with connect(worker.proxy(), "localhost", secure.port, worker.ca) as client:
        client._flush()
        client._writer.write(FRAMES[kind] * 3000)
        with contextlib.suppress(ConnectionError):
            async with asyncio.timeout(20):
                while await client._reader.read(65536):
                    pass
    await until(lambda: not open_connections(worker))


async def test_continuations_without_end_end_the_connection(
    worker: Serving, secure: FakeProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def look_away(_: Patrol) -> None:
        """Which would end it for its slowness."""

    monkeypatch.setattr(Patrol, "round", look_away)
    async with connect(worker.proxy(), "localhost", secure.port, worker.ca) as client:
        client._flush()
        client._writer.write(b"\x00\x00\x01\x01\x00\x00\x00\x00\x01\x82")
        for _ in range(20):
            client._writer.write(b"\x00\x10\x00\x09\x00\x00\x00\x00\x01" + b"\x00" * 4096)
        with contextlib.suppress(ConnectionError):
            async with asyncio.timeout(20):
                while await client._reader.read(65536):
                    pass


# ── how many ────────────────────────────────────────────────────────────────────────────────────


async def test_no_more_connections_than_the_limit(worker: Serving, monkeypatch: pytest.MonkeyPatch) -> None:
    await until(lambda: not open_connections(worker))
    monkeypatch.setattr(worker.worker._bridge, "crowd", Crowd(ListenLimits(connections=20)))
    many = [await opened(worker.gateway) for _ in range(20)]
    await until(lambda: open_connections(worker) == 20)
    reader, writer = await opened(worker.gateway)
    async with asyncio.timeout(20):
        assert await reader.read() == b""
    writer.close()
    for _, one in many[:5]:
        one.transport.abort()
    await until(lambda: open_connections(worker) == 15)
    assert (await Wire(worker.gateway).ask(request(PATH, CALL))).status == 200
    for _, one in many:
        one.transport.abort()
    await until(lambda: worker.worker._bridge.crowd.count == 0)
