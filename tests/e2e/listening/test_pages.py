"""What pages of web sites may ask at the gateway, and what is said to their browsers."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
import websockets

from tests.e2e.listening.limited import APP, CALL, PATH, POLICY, preflight
from tests.e2e.serving import CHAT, Serving
from tests.e2e.wire import Wire, request
from tests.provider import Answer, FakeProvider

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.mark.parametrize("path", [PATH, "/openai/v1/anything", "/nothing", "/"])
async def test_preflights_are_answered_by_us(worker: Serving, provider: FakeProvider, path: str) -> None:
    answer = await Wire(worker.gateway).ask(preflight(APP, path))
    assert (answer.status, answer.body) == (204, b"")
    told = {name: value for name, value in answer.headers.items() if name.startswith("access-control-")}
    assert told.pop("access-control-expose-headers")
    assert told == {
        "access-control-allow-origin": APP,
        "access-control-allow-methods": "GET, POST, DELETE",
        "access-control-allow-headers": "authorization, content-type",
        "access-control-max-age": "300",
    }
    assert "content-length" not in answer.headers
    assert answer.headers["vary"] == "origin"
    assert not provider.seen


REPLIES = {
    "whole": (request(PATH, CALL, f"origin: {APP}"), 200),
    "streamed": (request(PATH, json.dumps(CHAT | {"stream": True}).encode(), f"origin: {APP}"), 200),
    "refused": (request(PATH, b"{", f"origin: {APP}"), 400),
    "an upstream's error": (request(PATH, CALL, f"origin: {APP}"), 429),
    "no such path": (request("/nothing", b"", f"origin: {APP}"), 404),
    "knocking": (request("/", None, f"origin: {APP}", method="GET"), 200),
}


@pytest.mark.parametrize("kind", REPLIES)
async def test_a_page_that_the_policy_names_may_read_every_reply(
    worker: Serving, provider: FakeProvider, kind: str
) -> None:
    provider.default = Answer(headers=(("access-control-allow-origin", "*"), ("Access-Control-Max-Age", "1")))
    if kind == "an upstream's error":
        headers = (("access-control-allow-origin", "*"), ("retry-after", "99"))
        provider.default = Answer(status=429, body=b"{}", headers=headers)
    data, status = REPLIES[kind]
    answer = await Wire(worker.gateway).ask(data)
    assert answer.status == status
    assert answer.head.lower().count("access-control-allow-origin") == 1
    assert answer.headers["access-control-allow-origin"] == APP
    assert "access-control-max-age" not in answer.headers
    assert answer.headers["cross-origin-resource-policy"] == "cross-origin"
    assert "x-request-id" in answer.headers["access-control-expose-headers"]


async def test_other_pages_are_refused_where_there_are_no_users(worker: Serving, provider: FakeProvider) -> None:
    for origin in ("https://evil.example", f"{APP}.evil.example", "http://app.example.com", f"{APP}:8443", "null."):
        answer = await Wire(worker.gateway).ask(request(PATH, CALL, f"origin: {origin}"))
        assert answer.status == 403, origin
        assert not [name for name in answer.headers if name.startswith("access-control-")]
    assert not provider.seen
    named = await Wire(worker.gateway).ask(request(PATH, CALL, "origin: null"))
    assert (named.status, named.headers["access-control-allow-origin"]) == (200, "null")


async def test_a_page_may_open_a_websocket_where_the_policy_names_it(worker: Serving) -> None:
    url = worker.gateway.replace("http:", "ws:") + "/v1/responses"
    keys = {"authorization": "Bearer x"}
    async with websockets.connect(url, additional_headers=keys, origin=APP, proxy=None) as socket:  # type: ignore[arg-type]
        await socket.send(json.dumps({"type": "response.create", "model": "gpt-5", "input": "hello"}))
        assert json.loads(await socket.recv())["type"] == "response.created"
    with pytest.raises(websockets.InvalidStatus, match="403"):
        await websockets.connect(url, additional_headers=keys, origin="https://evil.example", proxy=None)  # type: ignore[arg-type]


@pytest_asyncio.fixture(loop_scope="module")
async def plain(worker: Serving) -> AsyncIterator[Serving]:
    """Without CORS."""
    worker.policy("gateway", "hosts: [gateway]\nextends: standard\n")
    await worker.worker.reload()
    yield worker
    worker.policy("gateway", POLICY)
    await worker.worker.reload()


async def test_without_cors_nothing_is_said_to_pages(plain: Serving, provider: FakeProvider) -> None:
    provider.default = Answer(headers=(("access-control-allow-origin", "*"),))
    assert (await Wire(plain.gateway).ask(request(PATH, CALL, f"origin: {APP}"))).status == 403
    assert (await Wire(plain.gateway).ask(preflight(APP))).status == 403
    answer = await Wire(plain.gateway).ask(request(PATH, CALL))
    assert answer.status == 200
    assert not [name for name in answer.headers if name.startswith("access-control-")]


async def test_replies_are_no_pages(plain: Serving) -> None:
    for data in (request(PATH, CALL), request("/nothing", b""), request("/", None, method="GET")):
        headers = (await Wire(plain.gateway).ask(data)).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["cross-origin-resource-policy"] == "same-origin"
        assert headers["cache-control"] == "no-store"
