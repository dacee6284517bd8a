"""What a streamed reply is cut into: parts, whose bytes joined are the bytes that came."""

from __future__ import annotations

from typing import Protocol

from shin_gateway.errors import UpstreamFailed

MAX_PART = 16 * 1024 * 1024
"""Bytes of one event. An upstream that sends more without an end is broken."""


class Part:
    """One event of a stream, or bytes that stand between events.

    `raw` is exactly what came, terminator included. `event` is the event's name if it has one,
    `data` its payload; both None for comments and bytes without meaning.
    """

    __slots__ = ("raw",)

    def __init__(self, raw: bytes) -> None:
        self.raw = raw

    @property
    def event(self) -> str | None:
        return None

    @property
    def data(self) -> bytes | None:
        return None

    def replace_data(self, data: bytes) -> Part:
        """The same part with another payload; whatever surrounds the payload stays as it was."""
        return Part(data)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Part) and (self.raw, self.event, self.data) == (other.raw, other.event, other.data)

    def __hash__(self) -> int:
        return hash(self.raw)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.raw!r})"


class Framer(Protocol):
    """Cuts bytes, in whatever pieces they come, into parts."""

    def feed(self, chunk: bytes) -> list[Part]:
        """The parts that `chunk` completes. Raises UpstreamFailed when one grows without end."""
        ...

    def end(self) -> list[Part]:
        """What is left when no more bytes come: an event without its end, or nothing."""
        ...


def too_large(limit: int) -> UpstreamFailed:
    return UpstreamFailed(f"The provider sent an event of more than {limit} bytes.", code="upstream_event_too_large")
