"""Limits and budgets as clients meet them: the official SDKs, streams, the proxy, a store that dies and comes back."""

from __future__ import annotations

import asyncio
import os
import re
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anthropic
import httpx2
import openai
import pytest

from shin_gateway.admission.scripts import PREFIX
from tests.e2e.serving import CHAT, MESSAGES, Serving, serve, write_config
from tests.provider import Answer, FakeProvider, Tokens

TOKENS = Tokens(input=11, output=7)
CHATS = "/v1/chat/completions"


@pytest.fixture
async def start(tmp_path: Path, provider: FakeProvider) -> Callable[[str], Any]:
    """A worker with these addons, as lines of a policy."""

    @asynccontextmanager
    async def begin(addons: str) -> AsyncIterator[Serving]:
        config = write_config(tmp_path, {"openai": f"{provider.url}/v1", "anthropic": provider.url})
        policies = tmp_path / "policies"
        policies.mkdir(exist_ok=True)
        (policies / "gateway.yaml").write_text(f"hosts: [gateway]\nextends: standard\naddons:\n  {addons}\n")
        async with serve(tmp_path / "home", config, policies) as serving:
            yield serving

    return begin


def openai_client(serving: Serving, **more: Any) -> openai.AsyncOpenAI:
    client = http_client()
    return openai.AsyncOpenAI(base_url=f"{serving.gateway}/v1", api_key="sk-ann", http_client=client, **more)


def http_client() -> Any:
    return httpx2.AsyncClient(trust_env=False)


async def test_openais_sdk_sees_what_is_left_and_waits(start: Any) -> None:
    async with start("rate_limit: {requests: 2/2s}") as serving, openai_client(serving, max_retries=0) as client:
        for left in ("1", "0"):
            raw = await client.chat.completions.with_raw_response.create(**CHAT)
            assert raw.headers["x-ratelimit-remaining-requests"] == left
            assert raw.headers["x-ratelimit-limit-requests"] == "2"
        with pytest.raises(openai.RateLimitError, match=r"Rate limit of key \w+: 2 requests per 2s") as refused:
            await client.chat.completions.create(**CHAT)
        assert refused.value.code == "rate_limited"
        assert 0 < float(refused.value.response.headers["retry-after-ms"]) <= 1000
        patient = client.with_options(max_retries=3)
        assert (await patient.chat.completions.create(**CHAT)).choices[0].message.content


async def test_anthropics_sdk_sees_its_own_headers(start: Any) -> None:
    async with start("rate_limit: {requests: 1/min, tokens: 1M/min}") as serving:
        client = anthropic.AsyncAnthropic(
            base_url=serving.gateway, api_key="sk-ann", max_retries=0, http_client=http_client()
        )
        async with client:
            raw = await client.messages.with_raw_response.create(**MESSAGES)
            assert raw.headers["anthropic-ratelimit-requests-remaining"] == "0"
            assert int(raw.headers["anthropic-ratelimit-tokens-remaining"]) < 1_000_000
            assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", raw.headers["anthropic-ratelimit-requests-reset"])
            with pytest.raises(anthropic.RateLimitError) as refused:
                await client.messages.create(**MESSAGES)
        assert refused.value.body["error"]["type"] == "rate_limit_error"  # type: ignore[index]
        assert refused.value.response.headers["anthropic-ratelimit-requests-remaining"] == "0"


async def test_a_spent_budget_is_a_400_that_no_sdk_tries_again(start: Any, provider: FakeProvider) -> None:
    provider.default = Answer(tokens=TOKENS)
    async with start("budget: {limit: 80 tokens/day}") as serving, openai_client(serving, max_retries=5) as client:
        call = {**CHAT, "max_tokens": 30}
        await client.chat.completions.create(**call)
        await asyncio.sleep(0.1)
        with pytest.raises(openai.BadRequestError, match=r"18 tokens of 80 tokens are spent or held") as refused:
            await client.chat.completions.create(**{**call, "max_tokens": 60})
        assert refused.value.code == "over_budget"
        assert len(provider.seen) == 1
        rows = await serving.rows(2)
        assert sorted((row.status, row.cause, row.addon) for row in rows) == [
            (200, "", ""),
            (400, "over_budget", "budget"),
        ]


async def test_a_hundred_streams_at_once_and_half_of_them_left(start: Any, provider: FakeProvider) -> None:
    """A budget holds, and when all is over nothing is held."""
    provider.default = Answer(tokens=Tokens(input=10, output=20), pace=0.01)
    # Each holds at most 32 + 30 tokens, and comes to 30 at most.
    async with start("budget: {limit: 1000 tokens/day, per: everyone, name: all}") as serving:
        call = {**CHAT, "max_tokens": 30, "stream": True}

        async def one(number: int) -> int:
            async with (
                httpx2.AsyncClient(trust_env=False, timeout=20) as client,
                client.stream("POST", serving.gateway + CHATS, json=call) as reply,
            ):
                async for _ in reply.aiter_bytes():
                    if number % 2:
                        break
                return reply.status_code

        statuses = await asyncio.gather(*(one(number) for number in range(100)))
        assert set(statuses) == {200, 400}
        state = serving.worker.gateway.state
        async with asyncio.timeout(20):
            while await state.run("EXISTS", *await state.run("KEYS", f"{PREFIX}open:*") or ["none"]):
                await asyncio.sleep(0.05)
        (key,) = await state.run("KEYS", f"{PREFIX}a:*")
        spent, held = await state.run("HMGET", key, "s", "r")
        assert int(held) == 0
        assert 0 < int(spent) <= 1000


async def test_the_store_dies_and_comes_back(start: Any, provider: FakeProvider) -> None:
    """Limits let calls through meanwhile, budgets do not; what was spent before is still spent after."""
    provider.default = Answer(tokens=TOKENS)
    async with start("budget: {limit: 1000 tokens/month, per: everyone}\n  rate_limit: {requests: 100/min}") as serving:
        url = serving.gateway + CHATS
        async with httpx2.AsyncClient(trust_env=False, timeout=20) as client:
            assert (await client.post(url, json=CHAT)).status_code in (200, 400)
            state = serving.worker.gateway.state
            await asyncio.sleep(1.2)  # its append-only file is written once a second
            pid = int(re.search(rb"process_id:(\d+)", _bytes(await state.run("INFO", "server")))[1])  # type: ignore[index]
            os.kill(pid, signal.SIGSTOP)
            try:
                refused = await client.post(url, json=CHAT)
                assert refused.status_code == 503
                assert refused.json()["error"]["code"] == "store_unavailable"
                assert refused.headers["retry-after"]
            finally:
                os.kill(pid, signal.SIGCONT)
            async with asyncio.timeout(15):
                while (await client.post(url, json={**CHAT, "max_tokens": 10})).status_code != 200:
                    await asyncio.sleep(0.2)


def _bytes(text: Any) -> bytes:
    return text if isinstance(text, bytes) else str(text).encode()


async def test_addresses_through_the_proxy(tmp_path: Path, secure: FakeProvider, provider: FakeProvider) -> None:
    config = write_config(tmp_path, {}, f"upstream: {{ca: {str(secure.ca_file)!r}}}")
    policies = tmp_path / "policies"
    policies.mkdir()
    (policies / "local.yaml").write_text(
        f"hosts: ['localhost:{secure.port}']\nextends: observe\nprovider: openai\n"
        "addons: {rate_limit: {requests: 2/h, per: [ip, host]}}\n"
    )
    async with serve(tmp_path / "home", config, policies) as serving, serving.client() as client:
        url = f"https://localhost:{secure.port}{CHATS}"
        got = [
            (await client.post(url, json=CHAT, headers={"authorization": f"Bearer sk-{n}"})).status_code for n in "abc"
        ]
        assert got == [200, 200, 429]
