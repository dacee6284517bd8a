"""How Gemini's streams end, and the usage they and whole replies report."""

from __future__ import annotations

from typing import Any

import msgspec

from shin_gateway.dialects.base import Dialect, Ending
from shin_gateway.dialects.numbers import count
from shin_gateway.dialects.parts import Part
from shin_gateway.outcome import Usage


class _Candidate(msgspec.Struct, rename="camel"):
    index: Any = None
    finish_reason: Any = None


class _Feedback(msgspec.Struct, rename="camel"):
    block_reason: Any = None


class _Progress(msgspec.Struct, rename="camel"):
    candidates: list[_Candidate] | None = None
    prompt_feedback: _Feedback | None = None


class _Event(_Progress, rename="camel"):
    response: _Progress | None = None


_decode_progress = msgspec.json.Decoder(_Event).decode


class CandidatesEnding(Ending):
    """No marker: a stream is whole when every candidate has a finish reason, or the prompt was blocked."""

    def __init__(self, dialect: Dialect) -> None:
        super().__init__(dialect)
        self._open: set[int] = set()
        self._finished: set[int] = set()
        self._blocked = False

    def feed(self, part: Part) -> None:
        super().feed(part)
        try:
            event = _decode_progress(part.data or b"{}")
        except (msgspec.MsgspecError, RecursionError, ValueError):
            return
        reply = event.response or event
        self._blocked = self._blocked or bool(reply.prompt_feedback and reply.prompt_feedback.block_reason)
        for position, candidate in enumerate(reply.candidates or ()):
            index = candidate.index if isinstance(candidate.index, int) else position
            if candidate.finish_reason:
                self._finished.add(index)
                self._open.discard(index)
            elif index not in self._finished:
                self._open.add(index)

    @property
    def complete(self) -> bool:
        return super().complete or self._blocked or (bool(self._finished) and not self._open)


class _Reply(msgspec.Struct, rename="camel"):
    usage_metadata: Any = None
    model_version: Any = None


class _Body(msgspec.Struct, rename="camel"):
    usage_metadata: Any = None
    model_version: Any = None
    response: _Reply | None = None


_decode_body = msgspec.json.Decoder(_Body).decode
_decode_bodies = msgspec.json.Decoder(list[_Body]).decode


class GenerateReader:
    """Usage comes with every chunk or only with the last; the last that counts is right."""

    usage: Usage | None = None
    model: str | None = None

    def feed(self, part: Part) -> None:
        data = part.data
        if data is not None and (b'"usageMetadata"' in data or (self.model is None and b'"modelVersion"' in data)):
            self.read(data)

    def read(self, body: bytes) -> None:
        """Take what one reply or chunk reports; a whole body may also be an array of chunks."""
        try:
            bodies = _decode_bodies(body) if body.lstrip()[:1] == b"[" else [_decode_body(body)]
        except (msgspec.MsgspecError, RecursionError, ValueError):
            return
        for found in bodies:
            reply = found.response or found
            self.usage = usage_of(reply.usage_metadata) or self.usage
            if isinstance(reply.model_version, str) and reply.model_version:
                self.model = self.model or reply.model_version


def usage_of(usage: object) -> Usage | None:
    """`usageMetadata`. Thoughts come on top of the candidates, results of server-side tools on top of the prompt."""
    if not isinstance(usage, dict):
        return None
    prompt, answer = count(usage, "promptTokenCount"), count(usage, "candidatesTokenCount", "responseTokenCount")
    if prompt is None and answer is None:
        return None
    thoughts = count(usage, "thoughtsTokenCount") or 0
    given = (prompt or 0) + (count(usage, "toolUsePromptTokenCount") or 0)
    if answer is None:  # it is left out of some replies that have the total
        answer = max(0, (count(usage, "totalTokenCount") or 0) - given - thoughts)
    return Usage(
        input=given,
        output=answer + thoughts,
        cached=min(count(usage, "cachedContentTokenCount") or 0, given),
        reasoning=thoughts,
        input_audio=_audio(usage.get("promptTokensDetails")),
        output_audio=_audio(usage.get("candidatesTokensDetails")),
    )


def _audio(details: object) -> int:
    rows = details if isinstance(details, list) else []
    return sum(
        count(row, "tokenCount") or 0 for row in rows if isinstance(row, dict) and row.get("modality") == "AUDIO"
    )
