from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from shin_gateway.sealing import MASTER_KEY, OLD_KEYS
from shin_gateway.stores.state import StateStore
from shin_gateway.upstream import Upstream, UpstreamOptions
from tests.ports import free_port
from tests.provider.token_server import TokenServer
from tests.stores.servers import Server, find_server


@pytest.fixture(autouse=True)
def _master(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(MASTER_KEY, "the first master key; long enough for all")
    monkeypatch.delenv(OLD_KEYS, raising=False)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """It writes what it is told into a file at once."""
    folder = tmp_path_factory.mktemp("store")
    server = Server(str(find_server()), folder, free_port(), "--appendonly", "yes").wait()
    yield server
    server.kill()


@pytest.fixture
async def state(store: Server) -> AsyncIterator[StateStore]:
    one = await StateStore.connect(f"unix://{store.socket}")
    await one.run_alone("FLUSHALL", timeout=5)
    await one.run_alone("SET", "shin:version", "1", timeout=5)
    yield one
    await one.close()


@pytest.fixture
def folder(store: Server) -> Path:
    return store.socket.parent


@pytest.fixture
async def server() -> AsyncIterator[TokenServer]:
    async with TokenServer() as one:
        yield one


@pytest.fixture
async def upstream() -> AsyncIterator[Upstream]:
    one = Upstream(UpstreamOptions())
    await one.start()
    yield one
    await one.close()
