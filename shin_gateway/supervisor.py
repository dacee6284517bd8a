"""The parent: starts the embedded stores, the workers and the admin process, restarts what dies, ends them in order."""

from __future__ import annotations

import asyncio
import datetime as dt
import importlib.metadata
import ipaddress
import json
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from shin_gateway.assembly import EXPECTED, Places, make_home
from shin_gateway.ca import Authority
from shin_gateway.config import Config, Listen
from shin_gateway.modes import proxy_modes
from shin_gateway.policy.resolve import PolicySet, load_policies
from shin_gateway.stores.embedded import EmbeddedState

log = logging.getLogger(__name__)

START = 30.0
"""Seconds a child gets to open its ports."""
DRAIN = 30.0
"""Seconds that calls in flight get to end."""
PAUSES = (0.2, 10.0)
"""Seconds before a child that died is started again, the first time and at most."""


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

    @property
    def places(self) -> Places:
        return Places(self.home, self.config, list(self.policies), list(self.addons))


class CannotStart(Exception):
    """Why nothing runs, in words for the person who typed the command."""


def run(options: RunOptions) -> int:
    """Run until a signal ends it; the exit code."""
    return _explained(lambda: _run(options))


def run_admin(options: RunOptions) -> int:
    """Run the admin process alone; the exit code."""
    from shin_gateway.admin import server

    return _explained(lambda: server.serve(options.places, options.host, options.admin_port))


def _explained(work: Callable[[], Awaitable[None]]) -> int:
    """One line for whatever was to be expected, no traceback."""
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
    listen = _open_ports(_listen(options, config), config)
    Authority(options.home).ensure(policies.hosts)
    supervisor = Supervisor(options, config, listen, policies)
    try:
        await supervisor.start()
        supervisor.announce()
        await supervisor.until_signal()
    finally:
        await supervisor.stop()


def _listen(options: RunOptions, config: Config) -> Listen:
    said = {
        "host": options.host,
        "proxy_port": options.proxy_port,
        "gateway_port": options.gateway_port,
        "admin_port": options.admin_port,
    }
    return config.listen.model_copy(update={name: value for name, value in said.items() if value is not None})


def _open_ports(listen: Listen, config: Config) -> Listen:
    """The ports made definite, and known to be free: SO_REUSEPORT would share them with a stranger of ours."""
    if not _is_loopback(listen.host) and not config.users:
        raise CannotStart(
            f"listening on {listen.host} lets others in: name users in shin.yaml first, or listen on 127.0.0.1"
        )
    ports = {name: _free_port(listen.host, getattr(listen, name), name) for name in _PORTS}
    return listen.model_copy(update=ports)


_PORTS = {"proxy_port": "--proxy-port", "gateway_port": "--gateway-port", "admin_port": "--admin-port"}


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _free_port(host: str, port: int, name: str) -> int:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise CannotStart(
                f"cannot listen on {host}:{port}: {error.strerror}; another program has it? Try {_PORTS[name]}"
            ) from None
        return int(probe.getsockname()[1])


class Child:
    """A process that is started again when it dies."""

    def __init__(self, name: str, command: list[str]) -> None:
        self.name = name
        self._command = command
        self._process: asyncio.subprocess.Process | None = None
        self._ending = False
        self._pause = PAUSES[0]

    async def start(self) -> None:
        """Return when it says that it is ready. Raises CannotStart."""
        reading, writing = os.pipe()
        os.set_inheritable(writing, True)
        try:
            self._process = await asyncio.create_subprocess_exec(
                *self._command,
                str(writing),
                pass_fds=[writing],
                stdin=asyncio.subprocess.DEVNULL,
                start_new_session=True,  # Ctrl-C is for the supervisor, which lets calls in flight end
            )
        finally:
            os.close(writing)
        if not await _says_ready(reading):
            code = self._process.returncode if self._process.returncode is not None else "none"
            raise CannotStart(f"the {self.name} did not start (exit status {code}; its own words are above)")

    async def keep(self) -> None:
        """Start it again whenever it dies. Runs until cancelled."""
        while True:
            assert self._process is not None
            began = time.monotonic()
            code = await self._process.wait()
            if self._ending:
                return
            self._pause = PAUSES[0] if time.monotonic() - began > 60 else min(self._pause * 2, PAUSES[1])
            log.error("the %s ended with status %s; starting it again", self.name, code)
            await asyncio.sleep(self._pause)
            try:
                await self.start()
            except CannotStart as error:
                log.error("%s", error)

    def signal(self, number: int) -> None:
        if self._process is not None and self._process.returncode is None:
            self._process.send_signal(number)

    async def stop(self, patience: float) -> None:
        self._ending = True
        if self._process is None:
            return
        self.signal(signal.SIGTERM)
        try:
            await asyncio.wait_for(self._process.wait(), patience)
        except TimeoutError:
            log.warning("the %s did not end in %.0f s and is killed", self.name, patience)
            self._process.kill()
            await self._process.wait()


async def _says_ready(descriptor: int) -> bool:
    """Whether the pipe brings a word before its other end is closed."""
    reader = asyncio.StreamReader()
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(descriptor, "rb")
    )
    try:
        return bool(await asyncio.wait_for(reader.read(16), START))
    except TimeoutError:
        return False
    finally:
        transport.close()


class Supervisor:
    """All children of one `shin run`."""

    def __init__(self, options: RunOptions, config: Config, listen: Listen, policies: PolicySet) -> None:
        self._options = options
        self._listen = listen
        self._policies = policies
        self._state = None if config.stores.state else EmbeddedState(options.home)
        count = options.workers or config.workers
        modes = _modes(options, config, listen)
        self._workers = [Child(f"worker {number + 1}", _worker_command(options, modes)) for number in range(count)]
        self._admin = Child("admin process", _admin_command(options, listen))
        self._tasks: list[asyncio.Task[None]] = []
        self._ended = asyncio.Event()

    async def start(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._ended.set)
        loop.add_signal_handler(signal.SIGHUP, self._reload)
        if self._state is not None:
            await self._state.ensure()
            self._tasks.append(loop.create_task(self._state.watch()))
        children = [*self._workers, self._admin]
        await asyncio.gather(*(child.start() for child in children))
        self._tasks += [loop.create_task(child.keep()) for child in children]

    def _reload(self) -> None:
        for worker in self._workers:
            worker.signal(signal.SIGHUP)

    async def until_signal(self) -> None:
        await self._ended.wait()

    async def stop(self) -> None:
        """Workers drain first, then the admin process ships what they left, then the store goes."""
        (self._options.home / "run.json").unlink(missing_ok=True)
        await asyncio.gather(*(worker.stop(DRAIN + 10) for worker in self._workers))
        await self._admin.stop(15)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._state is not None:
            await self._state.stop()

    def announce(self) -> None:
        """Tell other commands, and whoever sits at the terminal, what runs where."""
        listen = self._listen
        host = f"[{listen.host}]" if ":" in listen.host else listen.host
        running = {
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
                temporary.write_text(json.dumps(running))
                temporary.replace(file)
        print(_banner(running, self._options.home, len(self._workers)), flush=True)


def rewrites(policies: PolicySet) -> bool:
    """Whether some addon changes what agents send, which makes Claude Code's own mark on its bodies stale."""
    lines = (line for policy in policies.policies for line in policy.addons)
    return any(line.cls.changes_calls and line.mode == "enforce" for line in lines)


def _modes(options: RunOptions, config: Config, listen: Listen) -> list[str]:
    proxy, gateway = f"{listen.host}:{listen.proxy_port}", f"{listen.host}:{listen.gateway_port}"
    return proxy_modes(options.modes, config, proxy, gateway)


def _worker_command(options: RunOptions, modes: list[str]) -> list[str]:
    said = {
        "home": str(options.home),
        "config": str(options.config.absolute()) if options.config else None,
        "policies": [str(path.absolute()) for path in options.policies],
        "addons": [str(path.absolute()) for path in options.addons],
        "modes": modes,
        "set": list(options.set),
        "drain": DRAIN,
    }
    return [sys.executable, "-O", "-m", "shin_gateway.runner", msgspec.json.encode(said).decode()]


def _admin_command(options: RunOptions, listen: Listen) -> list[str]:
    said = {
        "home": str(options.home),
        "config": str(options.config.absolute()) if options.config else None,
        "policies": [str(path.absolute()) for path in options.policies],
        "addons": [str(path.absolute()) for path in options.addons],
        "host": listen.host,
        "port": listen.admin_port,
    }
    return [sys.executable, "-O", "-m", "shin_gateway.admin", msgspec.json.encode(said).decode()]


def _banner(running: dict[str, object], home: Path, workers: int) -> str:
    proxy, gateway = running["proxy"], running["gateway"]
    return f"""Shin Gateway {running["version"]} runs ({workers} worker{"s" if workers > 1 else ""}, state in {home}).

  proxy    http://{proxy}    for agents and SDKs that take HTTPS_PROXY
  gateway  http://{gateway}    for applications that take a base URL
  admin    http://{running["admin"]}    health, recent calls, policies

Paste one of these next:

  shin exec -- claude                             # run an agent through the proxy
  export OPENAI_BASE_URL=http://{gateway}/v1   # point an SDK at the gateway
  shin tail                                       # watch the calls
"""
