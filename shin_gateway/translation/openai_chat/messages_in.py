"""Messages of Chat Completions into those of the common form."""

from __future__ import annotations

import re
from typing import Any, cast

import msgspec

from shin_gateway.translation.form import AnyPart, Media, Message, Refused, Text, ToolResult, ToolUse
from shin_gateway.translation.losses import Losses
from shin_gateway.translation.openai_chat.content_in import CACHE_MARKS, cache_of, read_content
from shin_gateway.translation.openai_chat.reasoning import FIELDS, OPAQUE, ORIGIN, read_reasoning, read_tool_seal
from shin_gateway.translation.openai_common import (
    Misfit,
    as_record,
    each,
    maybe_list,
    maybe_record,
    maybe_string,
    record,
    string,
)

Json = dict[str, Any]

_COMMON = frozenset({"role", "content", "name", *CACHE_MARKS})
_FIELDS = {
    "system": _COMMON,
    "developer": _COMMON,
    "user": _COMMON,
    "tool": _COMMON | {"tool_call_id", "is_error"},
    "function": _COMMON,
    "assistant": _COMMON
    | {"refusal", "audio", "tool_calls", "function_call", "annotations"}
    | {*FIELDS, OPAQUE, "reasoning_details"},
}
_SPEAKERS = frozenset({"system", "developer", "user", "assistant"})
_PLAIN = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,47}")


def plain(field: str) -> str:
    """A field's name that may become a header; `*` for what a client made up."""
    return field if _PLAIN.fullmatch(field) else "*"


class MessageReader:
    """Reads the messages of one call, in order."""

    def __init__(self, losses: Losses) -> None:
        self._losses = losses
        self._messages: list[Message] = []
        self._results: Message | None = None
        """The message of the user's to which the next result of a tool belongs."""
        self._called: dict[str, str] = {}
        """Ids of tool calls so far, and the tool's name."""
        self._last_id: dict[str, str] = {}
        """Of legacy functions, which have no ids: the one made up for the last call of each name."""
        self._custom: set[str] = set()

    def read(self, items: Any) -> list[Message]:
        """Raises Misfit."""
        if not isinstance(items, list):
            raise Misfit("is missing" if items is None else "must be a list", "messages")
        if not items:
            raise Misfit("must not be empty", "messages")
        each(items, self._read, "messages")
        return self._messages

    def _read(self, item: Any) -> None:
        role: Any = as_record(item).get("role")
        content = item.get("content")
        if len(item) == 2 and isinstance(content, str) and isinstance(role, str) and role in _SPEAKERS:
            self._results = None  # nearly all messages are one text and nothing else
            self._messages.append(Message(role=cast(Any, role), parts=[Text(text=content)]))
            return
        known = _FIELDS.get(role) if isinstance(role, str) else None
        if known is None:
            raise Misfit("is missing" if role is None else f"must be one of {', '.join(_FIELDS)}", "role")
        for key in item.keys() - known:
            if item[key] is not None:
                self._losses.drop(f"messages.{plain(key)}")
        if role in ("tool", "function"):
            self._result(item, role)
            return
        self._results = None
        parts = self._assistant(item) if role == "assistant" else self._content(item)
        if parts and len(item) > 2 and (mark := cache_of(item)):
            parts[-1].cache = mark
        self._messages.append(Message(role=role, parts=parts, name=maybe_string(item, "name")))

    def _content(self, item: Json) -> list[AnyPart]:
        if item.get("content") is None:
            raise Misfit("is missing", "content")
        return read_content(item, self._lose_in_content)

    def _lose_in_content(self, key: str) -> None:
        self._losses.drop(f"messages.content.{plain(key)}")

    def _assistant(self, item: Json) -> list[AnyPart]:
        content = read_content(item, self._lose_in_content)
        if len(item) == 2 and "content" in item:
            return content
        parts: list[AnyPart] = [*read_reasoning(item), *content]
        if refusal := maybe_string(item, "refusal"):
            parts.append(Refused(text=refusal))
        if (audio := maybe_record(item, "audio")) is not None:
            parts.append(_spoken(audio))
        parts += each(maybe_list(item, "tool_calls"), self._tool_call, "tool_calls")
        if (call := maybe_record(item, "function_call")) is not None:
            parts.append(self._function_call(call))
        return parts

    def _tool_call(self, call: Any) -> ToolUse:
        use = read_tool_call(as_record(call))
        if not use.id:
            raise Misfit("is missing", "id")
        self._called[use.id] = use.name
        if use.custom:
            self._custom.add(use.id)
        return use

    def _function_call(self, call: Json) -> ToolUse:
        """`function_call`, deprecated in favour of `tool_calls`."""
        try:
            use = ToolUse(id=f"call_{len(self._messages)}", name=string(call, "name"), arguments=_arguments(call))
        except Misfit as wrong:
            raise wrong.within("function_call") from None
        self._called[use.id] = use.name
        self._last_id[use.name] = use.id
        return use

    def _result(self, item: Json, role: str) -> None:
        id = self._function_id(item) if role == "function" else string(item, "tool_call_id")
        if id not in self._called:
            raise Misfit("names no tool call of an earlier message", "tool_call_id")
        content = read_content(item, self._lose_in_content)
        parts: list[Text | Media] = [part for part in content if isinstance(part, Text | Media)]
        if len(parts) < len(content):
            self._losses.drop("messages.content")
        if self._results is None:
            self._results = Message(role="user", parts=[])
            self._messages.append(self._results)
        name = maybe_string(item, "name") or (self._called[id] if role == "tool" else "")
        error = item.get("is_error") is True
        result = ToolResult(id=id, parts=parts, name=name, custom=id in self._custom, is_error=error)
        self._results.parts.append(result)

    def _function_id(self, item: Json) -> str:
        name = string(item, "name")
        if name not in self._last_id:
            raise Misfit("names no function call of an earlier message", "name")
        return self._last_id[name]


def _spoken(audio: Json) -> Media:
    try:
        return Media(kind="audio", id=string(audio, "id"), text=maybe_string(audio, "transcript"), origin=ORIGIN)
    except Misfit as wrong:
        raise wrong.within("audio") from None


def read_tool_call(call: Json) -> ToolUse:
    """One entry of `tool_calls`, of a call or of a whole reply. Raises Misfit; the id may be missing."""
    id = maybe_string(call, "id")
    custom = call.get("type") == "custom"
    inner = record(call, "custom" if custom else "function")
    try:
        name = string(inner, "name")
        arguments = maybe_string(inner, "input") if custom else _arguments(inner)
    except Misfit as wrong:
        raise wrong.within("custom" if custom else "function") from None
    seal, origin = read_tool_seal(call) if "extra_content" in call else ("", "")
    return ToolUse(id=id, name=name, arguments=arguments, custom=custom, seal=seal, origin=origin)


def _arguments(inner: Json) -> str:
    """JSON text. Some servers and clients (Ollama) have the object itself."""
    value = inner.get("arguments")
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    if not isinstance(value, dict):
        raise Misfit("must be a string of JSON", "arguments")
    try:
        return msgspec.json.encode(value).decode()
    except (RecursionError, OverflowError, UnicodeEncodeError, msgspec.MsgspecError):
        raise Misfit("cannot be read", "arguments") from None
