"""A token server on loopback (RFC 6749): gives out numbered tokens, remembers what it was asked, fails as it is told.

async with TokenServer() as server:
    server.answer = Told(life=2)
    ...
    assert server.asked[0].fields["grant_type"] == "client_credentials"
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from dataclasses import dataclass, field
from typing import Any, Self
from urllib.parse import parse_qsl


@dataclass(frozen=True)
class Asked:
    path: str
    headers: dict[str, str]
    fields: dict[str, str]


@dataclass(frozen=True)
class Told:
    """What it answers: a token that lives so many seconds, unless `body` says something else."""

    status: int = 200
    life: Any = 3600
    more: dict[str, Any] = field(default_factory=dict)
    body: bytes | None = None
    delay: float = 0.0
    hang: bool = False
    """Never answer."""


class TokenServer:
    def __init__(self) -> None:
        self.answer = Told()
        self.asked: list[Asked] = []
        self.port = 0
        self._number = 0
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/oauth2/token?tenant=hush-query"

    @property
    def token(self) -> str:
        """The last one that was given out."""
        return f"token-number-{self._number}"

    async def __aenter__(self) -> Self:
        await self.up()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.down()

    async def up(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def down(self) -> None:
        """Refuse connections, and drop those that there are."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for writer in self._writers:
            with contextlib.suppress(OSError):
                writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                await self._one(head, reader, writer)
        except (asyncio.IncompleteReadError, OSError):
            pass
        finally:
            self._writers.discard(writer)
            writer.close()

    async def _one(self, head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        first, *lines = head.decode().split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines if line)}
        body = (await reader.readexactly(int(headers.get("content-length", "0")))).decode()
        told = self.answer
        self.asked.append(Asked(first.split(" ")[1], headers, dict(parse_qsl(body, keep_blank_values=True))))
        await asyncio.sleep(told.delay)
        if told.hang:
            await asyncio.sleep(3600)
        writer.write(self._reply(told))
        await writer.drain()

    def _reply(self, told: Told) -> bytes:
        body = told.body
        if body is None and told.status == 200:
            self._number += 1
            said = {"access_token": self.token, "token_type": "Bearer", "expires_in": told.life} | told.more
            body = json.dumps({name: value for name, value in said.items() if value is not None}).encode()
        body = body if body is not None else json.dumps(told.more).encode()
        head = (
            f"HTTP/1.1 {told.status} Whatever\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
        )
        return head.encode() + body


def nobody() -> str:
    """The URL of a token server that is not there."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}/token"
