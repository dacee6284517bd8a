"""What a call's client waits for of a state store that is far away: one round trip, and nothing after."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from pathlib import Path

import httpx2
import pytest

from tests.e2e.serving import CHAT
from tests.e2e.shin import shin
from tests.provider import FakeProvider
from tests.stores.servers import Start, start

__all__ = ["start"]

WAY = 0.2
"""Seconds to the store, and as many back."""
POLICY = """
hosts: [gateway]
extends: standard
addons:
  auth: on
  access: on
  rate_limit: {limits: [{requests: 1000/min}, {tokens: 1M/min}, {requests: 10000/day, per: team}]}
  budget: {budgets: [{limit: $20/day}, {limit: $200/month, per: team}]}
  concurrency: {calls: 8}
"""


@contextlib.asynccontextmanager
async def relay(port: int) -> AsyncIterator[int]:
    """A way to a server on `port` on which everything takes WAY longer, in each direction."""
    tasks: set[asyncio.Task[None]] = set()

    async def one_way(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        loop = asyncio.get_running_loop()
        while data := await reader.read(65_536):
            loop.call_later(WAY, writer.write, data)
        writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", port)
        for pair in ((reader, back), (there, writer)):
            task = asyncio.create_task(one_way(*pair))
            tasks.add(task)
            task.add_done_callback(tasks.discard)

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in list(tasks):
            task.cancel()


async def test_one_round_trip(tmp_path: Path, start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHIN_TEST_ANNA", "secret-of-anna")
    async with FakeProvider() as provider, relay(start().wait().port) as port:
        far = f"stores: {{state: 'redis://127.0.0.1:{port}/0?timeout=5'}}\n"
        far += "users: {anna: {secret: env:SHIN_TEST_ANNA, team: red}}"
        with shin(tmp_path, provider, far) as running:
            (running.policies / "gateway.yaml").write_text(POLICY)
            await running.start()
            took = await _least(f"{running.gateway}/v1/chat/completions")
    assert 2 * WAY <= took < 4 * WAY


async def _least(url: str) -> float:
    """Seconds that the quickest of a few calls took."""
    times = []
    async with httpx2.AsyncClient(trust_env=False, headers={"authorization": "Bearer secret-of-anna"}) as http:
        for _ in range(6):
            began = time.perf_counter()
            (await http.post(url, json={**CHAT, "max_tokens": 100})).raise_for_status()
            times.append(time.perf_counter() - began)
    return min(times)
