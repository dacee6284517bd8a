"""The admin process from its port to its end: API and shipper on one loop, ended in order by a signal."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import signal
import socket
from collections.abc import Callable, Iterator
from typing import Any

import uvicorn
from starlette.types import ASGIApp

from shin_gateway.admin.app import make_app
from shin_gateway.admin.bounds import Bounds, bounded_protocol
from shin_gateway.admin.credentials import local_token
from shin_gateway.admin.parts import open_parts
from shin_gateway.assembly import Places, make_home
from shin_gateway.config import Config
from shin_gateway.listening.limits import ListenLimits
from shin_gateway.policy.resolve import load_policies
from shin_gateway.running import is_loopback
from shin_gateway.stores.embedded import EmbeddedState
from shin_gateway.strangers import lets_in

GRACE = 2
"""Seconds that answers under way get to end."""
CONNECTIONS = 200


Ready = Callable[[tuple[Any, ...]], None]
"""Takes the address that answers now: host, port."""


class CannotListen(OSError):
    """Why the port is not open, in words for whoever started this."""


async def serve(places: Places, host: str | None, port: int | None) -> None:
    """`shin admin`: the admin process alone, until a signal. Starts the embedded state store if it does not run.

    Raises StoreError, PolicyErrors, RegistryError, SecretMissing and OSError (CannotListen), with one clear message.
    """
    make_home(places.home)
    config = places.read()
    if config.stores.state:
        await run(places, config, host, port, _announce)
        return
    embedded = EmbeddedState(places.home)
    await embedded.ensure()
    watching = asyncio.create_task(embedded.watch(), name="embedded state store")
    try:
        await run(places, config, host, port, _announce)
    finally:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
        await embedded.stop()


async def run(
    places: Places, config: Config, host: str | None, port: int | None, ready: Ready = lambda address: None
) -> None:
    """Serve on a state store that runs already, until SIGTERM or SIGINT. Calls `ready` once the port answers.

    `host` and `port` win over the configuration; port 0 takes a free one. Raises as `serve`.
    """
    host = host or config.listen.host
    if why := await asyncio.to_thread(_lets_in, host, places, config):
        raise CannotListen(errno.EACCES, why)
    ended = _until_signal()
    with open_port(host, config.listen.admin_port if port is None else port) as listening:
        async with open_parts(places, config) as parts:
            app = make_app(parts, local_token(places.home), host)
            server = make_server(app, ready, config.listen.limits)
            answering = asyncio.create_task(server.serve(sockets=[listening]), name="admin API")
            try:
                await asyncio.wait([ended, answering, parts.shipping], return_when=asyncio.FIRST_COMPLETED)
            finally:
                server.should_exit = True
                await answering


def _lets_in(host: str, places: Places, config: Config) -> str:
    """Why not to listen there; "" where nothing speaks against it."""
    if is_loopback(host) or config.users:
        return ""
    return lets_in(host, config, load_policies(places.policy_dirs(config), places.registry(config)))


def open_port(host: str, port: int) -> socket.socket:
    """A socket that listens, before anything else is started in vain. Raises CannotListen."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    opened = socket.socket(family, socket.SOCK_STREAM)
    try:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        opened.bind((host, port))
        opened.listen(128)
    except OSError as error:
        opened.close()
        hint = "; another program has it? Try --admin-port" if error.errno == errno.EADDRINUSE else ""
        raise CannotListen(error.errno, f"cannot listen on {host}:{port}: {error.strerror}{hint}") from None
    return opened


def _until_signal() -> asyncio.Future[None]:
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[None] = loop.create_future()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, lambda: None if ended.done() else ended.set_result(None))
    return ended


class _Server(uvicorn.Server):
    """uvicorn without its signal handlers: the process has its own."""

    def __init__(self, config: uvicorn.Config, ready: Ready) -> None:
        super().__init__(config)
        self._ready = ready

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        for listening in sockets or ():
            self._ready(listening.getsockname())


def make_server(app: ASGIApp, ready: Ready, limits: ListenLimits = ListenLimits()) -> uvicorn.Server:  # noqa: B008
    """A server that calls `ready` with each of its addresses; `should_exit` ends it."""
    config = uvicorn.Config(
        Bounds(app, limits),
        http=bounded_protocol(limits),
        h11_max_incomplete_event_size=limits.head,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        limit_concurrency=CONNECTIONS,
        timeout_graceful_shutdown=GRACE,
    )
    return _Server(config, ready)


def _announce(address: tuple[Any, ...]) -> None:
    host, port = address[:2]
    print(f"admin  http://{f'[{host}]' if ':' in host else host}:{port}    health, recent calls, policies", flush=True)
