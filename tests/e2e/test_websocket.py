"""Calls over a WebSocket: each frame takes the chain, on the gateway and through the proxy."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import ssl
import tracemalloc
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
import websockets
from openai import AsyncOpenAI
from websockets.asyncio.client import ClientConnection

from shin_gateway.stores.rows import CallRow
from tests.addons.conftest import EXAMPLES
from tests.e2e.serving import Serving, serve, write_config
from tests.provider import Answer, FakeProvider, Seen, Stop, Tokens, ToolCall

TEXT = "Hello from the fake provider."
ENDS = ("response.completed", "response.failed", "response.incomplete", "error")


def item(text: str) -> dict[str, Any]:
    return {"type": "message", "role": "user", "content": [{"type": "input_text", "text": text}]}


def create(text: str = "say hello", **more: Any) -> str:
    return json.dumps({"type": "response.create", "model": "gpt-4o", "input": [item(text)], **more})


def at_gateway(serving: Serving, path: str = "/v1/responses", **more: Any) -> Any:
    more = {"max_size": None, "ping_interval": None, **more}
    return websockets.connect(serving.gateway.replace("http:", "ws:") + path, proxy=None, **more)


def through_proxy(serving: Serving, secure: FakeProvider, login: str = "", **more: Any) -> Any:
    context = ssl.create_default_context(cafile=str(serving.ca))
    url = f"wss://localhost:{secure.port}/v1/responses"
    return websockets.connect(url, proxy=serving.proxy(login), ssl=context, max_size=None, **more)


async def reply_of(socket: ClientConnection) -> list[dict[str, Any]]:
    """Events up to the one that ends the reply."""
    events: list[dict[str, Any]] = []
    async with asyncio.timeout(20):
        while not events or events[-1]["type"] not in ENDS:
            events.append(json.loads(await socket.recv()))
    return events


async def ask(socket: ClientConnection, frame: str | bytes) -> dict[str, Any]:
    """The event that ends the reply."""
    await socket.send(frame)
    return (await reply_of(socket))[-1]


async def closed(socket: ClientConnection) -> int:
    """The code with which we closed."""
    async with asyncio.timeout(20):
        with contextlib.suppress(websockets.ConnectionClosed):
            async for _ in socket:
                pass
    assert socket.close_code is not None
    return socket.close_code


async def in_order(serving: Serving, count: int) -> list[CallRow]:
    """Rows by their calls' beginning: one whose tokens had to be counted is written later."""
    return sorted(await serving.rows(count), key=lambda row: row.id)


def posts(provider: FakeProvider) -> list[Seen]:
    return [seen for seen in provider.seen if seen.method == "POST"]


def sent(provider: FakeProvider) -> list[Seen]:
    """Frames that reached the provider as such."""
    return [seen for seen in provider.seen if seen.method == "WEBSOCKET"]


# ── on the gateway: HTTPS goes on ───────────────────────────────────────────────────────────────


async def test_a_call_on_the_gateway(serving: Serving, provider: FakeProvider) -> None:
    mine = {"authorization": "Bearer sk-mine", "openai-beta": "responses_websockets=2026-02-06, other=v1"}
    async with at_gateway(serving, additional_headers=mine) as socket:
        await socket.send(create(metadata={"a": "b"}))
        events = await reply_of(socket)
    assert events[0]["type"] == "response.created"
    assert events[-1]["response"]["output"][0]["content"][0]["text"] == TEXT
    (seen,) = provider.seen
    assert (seen.method, seen.target) == ("POST", "/v1/responses")
    assert seen.header("authorization") == "Bearer sk-of-the-gateway"
    assert (seen.header("openai-beta"), seen.header("accept")) == ("other=v1", "text/event-stream")
    assert not [name for name in seen.header_names() if name.lower().startswith(("sec-", "upgrade"))]
    assert seen.json() == {"model": "gpt-4o", "input": [item("say hello")], "metadata": {"a": "b"}, "stream": True}
    (row,) = await serving.rows()
    assert (row.host, row.dialect, row.kind, row.model) == ("gateway", "openai.responses", "respond", "gpt-4o")
    assert (row.status, row.end, row.stream, row.output_tokens) == (200, "completed", True, 7)
    assert (row.caller_kind, row.facts["carrier"]) == ("key", "websocket")


async def test_a_later_call_says_the_whole_context(serving: Serving, provider: FakeProvider) -> None:
    async with at_gateway(serving) as socket:
        first = await ask(socket, create("one", store=False))
        second = await ask(socket, create("two", previous_response_id=first["response"]["id"]))
        await ask(socket, json.dumps({"type": "response.create", "model": "gpt-4o", "input": "three",
                                      "previous_response_id": second["response"]["id"]}))  # fmt: skip
    said, *_ = first["response"]["output"]
    assert provider.seen[1].json()["input"] == [item("one"), said, item("two")]
    last = provider.seen[2].json()
    assert last["input"] == [
        item("one"),
        said,
        item("two"),
        said,
        {"type": "message", "role": "user", "content": "three"},
    ]
    assert "previous_response_id" not in last


async def test_a_reply_that_was_made_elsewhere_is_the_providers(serving: Serving, provider: FakeProvider) -> None:
    async with at_gateway(serving) as socket:
        await ask(socket, create("two", previous_response_id="resp_elsewhere"))
    assert provider.seen[0].json()["previous_response_id"] == "resp_elsewhere"
    assert provider.seen[0].json()["input"] == [item("two")]


async def test_a_prewarm_costs_nothing(serving: Serving, provider: FakeProvider) -> None:
    async with at_gateway(serving) as socket:
        warm = await ask(socket, create("context", generate=False))
        assert (warm["type"], warm["response"]["output"]) == ("response.completed", [])
        assert warm["response"]["usage"]["total_tokens"] == 0
        await ask(socket, create("say it", previous_response_id=warm["response"]["id"]))
    (seen,) = provider.seen
    assert seen.json()["input"] == [item("context"), item("say it")]
    assert len(await serving.rows()) == 1


async def test_lanes_run_at_once_and_each_in_its_order(serving: Serving, provider: FakeProvider) -> None:
    gate = asyncio.Semaphore(0)
    provider.script(Answer(gate=gate))
    async with at_gateway(serving) as socket:
        await socket.send(create("slow", stream_id="a"))
        await provider.wait_seen(1)
        await socket.send(create("waits", stream_id="a"))
        await socket.send(create("fast", stream_id="b"))
        fast = await reply_of(socket)
        assert {event["stream_id"] for event in fast} == {"b"}
        assert [seen.json()["input"][0]["content"][0]["text"] for seen in provider.seen] == ["slow", "fast"]
        for _ in range(40):
            gate.release()
        slow, waits = await reply_of(socket), await reply_of(socket)
    assert {event["stream_id"] for event in slow + waits} == {"a"}
    assert len(provider.seen) == 3


# ── any model ───────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
async def translating(serving: Serving) -> Serving:
    serving.policy("gateway", "hosts: [gateway]\nextends: observe\naddons: {translate: on}\n")
    await serving.worker.reload()
    return serving


@pytest.mark.parametrize("model", ["claude-sonnet-4-5", "gemini-2.5-pro"])
async def test_a_model_of_another_dialect(translating: Serving, provider: FakeProvider, model: str) -> None:
    provider.script(Answer(tools=(ToolCall("weather", {"city": "Zürich"}),)), Answer(tokens=Tokens(input=9, output=5)))
    tool = {"type": "function", "name": "weather", "parameters": {"type": "object", "properties": {}}}
    async with at_gateway(translating) as socket:
        warm = await ask(socket, create("context", model=model, generate=False, tools=[tool]))
        first = await ask(socket, create("ask", model=model, tools=[tool], previous_response_id=warm["response"]["id"]))
        (call,) = [one for one in first["response"]["output"] if one["type"] == "function_call"]
        assert (call["name"], json.loads(call["arguments"])) == ("weather", {"city": "Zürich"})
        result = [{"type": "function_call_output", "call_id": call["call_id"], "output": "sunny"}]
        await socket.send(create(model=model, input=result, previous_response_id=first["response"]["id"]))
        events = await reply_of(socket)
    assert (events[0]["type"], events[-1]["response"]["model"]) == ("response.created", model)
    assert events[-1]["response"]["output"][0]["content"][0]["text"] == TEXT
    body = json.dumps(provider.seen[-1].json(), ensure_ascii=False)
    assert all(said in body for said in ("context", "ask", "sunny", "Zürich"))
    assert "previous_response_id" not in body
    first_row, row = await in_order(translating, 2)
    assert (row.model, row.dialect, row.input_tokens, row.output_tokens) == (model, "openai.responses", 9, 5)
    assert (row.facts["carrier"], first_row.end, row.end) == ("websocket", "completed", "completed")


@pytest.mark.parametrize("status", [429, 529, 400])
async def test_an_error_of_another_dialect(translating: Serving, provider: FakeProvider, status: int) -> None:
    provider.script(Answer(status=status), Answer(stop=Stop("fin", after="parts", count=3)))
    async with at_gateway(translating) as socket:
        error = await ask(socket, create(model="claude-sonnet-4-5"))
        assert (error["type"], error["status"]) == ("error", status)
        assert error["error"]["message"]
        assert (await ask(socket, create(model="claude-sonnet-4-5")))["type"] in ("response.failed", "error")
        assert (await ask(socket, create(model="claude-sonnet-4-5")))["type"] == "response.completed"


# ── on the gateway: a provider that is asked over a WebSocket ───────────────────────────────────


@pytest.fixture
async def sockets_up(tmp_path: Path, provider: FakeProvider) -> AsyncIterator[Serving]:
    urls = {"anthropic": provider.url}
    row = f"  openai: {{base_url: '{provider.url}/v1', api_key: env:SHIN_TEST_KEY, websocket: true}}"
    config = write_config(tmp_path, urls, row)
    policies = tmp_path / "policies"
    policies.mkdir()
    (policies / "gateway.yaml").write_text("hosts: [gateway]\nextends: observe\naddons: {translate: on}\n")
    async with serve(tmp_path / "home", config, policies) as one:
        yield one


async def test_the_gateways_own_websocket(sockets_up: Serving, provider: FakeProvider) -> None:
    async with at_gateway(sockets_up, additional_headers={"authorization": "Bearer mine", "cookie": "a=b"}) as socket:
        warm = await ask(socket, create("context", generate=False))
        first = await ask(socket, create("one", previous_response_id=warm["response"]["id"]))
        frame = create("two", previous_response_id=first["response"]["id"])
        second = await ask(socket, frame)
        other = await ask(
            socket, create("three", model="claude-sonnet-4-5", previous_response_id=second["response"]["id"])
        )
        back = await ask(socket, create("four", model="openai/gpt-4o", previous_response_id=other["response"]["id"]))
    assert {one["type"] for one in (first, second, other, back)} == {"response.completed"}
    upgrade, *frames = [seen for seen in provider.seen if seen.method != "POST"]
    assert (upgrade.header("authorization"), upgrade.header("cookie")) == ("Bearer sk-of-the-gateway", "")
    assert {seen.method for seen in frames} == {"WEBSOCKET"}
    assert [len(json.loads(seen.body)["input"]) for seen in frames] == [2, 1, 8]
    assert frames[1].body.decode() == frame
    assert json.loads(frames[2].body)["model"] == "gpt-4o"
    (post,) = posts(provider)
    assert post.path == "/v1/messages"
    assert [row.end for row in await sockets_up.rows(4)] == ["completed"] * 4


async def test_a_provider_that_takes_no_websocket_from_the_gateway(sockets_up: Serving, provider: FakeProvider) -> None:
    provider.rule = lambda seen: Answer(status=404) if seen.method == "GET" else None
    for _ in range(2):
        async with at_gateway(sockets_up) as socket:
            assert (await ask(socket, create()))["type"] == "response.completed"
    assert [seen.method for seen in provider.seen] == ["GET", "POST", "POST"]


# ── what is no call ─────────────────────────────────────────────────────────────────────────────

WRONG: list[tuple[str | bytes, str]] = [
    ("{", "invalid_json"), ("[]", "invalid_request"), ("null", "invalid_request"), ("", "invalid_json"),
    ('{"type":"session.update"}', "unknown_event_type"), ('{"type":7}', "unknown_event_type"),
    ('{"model":"m"}', "unknown_event_type"), ("[" * 100_000, "invalid_request"),
    ('{"a":' * 100_000, "invalid_json"), (b"\x00\x01", "invalid_request"),
    ('{"type":"response.create","stream_id":""}', "invalid_stream_id"),
    ('{"type":"response.create","stream_id":7}', "invalid_stream_id"),
    ('{"type":"response.create","previous_response_id":[]}', "invalid_request"),
    ('{"type":"response.create","input":7,"previous_response_id":"x","client_metadata":9}', "invalid_request"),
    ('{"type":"response.create","model":7}', "invalid_request"), ('{"type":"response.create"}', "invalid_request"),
]  # fmt: skip


async def test_a_frame_that_is_no_call_gets_an_error(serving: Serving, provider: FakeProvider) -> None:
    async with at_gateway(serving) as socket:
        for frame, code in WRONG:
            error = await ask(socket, frame)
            assert (error["type"], error["status"], error["error"]["code"]) == ("error", 400, code), frame[:80]
        assert (await ask(socket, create()))["type"] == "response.completed"
    assert len(provider.seen) == 1


async def test_steering_is_not_taken(serving: Serving) -> None:
    async with at_gateway(serving) as socket:
        await socket.send('{"type":"response.steer","previous_response_id":"resp_1","input":"stop"}')
        failed = json.loads(await socket.recv())
    assert (failed["type"], failed["steer"]["input"]) == ("response.steer.failed", "stop")


async def test_what_is_no_utf8_ends_the_connection(serving: Serving) -> None:
    async with at_gateway(serving) as socket:
        await socket.send(b'{"type":"\xff"}', text=True)
        assert await closed(socket) == 1007


@pytest.mark.parametrize("compression", ["deflate", None])
async def test_a_message_has_a_limit(serving: Serving, provider: FakeProvider, compression: str | None) -> None:
    serving.policy("gateway", "hosts: [gateway]\nextends: observe\nlimits: {body: 100kB}\n")
    await serving.worker.reload()
    async with at_gateway(serving, compression=compression) as socket:
        assert (await ask(socket, create("x" * 90_000)))["type"] == "response.completed"
        await socket.send([create("x" * 60_000), "y" * 60_000])  # in two frames
        assert await closed(socket) == 1009
    assert len(provider.seen) == 1


async def test_a_context_has_the_same_limit(serving: Serving) -> None:
    serving.policy("gateway", "hosts: [gateway]\nextends: observe\nlimits: {body: 100kB}\n")
    await serving.worker.reload()
    async with at_gateway(serving) as socket:
        first = await ask(socket, create("x" * 60_000))
        error = await ask(socket, create("x" * 60_000, previous_response_id=first["response"]["id"]))
        assert (error["status"], error["error"]["code"]) == (413, "too_large")
        other = await ask(socket, create("z" * 60_000))
        error = await ask(socket, create("two", previous_response_id=first["response"]["id"]))
        assert other["type"] == "response.completed"


@pytest.mark.parametrize("path", ["/v1/responses", "/openai/v1/responses"])
async def test_compression_is_agreed_on(serving: Serving, path: str) -> None:
    async with at_gateway(serving, path) as socket:
        assert "permessage-deflate" in socket.response.headers["sec-websocket-extensions"]
        model = "gpt-4o" if path == "/v1/responses" else "whatever"
        for _ in range(3):
            assert (await ask(socket, create("grüezi " * 20_000, model=model)))["type"] == "response.completed"


MASK = bytes(4)
NONSENSE = {
    "unmasked": b"\x81\x02{}",
    "a reserved bit": b"\xf1\x82" + MASK + b"{}",
    "an unknown opcode": b"\x83\x82" + MASK + b"{}",
    "a continuation of nothing": b"\x80\x82" + MASK + b"{}",
    "two beginnings": (b"\x01\x82" + MASK + b"{}") * 2,
    "a ping in pieces": b"\x09\x82" + MASK + b"{}",
    "a long ping": b"\x89\xfe\x01\x00" + MASK + bytes(256),
    "a close of one byte": b"\x88\x81" + MASK + b"x",
    "a length without end": b"\x81\xff" + b"\xff" * 8 + MASK,
    "broken compression": b"\xc1\x82" + MASK + b"\xff\xff",
    "HTTP": b"GET / HTTP/1.1\r\nhost: x\r\n\r\n",
}


@pytest.mark.parametrize("path", ["/v1/responses", "/v1/realtime?model=gpt-realtime"])
async def test_what_is_no_websocket_ends_the_connection(
    serving: Serving, path: str, caplog: pytest.LogCaptureFixture
) -> None:
    host, _, port = serving.gateway.removeprefix("http://").partition(":")
    for what, sent in NONSENSE.items():
        reader, writer = await asyncio.open_connection(host, int(port))
        head = f"GET {path} HTTP/1.1\r\nhost: x\r\nupgrade: websocket\r\nconnection: Upgrade\r\n"
        head += "sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
        writer.write(f"{head}sec-websocket-extensions: permessage-deflate\r\n\r\n".encode())
        async with asyncio.timeout(20):
            assert b" 101 " in await reader.readuntil(b"\r\n\r\n")
            writer.write(sent)
            rest = await reader.read()
        assert rest, what
        writer.close()
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


@pytest.mark.parametrize("pieces", [1, 50])
async def test_a_bomb_is_not_inflated(serving: Serving, pieces: int) -> None:
    serving.policy("gateway", "hosts: [gateway]\nextends: observe\nlimits: {body: 100kB}\n")
    await serving.worker.reload()
    message = '{"type":"response.create","input":"' + "0" * 20_000_000 + '"}'
    step = len(message) // pieces
    async with at_gateway(serving) as socket:
        tracemalloc.start()
        with contextlib.suppress(websockets.ConnectionClosed):
            await socket.send([message[at : at + step] for at in range(0, len(message), step)])
        assert await closed(socket) == 1009
        tracemalloc.stop()


async def test_nothing_is_left(serving: Serving, secure: FakeProvider, provider: FakeProvider) -> None:
    async def one(number: int) -> None:
        where = through_proxy(serving, secure) if number % 2 else at_gateway(serving)
        async with where as socket:
            assert (await ask(socket, create()))["type"] == "response.completed"
            if number % 3 == 0:
                await socket.send(create(stream_id="b"))
            if number % 5 == 0:
                socket.transport.abort()

    def ours() -> list[str]:
        names = [str(task.get_coro()) for task in asyncio.all_tasks()]
        return [name for name in names if "Carriage" in name or "shin_socket" in name or "ConnectionHandler" in name]

    await asyncio.gather(*(one(number) for number in range(20)))
    connections, gateway = serving.master.addons.get("proxyserver").connections, serving.worker.gateway
    async with asyncio.timeout(20):
        while connections or ours() or gateway.upstream._exchanges or any(one.busy for one in gateway._live.values()):
            await asyncio.sleep(0.05)
    assert not [seen for seen in secure.seen if seen.method == "GET" and not seen.left.done()]


async def test_pings_are_answered(serving: Serving) -> None:
    async with at_gateway(serving) as socket:
        async with asyncio.timeout(20):
            await (await socket.ping())


# ── what goes wrong further on ──────────────────────────────────────────────────────────────────


async def test_errors_keep_their_status_and_the_connection(serving: Serving, provider: FakeProvider) -> None:
    serving.policy("gateway", "hosts: [gateway]\nextends: observe\n")
    await serving.worker.reload()
    page = Answer(status=502, body=b"<html>bad</html>", body_type="text/html")
    provider.script(
        Answer(status=429, headers=(("retry-after", "7"),)), page, Answer(body=b"<html>", body_type="text/html")
    )
    async with at_gateway(serving) as socket:
        limited = await ask(socket, create())
        assert (limited["status"], limited["headers"]["retry-after"]) == (429, "7")
        assert limited["error"]["message"]
        bad = await ask(socket, create())
        assert (bad["status"], bad["error"]["message"]) == (502, "The upstream refused the call.")
        assert (await ask(socket, create()))["error"]["code"] == "upstream_nonsense"
        assert (await ask(socket, create(model="nobody-1")))["status"] == 404
        assert (await ask(socket, create()))["type"] == "response.completed"


@pytest.mark.parametrize("how", ["fin", "rst", "end"])
async def test_a_stream_that_breaks_off_ends_once(serving: Serving, provider: FakeProvider, how: Any) -> None:
    provider.script(Answer(stop=Stop(how, after="parts", count=5)))
    async with at_gateway(serving) as socket:
        await socket.send(create())
        events = await reply_of(socket)
        assert events[-1]["type"] == "response.failed"
        await socket.send(create())
        assert (await reply_of(socket))[0]["type"] == "response.created"
    broken, good = await in_order(serving, 2)
    assert (broken.end, good.end) == ("broken", "completed")


async def test_an_error_within_a_stream_is_one_frame(serving: Serving, provider: FakeProvider) -> None:
    provider.script(Answer(error_after=1))
    async with at_gateway(serving) as socket:
        error = await ask(socket, create())
        assert (error["type"], error["error"]["code"]) == ("error", "server_error")
        assert (await ask(socket, create()))["type"] == "response.completed"


async def test_a_whole_reply_comes_as_events(serving: Serving, provider: FakeProvider) -> None:
    output = [{"id": "msg_1", "type": "message", "role": "assistant", "content": []}]
    body = {"id": "resp_1", "object": "response", "status": "completed", "output": output, "model": "gpt-4o"}
    provider.script(Answer(body=json.dumps(body).encode()))
    async with at_gateway(serving) as socket:
        await socket.send(create())
        events = await reply_of(socket)
    assert [event["type"] for event in events] == [
        "response.created", "response.output_item.added", "response.output_item.done", "response.completed",
    ]  # fmt: skip
    assert events[-1]["response"] == body


async def test_a_client_that_leaves_cancels_its_calls(serving: Serving, provider: FakeProvider) -> None:
    provider.script(Answer(wait_head=60), Answer(stop=Stop("hang", after="parts", count=3)))
    async with at_gateway(serving) as socket:
        await socket.send(create(stream_id="a"))
        await provider.wait_seen(1)
        await socket.send(create(stream_id="b"))
        await provider.wait_seen(2)
    async with asyncio.timeout(20):
        await asyncio.gather(*(seen.left for seen in provider.seen))
    rows = await serving.rows(2)
    assert {(row.status, row.end, row.cause) for row in rows} == {(499, "cancelled", "client_left")}


async def test_a_client_that_reads_slowly_slows_the_upstream(serving: Serving, provider: FakeProvider) -> None:
    provider.script(Answer(text="x" * 15_000_000, pieces=15_000))
    async with at_gateway(serving, compression=None, max_queue=1) as socket:
        await socket.send(create())
        (seen,) = await provider.wait_seen(1)
        before = -1
        while seen.sent > before:
            before = seen.sent
            await asyncio.sleep(0.5)
        assert seen.sent < 30_000_000
        socket.transport.abort()


async def test_a_refusal_is_an_error_frame(serving: Serving, provider: FakeProvider) -> None:
    serving.policy("gateway", "hosts: [gateway]\nextends: observe\nwebsocket: decline\n")
    await serving.worker.reload()
    with pytest.raises(websockets.InvalidStatus) as raised:
        await at_gateway(serving)
    assert raised.value.response.status_code == 426
    assert not provider.seen


async def test_a_policy_that_stops_carrying_ends_the_connection(serving: Serving, provider: FakeProvider) -> None:
    async with at_gateway(serving) as socket:
        await ask(socket, create())
        serving.policy("gateway", "hosts: [gateway]\nextends: observe\nwebsocket: decline\n")
        await serving.worker.reload()
        await socket.send(create())
        assert await closed(socket) == 1012
    assert len(provider.seen) == 1


async def test_draining_ends_calls_and_then_the_connection(serving: Serving, provider: FakeProvider) -> None:
    gate = asyncio.Semaphore(0)
    provider.script(Answer(gate=gate))
    async with at_gateway(serving) as socket:
        await socket.send(create())
        await provider.wait_seen(1)
        draining = asyncio.create_task(serving.worker.gateway.drain())
        await asyncio.sleep(0.1)
        assert not draining.done()
        for _ in range(40):
            gate.release()
        assert (await reply_of(socket))[-1]["type"] == "response.completed"
        assert await closed(socket) == 1012
        await draining


async def test_a_shutdown_says_goodbye(serving: Serving) -> None:
    async with at_gateway(serving) as socket:
        await ask(socket, create())
        serving.master.shutdown()
        assert await closed(socket) == 1001


@pytest.mark.parametrize(
    "headers", [{"sec-websocket-version": "8"}, {"sec-websocket-key": ""}, {"sec-websocket-version": ""}]
)
async def test_an_upgrade_that_is_none_is_declined(serving: Serving, headers: dict[str, str]) -> None:
    asked = {"upgrade": "websocket", "connection": "Upgrade", "sec-websocket-version": "13", "sec-websocket-key": "x"}
    async with httpx2.AsyncClient() as client:
        reply = await client.get(f"{serving.gateway}/v1/responses", headers={**asked, **headers})
    assert reply.status_code == 426


async def test_the_openai_sdk(serving: Serving) -> None:
    client = AsyncOpenAI(api_key="sk-x", base_url=f"{serving.gateway}/v1")
    async with client.responses.connect() as connection:
        await connection.response.create(model="gpt-4o", input="say hello", stream_id="main")
        texts = []
        async for event in connection:
            if event.type == "response.output_text.delta":
                texts.append(event.delta)
            elif event.type == "response.completed":
                assert event.response.output_text == "".join(texts) == TEXT
                assert event.stream_id == "main"
                break
        await connection.response.create(model="nobody-1", input="say hello")
        error: Any = await connection.recv()
        assert (error.type, error.error.code) == ("error", "model_not_found")
    await client.close()


# ── through the proxy: a WebSocket goes on ──────────────────────────────────────────────────────


async def test_frames_go_untouched_to_the_same_provider(serving: Serving, secure: FakeProvider) -> None:
    mine = {"authorization": "Bearer sk-mine", "openai-beta": "responses_websockets=2026-02-06"}
    async with through_proxy(serving, secure, "alice:x@", additional_headers=mine) as socket:
        warm_frame = create("context", generate=False)
        warm = await ask(socket, warm_frame)
        frame = create("one", previous_response_id=warm["response"]["id"], stream_id="main")
        first = await ask(socket, create("one", previous_response_id=warm["response"]["id"]))
        second_frame = create("two", previous_response_id=first["response"]["id"])
        second = await ask(socket, second_frame)
        forked = await ask(socket, frame)  # another lane has another connection, on which nothing came before
    assert (first["type"], second["type"], forked["stream_id"]) == ("response.completed", "response.completed", "main")
    upgrade, *_ = secure.seen
    assert (upgrade.method, upgrade.header("authorization")) == ("GET", "Bearer sk-mine")
    assert upgrade.header("openai-beta") == "responses_websockets=2026-02-06"
    frames = [seen.body.decode() for seen in sent(secure)]
    assert (frames[0], frames[2]) == (warm_frame, second_frame)
    assert json.loads(frames[3])["input"] == [item("context"), item("one")]
    assert not posts(secure)
    rows = await in_order(serving, 4)
    assert [row.facts.get("prewarm") for row in rows] == ["true", None, None, None]
    assert [(row.caller, row.status, row.end, row.output_tokens) for row in rows][1:] == [
        ("alice", 200, "completed", 7)
    ] * 3
    assert rows[2].call_bytes > len(second_frame), "addons see the whole context"


@pytest.mark.parametrize("status", [426, 404, 401, 503])
async def test_a_provider_without_websockets_is_asked_over_https(
    serving: Serving, secure: FakeProvider, status: int
) -> None:
    secure.rule = lambda seen: Answer(status=status) if seen.method == "GET" else None
    async with through_proxy(serving, secure) as socket:
        warm = await ask(socket, create("context", generate=False))
        assert warm["type"] == "response.completed"
        reply = await ask(socket, create("one", previous_response_id=warm["response"]["id"]))
    assert reply["response"]["output"][0]["content"][0]["text"] == TEXT
    (seen,) = posts(secure)
    assert seen.json()["input"] == [item("context"), item("one")]
    assert len([seen for seen in secure.seen if seen.method == "GET"]) == (1 if status in (426, 404) else 2)


async def test_errors_of_the_upstreams_socket(serving: Serving, secure: FakeProvider) -> None:
    secure.script(Answer(), Answer(status=429), Answer())
    async with through_proxy(serving, secure) as socket:
        limited = await ask(socket, create())
        assert (limited["status"], limited["headers"]["x-fake"]) == (429, "told")
        assert (await ask(socket, create()))["type"] == "response.completed"
        missing = await ask(socket, create(previous_response_id="resp_other"))
        assert missing["error"]["code"] == "previous_response_not_found"
    failed, *_ = await in_order(serving, 3)
    assert (failed.status, failed.attempts) == (429, 1)


@pytest.mark.parametrize("how", ["fin", "rst"])
async def test_an_upstream_that_goes_is_met_again(serving: Serving, secure: FakeProvider, how: Any) -> None:
    secure.script(Answer(), Answer(), Answer(stop=Stop(how, after="parts", count=4)))
    async with through_proxy(serving, secure) as socket:
        first = await ask(socket, create("one"))
        assert (await ask(socket, create("two")))["type"] == "response.failed"
        again = await ask(socket, create("three", previous_response_id=first["response"]["id"]))
        assert again["type"] == "response.completed"
    assert len([seen for seen in secure.seen if seen.method == "GET"]) == 2
    assert json.loads(sent(secure)[-1].body)["input"][0] == item("one")
    assert [row.end for row in await in_order(serving, 3)] == ["completed", "broken", "completed"]


async def test_a_client_that_leaves_closes_the_upstreams_socket(serving: Serving, secure: FakeProvider) -> None:
    secure.script(Answer(), Answer(stop=Stop("hang", after="parts", count=3)))
    async with through_proxy(serving, secure) as socket:
        await socket.send(create())
        await secure.wait_seen(2)
        await socket.recv()
    async with asyncio.timeout(20):
        await secure.seen[0].left
    (row,) = await serving.rows()
    assert (row.status, row.end) == (499, "cancelled")


async def test_a_silent_upstream_is_given_up(serving: Serving, secure: FakeProvider) -> None:
    serving.policy("local", f"hosts: ['localhost:{secure.port}']\nextends: observe\ntimeouts: {{first_part: 200ms}}\n")
    await serving.worker.reload()
    secure.script(Answer(), Answer(stop=Stop("hang", after="call")))
    async with through_proxy(serving, secure) as socket:
        error = await ask(socket, create())
        assert (error["status"], error["error"]["code"]) == (504, "first_part_timeout")


# ── addons ──────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
async def swapping(tmp_path: Path, provider: FakeProvider, secure: FakeProvider) -> AsyncIterator[Serving]:
    config = write_config(tmp_path, {"openai": f"{provider.url}/v1"}, f"upstream: {{ca: {str(secure.ca_file)!r}}}")
    policies = tmp_path / "policies"
    policies.mkdir()
    addons = "extends: observe\naddons: {swap_words: {words: {Falcon: Sparrow}}}\n"
    (policies / "local.yaml").write_text(f"hosts: ['localhost:{secure.port}']\n{addons}")
    (policies / "gateway.yaml").write_text(f"hosts: [gateway]\n{addons}")
    async with serve(tmp_path / "home", config, policies, addons=[EXAMPLES]) as one:
        yield one


@pytest.mark.parametrize("proxied", [True, False])
async def test_addons_see_and_change_the_whole_context(
    swapping: Serving, provider: FakeProvider, secure: FakeProvider, proxied: bool
) -> None:
    upstream = secure if proxied else provider
    upstream.default = Answer(echo=True)
    async with through_proxy(swapping, secure) if proxied else at_gateway(swapping) as socket:
        first = await ask(socket, create("the Falcon flies"))
        assert first["response"]["output"][0]["content"][0]["text"] == "the Falcon flies"
        await ask(socket, create("what flies?", previous_response_id=first["response"]["id"]))
    bodies = [seen.body.decode() for seen in upstream.seen if seen.method != "GET"]
    assert len(bodies) == 2
    assert not [body for body in bodies if "Falcon" in body]
    second = json.loads(bodies[1])
    assert "previous_response_id" not in second
    assert [one["content"][0]["text"] for one in second["input"]] == [
        "the Sparrow flies",
        "the Sparrow flies",
        "what flies?",
    ]
