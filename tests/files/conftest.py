"""A desk with a real state store, and policies to make calls under."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from shin_gateway.policy import Policy, load_policies
from shin_gateway.registry import Registry
from shin_gateway.stores.state import StateStore
from tests.addons.conftest import store
from tests.stores.servers import Server

__all__ = ["store"]


@pytest.fixture
async def state(store: Server) -> AsyncIterator[StateStore]:
    state = await StateStore.connect(f"unix://{store.socket}")
    yield state
    await state.close()
    cleaner = await StateStore.connect(f"unix://{store.socket}")  # a test may have closed the other
    await cleaner.run("FLUSHALL")
    await cleaner.close()


@pytest.fixture(scope="session")
def policy(tmp_path_factory: pytest.TempPathFactory) -> Policy:
    folder = tmp_path_factory.mktemp("policies")
    (folder / "gateway.yaml").write_text("hosts: [gateway]\n")
    found = load_policies([folder], Registry.load()).gateway
    assert found is not None
    return found
