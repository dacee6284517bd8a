"""What a model answered in Messages and in Gemini's API: see `speech`."""

from __future__ import annotations

from typing import Any

import msgspec

from shin_gateway.conversations import body
from shin_gateway.conversations.speech import Json, Said, as_dict


class Messages:
    """https://docs.anthropic.com/en/docs/build-with-claude/streaming"""

    def __init__(self) -> None:
        self._blocks: dict[int, Json] = {}
        self._texts: dict[tuple[int, str], list[str]] = {}
        self._begun = False

    def feed(self, data: bytes) -> bool:
        event = body.maybe(data, Json)
        if event is None:
            return False
        kind, index = event.get("type"), event.get("index")
        self._begun = self._begun or kind == "message_start"
        if kind == "content_block_start" and isinstance(index, int):
            self._blocks[index] = as_dict(event.get("content_block"))
        elif kind == "content_block_delta" and isinstance(index, int) and index in self._blocks:
            self._take(index, as_dict(event.get("delta")))
        return True

    def _take(self, index: int, delta: Json) -> None:
        block = self._blocks[index]
        if delta.get("type") == "citations_delta":
            block["citations"] = [*(block.get("citations") or ()), delta.get("citation")]
            return
        for name, value in delta.items():
            if isinstance(value, str) and name != "type":
                self._texts.setdefault((index, name), []).append(value)

    def said(self) -> Said | None:
        if not self._begun:
            return None
        for (index, name), pieces in self._texts.items():
            block, text = self._blocks[index], "".join(pieces)
            if name != "partial_json":
                block[name] = f"{block.get(name) or ''}{text}"
            elif text:
                block["input"] = _input(text)
        return Said(_assistant([body.raw(block) for _, block in sorted(self._blocks.items())]))


def _input(text: str) -> msgspec.Raw:
    """A tool's input as the model wrote it, numbers of any length included."""
    data = text.encode("utf-8", "replace")
    return msgspec.Raw(data if body.maybe(data, body.Fields) is not None else b"{}")


class _Message(msgspec.Struct):
    type: str
    content: list[msgspec.Raw]


def whole_messages(data: bytes | None) -> Said | None:
    reply = body.maybe(data, _Message)
    return Said(_assistant(reply.content)) if reply and reply.type == "message" else None


class _Text(msgspec.Struct):
    type: Any = None
    text: Any = None


def _assistant(blocks: list[msgspec.Raw]) -> list[msgspec.Raw]:
    """Empty texts, which the API writes, it does not take back."""
    kept = [one for one in blocks if not _is_empty(one)]
    return [msgspec.Raw(b'{"role":"assistant","content":%b}' % bytes(body.listed(kept)))] if kept else []


def _is_empty(block: msgspec.Raw) -> bool:
    found = body.maybe(bytes(block), _Text) if len(bytes(block)) < 200 else None
    return found is not None and found.type == "text" and not found.text


class Gemini:
    """https://ai.google.dev/api/generate-content#v1beta.Candidate"""

    def __init__(self) -> None:
        self._parts: list[Json] = []
        self._pieces: list[str] = []
        self._begun = False

    def feed(self, data: bytes) -> bool:
        event = body.maybe(data, _GeminiEvent)
        if event is None:
            return False
        for candidate in (event.response or event).candidates or ():
            if candidate.index == 0:
                self._begun = True
                for part in (candidate.content.parts if candidate.content else None) or ():
                    self._add(part)
        return True

    def _add(self, part: Json) -> None:
        """Pieces of one text are joined; whatever else a part says keeps it apart."""
        text = part.get("text") if part.keys() <= {"text", "thought"} else None
        if isinstance(text, str) and self._pieces and bool(self._parts[-1].get("thought")) == bool(part.get("thought")):
            self._pieces.append(text)
            return
        self._close()
        self._parts.append(part)
        self._pieces = [text] if isinstance(text, str) else []

    def _close(self) -> None:
        if self._pieces:
            self._parts[-1] = {**self._parts[-1], "text": "".join(self._pieces)}
        self._pieces = []

    def said(self) -> Said | None:
        self._close()
        return Said(_model([body.raw(one) for one in self._parts if one != {"text": ""}])) if self._begun else None


class _GeminiParts(msgspec.Struct):
    parts: list[Json] | None = None


class _GeminiPiece(msgspec.Struct):
    index: int = 0
    content: _GeminiParts | None = None


class _GeminiEvent(msgspec.Struct):
    candidates: list[_GeminiPiece] | None = None
    response: _GeminiEvent | None = None


class _Content(msgspec.Struct):
    parts: list[msgspec.Raw] = []


class _Candidate(msgspec.Struct):
    index: int = 0
    content: _Content = msgspec.field(default_factory=_Content)


class _Generated(msgspec.Struct):
    candidates: list[_Candidate] = []


class _Wrapped(msgspec.Struct):
    response: _Generated


def whole_gemini(data: bytes | None) -> Said | None:
    wrapped = body.maybe(data, _Wrapped)
    reply = wrapped.response if wrapped else body.maybe(data, _Generated)
    first = next((one for one in reply.candidates if one.index == 0), None) if reply else None
    return None if first is None else Said(_model([one for one in first.content.parts if not _says_nothing(one)]))


def _says_nothing(part: msgspec.Raw) -> bool:
    return len(bytes(part)) < 40 and body.maybe(bytes(part), Json) == {"text": ""}


def _model(parts: list[msgspec.Raw]) -> list[msgspec.Raw]:
    return [msgspec.Raw(b'{"role":"model","parts":%b}' % bytes(body.listed(parts)))] if parts else []
