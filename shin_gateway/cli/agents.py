"""What agents.yaml says about each agent, and which of them run on this machine now."""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_PROCESSES = Path("/proc")
_DATA = Path(__file__).parent.parent / "agents.yaml"


@dataclass(frozen=True)
class Agent:
    """One row of agents.yaml; the file explains the fields."""

    name: str
    ca: tuple[str, ...]
    proxy: tuple[str, ...]
    commands: tuple[str, ...] = ()
    user_agent: str = ""
    hosts: tuple[str, ...] = ()
    replaces: tuple[str, ...] = ()
    needs: Mapping[str, str] = field(default_factory=dict)
    note: str = ""

    def sent(self, user_agent: str) -> bool:
        return bool(self.user_agent and re.search(self.user_agent, user_agent, re.IGNORECASE))


@dataclass(frozen=True)
class Process:
    """A running agent. `environ` is what it was started with, None where we may not look."""

    agent: Agent
    pid: int
    environ: Mapping[str, str] | None


@functools.cache
def agents() -> tuple[Agent, ...]:
    from ruamel.yaml import YAML

    rows: list[dict[str, Any]] = YAML(typ="safe", pure=True).load(_DATA.read_text(encoding="utf-8"))
    return tuple(Agent(**{key: _frozen(value) for key, value in row.items()}) for row in rows)


def _frozen(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def by_user_agent(user_agent: str) -> Agent | None:
    return next((agent for agent in agents() if agent.sent(user_agent)), None)


def by_host(host: str) -> list[Agent]:
    """Agents that may have wanted this host, where all that is known is the host."""
    return [agent for agent in agents() if host in agent.hosts]


def processes(root: Path = _PROCESSES) -> Iterator[Process]:
    """Agents among the running processes: Linux only, none elsewhere. An agent's helpers are not told twice."""
    found: dict[int, tuple[Agent, int]] = {}
    for folder in root.glob("[0-9]*"):
        agent = _agent(folder)
        if agent and int(folder.name) != os.getpid():
            found[int(folder.name)] = agent, _parent(folder)
    for pid, (agent, parent) in sorted(found.items()):
        if parent not in found or found[parent][0] is not agent:
            yield Process(agent, pid, _environ(root / str(pid)))


def _agent(folder: Path) -> Agent | None:
    """By the program's name, or by the script's when an interpreter runs it (`node /usr/bin/gemini`)."""
    words = _read(folder / "cmdline").split("\0")
    names = {Path(word).name.removesuffix(".js") for word in words[:2] if word and not word.startswith("-")}
    return next((agent for agent in agents() if names & set(agent.commands)), None)


def _parent(folder: Path) -> int:
    fields = _read(folder / "stat").rpartition(")")[2].split()
    return int(fields[1]) if len(fields) > 1 else 0


def _environ(folder: Path) -> dict[str, str] | None:
    text = _read(folder / "environ")
    return dict(item.split("=", 1) for item in text.split("\0") if "=" in item) or None


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
