"""One call being answered: runs the chain, keeps the head, hands over part after part, ends the call."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from multidict import CIMultiDict

from shin_gateway.call import Call
from shin_gateway.errors import SHUTTING_DOWN, Refusal, TooLarge, UpstreamFailed, shutting_down, whole_seconds
from shin_gateway.outcome import End
from shin_gateway.reply import Reply
from shin_gateway.stream import Broken

log = logging.getLogger(__name__)

Room = Callable[[], Awaitable[None] | None]
"""None when the client takes more at once; else what waits until it does."""

LONGEST_WAIT = 120.0
"""Seconds that clients may be told to wait before they ask again by themselves: what openai-python heeds at most. Other
SDKs sleep for as long as they are told, in silence, for hours if need be.
"""
CLIENT_LEFT = 499
"""Status in the log for a call whose client went away (nginx's number)."""


class Delivery:
    """What stands between the chain and the client's connection.

    `answer` and `next_part` are awaited one after the other; `client_left` may come at any moment,
    stops whichever runs, and lets go of the upstream.
    """

    def __init__(self, call: Call, forward: Callable[[Call], Awaitable[Reply]]) -> None:
        self.call = call
        self.body_limit = call.body_limit
        self.cut = False
        self.stream: Any = None
        """The layer that the parts go to."""
        self.reply: Reply | None = None
        self._first: asyncio.Task[bytes] | None = None
        """The first part on its way, until it is taken."""
        self._forward = forward
        self._waiting: asyncio.Task[Any] | None = None
        self._left = False
        self._turned_away = False
        self._over = False

    @property
    def streamed(self) -> bool:
        return self.reply is not None and self.reply.streamed

    @property
    def _is_done(self) -> bool:
        return self._over or self._left

    def too_large(self) -> None:
        self.call.refusal = TooLarge(f"The body is larger than the limit of {self.body_limit} bytes.")

    def client_left(self) -> None:
        """The client is gone: stop waiting, close the upstream, end the call."""
        self._left = True
        if self._waiting is not None:
            self._waiting.cancel()
        else:
            self._finish_left()

    async def answer(self) -> Reply | None:
        """The reply's head, a refusal's included; None when the client has left."""
        if self._left:  # a reset came before this hook's task began
            return None
        self.reply = await self._unless_left(self._run_chain())
        if self.reply is None and not self._left:
            self.reply = refuse(self.call, shutting_down())
        return self.reply

    def turn_away(self) -> None:
        """The gateway is shutting down: who still waits for a head is told so, wherever in the chain the call is."""
        if self._waiting is not None and self.reply is None:
            self._turned_away = True
            self._waiting.cancel()

    async def _run_chain(self) -> Reply:
        call = self.call
        try:
            return await self._forward(call)
        except Refusal as refusal:
            return refuse(call, refusal)
        except Exception:
            log.exception("call %s failed", call.id)
            return refuse(call, Refusal("The gateway failed to handle this call."))

    def begin(self) -> None:
        """Read the first part. It was waited for already, so as a rule it is at hand at once."""
        reading = self._read(lambda: None)
        self._first = asyncio.Task(reading, loop=asyncio.get_running_loop(), eager_start=True)

    def first_part(self) -> bytes:
        """The first part, to go out with the head; b"" where it has still to be waited for."""
        first = self._first
        if first is None or not first.done():
            return b""
        self._first = None
        return first.result()

    def next_part(self, room: Room) -> Awaitable[bytes]:
        """The next bytes for the client, once there is `room` for them; b"" at the end."""
        first, self._first = self._first, None
        return self._read(room) if first is None else first

    async def _read(self, room: Room) -> bytes:
        """One frame for all that can become of a part: every part of every stream comes through it."""
        if self._is_done:
            return b""
        assert self.reply is not None
        self._waiting = asyncio.current_task()
        try:
            if (full := room()) is not None:
                await self._patiently(full)
            part = await self.reply.read()
        except asyncio.CancelledError:
            if not self._takes_back_cancel():
                raise
            part = b""
        except Exception as error:
            part = self._broken_off(error)
        finally:
            self._waiting = None
            if self._left:
                self._finish_left()
        self.call.outcome.reply_bytes += len(part)
        return part

    async def _patiently(self, full: Awaitable[None]) -> None:
        """Wait for a client that reads slowly, no longer than the policy gives the whole call. Raises TimeoutError."""
        async with asyncio.timeout(self.call.policy.timeouts.total - self.call.outcome.timings.total):
            await full

    def _broken_off(self, error: Exception) -> bytes:
        """The dialect's error event as the last part; where there are no events, the connection is cut."""
        reply = self.reply
        assert reply is not None
        cause = self._cause_of(error)
        self._finish("broken", cause)
        if not reply.takes_events or isinstance(error, TimeoutError):  # who reads nothing can be told nothing
            self.cut = True
            return b""
        broke = UpstreamFailed("The upstream broke off in the middle of its reply.", code=cause)
        refusal = shutting_down() if cause == SHUTTING_DOWN else broke
        return self.call.dialect.error_part(refusal, self.call.id, reply.headers.get("content-type", ""))

    def _cause_of(self, error: Exception) -> str:
        if isinstance(error, Broken):
            return error.cause
        if isinstance(error, TimeoutError):
            return "client_stalled"
        log.error("the reply to call %s failed", self.call.id, exc_info=error)
        return "internal_error"

    def fail(self) -> None:
        """The reply cannot be given to the client, through a fault of ours."""
        self._finish("failed", "internal_error")
        self.reply = None

    def sent(self) -> None:
        """The layers have passed on all there was."""
        self._finish("completed", "")

    async def _unless_left[T](self, work: Coroutine[Any, Any, T]) -> T | None:
        """Await `work` in the hook's own task, which `client_left` and `turn_away` cancel without killing the hook."""
        self._waiting = asyncio.current_task()
        try:
            return await work
        except asyncio.CancelledError:
            if not self._takes_back_cancel():
                raise
            return None
        finally:
            self._waiting = None
            if self._left:
                self._finish_left()

    def _takes_back_cancel(self) -> bool:
        """Whether it was `client_left` or `turn_away` that cancelled the wait: nobody else shall hear of that."""
        if not self._left and not self._turned_away:
            return False
        assert self._waiting is not None
        self._waiting.uncancel()
        return True

    def _finish_left(self) -> None:
        """Many clients hang up at the stream's last event, and have had everything then."""
        if self.reply is not None and self.reply.ended:
            self._finish("completed", "")
        else:
            self._finish("cancelled", "client_left")

    def _finish(self, end: End, cause: str) -> None:
        if self._over:
            return
        self._over = True
        outcome = self.call.outcome
        if outcome.cause == "":  # a refusal has said more than that it was sent
            outcome.end, outcome.cause = end, cause
        if end == "cancelled":
            outcome.end, outcome.status = end, CLIENT_LEFT
        self._note_failure()
        if self.reply is not None:
            self.reply.close()
        self.call.end(lambda error: log.error("at the end of call %s", self.call.id, exc_info=error))

    def _note_failure(self) -> None:
        outcome = self.call.outcome
        if self.reply is None:
            return
        outcome.status = outcome.status or self.reply.status
        if outcome.end == "completed" and (error := self.reply.error) is not None:
            outcome.end, outcome.cause = "failed", error.type


def refuse(call: Call, refusal: Refusal) -> Reply:
    """A refusal as a reply in the client's dialect, with the headers that SDKs go by."""
    outcome = call.outcome
    outcome.end = "failed" if refusal.status >= 500 else "refused"
    outcome.cause, outcome.addon = refusal.code, refusal.addon or ""
    headers = CIMultiDict(refusal.headers)
    headers["content-type"] = call.dialect.content_type
    headers["request-id"] = call.id
    retry_after = refusal.retry_after
    if retry_after is None and refusal.status in (429, 503, 529):
        retry_after = 1.0
    headers["x-should-retry"] = "true" if refusal.retryable and (retry_after or 0) <= LONGEST_WAIT else "false"
    if retry_after is not None:
        headers["retry-after"] = whole_seconds(retry_after)
        headers["retry-after-ms"] = str(math.ceil(retry_after * 1000))
    return Reply(refusal.status, headers, call.dialect, body=call.dialect.error_body(refusal, call.id))
