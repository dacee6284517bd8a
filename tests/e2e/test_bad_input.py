"""Whatever is sent, it gets one clear answer, nothing hangs, and the worker serves the next call."""

from __future__ import annotations

import asyncio
import gzip
import json
import logging
import resource
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import brotli
import httpx2
import pytest
import zstandard
from h2.events import ConnectionTerminated, StreamReset

from tests.e2e.h2client import connect
from tests.e2e.serving import CHAT, Serving, serve, write_config
from tests.e2e.shin import until
from tests.e2e.wire import Answer, Wire, chunked, request
from tests.provider import Answer as Says
from tests.provider import FakeProvider

LIMIT = 1_000_000
JSON = "content-type: application/json"


@dataclass(frozen=True)
class Speech:
    """A dialect as these tests speak it."""

    path: str
    call: dict[str, Any]
    foreign: str
    """A model that does not speak it."""

    def error(self, body: Any) -> str:
        """The message of an error in this dialect; fails where it is none."""
        if "type" in body:
            assert body["type"] == "error"
            assert body["request_id"]
            assert "/messages" in self.path
        elif "contents" in self.call:
            assert isinstance(body["error"]["code"], int)
            assert body["error"]["status"]
        else:
            assert {"message", "type", "param", "code"} <= body["error"].keys()
        return str(body["error"]["message"])

    def to(self, model: Any) -> tuple[str, bytes]:
        """Path and body of a call to this model."""
        if "contents" in self.call:
            return f"/v1beta/models/{model}:generateContent", json.dumps(self.call).encode()
        return self.path, json.dumps({**self.call, "model": model}).encode()


MESSAGE = [{"role": "user", "content": "hi"}]
SPEECHES = {
    "chat": Speech("/v1/chat/completions", {"model": "gpt-4o", "messages": MESSAGE}, "claude-sonnet-4-5"),
    "responses": Speech("/v1/responses", {"model": "gpt-4o", "input": "hi"}, "claude-sonnet-4-5"),
    "messages": Speech("/v1/messages", {"model": "claude-sonnet-4-5", "max_tokens": 9, "messages": MESSAGE}, "gpt-4o"),
    "gemini": Speech("/v1beta/models/gemini-2.5-pro:generateContent", {"contents": [{"parts": [{"text": "hi"}]}]},
                     "gpt-4o"),
}  # fmt: skip


@pytest.fixture(params=SPEECHES)
def speech(request: pytest.FixtureRequest) -> Speech:
    return SPEECHES[request.param]


@pytest.fixture
async def serving(tmp_path: Path, provider: FakeProvider, secure: FakeProvider) -> AsyncIterator[Serving]:
    """As everywhere, with a small limit for bodies and nothing that repeats a call."""
    urls = {"openai": f"{provider.url}/v1", "anthropic": provider.url, "gemini": provider.url}
    config = write_config(tmp_path, urls, f"upstream: {{ca: {str(secure.ca_file)!r}}}")
    rest = f"extends: observe\nlimits: {{body: {LIMIT}}}\n"
    (tmp_path / "policies").mkdir()
    (tmp_path / "policies" / "gateway.yaml").write_text(f"hosts: [gateway]\n{rest}")
    (tmp_path / "policies" / "local.yaml").write_text(f"hosts: ['localhost:{secure.port}']\n{rest}")
    async with serve(tmp_path / "home", config, tmp_path / "policies") as one:
        yield one


@pytest.fixture(params=["gateway", "proxy"])
def wire(request: pytest.FixtureRequest, serving: Serving, secure: FakeProvider) -> Wire:
    if request.param == "gateway":
        return Wire(serving.gateway)
    return Wire(serving.proxy(), f"localhost:{secure.port}", serving.ca)


@pytest.fixture
def gateway(serving: Serving) -> Wire:
    return Wire(serving.gateway)


@pytest.fixture(autouse=True)
async def _still_serves(serving: Serving, caplog: pytest.LogCaptureFixture) -> AsyncIterator[None]:
    """After each test the next call is answered, and nothing of ours or mitmproxy's has failed."""
    yield
    async with httpx2.AsyncClient(trust_env=False) as client:
        assert (await client.post(f"{serving.gateway}/v1/chat/completions", json=CHAT)).status_code == 200
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR], caplog.text
    assert "crashed" not in caplog.text


# ── calls that are wrong ────────────────────────────────────────────────────────────────────────

DEEP = b"[" * 100_000 + b"]" * 100_000
NO_CALLS = {
    "cut short": b'{"model": "gpt-4o", "messages": [',
    "nothing": b"",
    "a list": b"[1, 2]",
    "null": b"null",
    "a string": b'"hello"',
    "no JSON": b"model=gpt-4o",
    "UTF-16": json.dumps(CHAT).encode("utf-16"),
    "deep": DEEP,
    "deep inside": b'{"model": "gpt-4o", "messages": ' + DEEP + b"}",
    "NaN": b'{"model": "gpt-4o", "n": NaN}',
}


@pytest.mark.parametrize("wrong", NO_CALLS)
async def test_a_body_that_is_no_call(gateway: Wire, wrong: str, provider: FakeProvider) -> None:
    for speech in SPEECHES.values():
        answer = await gateway.ask(request(speech.path, NO_CALLS[wrong], JSON))
        assert answer.status == 400
        assert speech.error(answer.json)
        if not provider.seen:
            assert answer.headers["x-should-retry"] == "false"
        else:  # Gemini names the model in the path, so some of these are for the provider to judge
            assert "contents" in speech.call


async def test_a_provider_judges_what_the_proxy_lets_through(wire: Wire, speech: Speech) -> None:
    """On a provider's own host a body that cannot be read still gets one clear answer."""
    answer = await wire.ask(request(speech.path, b'{"model": [', JSON))
    assert answer.status == 400
    assert answer.json["error"]


@pytest.mark.parametrize("model", [None, "", 7, ["gpt-4o"], {}], ids=str)
async def test_a_model_that_is_none(gateway: Wire, model: Any) -> None:
    for speech in list(SPEECHES.values())[:3]:  # Gemini's path names it
        body = {**speech.call, "model": model}
        answers = [await gateway.ask(request(speech.path, json.dumps(body).encode(), JSON))]
        del body["model"]
        answers.append(await gateway.ask(request(speech.path, json.dumps(body).encode(), JSON)))
        for answer in answers:
            assert answer.status == 400
            assert "model" in speech.error(answer.json)


@pytest.mark.parametrize("model", ["nobody-knows-1", "nobody/knows", "m" * 5000, "a\x00\r\nx-own: 1"], ids=range(4))
async def test_a_model_that_nobody_knows(gateway: Wire, model: str) -> None:
    for speech in SPEECHES.values():
        path, body = speech.to("nobody-knows-1" if "contents" in speech.call else model)
        answer = await gateway.ask(request(path, body, JSON))
        assert answer.status == 404
        assert "unknown" in speech.error(answer.json)
        assert len(answer.body) < 2000
        assert "x-own" not in answer.headers


async def test_a_call_that_cannot_be_translated(gateway: Wire, provider: FakeProvider) -> None:
    body = json.dumps({"model": "claude-sonnet-4-5", "input": "hi"}).encode()
    answer = await gateway.ask(request("/v1/embeddings", body, JSON))
    assert answer.status == 501
    assert "translation" in answer.json["error"]["message"]
    assert not provider.seen


async def test_a_policy_without_translation(serving: Serving, gateway: Wire, speech: Speech) -> None:
    serving.policy("gateway", "hosts: [gateway]\naddons: {log: on}\n")
    path, body = speech.to(speech.foreign)
    for _ in range(100):  # until the policy has been read
        answer = await gateway.ask(request(path, body, JSON))
        if answer.status == 501:
            break
        await asyncio.sleep(0.05)
    assert "translate" in speech.error(answer.json)


async def test_a_models_name_cannot_begin_a_header(gateway: Wire) -> None:
    body = json.dumps({**CHAT, "model": "gpt-4o\r\nx-own: 1\r\n\r\nHTTP/1.1"}).encode()
    answer = await gateway.ask(request("/v1/chat/completions", body))
    assert answer.status == 200
    assert "x-own" not in answer.headers


@pytest.mark.parametrize(
    "fields",
    [
        b'"max_tokens": ' + b"9" * 10_000,
        b'"temperature": 1e999999',
        b'"stream": "yes"',
        b'"messages": "hi"',
        b'"messages": [{"role": "user", "content": "\xff\xfe"}]',
        b'"messages": [{"role": "user", "content": "\\ud800"}]',
        b'"model": "gpt-4o", "model": "gpt-4o"',
    ],
)
async def test_odd_values_are_answered(wire: Wire, fields: bytes) -> None:
    answer = await wire.ask(request("/v1/chat/completions", b'{"model": "gpt-4o", ' + fields + b"}"))
    assert answer.status in (200, 400)
    assert "error" in answer.json or answer.json["choices"]


# ── bodies that are too large, or not what they say ─────────────────────────────────────────────


def megabytes(count: int) -> Iterator[bytes]:
    """A body in chunks, sent for as long as somebody takes it."""
    for _ in range(count):
        yield b"100000\r\n" + b"x" * 0x100000 + b"\r\n"
    yield b"0\r\n\r\n"


async def test_a_body_over_the_limit(wire: Wire, speech: Speech, provider: FakeProvider) -> None:
    answers = [
        await wire.ask(request(speech.path, b" " * (LIMIT + 1))),
        await wire.ask([request(speech.path, None, "transfer-encoding: chunked"), *megabytes(3)]),
    ]
    for answer in answers:
        assert answer.status == 413
        assert str(LIMIT) in speech.error(answer.json)
    assert not provider.seen


def peak() -> int:
    """Bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


async def test_a_body_without_end_is_not_kept(wire: Wire) -> None:
    before = peak()
    head = request("/v1/chat/completions", None, "transfer-encoding: chunked")

    def endless() -> Iterator[bytes]:
        yield head
        yield from megabytes(200)

    answer = await wire.ask(endless())
    assert answer.status in (413, 0)
    assert peak() - before < 60_000_000


BOMB = bytes(200_000_000)


@pytest.mark.parametrize("coding", ["gzip", "br", "zstd"])
async def test_a_bomb_is_not_unpacked(gateway: Wire, coding: str) -> None:
    pack = {"gzip": lambda: gzip.compress(BOMB, 1), "br": lambda: brotli.compress(BOMB, quality=1)}
    packed = pack.get(coding, lambda: zstandard.compress(BOMB))()
    assert len(packed) < 2 * LIMIT
    before = peak()
    for speech in SPEECHES.values():
        answer = await gateway.ask(request(speech.path, packed, f"content-encoding: {coding}"))
        assert answer.status == 413
        assert speech.error(answer.json)
    assert peak() - before < 60_000_000


CALL = json.dumps(CHAT).encode()
PACKED = {"gzip": gzip.compress(CALL, mtime=0), "br": brotli.compress(CALL), "zstd": zstandard.compress(CALL)}


@pytest.mark.parametrize(
    ("coding", "body", "status"),
    [
        *((coding, body[:-4], 400) for coding, body in PACKED.items()),
        *((coding, CALL, 400) for coding in (*PACKED, "deflate")),
        ("gzip", PACKED["gzip"] + b"more", 400),
        ("gzip, " * 9 + "gzip", CALL, 415),
        ("lzma", CALL, 415),
        ("\xff", CALL, 415),
    ],
)
async def test_a_body_that_is_not_packed_as_it_says(gateway: Wire, coding: str, body: bytes, status: int) -> None:
    answer = await gateway.ask(request("/v1/chat/completions", body, f"content-encoding: {coding}"))
    assert answer.status == status
    assert SPEECHES["chat"].error(answer.json)


# ── requests that are wrong ─────────────────────────────────────────────────────────────────────

CHAT_PATH = "/v1/chat/completions"
LENGTH = f"content-length: {len(CALL)}"
WRONG = {
    "two lengths": request(CHAT_PATH, CALL, "content-length: 3"),
    "a negative length": request(CHAT_PATH, None, "content-length: -5"),
    "a length that is no number": request(CHAT_PATH, None, "content-length: many"),
    "length and chunks": request(CHAT_PATH, CALL, "transfer-encoding: chunked"),
    "an unknown transfer coding": request(CHAT_PATH, None, "transfer-encoding: rot13"),
    "a header's name with a space": request(CHAT_PATH, CALL, "x own: 1"),
    "no path": request("", CALL),
    "no request at all": b"hello\r\n\r\n",
    "a line without end": b"GET /" + b"a" * 1_100_000,
    "headers without end": b"GET / HTTP/1.1\r\nhost: localhost\r\n" + b"x-a: b\r\n" * 200_000,
    "headers without end or host": b"GET / HTTP/1.1\r\n" + b"x-a: b\r\n" * 200_000,
    "CONNECT without a port": b"CONNECT localhost HTTP/1.1\r\n\r\n",
    "CONNECT to no port": b"CONNECT localhost:99999 HTTP/1.1\r\n\r\n",
}


@pytest.mark.parametrize("wrong", WRONG)
async def test_a_request_that_is_none(wire: Wire, wrong: str, provider: FakeProvider, secure: FakeProvider) -> None:
    answer = await wire.ask(WRONG[wrong])
    # A client that goes on sending may see the connection's end before it has read why.
    assert 400 <= answer.status < 500 or ("without end" in wrong and answer.status == 0)
    assert not provider.seen
    assert not secure.seen


ODD = {
    "chunks": request(CHAT_PATH, None, "transfer-encoding: chunked") + chunked(CALL[:20], CALL[20:]),
    "trailers": request(CHAT_PATH, None, "transfer-encoding: chunked") + chunked(CALL, trailers="x-checksum: 1\r\n"),
    "a long header": request(CHAT_PATH, CALL, "x-own: " + "a" * 100_000),
    "many headers": request(CHAT_PATH, CALL, *(f"x-{number}: {number}" for number in range(3000))),
    "a header in bytes": request(CHAT_PATH, CALL, "x-own: \xff\xfe"),
    "a folded header": request(CHAT_PATH, CALL, "x-own: a\r\n b"),
    "a header with a NUL": request(CHAT_PATH, CALL, "x-own: a\0b"),
    "no host": request(CHAT_PATH, CALL, host=""),
    "a method in small letters": request(CHAT_PATH, CALL, method="post"),
    "double slashes": request("//v1//chat/completions", CALL),
    "a way up": request("/v1/../v1/chat/completions", CALL),
    "an escaped NUL": request(f"{CHAT_PATH}%00", CALL),
    "a NUL": request(f"{CHAT_PATH}\0", CALL),
    "bytes in a path": request(f"{CHAT_PATH}\xff", CALL),
    "a long path": request("/" + "a" * 100_000, CALL),
    "a star": request("*", b"", method="OPTIONS"),
    "another HTTP": request(CHAT_PATH, CALL, version="3.7"),
    "HTTP/1.0": request(CHAT_PATH, CALL, version="1.0"),
    "HTTP/1.0 without a host": request(CHAT_PATH, CALL, version="1.0", host=""),
    "expecting to go on": request(CHAT_PATH, CALL, "expect: 100-continue"),
    "an upgrade to h2c": request(CHAT_PATH, CALL, "upgrade: h2c", "http2-settings: AAMAAABkAAQAAP__", version="1.0"),
}


@pytest.mark.parametrize("odd", ODD)
async def test_odd_requests_are_answered(wire: Wire, odd: str) -> None:
    answers = [answer for answer in await wire.send(ODD[odd]) if answer.status != 100]
    assert len(answers) == 1
    (answer,) = answers
    assert answer.status in (200, 400, 404, 431, 502)
    assert answer.body
    if odd in (
        "chunks",
        "trailers",
        "an upgrade to h2c",
        "no host",
        "HTTP/1.0",
        "double slashes",
        "expecting to go on",
    ):
        assert answer.status == 200
        assert answer.json["choices"]


@pytest.mark.parametrize("data", [b"zz\r\nabc\r\n", b"5;" + b"x" * 1_100_000])
async def test_chunks_that_are_wrong_end_the_connection(wire: Wire, serving: Serving, data: bytes) -> None:
    connections = serving.master.addons.get("proxyserver").connections
    asking = asyncio.create_task(wire.send(request(CHAT_PATH, None, "transfer-encoding: chunked") + data))
    await asyncio.sleep(0.3)
    await until(lambda: not connections)  # told by its own side: asyncio's TLS does not always notice
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)


async def test_a_call_in_pieces_takes_the_chain(wire: Wire, serving: Serving) -> None:
    """Else it would pass by its policy unseen, taken for a protocol that is not HTTP."""
    reader, writer = await wire._open()
    async with asyncio.timeout(20):
        for piece in (b"P", b"OST", b" /v1/chat", request(CHAT_PATH, CALL)[len("POST /v1/chat") :]):
            writer.write(piece)
            await asyncio.sleep(0.05)
        assert b"x-shin-call-id" in await reader.read()
    writer.close()
    assert len(await serving.rows()) == 1


async def test_a_stream_to_a_client_of_http_1_0(wire: Wire) -> None:
    body = json.dumps({**CHAT, "stream": True}).encode()
    answer = await wire.ask(request(CHAT_PATH, body, version="1.0"))
    assert answer.status == 200
    assert "transfer-encoding" not in answer.headers
    assert answer.body.endswith(b"data: [DONE]\n\n")


async def test_calls_sent_ahead_are_answered_in_order(wire: Wire) -> None:
    bodies = [CALL, json.dumps({**CHAT, "stream": True}).encode(), b"{", CALL]
    calls = [request(CHAT_PATH, body).replace(b"connection: close\r\n", b"") for body in bodies[:-1]]
    answers = await wire.send(b"".join([*calls, request(CHAT_PATH, bodies[-1])]))
    assert [answer.status for answer in answers] == [200, 200, 400, 200]
    assert answers[1].body.endswith(b"data: [DONE]\n\n")


async def test_too_much_sent_ahead_ends_the_connection(gateway: Wire, provider: FakeProvider) -> None:
    provider.script(Says(gate=asyncio.Semaphore(0)))
    body = json.dumps({**CHAT, "stream": True}).encode()
    await gateway.send(request(CHAT_PATH, body) + b"x" * 3_000_000)
    seen = (await provider.wait_seen())[0]
    await asyncio.wait_for(asyncio.shield(seen.left), 10)


@pytest.mark.parametrize("method", ["GET", "HEAD", "DELETE", "OPTIONS", "TRACE", "FOO"])
async def test_other_methods_on_the_path_of_a_call(gateway: Wire, method: str, provider: FakeProvider) -> None:
    answers = await gateway.send(
        request(CHAT_PATH, b"", method=method).replace(b"connection: close\r\n", b"") + request(CHAT_PATH, CALL)
        if method != "HEAD"
        else request(CHAT_PATH, b"", method=method)
    )
    assert answers[0].status == 404
    assert not answers[0].body if method == "HEAD" else answers[0].json["error"]["code"] == "not_found"
    assert len(provider.seen) == len(answers) - 1


async def test_head_has_no_body(gateway: Wire) -> None:
    """Else the next reply on the connection would begin with it."""
    for path in ("/", CHAT_PATH, "/openai/v1/models/gpt-4o", "/nobody/x"):
        (first, *rest) = await gateway.send(request(path, b"", method="HEAD"))
        assert first.status
        assert not first.body
        assert not rest


# ── paths of providers, and ways back to ourselves ──────────────────────────────────────────────


@pytest.mark.parametrize(
    ("path", "target"),
    [
        (f"/openai{CHAT_PATH}", "/v1/chat/completions"),
        ("/openai/v1/whatever?a=%2f", "/v1/whatever?a=%2f"),
        ("/openai//elsewhere.example/x", "/v1//elsewhere.example/x"),
        ("/openai", "/v1"),
        (f"/nobody{CHAT_PATH}", None),
        ("/nobody/v1/messages", None),
        ("/nobody", None),
        ("/openai@elsewhere.example/x", None),
        ("/openai/../../x", None),
        ("/openai/v1/%2e%2e/%2E./x", None),
    ],
)
async def test_paths_of_providers(gateway: Wire, path: str, target: str | None, provider: FakeProvider) -> None:
    answer = await gateway.ask(request(path, CALL))
    assert (answer.status == 404) == (target is None)
    assert [seen.target for seen in provider.seen] == ([target] if target else [])


async def test_ways_back_to_ourselves_end(serving: Serving, provider: FakeProvider) -> None:
    proxy, gateway = Wire(serving.proxy()), Wire(serving.gateway)
    own = [proxy.address, gateway.address]
    for wire in (proxy, gateway):
        for address in own:
            answer = await wire.ask(request(f"http://{address}/", b"", method="GET", host=f"host: {address}"))
            assert answer.status in (200, 400, 404, 502)
    # A tunnel to ourselves leads nowhere.
    for address in own:
        async with asyncio.timeout(20):
            reader, writer = await proxy._open()
            writer.write(f"CONNECT {address} HTTP/1.1\r\n\r\n".encode())
            await reader.readuntil(b"\r\n\r\n")
            writer.write(request("/", b"", method="GET", host=f"host: {address}"))
            assert b" 200 " not in await reader.read()
            writer.close()
    assert (await gateway.ask(b"CONNECT localhost:443 HTTP/1.1\r\n\r\n")).status == 400


# ── HTTP/2 ──────────────────────────────────────────────────────────────────────────────────────


async def test_http2_with_a_wrong_content_length(serving: Serving, secure: FakeProvider) -> None:
    for length in (len(CALL) - 1, len(CALL) + 1):
        async with connect(serving.proxy(), "localhost", secure.port, serving.ca) as client:
            stream = client._h2.get_next_available_stream_id()
            head = [(":method", "POST"), (":scheme", "https"), (":authority", "localhost"), (":path", CHAT_PATH)]
            client._h2.send_headers(stream, [*head, ("content-length", str(length))])
            client._h2.send_data(stream, CALL, end_stream=True)
            client._flush()
            async with asyncio.timeout(20):
                await _refused(client, stream)
    assert not secure.seen


async def _refused(client: Any, stream: int) -> None:
    """The stream is reset, or the connection ended."""
    while True:
        for event in client._events:
            if isinstance(event, ConnectionTerminated) or (
                isinstance(event, StreamReset) and event.stream_id == stream
            ):
                return
        data = await client._reader.read(65536)
        if not data:
            return
        client._events += client._h2.receive_data(data)
        client._flush()


# ── secrets ─────────────────────────────────────────────────────────────────────────────────────

SECRET = "sk-do-not-tell-0123456789"


async def test_keys_are_told_to_nobody(
    serving: Serving, secure: FakeProvider, provider: FakeProvider, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    keys = [f"authorization: Bearer {SECRET}", f"x-api-key: {SECRET}", f"x-goog-api-key: {SECRET}",
            f"api-key: {SECRET}", f"cookie: session={SECRET}"]  # fmt: skip
    told: list[Answer] = []
    for wire in (Wire(serving.gateway), Wire(serving.proxy(), f"localhost:{secure.port}", serving.ca)):
        for speech in SPEECHES.values():
            path = f"{speech.path}?key={SECRET}"
            told += [await wire.ask(request(path, body, *keys)) for body in (json.dumps(speech.call).encode(), b"{")]
        with provider.refusing(), secure.refusing():
            told.append(await wire.ask(request(f"{CHAT_PATH}?key={SECRET}", CALL, *keys)))
        told.append(await wire.ask(request(f"/nobody/x?key={SECRET}", CALL, *keys)))
        told.append(await wire.ask(request(CHAT_PATH, CALL, *keys, "content-length: 7")))
    reader, writer = await Wire(serving.proxy())._open()
    writer.write(b"CONNECT localhost:1 HTTP/1.1\r\nproxy-authorization: Basic " + SECRET.encode() + b"\r\n\r\n")
    assert SECRET.encode() not in await reader.readuntil(b"\r\n\r\n")
    writer.close()
    rows = await serving.rows(16)
    for answer in told:
        if "method" not in answer.body.decode("latin1")[:20]:  # the provider's own echo of what it received
            assert SECRET not in answer.head + answer.body.decode("latin1")
    assert SECRET not in repr(rows)
    assert SECRET not in caplog.text
    for file in serving.home.rglob("*"):
        if file.is_file():
            assert SECRET.encode() not in file.read_bytes(), file
    assert all((SECRET not in seen.target and SECRET not in repr(seen.headers)) or "session" in repr(seen.headers)
               for seen in provider.seen)  # fmt: skip
