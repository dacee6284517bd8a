"""Everything that a run starts, and the cores on which it does."""

from __future__ import annotations

import contextlib
import fcntl
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from bench import conversations, payload
from bench.processes import Process, cpu_seconds, free_port
from bench.subjects import ENVIRONMENT, KEY, Place, Subject

NGINX = """\
worker_processes 1;
daemon off;
master_process off;
pid {folder}/nginx.pid;
error_log {folder}/nginx.log error;
events {{ worker_connections 4096; }}
http {{
  access_log off;
  keepalive_requests 100000000;
  keepalive_timeout 3600s;
  client_body_temp_path {folder}; proxy_temp_path {folder}; fastcgi_temp_path {folder};
  uwsgi_temp_path {folder}; scgi_temp_path {folder};
  server {{
    listen 127.0.0.1:{port} backlog=1024;
    location / {{ default_type application/json; return 200 '{body}'; }}
    location /v1/messages {{ default_type application/json; return 200 '{messages}'; }}
  }}
}}
"""
WRK = """\
wrk.method = "POST"
wrk.body = [==[{body}]==]
wrk.headers["Content-Type"] = "application/json"
wrk.headers["Authorization"] = "Bearer {key}"
done = function(s, latency, _)
  local e = s.errors
  io.write(string.format('JSON {{"calls":%d,"seconds":%f,"failed":%d,"p50":%f,"p99":%f}}\\n', s.requests,
    s.duration / 1e6, e.connect + e.read + e.write + e.status + e.timeout,
    latency:percentile(50) / 1e3, latency:percentile(99) / 1e3))
end
"""

RESTS = 6.0
"""Seconds for which a subject that goes on working after its calls is waited for."""
IDLE = 0.06
"""Cores that one which rests may use."""


@dataclass(frozen=True, slots=True)
class Cores:
    """Held apart: the subject on one core, everything that loads it or answers it on another."""

    subject: str
    load: str
    workers: str
    workers_load: str
    """With two workers. On two cores the second worker shares one with the load."""

    @property
    def shared(self) -> bool:
        return bool(set(self.workers.split(",")) & set(self.workers_load.split(",")))


def cores() -> Cores:
    """From the cores that we may use. Raises SystemExit when there is only one."""
    mine = [str(core) for core in sorted(os.sched_getaffinity(0))]
    if len(mine) < 2:
        raise SystemExit("bench: needs two cores, one for the subject and one for the load")
    return Cores(mine[0], mine[1], ",".join(mine[:2]), ",".join(mine[2:4]) if len(mine) > 3 else mine[1])


@dataclass(slots=True)
class Running:
    """A subject that serves. `process` is None for no proxy at all."""

    subject: Subject
    port: int
    process: Process | None
    key: str = KEY

    def cpu(self) -> float:
        return cpu_seconds(self.process.pid) if self.process else 0.0


class World:
    """The upstreams and the load generators; starts subjects and ends all of it when the block ends."""

    def __init__(self, folder: Path, stack: contextlib.ExitStack) -> None:
        self.cores = cores()
        self._folder = folder
        self._stack = stack
        self.whole_port = free_port()
        self.stream_port = free_port()
        self._scripts = {KEY: self.script("post", payload.call())}
        self._nginx = self._start_nginx()

    def script(self, name: str, body: bytes, key: str = KEY) -> Path:
        """A script with which wrk posts this body."""
        script = self._folder / f"{name}.lua"
        script.write_text(WRK.format(body=body.decode(), key=key))
        return script

    def _start_nginx(self) -> Process:
        folder = self._folder / "nginx"
        folder.mkdir()
        config = folder / "nginx.conf"
        body, messages = payload.REPLY.decode(), conversations.REPLIES[conversations.MESSAGES].decode()
        config.write_text(NGINX.format(folder=folder, port=self.whole_port, body=body, messages=messages))
        command = ["nginx", "-p", str(folder), "-c", str(config), "-e", str(folder / "nginx.log")]
        return self._keep(Process(command, self.cores.load, folder / "out.log"), self.whole_port)

    def start_stream_upstream(self, rate: float, parts: int) -> None:
        command = [sys.executable, "-m", "bench.stream_upstream", "--port", str(self.stream_port)]
        command += ["--rate", str(rate), "--parts", str(parts)]
        self._keep(Process(command, self.cores.load, self._folder / "stream.log"), self.stream_port)

    def _keep(self, process: Process, port: int) -> Process:
        self._stack.callback(process.stop)
        process.wait_port(port)
        return process

    @contextlib.contextmanager
    def serving(self, subject: Subject, *, streaming: bool = False, workers: int = 1) -> Iterator[Running]:
        """The subject, started and warm. Raises DidNotStart."""
        port = self.stream_port if streaming else self.whole_port
        if subject.command is None:
            yield Running(subject, port, None)
            return
        folder = Path(tempfile.mkdtemp(prefix=f"{subject.name}-", dir=self._folder))
        place = Place(free_port(), f"http://127.0.0.1:{port}", folder, workers, streaming)
        log = None if subject.name == "stock" else folder / "out.log"
        where = self.cores.workers if workers > 1 else self.cores.subject
        process = Process(subject.command(place), where, log, ENVIRONMENT)
        try:
            process.wait_port(place.port)
            time.sleep(0.3)
            key = subject.key(place) if subject.key else KEY
            if key not in self._scripts:
                self._scripts[key] = self.script(f"post-{subject.name}", payload.call(), key)
            yield Running(subject, place.port, process, key)
        finally:
            process.stop()

    def saturate(
        self, running: Running, seconds: float, connections: int = 32, workers: int = 1, script: Path | None = None
    ) -> dict[str, Any]:
        """wrk at full speed. `busy`: cores that the subject used; `load`: cores that wrk and nginx used.

        Returns once the subject rests: what it does after its calls counts in `calls_per_cpu_s`, not in another's time.
        """
        where = self.cores.workers_load if workers > 1 else self.cores.load
        url = f"http://127.0.0.1:{running.port}{payload.PATH}"
        wrk = ["wrk", "-t1", f"-c{connections}", f"-d{math.ceil(seconds)}s"]
        wrk += ["-s", str(script or self._scripts[running.key]), url]
        subject, upstream, own = running.cpu(), cpu_seconds(self._nginx.pid), _children()
        said = self._run(wrk, where, seconds + 20)
        result: dict[str, Any] = json.loads(said[said.index("JSON ") + 5 :])
        took = result["seconds"]
        result["calls_per_s"] = (result["calls"] - result["failed"]) / took
        result["busy"] = (running.cpu() - subject) / took
        result["load"] = (cpu_seconds(self._nginx.pid) - upstream + _children() - own) / took
        used = _rest(running) - subject
        result["calls_per_cpu_s"] = (result["calls"] - result["failed"]) / used if used else 0.0
        return result

    def pace(self, running: Running, rate: float, seconds: float) -> dict[str, Any]:
        """A fixed rate of calls; see bench.paced."""
        return self._client("bench.paced", running, seconds, "--rate", f"{rate:.1f}")

    def stream(self, running: Running, streams: int, seconds: float) -> dict[str, Any]:
        """Many streams at once; see bench.stream_client. They begin within two lengths of one: as many at any time."""
        return self._client("bench.stream_client", running, seconds, "--streams", str(streams), "--warm", "2")

    def _client(self, module: str, running: Running, seconds: float, *more: str) -> dict[str, Any]:
        command = [sys.executable, "-m", module, "--port", str(running.port), "--key", running.key]
        command += ["--seconds", f"{seconds:g}", *more]
        before, began = running.cpu(), time.monotonic()
        result: dict[str, Any] = json.loads(self._run(command, self.cores.load, seconds + 30))
        result["busy"] = (running.cpu() - before) / (time.monotonic() - began)
        return result

    def _run(self, command: list[str], where: str, timeout: float) -> str:
        done = subprocess.run(
            ["taskset", "-c", where, *command], capture_output=True, text=True, timeout=timeout, check=False
        )
        if done.returncode:
            raise SystemExit(f"bench: {command[0]} failed: {done.stderr or done.stdout}")
        return done.stdout


def _rest(running: Running) -> float:
    """Wait until it does next to nothing any more. Gives its processor time until then, in seconds."""
    used, give_up = running.cpu(), time.monotonic() + RESTS
    while time.monotonic() < give_up:
        time.sleep(0.5)
        before, used = used, running.cpu()
        if used - before < IDLE / 2:
            break
    return used


def _children() -> float:
    times = os.times()
    return times.children_user + times.children_system


@contextlib.contextmanager
def world() -> Iterator[World]:
    """Start the upstream; whatever happens, nothing of it is left behind. One run at a time on a machine."""
    with open(Path(tempfile.gettempdir()) / "shin-bench.lock", "w") as lock:
        if _is_taken(lock):
            print("bench: another run is on; waiting for it", flush=True)
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield from _alone()


def _is_taken(lock: IO[str]) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    return False


def _alone() -> Iterator[World]:
    with tempfile.TemporaryDirectory(prefix="shin-bench-") as folder, contextlib.ExitStack() as stack:
        yield World(Path(folder), stack)
