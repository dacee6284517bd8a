"""What becomes of a tool call that the model wrote so badly that its provider gave none.

Gemini ends such an answer with MALFORMED_FUNCTION_CALL or UNEXPECTED_TOOL_CALL, mostly with nothing in it
(ai.google.dev/api/generate-content#FinishReason). It is a matter of luck, and asking again helps. Gemini CLI asks
again by itself upon that reason, which no other API has a word for: there it would look like a model that had nothing
to say, and agents stop, or go round in circles. So for clients of the others

- an answer with nothing in it is a failure that may be tried again: 502, or the dialect's error event in a stream
  (`response.failed` for Responses), upon which the SDKs, Claude Code and Codex ask again a few times;
- one with a text is that text, and ends as any does, since it has been shown already;
- one with tool calls that could be read waits for their results.
"""

from __future__ import annotations

from collections.abc import Iterable

from shin_gateway.dialects.base import Failure
from shin_gateway.dialects.parts import Part
from shin_gateway.errors import UpstreamFailed
from shin_gateway.translation.form import (
    Answer,
    AnyPart,
    Event,
    Failed,
    Finish,
    Finished,
    Grew,
    Opened,
    Reasoning,
    Text,
    ToolUse,
)
from shin_gateway.translation.translator import StreamReader

_FINISH: Finish = "malformed_tool"
_KNOWN_TO = frozenset({"gemini.generate"})
"""Dialects with a word for it."""
_WHY = "The model wrote a tool call that cannot be read. Ask again."


def settled(answer: Answer, client: str) -> Answer:
    """The answer as clients of this dialect should have it. Changes it in place.

    Raises UpstreamFailed for one with nothing in it.
    """
    broken = [choice for choice in answer.choices if choice.finish == _FINISH]
    if not broken or client in _KNOWN_TO:
        return answer
    if not any(_says(part) for choice in answer.choices for part in choice.parts):
        raise UpstreamFailed(_WHY, code="malformed_tool_call")
    for choice in broken:
        choice.finish = "tools" if any(isinstance(part, ToolUse) for part in choice.parts) else "stop"
    return answer


def settling(reader: StreamReader, client: str) -> StreamReader:
    """The same for what `reader` reads."""
    return reader if client in _KNOWN_TO else _Settling(reader)


def _says(part: AnyPart) -> bool:
    """Whether it is more than a thought, and more than nothing."""
    return bool(part.text) if isinstance(part, Text) else not isinstance(part, Reasoning)


class _Settling:
    def __init__(self, reader: StreamReader) -> None:
        self._reader = reader
        self._says = False
        self._thoughts: set[tuple[int, int]] = set()
        self._calls: set[int] = set()
        """Choices that call tools."""

    def feed(self, part: Part) -> Iterable[Event]:
        return [self._settled(event) for event in self._reader.feed(part)]

    def finish(self) -> Iterable[Event]:
        return [self._settled(event) for event in self._reader.finish()]

    def _settled(self, event: Event) -> Event:
        if isinstance(event, Opened):
            self._open(event)
        elif isinstance(event, Grew):
            self._says = self._says or (bool(event.text) and (event.choice, event.at) not in self._thoughts)
        elif isinstance(event, Finished) and event.finish == _FINISH:
            return self._ended(event)
        return event

    def _open(self, event: Opened) -> None:
        self._says = self._says or _says(event.part)
        if isinstance(event.part, ToolUse):
            self._calls.add(event.choice)
        elif isinstance(event.part, Reasoning):
            self._thoughts.add((event.choice, event.at))

    def _ended(self, event: Finished) -> Event:
        if not self._says:
            return Failed(Failure(502, "server_error", _WHY, retryable=True))
        return Finished(event.choice, "tools" if event.choice in self._calls else "stop")
