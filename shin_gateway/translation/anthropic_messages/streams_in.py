"""A stream of this API into events. platform.claude.com/docs/en/build-with-claude/streaming"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from shin_gateway.dialects.base import event_of
from shin_gateway.dialects.numbers import word_of
from shin_gateway.dialects.parts import Part
from shin_gateway.translation.anthropic_messages import replies, usage
from shin_gateway.translation.anthropic_messages.blocks_in import read_citation
from shin_gateway.translation.anthropic_messages.names import Json
from shin_gateway.translation.anthropic_messages.server_tools import builtin
from shin_gateway.translation.form import (
    Began,
    Builtin,
    Cited,
    Closed,
    Ended,
    Event,
    Failed,
    Finished,
    Grew,
    Opened,
    Refused,
    Sealed,
    ToolUse,
    UsageTold,
)

_decode = msgspec.json.Decoder().decode
_HELD = ("server_tool_use", "mcp_tool_use", "compaction")
"""Blocks that other dialects do not get in pieces."""


class _Block:
    """An open block: its place among the parts, and of a tool use its input so far."""

    __slots__ = ("at", "pieces", "raw", "unsaid")

    def __init__(self, at: int, unsaid: str = "", raw: Json | None = None) -> None:
        self.at = at
        self.unsaid = unsaid
        """Of a tool use, the input that its first event gave: it counts only where none follows in pieces."""
        self.raw = raw
        """Held until its input is complete, where the tool runs at the provider."""
        self.pieces: list[str] = []


class Reader:
    """Implements StreamReader."""

    def __init__(self) -> None:
        self._open: dict[Any, _Block] = {}
        self._at = 0
        self._counts: dict[str, int] = {}
        self._uses_tools = False
        self._ending: Json = {}
        """What `message_start` said of the end, where it held the whole message already."""
        self._began = self._finished = self._over = False

    def feed(self, part: Part) -> Iterable[Event]:
        data = part.data
        if not data or self._over:
            return ()
        try:
            event = _decode(data)
        except (msgspec.MsgspecError, ValueError, RecursionError):
            event = event_of(part)
        if not isinstance(event, dict):
            return ()
        kind = event.get("type") or part.event  # servers that are only alike leave one of them out
        read = _READERS.get(kind) if isinstance(kind, str) else None
        events = read(self, event) if read is not None else ()
        if self._began or not events:
            return events
        self._began = True  # message_start was lost
        return (Began("", ""), *events)

    def finish(self) -> Iterable[Event]:
        return ()  # message_stop says it; without it the stream was cut

    # ── events ──────────────────────────────────────────────────────────────────────────────────

    def message_start(self, event: Json) -> Iterable[Event]:
        message = event.get("message")
        if self._began or not isinstance(message, dict):
            return ()
        self._began = True
        found = usage.take(message.get("usage"), self._counts)
        tier = replies.tier_of(message.get("usage"))
        events: list[Event] = [Began(word_of(message, "id"), word_of(message, "model"), 0, found, tier)]
        # A turn that goes on after code called the client's tools begins with what is there already.
        content = message.get("content")
        for raw in content if isinstance(content, list) else ():
            if (block := replies.read_block(raw)) is not None:
                self._uses_tools = self._uses_tools or isinstance(block, ToolUse)
                at = self._next()
                events += (Opened(0, at, block), Closed(0, at))
        self._ending = message
        return events

    def block_start(self, event: Json) -> Iterable[Event]:
        index, raw = event.get("index"), event.get("content_block")
        if not isinstance(raw, dict) or not isinstance(index, int) or self._finished:
            return ()
        events = list(self._close(index))
        if raw.get("type") in _HELD:
            self._open[index] = _Block(self._next(), raw=raw)
            return events
        part = replies.read_block(raw)
        if part is None:
            return events
        unsaid = ""
        if isinstance(part, ToolUse):
            self._uses_tools = True
            unsaid, part.arguments = part.arguments, ""
        block = self._open[index] = _Block(self._next(), unsaid)
        events.append(Opened(0, block.at, part))
        return events

    def block_delta(self, event: Json) -> Iterable[Event]:
        index, delta = event.get("index"), event.get("delta")
        block = self._open.get(index) if isinstance(index, int) else None
        if block is None or not isinstance(delta, dict):
            return ()
        kind = delta.get("type")
        if kind == "text_delta":
            return _grown(block, delta.get("text"))
        if kind == "input_json_delta":
            return self._input(block, delta.get("partial_json"))
        if kind == "thinking_delta":
            return _grown(block, delta.get("thinking"))
        if kind == "signature_delta":
            seal = delta.get("signature")
            return (Sealed(0, block.at, seal),) if isinstance(seal, str) and seal else ()
        if kind == "compaction_delta" and block.raw is not None:
            block.raw = {**block.raw, **{name: delta[name] for name in delta.keys() - {"type"}}}
            return ()
        citation = delta.get("citation")
        if kind == "citations_delta" and isinstance(citation, dict):
            return (Cited(0, block.at, read_citation(citation)),)
        return ()

    def _input(self, block: _Block, piece: Any) -> Iterable[Event]:
        if not isinstance(piece, str) or not piece:
            return ()
        if block.raw is not None:
            block.pieces.append(piece)
            return ()
        block.unsaid = ""
        return (Grew(0, block.at, piece),)

    def block_stop(self, event: Json) -> Iterable[Event]:
        return self._close(event.get("index"))

    def _close(self, index: Any) -> Iterable[Event]:
        block = self._open.pop(index, None) if isinstance(index, int) else None
        if block is None:
            return ()
        if block.raw is not None:
            return (Opened(0, block.at, _complete(block)), Closed(0, block.at))
        if block.unsaid:
            # All at once, or a tool without arguments: `{}`, since other clients parse what came.
            return (Grew(0, block.at, block.unsaid), Closed(0, block.at))
        return (Closed(0, block.at),)

    def message_delta(self, event: Json) -> Iterable[Event]:
        events: list[Event] = []
        delta = event.get("delta")
        if isinstance(delta, dict) and isinstance(delta.get("stop_reason"), str):
            self._finish(delta, events)
        found = usage.take(event.get("usage"), self._counts)
        if found is not None:
            events.append(UsageTold(found))
        return events

    def _finish(self, delta: Json, events: list[Event]) -> None:
        if self._finished:
            return
        self._finished = True
        for index in list(self._open):
            events.extend(self._close(index))
        details = delta.get("stop_details")
        if self._at == 0 and isinstance(details, dict) and word_of(details, "explanation"):
            at = self._next()
            events += (Opened(0, at, Refused(text=word_of(details, "explanation"))), Closed(0, at))
        events.append(Finished(0, replies.finish_of(delta["stop_reason"]), word_of(delta, "stop_sequence")))

    def message_stop(self, event: Json) -> Iterable[Event]:
        self._over = True
        events: list[Event] = []
        if not self._finished:
            reason = word_of(self._ending, "stop_reason") or ("tool_use" if self._uses_tools else "end_turn")
            self._finish({**self._ending, "stop_reason": reason}, events)
        return (*events, Ended())

    def error(self, event: Json) -> Iterable[Event]:
        self._over = True
        return (Failed(replies.read_event_error(event)),)

    def _next(self) -> int:
        self._at += 1
        return self._at - 1


_READERS: dict[str, Any] = {
    "content_block_delta": Reader.block_delta,
    "message_start": Reader.message_start,
    "content_block_start": Reader.block_start,
    "content_block_stop": Reader.block_stop,
    "message_delta": Reader.message_delta,
    "message_stop": Reader.message_stop,
    "error": Reader.error,
}


def _grown(block: _Block, text: Any) -> Iterable[Event]:
    return (Grew(0, block.at, text),) if isinstance(text, str) and text else ()


def _complete(block: _Block) -> Builtin:
    """A use of a tool that runs at the provider, with the input that came in pieces."""
    raw = block.raw or {}
    try:
        given = _decode("".join(block.pieces)) if block.pieces else None
    except (msgspec.MsgspecError, ValueError, RecursionError):
        given = None
    return builtin({**raw, "input": given} if isinstance(given, dict) else raw)
