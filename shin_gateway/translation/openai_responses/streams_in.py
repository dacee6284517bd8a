"""A stream of the Responses API into events of the common form.

OpenAI tells everything several times: in pieces, in `*.done` events, in whole items and in the last event. Other
servers leave out some of it. So whatever comes first is taken, and of what comes after only the rest.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from shin_gateway.dialects.base import Failure
from shin_gateway.dialects.openai import failure_of, usage_of
from shin_gateway.dialects.openai_responses import OpenAIResponses as Dialect
from shin_gateway.dialects.parts import Part
from shin_gateway.errors import UpstreamFailed
from shin_gateway.translation.form import (
    Builtin,
    Ended,
    Event,
    Failed,
    Finished,
    UsageTold,
)
from shin_gateway.translation.openai_responses.names import Json, dicts
from shin_gateway.translation.openai_responses.open_parts import Key
from shin_gateway.translation.openai_responses.pieces_in import Pieces
from shin_gateway.translation.openai_responses.replies_in import finish_of, read_item, word

_decode = msgspec.json.Decoder().decode
_failure = Dialect().failure
_FAILS = ("error", "response.failed", "response.cancelled")
_BROKEN = Failure(500, "server_error", "The provider broke off its reply.", True)


class ResponsesReader(Pieces):
    """One stream."""

    def __init__(self) -> None:
        super().__init__()
        self._over = False

    def feed(self, part: Part) -> Iterable[Event]:
        data = part.data
        if self._over or not data:
            return ()
        event = self._decoded(part, data)
        if event is None:
            return self._flush()
        kind = event.get("type")
        handle = _HANDLERS.get(kind) if isinstance(kind, str) else None
        if handle is not None:
            handle(self, event)
        elif kind in _FAILS:
            self._fail(_failure(part) or _BROKEN)
        elif (failure := failure_of(event)) is not None:
            self._fail(failure)
        return self._flush()

    def finish(self) -> Iterable[Event]:
        """Nothing: a stream that did not say its end was cut."""
        return ()

    def _decoded(self, part: Part, data: bytes) -> Json | None:
        if data.startswith(b"[DONE]"):
            self._end({})
            return None
        event = _decoded(data)
        if not isinstance(event, dict):
            return None
        if "type" not in event and part.event:
            event["type"] = part.event
        return event

    def _flush(self) -> list[Event]:
        out = self._out[:]
        self._out.clear()
        return out

    # The whole reply

    def _lifecycle(self, event: Json) -> None:
        reply = event.get("response")
        self._begin(reply if isinstance(reply, dict) else {})

    def _completed(self, event: Json) -> None:
        reply = event.get("response")
        self._end(reply if isinstance(reply, dict) else {})

    def _incomplete(self, event: Json) -> None:
        reply = event.get("response")
        self._end({"status": "incomplete", **(reply if isinstance(reply, dict) else {})})

    def _end(self, reply: Json) -> None:
        self._begin(reply)
        for index, item in enumerate(dicts(reply.get("output"))):
            place = self._places.get(word(item, "id"), index)
            if place not in self._done and not self._done.intersection(_ids(item)):
                self._finish_item(place, item)
        for key in list(self._parts.open):
            self._parts.close(key)
        if (usage := usage_of(reply.get("usage"))) is not None:
            self._out.append(UsageTold(usage))
        self._out.append(Finished(0, finish_of(reply, self._parts.all)))
        self._out.append(Ended())
        self._over = True

    def _fail(self, failure: Failure) -> None:
        self._out.append(Failed(failure))
        self._over = True

    # Items

    def _item_added(self, event: Json) -> None:
        item = event.get("item")
        if not isinstance(item, dict):
            return
        key = (self._place(event, item),)
        if id := word(item, "id"):
            self._places[id] = key[0]
        if item.get("type") not in ("function_call", "custom_tool_call") or key[0] in self._done:
            return
        if item.get("status") == "completed":
            # Perplexity announces a search of its own so, and then puts its results in the call's place.
            self._announced[key] = item
        else:
            self._finish_call(key, item)

    def _place(self, event: Json, item: Json) -> Any:
        return self._item(event) if "output_index" in event else self._item({"item_id": item.get("id")})

    def _item_done(self, event: Json) -> None:
        item = event.get("item")
        if isinstance(item, dict) and (index := self._place(event, item)) not in self._done:
            self._finish_item(index, item)

    def _finish_item(self, index: object, item: Json) -> None:
        self._done.add(index)
        self._done.update(_ids(item))
        kind = word(item, "type")
        if kind == "message":
            self._finish_message(index, item)
        elif kind == "reasoning":
            self._finish_reasoning((index,), item)
            self._parts.close((index,))
        elif kind in ("function_call", "custom_tool_call"):
            self._finish_call((index,), item)
            self._parts.close((index,))
        else:
            self._whole((index,), item)

    def _finish_message(self, index: object, item: Json) -> None:
        for at, content in enumerate(dicts(item.get("content"))):
            if (index, at) not in self._done:
                self._finish_content((index, at), content)
        for key in [key for key in self._parts.open if key[0] == index]:
            self._parts.close(key)

    def _whole(self, key: Key, item: Json) -> None:
        self._parts.close(key)
        for part in read_item(item):
            if not isinstance(part, Builtin) or part.kind:
                self._opened(key, part)
                self._parts.close(key)


def _decoded(data: bytes) -> Any:
    try:
        return _decode(data)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        pass
    try:  # half of a character beyond the first plane, whose other half comes in the next piece
        return json.loads(data)
    except (ValueError, RecursionError):
        raise UpstreamFailed("The provider sent an event that is no JSON.", code="upstream_malformed") from None


def _ids(item: Json) -> list[str]:
    """What an item may be known by. Copilot gives it another `id` in every event."""
    return [id for id in (word(item, "id"), word(item, "call_id")) if id]


_HANDLERS: dict[str, Callable[[ResponsesReader, Json], None]] = {
    "response.created": ResponsesReader._lifecycle,
    "response.queued": ResponsesReader._lifecycle,
    "response.in_progress": ResponsesReader._lifecycle,
    "response.completed": ResponsesReader._completed,
    "response.done": ResponsesReader._completed,
    "response.incomplete": ResponsesReader._incomplete,
    "response.output_item.added": ResponsesReader._item_added,
    "response.output_item.done": ResponsesReader._item_done,
    "response.content_part.done": ResponsesReader._content_done,
    "response.output_text.delta": ResponsesReader._text,
    "response.output_text.done": ResponsesReader._text_done,
    "response.output_text.annotation.added": ResponsesReader._cited,
    "response.refusal.delta": ResponsesReader._refusal,
    "response.refusal.done": ResponsesReader._refusal_done,
    "response.reasoning_summary_text.delta": ResponsesReader._thought,
    "response.reasoning_summary_text.done": ResponsesReader._thought_done,
    "response.reasoning_text.delta": ResponsesReader._thought,
    "response.reasoning_text.done": ResponsesReader._thought_done,
    "response.audio.delta": ResponsesReader._sound,
    "response.audio.transcript.delta": ResponsesReader._transcript,
    "response.function_call_arguments.delta": ResponsesReader._call,
    "response.function_call_arguments.done": ResponsesReader._call_done,
    "response.custom_tool_call_input.delta": ResponsesReader._call,
    "response.custom_tool_call_input.done": ResponsesReader._call_done,
}
