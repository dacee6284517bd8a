"""The reply carries the name that the client asked for: the model's name, as the provider wrote it, set back.

Only for calls whose model was renamed on their way (an alias, `provider/model`) and whose reply was not translated.
Where a provider answers `gpt-4o-2024-08-06` to a client that asked for `gpt-4o` itself, nothing is touched.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from shin_gateway.dialects.json_array import JsonArrayFramer
from shin_gateway.dialects.json_spans import Span, members
from shin_gateway.dialects.json_text import apply, escape
from shin_gateway.dialects.parts import Part
from shin_gateway.dialects.sse import SsePart
from shin_gateway.errors import Invalid, Refusal

if TYPE_CHECKING:
    from shin_gateway.reply import Reply


class _Model(msgspec.Struct):
    model: Any = None


class _Reply(_Model):
    """Anthropic's streams have it in `message`, those of Responses in `response`."""

    message: _Model | None = None
    response: _Model | None = None

    @property
    def found(self) -> list[Any]:
        return [one.model for one in (self, self.message, self.response) if one is not None and one.model is not None]


class _Realtime(msgspec.Struct):
    session: _Model | None = None

    @property
    def found(self) -> list[Any]:
        return [] if self.session is None or self.session.model is None else [self.session.model]


class _Version(msgspec.Struct):
    model: Any = msgspec.field(default=None, name="modelVersion")


class _GeminiReply(_Version):
    """Code Assist has it in `response`."""

    response: _Version | None = None

    @property
    def found(self) -> list[Any]:
        return [one.model for one in (self, self.response) if one is not None and one.model is not None]


@dataclass(frozen=True, slots=True)
class _Place:
    """Where the replies of a dialect have the name: in the member `key` of the top, or of one of `owners`."""

    key: str
    owners: tuple[str, ...]
    decode: Any
    """`decode(data).found`: the values there, without reading the rest."""
    quoted: bytes
    written: re.Pattern[bytes]


def _place(key: str, owners: tuple[str, ...], shape: type[msgspec.Struct]) -> _Place:
    quoted = f'"{key}"'.encode()
    written = re.compile(rb"(?<!\\)" + quoted + rb'[ \t\r\n]*:[ \t\r\n]*"([^"\\]*)"')
    return _Place(key, owners, msgspec.json.Decoder(shape).decode, quoted, written)


_OPENAI = _place("model", (), _Reply)
_PLACES = {
    "openai.chat": _OPENAI,
    "openai.completions": _OPENAI,
    "openai.embeddings": _OPENAI,
    "openai.moderations": _OPENAI,
    "openai.responses": _place("model", ("response",), _Reply),
    "openai.realtime": _place("model", ("session",), _Realtime),
    "anthropic.messages": _place("model", ("message",), _Reply),
    "gemini.generate": _place("modelVersion", ("response",), _GeminiReply),
}


def set_back(reply: Reply, model: str) -> None:
    """Have a reply, whole or streamed, carry `model`, which is the name that its client asked for. An error stays."""
    dialect = reply.dialect.name
    if dialect not in _PLACES or reply.status >= 400:
        return
    if reply.streamed:
        reply.filter(ModelName(dialect, model))
    elif body := _legible(reply):
        reply.body = named(dialect, body, model)


def _legible(reply: Reply) -> bytes | None:
    try:
        return reply.body
    except Refusal:  # a compression that is broken or unknown is the client's to see
        return None


def named(dialect: str, body: bytes, model: str) -> bytes:
    """A whole reply with its model's name changed and no other byte; the identical object where it has none."""
    place = _PLACES.get(dialect)
    if place is None or place.quoted not in body:
        return body
    if body.lstrip()[:1] == b"[":  # Gemini's stream without `alt=sse`, read as a whole
        return _named_array(dialect, body, model)
    return _renamed(place, body, _quoted(model)) or body


def _named_array(dialect: str, body: bytes, model: str) -> bytes:
    name, framer = ModelName(dialect, model), JsonArrayFramer(len(body) + 1)
    return b"".join([out.raw for part in (*framer.feed(body), *framer.end()) for out in name.feed(part)])


class ModelName:
    """A filter that changes the model's name in every part of a stream that has it."""

    def __init__(self, dialect: str, model: str) -> None:
        self._place = _PLACES[dialect]
        self._quoted = self._place.quoted
        self._model = _quoted(model)
        self._was = self._becomes = b""
        """The member as the stream wrote it last, and what it becomes: all parts write it alike."""

    def feed(self, part: Part) -> tuple[Part, ...]:
        raw = part.raw
        was = self._was
        if was and (at := raw.find(was)) > 0 and _is_at_top(raw, at, at + len(was)):
            return (SsePart(raw[:at] + self._becomes + raw[at + len(was) :]),)
        if self._quoted not in raw or not (data := part.data):
            return (part,)
        new = _renamed(self._place, data, self._model)
        if new is None:
            return (part,)
        self._learn(data)
        return (_with_data(part, data, new),)

    def finish(self) -> tuple[Part, ...]:
        return ()

    def _learn(self, data: bytes) -> None:
        match = self._place.written.search(data)
        if match is not None:
            self._was = match[0]
            self._becomes = self._was[: -len(match[1]) - 2] + self._model


def _is_at_top(raw: bytes, start: int, end: int) -> bool:
    """Whether `raw[start:end]` is for certain a member of the event's outermost object: no other brace before it, or
    but one behind it. Inside a string its quotes would be escaped."""
    if raw[:7] != b"data: {" or raw[start - 1] == _BACKSLASH or raw.find(b"\n", 7, start) >= 0:
        return False
    return raw.find(b"{", 7, start) < 0 or (raw.find(b"{", end) < 0 and raw.count(b"}", end) == 1)


_BACKSLASH = 0x5C


def _with_data(part: Part, data: bytes, new: bytes) -> Part:
    """`part.replace_data`, quicker for an event of one data line."""
    at = part.raw.find(data) if isinstance(part, SsePart) else -1
    return part.replace_data(new) if at < 0 else SsePart(part.raw[:at] + new + part.raw[at + len(data) :])


def _quoted(model: str) -> bytes:
    return f'"{escape(model)}"'.encode()


def _renamed(place: _Place, data: bytes, model: bytes) -> bytes | None:
    """None where there is no name to change."""
    if data.count(place.quoted) == 1 and (match := place.written.search(data)) is not None:
        try:
            found = place.decode(data).found
        except (msgspec.MsgspecError, RecursionError, ValueError):
            found = []
        if len(found) == 1 and found[0] == match[1].decode("utf-8", "replace"):
            start, end = match.span(1)
            return data[: start - 1] + model + data[end + 1 :]
    return _renamed_slowly(place, data, model)


def _renamed_slowly(place: _Place, data: bytes, model: bytes) -> bytes | None:
    """Where the name stands among others of its like, as in a reply that repeats the tools of its call."""
    text = data.decode("utf-8", "surrogateescape")
    try:
        edits = [(span.start, span.end, model.decode()) for span in _spans(place, text)]
    except Invalid:  # no JSON object: the client shall see what came
        return None
    return apply(text, sorted(edits)).encode("utf-8", "surrogateescape") if edits else None


def _spans(place: _Place, text: str) -> Iterator[Span]:
    top = members(text)
    for owner in ("", *place.owners):
        held = top if not owner else _inside(text, top.get(owner))
        span = held.get(place.key)
        if span is not None and isinstance(span.value, str):
            yield span


def _inside(text: str, span: Span | None) -> dict[str, Span]:
    return members(text, span.start) if span is not None and isinstance(span.value, dict) else {}
