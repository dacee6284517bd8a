"""The deltas of one choice of a stream, into events of the common form."""

from __future__ import annotations

from typing import Any

import msgspec

from shin_gateway.translation.form import (
    AnyPart,
    Citation,
    Cited,
    Closed,
    Event,
    Finished,
    Grew,
    Logged,
    Media,
    Opened,
    Reasoning,
    Refused,
    Sealed,
    Text,
    ToolUse,
    Transcribed,
)
from shin_gateway.translation.openai_chat.reasoning import (
    ORIGIN,
    details_of,
    read_detail,
    read_tool_seal,
    seal_of,
    text_of,
)
from shin_gateway.translation.openai_chat.replies_in import (
    new_id,
    read_entry,
    read_images,
    read_message,
    text_in,
)
from shin_gateway.translation.openai_chat.usage import read_citation, read_finish, read_logprobs

Json = dict[str, Any]


class _Tool:
    """A call of a tool that may still grow. It opens when its name is known."""

    __slots__ = ("at", "closed", "id", "pieces")

    def __init__(self, id: str) -> None:
        self.id = id
        self.at = -1
        self.pieces: list[str] = []
        self.closed = False

    def complete(self) -> bool:
        """Whether the arguments are a whole object, so that nothing more can come."""
        if not self.pieces or not self.pieces[-1].rstrip().endswith("}"):
            return False
        try:
            return isinstance(msgspec.json.decode("".join(self.pieces)), dict)
        except (msgspec.MsgspecError, RecursionError, ValueError):
            return False


class ChoiceReader:
    def __init__(self, index: int) -> None:
        self._index = index
        self._next = 0
        self._kind = ""
        """Of the open part that is no tool call: what it is and, of thoughts, which."""
        self._at = -1
        self._cited: list[Citation] = []
        """What came before the text that it belongs to."""
        self._tools: dict[int, _Tool] = {}
        self._last: _Tool | None = None
        self._refused = False
        self._reason: object = None
        self._stop_reason: object = None
        self._ended = False
        self.finished = False
        """Whether a reason to finish has come."""

    def read(self, choice: Json, out: list[Event]) -> None:
        if self._ended:
            return
        delta = choice.get("delta")
        if isinstance(delta, dict):
            self._delta(delta, out)
        elif isinstance(message := choice.get("message"), dict) and not self._next:
            self._whole(message, out)
        elif isinstance(text := choice.get("text"), str) and text:  # the legacy API
            self._grow("text", Text(text=""), text, out)
        if choice.get("logprobs") and (tokens := read_logprobs(choice)):
            out.append(Logged(self._index, tokens))
        if reason := choice.get("finish_reason"):
            self._reason, self._stop_reason, self.finished = reason, choice.get("stop_reason"), True

    def end(self, out: list[Event]) -> None:
        """No more comes. Not before: some servers give a reason with every chunk, or with each call of a tool.

        A server that gave none had none but the regular one.
        """
        if self._ended:
            return
        self._ended = True
        self._close(out)
        for tool in self._tools.values():
            self._close_tool(tool, out)
        finish, sequence = read_finish(self._reason, bool(self._tools), self._stop_reason, self._refused)
        out.append(Finished(self._index, finish, sequence))

    # Parts

    def _open(self, part: AnyPart, out: list[Event]) -> int:
        at = self._next
        self._next += 1
        out.append(Opened(self._index, at, part))
        return at

    def _close(self, out: list[Event]) -> None:
        if self._kind:
            out.append(Closed(self._index, self._at))
            self._kind = ""

    def _begin(self, kind: str, part: AnyPart, out: list[Event]) -> None:
        if self._kind == kind:
            return
        self._close(out)
        self._settle(out)
        self._kind, self._at = kind, self._open(part, out)

    def _grow(self, kind: str, part: AnyPart, text: str, out: list[Event]) -> None:
        if self._kind != kind:
            self._begin(kind, part, out)
            if self._cited and kind == "text":
                out += [Cited(self._index, self._at, citation) for citation in self._cited]
                self._cited.clear()
        out.append(Grew(self._index, self._at, text))

    def _put(self, part: AnyPart, out: list[Event]) -> None:
        """A part that is complete."""
        self._close(out)
        self._settle(out)
        out.append(Closed(self._index, self._open(part, out)))

    # What a delta holds

    def _delta(self, delta: Json, out: list[Event]) -> None:
        if len(delta) > 1 or "content" not in delta:
            self._think(delta, out)
        content = delta.get("content")
        if isinstance(content, str):
            if content:
                self._grow("text", Text(text=""), content, out)
        elif isinstance(content, list):
            self._entries(content, out)
        if len(delta) > 1 or content is None:
            self._others(delta, out)

    def _others(self, delta: Json, out: list[Event]) -> None:
        if refusal := text_in(delta, "refusal"):
            self._refused = True
            self._grow("refusal", Refused(text=""), refusal, out)
        if isinstance(annotations := delta.get("annotations"), list):
            self._cite(annotations, out)
        if isinstance(audio := delta.get("audio"), dict):
            self._speak(audio, out)
        for image in read_images(delta):
            self._put(image, out)
        if isinstance(calls := delta.get("tool_calls"), list):
            for place, call in enumerate(calls):
                if isinstance(call, dict):
                    self._call(call, place, out)
        if isinstance(legacy := delta.get("function_call"), dict):
            self._call({"index": 0, "function": legacy}, 0, out)

    def _whole(self, message: Json, out: list[Event]) -> None:
        """Some servers send a whole message in place of deltas."""
        for part in read_message(message):
            self._refused = self._refused or isinstance(part, Refused)
            if isinstance(part, ToolUse):
                tool = self._tools[len(self._tools)] = _Tool(part.id)
                tool.closed = True
            self._put(part, out)

    def _entries(self, content: list[Any], out: list[Event]) -> None:
        for item in content:
            part = read_entry(item)
            if isinstance(part, Reasoning):
                self._grow("reasoning", Reasoning(origin=ORIGIN), part.text, out)
            elif isinstance(part, Text):
                self._grow("text", Text(text=""), part.text, out)

    def _think(self, delta: Json, out: list[Event]) -> None:
        details = details_of(delta) if "reasoning_details" in delta else []
        told = False
        for detail in details:
            told = self._detail(detail, out) or told
        if not told and (text := text_of(delta)):
            self._grow("reasoning", Reasoning(origin=ORIGIN), text, out)

    def _detail(self, detail: Json, out: list[Event]) -> bool:
        """Whether the entry had text, of which the plain field is then a copy."""
        part = read_detail(detail)
        key = f"reasoning {detail.get('index')} {detail.get('type')}"
        # Another of our gateways sends the text again with the seal.
        text = "" if detail.get("format") == "shin-v1" else part.text
        if text:
            self._grow(key, Reasoning(summary=part.summary, origin=ORIGIN), text, out)
        if part.seal:
            if not text and not (self._kind == key or part.text):
                self._begin(key, Reasoning(origin=ORIGIN), out)
            if self._kind.startswith("reasoning"):
                out.append(Sealed(self._index, self._at, seal_of(detail)))
                self._close(out)
        return bool(text)

    def _cite(self, annotations: list[Any], out: list[Event]) -> None:
        found = [citation for one in annotations if (citation := read_citation(one)) is not None]
        if self._kind == "text":
            out += [Cited(self._index, self._at, citation) for citation in found]
        else:
            self._cited += found

    def _speak(self, audio: Json, out: list[Event]) -> None:
        id, data, text = (text_in(audio, name) for name in ("id", "data", "transcript"))
        if not (id or data or text):
            return
        self._begin("audio", Media(kind="audio", id=id, origin=ORIGIN), out)
        if data:
            out.append(Grew(self._index, self._at, data))
        if text:
            out.append(Transcribed(self._index, self._at, text))

    # Calls of tools

    def _call(self, call: Json, place: int, out: list[Event]) -> None:
        custom = isinstance(call.get("custom"), dict)
        inner = call.get("custom" if custom else "function")
        inner = inner if isinstance(inner, dict) else {}
        id, name = text_in(call, "id"), text_in(inner, "name")
        tool = self._tool_of(call, id, name)
        piece = text_in(inner, "input") if custom else _arguments(inner)
        if tool.closed:
            return
        if tool.at < 0 and name:
            self._close(out)
            self._settle(out)
            seal, origin = read_tool_seal(call) if "extra_content" in call else ("", "")
            tool.at = self._open(ToolUse(id=tool.id, name=name, custom=custom, seal=seal, origin=origin), out)
            piece = "".join([*tool.pieces, piece])
            tool.pieces.clear()
        if piece:
            tool.pieces.append(piece)
            if tool.at >= 0:
                out.append(Grew(self._index, tool.at, piece))

    def _tool_of(self, call: Json, id: str, name: str) -> _Tool:
        index = call.get("index")
        number = index if isinstance(index, int) and index >= 0 else -1
        tool = self._tools.get(number) if number >= 0 else self._unnumbered(id, name)
        if tool is not None and not (id and name and id != tool.id and tool.at >= 0):
            return tool
        spare = -1 - len(self._tools)
        if tool is not None and number >= 0:  # one more under a number that is taken: later pieces belong to it
            self._tools[spare] = tool
        tool = self._tools[number if number >= 0 else spare] = self._last = _Tool(id or new_id())
        return tool

    def _unnumbered(self, id: str, name: str) -> _Tool | None:
        if id:
            return next((tool for tool in self._tools.values() if tool.id == id), None)
        return None if name else self._last

    def _settle(self, out: list[Event]) -> None:
        """Before another part begins: calls that are complete are closed, others may go on beside it."""
        for tool in self._tools.values():
            if not tool.closed and tool.at >= 0 and tool.complete():
                self._close_tool(tool, out)

    def _close_tool(self, tool: _Tool, out: list[Event]) -> None:
        if tool.closed:
            return
        if tool.at < 0:  # a call of a tool that has no name
            tool.at = self._open(ToolUse(id=tool.id, name="", arguments="".join(tool.pieces)), out)
        out.append(Closed(self._index, tool.at))
        tool.closed = True


def _arguments(inner: Json) -> str:
    value = inner.get("arguments")
    if isinstance(value, str):
        return value
    if not isinstance(value, dict):
        return ""
    try:
        return msgspec.json.encode(value).decode()
    except (RecursionError, OverflowError, UnicodeEncodeError, msgspec.MsgspecError):
        return ""
