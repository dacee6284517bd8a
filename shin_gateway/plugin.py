"""The bridge as plain mitmproxy loads it: `mitmdump -s addons/gateway.py --set shin_policies=policies`.

One worker, with the same policies, stores and CA as `shin run`. Rows of calls wait in the state
store for whoever ships them, unless `shin_ship` is set.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from pathlib import Path

from mitmproxy import connection, ctx
from mitmproxy.addonmanager import Loader
from mitmproxy.proxy import mode_specs

from shin_gateway.assembly import EXPECTED, Places, make_home
from shin_gateway.bridge import Bridge
from shin_gateway.config import Config
from shin_gateway.engine import TlsConfig
from shin_gateway.modes import default_mode, gateway_mode, upstream_login
from shin_gateway.policy.match import GATEWAY
from shin_gateway.runner import FLUSH, Worker
from shin_gateway.stores.analytics import Analytics, open_analytics
from shin_gateway.stores.embedded import EmbeddedState
from shin_gateway.stores.shipper import Shipper

log = logging.getLogger(__name__)

_OPTIONS = {
    "shin_home": ("~/.shin", "Where state and the CA live."),
    "shin_config": ("", "shin.yaml."),
    "shin_policies": ("", f"Folders of policies, separated by {os.pathsep!r}."),
    "shin_addons": ("", f"Folders of addons, separated by {os.pathsep!r}."),
    "shin_gateway": ("127.0.0.1:4000", "Where the gateway listens; empty for no gateway."),
}


class Plugin(Bridge):
    """Starts what the bridge needs once mitmproxy runs; connections wait until then."""

    def __init__(self) -> None:
        super().__init__()
        self._started = asyncio.Event()
        self._worker: Worker | None = None
        self._state: EmbeddedState | None = None
        self._shipper: Shipper | None = None
        self._analytics: Analytics | None = None

    def load(self, loader: Loader) -> None:
        for name, (default, help) in _OPTIONS.items():
            loader.add_option(name, str, default, help)
        loader.add_option("shin_ship", bool, False, "Ship the rows of calls to analytics from this process.")

    def configure(self, updated: set[str]) -> None:
        super().configure(updated)
        if self._worker is None and any(name.startswith("shin_") for name in updated):
            self._prepare()

    def _prepare(self) -> None:
        places = _places()
        try:
            make_home(places.home)
            config = places.read()
            worker = Worker(places, config, self, ctx.options)
            worker.prepare()
            ctx.master.addons.get("tlsconfig").__class__ = TlsConfig  # nothing but its one method differs
            self._listen(config)
            self._worker = worker
        except (*EXPECTED, OSError) as error:
            log.error("shin: %s", error)  # mitmproxy ends at this, and would show an exception with its traceback

    def _listen(self, config: Config) -> None:
        modes, address = list(ctx.options.mode), ctx.options.shin_gateway
        if modes == ["regular"]:  # mitmproxy's default: nobody has said otherwise
            modes = [default_mode(config)]
        if address and not any(f"//{GATEWAY}" in mode for mode in modes):
            modes.append(gateway_mode(address))
        ctx.options.update(mode=modes, upstream_auth=ctx.options.upstream_auth or upstream_login(config))

    def running(self) -> None:
        # mitmproxy calls this either from a coroutine or from none, as a script loads early or late.
        if self._worker is not None:
            self._starting = asyncio.create_task(self._start(self._worker))

    async def _start(self, worker: Worker) -> None:
        try:
            if await self._open(worker):
                return
        except (*EXPECTED, OSError) as error:
            log.error("shin: %s", error)
        sys.exit(1)  # mitmproxy does not look for errors any more, but ends in order

    async def _open(self, worker: Worker) -> bool:
        """False when a port cannot be had, which mitmproxy has said then."""
        if not worker.config.stores.state:
            self._state = EmbeddedState(worker.places.home)
            await self._state.ensure()
        await worker.start()
        if ctx.options.shin_ship:
            await self._ship(worker)
        self._started.set()
        # A script may load after mitmproxy has opened the ports that it knew of.
        modes = [mode_specs.ProxyMode.parse(mode) for mode in ctx.options.mode]
        return bool(await ctx.master.addons.get("proxyserver").servers.update(modes))

    async def _ship(self, worker: Worker) -> None:
        where = worker.config.stores.analytics
        path = where.read() if where else str(worker.places.home / "analytics.duckdb")
        self._analytics = await open_analytics(path, keep=worker.config.log.retention)
        self._shipper = Shipper(worker.gateway.state, self._analytics)
        self._shipping = asyncio.create_task(self._shipper.run())

    async def client_connected(self, client: connection.Client) -> None:
        await self._started.wait()
        super().client_connected(client)

    async def done(self) -> None:
        if self._worker is not None and self._started.is_set():
            await self._worker.gateway.state.rows.flush(FLUSH)
            if self._shipper is not None and self._analytics is not None:
                await self._shipper.stop()
                await self._analytics.close()
            await self._worker.stop()
        if self._state is not None:
            await self._state.stop()


def _places() -> Places:
    options = ctx.options
    return Places(
        home=Path(options.shin_home).expanduser().absolute(),
        config=Path(options.shin_config) if options.shin_config else None,
        policies=[Path(one) for one in options.shin_policies.split(os.pathsep) if one],
        addons=[Path(one) for one in options.shin_addons.split(os.pathsep) if one],
    )
