"""`contents` of a call into messages.

Source: ai.google.dev/api/caching#Content
"""

from __future__ import annotations

from itertools import groupby
from typing import Any

from shin_gateway.translation.form import AnyPart, Message, Reasoning, Text, ToolResult, ToolUse
from shin_gateway.translation.gemini_generate.fields import Fields, objects
from shin_gateway.translation.gemini_generate.parts_in import PartReader
from shin_gateway.translation.losses import Losses
from shin_gateway.translation.openai_common import Misfit, maybe_string

_CONTENT = Fields("role", "parts")
_ROLES = {"": "user", "user": "user", "function": "user", "tool": "user", "model": "assistant"}


class _Pending:
    """Function calls that wait for their results. One without an id gets one that follows from its place."""

    def __init__(self) -> None:
        self._waiting: dict[str, str] = {}
        self._named: dict[str, dict[str, None]] = {}
        """The ids in `_waiting`, by the function's name."""
        self._made = 0

    def call(self, part: ToolUse) -> None:
        if not part.id:
            part.id = f"call_gemini_{self._made}"
            self._made += 1
        self._take(part.id)
        self._waiting[part.id] = part.name
        self._named.setdefault(part.name, {})[part.id] = None

    def answer(self, part: ToolResult) -> None:
        """A result finds its call by the id, else the first call of that name. Raises Misfit."""
        if part.id not in self._waiting:
            named = next(iter(self._named.get(part.name, ())), None)
            if named is None and not part.id:
                raise Misfit("answers no function call that came before", "functionResponse")
            part.id = named or part.id
        self._take(part.id)

    def _take(self, id: str) -> None:
        name = self._waiting.pop(id, None)
        if name is not None:
            del self._named[name][id]


def read_contents(value: Any, losses: Losses) -> list[Message]:
    """Raises Misfit."""
    if isinstance(value, str):
        return [Message(role="user", parts=[Text(text=value)])]
    contents = objects(value)
    if not contents:
        raise Misfit("is missing or empty")
    reader = _ContentReader(losses)
    messages: list[Message] = []
    for at, content in enumerate(contents):
        try:
            message = reader.read(content, f"contents[{at}]")
        except Misfit as wrong:
            raise wrong.within(at) from None
        if message is None:
            continue
        if message.role == "assistant" and messages and messages[-1].role == "assistant":
            messages[-1].parts += message.parts  # a client keeps a stream's chunks as contents of their own
        else:
            messages.append(message)
    for message in messages:
        if message.role == "assistant":
            message.parts = _once(_joined(message.parts))
    return messages


def _once(parts: list[AnyPart]) -> list[AnyPart]:
    """Without the thoughts that a function call brought along where the client has kept them as well."""
    seals: set[str] = set()
    out: list[AnyPart] = []
    for part in parts:
        if isinstance(part, Reasoning) and part.seal:
            if part.seal in seals:
                continue
            seals.add(part.seal)
        out.append(part)
    return out


def _joined(parts: list[AnyPart]) -> list[AnyPart]:
    """Pieces of one text, or of one thought and its signature, as what they were before they were streamed."""
    out: list[AnyPart] = []
    for _, group in groupby(parts, _piece_of):
        pieces = list(group)
        out += _join(pieces) if len(pieces) > 1 else pieces
    return out


def _piece_of(part: AnyPart) -> object:
    if isinstance(part, Text):
        return Text
    return Reasoning if isinstance(part, Reasoning) and not part.redacted else id(part)


def _join(pieces: list[AnyPart]) -> list[AnyPart]:
    out: list[AnyPart] = []
    texts: list[str] = []
    for piece in pieces:
        assert isinstance(piece, Text | Reasoning)
        texts.append(piece.text)
        if isinstance(piece, Reasoning) and piece.seal:  # a signature ends a thought
            piece.text = "".join(texts)
            out.append(piece)
            texts = []
    if texts:
        last = pieces[-1]
        assert isinstance(last, Text | Reasoning)
        last.text = "".join(texts)
        out.append(last)
    return out


def read_system(value: Any, losses: Losses) -> list[Message]:
    """`systemInstruction`, which takes only texts. Raises Misfit."""
    if value is None:
        return []
    if isinstance(value, str):
        return [Message(role="system", parts=[Text(text=value)])] if value else []
    if isinstance(value, dict) and "text" in value and "parts" not in value:
        value = {"parts": [value]}
    content = _CONTENT.of(value, "systemInstruction.", losses)
    texts: list[AnyPart] = []
    for part in _ContentReader(losses).parts(content.get("parts"), "systemInstruction"):
        if isinstance(part, Text):
            texts.append(part)
        else:
            losses.drop("systemInstruction.parts")
    return [Message(role="system", parts=texts)] if texts else []


class _ContentReader:
    def __init__(self, losses: Losses) -> None:
        self._losses = losses
        self._part = PartReader(losses)
        self._pending = _Pending()

    def read(self, value: Any, place: str) -> Message | None:
        if isinstance(value, str):
            value = {"parts": [{"text": value}]}
        content = _CONTENT.of(value, "contents.", self._losses)
        role = _ROLES.get(maybe_string(content, "role"))
        if role is None:
            raise Misfit("must be user or model", "role")
        parts = self.parts(content.get("parts"), place)
        if role == "user":
            return Message(role="user", parts=self._given(parts) or [Text(text="")])
        return Message(role="assistant", parts=self._made(parts)) if parts else None

    def parts(self, value: Any, place: str) -> list[AnyPart]:
        found: list[AnyPart] = []
        try:
            rows = objects([{"text": value}] if isinstance(value, str) else value)
        except Misfit as wrong:
            raise wrong.within("parts") from None
        for at, row in enumerate(rows):
            try:
                self._part.read(row, f"{place}.parts[{at}]", found)
            except Misfit as wrong:
                raise wrong.within("parts", at) from None
        return found

    def _given(self, parts: list[AnyPart]) -> list[AnyPart]:
        for at, part in enumerate(parts):
            if isinstance(part, ToolUse):
                raise Misfit("must stand in a content of the model's", "functionCall").within("parts", at)
            if isinstance(part, ToolResult):
                try:
                    self._pending.answer(part)
                except Misfit as wrong:
                    raise wrong.within("parts", at) from None
        return parts

    def _made(self, parts: list[AnyPart]) -> list[AnyPart]:
        for at, part in enumerate(parts):
            if isinstance(part, ToolResult):
                raise Misfit("must stand in a content of the user's", "functionResponse").within("parts", at)
            if isinstance(part, ToolUse):
                self._pending.call(part)
        return parts
