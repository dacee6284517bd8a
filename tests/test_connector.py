"""The pool's connections: they stop reading where nobody takes what comes, and go on when somebody does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import pytest
from aiohttp.client_proto import ResponseHandler

from shin_gateway.upstream.connector import Connector, _Connection, open_pooled

LONG = b"x" * 8_000_000


@asynccontextmanager
async def answered(*pieces: bytes) -> AsyncIterator[aiohttp.ClientResponse]:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
        for piece in pieces:
            writer.write(b"%x\r\n%b\r\n" % (len(piece), piece))
        writer.write(b"0\r\n\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with open_pooled(Connector()) as session, session.get(f"http://127.0.0.1:{port}/") as response:
        yield response
    server.close()


async def test_a_body_that_waited_for_its_reader_comes_whole() -> None:
    async with answered(LONG) as response:
        await asyncio.sleep(0.3)  # it fills the buffers, and stops
        assert response.content.total_bytes < len(LONG)
        assert await response.content.read() == LONG


async def test_many_small_pieces_too() -> None:
    """There is a bound of its own for how many may wait."""
    async with answered(*[b"%d," % number for number in range(100_000)]) as response:
        await asyncio.sleep(0.3)
        assert await response.content.read() == b"".join(b"%d," % number for number in range(100_000))


async def test_nothing_is_parsed_in_vain(monkeypatch: pytest.MonkeyPatch) -> None:
    fed: list[int] = []
    received = ResponseHandler.data_received

    def data_received(self: ResponseHandler, data: bytes) -> None:
        assert isinstance(self, _Connection)
        fed.append(len(data))
        received(self, data)

    monkeypatch.setattr(ResponseHandler, "data_received", data_received)
    async with answered(b"one", b"two") as response:
        assert await response.content.read() == b"onetwo"
    assert fed
    assert 0 not in fed
