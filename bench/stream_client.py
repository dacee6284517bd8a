"""Many streams at once: how late the first part and each part are. Prints one JSON line.

python -m bench.stream_client --port 8001 --streams 100 --seconds 6

A connection asks for one stream after another. What began in the first `--warm` seconds is not counted.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import random
import re
import time
from typing import Any, cast

from bench.payload import message
from bench.percentiles import summary
from bench.subjects import KEY

SENT = re.compile(rb'"content":"(\d+) "')


class Tally:
    """Delays in nanoseconds, and what went wrong."""

    def __init__(self) -> None:
        self.counting = False
        self.first: list[int] = []
        self.parts: list[int] = []
        self.streams = 0
        self.broken = 0


class Reader(asyncio.Protocol):
    """One connection. `stop` lets the current stream be the last."""

    def __init__(self, call: bytes, tally: Tally) -> None:
        self._call = call
        self._tally = tally
        self._tail = b""
        self._waiting = True
        self._began = 0
        self.stop = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._ask()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.stop:
            self._tally.broken += 1

    def data_received(self, data: bytes) -> None:
        now = time.monotonic_ns()
        text = self._tail + data
        end = 0
        for found in SENT.finditer(text):
            end = found.end()
            self._count(now, int(found[1]))
        self._tail = text[max(end, len(text) - 80) :]
        if b"[DONE]" in text and text.endswith(b"0\r\n\r\n"):
            self._tally.streams += 1
            self._ask()

    def _ask(self) -> None:
        if self.stop:
            self._transport.close()
            return
        self._tail = b""
        self._waiting = True
        self._began = time.monotonic_ns()
        self._transport.write(self._call)

    def _count(self, now: int, sent: int) -> None:
        if not self._tally.counting:
            self._waiting = False
        elif self._waiting:
            self._waiting = False
            self._tally.first.append(now - self._began)
        else:
            self._tally.parts.append(now - sent)


async def measure(port: int, key: str, streams: int, seconds: float, warm: float) -> dict[str, Any]:
    """Start the streams spread over the warm time, run, and sum up in milliseconds.

    Not at equal distances: those are a multiple or a fraction of that between two parts, and all would send at once.
    """
    loop = asyncio.get_running_loop()
    tally = Tally()
    call = message(f"127.0.0.1:{port}", key, stream=True)
    readers: list[Reader] = []
    began = loop.time()
    chance = random.Random(streams)  # the same moments for every subject
    for number in range(streams):
        await asyncio.sleep(began + (number + chance.random()) * warm / streams - loop.time())
        _, reader = await loop.create_connection(lambda: Reader(call, tally), "127.0.0.1", port)
        readers.append(reader)
    await asyncio.sleep(began + warm - loop.time())
    tally.counting, counted = True, loop.time()
    await asyncio.sleep(seconds)
    tally.counting, took = False, loop.time() - counted
    for reader in readers:
        reader.stop = True
    return {
        "streams": tally.streams,
        "broken": tally.broken,
        "first": summary(tally.first, 1e6),
        "part": summary(tally.parts, 1e6),
        "parts_per_s": (len(tally.first) + len(tally.parts)) / took,
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--key", default=KEY)
    parser.add_argument("--streams", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=6)
    parser.add_argument("--warm", type=float, default=2)
    given = parser.parse_args()
    gc.disable()
    print(json.dumps(asyncio.run(measure(given.port, given.key, given.streams, given.seconds, given.warm))))


if __name__ == "__main__":
    main()
