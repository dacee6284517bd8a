"""One call as the fake provider received it, and what became of its reply."""

from __future__ import annotations

import asyncio
import gzip
import json
import time
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import brotli
import zstandard


def _unzstd(data: bytes) -> bytes:
    return zstandard.ZstdDecompressor().decompressobj().decompress(data)


DECODERS: Mapping[str, Callable[[bytes], bytes]] = {
    "": bytes,
    "identity": bytes,
    "gzip": gzip.decompress,
    "deflate": zlib.decompress,
    "br": brotli.decompress,
    "zstd": _unzstd,
}


def _future() -> asyncio.Future[float]:
    return asyncio.get_running_loop().create_future()


@dataclass(slots=True)
class Seen:
    """`headers` keep order, case and duplicates; `body` is as it came; times are time.monotonic()."""

    method: str
    target: str
    headers: list[tuple[str, str]]
    body: bytes
    sni: str
    connection: int
    """Number of the connection, from 0: two calls with the same one shared it."""
    at: float = field(default_factory=time.monotonic)
    left: asyncio.Future[float] = field(default_factory=_future)
    """Done, with the time, when the client went away before the reply had ended."""
    done: asyncio.Future[float] = field(default_factory=_future)
    """Done, with the time, when the whole reply was handed to the socket."""
    parts: list[float] = field(default_factory=list)
    """When each part went out."""
    sent: int = 0
    """Bytes handed to the socket; stops growing while the client does not read."""
    messages: list[str | bytes] = field(default_factory=list)
    """WebSocket messages received after an upgrade."""
    closed_with: tuple[int, str] | None = None
    """Code and reason of the client's close frame."""

    @property
    def path(self) -> str:
        return self.target.partition("?")[0]

    @property
    def query(self) -> str:
        return self.target.partition("?")[2]

    @property
    def host(self) -> str:
        return self.header("host")

    @property
    def closed_early(self) -> bool:
        return self.left.done()

    def header(self, name: str) -> str:
        """The first value of a header, or ""."""
        return next((value for key, value in self.headers if key.lower() == name.lower()), "")

    def header_names(self) -> list[str]:
        return [key for key, _ in self.headers]

    def decoded(self) -> bytes:
        """The body without its content-encoding. Raises what the decoder raises."""
        return DECODERS[self.header("content-encoding").strip().lower()](self.body)

    def json(self) -> Any:
        """The body parsed. Raises ValueError."""
        return json.loads(self.decoded())
