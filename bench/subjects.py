"""What is compared: one row each. A new subject is a new row."""

from __future__ import annotations

import sys
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


@dataclass(frozen=True, slots=True)
class Subject:
    """`streams`: passes a stream on part by part (stock mitmdump collects it first, so it is left out there)."""

    name: str
    title: str
    command: Command | None
    streams: bool = True
    workers: bool = False


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


SUBJECTS = (
    Subject("direct", "no proxy", None),
    Subject("stock", "stock mitmdump", _mitmdump, streams=False),
    Subject("bare", "bare engine, -O", _bare),
    Subject("shin", "Shin, observe", _shin, workers=True),
)
BASELINE = "bare"
ENVIRONMENT = {"OPENAI_API_KEY": "sk-bench", "ANTHROPIC_API_KEY": "sk-bench"}
