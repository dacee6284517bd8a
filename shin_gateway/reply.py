"""A reply: status, headers and a body that is either whole or a stream of parts.

Addons never iterate over a stream: closing an outer generator does not close the inner one, and
the upstream connection would stay open. They hand in filters and observers; the reply runs them
part by part, inner ones first, and owns the end.
"""

from __future__ import annotations

from collections.abc import Awaitable
from typing import TYPE_CHECKING

from multidict import CIMultiDict

from shin_gateway import encodings, texts
from shin_gateway.errors import Refusal, UpstreamFailed
from shin_gateway.stream import Due, Filter, Observer, Source, Stream

if TYPE_CHECKING:
    from shin_gateway.dialects import Dialect
    from shin_gateway.dialects.base import Failure
    from shin_gateway.dialects.parts import Framer
    from shin_gateway.texts import Rewriter

_ABOUT_THE_BODY = (
    "content-length", "content-encoding", "etag", "content-digest", "repr-digest", "digest", "content-md5",
)  # fmt: skip
"""Headers that a changed body makes untrue (RFC 9110 §8, RFC 9530)."""


class Reply:
    """One reply, whole (`body` is bytes) or streamed (`body` is None and `read` gives it)."""

    def __init__(
        self,
        status: int,
        headers: CIMultiDict[str],
        dialect: Dialect,
        *,
        body: bytes | None = None,
        source: Source | None = None,
        framer: Framer | None = None,
        reason: str = "",
    ) -> None:
        self.status = status
        self.headers = headers
        self.dialect = dialect
        self.reason = reason
        self.failure: Failure | None = None
        """What the first part says when the upstream answered 200 and then failed at once."""
        self._raw = body
        self._body: bytes | None = None
        self._stream = None if source is None else Stream(source, framer, dialect, headers.get("content-encoding", ""))

    @property
    def streamed(self) -> bool:
        return self._stream is not None

    @property
    def raw_body(self) -> bytes:
        """The whole body as it goes over the wire."""
        return self._raw or b""

    @property
    def body(self) -> bytes | None:
        """The whole body without its content-encoding; None when streamed. Raises UpstreamFailed."""
        if self._raw is None:
            return None
        if self._body is None:
            self._body = _decoded(self._raw, self.headers.get("content-encoding", ""))
        return self._body

    @body.setter
    def body(self, body: bytes) -> None:
        if body is self._body:
            return
        self._raw = self._body = body
        for name in _ABOUT_THE_BODY:
            self.headers.popall(name, None)

    def filter(self, filter: Filter) -> None:
        """Have `filter` change the parts of a streamed reply."""
        assert self._stream is not None
        for name in _ABOUT_THE_BODY:
            self.headers.popall(name, None)
        self._stream.filter(filter)

    def translate(self, dialect: Dialect, filter: Filter) -> None:
        """Have `filter` turn the parts of a streamed reply into `dialect`'s: whatever is put on later sees those."""
        assert self._stream is not None
        self.filter(filter)
        self.dialect = dialect
        self._stream.keepalive = dialect.keepalive

    @property
    def complete(self) -> bool:
        """Whether nothing is missing if the stream stops after what was read so far."""
        return self._stream is not None and self._stream.complete

    def tee(self, observer: Observer) -> None:
        """Have `observer` see the parts of a streamed reply."""
        assert self._stream is not None
        self._stream.tee(observer)

    def rewrite(self, rewriter: Rewriter) -> None:
        """Apply `rewriter` to every text of the reply, whole or streamed, leaving all other bytes as they came."""
        if self._stream is not None:
            self.filter(texts.StreamRewriter(self.dialect, rewriter))
        elif self.body:
            self.body = self.dialect.rewrite_reply(self.body, rewriter)

    def shadow(self) -> Reply:
        """A copy for an addon in shadow mode: its filters and observers run, and change nothing."""
        copy = Reply(self.status, self.headers.copy(), self.dialect, body=self._raw, reason=self.reason)
        copy.failure = self.failure
        if self._stream is not None:
            copy._stream = self._stream.shadow()
        return copy

    def hold(self, due: Due) -> None:
        """Have each next bytes of a streamed reply, the last too, wait for what `due` gives."""
        assert self._stream is not None
        self._stream.hold(due)

    def read(self) -> Awaitable[bytes]:
        """The next bytes for the client, b"" at the end. Raises Broken."""
        assert self._stream is not None
        return self._stream.read()

    @property
    def takes_events(self) -> bool:
        """Whether an event of the dialect can be put after what has been read so far."""
        return self._stream is not None and self._stream.takes_events

    @property
    def ended(self) -> bool:
        """Whether the stream's last event was read: what a client does after that is no leaving."""
        return self._stream is not None and self._stream.ended

    @property
    def error(self) -> Failure | None:
        """The error that the reply itself carried, at its beginning or later in the stream."""
        return self.failure or (self._stream.failure if self._stream is not None else None)

    def close(self) -> None:
        """The reply is done with, or nobody wants it any more."""
        if self._stream is not None:
            self._stream.close()


def _decoded(raw: bytes, coding: str) -> bytes:
    try:
        return encodings.decode(raw, coding, MAX_DECODED) if coding else raw
    except Refusal as refusal:  # the upstream's fault, not the client's
        raise UpstreamFailed("The upstream's reply cannot be decompressed.", code="upstream_encoding") from refusal


MAX_DECODED = 256 * 1024 * 1024
"""Bytes that a compressed whole reply may inflate to."""
