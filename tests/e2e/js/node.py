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
_PATIENCE = 30


class Node:
    """Asks one thing at a time."""

    def __init__(self, process: asyncio.subprocess.Process, complaints: IO[bytes]) -> None:
        self._process = process
        self._complaints = complaints
        self._asked = 0

    async def ask(self, client: str, step: str, **asked: Any) -> dict[str, Any]:
        """What the client heard, or what it raised (`raised`, `status`, `message`)."""
        assert self._process.stdin is not None
        self._asked += 1
        self._process.stdin.write(json.dumps([self._asked, {"client": client, "step": step, **asked}]).encode() + b"\n")
        async with asyncio.timeout(_PATIENCE):
            return await self._heard()

    async def _heard(self) -> dict[str, Any]:
        """The answer to what was asked last; one that an earlier test gave up waiting for is nobody's."""
        assert self._process.stdout is not None
        while line := await self._process.stdout.readline():
            number, heard = json.loads(line)
            if number == self._asked:
                found: dict[str, Any] = heard
                return found
        self._complaints.seek(0)
        pytest.fail(self._complaints.read().decode())


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
