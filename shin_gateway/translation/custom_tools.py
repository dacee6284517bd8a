"""OpenAI's free-form tools on APIs that have none, and the way back to the tools that the client defined.

A custom tool's input is text. Elsewhere it is a function with one string, and what the model writes is unpacked
again before the client sees it; names that an API refused (`names.py`) are the client's own again. `restored` does
that to a whole answer, `restoring` to a stream, between any reader and any writer.
developers.openai.com/api/docs/guides/function-calling#custom-tools
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping

import msgspec

from shin_gateway.dialects.parts import Part
from shin_gateway.translation.form import (
    Answer,
    AnyPart,
    Chat,
    Closed,
    Event,
    Grew,
    Json,
    Opened,
    Tool,
    ToolUse,
)
from shin_gateway.translation.names import stand_ins
from shin_gateway.translation.translator import StreamReader

FIELD = "input"


def as_function(tool: Tool) -> Tool:
    """The same tool as a function with one string. A grammar cannot be enforced; the model is told of it."""
    return Tool(
        name=tool.name,
        description="\n\n".join(filter(None, (tool.description, _grammar(tool.format)))),
        schema={
            "type": "object",
            "properties": {FIELD: {"type": "string", "description": "The tool's whole input, as plain text."}},
            "required": [FIELD],
            "additionalProperties": False,
        },
        cache=tool.cache,
    )


def _grammar(format: Json | None) -> str:
    if not format or format.get("type") != "grammar":
        return ""
    inner = format.get("grammar")
    source: Mapping[str, object] = inner if isinstance(inner, dict) else format
    return f"The input has to follow this {source.get('syntax') or ''} grammar:\n{source.get('definition') or ''}"


def wrap(text: str) -> str:
    """The arguments that `as_function`'s tool takes for this input."""
    return json.dumps({FIELD: text}, ensure_ascii=False)


def unwrap(arguments: str) -> str:
    """The input in a call of `as_function`'s tool; the arguments as they are where they have another shape."""
    try:
        found = msgspec.json.decode(arguments)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return arguments
    if isinstance(found, dict) and isinstance(found.get(FIELD), str):
        return str(found[FIELD])
    return found if isinstance(found, str) else arguments


# ── the way back ────────────────────────────────────────────────────────────────────────────────


class _Known:
    """A chat's tools by the names that a target may have been given for them."""

    def __init__(self, chat: Chat) -> None:
        self.custom = {tool.name for tool in chat.tools if tool.custom}
        self.names = stand_ins(chat.tools)

    @property
    def needed(self) -> bool:
        return bool(self.custom or self.names)


def restored(answer: Answer, chat: Chat) -> Answer:
    """The answer with its tool uses named and written as the client defined the tools. Changes it in place."""
    known = _Known(chat)
    if known.needed:
        for choice in answer.choices:
            for part in choice.parts:
                _restore(part, known)
    return answer


def _restore(part: AnyPart, known: _Known) -> bool:
    """Whether it is a use of a custom tool whose input is still to be unwrapped in pieces."""
    if not isinstance(part, ToolUse):
        return False
    part.name = known.names.get(part.name, part.name)
    if part.custom or part.name not in known.custom:
        return False
    part.custom = True
    part.arguments = unwrap(part.arguments) if part.arguments else ""
    return not part.arguments


def restoring(reader: StreamReader, chat: Chat) -> StreamReader:
    """The same for what `reader` reads."""
    known = _Known(chat)
    return _Restoring(reader, known) if known.needed else reader


class _Restoring:
    def __init__(self, reader: StreamReader, known: _Known) -> None:
        self._reader = reader
        self._known = known
        self._inputs: dict[tuple[int, int], _Input] = {}

    def feed(self, part: Part) -> Iterable[Event]:
        return [event for one in self._reader.feed(part) for event in self._restored(one)]

    def finish(self) -> Iterable[Event]:
        return [event for one in self._reader.finish() for event in self._restored(one)]

    def _restored(self, event: Event) -> Iterable[Event]:
        if isinstance(event, Opened):
            if _restore(event.part, self._known):
                self._inputs[event.choice, event.at] = _Input()
            return (event,)
        if isinstance(event, Grew) and (found := self._inputs.get((event.choice, event.at))):
            text = found.feed(event.text)
            return (Grew(event.choice, event.at, text),) if text else ()
        if isinstance(event, Closed) and (found := self._inputs.pop((event.choice, event.at), None)):
            rest = found.rest()
            return (Grew(event.choice, event.at, rest), event) if rest else (event,)
        return (event,)


_HEAD = re.compile(r'\s*\{\s*"input"\s*:\s*"')
_MAYBE_HEAD = 64
"""Characters after which it is decided whether the arguments have the expected shape."""
_WHOLE = re.compile(
    r'(?:[^"\\]++|\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[0-9a-fA-F]{4}|u(?![dD][89abAB])[0-9a-fA-F]{4}|[^u]))*+'
)


class _Input:
    """The string in `{"input": "…"}`, decoded as it comes."""

    def __init__(self) -> None:
        self._held = ""
        self._state = "head"
        self._other: list[str] = []
        """All that came, where it has another shape."""

    def feed(self, piece: str) -> str:
        if self._state == "other":
            self._other.append(piece)
            return ""
        if self._state == "done":  # what follows says nothing
            return ""
        self._held += piece
        if self._state == "head":
            self._enter()
        return self._text() if self._state == "inside" else ""

    def _enter(self) -> None:
        if found := _HEAD.match(self._held):
            self._held, self._state = self._held[found.end() :], "inside"
        elif len(self._held) > _MAYBE_HEAD:
            self._state, self._other = "other", [self._held]

    def _text(self) -> str:
        found = _WHOLE.match(self._held)
        end = found.end() if found else 0
        whole, self._held = self._held[:end], self._held[end:]
        if self._held[:1] == '"':
            self._state, self._held = "done", ""
        return _decoded(whole)

    def rest(self) -> str:
        """What is left at the end: all, where it had another shape."""
        if self._state == "done":
            return ""
        return self._held if self._state == "inside" else unwrap("".join(self._other) or self._held)


def _decoded(inside: str) -> str:
    if "\\" not in inside:
        return inside
    try:
        return str(json.loads(f'"{inside}"', strict=False))
    except ValueError:
        return inside
