"""Real servers, a registrar and rings that listen."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from shin_gateway.keys import KeyRing, Registrar
from shin_gateway.stores.state import StateStore
from tests.stores.servers import Server, local, server, start, state

__all__ = ["local", "server", "start", "state"]

MakeRing = Callable[..., Awaitable[KeyRing]]


@pytest.fixture
def plain(start: Callable[..., Server]) -> Server:
    """Whichever server there is, to be frozen and killed."""
    return start().wait()


@pytest.fixture
async def make_ring() -> AsyncIterator[MakeRing]:
    """Rings on connections of their own, as workers have them; they listen once they are made."""
    made: list[tuple[KeyRing, StateStore]] = []

    async def make(server: Server, **options: float) -> KeyRing:
        store = await StateStore.connect(f"unix://{server.socket}?timeout=0.5")
        ring = KeyRing(store, **options)
        made.append((ring, store))
        ring.start()
        return ring

    yield make
    for ring, store in made:
        await ring.close()
        await store.close()


@pytest.fixture
async def registrar(plain: Server) -> AsyncIterator[Registrar]:
    store = await StateStore.connect(f"unix://{plain.socket}")
    yield Registrar(store)
    await store.close()
