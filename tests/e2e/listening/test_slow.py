"""What clients begin and do not go on with is ended; whatever goes on, goes on."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator

import h2.events
import openai
import pytest
import websockets

from tests.e2e.h2client import connect
from tests.e2e.listening.limited import CALL, PATH, drawn_out, held, in_tunnel, open_connections, opened
from tests.e2e.serving import CHAT, Serving
from tests.e2e.shin import until
from tests.e2e.wire import Wire, request
from tests.provider import Answer, FakeProvider

pytestmark = pytest.mark.asyncio(loop_scope="module")

KNOCK = request("/", None, method="GET")

# ── slow clients ────────────────────────────────────────────────────────────────────────────────

HELLO = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 40
"""The beginning of a TLS handshake."""
SLOW = {
    "gateway: a line that does not end": ("gateway", b"GET /v1/mo", b"x"),
    "gateway: headers that do not end": ("gateway", b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\n", b"a: b\r\n"),
    "gateway: nothing after a line": ("gateway", b"GET / HTTP/1.1\r\n", b""),
    "proxy: a line that does not end": ("proxy", b"CONNECT localho", b"s"),
    "proxy: headers that do not end": ("proxy", b"CONNECT localhost:443 HTTP/1.1\r\n", b"a: b\r\n"),
    "proxy: a handshake that does not end": ("proxy", HELLO, b"\x00"),
}


@pytest.mark.parametrize("shape", SLOW)
async def test_a_head_that_does_not_end(worker: Serving, shape: str) -> None:
    port, begin, drop = SLOW[shape]
    seconds, said = await drawn_out(worker.proxy() if port == "proxy" else worker.gateway, begin, drop)
    assert seconds > 0.35
    assert said[:12] in (b"HTTP/1.1 408", b"")
    if begin is not HELLO and drop:  # else it is not known yet what it will be
        assert said.startswith(b"HTTP/1.1 408 ")


@pytest.mark.parametrize("drop", [b"", b"\x00"], ids=["still", "dripping"])
async def test_a_handshake_behind_connect_that_does_not_end(worker: Serving, secure: FakeProvider, drop: bytes) -> None:
    begin = f"CONNECT localhost:{secure.port} HTTP/1.1\r\n\r\n".encode()
    seconds, said = await drawn_out(worker.proxy(), begin + HELLO, drop)
    assert said.startswith(b"HTTP/1.1 200 ")
    assert seconds > 0.35


async def test_a_head_behind_tls_that_does_not_end(worker: Serving, secure: FakeProvider) -> None:
    reader, writer = await in_tunnel(worker, secure)._open()
    writer.write(b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\n")
    async with asyncio.timeout(20):
        assert (await reader.read(99)).startswith(b"HTTP/1.1 408")
    writer.transport.abort()


BODY = b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: 90000\r\n\r\n{"
CHUNKS = b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n1\r\n{\r\n"
UNKNOWN = BODY.replace(b"/v1/chat/completions", b"/nothing/here")
SLOW_BODIES = {"still": (BODY, b""), "chunks": (CHUNKS, b""), "a chunk's first line": (CHUNKS, b"0"),
               "no such path": (UNKNOWN, b""), "dripping": (BODY, b"x")}  # fmt: skip


@pytest.mark.parametrize("shape", SLOW_BODIES)
async def test_a_body_that_does_not_end(worker: Serving, provider: FakeProvider, shape: str) -> None:
    seconds, said = await drawn_out(worker.gateway, *SLOW_BODIES[shape], every=0.05)
    assert seconds > 0.35
    if shape != "a chunk's first line":
        assert said.startswith(b"HTTP/1.1 408")
    await until(lambda: not open_connections(worker))
    assert not held(worker)
    assert not provider.seen


async def test_one_slow_body_of_many_streams(worker: Serving, secure: FakeProvider) -> None:
    async with connect(worker.proxy(), "localhost", secure.port, worker.ca) as client:
        head = [(":method", "POST"), (":scheme", "https"), (":authority", "localhost"), (":path", PATH)]
        slow = client._h2.get_next_available_stream_id()
        client._h2.send_headers(slow, head)
        client._flush()
        began = time.monotonic()
        async with asyncio.timeout(20):
            await client.event(h2.events.StreamReset, slow)
            assert time.monotonic() - began > 0.35
            await client.event(h2.events.StreamEnded, client.post(PATH, CHAT))
    assert len(secure.seen) == 1


async def test_a_head_of_http2_that_does_not_end(worker: Serving, secure: FakeProvider) -> None:
    """HEADERS without END_HEADERS, and never a CONTINUATION."""
    async with connect(worker.proxy(), "localhost", secure.port, worker.ca) as client:
        client._flush()
        client._writer.write(b"\x00\x00\x01\x01\x00\x00\x00\x00\x01\x82")
        async with asyncio.timeout(20):
            while await client._reader.read(65536):
                pass


@pytest.mark.parametrize("port", ["gateway", "proxy"])
async def test_a_connection_on_which_nothing_happens(worker: Serving, port: str) -> None:
    address = worker.gateway if port == "gateway" else worker.proxy()
    seconds, said = await drawn_out(address, b"")
    assert (seconds > 0.7, said) == (True, b"")
    await until(lambda: not open_connections(worker))


async def test_a_connection_between_two_requests_is_idle(worker: Serving) -> None:
    seconds, said = await drawn_out(worker.gateway, KNOCK.replace(b"connection: close\r\n", b""))
    assert said.startswith(b"HTTP/1.1 200")
    assert seconds > 0.7


async def test_200_slow_clients_do_not_keep_a_good_one_waiting(worker: Serving) -> None:
    slow = [asyncio.create_task(drawn_out(worker.gateway, b"POST /v1/chat HTTP/1.1\r\n", b"", 0.5)) for _ in range(200)]
    await asyncio.sleep(0.1)
    async with openai.AsyncOpenAI(api_key="x", base_url=f"{worker.gateway}/v1", max_retries=0) as client:
        for _ in range(5):
            await client.chat.completions.create(**CHAT)  # type: ignore[call-overload]
    await asyncio.gather(*slow)
    await until(lambda: not open_connections(worker))


# ── what must go on ─────────────────────────────────────────────────────────────────────────────


async def test_a_stream_slower_than_all_limits(worker: Serving, provider: FakeProvider) -> None:
    provider.default = Answer(text="one two three four", pieces=4, pace=0.3)
    async with openai.AsyncOpenAI(api_key="x", base_url=f"{worker.gateway}/v1", max_retries=0) as client:
        stream = await client.chat.completions.create(**CHAT, stream=True)  # type: ignore[call-overload]
        text = "".join([part.choices[0].delta.content or "" async for part in stream if part.choices])
    assert text == "one two three four"


async def test_a_reply_that_takes_longer_than_all_limits(worker: Serving, provider: FakeProvider) -> None:
    provider.default = Answer(wait_head=1.5)
    assert (await Wire(worker.gateway).ask(request(PATH, CALL))).status == 200


async def test_an_upload_that_goes_on(worker: Serving, provider: FakeProvider) -> None:
    body = json.dumps(CHAT | {"padding": "x" * 20_000}).encode()

    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(body), 2500):
            yield body[start : start + 2500]
            await asyncio.sleep(0.15)

    async with openai.DefaultAsyncHttpxClient() as client:
        headers = {"content-type": "application/json"}
        reply = await client.post(f"{worker.gateway}{PATH}", content=pieces(), headers=headers)
    assert reply.status_code == 200
    assert provider.seen[0].json() == json.loads(body)


async def test_a_tunnel_that_is_silent(worker: Serving, provider: FakeProvider) -> None:
    reader, writer = await opened(worker.proxy())
    writer.write(f"CONNECT 127.0.0.1:{provider.port} HTTP/1.1\r\n\r\n".encode())
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"GET /v1/models HTTP/1.1\r\nhost: x\r\n")  # what is inside is not ours to judge
    await asyncio.sleep(1.5)
    writer.write(b"\r\n")
    async with asyncio.timeout(20):
        assert (await reader.readuntil(b"\r\n")).startswith(b"HTTP/1.1 200")
    writer.transport.abort()


async def test_a_websocket_that_is_silent(worker: Serving) -> None:
    url = worker.gateway.replace("http:", "ws:") + "/v1/responses"
    async with websockets.connect(url, additional_headers={"authorization": "Bearer x"}, proxy=None) as socket:
        await asyncio.sleep(1.5)
        await socket.send(json.dumps({"type": "response.create", "model": "gpt-5", "input": "hello"}))
        async with asyncio.timeout(20):
            assert json.loads(await socket.recv())["type"] == "response.created"


async def test_a_client_that_reads_slowly(worker: Serving, provider: FakeProvider) -> None:
    provider.default = Answer(text="x" * 4_000_000)
    reader, writer = await opened(worker.gateway)
    writer.write(request(PATH, CALL).replace(b"connection: close\r\n", b""))
    writer.transport.pause_reading()  # type: ignore[attr-defined]
    await asyncio.sleep(1.5)
    writer.transport.resume_reading()  # type: ignore[attr-defined]
    async with asyncio.timeout(20):
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        length = int(head.lower().partition("content-length: ")[2].partition("\r\n")[0])
        assert len(await reader.readexactly(length)) > 4_000_000
    writer.transport.abort()
