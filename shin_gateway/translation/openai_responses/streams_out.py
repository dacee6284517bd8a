"""A stream of the Responses API from events of the common form, in the order and with the fields of OpenAI's own.

A message stays open until something else begins or the reply finishes: how it ends is known only then, and texts that
follow one another are contents of one message.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import msgspec

from shin_gateway.outcome import Usage
from shin_gateway.translation.form import (
    Began,
    Builtin,
    Cited,
    Closed,
    Ended,
    Event,
    Finish,
    Finished,
    Grew,
    Json,
    Logged,
    Media,
    Opened,
    Reasoning,
    Refused,
    Sealed,
    Text,
    ToolUse,
    Transcribed,
    UsageTold,
)
from shin_gateway.translation.losses import Losses
from shin_gateway.translation.openai_responses import items
from shin_gateway.translation.openai_responses.envelope import envelope, item_status, settle
from shin_gateway.translation.openai_responses.names import namespaced
from shin_gateway.translation.openai_responses.open_items import (
    Content,
    OpenCall,
    OpenImage,
    OpenItem,
    OpenMessage,
    OpenReasoning,
    Sink,
)
from shin_gateway.translation.openai_responses.sealing import carried
from shin_gateway.translation.translator import Origin

_encode = msgspec.json.encode
_LONG = ("tools", "instructions", "metadata", "text")
"""What may be long and is sent three times: encoded once."""


def _encoded(event: Json) -> bytes:
    try:
        return _encode(event)
    except UnicodeEncodeError:  # half of a character, which JSON can write as an escape
        return json.dumps(event, default=_raw, separators=(",", ":")).encode()


def _raw(value: object) -> Any:
    return msgspec.json.decode(value) if isinstance(value, msgspec.Raw) else str(value)


class ResponsesWriter:
    """One stream."""

    def __init__(self, origin: Origin, losses: Losses) -> None:
        self._origin = origin
        self._losses = losses
        self._spaces = namespaced(origin.body)
        self._reply = envelope(origin)
        self._began = False
        self._number = 0
        self._out: list[bytes] = []
        self._parts: dict[int, OpenItem | Content] = {}
        self._items: list[Json | None] = []
        self._message: OpenMessage | None = None
        self._sounds: set[int] = set()
        """Parts of which this API can give only what was said."""
        self._wants_logprobs = origin.chat.logprobs is not None
        self._finish: Finish | None = None
        self._refused = False
        self._usage: Usage | None = None
        self._tier = ""

    def write(self, event: Event) -> bytes:
        write = _WRITERS.get(type(event))
        if write is None or getattr(event, "choice", None):  # this API has one choice
            return b""
        write(self, event)
        if len(self._out) == 1:
            return self._out.pop()
        out, self._out = b"".join(self._out), []
        return out

    # What open items use

    def send(self, kind: str, fields: Json) -> None:
        """Put out an event. `sequence_number` counts all of them from 0."""
        data = _encoded({"type": kind, "sequence_number": self._number, **fields})
        self._number += 1
        self._out.append(b"event: %b\ndata: %b\n\n" % (kind.encode(), data))

    def place(self) -> int:
        """The next place in the output."""
        self._items.append(None)
        return len(self._items) - 1

    def settled(self, index: int, item: Json) -> None:
        self._items[index] = item
        self.send("response.output_item.done", {"output_index": index, "item": item})

    def id(self, prefix: str, index: int) -> str:
        return f"{prefix}_{self._origin.call_id}_{index}"

    # Events

    def _begin(self, event: Began) -> None:
        if self._began:
            return
        self._began = True
        self._reply["created_at"] = event.created or self._origin.created
        self._tier = event.service_tier
        self._usage = event.usage
        for name in _LONG:
            self._reply[name] = msgspec.Raw(_encode(self._reply[name]))
        self.send("response.created", {"response": self._reply})
        self.send("response.in_progress", {"response": self._reply})

    def _ready(self) -> None:
        if not self._began:
            self._begin(Began("", ""))

    def _opened(self, event: Opened) -> None:
        self._ready()
        part = event.part
        if isinstance(part, Text | Refused):
            self._refused = self._refused or isinstance(part, Refused)
            self._parts[event.at] = self._into_message(isinstance(part, Refused))
            self._parts[event.at].grow(part.text)
            for citation in part.citations if isinstance(part, Text) else ():
                self._parts[event.at].cite(citation)
        elif isinstance(part, Media) and part.kind != "image":
            self._losses.soften(f"output.{part.kind}")
            if part.kind == "audio":
                self._sounds.add(event.at)
                self._say(event.at, part.text)
        else:
            self._end_message()
            self._open_item(event.at, part)

    def _into_message(self, refusal: bool) -> Content:
        if self._message is None:
            self._message = OpenMessage(self)
        return self._message.content(refusal, self._wants_logprobs, self._losses)

    def _say(self, at: int, text: str) -> None:
        """More of what a sound says, which becomes a text with its first word."""
        if not text:
            return
        if at not in self._parts:
            self._parts[at] = self._into_message(False)
        self._parts[at].grow(text)

    def _open_item(self, at: int, part: Any) -> None:
        if isinstance(part, ToolUse):
            if part.seal:
                self._carry(part)
            self._parts[at] = OpenCall(self, msgspec.structs.replace(part, seal=""), self._spaces)
        elif isinstance(part, Reasoning):
            self._parts[at] = OpenReasoning(self, part)
        elif isinstance(part, Media):
            self._parts[at] = OpenImage(self, part)
        elif isinstance(part, Builtin):
            self._step(part)

    def _carry(self, part: ToolUse) -> None:
        index = self.place()
        item = items.reasoning(self.id("rs", index), "", encrypted=carried(part))
        self.send("response.output_item.added", {"output_index": index, "item": item})
        self.settled(index, item)

    def _step(self, part: Builtin) -> None:
        for item in items.step(part, self.id("ws", len(self._items)), self._losses):
            index = self.place()
            is_search = item.get("type") == "web_search_call"
            begun = {**item, "status": "in_progress"} if "status" in item else item
            self.send("response.output_item.added", {"output_index": index, "item": begun})
            for state in ("in_progress", "searching", "completed") if is_search else ():
                fields = {"output_index": index, "item_id": item.get("id", "")}
                self.send(f"response.web_search_call.{state}", fields)
            self.settled(index, item)

    def _grew(self, event: Grew) -> None:
        if event.at in self._sounds:
            return
        if (open := self._parts.get(event.at)) is not None:
            open.grow(event.text)

    def _sealed(self, event: Sealed) -> None:
        if (open := self._parts.get(event.at)) is not None:
            open.seal(event.seal)

    def _cited(self, event: Cited) -> None:
        if (open := self._parts.get(event.at)) is not None:
            open.cite(event.citation)

    def _transcribed(self, event: Transcribed) -> None:
        if event.at in self._sounds:
            self._say(event.at, event.text)

    def _logged(self, event: Logged) -> None:
        if self._wants_logprobs and self._message is not None:
            self._message.log(items.tokens(event.logprobs))

    def _closed(self, event: Closed) -> None:
        open = self._parts.pop(event.at, None)
        if open is None:
            return
        open.close()
        if isinstance(open, OpenCall) and open.part.seal:
            self._carry(open.part)
        if isinstance(open, Content) and open.message is not self._message:
            open.message.end("completed")

    def _end_message(self, status: str = "completed") -> None:
        """No more contents for the message; it ends when those that are still open have ended."""
        message, self._message = self._message, None
        if message is not None:
            message.end(status)

    def _finished(self, event: Finished) -> None:
        self._finish = event.finish
        if event.finish == "paused":
            self._losses.soften("output.paused")

    def _told(self, event: UsageTold) -> None:
        self._usage = event.usage

    def _ended(self, event: Ended) -> None:
        self._ready()
        finish: Finish | None = "filtered" if event.blocked and self._finish is None else self._finish
        for at in list(self._parts):
            self._closed(Closed(0, at))
        self._end_message(item_status(finish))
        reply = self._reply
        reply["output"] = [item for item in self._items if item is not None]
        settle(reply, finish, self._refused, self._usage, self._tier)
        self.send(f"response.{reply['status']}", {"response": reply})


_WRITERS: dict[type, Callable[[ResponsesWriter, Any], None]] = {
    Began: ResponsesWriter._begin,
    Opened: ResponsesWriter._opened,
    Grew: ResponsesWriter._grew,
    Sealed: ResponsesWriter._sealed,
    Cited: ResponsesWriter._cited,
    Transcribed: ResponsesWriter._transcribed,
    Logged: ResponsesWriter._logged,
    Closed: ResponsesWriter._closed,
    Finished: ResponsesWriter._finished,
    UsageTold: ResponsesWriter._told,
    Ended: ResponsesWriter._ended,
}

_SINK: type[Sink] = ResponsesWriter
