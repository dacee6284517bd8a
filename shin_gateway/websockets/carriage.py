"""Calls that come over one WebSocket: each frame goes down the chain as a call, its reply comes back as frames.

Knows nothing of mitmproxy, nor of how frames are written; `layer` brings messages in and takes events out.
Calls of one lane (`stream_id`, or none) run one after the other, different lanes at once, as OpenAI has it.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import suppress
from typing import TYPE_CHECKING, Protocol

from shin_gateway.call import Call
from shin_gateway.delivery import Delivery, Room
from shin_gateway.dialects.parts import Part
from shin_gateway.dialects.sse import SseFramer
from shin_gateway.errors import Invalid, Refusal, TooLarge
from shin_gateway.reply import Reply
from shin_gateway.websockets import frames
from shin_gateway.websockets.frames import Create, FrameRefused, Steer
from shin_gateway.websockets.history import History
from shin_gateway.websockets.turns import Turn, Upward

if TYPE_CHECKING:
    from shin_gateway.gateway import LivePolicy

log = logging.getLogger(__name__)

MAX_RUNNING = 16
"""Calls of one connection that run at once (OpenAI's limit)."""
MAX_LANES = 32
"""Named lanes of one connection (OpenAI's limit)."""
MAX_WAITING = 64
"""Calls of one connection that wait for their turn."""
PING = 30.0
"""Seconds between two pings, so that nothing on the way takes the connection for dead."""
GONE = 2.5 * PING
"""Seconds of silence after which a client that was pinged is taken for gone."""
STALLED = 300.0
"""Seconds for which a client may read nothing of what is there for it."""
LINGER = 2.0
"""Seconds that a stream may stay open after its last event."""

NORMAL, GOING_AWAY, POLICY, INTERNAL, RESTART = 1000, 1001, 1008, 1011, 1012
"""Close codes (RFC 6455 §7.4.1; 1012 from the IANA registry)."""
UNREAD = "The client does not read."


class Client(Protocol):
    """The client's end of the connection."""

    room: Room

    @property
    def silence(self) -> float:
        """Seconds since anything came from it, the answer to a ping included."""

    async def send(self, messages: Iterable[bytes]) -> None: ...

    async def ping(self) -> None: ...

    async def close(self, code: int, reason: str) -> None: ...


class Carriage:
    """One connection. `serve` runs until it is over; messages may come before that."""

    def __init__(
        self,
        find: Callable[[], LivePolicy | None],
        make_call: Callable[[LivePolicy, bytes], Call],
        limit: int,
        *,
        draining: Callable[[], bool],
        upward: Callable[[], Upward],
    ) -> None:
        self.limit = limit
        """Bytes of one message."""
        self._find = find
        self._make_call = make_call
        self._draining = draining
        self._upward = upward
        self._history = History(limit)
        self._lanes: dict[str | None, _Lane] = {}
        self._notices: deque[bytes] = deque()
        self._telling: asyncio.Task[None] | None = None
        self._running: set[Delivery] = set()
        self._places = asyncio.Semaphore(MAX_RUNNING)
        self._over = asyncio.Event()
        self._client: Client | None = None
        self._closing = (NORMAL, "")

    # What comes in

    def receive(self, message: str | bytes) -> None:
        """A whole message of the client."""
        if self._over.is_set():
            return
        try:
            said = frames.read(message)
            if isinstance(said, Steer):
                self._notify(frames.steer_failed(said))
            else:
                self._queue(said)
        except FrameRefused as refused:
            self._notify(frames.refusal_frame(refused.refusal, refused.lane))

    def _queue(self, create: Create) -> None:
        lane = self._lane(create)
        waiting = [one for lane in self._lanes.values() for one in lane.queue]
        size = sum(len(one.frame) for one in waiting) + len(create.frame)
        if len(waiting) >= MAX_WAITING or (waiting and size > self.limit):
            refusal = Invalid("Too many calls wait on this connection.", status=429, code="rate_limited")
            raise FrameRefused(refusal, create.lane)
        lane.queue.append(create)
        self._start(lane)

    def _lane(self, create: Create) -> _Lane:
        if (lane := self._lanes.get(create.lane)) is not None:
            return lane
        if create.lane is not None and len(self._lanes.keys() - {None}) >= MAX_LANES:
            words = f"This connection has reached its maximum number of stream ids ({MAX_LANES})."
            refusal = Invalid(words, code="websocket_stream_limit_reached", param="stream_id")
            raise FrameRefused(refusal, create.lane)
        lane = self._lanes[create.lane] = _Lane(self._upward())
        return lane

    def _notify(self, notice: bytes) -> None:
        """Answer what waits for no call."""
        waiting = sum(map(len, self._notices))  # some repeat what the client said
        if len(self._notices) >= MAX_WAITING or (self._notices and waiting + len(notice) > self.limit):
            self.close(POLICY, "Too many messages that are no calls.")
            return
        self._notices.append(notice)
        self._tell()

    def client_left(self, code: int | None = None, reason: str = "") -> None:
        """The client is gone: every call of its own ends."""
        self._over.set()
        for delivery in list(self._running):
            delivery.client_left()

    def close(self, code: int, reason: str) -> None:
        """End the connection; calls under way are cut."""
        self._closing = (code, reason)
        self.client_left()

    # What runs

    async def serve(self, client: Client) -> None:
        """Answer what comes until the client leaves or we close."""
        self._client = client
        self._tell()
        for lane in self._lanes.values():
            self._start(lane)
        try:
            while not await self._is_over(PING):
                if client.silence > GONE:
                    self.client_left()
                await client.ping()
            code, reason = self._closing
            await client.close(code, reason)
        finally:
            await self._stop()

    async def _is_over(self, patience: float) -> bool:
        with suppress(TimeoutError):
            async with asyncio.timeout(patience):
                await self._over.wait()
        return self._over.is_set()

    async def _stop(self) -> None:
        self.client_left()
        tasks = [lane.task for lane in self._lanes.values() if lane.task is not None]
        if self._telling is not None:
            self._telling.cancel()
        for lane in self._lanes.values():
            lane.upward.close()
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=5)
            for task in late:
                task.cancel()

    def _start(self, lane: _Lane) -> None:
        if self._client is not None and lane.queue and (lane.task is None or lane.task.done()):
            lane.task = asyncio.create_task(self._work(lane))

    def _tell(self) -> None:
        if self._client is not None and self._notices and (self._telling is None or self._telling.done()):
            self._telling = asyncio.create_task(self._send_notices())

    async def _send_notices(self) -> None:
        while self._notices:
            await self._send([self._notices.popleft()])

    async def _work(self, lane: _Lane) -> None:
        while lane.queue and not self._over.is_set():
            create = lane.queue.popleft()
            async with self._places:
                if not self._over.is_set():
                    await self._answer_or_fail(lane, create)
        if self._draining() and not self._running:
            self.close(RESTART, "The gateway is shutting down.")

    async def _answer_or_fail(self, lane: _Lane, create: Create) -> None:
        try:
            live = self._find()
            if self._draining() or live is None or live.policy.websocket != "carry":
                self.close(RESTART, "Connect again.")
                return
            await self._answer(lane, create, live)
        except FrameRefused as refused:
            await self._send([frames.refusal_frame(refused.refusal, refused.lane)])
        except Exception:
            log.exception("a frame could not be answered")
            await self._send([frames.refusal_frame(Refusal("The gateway failed to handle this call."), create.lane)])

    async def _answer(self, lane: _Lane, create: Create, live: LivePolicy) -> None:
        turn = Turn(create, self._history)
        call = self._make_call(live, turn.body)
        here = create.warm and not lane.upward.warms
        if here and turn.refusal is None and call.refusal is None:
            await self._send(turn.warmed())
            return
        call.headers.update(frames.call_headers(create, call.headers))
        if len(turn.body) > call.body_limit:
            turn.refusal = TooLarge(f"The call with what came before it has more than {call.body_limit} bytes.")
        call.refusal = call.refusal or turn.refusal
        call.note(carrier="websocket", **({"prewarm": "true"} if create.warm else {}))
        call.detour = turn.detour(lane.upward)
        await self._deliver(turn, Delivery(call, live.take(call)))

    async def _deliver(self, turn: Turn, delivery: Delivery) -> None:
        self._running.add(delivery)
        try:
            reply = await delivery.answer()
            if reply is None:
                return
            if reply.streamed:
                await self._relay(turn, delivery, reply)
            else:
                await self._send(turn.whole(reply))
            delivery.sent()
        except Exception:
            delivery.fail()
            raise
        finally:
            self._running.discard(delivery)

    async def _relay(self, turn: Turn, delivery: Delivery, reply: Reply) -> None:
        if reply.headers.get("content-encoding"):
            reply.filter(_Decoded())
        framer = SseFramer()
        async for part in self._parts(delivery):
            out = turn.events(framer.feed(part))
            if out:
                await self._send(out)
            if turn.ended:
                await self._drain(delivery)
                return
        if delivery.call.outcome.cause == "client_stalled":
            self.close(POLICY, UNREAD)
        elif not self._over.is_set():
            await self._send(turn.broken(delivery.call))

    async def _parts(self, delivery: Delivery) -> AsyncIterator[bytes]:
        assert self._client is not None
        while part := await delivery.next_part(self._client.room):
            yield part

    async def _drain(self, delivery: Delivery) -> None:
        """The stream's own end, for those who watch it; the client has had its last event."""
        with suppress(TimeoutError):
            async with asyncio.timeout(LINGER):
                async for _ in self._parts(delivery):
                    pass

    async def _send(self, messages: Iterable[bytes]) -> None:
        """Once there is room: what a client does not read must not gather here."""
        assert self._client is not None
        if (full := self._client.room()) is not None:
            try:
                async with asyncio.timeout(STALLED):
                    await full
            except TimeoutError:
                self.close(POLICY, UNREAD)
        if not self._over.is_set():
            await self._client.send(messages)


class _Lane:
    """Calls that run one after the other."""

    def __init__(self, upward: Upward) -> None:
        self.queue: deque[Create] = deque()
        self.task: asyncio.Task[None] | None = None
        self.upward = upward


class _Decoded:
    """Passes parts on: a stream with a filter comes without its content-encoding."""

    def feed(self, part: Part) -> Iterable[Part]:
        return (part,)

    def finish(self) -> Iterable[Part]:
        return ()
