"""Bytes as no client library would send them, and whatever comes back."""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PATIENCE = 10.0
"""Seconds after which a connection counts as hanging."""


@dataclass
class Answer:
    """One reply of HTTP/1, its framing undone; `status` 0 where the connection was closed without one."""

    status: int = 0
    head: str = ""
    body: bytes = b""

    @property
    def headers(self) -> dict[str, str]:
        """Names in lower case; the last of several."""
        pairs = (line.partition(":") for line in self.head.split("\r\n")[1:])
        return {name.lower(): value.strip() for name, _, value in pairs}

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def request(
    path: str,
    body: bytes | None = b"",
    *headers: str,
    method: str = "POST",
    version: str = "1.1",
    host: str = "host: localhost",
) -> bytes:
    """A request after which the connection is closed. A body of None writes neither body nor length."""
    lines = [f"{method} {path} HTTP/{version}", host, "connection: close", *headers]
    lines += [] if body is None else [f"content-length: {len(body)}"]
    return "\r\n".join(filter(None, lines)).encode("latin1") + b"\r\n\r\n" + (body or b"")


def chunked(*chunks: bytes, trailers: str = "") -> bytes:
    return b"".join(b"%x\r\n%s\r\n" % (len(one), one) for one in chunks) + b"0\r\n" + trailers.encode() + b"\r\n"


class Wire:
    """Opens a connection for each exchange: to `address`, or through a proxy there by TLS to `host`.

    `login` is a header line for CONNECT, `sni` the server's name in the handshake where it is not the host's.
    """

    def __init__(self, address: str, host: str = "", ca: Path | None = None, *, login: str = "", sni: str = "") -> None:
        self.address = address.removeprefix("http://")
        self._host = host
        self._ca = ca
        self._login = f"{login}\r\n" if login else ""
        self._sni = sni or host.rpartition(":")[0]

    async def send(self, data: bytes | Iterable[bytes]) -> list[Answer]:
        """All answers until the other side closes. Raises TimeoutError when it does not."""
        async with asyncio.timeout(PATIENCE):
            reader, writer = await self._open()
            received: list[bytes] = []
            reading = asyncio.create_task(_read(reader, received))
            try:
                if not await _write(writer, [data] if isinstance(data, bytes) else data):
                    await asyncio.wait([reading], timeout=2)  # asyncio's TLS does not always say that it ended
                else:
                    await reading
                return _answers(b"".join(received))
            finally:
                reading.cancel()
                writer.close()

    async def ask(self, data: bytes | Iterable[bytes]) -> Answer:
        """The one answer."""
        answers = await self.send(data)
        assert len(answers) <= 1, answers
        return answers[0] if answers else Answer()

    async def _open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        host, _, port = self.address.rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        if self._host:
            writer.write(f"CONNECT {self._host} HTTP/1.1\r\n{self._login}\r\n".encode())
            await reader.readuntil(b"\r\n\r\n")
            context = ssl.create_default_context(cafile=self._ca)
            await writer.start_tls(context, server_hostname=self._sni)
        return reader, writer


async def _write(writer: asyncio.StreamWriter, pieces: Iterable[bytes]) -> bool:
    """Whether all of it was taken."""
    try:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
    except ConnectionError:
        return False
    return True


async def _read(reader: asyncio.StreamReader, received: list[bytes]) -> None:
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(65536):
            received.append(data)


def _answers(data: bytes) -> list[Answer]:
    answers = []
    while data:
        head, _, data = data.partition(b"\r\n\r\n")
        answer = Answer(int(head.split()[1]), head.decode("latin1"))
        answer.body, data = _body(answer, data)
        answers.append(answer)
    return answers


def _body(answer: Answer, data: bytes) -> tuple[bytes, bytes]:
    if answer.status in (100, 204, 304):
        return b"", data
    if "content-length" in answer.headers:
        length = int(answer.headers["content-length"])
        return data[:length], data[length:]
    if answer.headers.get("transfer-encoding") != "chunked":
        return data, b""
    body = b""
    while data:
        line, _, data = data.partition(b"\r\n")
        length = int(line, 16)
        body, data = body + data[:length], data[length + 2 :]
        if not length:
            break
    return body, data
