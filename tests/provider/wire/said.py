"""What is to be said in one reply, before a wire format writes it; and the writing that all formats share."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from typing import Any

from tests.provider.answer import Answer, Tokens, ToolCall

CREATED = 1_780_000_000


@dataclass(frozen=True, slots=True)
class Said:
    """`call` is the parsed body, `model` the asked one; `text` is final."""

    call: dict[str, Any]
    model: str
    text: str
    pieces: tuple[str, ...]
    thinking: str
    tools: tuple[ToolCall, ...]
    tokens: Tokens | None
    ending: bool
    error_after: int | None

    def until_error(self) -> tuple[str, ...]:
        """The pieces that go out before the error event, if there is one."""
        return self.pieces if self.error_after is None else self.pieces[: self.error_after]


def resolve(answer: Answer, call: dict[str, Any], model: str) -> Said:
    """Fill in what depends on the call: echo, structured output, pieces."""
    echo = last_text(call) if answer.echo or "{echo}" in json.dumps([dict(t.arguments) for t in answer.tools]) else ""
    text = echo if answer.echo else structured(call) or answer.text
    return Said(
        call=call,
        model=model,
        text=text,
        pieces=cut(text, answer.pieces),
        thinking=answer.thinking,
        tools=tuple(replace(tool, arguments=_fill(dict(tool.arguments), echo)) for tool in answer.tools),
        tokens=answer.tokens,
        ending=answer.ending,
        error_after=answer.error_after,
    )


def cut(text: str, pieces: tuple[str, ...] | int) -> tuple[str, ...]:
    """The text in pieces: as given, of n characters, or (0) in words with the space that follows."""
    if isinstance(pieces, tuple):
        return pieces
    if pieces:
        return tuple(text[i : i + pieces] for i in range(0, len(text), pieces))
    return tuple(re.findall(r"\s*\S+\s?|\s+", text))


def last_text(call: dict[str, Any]) -> str:
    """The prompt's last text, whatever the dialect."""
    call = call.get("request", call)
    turns = call.get("messages") or call.get("contents") or call.get("input") or call.get("prompt") or ""
    last = turns[-1] if isinstance(turns, list) and turns else turns
    return _texts(last)[-1] if _texts(last) else ""


def _texts(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value]
    if isinstance(value, list):
        return [text for item in value for text in _texts(item)]
    if isinstance(value, dict):
        return _texts(next((value[key] for key in ("content", "parts", "text", "output") if key in value), None))
    return []


def _fill(value: Any, echo: str) -> Any:
    if isinstance(value, str):
        return value.replace("{echo}", echo)
    if isinstance(value, dict):
        return {key: _fill(item, echo) for key, item in value.items()}
    return [_fill(item, echo) for item in value] if isinstance(value, list) else value


def structured(call: dict[str, Any]) -> str:
    """A JSON text for the schema that the call demands, or ""."""
    call = call.get("request", call)
    gemini = call.get("generationConfig") or {}
    chat = (call.get("response_format") or {}).get("json_schema") or {}
    responses = ((call.get("text") or {}).get("format") or {}) if isinstance(call.get("text"), dict) else {}
    schema = gemini.get("responseJsonSchema") or gemini.get("responseSchema") or chat.get("schema")
    schema = schema or responses.get("schema")
    return compact(sample(schema)) if schema else ""


def sample(schema: dict[str, Any]) -> Any:
    """Some value that fits a simple JSON schema."""
    if schema.get("enum"):
        return schema["enum"][0]
    kind = str(schema.get("type", "string")).lower()
    if kind == "object":
        return {key: sample(value) for key, value in (schema.get("properties") or {}).items()}
    return {"array": [], "number": 10, "integer": 10, "boolean": False}.get(kind, "fake")


def compact(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def pretty(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False)


def event(name: str | None, data: Any, line: str = "\n") -> bytes:
    """One server-sent event. `data` is text, or is written as compact JSON."""
    text = data if isinstance(data, str) else compact(data)
    head = f"event: {name}{line}" if name else ""
    return f"{head}data: {text}{line}{line}".encode()
