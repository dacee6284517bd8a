"""One Node process with the official clients, asked step by step."""

from __future__ import annotations

import asyncio
import contextlib
import json
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import IO, Any

import pytest

from tests.e2e.programs import FOLDER, program

_SCRIPT = Path(__file__).with_name("clients.mjs")
_PACKAGES = ("openai", "@anthropic-ai/sdk", "@google/genai", "zod")
_LONGEST_LINE = 4_000_000
_PATIENCE = 10


class Node:
    """Asks one thing at a time."""

    def __init__(self, process: asyncio.subprocess.Process, complaints: IO[bytes]) -> None:
        self._process = process
        self._complaints = complaints

    async def ask(self, client: str, step: str, **asked: Any) -> dict[str, Any]:
        """What the client heard, or what it raised (`raised`, `status`, `message`)."""
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        stdin.write(json.dumps({"client": client, "step": step, **asked}).encode() + b"\n")
        line = await asyncio.wait_for(stdout.readline(), _PATIENCE)
        if not line:
            self._complaints.seek(0)
            pytest.fail(self._complaints.read().decode())
        heard: dict[str, Any] = json.loads(line)
        return heard


@contextlib.asynccontextmanager
async def node(base: str) -> AsyncIterator[Node]:
    """The clients, with their base URLs at `base`. Skips where they are not installed."""
    for name in _PACKAGES:
        if not (FOLDER / "node_modules" / name).is_dir():
            pytest.skip(f"no {name} in {FOLDER}; scripts/install-agents installs it where npm can")
    pipe = asyncio.subprocess.PIPE
    with tempfile.TemporaryFile() as complaints:  # a pipe that nobody reads fills up
        process = await asyncio.create_subprocess_exec(
            *(str(program("node")), str(_SCRIPT), str(FOLDER), base),
            stdin=pipe,
            stdout=pipe,
            stderr=complaints,
            limit=_LONGEST_LINE,
            env={"PATH": "/usr/bin:/bin", "NODE_NO_WARNINGS": "1"},
        )
        try:
            yield Node(process, complaints)
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()
