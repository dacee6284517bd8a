"""What a model answered in Chat Completions: see `speech`."""

from __future__ import annotations

from typing import Any

import msgspec

from shin_gateway.conversations import body
from shin_gateway.conversations.speech import Json, Said, as_dict, as_dicts


class Chat:
    """https://platform.openai.com/docs/api-reference/chat-streaming"""

    def __init__(self) -> None:
        self._fields: Json = {}
        self._texts: dict[str, list[str]] = {}
        self._calls: dict[int, _Call] = {}
        self._function: _Call | None = None
        self._begun = False

    def feed(self, data: bytes) -> bool:
        if data.startswith(b"[DONE]"):
            return True
        event = body.maybe(data, _ChatEvent)
        if event is None:
            return False
        for choice in event.choices or ():
            if choice.index == 0:
                self._begun = True
                self._take(choice.delta or {})
        return True

    def _take(self, delta: Json) -> None:
        for name, value in delta.items():
            if isinstance(value, str) and name != "role":
                self._texts.setdefault(name, []).append(value)
            elif name == "tool_calls":
                self._take_calls(as_dicts(value))
            elif name == "function_call" and isinstance(value, dict):
                self._function = self._function or _Call()
                self._function.add({"function": value})
            elif isinstance(value, list):
                self._fields[name] = _joined(self._fields.get(name), value)
            elif isinstance(value, dict):
                self._fields[name] = as_dict(self._fields.get(name)) | value

    def _take_calls(self, pieces: list[Json]) -> None:
        for at, piece in enumerate(pieces):
            index = piece.get("index")
            self._calls.setdefault(index if isinstance(index, int) else at, _Call()).add(piece)

    def said(self) -> Said | None:
        if not self._begun:
            return None
        message = self._fields | {name: "".join(pieces) for name, pieces in self._texts.items()}
        if self._calls:
            message["tool_calls"] = [call.whole() for _, call in sorted(self._calls.items())]
        if self._function:
            message["function_call"] = self._function.whole()["function"]
        return Said(_chat_message({name: body.raw(value) for name, value in message.items() if value}))


class _ChatPiece(msgspec.Struct):
    index: int = 0
    delta: Json | None = None


class _ChatEvent(msgspec.Struct):
    choices: list[_ChatPiece] | None = None


class _Call:
    """One tool call, in pieces."""

    def __init__(self) -> None:
        self._fields: Json = {"id": "", "type": "function"}
        self._function: Json = {"name": ""}
        self._arguments: list[str] = []

    def add(self, piece: Json) -> None:
        function = as_dict(piece.get("function"))
        if isinstance(arguments := function.get("arguments"), str):
            self._arguments.append(arguments)
        self._function |= {name: one for name, one in function.items() if one and name != "arguments"}
        self._fields |= {name: one for name, one in piece.items() if one and name not in ("index", "function")}

    def whole(self) -> Json:
        return self._fields | {"function": self._function | {"arguments": "".join(self._arguments)}}


_TEXTS = ("text", "summary", "data")


def _joined(before: Any, pieces: list[Any]) -> list[Any]:
    """A list that came in pieces: pieces of one text become that text (`reasoning_details` of OpenRouter)."""
    found: list[Any] = before if isinstance(before, list) else []
    for piece in pieces:
        last = found[-1] if found else None
        name = next((name for name in _TEXTS if isinstance(as_dict(piece).get(name), str)), "")
        alike = isinstance(last, dict) and name and [last.get(key) for key in ("type", "index")] == [
            piece.get(key) for key in ("type", "index")
        ]  # fmt: skip
        if alike and isinstance(last, dict) and isinstance(last.get(name), str):
            found[-1] = last | {key: one for key, one in piece.items() if one} | {name: last[name] + piece[name]}
        else:
            found.append(piece)
    return found


class _ChatChoice(msgspec.Struct):
    index: int = 0
    message: body.Fields = {}


class _ChatReply(msgspec.Struct):
    choices: list[_ChatChoice]


def whole_chat(data: bytes | None) -> Said | None:
    reply = body.maybe(data, _ChatReply)
    first = next((one for one in reply.choices if one.index == 0), None) if reply else None
    return None if first is None else Said(_chat_message(first.message))


def _chat_message(fields: body.Fields) -> list[msgspec.Raw]:
    """The message as a client repeats it; https://platform.openai.com/docs/guides/audio: sound by its id alone."""
    kept = {name: one for name, one in fields.items() if name != "role" and bytes(one) not in _EMPTY}
    if "audio" in kept:
        kept["audio"] = body.raw({"id": body.maybe_text(body.maybe(bytes(kept["audio"]), body.Fields) or {}, "id")})
    if not kept.keys() - {"annotations"}:
        return []
    head = {"role": msgspec.Raw(b'"assistant"'), "content": msgspec.Raw(b"null")}
    return [msgspec.Raw(body.write(head | kept))]


_EMPTY = frozenset({b"null", b'""', b"[]", b"{}"})
