"""Programs of others that are run through the proxy: where scripts/install-agents put them, and what they are given."""

from __future__ import annotations

import asyncio
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from shin_gateway.ca import Authority
from shin_gateway.launch import environment
from tests.e2e.serving import Serving

_CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
FOLDER = Path(os.environ.get("SHIN_AGENTS") or _CACHE / "shin-gateway" / "agents")


def program(name: str) -> Path:
    """Its path; skips the test where it is not installed."""
    path = FOLDER / "bin" / name
    if not os.access(path, os.X_OK):
        pytest.skip(f"no {name} in {FOLDER}; scripts/install-agents installs it where npm can")
    return path


@dataclass(frozen=True)
class Ran:
    code: int
    out: str
    err: str


async def run(
    folder: Path, *command: str | Path, environ: dict[str, str] | None = None, patience: float = 90, **variables: str
) -> Ran:
    """Run a program with a home of its own and nothing of our environment but `environ` and `variables`.

    Raises TimeoutError after `patience` seconds.
    """
    home, work = folder / "its-home", folder / "its-work"
    home.mkdir(exist_ok=True)
    work.mkdir(exist_ok=True)
    own = {"PATH": f"{FOLDER / 'bin'}:/usr/local/bin:/usr/bin:/bin", "HOME": str(home), "LANG": "C.UTF-8", "CI": "1"}
    child = await asyncio.create_subprocess_exec(
        *map(str, command),
        cwd=work,
        env=own | (environ or {}) | variables,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    try:
        out, err = await asyncio.wait_for(child.communicate(), patience)
    finally:
        if child.returncode is None:
            child.kill()
            await child.wait()
    return Ran(child.returncode or 0, out.decode(errors="replace"), err.decode(errors="replace"))


def through(worker: Serving, roots: Path, caller: str | None = None) -> dict[str, str]:
    """What `shin exec` adds for a user whose public roots are `roots`."""
    environ = {"NODE_EXTRA_CA_CERTS": str(roots), "SSL_CERT_FILE": str(roots)}
    trust = Authority(worker.home).trust(environ)
    proxy = worker.proxy().removeprefix("http://")
    return environment(trust, proxy, caller, environ=environ).applied(environ)
