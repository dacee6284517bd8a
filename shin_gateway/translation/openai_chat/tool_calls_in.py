"""The pieces of calls of tools in the stream of one choice, put together and opened as parts.

Servers differ in how they say which call a piece belongs to: by `index`, by id, by its place in the list, or not.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from shin_gateway.translation.form import Closed, Event, Grew, ToolUse
from shin_gateway.translation.openai_chat.reasoning import read_tool_seal
from shin_gateway.translation.openai_chat.replies_in import new_id
from shin_gateway.translation.openai_chat.usage import text_in

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


class ToolCalls:
    """Those of one choice. `open` begins a part and gives its place."""

    def __init__(self, choice: int, open: Callable[[ToolUse, list[Event]], int]) -> None:
        self._choice = choice
        self._open = open
        self._tools: dict[int, _Tool] = {}
        self._open_ones: list[_Tool] = []
        """Those in `_tools` that are not closed."""
        self._last: _Tool | None = None
        self._together: list[_Tool] = []
        """Those of the last delta that had any."""

    def __bool__(self) -> bool:
        return bool(self._tools)

    def add_whole(self, id: str) -> None:
        """One that came all at once, and is a part already."""
        tool = self._tools[len(self._tools)] = _Tool(id)
        tool.closed = True

    def read(self, calls: list[Any], out: list[Event]) -> None:
        """All of one delta. Without numbers and ids, several pieces belong to the calls of the delta before (Kimi)."""
        before = self._together if len(calls) > 1 else []
        together = [
            self._call(call, before[place] if place < len(before) else self._last, out)
            for place, call in enumerate(calls)
            if isinstance(call, dict)
        ]
        self._together = together or self._together

    def settle(self, out: list[Event]) -> None:
        """Before another part begins: calls that are complete are closed, others may go on beside it."""
        for tool in self._open_ones:
            if tool.at >= 0 and tool.complete():
                self._close(tool, out)
        self._open_ones = [tool for tool in self._open_ones if not tool.closed]

    def end(self, out: list[Event]) -> None:
        for tool in self._tools.values():
            self._close(tool, out)

    def _call(self, call: Json, likely: _Tool | None, out: list[Event]) -> _Tool:
        """The call that it is a piece of; `likely` where it does not say."""
        custom = isinstance(call.get("custom"), dict)
        inner = call.get("custom" if custom else "function")
        inner = inner if isinstance(inner, dict) else {}
        id, name = text_in(call, "id"), text_in(inner, "name")
        piece = text_in(inner, "input") if custom else _arguments(inner)
        tool = self._tool_of(call, id, name, piece, likely)
        if tool.closed:
            return tool
        if tool.at < 0 and name:
            seal, origin = read_tool_seal(call) if "extra_content" in call else ("", "")
            tool.at = self._open(ToolUse(id=tool.id, name=name, custom=custom, seal=seal, origin=origin), out)
            piece = "".join([*tool.pieces, piece])
            tool.pieces.clear()
        if piece:
            tool.pieces.append(piece)
            if tool.at >= 0:
                out.append(Grew(self._choice, tool.at, piece))
        return tool

    def _tool_of(self, call: Json, id: str, name: str, piece: str, likely: _Tool | None) -> _Tool:
        index = call.get("index")
        number = index if isinstance(index, int) and index >= 0 else -1
        tool = self._tools.get(number) if number >= 0 else self._unnumbered(id, name, likely)
        if tool is not None and not (name and tool.at >= 0 and (tool.id != id if id else piece and tool.complete())):
            return tool
        spare = -1 - len(self._tools)
        if tool is not None and number >= 0:  # one more under a number that is taken: later pieces belong to it
            self._tools[spare] = tool
        tool = self._tools[number if number >= 0 else spare] = self._last = _Tool(id or new_id())
        self._open_ones.append(tool)
        return tool

    def _unnumbered(self, id: str, name: str, likely: _Tool | None) -> _Tool | None:
        if id:
            return next((tool for tool in self._tools.values() if tool.id == id), None)
        return None if name else likely

    def _close(self, tool: _Tool, out: list[Event]) -> None:
        if tool.closed:
            return
        if tool.at < 0:  # a call of a tool that has no name
            tool.at = self._open(ToolUse(id=tool.id, name="", arguments="".join(tool.pieces)), out)
        out.append(Closed(self._choice, tool.at))
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
