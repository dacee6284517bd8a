"""One worker: a mitmproxy master with only the addons that we need, the bridge, and a gateway behind it."""

from __future__ import annotations

import asyncio
import gc
import logging
import re
import signal
import sys
from pathlib import Path
from typing import Any

import certifi
import msgspec
from mitmproxy import ctx, master, options
from mitmproxy.exceptions import OptionsError
from mitmproxy.proxy import mode_specs
from mitmproxy.proxy.server import ConnectionHandler

from shin_gateway.assembly import EXPECTED, Places, open_gateway
from shin_gateway.bridge import Bridge
from shin_gateway.ca import Authority, CAError
from shin_gateway.config import Config
from shin_gateway.diagnostics import Diagnostics
from shin_gateway.engine import SharedPortLoop, make_master
from shin_gateway.gateway import Gateway
from shin_gateway.huge_pages import collapse_heap
from shin_gateway.lifetime import die_with_parent, say_failed, say_ready
from shin_gateway.listening.bans import Bans
from shin_gateway.listening.crowd import Crowd
from shin_gateway.listening.patrol import Patrol
from shin_gateway.modes import reverses_to_us_alone, upstream_login
from shin_gateway.policy.match import GATEWAY, HostPattern
from shin_gateway.policy.resolve import PolicySet, load_policies
from shin_gateway.policy.watch import PolicyWatcher
from shin_gateway.stores.heartbeats import Heartbeat
from shin_gateway.strangers import lets_in
from shin_gateway.upstream import UpstreamOptions

log = logging.getLogger(__name__)

DAY = 86400.0

CUT = 2.0
"""Seconds that calls get to tell their clients, once the time for calls in flight is over."""

FLUSH = 5.0
"""Seconds that the rows of ended calls get to reach the state store at the end."""

GARBAGE = 10_000
"""New objects after which garbage is looked for. Python's own 2,000 is less than a few translated calls make, all of
them still in use. No call leaves itself behind in a cycle (tests/e2e/test_streams.py), so few wait for it."""


class WorkerOptions(msgspec.Struct, kw_only=True, frozen=True):
    """What the supervisor tells a worker, as JSON on its command line."""

    home: str
    config: str | None = None
    policies: list[str] = []
    addons: list[str] = []
    modes: list[str]
    """mitmproxy's mode specifications, listening addresses included."""
    set: list[str] = []
    """mitmproxy's options as `name=value`."""
    drain: float = 30.0
    """Seconds that calls in flight get to end after SIGTERM."""

    @property
    def places(self) -> Places:
        config = Path(self.config) if self.config else None
        return Places(Path(self.home), config, [Path(one) for one in self.policies], [Path(one) for one in self.addons])


class Worker:
    """A gateway behind mitmproxy's options: what a worker process and plain mitmdump have in common."""

    def __init__(self, places: Places, config: Config, bridge: Bridge, opts: options.Options) -> None:
        self.places = places
        self.config = config
        self.gateway: Gateway
        self._bridge = bridge
        self._options = opts
        self._authority = Authority(places.home)
        self._watcher: PolicyWatcher
        self._heartbeat: Heartbeat
        self._patrol: Patrol
        self._renewal: asyncio.Task[None]

    def prepare(self) -> None:
        """Set what has to stand before mitmproxy opens its ports. Raises PolicyErrors, RegistryError, CAError."""
        registry = self.places.registry(self.config)
        policies = load_policies(self.places.policy_dirs(self.config), registry)
        self._authority.ensure(policies.hosts)
        self._options.update(
            confdir=str(self._authority.folder),
            connection_strategy="lazy",
            rawtcp=False,  # or a call whose first line comes in two pieces is taken for another protocol and passes by
            upstream_cert=False,  # names from an upstream's certificate could be outside of our CA's constraints
            allow_hosts=host_expressions(policies),
            **_trust(self.config, self.places.home, self._options),
        )

    async def start(self) -> None:
        """Everything that needs the event loop."""
        gateway = await open_gateway(self.places, self.config, upstream_options(self._options))
        self.gateway = self._bridge.gateway = gateway
        self._bridge.diagnostics = Diagnostics(self.places.home)
        limits = self.config.listen.limits
        self._bridge.crowd, self._bridge.bans = Crowd(limits), Bans(limits.ban)
        self._patrol = Patrol(limits, lambda: ctx.master.addons.get("proxyserver").connections.values())
        self._patrol.start()
        self._watcher = PolicyWatcher(gateway.policy_dirs, gateway.registry, self._use)
        self._watcher.start(gateway.policies)
        self._heartbeat = Heartbeat(gateway.state)
        self._heartbeat.start()
        self._renewal = asyncio.create_task(self._renew(), name="CA renewal")

    async def _renew(self) -> None:
        """The CA lives for a year at most; a worker may live longer."""
        while True:
            await asyncio.sleep(DAY)
            try:
                await asyncio.to_thread(self._authority.ensure, self.gateway.policies.hosts)
                self._options.update(confdir=str(self._authority.folder))
            except CAError as error:
                log.error("%s", error)
            except Exception:  # a full disk, say: there is another day
                log.exception("the CA could not be looked after")

    async def _use(self, policies: PolicySet) -> None:
        """Raises PermissionError where they would let in strangers that those before kept out."""
        for host in self._hosts:
            if (why := lets_in(host, self.config, policies)) and not lets_in(host, self.config, self.gateway.policies):
                raise PermissionError(why)
        await asyncio.to_thread(self._authority.ensure, policies.hosts)
        await self.gateway.use(policies)
        # Naming confdir again makes mitmproxy read the CA again, which may have been remade.
        self._options.update(allow_hosts=host_expressions(policies), confdir=str(self._authority.folder))

    @property
    def _hosts(self) -> set[str]:
        """The addresses that it listens on."""
        modes = map(mode_specs.ProxyMode.parse, self._options.mode)
        return {mode.listen_host(self._options.listen_host) or "0.0.0.0" for mode in modes}

    async def reload(self) -> None:
        await self._watcher.reload()

    async def stop(self) -> None:
        self._renewal.cancel()
        await self._patrol.stop()
        await self._watcher.stop()
        await self._heartbeat.stop()
        await self.gateway.stop()
        await self.gateway.state.rows.flush(FLUSH)
        await self.gateway.state.close()


def host_expressions(policies: PolicySet) -> list[str]:
    """`allow_hosts`: mitmproxy decides by CONNECT's host and the server's name in the handshake, before decrypting."""
    return [f"^{GATEWAY}:80$", *(_expression(pattern) for pattern, _ in policies.table.items())]


def _expression(pattern: HostPattern) -> str:
    name = re.escape(pattern.name)
    if pattern.name.startswith("*"):
        name = r"[^:/]+" + re.escape(pattern.name[1:])
    return rf"^{name}\.?:{pattern.port or '[0-9]+'}$"


def upstream_options(opts: options.Options) -> UpstreamOptions:
    """mitmproxy's options for upstream connections, as our own client takes them."""
    parsed = (mode_specs.ProxyMode.parse(spec) for spec in opts.mode)
    upstream = next((mode for mode in parsed if isinstance(mode, mode_specs.UpstreamMode)), None)
    proxy = None
    if upstream is not None:
        host, port = upstream.address[:2]
        proxy = f"{upstream.scheme}://{f'[{host}]' if ':' in host else host}:{port}"
    return UpstreamOptions(
        insecure=opts.ssl_insecure,
        trusted_ca=opts.ssl_verify_upstream_trusted_ca,
        trusted_confdir=opts.ssl_verify_upstream_trusted_confdir,
        client_certs=opts.client_certs,
        proxy=proxy,
        proxy_auth=opts.upstream_auth,
    )


def _trust(config: Config, home: Path, opts: options.Options) -> dict[str, Any]:
    """`upstream.ca` beside the public roots, in one file, since mitmproxy's option replaces them."""
    if config.upstream.ca is None or opts.ssl_verify_upstream_trusted_ca:
        return {}
    bundle = home / "upstream-roots.pem"
    bundle.write_bytes(Path(certifi.where()).read_bytes() + b"\n" + config.upstream.ca.read_bytes())
    return {"ssl_verify_upstream_trusted_ca": str(bundle)}


async def serve(worker_options: WorkerOptions, ready: int | None = None) -> None:
    """Run one worker until SIGTERM or SIGINT. On the descriptor `ready` it says that its ports are open."""
    places = worker_options.places
    config = places.read()
    bridge = Bridge()
    opts = options.Options()
    made = make_master(bridge, opts)
    modes = worker_options.modes
    # What a reply tells its client to ask next has to name the gateway as the client does.
    opts.update(mode=modes, upstream_auth=upstream_login(config), keep_host_header=reverses_to_us_alone(modes))
    opts.set(*worker_options.set)
    worker = Worker(places, config, bridge, opts)
    worker.prepare()
    await worker.start()
    made.addons.add(_Ready(ready))
    _handle_signals(made, worker, worker_options.drain)
    gc.freeze()  # what start-up made stays; no need to look at it again and again
    gc.set_threshold(GARBAGE, *gc.get_threshold()[1:])
    collapsing = asyncio.get_running_loop().run_in_executor(None, collapse_heap)
    try:
        await made.run()
    finally:
        await worker.stop()
        await collapsing


class _Ready:
    """Says on a pipe that the ports are open."""

    def __init__(self, descriptor: int | None) -> None:
        self._descriptor = descriptor

    def running(self) -> None:
        if self._descriptor is not None:
            say_ready(self._descriptor)


def _handle_signals(made: master.Master, worker: Worker, patience: float) -> None:
    loop = asyncio.get_running_loop()
    tasks: set[asyncio.Task[None]] = set()
    ending = _Ending(made, worker, patience)

    def run(work: Any) -> None:
        task = loop.create_task(work)
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    loop.add_signal_handler(signal.SIGTERM, lambda: run(ending.go_on()))
    loop.add_signal_handler(signal.SIGINT, lambda: run(ending.go_on()))
    loop.add_signal_handler(signal.SIGHUP, lambda: run(worker.reload()))


class _Ending:
    """What the first signal begins, and the second hastens."""

    def __init__(self, made: master.Master, worker: Worker, patience: float) -> None:
        self._made = made
        self._worker = worker
        self._patience = patience
        self._begun = False
        self._hurry = asyncio.Event()

    async def go_on(self) -> None:
        if self._begun:
            self._hurry.set()
            return
        self._begun = True
        await self._made.addons.get("proxyserver").servers.update([])
        drained = asyncio.create_task(self._drain())
        hurried = asyncio.create_task(self._hurry.wait())
        await asyncio.wait([drained, hurried], timeout=self._patience, return_when=asyncio.FIRST_COMPLETED)
        hurried.cancel()
        if not drained.done():
            self._worker.gateway.cut()
            await asyncio.wait([drained], timeout=CUT)
            drained.cancel()
        self._made.shutdown()

    async def _drain(self) -> None:
        """Until all calls have ended, and their clients' sockets have every byte."""
        await self._worker.gateway.drain()
        for handler in list(self._made.addons.get("proxyserver").connections.values()):
            await _handed_over(handler)


async def _handed_over(handler: ConnectionHandler) -> None:
    """Until the kernel has what was written: a slow reader's last bytes may still be in our own buffers."""
    transport = handler.transports.get(handler.client)
    if transport is None or not isinstance(transport.writer, asyncio.StreamWriter):
        return
    while transport.writer.transport.get_write_buffer_size():
        await asyncio.sleep(0.05)


def set_up_logging() -> None:
    """Our own lines and mitmproxy's warnings, on standard error."""
    logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s: %(message)s", level=logging.WARNING)
    logging.getLogger("shin_gateway").setLevel(logging.INFO)


def main() -> None:
    die_with_parent()
    set_up_logging()
    worker_options, ready = msgspec.json.decode(sys.argv[1], type=WorkerOptions), int(sys.argv[2])
    try:
        with asyncio.Runner(loop_factory=SharedPortLoop) as runner:
            runner.run(serve(worker_options, ready))
    except (*EXPECTED, OptionsError) as error:
        say_failed(ready, str(error))
        sys.exit(1)


if __name__ == "__main__":
    main()
