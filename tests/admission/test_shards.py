"""Admission, books and virtual keys on a Cluster, and with Sentinels through a failover."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from shin_gateway.admission import Admission, allowance, bucket, scripts, window
from shin_gateway.admission.claims import Claim, Limit
from shin_gateway.admission.ledger import Ledger
from shin_gateway.errors import OverBudget, Unauthenticated
from shin_gateway.keys import KeyRing, Registrar
from shin_gateway.stores.errors import StoreError
from shin_gateway.stores.state import StateStore
from tests.admission.crowd import Someone, Upstream, place, settled, visit
from tests.stores.servers import Server, Start, redis_server, start, until
from tests.stores.test_links import _cli, cluster, cluster_url

__all__ = ["cluster", "start"]

FOREVER = 4_000_000_000.0
LIMITS = [bucket("b", 1000, 60), window("#w", 1000, 3600, "w"), allowance("$a", 100, FOREVER, "a")]


def claim(limit: Limit, amount: int = 10, truth: int = 7) -> Claim:
    return Claim("x", limit, "u", amount, lambda *_: OverBudget("no"), truth=lambda *_: truth)


async def soon(done: Callable[[], Awaitable[bool]]) -> None:
    """With a store that may be away."""
    async with asyncio.timeout(30):
        while True:
            try:
                if await done():
                    return
            except StoreError:
                pass
            await asyncio.sleep(0.02)


async def refuses(ring: KeyRing, secret: str) -> bool:
    try:
        await ring.caller_of(secret)
    except Unauthenticated:
        return True
    return False


async def all_of_admission(first: StateStore, second: StateStore) -> None:
    """Claims of every kind, places and their queue among two workers, and the books."""
    workers = [Admission(first), Admission(second)]
    for worker in workers:
        worker.start()
    upstream = Upstream()
    await asyncio.gather(*(visit(workers[i % 2], upstream, 0.05, place(2)) for i in range(10)))
    assert upstream.most["p:t:policy"] == 2
    someone = Someone(*(claim(limit) for limit in LIMITS))
    await workers[0].enter(someone.call)
    someone.end()
    assert await settled(workers, first) in ({}, {f"{scripts.PREFIX}budgets": 1})
    ledger = Ledger(second)
    (account,) = await ledger.accounts("a")
    assert (account.spent, account.reserved) == (7, 0)
    await ledger.set_limit(account, 12)
    with pytest.raises(OverBudget):
        await workers[1].enter(Someone(claim(LIMITS[2])).call)
    await ledger.reset(account)
    assert (await ledger.accounts("a"))[0].spent == 0
    assert await ledger.alerts(5) == []
    for worker in workers:
        await worker.close()


async def test_a_cluster(cluster: list[Server]) -> None:
    stores = [await StateStore.connect(f"{cluster_url(cluster)}?timeout=2") for _ in range(2)]
    await all_of_admission(*stores)
    registrar, ring = Registrar(stores[0]), KeyRing(stores[1])
    ring.start()
    record, secret = await registrar.create(user="ann")
    await ring.caller_of(secret)
    await soon(_trusted(ring))
    await registrar.revoke(record.id)
    await soon(lambda: refuses(ring, secret))
    await ring.close()
    for store in stores:
        await store.close()


async def test_a_shard_that_is_away_is_asked_last(cluster: list[Server]) -> None:
    """Calls that need another shard wait for a lost one at most once."""
    store = await StateStore.connect(f"{cluster_url(cluster)}?timeout=3")
    for node in cluster:
        _cli(node, "CONFIG", "SET", "cluster-require-full-coverage", "no")
    keys = {node.port: next(f"shin:{i}" for i in range(1000) if _has(cluster, node, f"shin:{i}")) for node in cluster}
    lost, *others = cluster
    await asyncio.gather(*(store.run("SET", key, 1) for key in keys.values()))
    lost.process.send_signal(19)
    try:
        with pytest.raises(StoreError):
            await store.run("GET", keys[lost.port])
        for node in others:
            began = time.monotonic()
            assert await store.run("GET", keys[node.port]) == b"1"
            assert time.monotonic() - began < 2.5
    finally:
        lost.process.send_signal(18)
    await store.close()


def _has(cluster: list[Server], node: Server, key: str) -> bool:
    slot = int(_cli(node, "CLUSTER", "KEYSLOT", key))
    return cluster.index(node) == slot // 5462


def _trusted(ring: KeyRing) -> Callable[[], Awaitable[bool]]:
    async def trusted() -> bool:
        return ring._listener.trusted

    return trusted


async def test_a_failover(start: Start, tmp_path: Path) -> None:
    """The primary dies: keys known work on, a place and a budget are settled with the new one, changes are heard."""
    primary, url = sentinels(start, tmp_path)
    store, other = await StateStore.connect(url), await StateStore.connect(url)
    worker, ring, registrar = Admission(store), KeyRing(store), Registrar(other)
    worker.start()
    ring.start()
    record, secret = await registrar.create(user="ann")
    await soon(_trusted(ring))
    await asyncio.sleep(0.3)  # the ring has heard of it, and the replica has all
    await ring.caller_of(secret)
    someone = Someone(place(1), claim(LIMITS[2]))
    await worker.enter(someone.call)
    await asyncio.sleep(0.1)
    primary.kill()
    someone.end()
    while not await _answers(store):
        assert (await ring.caller_of(secret)).user == "ann"  # type: ignore[union-attr]
        await asyncio.sleep(0.05)

    async def all_settled() -> bool:
        books = await store.run("HMGET", f"{scripts.PREFIX}a:$a:{FOREVER:.0f}:u", "s", "r")
        return books == [b"7", b"0"] and not await store.run("EXISTS", f"{scripts.PREFIX}pi:t:policy")

    await soon(all_settled)
    await soon(_trusted(ring))

    async def revoked() -> bool:
        return (await registrar.revoke(record.id)).after.revoked is not None

    await soon(revoked)  # the Sentinel has its doubts about the new one too, at first
    await soon(lambda: refuses(ring, secret))
    await visit(worker, Upstream(), 0.01, place(1))
    await ring.close()
    await worker.close()
    await store.close()
    await other.close()


async def _answers(store: StateStore) -> bool:
    try:
        return bool(await store.run("SET", "shin:alive", "1"))
    except StoreError:
        return False


def sentinels(start: Start, folder: Path) -> tuple[Server, str]:
    """A primary with a replica and a Sentinel that is quick to lose patience."""
    binary = redis_server()
    primary = start(binary=binary).wait()
    replica = start("--replicaof", "127.0.0.1", str(primary.port), binary=binary).wait()
    until(lambda: "master_link_status:up" in _cli(replica, "INFO", "replication"))
    config = folder / "sentinel.conf"
    config.write_text(
        f"sentinel monitor main 127.0.0.1 {primary.port} 1\n"
        "sentinel down-after-milliseconds main 1000\nsentinel failover-timeout main 2000\n"
    )
    sentinel = start(binary=binary, sentinel=True, before=(str(config), "--sentinel")).wait()
    until(lambda: str(replica.port) in _cli(sentinel, "SENTINEL", "REPLICAS", "main"))
    return primary, f"redis+sentinel://127.0.0.1:{sentinel.port}/main/0"
