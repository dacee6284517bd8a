"""A stream of the target's dialect turned into one of the client's, part by part."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from shin_gateway.dialects import Failure
from shin_gateway.dialects.parts import Framer, Part
from shin_gateway.errors import UpstreamFailed
from shin_gateway.translation.form import Ended, Event, Failed
from shin_gateway.translation.translator import StreamReader, StreamWriter

_CUT = Failure(502, "server_error", "The upstream broke off in the middle of its reply.", retryable=True)


class StreamTranslation:
    """A filter: takes the target's parts, gives the client's."""

    def __init__(
        self,
        reader: StreamReader,
        writer: StreamWriter,
        framer: Framer,
        failed: Callable[[Failure], bytes],
        is_complete: Callable[[], bool],
    ) -> None:
        """`framer` cuts what `writer` writes; `failed` writes an error in the client's dialect; `is_complete`: did
        the target's stream end, or was it cut?"""
        self._reader = reader
        self._write = writer.write
        self._framer = framer
        self._failed = failed
        self._is_complete = is_complete
        self._over = False

    def feed(self, part: Part) -> Iterable[Part]:
        if self._over:
            return ()
        out = self._written(self._reader.feed(part))
        return self._framer.feed(out) if out else ()

    def finish(self) -> Iterable[Part]:
        if self._over or not self._is_complete():  # an error event follows a cut stream, and no regular end
            return ()
        rest = self._written(self._reader.finish())
        if not self._over:  # the end came in an event that was cut: no end can be made of it
            rest += self._failed(_CUT)
        return [*self._framer.feed(rest), *self._framer.end()]

    def _written(self, events: Iterable[Event]) -> bytes:
        out = []
        for event in events:
            if isinstance(event, Failed):
                self._over = True
                out.append(self._failed(event.failure))
                break
            out.append(self._write(event))
            self._over = self._over or isinstance(event, Ended)
        return b"".join(out)


def needs_framer(framer: Framer | None) -> Framer:
    """Raises UpstreamFailed: a dialect that streams can cut its own stream."""
    if framer is None:
        raise UpstreamFailed("The reply cannot be streamed in this dialect.", code="upstream_malformed")
    return framer
