"""What happens on one connection: calls are read with h11, replies written by hand so that they can be wrong."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator

import h11

from tests.provider.answer import Answer, Stop
from tests.provider.framing import Framed, frame
from tests.provider.peer import Gone, Peer
from tests.provider.routes import write
from tests.provider.seen import Seen
from tests.provider.websocket import Socket

FLOOD = b"x" * 65536
FOREVER = 1e6


class Connection:
    """Serves calls until one side has had enough."""

    def __init__(self, peer: Peer, number: int, sni: str, on_call: Callable[[Seen], Answer]) -> None:
        self._peer = peer
        self._number = number
        self._sni = sni
        self._on_call = on_call
        self._rest = b""

    async def serve(self) -> None:
        try:
            while await self._serve_one():
                pass
        except (Gone, h11.RemoteProtocolError):
            pass
        finally:
            self._peer.close()

    async def _serve_one(self) -> bool:
        seen = await self._read_call()
        if seen is None:
            return False
        answer = self._on_call(seen)
        try:
            keep = await self._reply(seen, answer)
        except Gone:
            seen.left.set_result(time.monotonic())
            raise
        if not seen.left.done():
            seen.done.set_result(time.monotonic())
        return keep

    async def _read_call(self) -> Seen | None:
        parser = h11.Connection(h11.SERVER)
        if self._rest:
            parser.receive_data(self._rest)
        head: h11.Request | None = None
        body = bytearray()
        async for event in self._events(parser):
            if isinstance(event, h11.Request):
                head = event
            elif isinstance(event, h11.Data):
                body += event.data
            elif isinstance(event, h11.EndOfMessage) and head is not None:
                self._rest = parser.trailing_data[0]
                return self._seen(head, bytes(body))
        return None

    async def _events(self, parser: h11.Connection) -> AsyncIterator[object]:
        while True:
            event = parser.next_event()
            if event is h11.NEED_DATA:
                if parser.they_are_waiting_for_100_continue:
                    await self._peer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
                    parser.send(h11.InformationalResponse(status_code=100, headers=[]))
                data = await self._peer.read()
                if not data:
                    return
                parser.receive_data(data)
            elif isinstance(event, h11.ConnectionClosed):
                return
            else:
                yield event

    def _seen(self, head: h11.Request, body: bytes) -> Seen:
        headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in head.headers.raw_items()]
        target = head.target.decode("latin-1")
        return Seen(head.method.decode(), target, headers, body, sni=self._sni, connection=self._number)

    async def _reply(self, seen: Seen, answer: Answer) -> bool:
        if answer.wait_head:
            await self._peer.wait(answer.wait_head)
        if seen.header("upgrade").lower() == "websocket" and answer.status == 200:
            await Socket(self._peer, seen, self._on_call).serve(self._rest)
            return False
        framed = frame(seen, answer, write(seen, answer))
        stop = answer.stop
        if stop is None:
            await self._send(seen, framed.head)
            await self._send_body(seen, answer, framed.parts)
            await self._send(seen, framed.end)
            return framed.keep
        if stop.after != "call":
            await self._send(seen, framed.head)
            await self._send_body(seen, answer, list(_until(framed.parts, stop)))
        return await self._stop(seen, stop, framed)

    async def _send(self, seen: Seen, data: bytes) -> None:
        if data:
            seen.sent += len(data)
            await self._peer.write(data)

    async def _send_body(self, seen: Seen, answer: Answer, parts: list[bytes]) -> None:
        wait = answer.wait_first
        for part in parts:
            if answer.gate:
                await self._pass_gate(answer.gate)
            for data in _drips(part, answer.drip):
                if wait:
                    await self._peer.wait(wait)
                await self._send(seen, data)
                wait = answer.pace
            seen.parts.append(time.monotonic())

    async def _pass_gate(self, gate: asyncio.Semaphore) -> None:
        """Wait for a release, or raise Gone when the client leaves first."""
        gone = asyncio.ensure_future(self._peer.gone.wait())
        opened = asyncio.ensure_future(gate.acquire())
        try:
            await asyncio.wait({gone, opened}, return_when=asyncio.FIRST_COMPLETED)
            if not opened.done():
                raise Gone
        finally:
            gone.cancel()
            opened.cancel()

    async def _stop(self, seen: Seen, stop: Stop, framed: Framed) -> bool:
        if stop.how == "rst":
            await asyncio.sleep(0.01)  # what was written leaves the socket before it is reset
            self._peer.reset()
        while stop.how == "flood":
            await self._send(seen, b"%x\r\n%b\r\n" % (len(FLOOD), FLOOD))
            await self._peer.wait(0.001)
        if stop.how == "hang":
            await self._peer.wait(FOREVER)
        if stop.how == "end":
            await self._send(seen, framed.end)
        return stop.how == "end" and framed.keep


def _until(parts: list[bytes], stop: Stop) -> Iterator[bytes]:
    """The parts, or the bytes, that still go out."""
    if stop.after == "parts":
        yield from parts[: stop.count]
    left = stop.count if stop.after == "bytes" else 0
    for part in parts if left else ():
        yield part[:left]
        left -= len(part)
        if left <= 0:
            return


def _drips(part: bytes, size: int) -> Iterator[bytes]:
    if not size:
        yield part
        return
    for start in range(0, len(part), size):
        yield part[start : start + size]
