"""Three worker processes on one store, one of them killed: never too many at once, nothing left over."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

import pytest

from shin_gateway.stores.embedded import find_server
from shin_gateway.stores.state import StateStore
from tests.admission.crowd import left_over
from tests.ports import free_port
from tests.stores.servers import Server

ROOT = Path(__file__).parents[2]


class Counter:
    """Connections at once, seen from where they lead."""

    def __init__(self) -> None:
        self.now = self.most = self.total = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not await reader.read(1):
            return
        self.now += 1
        self.total += 1
        self.most = max(self.most, self.now)
        writer.write(b"x")
        try:
            await reader.read(1)
        except ConnectionError:
            pass
        self.now -= 1
        writer.close()


@pytest.fixture
async def state(tmp_path: Path):  # type: ignore[no-untyped-def]
    server = Server(str(find_server()), tmp_path / "s", free_port()).wait()
    state = await StateStore.connect(f"unix://{server.socket}")
    yield state
    await state.close()
    server.kill()


async def test_three_processes_and_a_death(state: StateStore) -> None:
    counter = Counter()
    listening = await asyncio.start_server(counter.serve, "127.0.0.1", 0)
    port = listening.sockets[0].getsockname()[1]

    async def worker(seed: int) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.admission.place_worker", f"unix://{state.address.path}", str(port), str(seed),
            "5", cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)},
        )  # fmt: skip

    workers = [await worker(seed) for seed in (1, 2, 3)]
    async with asyncio.timeout(20):
        while counter.total < 60:
            await asyncio.sleep(0.02)
    workers[0].send_signal(signal.SIGKILL)
    before = counter.total
    async with asyncio.timeout(15):
        codes = [await one.wait() for one in workers]
    assert codes == [-signal.SIGKILL, 0, 0]
    assert counter.most == 3 and counter.total > before + 40
    async with asyncio.timeout(20):
        while found := await left_over(state):
            held = await state.run("HGETALL", "shin:{admission}:pi:t:policy")
            assert set(found) <= {"shin:{admission}:workers"}, (found, held)
            await asyncio.sleep(0.1)
    listening.close()
