"""The Authorization that arrives at a provider: tokens that are fetched, keys that are kept, files that are rotated."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
import websockets

from shin_gateway.provider_keys import fetched
from shin_gateway.provider_keys.keeping import Keeping
from shin_gateway.sealing import MASTER_KEY, OLD_KEYS, master_key
from tests.e2e.serving import CHAT, Serving, serve
from tests.provider import Answer, FakeProvider
from tests.provider.token_server import TokenServer, Told
from tests.provider_keys.test_google import account

SECRET = "hush-client-secret"
MASTER = "the first master key; long enough for all"

CONFIG = """
providers:
  openai: {{base_url: '{provider}/v1', api_key: 'kept:openai'}}
  azure_openai:
    base_url: '{provider}/openai/v1'
    websocket: true
    oauth: {{token_url: '{tokens}', client_id: me, client_secret: env:CLIENT_SECRET, scope: 'api://lab/.default'}}
  vertex:
    base_url: '{provider}/v1/projects/lab/locations/here'
    oauth: {{service_account: 'file:{account}'}}
  filed: {{like: generic, base_url: '{provider}/v1', api_key: 'file:{file}'}}
"""
POLICY = """
hosts: [gateway]
extends: observe
addons: {translate: on, conversation: {own: always}}
"""


@pytest.fixture
async def tokens() -> AsyncIterator[TokenServer]:
    async with TokenServer() as one:
        yield one


@pytest.fixture
def places(tmp_path: Path, provider: FakeProvider, tokens: TokenServer, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CLIENT_SECRET", SECRET)
    monkeypatch.setenv(MASTER_KEY, MASTER)
    monkeypatch.delenv(OLD_KEYS, raising=False)
    (tmp_path / "key").write_text("sk-of-the-file")
    (tmp_path / "account.json").write_text(json.dumps(account(tokens.url)))
    (tmp_path / "policies").mkdir()
    (tmp_path / "policies" / "gateway.yaml").write_text(POLICY)
    urls = {"provider": provider.url, "tokens": tokens.url}
    text = CONFIG.format(**urls, file=tmp_path / "key", account=tmp_path / "account.json")
    (tmp_path / "shin.yaml").write_text(text)
    return tmp_path


def start(places: Path) -> Any:
    return serve(places / "home", places / "shin.yaml", places / "policies")


@pytest.fixture
async def gateway(places: Path) -> AsyncIterator[Serving]:
    async with start(places) as one:
        yield one


async def ask(serving: Serving, model: str, **more: Any) -> httpx2.Response:
    async with httpx2.AsyncClient(trust_env=False, timeout=20) as client:
        body = {**CHAT, "model": model, **more}
        return await client.post(f"{serving.gateway}/v1/chat/completions", json=body, headers={"x-api-key": "mine"})


def shown(provider: FakeProvider) -> str:
    """What the last call showed the provider, and that it showed nothing else."""
    seen = provider.seen[-1]
    assert not any(seen.header(name) for name in ("api-key", "x-api-key", "x-goog-api-key"))
    return seen.header("authorization")


# Tokens that are fetched


async def test_client_credentials(gateway: Serving, provider: FakeProvider, tokens: TokenServer) -> None:
    replies = await asyncio.gather(*(ask(gateway, "azure_openai/gpt-4o") for _ in range(10)))
    assert {reply.status_code for reply in replies} == {200}
    assert {seen.header("authorization") for seen in provider.seen} == {"Bearer token-number-1"}
    assert shown(provider) == "Bearer token-number-1"
    (asked,) = tokens.asked
    assert asked.fields["client_secret"] == SECRET
    assert asked.fields["scope"] == "api://lab/.default"
    async with httpx2.AsyncClient(trust_env=False, timeout=20) as client:
        assert (await client.get(f"{gateway.gateway}/azure_openai/v1/models")).status_code == 200
    assert (provider.seen[-1].method, shown(provider)) == ("GET", "Bearer token-number-1")


async def test_a_service_account_for_vertex(gateway: Serving, provider: FakeProvider, tokens: TokenServer) -> None:
    assert (await ask(gateway, "vertex/gemini-2.5-pro")).status_code == 200
    assert shown(provider) == "Bearer token-number-1"
    assert provider.seen[-1].path.endswith("/publishers/google/models/gemini-2.5-pro:generateContent")
    assert tokens.asked[0].fields["assertion"].count(".") == 2


async def test_a_token_that_ends_is_replaced_in_time(
    gateway: Serving, provider: FakeProvider, tokens: TokenServer
) -> None:
    tokens.answer, began = Told(life=1), time.monotonic()
    for _ in range(18):
        assert (await ask(gateway, "azure_openai/gpt-4o")).status_code == 200
        await asyncio.sleep(0.05)
    used = [seen.header("authorization") for seen in provider.seen]
    assert used == sorted(used) and len(set(used)) >= 2
    assert len(tokens.asked) <= 3 + 3 * (time.monotonic() - began)


async def test_a_token_that_the_provider_refuses(
    gateway: Serving, provider: FakeProvider, tokens: TokenServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert (await ask(gateway, "azure_openai/gpt-4o")).status_code == 200
    provider.rule = lambda seen: Answer(status=401) if seen.header("authorization").endswith("-1") else None
    assert (await ask(gateway, "azure_openai/gpt-4o")).status_code == 401
    assert (await ask(gateway, "azure_openai/gpt-4o")).status_code == 200
    assert shown(provider) == "Bearer token-number-2"
    provider.rule = lambda seen: Answer(status=401)
    for _ in range(5):
        assert (await ask(gateway, "azure_openai/gpt-4o")).status_code == 401
    assert len(tokens.asked) == 2


async def test_without_a_token_the_refusal_is_clear(
    gateway: Serving, provider: FakeProvider, tokens: TokenServer, caplog: pytest.LogCaptureFixture
) -> None:
    tokens.answer = Told(401, more={"error": "invalid_client", "error_description": SECRET})
    reply = await ask(gateway, "azure_openai/gpt-4o")
    assert reply.status_code == 400
    assert reply.headers["x-should-retry"] == "false"
    error = reply.json()["error"]
    assert error["code"] == "no_credential"
    assert error["message"] == (
        "The gateway has no token for the provider azure_openai: the token server answered 401 (invalid_client)."
    )
    assert provider.seen == []
    assert "hush" not in reply.text + caplog.text


async def until_answered(gateway: Serving, model: str, status: int) -> None:
    async with asyncio.timeout(20):
        while (await ask(gateway, model)).status_code != status:
            await asyncio.sleep(0.05)


async def test_a_token_server_that_is_away_passes_by_waiting(
    gateway: Serving, tokens: TokenServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetched, "PAUSES", (0.05, 0.05))
    await tokens.down()
    reply = await ask(gateway, "azure_openai/gpt-4o")
    assert (reply.status_code, reply.json()["error"]["code"]) == (503, "no_token")
    assert reply.headers["retry-after"]
    await tokens.up()
    await until_answered(gateway, "azure_openai/gpt-4o", 200)


async def test_over_a_websocket(gateway: Serving, provider: FakeProvider) -> None:
    url = gateway.gateway.replace("http:", "ws:")
    async with websockets.connect(f"{url}/v1/responses", proxy=None) as socket:
        create = {"type": "response.create", "model": "azure_openai/gpt-5", "input": "say hello", "store": False}
        await socket.send(json.dumps(create))
        async with asyncio.timeout(20):
            while json.loads(await socket.recv())["type"] != "response.completed":
                pass
            assert shown(provider) == "Bearer token-number-1"
            assert provider.seen[-1].header("upgrade") == "websocket"
    provider.rule = lambda seen: Answer(status=401) if seen.header("authorization").endswith("-1") else None
    async with websockets.connect(f"{url}/v1/responses", proxy=None) as socket:
        await socket.send(json.dumps(create))
        async with asyncio.timeout(20):
            while json.loads(await socket.recv())["type"] != "response.completed":
                pass
    assert shown(provider) == "Bearer token-number-2"  # refused in the handshake, and fetched again


# Keys in files


async def test_a_rotated_file_is_used_by_the_next_call(
    gateway: Serving, provider: FakeProvider, tokens: TokenServer, places: Path
) -> None:
    tokens.answer = Told(hang=True)
    slow = asyncio.create_task(ask(gateway, "azure_openai/gpt-4o"))  # nobody else waits for its token
    await asyncio.sleep(0.1)
    async with asyncio.timeout(8):
        await ask(gateway, "filed/m")
    assert shown(provider) == "Bearer sk-of-the-file"
    assert not slow.done()
    slow.cancel()
    await asyncio.gather(slow, return_exceptions=True)
    new = places / "key.new"
    new.write_text("sk-of-the-next")
    new.replace(places / "key")
    await ask(gateway, "filed/m")
    assert shown(provider) == "Bearer sk-of-the-next"


# Keys that are kept


async def test_a_kept_key(gateway: Serving, provider: FakeProvider) -> None:
    reply = await ask(gateway, "gpt-4o")
    assert (reply.status_code, reply.json()["error"]["code"]) == (400, "no_credential")
    keeping = Keeping(gateway.worker.gateway.state, master_key(gateway.home))
    for value in ("sk-kept-at-first-0001", "sk-kept-thereafter-2"):
        await keeping.put("openai", value, "ann")
        async with asyncio.timeout(20):
            while (await ask(gateway, "gpt-4o")).status_code != 200 or shown(provider) != f"Bearer {value}":
                await asyncio.sleep(0.02)
    await keeping.remove("openai")
    await until_answered(gateway, "gpt-4o", 400)


async def test_a_change_of_the_master_key_with_a_restart(
    places: Path, provider: FakeProvider, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Kept keys and conversations of before are there, what is new needs the new key alone."""

    async def say(serving: Serving, text: str, conversation: str) -> str:
        headers = {"x-shin-conversation": conversation}
        async with httpx2.AsyncClient(trust_env=False, timeout=20, headers=headers) as client:
            body = {"model": "gpt-4o", "messages": [{"role": "user", "content": text}]}
            reply = await client.post(f"{serving.gateway}/v1/chat/completions", json=body)
        assert reply.status_code == 200, reply.text
        return provider.seen[-1].body.decode()

    async with start(places) as first:
        await Keeping(first.worker.gateway.state, master_key(first.home)).put("openai", "sk-kept-at-first-0001", "ann")
        await asyncio.sleep(0.5)
        await say(first, "Begun before.", "old")
    monkeypatch.setenv(MASTER_KEY, "the second master key; long enough for all")
    monkeypatch.setenv(OLD_KEYS, f"file:{places / 'old'}")
    (places / "old").write_text(f"{MASTER}\n")
    async with start(places) as second:
        assert "Begun before." in await say(second, "And now?", "old")
        assert shown(provider) == "Bearer sk-kept-at-first-0001"
        assert "And now?" in await say(second, "And later?", "old")
        await say(second, "Begun after.", "new")
        keeping = Keeping(second.worker.gateway.state, master_key(second.home))
        assert await keeping.reseal() == ["openai"]
    monkeypatch.delenv(OLD_KEYS)
    async with start(places) as third:
        assert "Begun after." in await say(third, "And now?", "new")
        assert shown(provider) == "Bearer sk-kept-at-first-0001"
        assert "Begun before." not in await say(third, "Where are we?", "old")
    written = b"".join(one.read_bytes() for one in (places / "home").rglob("*") if one.is_file())
    for secret in (b"sk-kept-at-first", b"Begun before.", b"Begun after.", MASTER.encode()):
        assert secret not in written
    assert "sk-kept" not in caplog.text
