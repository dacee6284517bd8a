"""A company's HTTP proxy, behind which every host is the fake provider: real host names without a network."""

from __future__ import annotations

import asyncio
import base64
import contextlib
from collections.abc import Coroutine
from typing import Self

from tests.provider import FakeProvider

PIECE = 65536
DENIED = (
    b"HTTP/1.1 407 Proxy Authentication Required\r\n"
    b'Proxy-Authenticate: Basic realm="office"\r\nContent-Length: 0\r\n\r\n'
)
ESTABLISHED = b"HTTP/1.1 200 Connection established\r\n\r\n"


class CorporateProxy:
    """Takes every CONNECT to `provider`, whatever host it names. `login` is `user:password`, empty for none."""

    def __init__(self, provider: FakeProvider, login: str = "") -> None:
        self.asked: list[str] = []
        """`host:port` of every CONNECT that was let through."""
        self.denied = 0
        self._ports = {"": provider.port}
        self._want = "Basic " + base64.b64encode(login.encode()).decode() if login else ""
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        host, port = self._server.sockets[0].getsockname()
        return f"http://{host}:{port}"

    def route(self, host: str, provider: FakeProvider) -> None:
        """This host is another provider."""
        self._ports[host] = provider.port

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        with contextlib.suppress(OSError, asyncio.IncompleteReadError), contextlib.closing(writer):
            upstream = await self._connect(reader, writer)
            if upstream is not None:
                with contextlib.closing(upstream[1]):
                    await _first_done(_copy(reader, upstream[1]), _copy(upstream[0], writer))

    async def _connect(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter] | None:
        """Answer CONNECT; a refused client may ask again on the same connection."""
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            method, target, _ = head.split(" ", 2)
            if method != "CONNECT":
                writer.write(b"HTTP/1.1 405 Method Not Allowed\r\nContent-Length: 0\r\n\r\n")
            elif self._want and f"proxy-authorization: {self._want}".lower() not in head.lower():
                self.denied += 1
                writer.write(DENIED)
            else:
                break
        self.asked.append(target)
        port = self._ports.get(target.rpartition(":")[0], self._ports[""])
        upstream = await asyncio.open_connection("127.0.0.1", port)
        writer.write(ESTABLISHED)
        return upstream


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(PIECE):
            writer.write(data)
            await writer.drain()


async def _first_done(*copies: Coroutine[None, None, None]) -> None:
    """Either side that closes closes both."""
    tasks = [asyncio.ensure_future(copy) for copy in copies]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
