"""The proxy that serves this home: found where it runs, else started for as long as somebody needs it.

`home/run.json` is written by `shin run` when it serves and removed when it ends. A proxy that `shin exec` starts
belongs to every `shin exec` of this home: each holds a shared lock on `home/exec.lock`, and a keeper process that wants
it for itself stops the proxy when it gets it. A killed `shin exec` lets go of the lock too, so nothing is left behind.
"""

from __future__ import annotations

import contextlib
import fcntl
import ipaddress
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

DEFAULT_HOME = Path("~/.shin")
"""Where commands look that are not told."""

ADMIN_TOKEN = "admin.token"
"""File under home; who can read it may everything in the admin API."""

START_TIMEOUT = 90.0
STOP_TIMEOUT = 10.0
_PR_SET_PDEATHSIG = 1
RUN = (sys.executable, "-m", "shin_gateway.cli", "run")
DEFAULT_PROXY = "127.0.0.1:8080"


class NotStarted(Exception):
    """The proxy could not be started. The message holds its own last line and where the rest is."""


@dataclass(frozen=True)
class Running:
    """What `run.json` says. Addresses are `host:port` as a client on this machine uses them; "" where there is none."""

    pid: int
    proxy: str
    gateway: str = ""
    admin: str = ""
    started: str = ""
    version: str = ""
    rewrites: bool = False
    """Whether some policy changes bodies."""

    @property
    def alive(self) -> bool:
        return _alive(self.pid)

    def answers(self, address: str, timeout: float = 1.0) -> bool:
        return answers(address, timeout)


def read(path: Path) -> Running | None:
    """What a run file says, None where it is missing or not yet whole."""
    try:
        data = json.loads(path.read_text())
        return Running(
            pid=int(data["pid"]),
            proxy=reachable(data["proxy"]),
            gateway=reachable(data.get("gateway") or ""),
            admin=reachable(data.get("admin") or ""),
            started=str(data.get("started", "")),
            version=str(data.get("version", "")),
            rewrites=bool(data.get("rewrites", False)),
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def find(home: Path) -> Running | None:
    """The proxy that serves this home, when its process lives and its port answers."""
    running = read(home / "run.json")
    return running if running and running.alive and answers(running.proxy) else None


def reachable(address: str) -> str:
    """`0.0.0.0:8080` and `[::]:8080` are where one listens, not where one connects."""
    host, separator, port = address.rpartition(":")
    with contextlib.suppress(ValueError):
        if ipaddress.ip_address(host.strip("[]")).is_unspecified:
            host = "[::1]" if ":" in host else "127.0.0.1"
    return f"{host}{separator}{port}"


def is_loopback(host: str) -> bool:
    """Whether nobody but this machine reaches what listens there."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


def answers(address: str, timeout: float = 1.0) -> bool:
    """Whether something accepts connections at `host:port`."""
    host, _, port = address.rpartition(":")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout):
            return True
    except (OSError, ValueError):
        return False


@contextlib.contextmanager
def lease(home: Path, arguments: Sequence[str] = (), program: Sequence[str] = RUN) -> Iterator[Running]:
    """A proxy for the life of this context: the one that runs, or one that `program arguments` starts.

    Raises `NotStarted`, or OSError where `home` cannot be used.
    """
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    with _lock(home / "exec.lock", fcntl.LOCK_SH):
        with _lock(home / "exec-start.lock", fcntl.LOCK_EX):
            running = find(home) or _start(home, [*program, *arguments])
        yield running


def _start(home: Path, program: Sequence[str]) -> Running:
    ready, log = home / f"ready-{os.getpid()}.json", home / "exec.log"
    ready.unlink(missing_ok=True)
    command = [sys.executable, "-m", __name__, str(home), str(ready), *program]
    with log.open("wb") as output:
        keeper = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
        )
    try:
        return _ready(keeper, ready, log)
    except BaseException:
        keeper.terminate()
        raise
    finally:
        ready.unlink(missing_ok=True)


def _ready(keeper: subprocess.Popen[bytes], path: Path, log: Path) -> Running:
    end = time.monotonic() + START_TIMEOUT
    while time.monotonic() < end:
        if running := read(path):
            return running
        if keeper.poll() is not None:
            raise NotStarted(f"the proxy did not start: {_last_line(log)} (more in {log})")
        time.sleep(0.05)
    raise NotStarted(f"the proxy was not ready after {START_TIMEOUT:.0f} s (see {log})")


def _last_line(log: Path) -> str:
    lines = [line.strip() for line in log.read_text("utf-8", "replace").splitlines() if line.strip()]
    return lines[-1] if lines else "it said nothing"


@contextlib.contextmanager
def _lock(path: Path, kind: int) -> Iterator[None]:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, kind)
        yield
    finally:
        os.close(descriptor)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


# ── the keeper: python -m shin_gateway.running HOME READY PROGRAM… ─────────────────


def keep(home: Path, ready: Path, program: Sequence[str]) -> int:
    """Run a proxy on free ports until nobody holds a lease on it; its exit code when it ends by itself."""
    ports = ["--proxy-port", "0", "--gateway-port", "0", "--admin-port", "0"]
    command = [*program, *ports, "--home", str(home), "--ready-file", str(ready)]
    # No other thread runs yet, so preexec_fn is safe.
    proxy = subprocess.Popen(command, preexec_fn=partial(_die_with_parent, os.getpid()))
    threading.Thread(target=lambda: os._exit(proxy.wait() or 0), daemon=True).start()
    with _lock(home / "exec.lock", fcntl.LOCK_EX):
        _stop(proxy)
    return 0


def _stop(proxy: subprocess.Popen[Any]) -> None:
    proxy.terminate()
    try:
        proxy.wait(STOP_TIMEOUT)
    except subprocess.TimeoutExpired:
        proxy.kill()
        proxy.wait()


def _die_with_parent(parent: int) -> None:
    """So that a keeper which is killed takes its proxy along. Linux only; elsewhere the proxy stays."""
    with contextlib.suppress(OSError, AttributeError):
        import ctypes

        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:
        os._exit(1)


if __name__ == "__main__":
    sys.exit(keep(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:]))
