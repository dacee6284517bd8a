"""A worker as `shin run` starts it, but in the test's own event loop: mitmproxy, bridge, gateway, real Valkey."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import ssl
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
from mitmproxy import options
from mitmproxy.master import Master

from shin_gateway.assembly import Places
from shin_gateway.bridge import Bridge
from shin_gateway.engine import make_master
from shin_gateway.modes import proxy_modes
from shin_gateway.runner import Worker
from shin_gateway.stores.embedded import EmbeddedState
from shin_gateway.stores.errors import StoreError
from shin_gateway.stores.rows import CallRow
from tests.ports import free_port

CHAT = {"model": "gpt-4o", "messages": [{"role": "user", "content": "say hello"}]}
MESSAGES = {"model": "claude-sonnet-4-5", "max_tokens": 99, "messages": [{"role": "user", "content": "say hello"}]}


@dataclass
class Serving:
    """One running worker."""

    home: Path
    policies: Path
    master: Master
    worker: Worker

    @property
    def ca(self) -> Path:
        return self.home / "ca" / "mitmproxy-ca-cert.pem"

    def _address(self, kind: str) -> str:
        servers = self.master.addons.get("proxyserver").servers
        server = next(one for one in servers if one.mode.type_name == kind)
        host, port, *_ = server.listen_addrs[0]
        return f"{host}:{port}"

    @property
    def gateway(self) -> str:
        return f"http://{self._address('reverse')}"

    def proxy(self, login: str = "") -> str:
        kind = next(one.mode.type_name for one in self.master.addons.get("proxyserver").servers)
        return f"http://{login}{self._address(kind)}"

    def client(self, *, login: str = "", trust: Path | None = None, **more: Any) -> httpx2.AsyncClient:
        """A client that goes through the proxy and trusts our CA, or `trust`."""
        context = ssl.create_default_context(cafile=str(trust or self.ca))
        return httpx2.AsyncClient(proxy=self.proxy(login), verify=context, trust_env=False, **more)

    def policy(self, name: str, text: str) -> None:
        (self.policies / f"{name}.yaml").write_text(text)

    async def rows(self, count: int = 1) -> list[CallRow]:
        """The rows of the calls so far, once there are `count`."""
        state = self.worker.gateway.state
        async with asyncio.timeout(20):
            while True:
                entries = []
                with contextlib.suppress(StoreError):  # it was slow: the machine has other work
                    entries = await state.run("XRANGE", "shin:{rows}", "-", "+") or []
                if len(entries) >= count:
                    return [_row(entry) for entry in entries]
                await asyncio.sleep(0.02)


def _row(entry: Any) -> CallRow:
    _, fields = entry
    values = fields.values() if isinstance(fields, dict) else fields[1::2]
    return CallRow.decode(next(iter(values)))


def write_config(folder: Path, providers: Mapping[str, str], more: str = "") -> Path:
    """A shin.yaml whose providers are at these base URLs."""
    lines = [f"  {name}: {{base_url: {url!r}, api_key: env:SHIN_TEST_KEY}}" for name, url in providers.items()]
    path = folder / "shin.yaml"
    path.write_text("\n".join(["providers:" if lines else "", *lines, more]))
    return path


@contextlib.asynccontextmanager
async def serve(
    home: Path, config: Path, policies: Path, *, addons: list[Path] | None = None, modes: list[str] | None = None,
    **settings: Any,
) -> AsyncIterator[Serving]:  # fmt: skip
    """`settings` are mitmproxy's options."""
    home.mkdir(mode=0o700, exist_ok=True)
    policies.mkdir(exist_ok=True)
    places = Places(home, config, [policies], addons or [])
    loaded = places.read()
    bridge, opts = Bridge(), options.Options()
    specs = proxy_modes(modes or [], loaded, f"127.0.0.1:{free_port()}", f"127.0.0.1:{free_port()}")
    async with contextlib.AsyncExitStack() as stack:
        state = EmbeddedState(home)
        stack.push_async_callback(state.stop)
        await state.ensure()
        with _undisturbed():
            master = make_master(bridge, opts)
            opts.update(mode=specs, **settings)
            worker = Worker(places, loaded, bridge, opts)
            worker.prepare()
            await worker.start()
            stack.push_async_callback(worker.stop)
            running = asyncio.create_task(master.run())
            stack.push_async_callback(_ended, master, running)
            async with asyncio.timeout(20):
                servers = master.addons.get("proxyserver").servers
                while sum(one.is_running for one in servers) < len(specs) and not running.done():
                    await asyncio.sleep(0.01)
        yield Serving(home, policies, master, worker)


@contextlib.contextmanager
def _undisturbed() -> Iterator[None]:
    """mitmproxy takes any error in the log for one of its start, and the garbage of tests before may log one."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


async def _ended(master: Master, running: asyncio.Task[None]) -> None:
    master.shutdown()
    await asyncio.wait([running], timeout=30)
