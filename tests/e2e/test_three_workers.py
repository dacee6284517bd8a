"""Limits, budgets and places with three worker processes and one store: exact, and nothing stays reserved."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import random
import signal
import time
from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path

import httpx2
import pytest

from shin_gateway.admission.reservations import BEAT, SILENCE
from shin_gateway.admission.scripts import PREFIX
from shin_gateway.stores.state import StateStore
from tests.e2e.serving import CHAT
from tests.e2e.shin import Shin, shin
from tests.provider import Answer, FakeProvider, Seen, Tokens
from tests.provider.answer import Stop
from tests.stores.servers import Start, start

__all__ = ["start"]

PLACES = 6
LIMIT = 600_000_000
"""Billionths of a dollar: $0.60."""
TRUTH = 7_500_000
"""What a call of 1,000 tokens in and 500 out costs: 1000 * $2.50/M + 500 * $10/M."""
POLICY = f"""
hosts: [gateway]
extends: standard
addons:
  auth: on
  rate_limit: {{requests: 150/h, tokens: 100M/h, per: everyone}}
  budget: {{limit: $0.60/day, per: everyone, name: all}}
  concurrency: {{calls: {PLACES}, queue: 1000, max_wait: 60s, on_store_error: refuse}}
"""
LEAVER = b"somebody who leaves"
CALL = {**CHAT, "max_tokens": 800}  # at most $0.008: more than it will cost


Three = tuple[Shin, FakeProvider, StateStore]


class Upstream:
    """Counts how many calls the provider serves at once; answers well, badly, late, and not at all."""

    def __init__(self, provider: FakeProvider) -> None:
        self.now = self.most = 0
        provider.rule = self.rule
        self.answers = itertools.cycle(
            [
                Answer(tokens=Tokens(1000, 500), pace=0.01),
                Answer(tokens=Tokens(1000, 500), wait_head=0.05),
                Answer(status=500),
                Answer(tokens=Tokens(1000, 500), pace=0.005),
                Answer(tokens=Tokens(1000, 500), stop=Stop("rst", after="parts", count=3), pace=0.01),
            ]
        )

    def rule(self, seen: Seen) -> Answer:
        if LEAVER in seen.body:  # the provider hears of it later than whoever gets the place
            return next(self.answers)
        self.now += 1
        self.most = max(self.most, self.now)
        for end in (seen.done, seen.left):
            end.add_done_callback(self._done)
        return next(self.answers)

    def _done(self, _: object) -> None:
        self.now -= 1


@contextlib.asynccontextmanager
async def three(
    folder: Path, start: Start, policy: str = POLICY
) -> AsyncIterator[tuple[Shin, FakeProvider, StateStore]]:
    server = start().wait()
    stores = f"stores: {{state: 'unix://{server.socket}?timeout=5'}}\nusers: {{anna: env:SHIN_TEST_ANNA}}"
    async with FakeProvider() as provider:
        with shin(folder, provider, stores) as running:
            (running.policies / "gateway.yaml").write_text(policy)
            await running.start("--workers", "3", SHIN_TEST_ANNA="secret-of-anna")
            store = await StateStore.connect(f"unix://{server.socket}")
            try:
                yield running, provider, store
            finally:
                await store.close()


def client() -> httpx2.AsyncClient:
    """Without keep-alive each call may come to another worker."""
    limits = httpx2.Limits(max_keepalive_connections=0)
    headers = {"authorization": "Bearer secret-of-anna"}
    return httpx2.AsyncClient(trust_env=False, timeout=90, limits=limits, headers=headers)


async def call(http: httpx2.AsyncClient, url: str, dice: random.Random) -> str:
    """One call, whole, streamed, or streamed and left; what became of it."""
    kind = dice.choice(["whole", "stream", "left"])
    body = {**CALL, "stream": kind != "whole", "user": LEAVER.decode() if kind == "left" else "anna"}
    async with http.stream("POST", url, json=body) as reply:
        if reply.status_code != 200:
            body = (await reply.aread()).decode()
            return "limited" if reply.status_code == 429 else "spent" if "over_budget" in body else "failed"
        with contextlib.suppress(httpx2.TransportError):
            async for _ in reply.aiter_raw():
                if kind == "left":
                    return "left"
        return "served"


async def budget(store: StateStore) -> tuple[int, int]:
    """Spent and reserved, of the only budget."""
    (key,) = [key for key in await store.run("KEYS", f"{PREFIX}a:*") if await store.run("TYPE", key) == b"hash"]
    spent, reserved = await store.run("HMGET", key, "s", "r")
    return int(spent or 0), int(reserved or 0)


async def settled(store: StateStore, patience: float) -> float:
    """Seconds until nothing is reserved."""
    began = time.monotonic()
    async with asyncio.timeout(patience):
        while (await budget(store))[1] or await store.run("KEYS", f"{PREFIX}open:*"):
            await asyncio.sleep(0.1)
    return time.monotonic() - began


async def logged(http: httpx2.AsyncClient, running: Shin, count: int) -> int:
    """What all calls cost by their rows, in billionths of a dollar."""
    url = f"http://{running.running['admin']}/api/v1/calls?limit=1000"
    async with asyncio.timeout(20):
        while True:
            calls = (await http.get(url)).json()["calls"]
            if len(calls) >= count:
                return int(sum(Decimal(one["cost"] or 0) for one in calls) * 10**9)
            await asyncio.sleep(0.2)


async def test_nothing_is_exceeded_and_nothing_stays_reserved(tmp_path: Path, start: Start) -> None:
    async with three(tmp_path, start) as (running, provider, store), client() as http:
        upstream, dice = Upstream(provider), random.Random(4)
        url = f"{running.gateway}/v1/chat/completions"
        ends = await asyncio.gather(*(call(http, url, dice) for _ in range(240)))
        await settled(store, 10)
        spent, _ = await budget(store)
        assert 1 < upstream.most <= PLACES
        assert {"served", "left", "spent"} <= set(ends)
        assert 0 < spent <= LIMIT
        assert spent == await logged(http, running, len(ends))
        assert await running.stop() == 0


async def test_as_many_calls_as_the_limit_says(tmp_path: Path, start: Start) -> None:
    policy = POLICY.replace("$0.60", "$60")
    async with three(tmp_path, start, policy) as (running, _, _), client() as http:
        url = f"{running.gateway}/v1/chat/completions"
        replies = await asyncio.gather(*(http.post(url, json=CALL) for _ in range(200)))
        codes = [reply.status_code for reply in replies]
        assert (codes.count(200), codes.count(429)) == (150, 50)
        assert all(int(reply.headers["retry-after"]) >= 1 for reply in replies if reply.status_code == 429)


async def test_a_killed_workers_share_comes_back(tmp_path: Path, start: Start) -> None:
    async with three(tmp_path, start) as (running, provider, store), client() as http:
        provider.default = Answer(stop=Stop("hang", after="parts", count=1))
        url = f"{running.gateway}/v1/chat/completions"
        hanging = [asyncio.create_task(call(http, url, _Streams())) for _ in range(PLACES + 3)]
        await provider.wait_seen(PLACES)
        assert (await budget(store))[1] > PLACES * TRUTH
        for worker in running.found("shin_gateway.runner"):
            os.kill(worker, signal.SIGKILL)
        provider.default = Answer(tokens=Tokens(1000, 500))
        await asyncio.gather(*hanging, return_exceptions=True)
        took = await settled(store, SILENCE + 3 * BEAT + 5)
        assert took < SILENCE + 3 * BEAT
        async with asyncio.timeout(20):  # the workers in their places serve, and have the dead ones' places
            while await _status(http, url) != 200:
                await asyncio.sleep(0.2)


class _Streams(random.Random):
    """Always the same choice."""

    def choice(self, seq):  # type: ignore[no-untyped-def]
        return "stream"


async def _status(http: httpx2.AsyncClient, url: str) -> int:
    try:
        return (await http.post(url, json=CALL)).status_code
    except httpx2.TransportError:
        return 0


@pytest.fixture(autouse=True)
def _anna(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHIN_TEST_ANNA", "secret-of-anna")
