"""A provider that only streams: paced parts, each carrying the moment at which it was sent.

python -m bench.stream_upstream --port 9002 --rate 50 --parts 100
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import time
from typing import cast

HEAD = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\ncache-control: no-cache\r\n"
    b"x-request-id: req_bench\r\ntransfer-encoding: chunked\r\n\r\n"
)
_BASE = b'data: {"id":"chatcmpl-bench","object":"chat.completion.chunk","created":1780000000,"model":"gpt-4o",'
PART = (
    _BASE + b'"choices":[{"index":0,"delta":{"content":"%d "},"logprobs":null,"finish_reason":null}],"usage":null}\n\n'
)
LAST = _BASE + b'"choices":[{"index":0,"delta":{},"logprobs":null,"finish_reason":"stop"}],"usage":null}\n\n'
USAGE = _BASE + b'"choices":[],"usage":{"prompt_tokens":190,"completion_tokens":100,"total_tokens":290}}\n\n'
DONE = b"data: [DONE]\n\n"


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


class Stream(asyncio.Protocol):
    """Answers each call on its connection with one stream; the first part goes out with the head."""

    def __init__(self, rate: float, parts: int) -> None:
        self._gap = 1 / rate
        self._parts = parts
        self._left = 0
        self._need = 0
        self._buffer = b""
        self._due = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._loop = asyncio.get_running_loop()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._timer:
            self._timer.cancel()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, found, body = self._buffer.partition(b"\r\n\r\n")
        if found and len(body) >= _length(head):
            self._buffer = b""
            self._left = self._parts
            self._due = self._loop.time()
            self._transport.write(HEAD)
            self._send()

    def _send(self) -> None:
        self._transport.write(chunk(PART % time.monotonic_ns()))
        self._left -= 1
        if not self._left:
            self._transport.write(chunk(LAST) + chunk(USAGE) + chunk(DONE) + b"0\r\n\r\n")
            return
        self._due += self._gap
        self._timer = self._loop.call_at(self._due, self._send)


def _length(head: bytes) -> int:
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return int(line[15:])
    return 0


async def serve(port: int, rate: float, parts: int) -> None:
    server = await asyncio.get_running_loop().create_server(
        lambda: Stream(rate, parts), "127.0.0.1", port, backlog=1024
    )
    await server.serve_forever()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--rate", type=float, default=50, help="parts a second of each stream")
    parser.add_argument("--parts", type=int, default=100, help="parts of each stream")
    given = parser.parse_args()
    gc.disable()
    asyncio.run(serve(given.port, given.rate, given.parts))


if __name__ == "__main__":
    main()
