"""What is compared: one row each. A new subject is a new row."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bench.processes import free_port


@dataclass(frozen=True, slots=True)
class Place:
    """Where a subject runs: its port, what it calls, a folder of its own."""

    port: int
    upstream: str
    folder: Path
    workers: int
    streaming: bool


Command = Callable[[Place], list[str]]

KEY = "sk-bench"
"""What callers send, where a subject asks for no other."""


@dataclass(frozen=True, slots=True)
class Subject:
    """`streams`: passes a stream on part by part (stock mitmdump collects it first, so it is left out there)."""

    name: str
    title: str
    command: Command | None
    streams: bool = True
    workers: bool = False
    key: Callable[[Place], str] | None = None
    """Gives the key for its callers, once it serves."""


def _mitmdump(place: Place) -> list[str]:
    listen = ["--listen-host", "127.0.0.1", "--listen-port", str(place.port)]
    binary = str(Path(sys.executable).with_name("mitmdump"))
    return [binary, "--mode", f"reverse:{place.upstream}", *listen, "--set", f"confdir={place.folder}"]


def _bare(place: Place) -> list[str]:
    engine = [sys.executable, "-O", "-m", "bench.bare_engine", "--port", str(place.port)]
    return [*engine, "--upstream", place.upstream, "--confdir", str(place.folder), *["--stream"] * place.streaming]


SHIN_YAML = """\
providers:
  openai:
    base_url: {upstream}/v1
    api_key: env:OPENAI_API_KEY
  anthropic:
    base_url: {upstream}
    api_key: env:ANTHROPIC_API_KEY
"""


def _shin(place: Place) -> list[str]:
    config = place.folder / "shin.yaml"
    config.write_text(SHIN_YAML.format(upstream=place.upstream))
    ports = ["--gateway-port", str(place.port), "--proxy-port", str(free_port()), "--admin-port", str(free_port())]
    command = [sys.executable, "-O", "-m", "shin_gateway.cli", "run", "--home", str(place.folder / "home"), *ports]
    return [*command, "--config", str(config), "--workers", str(place.workers)]


GOVERNED = """\
hosts: [gateway]
extends: observe
addons:
  auth: on
  rate_limit: {limits: [{requests: 10M/min}, {tokens: 10B/min}, {requests: 100M/day, per: team}]}
  budget: {budgets: [{limit: $100000/day}, {limit: $1000000/month, per: team}]}
  concurrency: {calls: 1000}
"""
"""Limits that hold nobody up."""


def _governed(place: Place) -> list[str]:
    policies = place.folder / "policies"
    policies.mkdir()
    (policies / "gateway.yaml").write_text(GOVERNED)
    return [*_shin(place), "--policies", str(policies)]


def _virtual_key(place: Place, seconds: float = 60) -> str:
    """From the admin process, which is ready after the workers."""
    home, end = place.folder / "home", time.monotonic() + seconds
    while not (home / "run.json").exists() and time.monotonic() < end:
        time.sleep(0.1)
    command = [sys.executable, "-m", "shin_gateway.cli", "key", "create", "--home", str(home)]
    command += ["--user", "anna", "--team", "red", "--quiet"]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=30).stdout.strip()


SUBJECTS = (
    Subject("direct", "no proxy", None),
    Subject("stock", "stock mitmdump", _mitmdump, streams=False),
    Subject("bare", "bare engine, -O", _bare),
    Subject("shin", "Shin, observe", _shin, workers=True),
    Subject("governed", "Shin, keys, limits, budgets, places", _governed, key=_virtual_key),
)
BASELINE = "bare"
ENVIRONMENT = {"OPENAI_API_KEY": "sk-bench", "ANTHROPIC_API_KEY": "sk-bench"}
