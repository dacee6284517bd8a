"""Processes that a run starts: pinned, watched, and ended again with all their children."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

TICK = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")


class DidNotStart(Exception):
    """A process ended, or did not listen in time. The message ends with what it wrote."""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def pinned(command: Sequence[str], cores: str) -> list[str]:
    """The command, held to these cores ("0", "0,1"); what it starts inherits that."""
    return ["taskset", "-c", cores, *command]


class Process:
    """A running command in a group of its own. Its output goes to a file, or nowhere."""

    def __init__(
        self, command: Sequence[str], cores: str, log: Path | None, env: Mapping[str, str] | None = None
    ) -> None:
        self._log = log
        with open(log or os.devnull, "wb") as out:
            self._process = subprocess.Popen(
                pinned(command, cores),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                env={**os.environ, **(env or {})},
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    def wait_port(self, port: int, seconds: float = 60) -> None:
        """Until it accepts connections. Raises DidNotStart."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if self._process.poll() is not None:
                break
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    return
            time.sleep(0.1)
        raise DidNotStart(f"nothing listens on port {port}: {self._said()}")

    def stop(self, seconds: float = 15) -> None:
        """SIGTERM, and SIGKILL for whatever is left of its tree."""
        family = tree(self.pid)
        if self._process.poll() is None:
            self._process.terminate()
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        for pid in family:
            _kill(pid)

    def _said(self) -> str:
        return self._log.read_text(errors="replace")[-2000:] if self._log else ""


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def tree(pid: int) -> list[int]:
    """The process and all its descendants."""
    children: dict[int, list[int]] = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            fields = _stat(int(folder.name))
            if fields:
                children.setdefault(int(fields[1]), []).append(int(folder.name))
    found = [pid]
    for one in found:
        found.extend(children.get(one, []))
    return found


def _stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat from the state on; empty when the process is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def cpu_seconds(pid: int) -> float:
    """User and system time of a process and its living descendants."""
    all_fields = [_stat(one) for one in tree(pid)]
    return sum(int(fields[11]) + int(fields[12]) for fields in all_fields if fields) / TICK


def rss(pid: int) -> dict[str, int]:
    """Resident bytes of each living process of the tree, summed by program name."""
    sizes: dict[str, int] = {}
    for one in tree(pid):
        fields = _stat(one)
        if fields:
            name = Path(f"/proc/{one}/comm").read_text().strip()
            sizes[name] = sizes.get(name, 0) + int(fields[21]) * PAGE
    return sizes


def busiest(pid: int) -> int:
    """The process of the tree that has used most CPU."""
    return max(tree(pid), key=lambda one: sum(map(int, (_stat(one) or ["0"] * 13)[11:13])))
