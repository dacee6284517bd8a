"""How many calls and replies a worker keeps after they have ended, if nobody looks for garbage.

A program of its own, run with -O as workers are: without it mitmproxy checks types, and the errors hold frames.
"""

from __future__ import annotations

import asyncio
import gc
import sys
import tempfile
from pathlib import Path

import httpx2

from shin_gateway.call import Call
from shin_gateway.reply import Reply
from tests.e2e.serving import CHAT, serve, write_config
from tests.provider import FakeProvider

CALLS = 10


async def count(stream: bool) -> int:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "policies").mkdir()
        async with FakeProvider() as provider:
            config = write_config(folder, {"openai": f"{provider.url}/v1"})
            async with serve(folder / "home", config, folder / "policies") as serving:
                return await _ask(f"{serving.gateway}/v1/chat/completions", {**CHAT, "stream": stream})


async def _ask(url: str, body: object) -> int:
    async with httpx2.AsyncClient(trust_env=False) as client:
        await client.post(url, json=body)
        gc.collect()
        gc.disable()
        for _ in range(CALLS):
            (await client.post(url, json=body)).raise_for_status()
        await asyncio.sleep(0.1)
        return sum(isinstance(one, Call | Reply) for one in gc.get_objects())


if __name__ == "__main__":
    print(asyncio.run(count(sys.argv[1:] == ["stream"])))
