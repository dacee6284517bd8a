from __future__ import annotations

import asyncio
import os
import threading
from pathlib import Path

import pytest

from shin_gateway.assembly import Places
from shin_gateway.stores import heartbeats
from shin_gateway.stores.duckdb_store import DuckDBAnalytics
from shin_gateway.stores.embedded import EmbeddedState
from shin_gateway.stores.heartbeats import Heartbeat
from shin_gateway.stores.state import StateStore
from tests.admin.conftest import Running, keep, running
from tests.admin.test_calls import row
from tests.ports import free_port
from tests.stores.clickhouse_fixture import Fake, clickhouse

__all__ = ["clickhouse"]

PROBLEM = "application/problem+json"


async def test_ready_when_a_worker_is_alive(admin: Running, state: StateStore) -> None:
    answer = await admin.get("/health/ready")
    assert (answer.status, answer.kind) == (503, PROBLEM)
    assert answer.json["detail"] == "workers: none is alive"
    assert answer.json["parts"]["state"] == {"ready": True}
    await heartbeats.beat(state, os.getpid())
    answer = await admin.get("/health/ready")
    assert (answer.status, answer.json["workers"]) == (200, 1)
    assert all(part["ready"] for part in answer.json["parts"].values())


async def test_workers_are_counted_and_forgotten(state: StateStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heartbeats, "TTL", 1)
    assert await heartbeats.alive(state) == 0
    for pid in (1, 2, 2):
        await heartbeats.beat(state, pid)
    assert await heartbeats.alive(state) == 2
    while await heartbeats.alive(state):
        await asyncio.sleep(0.2)
    await heartbeats.beat(state, 3)
    assert await state.run("ZCARD", heartbeats.KEY) == 1


async def test_a_heartbeat_outlives_the_store(
    state: StateStore, embedded: EmbeddedState, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heartbeats, "EVERY", 0.05)
    heart = Heartbeat(state)
    heart.start()
    while not await heartbeats.alive(state):
        await asyncio.sleep(0.02)
    await embedded.stop()
    await asyncio.sleep(0.5)
    await embedded.ensure()
    other = await StateStore.connect(embedded.url)
    await other.run("DEL", heartbeats.KEY)
    while not await heartbeats.alive(other):
        await asyncio.sleep(0.05)
    await heart.stop()
    assert await heartbeats.alive(other) == 0
    await heart.stop()
    await other.close()


async def test_a_state_store_that_is_down(admin: Running, embedded: EmbeddedState) -> None:
    await embedded.stop()
    answer = await admin.get("/health/ready")
    assert (answer.status, answer.kind) == (503, PROBLEM)
    parts = answer.json["parts"]
    assert not parts["state"]["ready"]
    assert parts["analytics"]["ready"]
    assert (await admin.get("/health/live")).status == 200
    assert (await admin.get("/api/v1/calls")).status == 200
    await embedded.ensure()
    while not (await admin.get("/health/ready")).json["parts"]["state"]["ready"]:
        await asyncio.sleep(0.1)


async def test_an_analytics_store_that_is_slow(admin: Running, state: StateStore) -> None:
    """Somebody's query holds DuckDB's only thread."""
    await heartbeats.beat(state, 1)
    analytics, over = admin.parts.analytics, threading.Event()
    assert isinstance(analytics, DuckDBAnalytics)
    busy = asyncio.ensure_future(analytics._work(over.wait))
    try:
        ready, calls = await asyncio.gather(admin.get("/health/ready"), admin.get("/api/v1/calls"))
    finally:
        over.set()
        await busy
    assert (ready.status, ready.json["detail"]) == (503, "analytics: no answer in 2 s")
    assert (calls.status, calls.kind) == (503, PROBLEM)
    assert calls.headers["retry-after"] == "5"
    assert (await admin.get("/api/v1/calls")).status == 200


def _with_analytics(places: Places, tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch) -> Places:
    monkeypatch.setenv("ANALYTICS", url)
    config = tmp_path / "shin.yaml"
    config.write_text("stores: {analytics: env:ANALYTICS}\n")
    return Places(places.home, config, places.policies, places.addons)


async def test_an_analytics_server_that_is_not_there_yet(
    places: Places, state: StateStore, tmp_path: Path, clickhouse: Fake, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is lost: rows wait, the server comes, the rows are there."""
    port = free_port()
    url = clickhouse.url().replace(f":{clickhouse.port}/", f":{port}/")
    await keep(state, *(row(number) for number in range(5)))
    async with running(_with_analytics(places, tmp_path, url, monkeypatch)) as admin:
        ready, calls = await admin.get("/health/ready"), await admin.get("/api/v1/calls")
        assert not ready.json["parts"]["analytics"]["ready"]
        assert ready.json["parts"]["analytics"]["why"] == "down; the log of the admin process says why"
        assert (calls.status, calls.kind) == (503, PROBLEM)
        relay = await asyncio.start_server(_relay(clickhouse.port), "127.0.0.1", port)
        while (calls := await admin.get("/api/v1/calls")).status != 200 or len(calls.json["calls"]) < 5:
            await asyncio.sleep(0.2)
        assert [call["id"] for call in calls.json["calls"]] == [f"c{number:03}" for number in reversed(range(5))]
        assert (await admin.get("/api/v1/usage")).json["days"][0]["cost"] == "0.0005"
    relay.close()


def _relay(port: int):  # type: ignore[no-untyped-def]
    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            writer.write(data)
        writer.close()

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", port)
        await asyncio.gather(pump(reader, far_writer), pump(far_reader, writer), return_exceptions=True)

    return relay
