"""The state store freezes, dies and comes back, while calls of every kind go on."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2

from shin_gateway.admission.scripts import PREFIX
from shin_gateway.keys.minting import make_secret
from shin_gateway.stores.errors import StoreError
from shin_gateway.stores.state import StateStore
from tests.e2e.serving import CHAT
from tests.e2e.shin import Shin, shin
from tests.provider import Answer, FakeProvider, Seen
from tests.stores.servers import Server, Start, redis_server, start

__all__ = ["start"]

PLACES, WORKERS = 3, 2
POLICY = f"""
hosts: [gateway]
extends: standard
addons:
  auth: on
  rate_limit: {{limits: [{{requests: 1M/h}}, {{tokens: 1000M/h}}]}}
  budget: on
  concurrency: {{calls: {PLACES}, per: key, queue: 50}}
"""
SLOWEST = 20.0
"""Seconds: a call asks who calls, and what it may use, for half a second each; who waits for a place knows within
seven that the store is away. redis-py alone would wait for a minute."""
BACK = 20.0
"""Seconds: a store that is back is used again within two, unless the machine has other work."""


@dataclass
class Call:
    at: float
    kind: str
    status: int
    code: str
    took: float
    headers: Any = field(repr=False)


class Crowd:
    """Callers who call again and again, and what came of it. Each call may come to another worker."""

    def __init__(self, url: str, keys: dict[str, str]) -> None:
        self.url, self.keys = url, keys
        self.calls: list[Call] = []
        self.broken: list[str] = []
        limits = httpx2.Limits(max_keepalive_connections=0)
        self.http = httpx2.AsyncClient(trust_env=False, timeout=20, limits=limits)
        self._tasks: list[asyncio.Task[None]] = []

    async def one(self, kind: str, stream: bool = False) -> Call:
        key = self.keys.get(kind) or make_secret()
        began = time.monotonic()
        body = {**CHAT, "messages": [{"role": "user", "content": kind}], "max_tokens": 20, "stream": stream}
        headers = {"authorization": f"Bearer {key}"}
        async with self.http.stream("POST", self.url, json=body, headers=headers) as reply:
            took = time.monotonic() - began  # the head: how long the provider then talks is another matter
            text = (await reply.aread()).decode()
        code = "" if reply.status_code == 200 else json.loads(text)["error"]["code"]
        call = Call(began, kind, reply.status_code, code, took, reply.headers)
        self.calls.append(call)
        return call

    async def _again(self, kind: str, stream: bool, pause: float) -> None:
        while True:
            try:
                await self.one(kind, stream)
            except httpx2.TransportError as error:
                self.broken.append(f"{kind}: {error!r}")
            await asyncio.sleep(pause)

    @contextlib.asynccontextmanager
    async def at_work(self) -> AsyncIterator[None]:
        plan = [("plain", False, 0.05), ("plain", True, 0.05), ("spender", False, 0.1), ("spender", True, 0.1)]
        plan += [("stranger", False, 0.2), ("leaver", False, 0.1), *[("busy", True, 0.01)] * (2 * PLACES)]
        tasks = [asyncio.create_task(self._again(*one)) for one in plan]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def of(self, kind: str, since: float, until: float = float("inf")) -> list[Call]:
        return [one for one in self.calls if one.kind == kind and since <= one.at < until]

    async def heard(self, *kinds: str, since: float) -> None:
        """Until each of these has had a few answers to calls that began since then."""
        async with asyncio.timeout(20):
            while any(len(self.of(kind, since)) < 3 for kind in kinds):
                await asyncio.sleep(0.02)

    async def hears(self, **expected: tuple[int, str]) -> None:
        """Until each of these kinds of callers gets this answer, and no other any more."""
        async with asyncio.timeout(BACK):
            while True:
                since = time.monotonic()
                await self.heard(*expected, since=since)
                if all(self.answers(kind, since) == {answer} for kind, answer in expected.items()):
                    return

    def answers(self, kind: str, since: float, until: float = float("inf")) -> set[tuple[int, str]]:
        return {(one.status, one.code) for one in self.of(kind, since, until)}


class Upstream:
    """How many calls of the busy key the provider serves at once."""

    def __init__(self, provider: FakeProvider) -> None:
        self.now = self.most = 0
        provider.rule = self.rule

    def rule(self, seen: Seen) -> Answer:
        if b"busy" not in seen.body:
            return Answer(pace=0.02)
        self.now += 1
        self.most = max(self.most, self.now)
        for end in (seen.done, seen.left):
            end.add_done_callback(self._done)
        return Answer(pace=0.02)

    def _done(self, _: object) -> None:
        self.now -= 1

    def taken(self) -> int:
        """The most at once since this was last asked."""
        most, self.most = self.most, self.now
        return most


def size(pid: int) -> tuple[int, int]:
    """Open files, and memory in MiB."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return len(list(Path(f"/proc/{pid}/fd").iterdir())), pages * 4096 // 2**20


async def make_key(running: Shin, **fields: Any) -> dict[str, Any]:
    return await admin(running, "POST", "/api/v1/keys", fields, expected=201)


async def admin(running: Shin, method: str, path: str, body: object = None, expected: int = 200) -> dict[str, Any]:
    token = (running.home / "admin.token").read_text().strip()
    async with httpx2.AsyncClient(trust_env=False, timeout=20) as http:
        url, headers = f"http://{running.running['admin']}{path}", {"authorization": f"Bearer {token}"}
        reply = await http.request(method, url, json=body, headers=headers)
    assert reply.status_code == expected, reply.text
    answer: dict[str, Any] = reply.json()
    return answer


async def nothing_held(url: str) -> None:
    """Ask the store itself, once nobody calls any more."""
    store = await StateStore.connect(url)
    try:
        for _ in range(100):
            if not (found := await held(store)):
                return
            await asyncio.sleep(0.1)
        raise AssertionError(f"still held: {found}")
    finally:
        await store.close()


async def held(store: StateStore) -> list[object]:
    try:
        found = list(await store.run("KEYS", f"{PREFIX}open:*"))
        for key in await store.run("KEYS", f"{PREFIX}a:*"):
            found += [key] if int(await store.run("HGET", key, "r") or 0) else []
        return found + list(await store.run("KEYS", f"{PREFIX}pi:*"))
    except StoreError as error:
        return [error]


@dataclass
class World:
    running: Shin
    server: Server
    url: str
    crowd: Crowd
    upstream: Upstream
    keys: dict[str, dict[str, Any]]

    def check_away(self, since: float) -> None:
        """What was answered since the store went away."""
        of = self.crowd.answers
        assert of("plain", since) == of("leaver", since) == {(200, "")}
        assert of("spender", since) == of("stranger", since) == {(503, "store_unavailable")}
        assert all(int(one.headers["retry-after"]) >= 1 for one in self.crowd.of("spender", since))
        assert max(one.took for one in self.crowd.calls if one.at >= since) < SLOWEST
        assert self.upstream.taken() <= WORKERS * PLACES

    async def check_back(self) -> None:
        """Soon everything works again, without any help."""
        good, everybody = (200, ""), ("plain", "spender", "busy", "stranger")
        await self.crowd.hears(plain=good, spender=good, busy=good, stranger=(401, "unauthenticated"))
        assert self.upstream.taken() <= (WORKERS + 1) * PLACES  # those of before were still under way
        await self.crowd.heard(*everybody, since=time.monotonic())
        assert self.upstream.taken() <= PLACES


@contextlib.asynccontextmanager
async def world(folder: Path, start: Start) -> AsyncIterator[World]:
    server = start("--appendonly", "yes", binary=redis_server()).wait()
    url = f"redis://127.0.0.1:{server.port}?timeout=0.5"
    async with FakeProvider() as provider:
        upstream = Upstream(provider)
        with shin(folder, provider, f"stores: {{state: '{url}'}}") as running:
            (running.policies / "gateway.yaml").write_text(POLICY)
            await running.start("--workers", str(WORKERS))
            own = {"spender": {"budget": {"limit": "$100/day"}}}
            keys = {
                kind: await make_key(running, user=kind, **own.get(kind, {}))
                for kind in ("plain", "busy", "leaver", "spender")
            }
            crowd = Crowd(f"{running.gateway}/v1/chat/completions", {kind: one["secret"] for kind, one in keys.items()})
            async with crowd.http:
                await asyncio.gather(*(crowd.one(kind) for kind in keys for _ in range(10)))  # both workers know them
                yield World(running, server, url, crowd, upstream, keys)


async def test_calls_go_on(tmp_path: Path, start: Start) -> None:
    async with world(tmp_path, start) as here:
        workers = here.running.found("shin_gateway.runner")
        async with here.crowd.at_work():
            await asyncio.sleep(0.5)
            before = [size(worker) for worker in workers]
            assert here.upstream.taken() == PLACES
            await freeze(here)
            await die(here)
            for worker, (files, memory) in zip(workers, before, strict=True):
                assert size(worker)[0] <= files + 12 and size(worker)[1] <= memory + 20
        await nothing_held(here.url)
        assert {one.status for one in here.crowd.calls} == {200, 401, 503}
        assert max(one.took for one in here.crowd.calls) < SLOWEST
        assert not here.crowd.broken
        assert here.running.found("shin_gateway.runner") == workers
        said = here.running.err
        assert "sk-shin-" not in said and "Traceback" not in said
        assert 0 < said.count("limits, budgets and places cannot be asked") <= WORKERS
        assert here.running.process.poll() is None


async def freeze(here: World) -> None:
    """For as long as the admin API has patience: a key cannot be revoked meanwhile, and works on."""
    with here.server.frozen():
        since = time.monotonic()
        problem = await admin(here.running, "DELETE", f"/api/v1/keys/{here.keys['leaver']['id']}", expected=503)
        assert time.monotonic() - since > 4
        assert "store" in problem["detail"]
        here.check_away(since)
    await here.check_back()


async def die(here: World) -> None:
    """And come back with what it had written down. Then a revocation holds at once."""
    here.server.kill()
    since = time.monotonic()
    await asyncio.sleep(2)
    here.check_away(since)
    here.server.start()
    here.server.wait()
    await here.check_back()
    await admin(here.running, "DELETE", f"/api/v1/keys/{here.keys['leaver']['id']}")
    await asyncio.sleep(1)
    since = time.monotonic()
    await here.crowd.heard("leaver", since=since)
    assert here.crowd.answers("leaver", since) == {(401, "unauthenticated")}
