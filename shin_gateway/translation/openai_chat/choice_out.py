"""The parts of one choice of a stream, as deltas of Chat Completions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from shin_gateway.translation.form import (
    AnyPart,
    Citation,
    Finish,
    Media,
    Reasoning,
    Refused,
    Text,
    ToolUse,
)
from shin_gateway.translation.losses import Losses
from shin_gateway.translation.openai_chat.reasoning import write_detail, write_tool_seal
from shin_gateway.translation.openai_chat.replies_out import write_image
from shin_gateway.translation.openai_chat.usage import write_citation, write_finish
from shin_gateway.translation.sound import fits

Json = dict[str, Any]


class _Open:
    """A part that is being written."""

    __slots__ = ("index", "kind", "part", "pieces", "prefix", "seal", "size", "start", "suffix")

    def __init__(self, kind: str, part: AnyPart) -> None:
        self.kind = kind
        self.part = part
        self.index = 0
        """Of a tool call among those of the choice."""
        self.prefix = self.suffix = b""
        """What stands around a piece in its delta; without it pieces are not shown."""
        self.pieces: list[str] = []
        self.seal = ""
        self.start = self.size = 0
        """Of text: where in the message it begins, and its characters."""


class ChoiceWriter:
    def __init__(self, call_id: str, legacy: bool, sound: str, losses: Losses) -> None:
        """`sound` is the format that the client asked for."""
        self._call_id = call_id
        self._legacy = legacy
        self._sound = sound
        self._losses = losses
        self._open: dict[int, _Open] = {}
        self._length = 0
        self._tools = self._images = 0
        self._last: dict[str, list[Json]] = {}
        """Lists that go out whole, with the end: openai-node keeps of them only what came last."""
        self._thought = self._refused = False

    def reason(self, finish: Finish) -> str:
        return write_finish(finish, [Refused(text="")] if self._refused else [], self._legacy)

    def last(self) -> Json:
        """What is to be said before the choice finishes; empty for nothing."""
        return {
            name: [{"index": index, **one} for index, one in enumerate(found)] for name, found in self._last.items()
        }

    def open(self, at: int, part: AnyPart) -> list[Json]:
        match part:
            case Text():
                return self._text(at, part)
            case ToolUse():
                return self._tool(at, part)
            case Reasoning():
                return self._reasoning(at, part)
            case Refused():
                self._refused = True
                self._put(at, "refusal", part, b'{"refusal":', b"}")
                return [{"refusal": part.text}] if part.text else []
            case Media():
                return self._media(at, part)
            case _:
                self._put(at, "", part)
                self._losses.soften("server_tools")
                return []

    def _put(self, at: int, kind: str, part: AnyPart, prefix: bytes = b"", suffix: bytes = b"") -> _Open:
        one = self._open[at] = _Open(kind, part)
        one.prefix, one.suffix = prefix, suffix
        return one

    def _text(self, at: int, part: Text) -> list[Json]:
        one = self._put(at, "text", part, b'{"content":', b"}")
        one.start, one.size = self._length, len(part.text)
        self._length += len(part.text)
        for citation in part.citations:
            self.cite(at, citation)
        return [{"content": part.text}] if part.text else []

    def _tool(self, at: int, part: ToolUse) -> list[Json]:
        one = self._put(at, "tool", part)
        one.index, one.seal = self._tools, part.seal
        self._tools += 1
        if self._legacy:
            return self._function(one, part)
        id = part.id or f"call_{self._call_id}_{one.index}"
        field, text = ("custom", "input") if part.custom else ("function", "arguments")
        one.prefix = b'{"tool_calls":[{"index":%d,"%b":{"%b":' % (one.index, field.encode(), text.encode())
        one.suffix = b"}}]}"
        kind = {"index": one.index, "id": id, "type": field}
        deltas: list[Json] = [{"tool_calls": [{**kind, field: {"name": part.name, text: ""}}]}]
        if part.arguments:
            one.size = len(part.arguments)
            deltas.append({"tool_calls": [{"index": one.index, field: {text: part.arguments}}]})
        return deltas

    def _function(self, one: _Open, part: ToolUse) -> list[Json]:
        """For clients that know only `function_call`: there can be one."""
        if one.index:
            self._losses.soften("function_call")
            return []
        one.prefix, one.suffix, one.size = b'{"function_call":{"arguments":', b"}}", len(part.arguments)
        return [{"function_call": {"name": part.name, "arguments": part.arguments}}]

    def _reasoning(self, at: int, part: Reasoning) -> list[Json]:
        one = self._put(at, "reasoning", part, b'{"reasoning_content":', b"}")
        one.seal = part.seal
        return [{"reasoning_content": self._thought_of(one, part.text)}] if part.text else []

    def _thought_of(self, one: _Open, text: str) -> str:
        """Thoughts come in parts, but have one field: an empty line stands between them."""
        first = not one.pieces
        one.pieces.append(text)
        text = f"\n\n{text}" if first and self._thought else text
        self._thought = True
        return text

    def _media(self, at: int, part: Media) -> list[Json]:
        if part.kind == "audio":
            self._put(at, "audio", part, b'{"audio":{"data":', b"}}")
            if not fits(part, self._sound):
                self._losses.soften("audio.format")
            audio = {"id": part.id, "data": part.data, "transcript": part.text}
            return [{"audio": {key: value for key, value in audio.items() if value}}] if any(audio.values()) else []
        one = self._put(at, part.kind, part)
        if part.kind != "image":
            self._losses.soften(part.kind)
            return []
        one.pieces = [part.data]
        return []

    def grow(self, at: int, text: str, encode: Callable[[Any], bytes]) -> bytes:
        """The delta as JSON; empty for what is not shown."""
        one = self._open.get(at)
        if one is None or not text:
            return b""
        if one.kind == "text":
            self._length += len(text)
        elif one.kind == "reasoning":
            text = self._thought_of(one, text)
        elif one.kind == "image":
            one.pieces.append(text)
        one.size += len(text)
        return one.prefix + encode(text) + one.suffix if one.prefix else b""

    def seal(self, at: int, seal: str) -> list[Json]:
        one = self._open.get(at)
        if one is not None:
            one.seal += seal
        return []

    def cite(self, at: int, citation: Citation) -> list[Json]:
        one = self._open.get(at)
        if one is None:
            return []
        written = write_citation(citation, one.start, one.start + one.size)
        if written is None:
            self._losses.soften("citations")
        else:
            self._last.setdefault("annotations", []).append(written)
        return []

    def close(self, at: int) -> list[Json]:
        one = self._open.pop(at, None)
        if one is None:
            return []
        match one.part:
            case ToolUse():
                return self._close_tool(one, one.part)
            case Reasoning() if one.seal:
                return self._close_reasoning(one, one.part)
            case Media() if one.kind == "image":
                return self._close_image(one, one.part)
            case _:
                return []

    def _close_tool(self, one: _Open, part: ToolUse) -> list[Json]:
        deltas: list[Json] = []
        if not one.size and not part.custom:  # nobody can parse an empty string
            deltas.append(
                {"function_call": {"arguments": "{}"}}
                if self._legacy
                else {"tool_calls": [{"index": one.index, "function": {"arguments": "{}"}}]}
            )
        if one.seal and not self._legacy and not part.custom:
            part.seal = one.seal
            entry = {"index": one.index, "function": {"arguments": ""}, "extra_content": write_tool_seal(part)}
            deltas.append({"tool_calls": [entry]})
        return deltas if one.prefix else []

    def _close_reasoning(self, one: _Open, part: Reasoning) -> list[Json]:
        whole = Reasoning(
            text="".join(one.pieces),
            summary=part.summary,
            seal=one.seal,
            redacted=part.redacted,
            id=part.id,
            origin=part.origin,
        )
        details = self._last.setdefault("reasoning_details", [])
        details.append({key: value for key, value in write_detail(whole, 0).items() if key != "index"})
        return []

    def _close_image(self, one: _Open, part: Media) -> list[Json]:
        made = Media(kind="image", mime=part.mime, url=part.url, data="".join(one.pieces))
        self._images += 1
        return [{"images": [{"index": self._images - 1, **write_image(made)}]}]
