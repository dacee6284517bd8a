"""`shin run` as a person starts it: a process of its own, on free ports, with all its children."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2

from tests.e2e.serving import write_config
from tests.provider import FakeProvider

COMMAND = [sys.executable, "-m", "shin_gateway.cli", "run"]


class Shin:
    """One `shin run`, in a session of its own. What it says goes to files beside its home."""

    def __init__(self, folder: Path, config: Path | None, home: Path | None = None) -> None:
        self.folder, self.config, self.home = folder, config, home or folder / "home"
        self.policies = folder / "policies"
        self.policies.mkdir(exist_ok=True)
        self.ready_file = folder / "ready.json"
        for name in ("out", "err"):
            (folder / name).touch()
        self.process: subprocess.Popen[bytes]
        self.running: dict[str, Any] = {}

    def spawn(self, *arguments: str, ports: bool = True, **environment: str) -> Shin:
        free = ["--proxy-port", "0", "--gateway-port", "0", "--admin-port", "0"] if ports else []
        command = [*COMMAND, "--home", str(self.home), "--policies", str(self.policies), *free, *arguments]
        command += ["--ready-file", str(self.ready_file)]
        command += ["--config", str(self.config)] if self.config else []
        self.ready_file.unlink(missing_ok=True)
        with (self.folder / "out").open("ab") as out, (self.folder / "err").open("ab") as err:
            self.process = subprocess.Popen(
                command, stdout=out, stderr=err, start_new_session=True, env=os.environ | environment
            )
        return self

    async def start(self, *arguments: str, **more: Any) -> Shin:
        """Return when it serves."""
        self.spawn(*arguments, **more)
        await until(lambda: self.ready_file.exists() or self.process.poll() is not None, 120)
        assert self.process.poll() is None, self.err
        self.running = json.loads(self.ready_file.read_text())
        return self

    def refused(self, *arguments: str, **more: Any) -> str:
        """It must not start: the one line that it says."""
        before = len(self.err)
        assert self.spawn(*arguments, **more).process.wait(60) == 1
        assert not family(self.process.pid)
        return self.err[before:].strip()

    @property
    def out(self) -> str:
        return (self.folder / "out").read_text()

    @property
    def err(self) -> str:
        return (self.folder / "err").read_text()

    @property
    def gateway(self) -> str:
        return f"http://{self.running['gateway']}"

    def children(self) -> dict[int, str]:
        """Pid and command line of every child."""
        return {pid: line for pid in children(self.process.pid) if (line := command_line(pid))}

    def found(self, sign: str) -> list[int]:
        """The children whose command line has this in it."""
        return [pid for pid, line in self.children().items() if sign in line]

    def child(self, sign: str) -> int:
        (pid,) = self.found(sign)
        return pid

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    async def ended(self, patience: float = 40) -> int:
        await until(lambda: self.process.poll() is not None, patience)
        return self.process.returncode

    async def stop(self) -> int:
        self.signal(signal.SIGTERM)
        return await self.ended()

    async def admin(self, path: str) -> httpx2.Response:
        async with httpx2.AsyncClient(trust_env=False, timeout=30) as client:
            return await client.get(f"http://{self.running['admin']}{path}")

    async def ids(self) -> list[str]:
        """Of all calls in analytics; [] while the admin process is away."""
        found: list[str] = []
        page: str | None = ""
        try:
            while page is not None:
                reply = await self.admin(f"/api/v1/calls?limit=1000{page}")
                if reply.status_code != 200:
                    return []
                said = reply.json()
                found += [call["id"] for call in said["calls"]]
                page = f"&before={said['next']}" if said["next"] else None
        except httpx2.TransportError:
            return []
        return found

    def destroy(self) -> None:
        """Whatever is left of it."""
        for pid in [*family(self.process.pid), self.process.pid]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait()


@contextlib.contextmanager
def shin(folder: Path, provider: FakeProvider | None = None, more: str = "") -> Iterator[Shin]:
    """A `shin run` to be started, whose gateway knows `provider` as openai and anthropic."""
    urls = {"openai": f"{provider.url}/v1", "anthropic": provider.url} if provider else {}
    one = Shin(folder, write_config(folder, urls, more))
    try:
        yield one
    finally:
        if hasattr(one, "process"):
            one.destroy()


async def until(ready: Callable[[], object], timeout: float = 20.0) -> None:
    async with asyncio.timeout(timeout):
        while not ready():
            await asyncio.sleep(0.05)


def children(pid: int) -> list[int]:
    with contextlib.suppress(OSError):
        return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return []


def family(pid: int) -> list[int]:
    """All descendants."""
    found = children(pid)
    return found + [one for child in found for one in family(child)]


def command_line(pid: int) -> str:
    """ "" for a process that has ended, a zombie too."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    return ""


def gone(pids: list[int]) -> bool:
    return not any(command_line(pid) for pid in pids)


def occupied(host: str = "127.0.0.1") -> socket.socket:
    return socket.create_server((host, 0))
