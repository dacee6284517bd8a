"""One real store for each module, three ways to it, and a worker on each."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from shin_gateway.admission import Admission
from shin_gateway.stores.embedded import find_server
from shin_gateway.stores.state import StateStore
from tests.ports import free_port
from tests.stores.servers import Server


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(str(find_server()), tmp_path_factory.mktemp("store"), free_port()).wait()
    yield server
    server.kill()


@pytest.fixture
async def stores(server: Server) -> AsyncIterator[list[StateStore]]:
    stores = [await StateStore.connect(f"unix://{server.socket}?timeout=3") for _ in range(3)]
    await stores[0].run("FLUSHALL")
    yield stores
    for one in stores:
        await one.close()


@pytest.fixture
async def workers(stores: list[StateStore]) -> AsyncIterator[list[Admission]]:
    workers = [Admission(one) for one in stores]
    for one in workers:
        one.start()
    yield workers
    for one in workers:
        await one.close()
