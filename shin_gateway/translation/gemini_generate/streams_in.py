"""A stream of GenerateContentResponses into events, as server-sent events or as the elements of a JSON array.

A part of Gemini's has no beginning or end: texts of one kind go on from chunk to chunk. Function calls come whole.
Finish reasons are held to the end: some models repeat them in every chunk.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

import msgspec

from shin_gateway.dialects.gemini_errors import failure_of
from shin_gateway.dialects.gemini_stream import usage_of
from shin_gateway.dialects.parts import Part
from shin_gateway.outcome import Usage
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
from shin_gateway.translation.gemini_generate.replies_in import (
    Ids,
    block_of,
    inside,
    malformed,
    parts_of,
    seconds,
    word,
)

_decode = msgspec.json.Decoder().decode
_MOST_CHOICES = 64


class GenerateStreamReader:
    def __init__(self) -> None:
        self._choices: dict[int, _Choice] = {}
        self._ids: Ids | None = None
        self._usage: Usage | None = None
        self._blocked = ""
        self._is_over = False

    def feed(self, part: Part) -> Iterator[Event]:
        """Raises UpstreamFailed for what is no JSON."""
        data = part.data
        if not data or self._is_over:
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
        usage = usage_of(chunk["usageMetadata"]) if "usageMetadata" in chunk else None
        if usage is not None:
            self._usage = usage
        if self._ids is None:
            self._ids = Ids(word(chunk, "responseId"))
            created = seconds(chunk.get("createTime"))
            yield Began(self._ids.reply, word(chunk, "modelVersion"), created, usage)
        self._blocked = self._blocked or block_of(chunk)
        candidates = chunk.get("candidates")
        for at, candidate in enumerate(candidates) if isinstance(candidates, list) else ():
            if isinstance(candidate, dict):
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
            yield Began("", "")
        if not self._choices and not self._blocked:
            self._choices[0] = _Choice(0)
        for choice in self._choices.values():
            yield from choice.finish()
        if self._usage is not None:
            yield UsageTold(self._usage)
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
        self._reason: Any = None
        self._calls_tools = False

    def feed(self, candidate: Json, ids: Ids) -> Iterator[Event]:
        for found in parts_of(candidate, ids):
            for part in found:
                yield from self._part(part)
        if "groundingMetadata" in candidate or "citationMetadata" in candidate:
            yield from self._cite(candidate)
        if "logprobsResult" in candidate and (rows := read_logprobs(candidate["logprobsResult"])):
            yield Logged(self._number, rows)
        self._reason = candidate.get("finishReason") or self._reason

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
        else:
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
        yield from self._close()
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

    def finish(self) -> Iterator[Event]:
        yield from self._close()
        yield Finished(self._number, finish_of(self._reason, self._calls_tools))
