"""Realtime connections: passed in both directions, one call each, on the gateway and through the proxy."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import ssl
import threading
from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx2
import pytest
import websockets
from google import genai
from openai import AsyncOpenAI
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect
from websockets.typing import Subprotocol

from shin_gateway.websockets import passage
from tests.e2e.programs import FOLDER, program, run
from tests.e2e.serving import Serving, serve, write_config
from tests.provider import Answer, FakeProvider, Seen, Stop, Tokens

TEXT = "Hello from the fake provider."
MODEL = "gpt-realtime"
CREATE = json.dumps({"type": "response.create"})
LIVE = "/ws/google.ai.generativelanguage.v1beta.GenerativeService.BidiGenerateContent"
Event = dict[str, Any]


def at_gateway(serving: Serving, path: str = f"/v1/realtime?model={MODEL}", **more: Any) -> Any:
    more = {"max_size": None, "ping_interval": None, **more}
    return websockets.connect(serving.gateway.replace("http:", "ws:") + path, proxy=None, **more)


def through_proxy(
    serving: Serving, secure: FakeProvider, login: str = "", query: str = f"?model={MODEL}", **more: Any
) -> Any:
    context = ssl.create_default_context(cafile=str(serving.ca))
    url = f"wss://localhost:{secure.port}/v1/realtime{query}"
    return websockets.connect(url, proxy=serving.proxy(login), ssl=context, max_size=None, **more)


async def until(socket: ClientConnection, kind: str) -> list[Event]:
    """Events up to the first of this type."""
    events: list[Event] = []
    async with asyncio.timeout(20):
        while not events or events[-1]["type"] != kind:
            events.append(json.loads(await socket.recv()))
    return events


async def closed(socket: ClientConnection) -> tuple[int | None, str | None]:
    """Code and reason with which we closed."""
    async with asyncio.timeout(20):
        with contextlib.suppress(websockets.ConnectionClosed):
            async for _ in socket:
                pass
    return socket.close_code, socket.close_reason


async def gone(seen: Seen) -> None:
    """Until the provider has no connection any more."""
    async with asyncio.timeout(20):
        await asyncio.wait([seen.left, seen.done], return_when=asyncio.FIRST_COMPLETED)


async def use(serving: Serving, text: str) -> None:
    serving.policy("gateway", f"hosts: [gateway]\nextends: observe\n{text}\n")
    await serving.worker.reload()


# ── official clients ────────────────────────────────────────────────────────────────────────────


async def test_the_openai_sdk_on_the_gateway(serving: Serving, provider: FakeProvider) -> None:
    client = AsyncOpenAI(api_key="sk-mine", base_url=f"{serving.gateway}/v1")
    provider.script(Answer(), Answer(tokens=Tokens(input=1000, output=100)))
    async with client.realtime.connect(model=MODEL) as connection:
        created = await connection.recv()
        assert (created.type, created.session.model) == ("session.created", MODEL)
        await connection.session.update(session={"type": "realtime", "output_modalities": ["text"]})
        sound = base64.b64encode(bytes(100_000)).decode()
        await connection.input_audio_buffer.append(audio=sound)
        await connection.response.create()
        texts = []
        async for event in connection:
            if event.type == "response.output_text.delta":
                texts.append(event.delta)
            if event.type == "response.done":
                assert event.response.usage and event.response.usage.input_tokens == 1000
                break
    await client.close()
    assert "".join(texts).strip() == TEXT
    (upgrade,) = [seen for seen in provider.seen if seen.method == "GET"]
    assert upgrade.target == f"/v1/realtime?model={MODEL}"
    assert upgrade.header("authorization") == "Bearer sk-of-the-gateway"
    assert [json.loads(said)["type"] for said in upgrade.messages] == [
        "session.update", "input_audio_buffer.append", "response.create",
    ]  # fmt: skip
    assert json.loads(upgrade.messages[1])["audio"] == sound
    (row,) = await serving.rows()
    assert (row.host, row.kind, row.dialect, row.model) == ("gateway", "realtime", "openai.realtime", MODEL)
    assert (row.status, row.end, row.stream, row.target) == (101, "completed", True, f"openai/{MODEL}")
    assert (row.input_tokens, row.output_tokens, row.usage_source) == (1000, 100, "provider")
    assert row.cost == Decimal("1000") * 4 / 1_000_000 + Decimal("100") * 16 / 1_000_000
    assert (row.facts["client_messages"], row.facts["replies"]) == ("3", "1")
    assert int(row.facts["provider_messages"]) > 8
    assert int(row.facts["client_bytes"]) > 130_000
    assert row.caller_kind == "key"


async def test_openais_node_sdk_on_the_gateway(serving: Serving, provider: FakeProvider, tmp_path: Path) -> None:
    """It says its key as a subprotocol."""
    if not (FOLDER / "node_modules" / "openai").is_dir():
        pytest.skip(f"no openai in {FOLDER}; scripts/install-agents installs it where npm can")
    script = Path(__file__).with_name("realtime.mjs")
    ran = await run(tmp_path, program("node"), script, FOLDER, serving.gateway, MODEL)
    assert ran.code == 0, ran.err
    assert json.loads(ran.out) == {"text": f"{TEXT} ", "model": MODEL, "tokens": 7}
    assert provider.seen[0].header("sec-websocket-protocol") == "realtime"
    (row,) = await serving.rows()
    assert (row.end, row.caller_kind, row.output_tokens) == ("completed", "key", 7)


async def test_googles_sdk_through_the_proxy(
    serving: Serving, secure: FakeProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("SSL_CERT_FILE", str(serving.ca)), ("HTTPS_PROXY", serving.proxy("alice:x@"))):
        monkeypatch.setenv(name, value)
    for name in ("NO_PROXY", "no_proxy", "https_proxy"):
        monkeypatch.delenv(name, raising=False)
    secure.script(Answer(), Answer(tokens=Tokens(input=30, output=4)))
    options: Any = {"base_url": f"https://localhost:{secure.port}", "api_version": "v1beta"}
    client = genai.Client(api_key="mine", http_options=options)
    config: Any = {"response_modalities": ["TEXT"]}
    async with client.aio.live.connect(model="gemini-live-2.5-flash", config=config) as session:
        await session.send_client_content(turns={"role": "user", "parts": [{"text": "say hello"}]})  # type: ignore[arg-type]
        texts = [message.text or "" async for message in session.receive()]
    assert "".join(texts).strip() == TEXT
    assert (secure.seen[0].path, secure.seen[0].header("x-goog-api-key")) == (LIVE, "mine")
    (row,) = await serving.rows()
    assert (row.caller, row.dialect, row.kind, row.end) == ("alice", "gemini.live", "realtime", "completed")
    assert (row.input_tokens, row.output_tokens, row.facts["replies"]) == (30, 4, "1")


async def test_gemini_on_the_gateway(serving: Serving, provider: FakeProvider) -> None:
    async with at_gateway(serving, LIVE, additional_headers={"x-goog-api-key": "mine"}) as socket:
        await socket.send('{"setup": {"model": "models/gemini-live-2.5-flash"}}')
        assert await socket.recv() == b'{"setupComplete":{}}'
    assert provider.seen[0].header("x-goog-api-key") == "sk-of-the-gateway"
    (row,) = await serving.rows()
    assert (row.provider, row.dialect, row.end) == ("gemini", "gemini.live", "completed")


# ── what goes where ─────────────────────────────────────────────────────────────────────────────


async def test_a_browsers_key_stays_here(serving: Serving, provider: FakeProvider) -> None:
    protocols = [Subprotocol("realtime"), Subprotocol("openai-insecure-api-key.sk-mine")]
    async with at_gateway(serving, subprotocols=protocols) as socket:
        assert socket.subprotocol == "realtime"
        await until(socket, "session.created")
    (upgrade,) = provider.seen
    assert upgrade.header("sec-websocket-protocol") == "realtime"
    assert upgrade.header("authorization") == "Bearer sk-of-the-gateway"
    assert "sk-mine" not in str(upgrade.headers)
    (row,) = await serving.rows()
    assert row.caller_kind == "key"


async def test_through_the_proxy_all_is_as_the_client_sent_it(serving: Serving, secure: FakeProvider) -> None:
    protocols = [Subprotocol("realtime"), Subprotocol("openai-insecure-api-key.sk-mine")]
    mine = {"openai-beta": "realtime=v1", "cookie": "a=b"}
    async with through_proxy(serving, secure, "alice:x@", subprotocols=protocols, additional_headers=mine) as socket:
        assert socket.subprotocol == "realtime"
        assert socket.response.headers["x-request-id"] == "req_fake0001"
        await until(socket, "session.created")
        await socket.send(CREATE)
        await until(socket, "response.done")
        said: list[str | bytes] = ['{ "type" : "grüezi" }', b"\x00\xff", "x" * 300_000, "no json"]
        for one in said:
            await socket.send(one)
            assert await socket.recv() == one
    upgrade = secure.seen[0]
    assert upgrade.header("sec-websocket-protocol").replace(" ", "") == "realtime,openai-insecure-api-key.sk-mine"
    assert (upgrade.header("openai-beta"), upgrade.header("cookie")) == ("realtime=v1", "a=b")
    assert upgrade.header("authorization") == ""
    assert upgrade.messages == [CREATE, *said]
    (row,) = await serving.rows()
    assert (row.caller, row.end, row.input_tokens, row.model) == ("alice", "completed", 11, MODEL)


@pytest.mark.parametrize(
    ("asked", "target"),
    [
        ("/openai/v1/realtime?model=gpt-realtime&x=1", "/v1/realtime?model=gpt-realtime&x=1"),
        ("/v1/realtime?model=openai/gpt-realtime-mini", "/v1/realtime?model=gpt-realtime-mini"),
        ("/v1/realtime?intent=transcription", "/v1/realtime?intent=transcription"),
        ("/v1/realtime?api-key=mine&model=gpt-realtime", "/v1/realtime?model=gpt-realtime"),
        (
            "/v1/realtime/translations?model=gpt-realtime-translate",
            "/v1/realtime/translations?model=gpt-realtime-translate",
        ),
        (f"/gemini{LIVE}?key=mine", LIVE),
    ],
)
async def test_where_it_goes(serving: Serving, provider: FakeProvider, asked: str, target: str) -> None:
    async with at_gateway(serving, asked):
        pass
    (upgrade,) = provider.seen
    assert upgrade.target == target


# ── who may, and what is refused ────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("choice", ["decline", "pass"])
async def test_a_policys_choice_on_the_gateway(serving: Serving, provider: FakeProvider, choice: str) -> None:
    await use(serving, f"websocket: {choice}")
    with pytest.raises(websockets.InvalidStatus) as raised:
        await at_gateway(serving)
    assert raised.value.response.status_code == 426
    assert not provider.seen


@pytest.mark.parametrize("choice", ["decline", "pass"])
async def test_a_policys_choice_on_the_proxy(serving: Serving, secure: FakeProvider, choice: str) -> None:
    serving.policy("local", f"hosts: ['localhost:{secure.port}']\nextends: observe\nwebsocket: {choice}\n")
    await serving.worker.reload()
    if choice == "pass":
        async with through_proxy(serving, secure) as socket:
            await until(socket, "session.created")
        return
    with pytest.raises(websockets.InvalidStatus) as raised:
        await through_proxy(serving, secure)
    assert raised.value.response.status_code == 426


async def test_a_model_that_nobody_knows_is_refused_before_the_upgrade(
    serving: Serving, provider: FakeProvider
) -> None:
    with pytest.raises(websockets.InvalidStatus) as raised:
        await at_gateway(serving, "/v1/realtime?model=nobody-1")
    response = raised.value.response
    assert (response.status_code, json.loads(response.body or b"")["error"]["code"]) == (404, "model_not_found")
    with pytest.raises(websockets.InvalidStatus) as raised:
        await at_gateway(serving, "/v1/realtime?model=claude-sonnet-4-5")
    assert raised.value.response.status_code == 501
    assert not provider.seen
    assert [row.status for row in await serving.rows(2)] == [404, 501]


@pytest.mark.parametrize("status", [401, 404, 429, 503])
async def test_a_providers_refusal_reaches_the_client(serving: Serving, provider: FakeProvider, status: int) -> None:
    provider.default = Answer(status=status)
    await use(serving, "addons: {retry: off}")
    with pytest.raises(websockets.InvalidStatus) as raised:
        await at_gateway(serving)
    response = raised.value.response
    assert (response.status_code, "error" in json.loads(response.body or b"")) == (status, True)
    (row,) = await serving.rows()
    assert (row.status, row.attempts) == (status, 1)


async def test_an_upgrade_is_tried_again(serving: Serving, provider: FakeProvider) -> None:
    """With every addon that reads calls in the chain: they leave this one alone."""
    others = "translate: on, validate: on, conversation: on, parameters: {defaults: {temperature: 1}}"
    await use(serving, f"addons: {{retry: {{first_wait: 10ms}}, {others}}}")
    provider.script(Answer(status=503))
    async with at_gateway(serving) as socket:
        assert socket.response.headers["x-shin-attempts"] == "2"
        await until(socket, "session.created")
    (row,) = await serving.rows()
    assert (row.end, row.attempts, row.status) == ("completed", 2, 101)


@pytest.fixture
async def guarded(tmp_path: Path, provider: FakeProvider) -> AsyncIterator[Serving]:
    """A gateway with a user, an alias, and a deployment on Azure."""
    more = f"users: {{alice: env:SHIN_TEST_ALICE}}\nmodels: {{voice: {{model: {MODEL}}}}}"
    urls = {"openai": f"{provider.url}/v1", "azure_openai": f"{provider.url}/openai/v1"}
    async with serve(tmp_path / "home", write_config(tmp_path, urls, more), tmp_path / "policies") as one:
        yield one


async def test_users_say_who_they_are(
    guarded: Serving, provider: FakeProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHIN_TEST_ALICE", "secret-of-alice")
    with pytest.raises(websockets.InvalidStatus) as raised:
        await at_gateway(guarded, additional_headers={"authorization": "Bearer wrong"})
    response = raised.value.response
    assert (response.status_code, json.loads(response.body or b"")["error"]["type"]) == (401, "authentication_error")
    assert not provider.seen
    protocols = [Subprotocol("realtime"), Subprotocol("openai-insecure-api-key.secret-of-alice")]
    path = "/v1/realtime?model=azure_openai/voice"
    async with at_gateway(guarded, path, subprotocols=protocols, origin="https://app.example") as socket:
        await socket.ping()
    (upgrade,) = provider.seen
    assert (upgrade.target, upgrade.header("api-key")) == ("/openai/v1/realtime?model=voice", "sk-of-the-gateway")
    refused, row = sorted(await guarded.rows(2), key=lambda row: row.id)
    assert (refused.status, refused.end, row.caller, row.target) == (401, "refused", "alice", "azure_openai/voice")


async def test_an_alias_keeps_its_name(
    guarded: Serving, provider: FakeProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHIN_TEST_ALICE", "secret-of-alice")
    mine = {"authorization": "Bearer secret-of-alice"}
    async with at_gateway(guarded, "/v1/realtime?model=voice", additional_headers=mine) as socket:
        (created,) = await until(socket, "session.created")
        assert created["session"]["model"] == "voice"
        await socket.send(CREATE)
        await until(socket, "response.done")
    assert provider.seen[0].target == f"/v1/realtime?model={MODEL}"
    (row,) = await guarded.rows()
    assert (row.model, row.target, row.cost is not None) == ("voice", f"openai/{MODEL}", True)


async def test_a_provider_that_takes_none_or_is_not_there(serving: Serving, provider: FakeProvider) -> None:
    await use(serving, "addons: {retry: off}")
    provider.script(Answer(status=204))
    with pytest.raises(websockets.InvalidStatus) as raised:
        await at_gateway(serving)
    assert raised.value.response.status_code == 502
    with provider.refusing(), pytest.raises(websockets.InvalidStatus) as raised:
        await at_gateway(serving)
    assert raised.value.response.status_code == 502


async def test_a_page_of_another_site_may_not(serving: Serving, provider: FakeProvider) -> None:
    for path in (f"/v1/realtime?model={MODEL}", "/v1/responses"):
        with pytest.raises(websockets.InvalidStatus) as raised:
            await at_gateway(serving, path, origin="https://evil.example")
        assert raised.value.response.status_code == 403
    async with at_gateway(serving, origin="http://localhost:3000") as socket:
        await until(socket, "session.created")


async def test_what_is_no_upgrade(serving: Serving) -> None:
    asked = {"upgrade": "websocket", "connection": "Upgrade", "sec-websocket-version": "8", "sec-websocket-key": "x"}
    async with httpx2.AsyncClient() as client:
        assert (await client.get(f"{serving.gateway}/v1/realtime?model={MODEL}", headers=asked)).status_code == 426
        assert (await client.get(f"{serving.gateway}/v1/realtime?model={MODEL}")).status_code == 404


# ── how it ends ─────────────────────────────────────────────────────────────────────────────────


async def test_the_clients_closing_goes_on(serving: Serving, provider: FakeProvider) -> None:
    async with at_gateway(serving) as socket:
        await until(socket, "session.created")
        for number in range(50):
            await socket.send(json.dumps({"type": "conversation.item.create", "number": number}))
        await socket.close(3210, "enough")
    await gone(provider.seen[0])
    assert len(provider.seen[0].messages) == 50
    assert provider.seen[0].closed_with == (3210, "enough")
    (row,) = await serving.rows()
    assert (row.end, row.status) == ("completed", 101)


async def test_the_providers_closing_comes_back(serving: Serving, provider: FakeProvider) -> None:
    provider.script(Answer(), Answer(status=4001))
    async with at_gateway(serving) as socket:
        await socket.send(CREATE)
        assert await closed(socket) == (4001, "refused")
    (row,) = await serving.rows()
    assert (row.end, row.cause, row.output_tokens) == ("failed", "upstream_closed_4001", 7)


@pytest.mark.parametrize("how", ["fin", "rst"])
async def test_a_provider_that_breaks_off(serving: Serving, provider: FakeProvider, how: Any) -> None:
    provider.script(Answer(), Answer(stop=Stop(how, after="parts", count=3)))
    async with at_gateway(serving) as socket:
        await socket.send(CREATE)
        events = await until(socket, "error")
        assert events[-1]["error"]["code"] == "upstream_cut"
        code, _ = await closed(socket)
        assert code == 1011
    (row,) = await serving.rows()
    assert (row.end, row.cause) == ("broken", "upstream_cut")


async def test_a_client_that_vanishes(serving: Serving, provider: FakeProvider) -> None:
    provider.script(Answer(), Answer(stop=Stop("hang", after="parts", count=3)))
    async with at_gateway(serving) as socket:
        await socket.send(CREATE)
        await until(socket, "response.created")
        socket.transport.abort()
    await gone(provider.seen[0])
    (row,) = await serving.rows()
    assert (row.status, row.end, row.cause) == (499, "cancelled", "client_left")


async def test_a_client_that_leaves_before_it_is_answered(serving: Serving, provider: FakeProvider) -> None:
    provider.script(Answer(wait_head=30))
    connecting = asyncio.create_task(at_gateway(serving).__aenter__())
    await provider.wait_seen(1)
    connecting.cancel()
    await gone(provider.seen[0])
    (row,) = await serving.rows()
    assert (row.status, row.end) == (499, "cancelled")


async def test_silence_ends_it(serving: Serving, provider: FakeProvider) -> None:
    await use(serving, "timeouts: {socket: 300ms}")
    async with at_gateway(serving) as socket:
        assert (await closed(socket))[0] == 1000
    (row,) = await serving.rows()
    assert (row.end, row.cause) == ("completed", "idle")


async def test_it_does_not_last_for_ever(serving: Serving) -> None:
    await use(serving, "timeouts: {total: 500ms}")
    async with at_gateway(serving) as socket:
        events = await until(socket, "error")
        assert events[-1]["error"]["code"] == "total_timeout"
        assert (await closed(socket))[0] == 1001


async def test_a_shutdown_says_goodbye(serving: Serving) -> None:
    async with at_gateway(serving) as socket:
        await until(socket, "session.created")
        serving.worker.gateway.upstream.cut()
        assert (await until(socket, "error"))[-1]["error"]["code"] == "shutting_down"
        assert (await closed(socket))[0] == 1001


async def test_a_message_has_a_limit(serving: Serving, provider: FakeProvider) -> None:
    await use(serving, "limits: {body: 100kB}")
    async with at_gateway(serving) as socket:
        await socket.send("x" * 90_000)
        with contextlib.suppress(websockets.ConnectionClosed):
            await socket.send("x" * 200_000)
        assert (await closed(socket))[0] == 1009
    assert [len(said) for said in provider.seen[0].messages] == [90_000]
    async with at_gateway(serving) as socket:  # a bomb
        with contextlib.suppress(websockets.ConnectionClosed):
            await socket.send("0" * 20_000_000)
        assert (await closed(socket))[0] == 1009


async def test_pings_go_both_ways(serving: Serving, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(passage, "PING", 0.05)
    monkeypatch.setattr(passage, "GONE", 0.4)
    async with at_gateway(serving) as socket:
        async with asyncio.timeout(20):
            await (await socket.ping())
        await asyncio.sleep(0.6)
        await socket.send("still here")
        await until_text(socket, "still here")
        socket.transport.pause_reading()  # pings are not answered any more
        (row,) = await serving.rows()
        assert (row.end, row.cause) == ("cancelled", "client_left")
        socket.transport.abort()


async def until_text(socket: ClientConnection, text: str) -> None:
    async with asyncio.timeout(20):
        while await socket.recv() != text:
            pass


# ── how much ────────────────────────────────────────────────────────────────────────────────────


async def test_each_reply_is_added_up(serving: Serving, provider: FakeProvider) -> None:
    tokens = Tokens(input=100, output=10, cached=40)
    provider.script(Answer(), Answer(tokens=tokens), Answer(tokens=tokens))
    async with at_gateway(serving) as socket:
        for _ in range(2):
            await socket.send(CREATE)
            await until(socket, "response.done")
        await socket.send('{"type":"input_audio_buffer.commit"}')
        await until(socket, "conversation.item.input_audio_transcription.completed")
    (row,) = await serving.rows()
    assert (row.input_tokens, row.output_tokens, row.cached_tokens) == (220, 22, 80)
    assert row.facts["replies"] == "2"
    rates = (Decimal(60) * 4 + Decimal(40) * Decimal("0.4") + Decimal(10) * 16) * 2
    assert row.cost is not None
    assert row.cost > rates / 1_000_000, "the transcription costs too"


async def test_a_client_that_reads_slowly_slows_the_provider(serving: Serving, provider: FakeProvider) -> None:
    provider.script(Answer(), Answer(text=" ".join(["x" * 2000] * 12_000)))
    async with at_gateway(serving, compression=None, max_queue=1) as socket:
        await socket.send(CREATE)
        await provider.wait_seen(2)
        upgrade, before = provider.seen[0], -1
        while upgrade.sent > before:
            before = upgrade.sent
            await asyncio.sleep(0.5)
        assert upgrade.sent < 20_000_000
        socket.transport.abort()


async def test_a_provider_that_reads_slowly_slows_the_client(
    serving: Serving, provider: FakeProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(passage, "PING", 1.0)  # while it is not read, a client's end is noticed by a ping
    async with at_gateway(serving, compression=None) as socket:
        await until(socket, "session.created")
        for peer in provider._peers:
            peer._transport().pause_reading()
        sent = 0

        async def flood() -> None:
            nonlocal sent
            while True:
                await socket.send("x" * 100_000)
                sent += 100_000

        flooding = asyncio.create_task(flood())
        before = -1
        while sent > before:
            before = sent
            await asyncio.sleep(0.5)
        assert sent < 30_000_000
        flooding.cancel()
        socket.transport.abort()
    (row,) = await serving.rows()
    assert row.end == "cancelled"


async def test_a_client_that_is_faster_than_we_are_is_slowed_too(serving: Serving, provider: FakeProvider) -> None:
    """It fills mitmproxy's own buffer, so that asyncio stops the reading, and would go on with it by itself."""
    sent, begun, paused = 0, asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    def flood(url: str) -> None:
        nonlocal sent
        with connect(url, proxy=None, compression=None) as socket, contextlib.suppress(ConnectionClosed):
            socket.recv()
            loop.call_soon_threadsafe(begun.set)
            paused.wait(10)
            while sent < 200_000_000:
                socket.send("x" * 100_000)
                sent += 100_000

    url = serving.gateway.replace("http:", "ws:") + f"/v1/realtime?model={MODEL}"
    flooding = asyncio.create_task(asyncio.to_thread(flood, url))
    await begun.wait()
    for peer in provider._peers:
        peer._transport().pause_reading()
    paused.set()
    before = -1
    while sent > before or not sent:
        before = sent
        await asyncio.sleep(0.5)
    provider.drop_all()
    await flooding
    assert before < 30_000_000


async def test_nothing_is_left(serving: Serving, secure: FakeProvider, provider: FakeProvider) -> None:
    async def one(number: int) -> None:
        async with through_proxy(serving, secure) if number % 2 else at_gateway(serving) as socket:
            await socket.send(CREATE)
            if number % 3:
                await until(socket, "response.done")
            if number % 5 == 0:
                socket.transport.abort()

    def ours() -> list[str]:
        names = [str(task.get_coro()) for task in asyncio.all_tasks()]
        return [name for name in names if any(one in name for one in ("Passage", "shin_socket", "ConnectionHandler"))]

    await asyncio.gather(*(one(number) for number in range(20)))
    connections, gateway = serving.master.addons.get("proxyserver").connections, serving.worker.gateway
    async with asyncio.timeout(20):
        while connections or ours() or gateway.upstream._exchanges or any(one.busy for one in gateway._live.values()):
            await asyncio.sleep(0.05)
    assert not serving.master.addons.get("shin")._sockets._open
    await asyncio.gather(*(gone(seen) for seen in (*secure.seen, *provider.seen) if seen.method == "GET"))
    assert len(await serving.rows(20)) == 20
