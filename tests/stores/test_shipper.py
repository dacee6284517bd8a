from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Sequence
from contextlib import aclosing
from decimal import Decimal
from pathlib import Path

import pytest

from shin_gateway.stores.analytics import Analytics, CallFilter, StoreError, open_analytics
from shin_gateway.stores.row_queue import STREAM
from shin_gateway.stores.rows import CallRow
from shin_gateway.stores.shipper import DEAD, Shipper, tail
from shin_gateway.stores.state import StateStore
from tests.stores.clickhouse_fixture import Fake
from tests.stores.servers import Server, find_server, row


@pytest.fixture
async def duck(tmp_path: Path) -> Analytics:
    return await open_analytics(tmp_path / "a.duckdb", keep=1e9)


class Flaky:
    """Real analytics whose answers get lost: every `every`th insert is done and then said to have failed."""

    def __init__(self, real: Analytics, every: int) -> None:
        self._real, self._every, self.inserts = real, every, 0

    async def insert(self, rows: Sequence[CallRow], token: str) -> None:
        await self._real.insert(rows, token)
        self.inserts += 1
        if self.inserts % self._every == 1:
            raise StoreError("the answer was lost")


async def shipped(analytics: Analytics) -> tuple[int, int]:
    """Rows, and calls in the daily sums."""
    calls = await analytics.calls(CallFilter(limit=1000))
    assert len({call["id"] for call in calls}) == len(calls)
    return len(calls), sum(day["calls"] for day in await analytics.daily(CallFilter()))


async def until_shipped(analytics: Analytics, count: int) -> None:
    for _ in range(400):
        if (await shipped(analytics))[1] >= count:
            break
        await asyncio.sleep(0.05)
    assert await shipped(analytics) == (count, count)


async def fill(state: StateStore, count: int, start: int = 0) -> None:
    for number in range(start, start + count):
        state.rows.put(row(f"c{number}"))
    assert await state.rows.flush(10) == 0


async def test_ships_and_empties_the_stream(state: StateStore, duck: Analytics) -> None:
    shipper = Shipper(state, duck, every=0.05)
    running = asyncio.create_task(shipper.run())
    await fill(state, 300)
    await until_shipped(duck, 300)
    for _ in range(100):
        if await state.run("XLEN", STREAM) == 0:
            break
        await asyncio.sleep(0.05)
    assert await state.run("XLEN", STREAM) == 0
    await shipper.stop()
    await running
    assert shipper.shipped == 300
    assert await state.run("EXISTS", "shin:{rows}:lease") == 0
    await duck.close()


async def test_lost_answers_count_once(local: StateStore, duck: Analytics) -> None:
    flaky = Flaky(duck, every=2)
    shipper = Shipper(local, flaky, every=0.02)  # type: ignore[arg-type]
    running = asyncio.create_task(shipper.run())
    for number in range(0, 60, 20):
        await fill(local, 20, number)
        await asyncio.sleep(0.1)
    await until_shipped(duck, 60)
    await shipper.stop()
    await running
    assert flaky.inserts >= 3
    await duck.close()


async def test_a_shipper_killed_between_insert_and_ack_counts_once(local: StateStore, duck: Analytics) -> None:
    class Stuck(Flaky):
        async def insert(self, rows: Sequence[CallRow], token: str) -> None:
            await self._real.insert(rows, token)
            inserted.set()
            await asyncio.sleep(3600)

    inserted = asyncio.Event()
    await fill(local, 30)
    first = asyncio.create_task(Shipper(local, Stuck(duck, 1), every=0.02).run())  # type: ignore[arg-type]
    await inserted.wait()
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    await fill(local, 30, 30)  # more came meanwhile; the repeated batch must not grow
    await local.run("DEL", "shin:{rows}:lease")  # as when it has run out
    second = Shipper(local, duck, every=0.02)
    running = asyncio.create_task(second.run())
    await until_shipped(duck, 60)
    await second.stop()
    await running
    await duck.close()


async def test_several_shippers_count_once(local: StateStore, duck: Analytics) -> None:
    shippers = [Shipper(local, duck, every=0.01) for _ in range(4)]
    running = [asyncio.create_task(shipper.run()) for shipper in shippers]
    for number in range(0, 400, 40):
        await fill(local, 40, number)
    await until_shipped(duck, 400)
    for shipper in shippers:
        await shipper.stop()
    await asyncio.gather(*running)
    assert sorted(shipper.shipped for shipper in shippers) == [0, 0, 0, 400]
    await duck.close()


async def test_another_takes_over(local: StateStore, duck: Analytics) -> None:
    one, two = Shipper(local, duck, every=0.02), Shipper(local, duck, every=0.02)
    tasks = [asyncio.create_task(one.run())]
    await fill(local, 10)
    await until_shipped(duck, 10)
    tasks.append(asyncio.create_task(two.run()))
    await one.stop()
    await fill(local, 10, 10)
    await until_shipped(duck, 20)
    await two.stop()
    await asyncio.gather(*tasks)
    assert (one.shipped, two.shipped) == (10, 10)
    await duck.close()


async def test_what_is_no_row_is_put_aside(local: StateStore, duck: Analytics) -> None:
    await fill(local, 2)
    await local.append(STREAM, {"r": b"\x00nonsense"})
    await local.append(STREAM, {"other": "field"})
    local.rows.put(row("refused", cost=Decimal("1e12")))  # decodes, but analytics cannot take it
    await fill(local, 2, 2)
    shipper = Shipper(local, duck, every=0.02)
    running = asyncio.create_task(shipper.run())
    await until_shipped(duck, 4)
    await shipper.stop()
    await running
    dead = await local.run("XRANGE", DEAD, "-", "+")
    assert len(dead) == 3
    assert shipper.shipped == 4
    assert await local.run("XPENDING", STREAM, "shipper") == [0, None, None, None]
    await duck.close()


async def test_goes_on_after_the_state_store_was_emptied(local: StateStore, duck: Analytics) -> None:
    shipper = Shipper(local, duck, every=0.02)
    running = asyncio.create_task(shipper.run())
    await fill(local, 5)
    await until_shipped(duck, 5)
    await local.run("FLUSHALL")
    await fill(local, 5, 5)
    await until_shipped(duck, 10)
    await shipper.stop()
    await running
    await duck.close()


async def test_ships_out_of_a_full_server(local: StateStore, duck: Analytics) -> None:
    await fill(local, 20)
    await local.run("CONFIG", "SET", "maxmemory", "1")
    shipper = Shipper(local, duck, every=0.02)
    running = asyncio.create_task(shipper.run())
    local.rows.put(row("late"))
    await until_shipped(duck, 20)
    await local.run("CONFIG", "SET", "maxmemory", "0")
    await until_shipped(duck, 21)
    await shipper.stop()
    await running
    await duck.close()


async def test_state_store_killed_and_back(duck: Analytics, tmp_path: Path) -> None:
    server = Server(str(find_server()), tmp_path / "own", 0, "--appendonly", "yes", "--appendfsync", "no")
    while not server.socket.exists():
        await asyncio.sleep(0.02)
    store = await StateStore.connect(f"unix://{server.socket}?timeout=1")
    shipper = Shipper(store, duck, every=0.02)
    running = asyncio.create_task(shipper.run())
    try:
        for number in range(0, 300, 20):
            for n in range(number, number + 20):
                store.rows.put(row(f"c{n}"))
            await asyncio.sleep(0.03)
            if number in (100, 200):
                server.kill()
                server.start()
        assert await store.rows.flush(20) == 0
        await until_shipped(duck, 300)
    finally:
        await shipper.stop()
        await running
        await store.close()
        server.kill()
        await duck.close()


async def test_clickhouse_down_slow_and_cut(local: StateStore, clickhouse: Fake) -> None:
    analytics = await open_analytics(clickhouse.url(), keep=1e9)
    shipper = Shipper(local, analytics, every=0.02)
    running = asyncio.create_task(shipper.run())
    for number, how in enumerate(("before", "after", "")):
        clickhouse.fail(how, inserts=3)
        await fill(local, 10, number * 10)
        await asyncio.sleep(0.3)
        if how:
            assert shipper.trouble
            assert "s3cret" not in shipper.trouble
    await until_shipped(analytics, 30)
    await shipper.stop()
    await running
    await analytics.close()


async def test_a_process_killed_mid_load_loses_no_acknowledged_row(local: StateStore, tmp_path: Path) -> None:
    """A worker and a shipper in one process, killed again and again; what `flush` acknowledged is there, once."""
    code = f"""
        import asyncio, sys
        from shin_gateway.stores.analytics import open_analytics
        from shin_gateway.stores.shipper import Shipper
        from shin_gateway.stores.state import StateStore
        from tests.stores.servers import row
        async def main():
            state = await StateStore.connect({str("unix://" + local.address.path)!r})
            analytics = await open_analytics({str(tmp_path / "a.duckdb")!r}, keep=1e9)
            shipping = asyncio.create_task(Shipper(state, analytics, every=0.01).run())
            for number in range(10_000):
                state.rows.put(row(f"{{sys.argv[1]}}-{{number}}"))
                if number % 7 == 6 and not await state.rows.flush(5):
                    print(number + 1, flush=True)
        asyncio.run(main())
    """
    acknowledged = 0
    for attempt in range(3):
        process = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(code), str(attempt)], stdout=subprocess.PIPE, cwd=os.getcwd()
        )
        assert process.stdout
        count = 0
        while count < 150:
            count = int(await asyncio.to_thread(process.stdout.readline))
        process.send_signal(signal.SIGKILL)
        rest = process.stdout.read().split()
        process.wait()
        acknowledged += int(rest[-1]) if rest else count
        await local.run("DEL", "shin:{rows}:lease")  # it would run out after ten seconds
    analytics = await open_analytics(tmp_path / "a.duckdb", keep=1e9)
    shipper = Shipper(local, analytics, every=0.02)
    running = asyncio.create_task(shipper.run())
    while await local.run("XLEN", STREAM):
        await asyncio.sleep(0.1)
    await shipper.stop()
    await running
    rows, sums = await shipped(analytics)
    assert rows == sums
    assert rows >= acknowledged
    await analytics.close()


async def test_tail_sees_everything_while_it_is_shipped(state: StateStore, duck: Analytics) -> None:
    await fill(state, 5)
    shipper = Shipper(state, duck, every=0.01)
    running = asyncio.create_task(shipper.run())
    seen: list[str] = []

    async def watch() -> None:
        async with aclosing(tail(state)) as rows:  # type: ignore[type-var]
            async for one in rows:
                seen.append(one.id)
                if len(seen) == 100:
                    return

    watching = asyncio.create_task(watch())
    await asyncio.sleep(0.3)
    for number in range(5, 105):
        state.rows.put(row(f"c{number}"))
        await asyncio.sleep(0.01)
    await asyncio.wait_for(watching, 20)
    assert seen == [f"c{number}" for number in range(5, 105)]
    await shipper.stop()
    await running
    await duck.close()


async def test_tail_of_nothing_yet_and_from_the_start(state: StateStore) -> None:
    async with aclosing(tail(state)) as rows:  # type: ignore[type-var]
        first = asyncio.ensure_future(anext(rows))
        await asyncio.sleep(0.2)
        await fill(state, 3)
        assert (await first).id == "c0"
    async with aclosing(tail(state, "0")) as rows:  # type: ignore[type-var]
        assert [(await anext(rows)).id for _ in range(3)] == ["c0", "c1", "c2"]


async def test_tail_ends_with_the_store(state: StateStore, server: Server) -> None:
    rows = tail(state)
    first = asyncio.ensure_future(anext(rows))
    await asyncio.sleep(0.2)
    server.kill()
    with pytest.raises(StoreError):
        await first
