"""Places in real workers, seen from the provider: streams, cancels, errors, realtime connections, dead letters."""

from __future__ import annotations

import asyncio
import json
import os
import random
import sys
from pathlib import Path
from typing import Any

import httpx2
import websockets

from shin_gateway.stores.embedded import find_server
from shin_gateway.stores.state import StateStore
from tests.e2e.serving import CHAT, Serving
from tests.e2e.shin import Shin, shin
from tests.ports import free_port
from tests.provider import UNAVAILABLE, FakeProvider
from tests.stores.servers import Server

PATH = "/v1/chat/completions"
QUEUE = "hosts: [gateway]\nextends: standard\naddons:\n  concurrency: "


class Crowded:
    """A provider that counts who is there at once, but for those who will leave: it hears of that a moment late.

    Streams come in three pieces; some calls fail."""

    def __init__(self) -> None:
        self.now = self.most = self.total = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def start(self) -> asyncio.Server:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        return server

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                length = next(
                    int(one[15:]) for one in head.lower().split(b"\r\n") if one.startswith(b"content-length:")
                )
                body = json.loads(await reader.readexactly(length))
                await self._answer(reader, writer, body)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, body: Any) -> None:
        counts = body.get("user") != "leaver"
        self.now += counts
        self.total += 1
        self.most = max(self.most, self.now)
        gone = asyncio.create_task(reader.read(1))
        try:
            if body.get("stream"):
                writer.write(
                    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
                )
                for piece in (
                    *(b'data: {"choices":[{"index":0,"delta":{"content":"x"}}]}\n\n',) * 3,
                    b"data: [DONE]\n\n",
                ):
                    writer.write(b"%x\r\n%s\r\n" % (len(piece), piece))
                    await asyncio.wait([gone], timeout=0.02)
                    if gone.done():
                        raise ConnectionError
                end = b"0\r\n\r\n"
            else:
                await asyncio.wait([gone], timeout=0.04)
                if gone.done():
                    raise ConnectionError
                status = b"400 No" if self.total % 9 == 0 else b"200 OK"
                text = b'{"choices":[{"index":0,"message":{"role":"assistant","content":"x"}}]}'
                head = b"HTTP/1.1 %s\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
                end = head % (status, len(text)) + text
        finally:
            self.now -= counts
            gone.cancel()
            await asyncio.gather(gone, return_exceptions=True)
        writer.write(end)
        await writer.drain()


async def test_three_workers_under_a_load_of_streams_cancels_and_errors(tmp_path: Path) -> None:
    crowded = Crowded()
    store = Server(str(find_server()), tmp_path / "store", free_port()).wait()
    server = await crowded.start()
    url = f"unix://{store.socket}?timeout=5"
    with shin(tmp_path, crowded, f"stores: {{state: '{url}'}}") as run:  # type: ignore[arg-type]
        (run.policies / "gateway.yaml").write_text(
            QUEUE + "{calls: 4, queue: 500, max_wait: 20s, on_store_error: refuse}\n"
        )
        await run.start("--workers", "3")
        dice = random.Random(7)

        async def one(number: int, client: httpx2.AsyncClient) -> int:
            await asyncio.sleep(dice.random())
            leaves = number % 5 == 0
            body = {**CHAT, "stream": number % 2 == 0} | ({"user": "leaver"} if leaves else {})
            patience = 0.2 if leaves else 30.0
            try:
                return (await client.post(run.gateway + PATH, json=body, timeout=patience)).status_code
            except httpx2.TimeoutException:
                return 0

        many = httpx2.Limits(max_connections=100, max_keepalive_connections=100)
        async with httpx2.AsyncClient(trust_env=False, limits=many) as client:
            statuses = await asyncio.gather(*(one(number, client) for number in range(100)))
        assert crowded.most <= 4 and set(statuses) <= {0, 200, 400}
        assert statuses.count(200) > 60
        state = await StateStore.connect(url)
        async with asyncio.timeout(20):
            while await state.run("KEYS", "shin:{admission}:p[iqt]*") or await state.run(
                "KEYS", "shin:{admission}:open:*"
            ):
                await asyncio.sleep(0.05)
        await state.close()
        async with asyncio.timeout(20):
            while len(await run.ids()) < len(list(filter(None, statuses))):
                await asyncio.sleep(0.1)
    server.close()
    store.kill()


async def test_a_realtime_connection_holds_its_place(serving: Serving, provider: FakeProvider) -> None:
    serving.policy("gateway", QUEUE + "{calls: 1, max_wait: 100ms}\n")
    await serving.worker.reload()
    url = serving.gateway.replace("http:", "ws:") + "/v1/realtime?model=gpt-realtime"
    async with httpx2.AsyncClient(trust_env=False, timeout=30) as client:
        async with websockets.connect(url, proxy=None) as socket:
            await socket.recv()
            late = await client.post(serving.gateway + PATH, json=CHAT)
            assert (late.status_code, late.json()["error"]["code"]) == (429, "queue_timeout")
            assert late.headers["x-shin-queue-place"] == "1" and late.headers["retry-after"]
        async with asyncio.timeout(20):
            while (await client.post(serving.gateway + PATH, json=CHAT)).status_code != 200:
                await asyncio.sleep(0.05)


async def command(run: Shin, *arguments: str) -> tuple[int, str]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "shin_gateway.cli", "dlq", *arguments, "--home", str(run.home),
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT, env=os.environ,
    )  # fmt: skip
    out, _ = await process.communicate()
    return process.returncode or 0, out.decode()


async def test_dead_letters_are_looked_at_and_sent_again(tmp_path: Path, provider: FakeProvider) -> None:
    provider.default = UNAVAILABLE
    with shin(tmp_path, provider) as run:
        (run.policies / "gateway.yaml").write_text(QUEUE + "{dead_letters: on}\n  retry: {first_wait: 1ms}\n")
        await run.start()
        async with httpx2.AsyncClient(trust_env=False, timeout=30) as client:
            headers = {"authorization": "Bearer sk-mine"}
            failed = [await client.post(run.gateway + PATH, json=CHAT, headers=headers) for _ in range(2)]
        assert {one.status_code for one in failed} == {503}
        async with asyncio.timeout(20):
            while len(found := json.loads((await command(run, "list", "--json"))[1])) < 2:
                await asyncio.sleep(0.1)
        assert {one["id"] for one in found} == {one.headers["x-shin-call-id"] for one in failed}
        code, out = await command(run, "list")
        assert code == 0 and "again" in out and found[0]["id"] in out
        code, out = await command(run, "show", found[0]["id"])
        assert code == 0 and "say hello" in out and "sk-mine" not in out
        code, out = await command(run, "replay", "--all", "--json")
        assert code == 1 and '"status": 503' in out and "2 of 2 failed again" in out
        provider.default = type(UNAVAILABLE)()
        seen = len(provider.seen)
        code, out = await command(run, "replay", "--all")
        assert code == 0 and out.count("dropped") == 2
        assert [one.json()["messages"] for one in provider.seen[seen:]] == [CHAT["messages"]] * 2
        assert json.loads((await command(run, "list", "--json"))[1]) == []
        code, out = await command(run, "show", "0" * 28)
        assert code == 1 and "no such letter" in out
