"""One call of a connection: its body with what came before it, and the frames of its reply."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Iterable, Sequence
from contextlib import suppress
from typing import Protocol

from multidict import CIMultiDict

from shin_gateway.call import Call, Detour, make_id
from shin_gateway.dialects.parts import Part
from shin_gateway.dialects.sse import SseFramer
from shin_gateway.errors import Invalid, NotFound, Refusal, UpstreamFailed
from shin_gateway.reply import Reply
from shin_gateway.websockets import frames
from shin_gateway.websockets.frames import Create
from shin_gateway.websockets.history import History, Scribe


class Upward(Protocol):
    """The connection's own WebSocket to the provider, where there is one."""

    @property
    def warms(self) -> bool:
        """Whether a frame that only prepares a later call goes up."""

    def forward(self, create: Create, call: Call, asked: bytes) -> Awaitable[Reply | None]:
        """Ask the call's target over it; `asked` is the call's body before any addon. None: it cannot be."""

    def close(self) -> None: ...


class Turn:
    """From the frame that came to the frames that go back."""

    def __init__(self, create: Create, history: History) -> None:
        self.create = create
        self.ended = False
        """Whether the client has had the reply's last event."""
        self.refusal: Refusal | None = None
        self._history = history
        self._lane = create.lane
        """What events have yet to be given; a provider's WebSocket gives it itself."""
        self._scribe = Scribe(create.stores)
        self._context: Sequence[bytes] | None = ()
        """The items before the call's own; None where only the provider knows them."""
        try:
            if create.previous is not None:
                self._context = history.before(create.previous)
            self.body = frames.call_body(create, self._context if create.previous else None)
        except Invalid as refusal:
            self.refusal = refusal
            self._context = None
            self.body = frames.call_body(create)

    def detour(self, upward: Upward) -> Detour:
        async def forward(call: Call) -> Reply | None:
            reply = await upward.forward(self.create, call, self.body)
            self._lane = self._lane if reply is None else None
            if reply is None and self.create.warm:  # over HTTPS it would be a call that says something
                source = _Given(frames.warmed(self.create, f"resp_{call.id}", int(time.time())))
                headers = CIMultiDict({"content-type": "text/event-stream"})
                return Reply(200, headers, call.dialect, source=source, framer=SseFramer())
            return reply

        return forward

    def warmed(self) -> list[bytes]:
        """The reply to a prewarm that goes nowhere: what it said comes with the call that refers to it."""
        if self._context is None:
            words = f"Previous response with id '{self.create.previous}' not found."
            refusal = NotFound(words, status=400, code="previous_response_not_found", param="previous_response_id")
            return [frames.refusal_frame(refusal, self.create.lane)]
        return self._told(frames.warmed(self.create, f"resp_{make_id()}", int(time.time())))

    def events(self, parts: Iterable[Part]) -> list[bytes]:
        """What the client gets of these parts; nothing after the last event."""
        return self._told(part.data for part in parts if part.data is not None and part.data != b"[DONE]")

    def _told(self, events: Iterable[bytes]) -> list[bytes]:
        out = []
        for event in events:
            if self.ended:
                break
            kind = frames.type_of(event)
            self._scribe.feed(kind, event)
            if kind in frames.ENDS:
                self.ended = True
                self._keep()
            out.append(frames.on_lane(frames.nested_error(event) if kind == "error" else event, self._lane))
        return out

    def _keep(self) -> None:
        reply_id, before = self._scribe.reply_id, self._context
        if reply_id is None or before is None:
            return
        with suppress(Invalid):  # input that we cannot read, and the provider could
            self._history.keep(reply_id, [*before, *frames.input_items(self.create), *self._scribe.output])

    def whole(self, reply: Reply) -> list[bytes]:
        """A reply that is no stream: an error, or all at once."""
        body, lane = reply.body or b"", self.create.lane
        if reply.status >= 400:
            return [frames.whole_error(reply.status, body, lane, dict(reply.headers))]
        try:
            return self._told(frames.whole_events(body))
        except UpstreamFailed as refusal:
            return [frames.refusal_frame(refusal, lane)]

    def broken(self, call: Call) -> list[bytes]:
        """The end of a stream that did not say its end."""
        refusal = UpstreamFailed("The upstream broke off in the middle of its reply.", code=call.outcome.cause or None)
        return [frames.refusal_frame(refusal, self.create.lane)]


class _Given:
    """A stream whose events are known."""

    def __init__(self, events: Iterable[bytes]) -> None:
        self._rest = b"".join([b"data: %b\n\n" % event for event in events])

    async def read(self) -> bytes:
        rest, self._rest = self._rest, b""
        return rest

    def close(self) -> None:
        pass
