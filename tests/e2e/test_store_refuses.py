"""A state store that answers, but not with what was asked: full, a replica, busy with others' scripts, meddled with."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import redis.asyncio

from shin_gateway.admission.scripts import PREFIX
from shin_gateway.keys.shelf import DIGESTS
from tests.e2e.test_store_down import SLOWEST, WORKERS, World, nothing_held, world
from tests.stores.servers import Start, start

__all__ = ["start"]

Store = redis.asyncio.Redis
GOOD = {(200, "")}
REFUSED = {(503, "store_unavailable")}
WRONG = {(401, "unauthenticated")}


@contextlib.asynccontextmanager
async def full(store: Store) -> AsyncIterator[None]:
    await store.config_set("maxmemory", "1")
    yield
    await store.config_set("maxmemory", "0")


@contextlib.asynccontextmanager
async def replica(store: Store) -> AsyncIterator[None]:
    await store.replicaof("127.0.0.1", 1)
    yield
    await store.replicaof("NO", "ONE")


@contextlib.asynccontextmanager
async def busy(store: Store) -> AsyncIterator[None]:
    await store.config_set("busy-reply-threshold", "10")
    other = asyncio.create_task(store.eval("while true do end", 0))  # type: ignore[arg-type]
    await asyncio.sleep(0.1)
    yield
    await store.script_kill()
    await asyncio.gather(other, return_exceptions=True)


@contextlib.asynccontextmanager
async def meddled(store: Store) -> AsyncIterator[None]:
    """Whatever limits and budgets keep is of the wrong type, and so is what virtual keys are found by."""
    kept = [key async for key in store.scan_iter(f"{PREFIX}[abw]:*")]
    await store.rename(DIGESTS, "digests")
    for key in (*kept, f"{PREFIX}budgets", DIGESTS):
        await store.pipeline().delete(key).xadd(key, {"meddled": "with"}).execute()
    yield
    await store.delete(*kept, f"{PREFIX}budgets")
    await store.rename("digests", DIGESTS)


async def check(here: World, store: Store, trouble: Callable[..., object], strangers: set[tuple[int, str]]) -> None:
    async with trouble(store):  # type: ignore[attr-defined]
        await asyncio.sleep(0.1)
        since = time.monotonic()
        await here.crowd.heard("plain", "busy", "spender", "stranger", since=since)
        of = here.crowd.answers
        assert of("plain", since) == of("busy", since) == GOOD, trouble
        assert of("spender", since) == REFUSED, trouble
        assert of("stranger", since) == strangers, trouble
        assert max(one.took for one in here.crowd.calls if one.at >= since) < SLOWEST
    await here.check_back()


async def test_each_ends_as_on_store_error_says(tmp_path: Path, start: Start) -> None:
    async with world(tmp_path, start) as here, Store(port=here.server.port) as store:
        async with here.crowd.at_work():
            await asyncio.sleep(0.5)
            here.upstream.taken()
            await check(here, store, full, WRONG)
            await check(here, store, replica, WRONG)
            await check(here, store, busy, REFUSED)
            await check(here, store, meddled, REFUSED)
        await nothing_held(here.url)
        assert {one.status for one in here.crowd.calls} == {200, 401, 503}
        assert not here.crowd.broken
        said = here.running.err
        assert "Traceback" not in said and "sk-shin-" not in said
        assert 0 < said.count("limits, budgets and places cannot be asked") <= WORKERS
