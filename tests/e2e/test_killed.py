"""Calls that another addon of mitmproxy kills: they end, and give back their places."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.e2e.serving import CHAT, serve, write_config
from tests.provider import FakeProvider


class Killer:
    """Kills whatever comes to one of mitmproxy's hooks."""

    def __init__(self, hook: str) -> None:
        setattr(self, hook, self._kill)
        self.on = True

    def _kill(self, flow: Any) -> None:
        if self.on:
            flow.kill()


@pytest.mark.parametrize("stream", [True, False], ids=["streamed", "whole"])
@pytest.mark.parametrize("hook", ["request", "responseheaders", "response"])
@pytest.mark.parametrize("http2", [True, False], ids=["HTTP/2", "HTTP/1"])
async def test_a_killed_call_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, http2: bool, hook: str, stream: bool
) -> None:
    monkeypatch.setenv("SHIN_TEST_KEY", "sk-test")
    policies = tmp_path / "policies"
    policies.mkdir()
    async with FakeProvider(tls=True, host="127.0.0.1") as provider:
        config = write_config(tmp_path, {}, f"upstream: {{ca: {str(provider.ca_file)!r}}}")
        async with serve(tmp_path / "home", config, policies) as one:
            host = f"localhost:{provider.port}"
            one.policy("local", f"hosts: ['{host}']\naddons: {{concurrency: {{calls: 1, queue: 0}}}}\n")
            await one.worker.reload()
            killer = Killer(hook)
            one.master.addons.add(killer)
            url = f"https://{host}/v1/chat/completions"
            async with one.client(http2=http2, timeout=10) as client:
                with pytest.raises(httpx2.HTTPError):
                    (await client.post(url, json={**CHAT, "stream": stream})).raise_for_status()
                killer.on = False
                await asyncio.sleep(0.5)
                assert (await client.post(url, json=CHAT)).status_code == 200
