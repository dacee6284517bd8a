from __future__ import annotations

import asyncio
import signal
import time
from typing import Any

import pytest

from shin_gateway.stores import state as state_module
from shin_gateway.stores.errors import CommandError, StoreError, StoreTimeout
from shin_gateway.stores.state import KEYSPACE, StateStore
from tests.stores.servers import Server, Start, until


async def test_replies_come_as_the_server_sent_them(state: StateStore) -> None:
    assert await state.run("SET", "shin:a", "é") == b"OK"
    assert await state.run("GET", "shin:a") == "é".encode()
    assert await state.run("GET", "shin:none") is None
    assert await state.run("INCRBY", "shin:n", 3) == 3
    await state.run("HSET", "shin:h", "f", b"\xff", "g", 1.5)
    assert await state.run("HGETALL", "shin:h") == {b"f": b"\xff", b"g": b"1.5"}


async def test_one_tick_is_one_pipeline(state: StateStore) -> None:
    sent = _count_exchanges(state)
    replies = await asyncio.gather(*(state.run("INCR", "shin:n") for _ in range(50)))
    assert sorted(replies) == list(range(1, 51))
    assert sent == [50]


async def test_a_failing_command_fails_alone(state: StateStore) -> None:
    await state.run("SET", "shin:text", "x")
    first, wrong, last = await asyncio.gather(
        state.run("INCR", "shin:n"), state.run("INCR", "shin:text"), state.run("INCR", "shin:n"), return_exceptions=True
    )
    assert (first, last) == (1, 2)
    assert isinstance(wrong, CommandError)
    with pytest.raises(CommandError) as caught:
        await state.run("LPUSH", "shin:text", 1)
    assert caught.value.code == "WRONGTYPE"


async def test_a_wrong_argument_raises_at_once_and_spares_the_rest(state: StateStore) -> None:
    good = state.run("INCR", "shin:n")
    with pytest.raises(TypeError):
        state.run("SET", "shin:a", None)  # type: ignore[arg-type]
    assert await good == 1


async def test_a_cancelled_waiter_spares_the_rest(state: StateStore) -> None:
    leaves = asyncio.ensure_future(state.run("INCR", "shin:n"))
    stays = state.run("INCR", "shin:n")
    leaves.cancel()
    assert await stays == 2


async def test_more_than_one_batch_and_large_values(state: StateStore) -> None:
    value = b"x" * 200_000
    await asyncio.gather(*(state.run("SET", f"shin:{i}", value) for i in range(40)))
    assert set(await asyncio.gather(*(state.run("GET", f"shin:{i}") for i in range(40)))) == {value}
    assert len(await asyncio.gather(*(state.run("PING") for _ in range(3000)))) == 3000


async def test_scripts_survive_a_server_that_forgot_them(state: StateStore) -> None:
    add = state.script("return redis.call('INCRBY', KEYS[1], ARGV[1])")
    assert await add(["shin:n"], [2]) == 2
    await state.run("SCRIPT", "FLUSH")
    assert await asyncio.gather(*(add(["shin:n"], [1]) for _ in range(3))) == [3, 4, 5]
    assert await add(["shin:n"], [5], alone=1.0) == 10
    with pytest.raises(CommandError):
        await state.script("return redis.call('NONSENSE')")([])


async def test_append_bounds_a_stream(state: StateStore) -> None:
    for number in range(300):
        await state.append("shin:s", {"n": number}, maxlen=100)
    assert 100 <= await state.run("XLEN", "shin:s") < 300


async def test_a_stalled_server_costs_a_timeout_and_then_nothing(state: StateStore, server: Server) -> None:
    loop = asyncio.get_running_loop()
    server.process.send_signal(signal.SIGSTOP)
    try:
        begun = loop.time()
        with pytest.raises(StoreTimeout):
            await state.run("GET", "shin:a")
        assert loop.time() - begun < 30  # redis-py alone takes 59 s
        for _ in range(4):
            with pytest.raises(StoreError):
                await state.run("GET", "shin:a")
        with pytest.raises(StoreError, match="down"):
            await state.run("GET", "shin:a")
    finally:
        server.process.send_signal(signal.SIGCONT)
    await _until_back(state)


async def test_a_machine_that_stood_still_is_no_server_that_is_late(state: StateStore, server: Server) -> None:
    with server.frozen():
        asked = state.run("PING")
        await asyncio.sleep(0.05)  # it is on its way
        time.sleep(1)
    assert await asked == b"PONG"


async def test_comes_back_with_the_server(state: StateStore, server: Server) -> None:
    await asyncio.gather(*(state.run("PING") for _ in range(5)))
    server.kill()
    with pytest.raises(StoreError):
        await state.run("PING")
    server.start()
    server.wait()
    await _until_back(state)


async def test_an_idle_connection_that_the_server_closed_is_not_an_error(state: StateStore) -> None:
    await state.run("PING")
    for _ in range(3):
        await state.run_alone("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "no", timeout=1)
        await asyncio.sleep(0.05)
        assert await state.run("PING") == b"PONG"


async def test_blocking_reads_have_no_timeout(state: StateStore) -> None:
    waiting = asyncio.create_task(state.run_alone("BLPOP", "shin:l", 0, timeout=None))
    await asyncio.sleep(0.6)  # longer than a command on the way of a call may take
    assert await state.run("RPUSH", "shin:l", "x") == 1
    assert await waiting == [b"shin:l", b"x"]
    with pytest.raises(StoreTimeout):
        await state.run_alone("BLPOP", "shin:l", 0, timeout=0.1)


async def test_close_ends_every_wait(state: StateStore) -> None:
    blocked = asyncio.create_task(state.run_alone("BLPOP", "shin:l", 0, timeout=None))
    await asyncio.sleep(0.1)
    asked = state.run("PING")
    await state.close()
    for waiter in (blocked, asked, state.run("PING")):
        with pytest.raises(StoreError):
            await waiter


async def test_refuses_a_keyspace_of_another_version(state: StateStore, server: Server) -> None:
    assert await state.run("GET", "shin:version") == KEYSPACE.encode()
    await state.run("SET", "shin:version", "77")
    with pytest.raises(StoreError, match=r"version '77'.*name another database") as caught:
        await StateStore.connect(f"unix://{server.socket}")
    assert "Run the Shin Gateway that wrote it" in str(caught.value)


async def test_a_server_that_is_slow_at_first_is_waited_for(server: Server) -> None:
    with server.frozen():
        connecting = asyncio.create_task(StateStore.connect(f"unix://{server.socket}?timeout=0.1"))
        await asyncio.sleep(0.5)
        assert not connecting.done()
    await (await connecting).close()


async def test_a_server_that_stays_silent_is_given_up(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state_module, "START", 0.5)
    with server.frozen(), pytest.raises(StoreTimeout):
        await StateStore.connect(f"unix://{server.socket}?timeout=0.1")


async def test_nobody_there_is_one_clear_error() -> None:
    with pytest.raises(StoreError, match="redis://127.0.0.1:1/0"):
        await StateStore.connect("redis://user:hunter2@127.0.0.1:1/0")


async def test_password_and_database(start: Start) -> None:
    server = start("--requirepass", "hunter2").wait()
    with pytest.raises(StoreError) as caught:
        await StateStore.connect(f"redis://:wrong1@127.0.0.1:{server.port}/1")
    assert "wrong1" not in str(caught.value)
    store = await StateStore.connect(f"redis://:hunter2@127.0.0.1:{server.port}/1")
    await store.run("SET", "shin:x", 1)
    other = await StateStore.connect(f"valkey://default:hunter2@127.0.0.1:{server.port}/0")
    assert await other.run("GET", "shin:x") is None
    await store.close()
    await other.close()


async def test_a_full_server_refuses_writes_by_command(start: Start) -> None:
    server = start("--maxmemory", "2mb", "--maxmemory-policy", "noeviction").wait()
    store = await StateStore.connect(f"unix://{server.socket}")
    codes = set()
    for number in range(200):
        try:
            await store.run("SET", f"shin:{number}", b"x" * 50_000)
        except CommandError as error:
            codes.add(error.code)
    assert codes == {"OOM"}
    await store.ping()
    await store.close()


def _count_exchanges(store: StateStore) -> list[int]:
    sent: list[int] = []
    link: Any = store._link
    exchange = link.exchange

    async def counted(commands: Any, timeout: float | None) -> Any:
        sent.append(len(commands))
        return await exchange(commands, timeout)

    link.exchange = counted
    return sent


async def _until_back(store: StateStore) -> None:
    for _ in range(200):
        try:
            return await store.ping()
        except StoreError:
            await asyncio.sleep(0.05)
    raise AssertionError("the store did not come back")


async def test_a_loading_server_is_an_error_not_a_hang(server: Server) -> None:
    server.kill()
    with pytest.raises(StoreError):
        await StateStore.connect(f"unix://{server.socket}")
    server.start()
    until(server.socket.exists)
