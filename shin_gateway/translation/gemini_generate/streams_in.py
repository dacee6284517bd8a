"""A stream of GenerateContentResponses into events, as server-sent events or as the elements of a JSON array.

A part of Gemini's has no beginning or end: texts of one kind go on from chunk to chunk, and a signature without a text
belongs to the text before it. Function calls come whole, or are put together first.
Finish reasons are held to the end: some models repeat them in every chunk.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Literal

import msgspec

from shin_gateway.dialects.gemini_errors import failure_of
from shin_gateway.dialects.gemini_stream import usage_of
from shin_gateway.dialects.numbers import unix_time, word_of
from shin_gateway.dialects.parts import Part
from shin_gateway.translation.form import (
    AnyPart,
    Began,
    Cited,
    Closed,
    Ended,
    Event,
    Failed,
    Finished,
    Grew,
    Json,
    Logged,
    Opened,
    Reasoning,
    Sealed,
    Text,
    ToolUse,
    UsageTold,
)
from shin_gateway.translation.gemini_generate.finishes import finish_of
from shin_gateway.translation.gemini_generate.grounding import citations_of, in_characters
from shin_gateway.translation.gemini_generate.logprobs import read_logprobs
from shin_gateway.translation.gemini_generate.partial_calls import Calls
from shin_gateway.translation.gemini_generate.replies_in import (
    Ids,
    block_of,
    candidates_in,
    inside,
    malformed,
    parts_of,
    rows_of,
    tier_of,
    usage_in,
)

_decode = msgspec.json.Decoder().decode
_MOST_CHOICES = 64
_DONE = b"[DONE]"
"""What servers that are only alike end with."""
_COUNTED = frozenset(["promptTokenCount", "candidatesTokenCount"])


class GenerateStreamReader:
    def __init__(self) -> None:
        self._choices: dict[int, _Choice] = {}
        self._ids: Ids | None = None
        """None before the first chunk."""
        self._counts: Json = {}
        """The last usage that says something: every chunk may have one."""
        self._blocked = ""
        self._is_over = False

    def feed(self, part: Part) -> Iterator[Event]:
        """Raises UpstreamFailed for what is no JSON."""
        data = part.data
        if not data or self._is_over or data == _DONE:
            return
        try:
            found = _decode(data)
        except (msgspec.MsgspecError, ValueError, RecursionError):
            raise malformed() from None
        for chunk in found if isinstance(found, list) else (found,):
            yield from self._chunk(inside(chunk))

    def _chunk(self, chunk: Json) -> Iterator[Event]:
        error = chunk.get("error")
        if isinstance(error, dict):
            self._is_over = True
            yield Failed(failure_of(error))
            return
        counts = usage_in(chunk)
        if not _COUNTED.isdisjoint(counts):
            self._counts = counts
        if self._ids is None:
            self._ids = Ids(word_of(chunk, "responseId"))
            created = unix_time(chunk.get("createTime"))
            yield Began(self._ids.reply, word_of(chunk, "modelVersion"), created, usage_of(counts), tier_of(counts))
        self._blocked = self._blocked or block_of(chunk)
        for at, candidate in enumerate(candidates_in(chunk)):
            yield from self._choice(candidate, at).feed(candidate, self._ids)

    def _choice(self, candidate: Json, at: int) -> _Choice:
        index = candidate.get("index")
        number = index if isinstance(index, int) and 0 <= index < _MOST_CHOICES else min(at, _MOST_CHOICES)
        if number not in self._choices:
            self._choices[number] = _Choice(number)
        return self._choices[number]

    def finish(self) -> Iterator[Event]:
        if self._is_over:
            return
        self._is_over = True
        if self._ids is None:
            self._ids = Ids("")
            yield Began("", "")
        if not self._choices and not self._blocked:
            self._choices[0] = _Choice(0)
        for choice in self._choices.values():
            yield from choice.finish(self._ids)
        if (usage := usage_of(self._counts)) is not None:
            yield UsageTold(usage)
        yield Ended(self._blocked)


class _Choice:
    """One candidate as it grows."""

    def __init__(self, number: int) -> None:
        self._number = number
        self._next = 0
        self._open: Literal["", "text", "thought"] = ""
        self._texts: list[str] = []
        """Pieces of the open text, for citations, whose places are counted in bytes."""
        self._cited: set[tuple[str, int, int]] = set()
        self._seals: list[Reasoning] = []
        """Signatures of the open text."""
        self._calls = Calls()
        self._reason: Any = None
        self._calls_tools = False

    def feed(self, candidate: Json, ids: Ids) -> Iterator[Event]:
        found = rows_of(candidate)
        if self._open == "text" and not self._calls.is_open and (text := _plain(found)):
            self._texts.append(text)
            yield Grew(self._number, self._next - 1, text)
        else:
            yield from self._read(self._calls.whole(found), ids)
        if "groundingMetadata" in candidate or "citationMetadata" in candidate:
            yield from self._cite(candidate)
        if "logprobsResult" in candidate and (tokens := read_logprobs(candidate["logprobsResult"])):
            yield Logged(self._number, tokens)
        self._reason = candidate.get("finishReason") or self._reason

    def _read(self, rows: Iterable[Any], ids: Ids) -> Iterator[Event]:
        for found in parts_of(rows, ids):
            for part in found:
                yield from self._part(part)

    def _part(self, part: AnyPart) -> Iterator[Event]:
        if isinstance(part, Text):
            self._texts.append(part.text)
            yield from self._grow("text", part.text, Text(text=""))
        elif isinstance(part, Reasoning) and part.summary and part.text:
            yield from self._grow("thought", part.text, Reasoning(text="", summary=True, origin=part.origin))
            if part.seal:
                yield Sealed(self._number, self._next - 1, part.seal)
        elif isinstance(part, Reasoning) and part.summary and self._open == "thought":
            yield Sealed(self._number, self._next - 1, part.seal)
        elif isinstance(part, Reasoning) and not part.text and self._open == "text":
            self._seals.append(part)
        else:
            yield from self._close()
            yield from self._whole(part)

    def _grow(self, kind: Literal["text", "thought"], text: str, empty: AnyPart) -> Iterator[Event]:
        if self._open != kind:
            yield from self._close()
            self._open = kind
            if kind == "text":
                self._texts = [text]
            yield Opened(self._number, self._next, empty)
            self._next += 1
        yield Grew(self._number, self._next - 1, text)

    def _whole(self, part: AnyPart) -> Iterator[Event]:
        self._calls_tools = self._calls_tools or isinstance(part, ToolUse)
        yield Opened(self._number, self._next, part)
        yield Closed(self._number, self._next)
        self._next += 1

    def _cite(self, candidate: Json) -> Iterator[Event]:
        found = [citation for _, citation in citations_of(candidate)] if self._open == "text" else []
        if not found:
            return
        in_characters(found, "".join(self._texts))
        for citation in found:
            key = (citation.url or citation.title, citation.start, citation.end)
            if key not in self._cited:
                self._cited.add(key)
                yield Cited(self._number, self._next - 1, citation)

    def _close(self) -> Iterator[Event]:
        if self._open:
            yield Closed(self._number, self._next - 1)
        self._open = ""
        seals, self._seals = self._seals, []
        for seal in seals:
            yield from self._whole(seal)

    def finish(self, ids: Ids) -> Iterator[Event]:
        yield from self._read(self._calls.rest(), ids)
        yield from self._close()
        yield Finished(self._number, finish_of(self._reason, self._calls_tools))


def _plain(rows: list[Any]) -> str:
    """The text of a piece that is one text and nothing else, as nearly all are; else empty."""
    if len(rows) != 1 or not isinstance(rows[0], dict) or len(rows[0]) != 1:
        return ""
    text = rows[0].get("text")
    return text if isinstance(text, str) else ""
