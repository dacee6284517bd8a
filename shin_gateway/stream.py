"""The moving part of a streamed reply: bytes into parts, through filters and past observers, to the client.

Whether a stream has ended is what the dialect's last part says, not that the bytes have stopped.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterable
from typing import TYPE_CHECKING, Protocol

from shin_gateway import encodings
from shin_gateway.dialects.base import event_of
from shin_gateway.errors import Refusal, UpstreamFailed

if TYPE_CHECKING:
    from shin_gateway.dialects import Dialect
    from shin_gateway.dialects.base import Failure
    from shin_gateway.dialects.parts import Framer, Part

log = logging.getLogger(__name__)

MAX_DECODED_STREAM = 64 * 1024 * 1024
"""Bytes that a compressed stream may inflate to."""


class Broken(Exception):
    """The stream stopped before its regular end. `cause` is a short word for the log."""

    def __init__(self, cause: str) -> None:
        super().__init__(cause)
        self.cause = cause


class Source(Protocol):
    """Where the bytes of a streamed reply come from."""

    async def read(self) -> bytes | None:
        """The next bytes as they arrive, b"" at the end, None after a while of silence. Raises Broken."""

    def close(self) -> None:
        """Let go of the upstream, at once. Harmless when the stream has ended."""


Due = Callable[[bool], Awaitable[object] | None]
"""Asked each time that parts have passed all filters, with whether the stream has ended regularly: what is to be done
before the client gets them, or None."""


class Filter(Protocol):
    """Changes parts on their way to the client."""

    def feed(self, part: Part) -> Iterable[Part]: ...

    def finish(self) -> Iterable[Part]:
        """What is still held, when the stream has ended regularly."""


class Observer(Protocol):
    """Sees parts on their way to the client."""

    def feed(self, part: Part) -> None: ...

    def finish(self, complete: bool) -> None:
        """The end: `complete` unless the stream broke off or the client left."""


class Stream:
    """Source, framer, filters and observers."""

    def __init__(self, source: Source, framer: Framer | None, dialect: Dialect, coding: str) -> None:
        self._source = source
        self._framer = framer
        """Splits bytes into parts; None for a body that has no parts, such as a file."""
        self._decoder = encodings.Decoder(coding, MAX_DECODED_STREAM) if coding and framer else None
        self.keepalive = dialect.keepalive if framer and not coding else None
        self._ending = dialect.ending()
        self._stages: list[_Filtering | _Observing] = []
        self._filtered = False
        self._refusals: list[Refusal] = []
        """What filters raised."""
        self._due: Due | None = None
        self._ended = False
        self._complete = False
        self._broken: Broken | None = None

    @property
    def takes_events(self) -> bool:
        return self._framer is not None and (self._filtered or self._decoder is None)

    @property
    def ended(self) -> bool:
        return self._framer is not None and self._ending.ended

    @property
    def complete(self) -> bool:
        return self._broken is None and self._ending.complete

    @property
    def failure(self) -> Failure | None:
        return self._ending.failure

    def filter(self, filter: Filter) -> None:
        if self._framer is not None:  # a stream in no dialect has no parts to change
            self._stages.append(_Filtering(filter, self._refusals))
            self._filtered = True

    def tee(self, observer: Observer) -> None:
        self._stages.append(_Observing(observer))

    def hold(self, due: Due) -> None:
        assert self._due is None
        self._due = due

    def shadow(self) -> Stream:
        shadow = object.__new__(Stream)
        shadow._framer = self._framer
        shadow._stages = []
        shadow._filtered = False
        shadow._refusals = []
        self._stages.append(_Observing(_Shadow(shadow)))
        return shadow

    async def read(self) -> bytes:
        while not self._ended:
            try:
                chunk = await self._source.read()
            except Broken as broken:
                if not self._ending.ended:
                    self._ended, self._broken = True, broken
                    return self._flush() or self._end()
                chunk = b""  # nothing is missing: the last event has come
            try:
                out = self._feed(chunk) if chunk else self._without(chunk)
            except Refusal as refusal:  # an event without end, a compression that is broken
                out = self._break(refusal)
            if self._due is not None and (wait := self._due(self._complete)) is not None:
                await wait
            if out:
                return out
        return self._end()

    def _break(self, refusal: Refusal) -> bytes:
        self._ended, self._broken = True, _broken_by(refusal)
        return self._flush()

    def _without(self, chunk: bytes | None) -> bytes:
        """What to send when no bytes have come."""
        if chunk is None:  # parts go out whole, so this is a place between two of them
            return self.keepalive or b""
        return self._finish()

    def _end(self) -> bytes:
        """The end of the stream, and the exception for a break only after everything before it was sent."""
        if self._broken is not None:
            broken, self._broken = self._broken, None
            raise broken
        return b""

    def _feed(self, chunk: bytes) -> bytes:
        if self._framer is None:
            return chunk
        parts = self._framer.feed(self._decoder.feed(chunk) if self._decoder else chunk)
        for part in parts:
            self._ending.feed(part)
        parts = self._run(parts)
        if self._refusals:  # the parts before it go out first
            return _join(parts) + self._break(self._refusals[0])
        return chunk if self._decoder and not self._filtered else _join(parts)

    def _finish(self) -> bytes:
        """The transport has ended. Whether that is the end of the stream, the dialect's last part says."""
        self._ended = True
        if self._framer is None:
            self._complete = True
            return b""
        rest = self._framer.end()
        for part in rest:
            if not _is_half(part):
                self._ending.feed(part)
        self._complete = self._ending.complete
        if not self._complete:  # what is left is half an event, and an error event has to follow
            self._broken, rest = Broken("upstream_cut"), []
        parts = self._run(rest)
        last = _join(parts) if self._filtered or not self._decoder else b""
        if self._broken is None and self._refusals:
            self._complete = False
            return last + self._break(self._refusals[0])
        return last + self._flush()

    def _flush(self) -> bytes:
        """What the filters still held. All parts are sent whole, so that an error event can follow."""
        parts: list[Part] = []
        for number, stage in enumerate(self._stages):
            for part in stage.finish():
                parts.extend(self._run([part], number + 1))
        if self._broken is None and self._refusals:
            self._complete, self._broken = False, _broken_by(self._refusals[0])
        return _join(parts) if self._filtered else b""

    def _run(self, parts: list[Part], first: int = 0) -> list[Part]:
        for stage in self._stages[first:] if first else self._stages:
            parts = stage.feed(parts)
        return parts

    def close(self) -> None:
        self._ended = True
        self._source.close()
        stages, self._stages = self._stages, []
        for stage in stages:
            try:
                stage.close(self._complete)
            except Exception:  # one's bug must not keep the others from the end
                log.exception("an observer failed at the end of a stream")


def _broken_by(refusal: Refusal) -> Broken:
    return Broken(refusal.code if isinstance(refusal, UpstreamFailed) else "upstream_encoding")


def _is_half(part: Part) -> bool:
    """Whether the transport ended in the middle of an event, which then has not come, whatever its name says."""
    return part.data is not None and part.data.startswith(b"{") and event_of(part) is None


def _join(parts: list[Part]) -> bytes:
    return parts[0].raw if len(parts) == 1 else b"".join([part.raw for part in parts])


class _Filtering:
    """A filter as a stage of the stream."""

    def __init__(self, filter: Filter, refusals: list[Refusal]) -> None:
        self._filter = filter
        self._refusals = refusals

    def feed(self, parts: list[Part]) -> list[Part]:
        out: list[Part] = []
        try:
            for part in parts:
                out.extend(self._filter.feed(part))
        except Refusal as refusal:
            self._refusals.append(refusal)
        return out

    def finish(self) -> Iterable[Part]:
        return self._filter.finish()

    def close(self, complete: bool) -> None:
        pass


class _Observing:
    """An observer as a stage of the stream."""

    def __init__(self, observer: Observer) -> None:
        self._observer = observer

    def feed(self, parts: list[Part]) -> list[Part]:
        for part in parts:
            self._observer.feed(part)
        return parts

    def finish(self) -> Iterable[Part]:
        return ()

    def close(self, complete: bool) -> None:
        self._observer.finish(complete)


class _Shadow:
    """Runs the stages that an addon in shadow mode put on its copy, and drops what they give."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream

    def feed(self, part: Part) -> None:
        self._stream._run([part])

    def finish(self, complete: bool) -> None:
        for stage in self._stream._stages:
            if complete:
                list(stage.finish())
            stage.close(complete)
