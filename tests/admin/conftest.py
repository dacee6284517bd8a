"""A running admin process: in this loop, to look inside, or as the child that the supervisor starts."""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from shin_gateway.admin import server
from shin_gateway.admin.app import make_app
from shin_gateway.admin.credentials import local_token
from shin_gateway.admin.parts import Parts, open_parts
from shin_gateway.assembly import Places
from shin_gateway.running import ADMIN_TOKEN
from shin_gateway.stores.embedded import EmbeddedState
from shin_gateway.stores.rows import CallRow
from shin_gateway.stores.state import StateStore
from tests.ports import free_port
from tests.stores.servers import until

STAMP = """
from shin_gateway.addon import Addon, Settings, Stage
from shin_gateway.secret import SecretRef

class StampSettings(Settings):
    key: SecretRef = SecretRef("env:STAMP_KEY")
    ratio: float = 0.5

class Stamp(Addon[StampSettings]):
    stage = Stage.SHAPE
"""

LAB = """
hosts: [lab.example.com]
extends: standard
timeouts: {idle: 7s}
addons:
  retry: off
  stamp: {key: env:LAB_KEY, mode: shadow}
"""


@dataclass
class Answer:
    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def kind(self) -> str:
        return self.headers.get_content_type()


def fetch(
    port: int, path: str, method: str = "GET", headers: Mapping[str, str] | None = None, body: object = None
) -> Answer:
    """`body` is sent as JSON."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    data, kind = (None, {}) if body is None else (json.dumps(body), {"content-type": "application/json"})
    try:
        connection.request(method, path, data, {**kind, **(headers or {})})
        reply = connection.getresponse()
        return Answer(reply.status, reply.headers, reply.read())
    finally:
        connection.close()


@pytest.fixture
def places(tmp_path: Path) -> Places:
    """A home, a policy and an addon of one's own."""
    for folder in ("home", "policies", "addons"):
        (tmp_path / folder).mkdir()
    (tmp_path / "policies" / "lab.yaml").write_text(LAB)
    (tmp_path / "addons" / "stamp.py").write_text(STAMP)
    return Places(tmp_path / "home", None, [tmp_path / "policies"], [tmp_path / "addons"])


@pytest.fixture
async def embedded(places: Places) -> AsyncIterator[EmbeddedState]:
    running = EmbeddedState(places.home)
    await running.ensure()
    yield running
    await running.stop()


@pytest.fixture
async def state(embedded: EmbeddedState) -> AsyncIterator[StateStore]:
    """The test's own connection, as a worker has one."""
    store = await StateStore.connect(embedded.url)
    yield store
    await store.close()


async def keep(state: StateStore, *rows: CallRow) -> None:
    """As a worker does: until the state store has acknowledged every row."""
    for row in rows:
        state.rows.put(row)
    assert await state.rows.flush(10) == 0


@dataclass
class Running:
    """An admin API in this loop."""

    port: int
    parts: Parts
    token: str = ""
    """This machine's own."""

    async def ask(self, method: str, path: str, body: object = None, bearer: str | None = None) -> Answer:
        """As this machine's owner, or with another secret; "" with none."""
        secret = self.token if bearer is None else bearer
        headers = {"authorization": f"Bearer {secret}"} if secret else {}
        return await asyncio.to_thread(fetch, self.port, path, method, headers, body)

    async def get(self, path: str, method: str = "GET", **headers: str) -> Answer:
        return await asyncio.to_thread(fetch, self.port, path, method, headers)

    async def shipped(self, count: int) -> None:
        while self.parts.shipper.shipped < count:
            await asyncio.sleep(0.02)


@asynccontextmanager
async def running(places: Places, host: str = "127.0.0.1") -> AsyncIterator[Running]:
    config = places.read()
    address: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    async with open_parts(places, config) as parts:
        made = server.make_server(make_app(parts, local_token(places.home), host), address.set_result)
        answering = asyncio.create_task(made.serve(sockets=[server.open_port("127.0.0.1", 0)]))
        yield Running((await address)[1], parts, (places.home / ADMIN_TOKEN).read_text())
        made.should_exit = True
        await answering


@pytest.fixture
async def admin(places: Places, embedded: EmbeddedState) -> AsyncIterator[Running]:
    async with running(places) as one:
        yield one


class Process:
    """The admin process as the supervisor starts it."""

    def __init__(self, places: Places, host: str = "127.0.0.1", **environment: str) -> None:
        self.port = free_port()
        options = {
            "home": str(places.home),
            "config": str(places.config) if places.config else None,
            "policies": [str(path) for path in places.policies],
            "addons": [str(path) for path in places.addons],
            "host": host,
            "port": self.port,
        }
        self._command = [sys.executable, "-O", "-m", "shin_gateway.admin", json.dumps(options)]
        self._environment = os.environ | environment
        self._log = places.home / "admin.log"
        self.child: subprocess.Popen[bytes]

    def start(self) -> bytes:
        """What it said on the pipe: nothing when it ended before."""
        reading, writing = os.pipe()
        with self._log.open("ab") as log:
            self.child = subprocess.Popen(
                [*self._command, str(writing)], pass_fds=[writing], stderr=log, env=self._environment
            )
        os.close(writing)
        with os.fdopen(reading, "rb") as pipe:
            return pipe.read()

    def end(self, number: int = signal.SIGTERM) -> int:
        self.child.send_signal(number)
        return self.child.wait(30)

    @property
    def said(self) -> str:
        return self._log.read_text()

    def get(self, path: str) -> Answer:
        return fetch(self.port, path)

    def ids(self) -> list[str]:
        return [call["id"] for call in self.get("/api/v1/calls?limit=1000").json["calls"]]

    def shows(self, count: int) -> None:
        until(lambda: len(self.ids()) >= count)


@pytest.fixture
def processes() -> Iterator[list[Process]]:
    """What is put here is killed at the end, if it still runs."""
    started: list[Process] = []
    yield started
    for one in started:
        if one.child.poll() is None:
            one.child.kill()
            one.child.wait()
