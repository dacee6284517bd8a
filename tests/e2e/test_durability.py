"""A row that the state store has acknowledged is in analytics exactly once, whatever is killed meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import httpx2
import pytest

from shin_gateway.stores.embedded import EmbeddedState
from shin_gateway.stores.errors import StoreError
from shin_gateway.stores.row_queue import STREAM
from shin_gateway.stores.rows import CallRow
from shin_gateway.stores.state import StateStore
from tests.e2e.serving import CHAT
from tests.e2e.shin import Shin, family, shin, until
from tests.provider import FakeProvider


@pytest.fixture
def run(tmp_path: Path, provider: FakeProvider) -> Iterator[Shin]:
    with shin(tmp_path, provider) as one:
        yield one


class Load:
    """Calls without end on a few kept connections, and a look at the stream of their rows."""

    def __init__(self, one: Shin) -> None:
        self._one = one
        self.acknowledged: set[str] = set()
        """Rows that were seen in the state store, after its acknowledgement or at the same time."""
        self.answered: set[str] = set()
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Load:
        self._tasks = [asyncio.create_task(self._call()) for _ in range(3)] + [asyncio.create_task(self._look())]
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _call(self) -> None:
        async with httpx2.AsyncClient(trust_env=False, timeout=20) as client:
            while True:
                try:
                    reply = await client.post(f"{self._one.gateway}/v1/chat/completions", json=CHAT)
                    assert reply.status_code == 200
                    self.answered.add(reply.headers["x-shin-call-id"])
                except httpx2.TransportError:
                    await asyncio.sleep(0.1)
                await asyncio.sleep(0.005)

    async def _look(self) -> None:
        store = await StateStore.connect(EmbeddedState(self._one.home).url)
        try:
            last = b"-"
            while True:
                with contextlib.suppress(StoreError):
                    for entry, fields in await store.run("XRANGE", STREAM, last, "+"):
                        self.acknowledged.add(_row(fields).id)
                        last = b"(" + entry
                await asyncio.sleep(0.02)
        finally:
            await store.close()

    async def more(self, count: int) -> None:
        wanted = len(self.acknowledged) + count
        await until(lambda: len(self.acknowledged) >= wanted, 30)


def _row(fields: Any) -> CallRow:
    values = fields.values() if isinstance(fields, dict) else fields[1::2]
    return CallRow.decode(next(iter(values)))


def once(home: Path) -> set[str]:
    """The calls in analytics, each of them there once, and once in the daily sums."""
    with duckdb.connect(str(home / "analytics.duckdb"), read_only=True) as db:
        ids = [id for (id,) in db.execute("SELECT id FROM calls").fetchall()]
        assert db.execute("SELECT COALESCE(SUM(calls), 0) FROM daily").fetchone() == (len(ids),)
    assert len(ids) == len(set(ids))
    return set(ids)


async def shipped(run: Shin, wanted: set[str]) -> None:
    """Until the admin API shows these calls."""
    async with asyncio.timeout(40):
        while not wanted <= set(await run.ids()):
            await asyncio.sleep(0.1)


async def taken(home: Path) -> duckdb.DuckDBPyConnection:
    """Analytics' file in our hands, as soon as the one that had it is gone."""
    async with asyncio.timeout(20):
        while True:
            try:
                return duckdb.connect(str(home / "analytics.duckdb"))
            except duckdb.IOException:
                await asyncio.sleep(0.005)


async def test_everything_killed_at_once(run: Shin) -> None:
    acknowledged: set[str] = set()
    for _ in range(2):
        await run.start()
        async with Load(run) as load:
            await load.more(60)
            for pid in [run.process.pid, *family(run.process.pid)]:  # the parent first: it must not start them again
                os.kill(pid, signal.SIGKILL)
            await run.ended()
        acknowledged |= load.acknowledged
    await run.start()
    await shipped(run, acknowledged)
    assert await run.stop() == 0
    assert acknowledged <= once(run.home)


async def test_the_shipper_is_killed_again_and_again(run: Shin) -> None:
    await run.start()
    async with Load(run) as load:
        for _ in range(2):
            await load.more(20)
            before = run.found("shin_gateway.admin")
            for pid in before:
                os.kill(pid, signal.SIGKILL)
            await until(lambda: run.found("shin_gateway.admin") not in ([], before))  # noqa: B023
        await load.more(20)
    await shipped(run, load.answered)
    assert await run.stop() == 0
    assert load.answered | load.acknowledged <= once(run.home)


async def test_analytics_that_somebody_else_has_open(run: Shin) -> None:
    """Calls go on, rows wait; when it is free again they arrive."""
    await run.start()
    async with Load(run) as load:
        await load.more(20)
        os.kill(run.child("shin_gateway.admin"), signal.SIGKILL)
        await until(lambda: not run.found("shin_gateway.admin"))
        with await taken(run.home):
            await until(lambda: "another process has it open" in run.err)
            await load.more(60)
            assert await run.ids() == []
        await shipped(run, set(load.answered))
    assert await run.stop() == 0
    assert load.answered | load.acknowledged <= once(run.home)
