"""Events as a stream of GenerateContentResponses.

With `alt=sse` nothing but `data: {…}` events, since clients break on everything else; without it one JSON array,
element by element. The finish reasons come in the last chunk, with the usage, so a cut stream never has one.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import msgspec
from msgspec.structs import replace

from shin_gateway.outcome import Usage
from shin_gateway.translation.form import (
    AnyPart,
    Began,
    Citation,
    Cited,
    Closed,
    Ended,
    Finish,
    Finished,
    Grew,
    Json,
    Logged,
    Media,
    Opened,
    Reasoning,
    Refused,
    Sealed,
    Text,
    ToolUse,
    Transcribed,
    UsageTold,
)
from shin_gateway.translation.form import Event as AnyEvent
from shin_gateway.translation.gemini_generate.calls_in import is_envelope
from shin_gateway.translation.gemini_generate.finishes import block_reason, reason_of
from shin_gateway.translation.gemini_generate.logprobs import write_logprobs
from shin_gateway.translation.gemini_generate.replies_out import EMPTY, PartWriter, write_usage
from shin_gateway.translation.losses import Losses
from shin_gateway.translation.translator import Origin


def _encode(value: object) -> bytes:
    try:
        return msgspec.json.encode(value)
    except UnicodeEncodeError:  # half of a character, whose other half comes in the next piece
        return json.dumps(value, separators=(",", ":")).encode()


class _Choice:
    """One candidate as it is written."""

    def __init__(self, origin: Origin, losses: Losses) -> None:
        self.parts = PartWriter(origin, losses)
        self.finish: Finish | None = None
        self.logprobs: list[Json] = []
        self.text: list[str] = []
        """All that the client has seen of the answer's text: places of citations count from its start."""


class _Open:
    """A part between Opened and Closed."""

    __slots__ = ("citations", "head", "part", "pieces", "seals", "tail")

    def __init__(self, part: AnyPart) -> None:
        self.part = part
        self.head = self.tail = b""
        """What stands around a piece of its text; empty where pieces are kept until the end."""
        self.pieces: list[str] = []
        self.seals: list[str] = []
        self.citations: list[Citation] = []

    def whole(self) -> AnyPart:
        """The part with all that came after it was opened."""
        part, more = self.part, "".join(self.pieces)
        if isinstance(part, Reasoning):  # its pieces hold what it was opened with as well
            return replace(part, text=more, seal=part.seal + "".join(self.seals))
        if isinstance(part, ToolUse):
            return replace(part, arguments=part.arguments + more)
        if isinstance(part, Media) and more:
            return replace(part, data=part.data + more)
        return part


class GenerateStreamWriter:
    def __init__(self, origin: Origin, losses: Losses) -> None:
        self._origin = origin
        self._losses = losses
        self._is_array = bool(origin.path) and "alt=sse" not in origin.path.partition("?")[2]
        self._is_envelope = is_envelope(origin.body)
        self._id = origin.call_id
        self._choices: dict[int, _Choice] = {}
        self._open: dict[tuple[int, int], _Open] = {}
        self._usage: Usage | None = None
        self._begun = False
        self._frame()
        self._writers: dict[type, Callable[[Any], bytes]] = {
            Began: self._began,
            Opened: self._opened,
            Grew: self._grew,
            Sealed: self._sealed,
            Cited: self._cited,
            Transcribed: self._transcribed,
            Logged: self._logged,
            Closed: self._closed,
            Finished: self._finished,
            UsageTold: self._told,
            Ended: self._ended,
        }

    def write(self, event: AnyEvent) -> bytes:
        writer = self._writers.get(type(event))
        return writer(event) if writer is not None else b""

    # Chunks

    def _frame(self) -> None:
        """What stands around the members of each chunk."""
        start, end = (b'{"response":{', b"}}") if self._is_envelope else (b"{", b"}")
        names = _encode({"modelVersion": self._origin.model, "responseId": self._id})[1:-1]
        self._head = (b"" if self._is_array else b"data: ") + start
        self._tail = b"," + names + end + (b"" if self._is_array else b"\r\n\r\n")

    def _chunk(self, members: bytes) -> bytes:
        return self._separator() + self._head + members + self._tail

    def _separator(self) -> bytes:
        if not self._is_array:
            return b""
        before = b",\r\n" if self._begun else b"["
        self._begun = True
        return before

    def _row(self, number: int, row: Json) -> bytes:
        candidate = {"content": {"parts": [row], "role": "model"}, "index": number}
        return self._chunk(b'"candidates":' + _encode([candidate]))

    def _choice(self, number: int) -> _Choice:
        choice = self._choices.get(number)
        if choice is None:
            choice = self._choices[number] = _Choice(self._origin, self._losses)
        return choice

    # Events

    def _began(self, event: Began) -> bytes:
        self._id = event.id or self._id
        self._usage = event.usage
        self._frame()
        return b""

    def _opened(self, event: Opened) -> bytes:
        part, number = event.part, event.choice
        held = self._open[number, event.at] = _Open(part)
        if not isinstance(part, Text | Refused | Reasoning):
            return b""
        thought = b',"thought":true' if isinstance(part, Reasoning) else b""
        held.head = b'"candidates":[{"content":{"parts":[{"text":'
        held.tail = thought + b'}],"role":"model"},"index":%d}]' % number
        if isinstance(part, Text):
            held.citations += part.citations
        return self._text(number, held, part.text) if part.text else b""

    def _grew(self, event: Grew) -> bytes:
        held = self._open.get((event.choice, event.at))
        if held is None or not event.text:
            return b""
        if held.head:
            return self._text(event.choice, held, event.text)
        held.pieces.append(event.text)
        return b""

    def _text(self, number: int, held: _Open, text: str) -> bytes:
        # The pieces of thoughts are kept too: a function call takes sealed ones along.
        held.pieces.append(text)
        return self._chunk(held.head + _encode(text) + held.tail)

    def _sealed(self, event: Sealed) -> bytes:
        held = self._open.get((event.choice, event.at))
        if held is not None:
            held.seals.append(event.seal)
        return b""

    def _cited(self, event: Cited) -> bytes:
        held = self._open.get((event.choice, event.at))
        if held is not None:
            held.citations.append(event.citation)
        return b""

    def _transcribed(self, event: Transcribed) -> bytes:
        self._losses.soften("candidates.content.transcript")
        return b""

    def _logged(self, event: Logged) -> bytes:
        self._choice(event.choice).logprobs += event.logprobs
        return b""

    def _closed(self, event: Closed) -> bytes:
        held = self._open.pop((event.choice, event.at), None)
        if held is None:
            return b""
        choice = self._choice(event.choice)
        if isinstance(held.part, Text | Refused):
            self._cite(choice, held)
            return b""
        part = held.whole()
        row = choice.parts.write(part)
        if row is None or (isinstance(part, Reasoning) and not part.seal):
            return b""
        if isinstance(part, Reasoning):  # the text has gone out; the signature follows in a part of its own
            row["text"] = ""
        return self._row(event.choice, row)

    def _cite(self, choice: _Choice, held: _Open) -> None:
        text = "".join(held.pieces)
        before = sum(map(len, (piece.encode("utf-8", "replace") for piece in choice.text))) if held.citations else 0
        for citation in held.citations:
            choice.parts.sources.add(citation, text, 0, before)
        choice.text.append(text)

    def _finished(self, event: Finished) -> bytes:
        self._choice(event.choice).finish = event.finish
        return b""

    def _told(self, event: UsageTold) -> bytes:
        self._usage = event.usage
        return b""

    def _ended(self, event: Ended) -> bytes:
        members: Json = {}
        if event.blocked:
            members["promptFeedback"] = {"blockReason": block_reason(event.blocked)}
        elif not self._choices:  # nothing was said: clients still wait for a finish reason
            self._choice(0)
        if self._choices:
            members["candidates"] = [self._last(number, self._choices[number]) for number in sorted(self._choices)]
        if self._usage is not None:
            members["usageMetadata"] = write_usage(self._usage)
        last = self._chunk(_encode(members)[1:-1]) if members else b""
        if not self._is_array:
            return last
        return last + (b"]" if self._begun else b"[]")

    def _last(self, number: int, choice: _Choice) -> Json:
        candidate: Json = {"content": {"parts": [EMPTY], "role": "model"}}
        candidate["finishReason"] = choice.parts.reason(reason_of(choice.finish))
        candidate["index"] = number
        if (metadata := choice.parts.sources.metadata) is not None:
            candidate["groundingMetadata"] = metadata
        if choice.logprobs:
            candidate.update(write_logprobs(choice.logprobs))
        return candidate
