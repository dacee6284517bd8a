from __future__ import annotations

import asyncio
import logging
import signal

import pytest

from shin_gateway.stores import row_queue
from shin_gateway.stores.errors import CommandError
from shin_gateway.stores.row_queue import FIELD, STREAM, RowQueue
from shin_gateway.stores.rows import CallRow
from shin_gateway.stores.state import StateStore
from tests.stores.servers import Server, row


async def stored(state: StateStore) -> list[str]:
    entries = await state.run_alone("XRANGE", STREAM, "-", "+", timeout=5)
    return [CallRow.decode(dict(zip(f[::2], f[1::2], strict=True))[FIELD]).id for _, f in entries]


async def test_rows_arrive_in_order(state: StateStore) -> None:
    for number in range(1200):
        state.rows.put(row(f"c{number}"))
    assert await state.rows.flush(5) == 0
    assert await stored(state) == [f"c{number}" for number in range(1200)]
    assert len(state.rows) == 0


async def test_each_row_once_through_stalls_and_restarts(state: StateStore, server: Server) -> None:
    """The server is stalled mid-load, so that batches arrive whose answer nobody read; each still counts once."""
    sent = 0
    for _ in range(3):
        for _ in range(200):
            state.rows.put(row(f"c{sent}"))
            sent += 1
            if sent % 50 == 0:
                await asyncio.sleep(0.02)
        server.process.send_signal(signal.SIGSTOP)
        await asyncio.sleep(2.3)  # longer than a batch may take
        server.process.send_signal(signal.SIGCONT)
    assert await state.rows.flush(20) == 0
    assert await stored(state) == [f"c{number}" for number in range(sent)]
    assert state.rows.dropped == 0


async def test_closing_waits_for_no_answer(state: StateStore, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(row_queue, "_SEND", 60.0)
    state.rows.put(row("c0"))
    with server.frozen():
        await asyncio.sleep(0.1)  # it has been sent
        async with asyncio.timeout(20):
            await state.close()


async def test_what_finds_no_place_is_dropped_counted_and_said_once(
    state: StateStore, server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    queue = RowQueue(state, limit=10)
    server.process.send_signal(signal.SIGSTOP)
    with caplog.at_level(logging.ERROR):
        for number in range(100):
            queue.put(row(f"c{number}"))
    assert (len(queue), queue.dropped) == (10, 90)
    assert len(caplog.records) == 1
    assert await queue.flush(0.1) == 10
    server.process.send_signal(signal.SIGCONT)
    assert await queue.flush(10) == 0
    assert await stored(state) == [f"c{number}" for number in range(10)]
    await queue.close()


async def test_memory_is_bounded_by_size_too(state: StateStore, server: Server) -> None:
    server.process.send_signal(signal.SIGSTOP)
    for number in range(100):
        state.rows.put(row(f"c{number}", call_body="x" * 1_000_000))
    server.process.send_signal(signal.SIGCONT)
    assert state.rows.dropped == 37
    assert await state.rows.flush(20) == 0
    assert len(await stored(state)) == 63


async def test_a_full_stream_holds_rows_back(state: StateStore) -> None:
    queue = RowQueue(state, stream_limit=5)
    for number in range(5):
        queue.put(row(f"c{number}"))
    assert await queue.flush(5) == 0
    queue.put(row("late"))
    assert await queue.flush(0.3) == 1
    await state.run("XTRIM", STREAM, "MAXLEN", 0)
    assert await queue.flush(10) == 0
    assert await stored(state) == ["late"]
    await queue.close()


async def test_a_full_server_holds_rows_back(state: StateStore) -> None:
    await state.run("CONFIG", "SET", "maxmemory", "1")
    with pytest.raises(CommandError):
        await state.run("SET", "shin:x", 1)
    state.rows.put(row("c1"))
    assert await state.rows.flush(0.3) == 1
    await state.run("CONFIG", "SET", "maxmemory", "0")
    assert await state.rows.flush(10) == 0
    assert await stored(state) == ["c1"]
