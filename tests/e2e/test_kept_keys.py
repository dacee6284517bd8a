"""A kept key in a whole `shin run`: set by the command, used by every worker, in no file and no log."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

import httpx2
import pytest

from shin_gateway.sealing import MASTER_KEY, OLD_KEYS
from tests.e2e.serving import CHAT
from tests.e2e.shin import Shin
from tests.provider import FakeProvider

FIRST, SECOND = "sk-kept-and-sealed-0001", "sk-kept-and-sealed-0002"


async def credential(shin: Shin, *arguments: str, given: str = "") -> str:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "shin_gateway.cli", "credential", *arguments, "--home", str(shin.home),
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    out, _ = await asyncio.wait_for(process.communicate(given.encode()), 60)
    assert process.returncode == 0, out.decode()
    return out.decode()


async def shown(shin: Shin, provider: FakeProvider) -> set[str]:
    """What the provider is shown in calls that several workers take."""
    before = len(provider.seen)
    for _ in range(8):
        async with httpx2.AsyncClient(trust_env=False, timeout=20) as client:
            await client.post(f"{shin.gateway}/v1/chat/completions", json=CHAT)
    return {seen.header("authorization") for seen in provider.seen[before:]}


async def shows(shin: Shin, provider: FakeProvider, value: str) -> None:
    async with asyncio.timeout(20):
        while await shown(shin, provider) != {f"Bearer {value}"}:
            await asyncio.sleep(0.1)


async def test_it_outlives_a_change_of_the_master_key(
    tmp_path: Path, provider: FakeProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in (MASTER_KEY, OLD_KEYS):
        monkeypatch.delenv(name, raising=False)
    config = tmp_path / "shin.yaml"
    config.write_text(f"providers:\n  openai: {{base_url: '{provider.url}/v1', api_key: 'kept:openai'}}\nworkers: 2\n")
    shin = Shin(tmp_path, config)
    try:
        await shin.start()  # with a master key of its own, under home
        assert await shown(shin, provider) == set()
        assert "ends with 0001" in await credential(shin, "set", "openai", given=FIRST)
        await shows(shin, provider, FIRST)
        await credential(shin, "set", "openai", given=SECOND)
        await shows(shin, provider, SECOND)
        await shin.stop()

        key = "a master key of the environment, at last"
        await shin.start(**{MASTER_KEY: key})
        await shows(shin, provider, SECOND)
        assert "old key" in await credential(shin, "list")
        assert await credential(shin, "reseal") == "sealed again: openai\n"
        await shin.stop()

        (shin.home / "master.key").unlink()
        await shin.start(**{MASTER_KEY: key})
        os.kill(shin.found("shin_gateway.runner")[0], signal.SIGKILL)  # another worker takes its place
        await shows(shin, provider, SECOND)
        assert "good" in await credential(shin, "list")
        assert await shin.stop() == 0
    finally:
        shin.destroy()
    written = b"".join(one.read_bytes() for one in tmp_path.rglob("*") if one.is_file())
    assert b"openai" in written
    for secret in (FIRST, SECOND, key):
        assert secret.encode() not in written
