"""Ways around the chain and around credentials, and what a hostile client or upstream can hold on to."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import ssl
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import websockets
from h2.events import StreamEnded

from tests.e2e.h2client import connect
from tests.e2e.serving import CHAT, MESSAGES, Serving, serve, write_config
from tests.e2e.shin import until
from tests.e2e.wire import Wire, request
from tests.provider import Answer, FakeProvider, Stop

PATH = "/v1/chat/completions"
CALL = json.dumps(CHAT).encode()
STREAM = {**CHAT, "stream": True}
KNOCK = request("/", None, method="GET")
"""Answered by the gateway itself, and only if the connection is still in step."""


@pytest.fixture(autouse=True)
def _nothing_fails(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    yield
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR], caplog.text
    assert "crashed" not in caplog.text


@pytest.fixture(autouse=True)
def tried(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Where anything but this machine was to be connected to. Nothing is: a fix that fails must not reach a cloud."""
    places: list[str] = []
    connecting = asyncio.open_connection

    async def open_connection(host: str, port: int, **more: Any) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if host not in ("127.0.0.1", "localhost"):
            places.append(host)
            raise ConnectionRefusedError(host)
        return await connecting(host, port, **more)

    monkeypatch.setattr(asyncio, "open_connection", open_connection)
    return places


@pytest.fixture
async def guarded(
    tmp_path: Path, provider: FakeProvider, secure: FakeProvider, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Serving]:
    """A worker whose users are alice and bob. A policy names `secure`; none names `provider`."""
    monkeypatch.setenv("SHIN_TEST_ALICE", "of-alice")
    monkeypatch.setenv("SHIN_TEST_BOB", "of-bob")
    users = "users: {alice: env:SHIN_TEST_ALICE, bob: env:SHIN_TEST_BOB}"
    more = f"upstream: {{ca: {str(secure.ca_file)!r}}}\n{users}"
    config = write_config(tmp_path, {"openai": f"{provider.url}/v1"}, more)
    policies = tmp_path / "policies"
    policies.mkdir()
    (policies / "local.yaml").write_text(f"hosts: ['localhost:{secure.port}']\nextends: observe\n")
    async with serve(tmp_path / "home", config, policies) as one:
        yield one


def basic(login: str) -> str:
    return f"proxy-authorization: Basic {base64.b64encode(login.encode()).decode()}"


ALICE = basic("alice:of-alice")


def kept(*args: object, **more: object) -> bytes:
    """A request after which the connection stays open."""
    return request(*args, **more).replace(b"connection: close\r\n", b"")  # type: ignore[arg-type]


async def head_of(address: str, data: bytes, context: ssl.SSLContext | None = None) -> str:
    """The first head that comes back, "" where the connection is closed without one."""
    host, _, port = address.removeprefix("http://").rpartition(":")
    name = "localhost" if context else None
    reader, writer = await asyncio.open_connection(host, int(port), ssl=context, server_hostname=name)
    try:
        async with asyncio.timeout(20):
            writer.write(data)
            return (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    except asyncio.IncompleteReadError as end:
        return end.partial.decode("latin-1")
    finally:
        writer.transport.abort()


def in_tunnel(serving: Serving, secure: FakeProvider, login: str = "", sni: str = "") -> Wire:
    host = "127.0.0.1" if sni else "localhost"
    return Wire(serving.proxy(), f"{host}:{secure.port}", serving.ca, login=login, sni=sni)


# ── credentials ─────────────────────────────────────────────────────────────────────────────────

FORMS = {
    "http, absolute": (b"GET http://127.0.0.1:{plain}/x HTTP/1.1", "host: x"),
    "https, absolute": (b"GET https://localhost:{port}/telemetry HTTP/1.1", "host: x"),
    "a call, absolute": (b"GET https://localhost:{port}/v1/models HTTP/1.1", "host: x"),
    "the policy's host in Host alone": (b"GET https://127.0.0.1:{port}/v1/models HTTP/1.1", "host: localhost"),
    "CONNECT": (b"CONNECT localhost:{port} HTTP/1.1", ""),
    "CONNECT by address": (b"CONNECT 127.0.0.1:{port} HTTP/1.1", ""),
    "CONNECT elsewhere": (b"CONNECT 127.0.0.1:{plain} HTTP/1.1", ""),
}
LOGINS = [
    "",
    basic(":"),
    basic("alice:"),
    basic("alice:of-bob"),
    basic("carol:of-alice"),
    "proxy-authorization: Basic =",
]


@pytest.mark.parametrize("form", FORMS)
async def test_nobody_gets_past_the_users(
    guarded: Serving, provider: FakeProvider, secure: FakeProvider, form: str
) -> None:
    for login in LOGINS:
        data = written(form, login, provider, secure)
        assert " 407 " in await head_of(guarded.proxy(), data), login
        assert " 407 " in await head_of(guarded.proxy(), data, careless()), login
    assert not provider.seen
    assert not secure.seen


def written(form: str, login: str, provider: FakeProvider, secure: FakeProvider) -> bytes:
    line, host = FORMS[form]
    first = line.decode().format(plain=provider.port, port=secure.port)
    return "\r\n".join([*filter(None, [first, host, login]), "", ""]).encode()


def careless() -> ssl.SSLContext:
    """TLS to the proxy's own port."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


@pytest.mark.parametrize("login", ["", basic(":")], ids=["none", "no name"])
@pytest.mark.parametrize("path", [PATH, "/telemetry"])
async def test_a_server_name_does_not_get_past_a_policy(
    serving: Serving, secure: FakeProvider, login: str, path: str
) -> None:
    """CONNECT names an address, which needs no credentials, and the handshake a host that does."""
    serving.policy("local", f"hosts: ['localhost:{secure.port}']\nextends: observe\nproxy_auth: required\n")
    await serving.worker.reload()
    answer = await in_tunnel(serving, secure, login, sni="localhost").ask(request(path, CALL))
    assert answer.status == 407
    assert not secure.seen
    named = await in_tunnel(serving, secure, basic("bob:"), sni="localhost").ask(request(path, CALL))
    assert named.status == 200


@pytest.mark.parametrize("path", [PATH, "/telemetry"])
async def test_the_proxys_credentials_stay_with_the_proxy(
    guarded: Serving, provider: FakeProvider, secure: FakeProvider, path: str
) -> None:
    guarded.policy("plain", f"hosts: ['127.0.0.1:{provider.port}']\nextends: observe\n")
    await guarded.worker.reload()
    proxy, inside = Wire(guarded.proxy()), in_tunnel(guarded, secure, ALICE)
    sent = [
        await proxy.ask(request(f"{provider.url}{path}", CALL, ALICE)),
        await proxy.ask(request(f"https://localhost:{secure.port}{path}", CALL, ALICE)),
        await inside.ask(request(path, CALL)),
        await inside.ask(request(path, CALL, ALICE)),
        await inside.ask(request(path, CALL, basic("someone:else"))),
        await Wire(guarded.gateway).ask(request(PATH, CALL, ALICE, "authorization: Bearer of-bob")),
    ]
    assert [answer.status for answer in sent] == [200, 200, 200, 200, 407, 200]
    assert len(provider.seen + secure.seen) == 5
    for seen in provider.seen + secure.seen:
        assert not [name for name in seen.header_names() if name.lower().startswith(("proxy-", "x-shin"))]
        assert "of-alice" not in str(seen.headers)


async def test_without_users_a_login_goes_nowhere_either(serving: Serving, provider: FakeProvider) -> None:
    answer = await Wire(serving.proxy()).ask(request(f"{provider.url}/x", CALL, basic("alice:x")))
    assert answer.status == 200
    assert "x-shin-call-id" not in answer.headers
    assert "proxy-authorization" not in {name.lower() for name in provider.seen[0].header_names()}


async def test_a_missing_secret_locks_out_its_user_alone(
    guarded: Serving, provider: FakeProvider, secure: FakeProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SHIN_TEST_ALICE")
    gateway, connecting = Wire(guarded.gateway), f"CONNECT localhost:{secure.port} HTTP/1.1\r\n"
    for key, status in (("of-bob", 200), ("of-alice", 401), ("", 401), ("env:SHIN_TEST_ALICE", 401)):
        assert (await gateway.ask(request(PATH, CALL, f"authorization: Bearer {key}"))).status == status
    for login in (ALICE, basic("alice:"), basic("alice:None")):
        assert " 407 " in await head_of(guarded.proxy(), f"{connecting}{login}\r\n\r\n".encode())
    assert (await in_tunnel(guarded, secure, basic("bob:of-bob")).ask(request(PATH, CALL))).status == 200
    assert len(provider.seen) == len(secure.seen) == 1


async def test_a_key_that_is_no_text_is_a_wrong_one(guarded: Serving, provider: FakeProvider) -> None:
    answer = await Wire(guarded.gateway).ask(request(PATH, CALL, "authorization: Bearer \xff\xfe"))
    assert answer.status == 401
    assert not provider.seen


@pytest.mark.parametrize("own", [True, False], ids=["to a host", "to the gateway"])
async def test_cookies_go_where_they_are_from(
    serving: Serving, provider: FakeProvider, secure: FakeProvider, own: bool
) -> None:
    """The gateway's address is one that other programs on the machine set cookies for."""
    wire = in_tunnel(serving, secure) if own else Wire(serving.gateway)
    assert (await wire.ask(request(PATH, CALL, "cookie: session=1"))).status == 200
    assert (secure if own else provider).seen[0].header("cookie") == ("session=1" if own else "")


# ── the chain ───────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("upgrade", ["websocket", "WebSocket", "h2c, websocket"])
async def test_an_upgrade_on_a_call_means_nothing(serving: Serving, secure: FakeProvider, upgrade: str) -> None:
    data = request(PATH, CALL, f"upgrade: {upgrade}", "sec-websocket-key: x", "sec-websocket-version: 13")
    answer = await in_tunnel(serving, secure).ask(data)
    assert (answer.status, answer.json["object"]) == (200, "chat.completion")
    assert "upgrade" not in {name.lower() for name in secure.seen[0].header_names()}
    (row,) = await serving.rows()
    assert row.end == "completed"


@pytest.mark.parametrize("size", [1, 2, 4, 11])
async def test_a_request_line_in_two_pieces_takes_the_chain(serving: Serving, secure: FakeProvider, size: int) -> None:
    reader, writer = await in_tunnel(serving, secure)._open()
    data = request(PATH, CALL)
    async with asyncio.timeout(20):
        for piece in (data[:size], data[size:]):
            writer.write(piece)
            await asyncio.sleep(0.1)
        assert b"x-shin-call-id" in await reader.readuntil(b"\r\n\r\n")
    writer.transport.abort()
    assert len(await serving.rows()) == 1


SPELLINGS = [
    "#x", ";x", "%00", "%20", "%09", "%0a", "%23x", "%3Fx", "%2523x", "%00x", "%3Bx", "/",
    "/.", "/x/..", "//", "?x#y", "#?x", ";x=1;y=2?z",
]  # fmt: skip
ELSEWHERE = [
    "/v1/chat%2Fcompletions", "/v1/chat%252Fcompletions", "/v1\\chat\\completions", "/v1%5Cchat%5Ccompletions",
    "/v1/chat;x/completions", "/v1;x/chat/completions", "//v1//chat/./completions", "/x/../v1/chat/completions",
    "/v1/%63hat/completions", "/v1/%2563hat/completions", "/x/..;/v1/chat/completions", "/v1/chat/x%2F..%2Fcompletions",
]  # fmt: skip


async def test_spellings_of_a_path_take_the_chain(serving: Serving, secure: FakeProvider) -> None:
    """A lenient server may take each for the path of a call."""
    wire = in_tunnel(serving, secure)
    paths = [*(PATH + ending for ending in SPELLINGS), *ELSEWHERE]
    past = [path for path in paths if "x-shin-call-id" not in (await wire.ask(request(path, CALL))).headers]
    assert not past
    assert {row.model for row in await serving.rows(len(paths))} == {"gpt-4o"}


# ── what is held on to ──────────────────────────────────────────────────────────────────────────


async def test_resets_right_behind_their_calls_leave_nothing(serving: Serving, secure: FakeProvider) -> None:
    async with connect(serving.proxy(), "localhost", secure.port, serving.ca) as client:
        for body in (CHAT, STREAM):
            secure.default = Answer(stop=Stop("hang", after="call"))
            client.post_and_reset(PATH, body, 20)
        rows = await serving.rows(40)
        await until(lambda: not held(serving))
        secure.default = Answer()
        await client.event(StreamEnded, client.post(PATH, CHAT))  # and the connection is still good
    assert {(row.end, row.cause, row.status) for row in rows} == {("cancelled", "client_left", 499)}
    await until(lambda: not held(serving))
    assert len(await serving.rows(41)) == 41


def held(serving: Serving) -> list[object]:
    """Calls in flight, attempts and upstream connections in use."""
    gateway = serving.worker.gateway
    session = gateway.upstream._session
    busy = [live for live in gateway._live.values() if live._in_flight]
    return [*busy, *gateway.upstream._exchanges, *session.connector._acquired]


TIMEOUTS = "timeouts: {total: 4s, idle: 3s, first_part: 3s}\n"


async def test_a_client_that_stops_reading_is_cut(serving: Serving, secure: FakeProvider) -> None:
    serving.policy("local", f"hosts: ['localhost:{secure.port}']\nextends: observe\n{TIMEOUTS}")
    await serving.worker.reload()
    secure.default = Answer(text="x" * 40_000_000, pieces=20_000)
    _, writer = await in_tunnel(serving, secure)._open()
    writer.write(request(PATH, json.dumps(STREAM).encode()))
    writer.transport.pause_reading()
    (row,) = await serving.rows()
    assert (row.end, row.cause) == ("broken", "client_stalled")
    assert row.total_ms < 8000
    await until(lambda: not held(serving))
    writer.transport.abort()


# ── replies that lie ────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("status", [204, 304])
@pytest.mark.parametrize("path", [PATH, "/openai/v1/files/x"])
async def test_a_reply_without_a_body_keeps_the_connection_in_step(
    serving: Serving, provider: FakeProvider, status: int, path: str
) -> None:
    provider.script(Answer(status=status, body=b""))
    method = "POST" if path == PATH else "GET"
    data = kept(path, CALL if path == PATH else None, method=method)
    first, second = await Wire(serving.gateway).send(data + KNOCK)
    assert (first.status, second.status) == (status, 200)
    assert "transfer-encoding" not in first.headers
    assert second.body == b"Shin Gateway"


@pytest.mark.parametrize(
    ("path", "body", "error"),
    [(PATH, STREAM, 'data: {"error"'), ("/v1/messages", {**MESSAGES, "stream": True}, "event: error")],
    ids=["chat", "messages"],
)
async def test_a_cut_stream_of_known_length_keeps_the_connection_in_step(
    serving: Serving, provider: FakeProvider, path: str, body: object, error: str
) -> None:
    provider.script(Answer(framing="length", stop=Stop("fin", after="parts", count=3)))
    first, second = await Wire(serving.gateway).send(kept(path, json.dumps(body).encode()) + KNOCK)
    assert first.body.decode().rstrip().split("\n\n")[-1].startswith(error)
    assert "content-length" not in first.headers
    assert (second.status, second.body) == (200, b"Shin Gateway")
    (row,) = await serving.rows()
    assert row.end == "broken"


async def test_a_stream_that_is_not_packed_as_it_says(serving: Serving, provider: FakeProvider) -> None:
    provider.default = Answer(headers=(("content-encoding", "gzip"),))
    answer = await Wire(serving.gateway).ask(request(PATH, json.dumps(STREAM).encode()))
    assert (answer.status, answer.json["error"]["code"]) == (502, "upstream_encoding")
    assert "content-encoding" not in answer.headers


async def test_nobody_waits_for_a_continue_from_upstream(serving: Serving, provider: FakeProvider) -> None:
    """Upstreams that do not know the header never send one."""
    *_, answer = await Wire(serving.gateway).send(request(PATH, CALL, "expect: 100-continue"))
    assert answer.status == 200
    assert "expect" not in {name.lower() for name in provider.seen[0].header_names()}


async def test_an_upstream_does_not_speak_for_us(serving: Serving, provider: FakeProvider) -> None:
    lies = tuple((f"X-Shin-{name}", "a lie") for name in ("dropped", "cache", "cost", "target", "attempts"))
    for body in (CHAT, STREAM):
        provider.script(Answer(headers=(*lies, ("x-other", "kept"))))
        answer = await Wire(serving.gateway).ask(request(PATH, json.dumps(body).encode()))
        assert "a lie" not in answer.head
        assert answer.headers["x-other"] == "kept"


# ── pages in the user's own browser ─────────────────────────────────────────────────────────────

PAGES = {
    "another site": ("origin: https://evil.example", "host: 127.0.0.1:4000"),
    "a name that leads here": ("origin: http://evil.example:4000", "host: evil.example:4000"),
    "a name that leads here, reading": ("", "host: evil.example:4000"),
    "a sandbox": ("origin: null", "host: localhost"),
    "no origin that can be read": ("origin: http://[", "host: localhost"),
}
UPGRADE = ("upgrade: websocket", "sec-websocket-key: x", "sec-websocket-version: 13")


@pytest.fixture
async def named(tmp_path: Path, provider: FakeProvider) -> AsyncIterator[Serving]:
    """A worker without users that is told under which name it was asked, as `shin run` starts it."""
    config = write_config(tmp_path, {"openai": f"{provider.url}/v1"})
    async with serve(tmp_path / "home", config, tmp_path / "policies", keep_host_header=True) as one:
        one.policy("gateway", "hosts: [gateway]\nextends: observe\n")
        await one.worker.reload()
        yield one


async def test_a_page_of_another_site_does_not_spend_our_key(named: Serving, provider: FakeProvider) -> None:
    """A browser sends such a call without asking first: its page cannot read the answer, but we would pay for it."""
    for page, (origin, host) in PAGES.items():
        for asked in (
            request(PATH, CALL, origin, "content-type: text/plain", host=host),
            request("/openai/v1/files", None, origin, method="GET", host=host),
            request("/v1/responses", None, origin, *UPGRADE, method="GET", host=host),
        ):
            assert (await Wire(named.gateway).ask(asked)).status == 403, page
    assert not provider.seen


async def test_pages_and_programs_of_this_machine_may(named: Serving) -> None:
    hosts = ("127.0.0.1:4000", "[::1]:4000", "localhost", "gateway", "host.docker.internal:4000")
    origins = ("", "http://localhost:3000", "http://127.0.0.1", "vscode-webview://x", "app://x.y")
    for host in hosts:
        for origin in origins:
            asked = request(PATH, CALL, f"origin: {origin}" if origin else "", host=f"host: {host}")
            assert (await Wire(named.gateway).ask(asked)).status == 200, (host, origin)


async def test_with_users_a_key_says_who_may(guarded: Serving) -> None:
    asked = request(PATH, CALL, "origin: https://app.example", "authorization: Bearer of-bob", host="host: llm.example")
    assert (await Wire(guarded.gateway).ask(asked)).status == 200


@pytest.mark.parametrize("key", ["", "of-nobody"])
async def test_a_prewarm_needs_a_key_too(guarded: Serving, provider: FakeProvider, key: str) -> None:
    url = guarded.gateway.replace("http:", "ws:") + "/v1/responses"
    headers = {"authorization": f"Bearer {key}"} if key else {}
    frame = {"type": "response.create", "model": "gpt-4o", "input": "x", "generate": False}
    async with asyncio.timeout(20), websockets.connect(url, proxy=None, additional_headers=headers) as socket:
        await socket.send(json.dumps(frame))
        said = json.loads(await socket.recv())
    assert (said["type"], said["status"]) == ("error", 401)
    assert not provider.seen


# ── places that are not for clients to name ─────────────────────────────────────────────────────

LINK_LOCAL = ["169.254.169.254", "[fe80::1]", "[::ffff:169.254.169.254]", "2852039166", "0xa9fea9fe", "169.254.43518"]
OWN = ["127.0.0.1", "127.1", "localhost", "[::1]", "0.0.0.0", "[::]", "[::ffff:127.0.0.1]", "2130706433"]
NOT_TRIED = "The proxy does not connect to this address"


async def refusals(serving: Serving, address: str, login: str = "") -> list[str]:
    """What comes back for a tunnel to this address and for a plain request there."""
    asking = f"GET / HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n"
    tunnelled = f"CONNECT {address} HTTP/1.1\r\n{login}\r\n{asking}"
    absolute = f"GET http://{address}/ HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{login}\r\n"
    return [await all_of(serving.proxy(), one.encode()) for one in (tunnelled, absolute)]


async def all_of(address: str, data: bytes) -> str:
    host, _, port = address.removeprefix("http://").rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    async with asyncio.timeout(20):
        writer.write(data)
        said = await reader.read()
    writer.close()
    return said.decode("latin-1")


async def test_link_local_addresses_are_not_connected_to(serving: Serving, tried: list[str]) -> None:
    """Where clouds keep their machines' credentials."""
    for address in LINK_LOCAL:
        for said in await refusals(serving, f"{address}:80"):
            assert said.startswith("HTTP/1.1 502 "), address
            assert NOT_TRIED in said, address
    assert not tried


async def test_with_users_this_machine_is_not_connected_to(
    guarded: Serving, provider: FakeProvider, tried: list[str]
) -> None:
    """A tunnel to an address opens before we connect, as the handshake may name a host of ours: it ends there."""
    for address in OWN:
        tunnelled, absolute = await refusals(guarded, f"{address}:{provider.port}", f"{ALICE}\r\n")
        assert NOT_TRIED in tunnelled or tunnelled == "HTTP/1.1 200 Connection established\r\n\r\n", address
        assert NOT_TRIED in absolute, address
    assert not provider.connections
    assert not tried


async def test_with_users_a_policy_can_name_this_machine(guarded: Serving, provider: FakeProvider) -> None:
    guarded.policy("plain", f"hosts: ['127.0.0.1:{provider.port}']\nextends: observe\n")
    await guarded.worker.reload()
    for said in await refusals(guarded, f"127.0.0.1:{provider.port}", f"{ALICE}\r\n"):
        assert NOT_TRIED not in said
    assert len(provider.seen) == 2


async def test_without_users_this_machine_is_its_users_own(serving: Serving, provider: FakeProvider) -> None:
    for said in await refusals(serving, f"127.0.0.1:{provider.port}"):
        assert NOT_TRIED not in said
    assert len(provider.seen) == 2
