"""`shin tail` on a real store."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path

import pytest

from shin_gateway.cli import tail
from shin_gateway.stores.embedded import EmbeddedState
from shin_gateway.stores.rows import CallRow
from shin_gateway.stores.state import StateStore

AT = dt.datetime(2026, 11, 21, 12, 0, tzinfo=dt.UTC)


def row(number: int, **fields: object) -> CallRow:
    usual = {
        "caller": "ada",
        "model": "gpt-4o",
        "status": 200,
        "usage_source": "provider",
        "input_tokens": 12_345,
        "output_tokens": 67,
        "cached_tokens": 10_000,
        "cost": Decimal("0.0123"),
        "first_part_ms": 345.6,
        "total_ms": 4567.8,
    }
    return CallRow(id=f"call-{number}", at=AT + dt.timedelta(seconds=number), **{**usual, **fields})


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[StateStore]:
    server = EmbeddedState(tmp_path)
    await server.ensure()
    store = await StateStore.connect(server.url)
    yield store
    await store.close()
    await server.stop()


async def shin(home: Path, *arguments: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "shin_gateway.cli", "tail", *arguments),
        env={**os.environ, "PYTHONPATH": os.getcwd(), "SHIN_HOME": str(home), "TZ": "UTC", "COLUMNS": "160"},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


async def test_the_last_calls(store, tmp_path):
    for number in range(5):
        store.rows.put(row(number))
    await store.rows.flush(5.0)
    out, err = await (await shin(tmp_path, "--no-follow", "-n", "2")).communicate()
    head, *lines = out.decode().splitlines()
    assert head.split() == ["time", "caller", "model", "status", "in", "cached", "out", "cost", "first", "total"]
    assert [line.split() for line in lines] == [
        ["12:00:03", "ada", "gpt-4o", "200", "12,345", "10,000", "67", "$0.012300", "346ms", "4.6s"],
        ["12:00:04", "ada", "gpt-4o", "200", "12,345", "10,000", "67", "$0.012300", "346ms", "4.6s"],
    ], err


async def test_calls_appear_as_they_end(store, tmp_path):
    store.rows.put(row(1))
    await store.rows.flush(5.0)
    process = await shin(tmp_path, "--json")
    assert process.stdout
    first = json.loads(await asyncio.wait_for(process.stdout.readline(), 30))
    assert (first["id"], first["cost"], first["facts"]) == ("call-1", "0.0123", {})
    await asyncio.sleep(0.3)
    store.rows.put(row(2, end="refused", addon="budget"))
    second = json.loads(await asyncio.wait_for(process.stdout.readline(), 30))
    assert (second["id"], second["addon"]) == ("call-2", "budget")
    process.send_signal(signal.SIGINT)
    _, err = await process.communicate()
    assert process.returncode == 130 and b"Traceback" not in err


async def test_it_waits_for_a_store_that_is_gone(store, tmp_path):
    process = await shin(tmp_path, "--json")
    await asyncio.wait_for(_connected(store), 30)
    server = EmbeddedState(tmp_path)
    store.rows.put(row(1))
    assert process.stdout and process.stderr
    assert b"call-1" in await asyncio.wait_for(process.stdout.readline(), 30)
    await store.run_alone("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes", timeout=5)
    assert b"waiting for it" in await asyncio.wait_for(process.stderr.readline(), 30)
    await server.ensure()
    store.rows.put(row(2))
    assert b"call-2" in await asyncio.wait_for(process.stdout.readline(), 30)
    process.terminate()
    await process.communicate()


async def _connected(store: StateStore) -> None:
    """Until somebody else waits on the stream."""
    while b"cmd=xread" not in await store.run("CLIENT", "LIST"):
        await asyncio.sleep(0.05)


async def test_nothing_yet(store, tmp_path):
    out, _ = await (await shin(tmp_path, "--no-follow", "--json")).communicate()
    assert out == b""


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"usage_source": "", "cost": None, "first_part_ms": 0.0}, ["200", "-", "-", "-", "?", "-", "4.6s"]),
        ({"usage_source": "", "cost": None, "kind": "models"}, ["200", "-", "-", "-", "         -"]),
        ({"status": 0, "end": "cancelled", "cause": "client left"}, ["-", "cancelled: client left"]),
        (
            {"status": 400, "end": "refused", "addon": "budget", "cause": "over_budget"},
            ["refused by budget: over_budget"],
        ),
        (
            {"status": 429, "end": "refused", "addon": "rate_limit", "cause": "rate_limited", "usage_source": ""},
            ["429  refused by rate_limit: rate_limited  ", " 4.6s"],
        ),
        ({"facts": {"shadow.budget": "over_budget"}}, ["4.6s  budget in shadow: over_budget"]),
        ({"queue_ms": 1500.0}, ["4.6s  queued 1.5s"]),
        ({"cost": Decimal("12.5")}, ["$12.50"]),
        ({"model": "a\x1b[31mb"}, ["a?[31mb"]),
        ({"model": "", "host": "api.openai.com"}, ["api.openai.com"]),
        ({"model": "m" * 40}, ["m" * 27 + "…"]),
    ],
)
def test_what_a_line_says(fields, words):
    text = tail.line(row(1, **fields)).plain
    assert text[text.index("ada") :].find(words[0]) > 0
    for word in words:
        assert word in text


def test_a_line_fits_a_terminal_of_100_columns():
    refused = {"status": 429, "end": "refused", "addon": "concurrency", "cause": "queue_timeout", "usage_source": ""}
    for fields in ({}, {"model": "m" * 40}, refused):
        assert len(tail.line(row(1, **fields), tail._fitting(100)).plain) == 100
