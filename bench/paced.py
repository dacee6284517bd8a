"""A client that calls at a fixed rate, not as fast as it can: latency below saturation. Prints one JSON line.

python -m bench.paced --port 8001 --rate 500 --seconds 5

Calls begin at random moments (a Poisson process), whether or not earlier ones have ended, on whichever of 64
keep-alive connections is free; each connection has made a call before the clock starts. Latency is from the call's
first byte out to the reply's last byte in; a call that finds no connection free waits, and its waiting counts.
One thread, raw sockets, no event loop.
"""

from __future__ import annotations

import argparse
import gc
import json
import random
import select
import socket
import time
from collections import deque
from typing import Any

from bench.payload import message
from bench.percentiles import summary
from bench.subjects import KEY

LINES = 64
GRACE = 2.0


class Line:
    """One keep-alive connection."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.began = 0
        self.reply = b""

    def warm(self, call: bytes) -> None:
        """One call that does not count: the proxy opens its own connection now."""
        self.socket.sendall(call)
        while not self.ended():
            data = self.socket.recv(65536)
            if not data:
                raise SystemExit("bench: the subject closed a connection at its first call")
            self.reply += data

    def ended(self) -> bool:
        """Whether the reply is whole, by content-length or by the last chunk."""
        head, found, body = self.reply.partition(b"\r\n\r\n")
        if not found:
            return False
        at = head.lower().find(b"\r\ncontent-length:")
        if at < 0:
            return body.endswith(b"0\r\n\r\n")
        return len(body) >= int(head[at + 17 :].partition(b"\r\n")[0])


class Paced:
    """The run: free and busy lines, calls that wait for a line, latencies in nanoseconds."""

    def __init__(self, port: int, key: str, rate: float, seconds: float) -> None:
        self._rate = rate
        self._call = message(f"127.0.0.1:{port}", key)
        self._free = [Line(port) for _ in range(LINES)]
        for line in self._free:
            line.warm(self._call)
        self._busy: dict[int, Line] = {}
        self._waiting: deque[int] = deque()
        self._poll = select.epoll()
        self._due = time.monotonic()
        self._end = self._due + seconds
        self.latencies: list[int] = []
        self.failed = 0
        self.waited = 0

    def run(self) -> None:
        give_up = self._end + GRACE
        while (now := time.monotonic()) < self._end or (self._busy and now < give_up):
            while self._due <= now < self._end:
                self._due += random.expovariate(self._rate)
                self._waiting.append(time.monotonic_ns())
            self.waited += max(0, len(self._waiting) - len(self._free))
            while self._waiting and self._free:
                self._begin(self._free.pop(), self._waiting.popleft())
            until = self._due if now < self._end else give_up
            # an epoll can itself be selected on, and select() waits for microseconds where epoll knows milliseconds
            if select.select([self._poll], [], [], max(0.0, until - time.monotonic()))[0]:
                for number, _ in self._poll.poll(0):
                    self._read(self._busy[number])
        self.failed += len(self._busy) + len(self._waiting)

    def _begin(self, line: Line, due: int) -> None:
        self._busy[line.socket.fileno()] = line
        self._poll.register(line.socket, select.EPOLLIN)
        line.reply = b""
        line.began = due
        line.socket.send(self._call)

    def _read(self, line: Line) -> None:
        data = line.socket.recv(65536)
        now = time.monotonic_ns()
        line.reply += data
        if data and not line.ended():
            return
        self._poll.unregister(line.socket)
        del self._busy[line.socket.fileno()]
        if not data or not line.reply.startswith(b"HTTP/1.1 200"):
            self.failed += 1
            line.socket.close()
            return
        self.latencies.append(now - line.began)
        self._free.append(line)


def measure(port: int, key: str, rate: float, seconds: float) -> dict[str, Any]:
    """Latencies in milliseconds."""
    paced = Paced(port, key, rate, seconds)
    paced.run()
    return {
        "rate": rate,
        "failed": paced.failed,
        "latency": summary(paced.latencies, 1e6),
        "waited": paced.waited,
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--key", default=KEY)
    parser.add_argument("--rate", type=float, required=True, help="calls a second")
    parser.add_argument("--seconds", type=float, default=5)
    given = parser.parse_args()
    gc.disable()
    print(json.dumps(measure(given.port, given.key, given.rate, given.seconds)))


if __name__ == "__main__":
    main()
