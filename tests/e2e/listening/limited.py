"""A worker whose limits are so short that a test sees their end.

mitmproxy knows one master at a time, so a module has one worker.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio

from tests.e2e.serving import CHAT, Serving, serve, write_config
from tests.e2e.wire import Wire, request
from tests.provider import FakeProvider

PATH = "/v1/chat/completions"
CALL = json.dumps(CHAT).encode()
LIMITS = "head: 16kB, headers: 50, head_timeout: 400ms, body_timeout: 400ms, idle: 800ms, body_rate: 1kB"
APP = "https://app.example.com"
POLICY = (
    f"hosts: [gateway]\nextends: standard\nlimits: {{body: 400kB}}\ncors: {{origins: [{APP}, 'null'], max_age: 5m}}\n"
)

once = functools.partial(pytest_asyncio.fixture, scope="module", loop_scope="module")


@contextlib.asynccontextmanager
async def limited(
    folder: Path, provider: FakeProvider, secure: FakeProvider, limits: str = LIMITS, more: str = ""
) -> AsyncIterator[Serving]:
    listen = f"upstream: {{ca: {str(secure.ca_file)!r}}}\nlisten: {{limits: {{{limits}}}}}\n{more}"
    config = write_config(folder, {"openai": f"{provider.url}/v1"}, listen)
    policies = folder / "policies"
    policies.mkdir()
    (policies / "gateway.yaml").write_text(POLICY)
    (policies / "local.yaml").write_text(f"hosts: ['localhost:{secure.port}']\nextends: observe\n")
    async with serve(folder / "home", config, policies) as one:
        yield one


def preflight(
    origin: str, path: str = PATH, method: str = "POST", headers: str = "authorization, content-type"
) -> bytes:
    asked = f"access-control-request-method: {method}"
    return request(
        path, None, f"origin: {origin}", asked, f"access-control-request-headers: {headers}", method="OPTIONS"
    )


async def opened(address: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    host, _, port = address.removeprefix("http://").rpartition(":")
    return await asyncio.open_connection(host, int(port))


async def drawn_out(address: str, begin: bytes, drop: bytes = b"", every: float = 0.1) -> tuple[float, bytes]:
    """Seconds until the other side hangs up on who sends `begin`, then `drop` again and again; what it said."""
    reader, writer = await opened(address)
    began, said = time.monotonic(), b""
    writer.write(begin)
    async with asyncio.timeout(20):
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(every):
                    part = await _read(reader)
                    if not part:
                        break
                    said += part
            writer.write(drop)
    writer.transport.abort()
    return time.monotonic() - began, said


async def _read(reader: asyncio.StreamReader) -> bytes:
    """b"" also where our own last drop met a closed door, and the connection was reset for it."""
    try:
        return await reader.read(65536)
    except ConnectionError:
        return b""


def in_tunnel(worker: Serving, secure: FakeProvider) -> Wire:
    return Wire(worker.proxy(), f"localhost:{secure.port}", worker.ca)


def open_connections(worker: Serving) -> int:
    return len(worker.master.addons.get("proxyserver").connections)


def held(worker: Serving) -> list[object]:
    gateway = worker.worker.gateway
    return [live for live in gateway._live.values() if live.busy] + list(gateway.upstream._exchanges)
