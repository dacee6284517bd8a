"""The parent: starts the embedded stores, the workers and the admin process, ends them in order."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import fcntl
import importlib.metadata
import json
import logging
import os
import shlex
import shutil
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec

from shin_gateway import running
from shin_gateway.assembly import EXPECTED, Places, make_home, state_url
from shin_gateway.ca import Authority
from shin_gateway.children import CannotStart, Child
from shin_gateway.config import Config, Listen
from shin_gateway.identity.users import Users
from shin_gateway.modes import proxy_modes
from shin_gateway.policy.resolve import PolicySet, load_policies
from shin_gateway.stores.embedded import EmbeddedState
from shin_gateway.stores.state import StateStore
from shin_gateway.strangers import lets_in

log = logging.getLogger(__name__)

DRAIN = 30.0
"""Seconds that calls in flight get to end, unless somebody says otherwise."""
LEFTOVERS = 20.0
"""Seconds that the children of a killed `shin run` get to end before a new one gives up."""


@dataclass(frozen=True)
class RunOptions:
    """`shin run`'s command line."""

    home: Path
    config: Path | None = None
    policies: list[Path] | tuple[Path, ...] = ()
    addons: list[Path] | tuple[Path, ...] = ()
    workers: int | None = None
    host: str | None = None
    proxy_port: int | None = None
    gateway_port: int | None = None
    admin_port: int | None = None
    modes: list[str] | tuple[str, ...] = ()
    set: list[str] | tuple[str, ...] = ()
    ready_file: Path | None = None
    drain: float = DRAIN
    """Seconds that calls in flight get to end after SIGTERM."""

    @property
    def places(self) -> Places:
        return Places(self.home, self.config, list(self.policies), list(self.addons))


def run(options: RunOptions) -> int:
    """Run until a signal ends it; the exit code."""
    return _explained(lambda: _run(options))


def run_admin(options: RunOptions) -> int:
    """Run the admin process alone; the exit code."""
    from shin_gateway.admin import server

    return _explained(lambda: server.serve(options.places, options.host, options.admin_port))


def _explained(work: Callable[[], Awaitable[None]]) -> int:
    """One line for whatever was to be expected, no traceback."""
    logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s: %(message)s", level=logging.WARNING)
    try:
        asyncio.run(_awaited(work))
    except (CannotStart, *EXPECTED) as error:
        print(f"shin: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"shin: {error.strerror or error}: {error.filename or ''}".rstrip(": "), file=sys.stderr)
        return 1
    return 0


async def _awaited(work: Callable[[], Awaitable[None]]) -> None:
    await work()


async def _run(options: RunOptions) -> None:
    options = replace(options, home=options.home.absolute())
    make_home(options.home)
    config = options.places.read()
    policies = load_policies(options.places.policy_dirs(config), options.places.registry(config))
    async with _alone(options.home) as lock:
        listen = _open_ports(_listen(options, config), config, policies)
        Authority(options.home).ensure(policies.hosts)
        Users(config.users).look()
        supervisor = Supervisor(options, config, listen, policies, lock)
        try:
            if await supervisor.start():
                supervisor.announce()
                await supervisor.until_signal()
        finally:
            await supervisor.stop()


@contextlib.asynccontextmanager
async def _alone(home: Path) -> AsyncIterator[int]:
    """Hold the home's lock: one `shin run` for each home. The descriptor goes to whoever must end before the next.

    Raises CannotStart when another one runs.
    """
    lock = os.open(home / "run.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        deadline = time.monotonic() + LEFTOVERS
        while not _locked(lock):
            other = running.read(home / "run.json")
            if other is None or other.alive or time.monotonic() > deadline:
                raise CannotStart(_occupied(home, other))
            await asyncio.sleep(0.1)  # a killed one's admin process is still ending
        yield lock
    finally:
        os.close(lock)


def _locked(lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _occupied(home: Path, other: running.Running | None) -> str:
    who = f" (process {other.pid}, proxy on {other.proxy})" if other else ""
    return f"another shin run{who} uses {home}: end it, or take another --home"


def _listen(options: RunOptions, config: Config) -> Listen:
    said = {
        "host": options.host,
        "proxy_port": options.proxy_port,
        "gateway_port": options.gateway_port,
        "admin_port": options.admin_port,
    }
    return config.listen.model_copy(update={name: value for name, value in said.items() if value is not None})


def _open_ports(listen: Listen, config: Config, policies: PolicySet) -> Listen:
    """The ports made definite, and known to be free: SO_REUSEPORT would share them with a stranger of ours."""
    if why := lets_in(listen.host, config, policies):
        raise CannotStart(why)
    with contextlib.ExitStack() as probes:  # all at once, so that no two get the same free one
        ports = {name: _free_port(probes, listen.host, getattr(listen, name), name) for name in _PORTS}
    return listen.model_copy(update=ports)


_PORTS = {"proxy_port": "--proxy-port", "gateway_port": "--gateway-port", "admin_port": "--admin-port"}


def _free_port(probes: contextlib.ExitStack, host: str, port: int, name: str) -> int:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    probe = probes.enter_context(socket.socket(family, socket.SOCK_STREAM))
    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        probe.bind((host, port))
    except OSError as error:
        raise CannotStart(
            f"cannot listen on {host}:{port}: {error.strerror}; another program has it? Try {_PORTS[name]}"
        ) from None
    return int(probe.getsockname()[1])


class Supervisor:
    """All children of one `shin run`. The admin process keeps `lock`: analytics has room for one at a time."""

    def __init__(self, options: RunOptions, config: Config, listen: Listen, policies: PolicySet, lock: int) -> None:
        self._options = options
        self._config = config
        self._listen = listen
        self._policies = policies
        self._state = None if config.stores.state else EmbeddedState(options.home)
        self._watching: asyncio.Task[None] | None = None
        count = options.workers or config.workers
        worker = _worker_command(options, _modes(options, config, listen))
        self._workers = [Child(f"worker {number + 1}", worker) for number in range(count)]
        self._admin = Child("admin process", _admin_command(options, listen), [lock])
        self._ended = asyncio.Event()

    async def start(self) -> bool:
        """Return True when everything serves, False when a signal came before that. Raises CannotStart, StoreError."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._end)
        loop.add_signal_handler(signal.SIGHUP, self._reload)
        starting = loop.create_task(self._start())
        ended = loop.create_task(self._ended.wait())
        await asyncio.wait([starting, ended], return_when=asyncio.FIRST_COMPLETED)
        ended.cancel()
        if not starting.done():
            starting.cancel()
            await asyncio.gather(starting, return_exceptions=True)
            return False
        starting.result()
        return True

    async def _start(self) -> None:
        if self._state is not None:
            await self._state.ensure()
            self._watching = asyncio.create_task(self._state.watch(), name="embedded state store")
        # Said once here, rather than by every child.
        await (await StateStore.connect(state_url(self._config, self._options.home))).close()
        children = [*self._workers, self._admin]
        await asyncio.gather(*(child.start() for child in children))
        for child in children:
            child.keep()

    def _reload(self) -> None:
        """One that starts reads what there is now anyhow."""
        for worker in self._workers:
            if worker.serves:
                worker.signal(signal.SIGHUP)

    def _end(self) -> None:
        """The first signal lets calls end. The second is for those who do not want to wait for them."""
        if self._ended.is_set():
            for worker in self._workers:
                worker.signal(signal.SIGTERM)
        self._ended.set()

    async def until_signal(self) -> None:
        await self._ended.wait()
        print(
            f"shin: ending; calls under way get up to {self._options.drain:.0f} s, unless you ask again",
            file=sys.stderr,
        )

    async def stop(self) -> None:
        """Workers drain first, then the admin process ships what they left, then the store goes."""
        (self._options.home / "run.json").unlink(missing_ok=True)
        await asyncio.gather(*(worker.stop(self._options.drain + 10) for worker in self._workers))
        await self._admin.stop(15)
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.gather(self._watching, return_exceptions=True)
        if self._state is not None:
            await self._state.stop()

    def announce(self) -> None:
        """Tell other commands, and whoever sits at the terminal, what runs where."""
        listen = self._listen
        host = f"[{listen.host}]" if ":" in listen.host else listen.host
        said = {
            "pid": os.getpid(),
            "proxy": f"{host}:{listen.proxy_port}",
            "gateway": f"{host}:{listen.gateway_port}",
            "admin": f"{host}:{listen.admin_port}",
            "started": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
            "version": importlib.metadata.version("shin-gateway"),
            "rewrites": rewrites(self._policies),
        }
        for file in (self._options.home / "run.json", self._options.ready_file):
            if file is not None:
                temporary = file.with_name(f"{file.name}.new")
                temporary.write_text(json.dumps(said))
                temporary.replace(file)
        keys = asks_for_keys(self._policies)
        logins = keys or self._config.for_others
        print(_banner(said, self._options.home, len(self._workers), keys=keys, logins=logins), flush=True)


def rewrites(policies: PolicySet) -> bool:
    """Whether some addon changes what agents send, which makes Claude Code's own mark on its bodies stale."""
    lines = (line for policy in policies.policies for line in policy.addons)
    return any(line.cls.changes_calls and line.mode == "enforce" for line in lines)


def asks_for_keys(policies: PolicySet) -> bool:
    return any(line.name == "auth" for policy in policies.policies for line in policy.addons)


def _modes(options: RunOptions, config: Config, listen: Listen) -> list[str]:
    proxy, gateway = f"{listen.host}:{listen.proxy_port}", f"{listen.host}:{listen.gateway_port}"
    return proxy_modes(options.modes, config, proxy, gateway)


def _worker_command(options: RunOptions, modes: list[str]) -> list[str]:
    said = {**_places(options), "modes": modes, "set": list(options.set), "drain": options.drain}
    return [sys.executable, "-O", "-m", "shin_gateway.runner", msgspec.json.encode(said).decode()]


def _admin_command(options: RunOptions, listen: Listen) -> list[str]:
    said = {**_places(options), "host": listen.host, "port": listen.admin_port}
    return [sys.executable, "-O", "-m", "shin_gateway.admin", msgspec.json.encode(said).decode()]


def _places(options: RunOptions) -> dict[str, Any]:
    return {
        "home": str(options.home),
        "config": str(options.config.absolute()) if options.config else None,
        "policies": [str(path.absolute()) for path in options.policies],
        "addons": [str(path.absolute()) for path in options.addons],
    }


def _banner(said: dict[str, Any], home: Path, workers: int, *, keys: bool, logins: bool) -> str:
    proxy, gateway, admin = (running.reachable(said[name]) for name in ("proxy", "gateway", "admin"))
    at = "" if home == running.DEFAULT_HOME.expanduser() else f" --home {shlex.quote(str(home))}"
    key = {f"{_shin()} key create --user NAME{at}": "callers show keys: make one"} if keys else {}
    login = "SHIN_USER=NAME:KEY " if logins else ""
    return f"""Shin Gateway {said["version"]} runs ({workers} worker{"s" if workers > 1 else ""}, state in {home}).

  proxy    http://{proxy}    for agents and SDKs that take HTTPS_PROXY
  gateway  http://{gateway}    for applications that take a base URL
  admin    http://{admin}    health, recent calls, policies

Paste one of these next:

{
        _lines(
            key
            | {
                f"{login}{_shin()} exec{at} -- claude": "run an agent through the proxy",
                f"export OPENAI_BASE_URL=http://{gateway}/v1": "point an SDK at the gateway",
                f"{_shin()} tail{at}": "watch the calls",
            }
        )
    }
"""


def _lines(commands: dict[str, str]) -> str:
    width = max(map(len, commands))
    return "\n".join(f"  {command.ljust(width)}   # {what}" for command, what in commands.items())


def _shin() -> str:
    """The command as this person's shell finds it."""
    return "shin" if shutil.which("shin") else str(Path(sys.executable).with_name("shin"))
