"""What the tests of this dialect share: the official client's types, and its way of putting streams together."""

from __future__ import annotations

import json
from collections.abc import Iterable
from functools import cache
from typing import Any

from anthropic.lib.streaming._messages import accumulate_event
from anthropic.types import Message, MessageCreateParams, RawMessageStreamEvent
from pydantic import TypeAdapter

from shin_gateway.dialects.sse import SseFramer
from shin_gateway.translation.anthropic_messages import AnthropicMessages
from shin_gateway.translation.form import Answer, Chat, Event, ReasoningWish, Text, Tool
from shin_gateway.translation.form import Message as FormMessage
from shin_gateway.translation.losses import Losses
from shin_gateway.translation.translator import Origin, Traits

Json = dict[str, Any]

DIALECT = AnthropicMessages()
THINKS = Chat(reasoning=ReasoningWish(budget=2048, show=True))


@cache
def _calls() -> TypeAdapter[Any]:
    return TypeAdapter(MessageCreateParams)


@cache
def _events() -> TypeAdapter[Any]:
    return TypeAdapter(RawMessageStreamEvent)


def accept_call(body: Json) -> None:
    """Raises where the official client's types do not fit."""
    _exhaust(_calls().validate_python(body))


def _exhaust(value: Any) -> None:
    # Lists are typed as iterables, which are only checked when they are read.
    if isinstance(value, dict):
        for inner in value.values():
            _exhaust(inner)
    elif isinstance(value, Iterable) and not isinstance(value, str | bytes):
        for inner in value:
            _exhaust(inner)


def accept_reply(body: Json) -> Message:
    return Message.model_validate_json(json.dumps(body), strict=True)


def read(body: Json, losses: Losses | None = None) -> Chat:
    base = {"model": "m", "max_tokens": 100, "messages": [{"role": "user", "content": "Hi"}]}
    return DIALECT.read_call(base | body, "/v1/messages", losses or Losses())


def write(chat: Chat, losses: Losses | None = None, **traits: Any) -> Json:
    chat.model = chat.model or "claude-sonnet-4-5"
    body = DIALECT.write_call(chat, Traits(**traits), losses or Losses())
    accept_call(body)
    return body


def user(text: str = "Hi") -> FormMessage:
    return FormMessage(role="user", parts=[Text(text=text)])


def tool(name: str = "look", **fields: Any) -> Tool:
    return Tool(name=name, schema={"type": "object", "properties": {"q": {"type": "string"}}}, **fields)


def origin(chat: Chat | None = None) -> Origin:
    return Origin(call_id="call_1", model="claude-alias", chat=chat or THINKS)


def write_reply(answer: Answer, chat: Chat | None = None, losses: Losses | None = None) -> Json:
    body = DIALECT.write_reply(answer, origin(chat), losses or Losses())
    accept_reply(body)
    return body


# ── streams ─────────────────────────────────────────────────────────────────────────────────────


def sse(*events: Json) -> bytes:
    return b"".join(b"event: %b\ndata: %b\n\n" % (e["type"].encode(), json.dumps(e).encode()) for e in events)


def read_stream(*chunks: bytes) -> list[Event]:
    framer, reader = SseFramer(), DIALECT.reader()
    parts = [part for chunk in chunks for part in framer.feed(chunk)] + framer.end()
    return [event for part in parts for event in reader.feed(part)] + list(reader.finish())


def write_stream(events: Iterable[Event], chat: Chat | None = None, losses: Losses | None = None) -> list[Json]:
    """What goes out, each event of it checked with the official client's types."""
    writer = DIALECT.writer(origin(chat), losses or Losses())
    found = [
        json.loads(part.data) | {"_event": part.event}
        for part in SseFramer().feed(b"".join(writer.write(event) for event in events))
        if part.data
    ]
    for event in found:
        assert event.pop("_event") == event["type"]
        _events().validate_python(event, strict=True)
    return found


def accumulated(events: Iterable[Json]) -> Json:
    """The message that the official client makes of them. Checks that one block is open at a time."""
    message: Any = None
    opened: int | None = None
    buffers: dict[int, bytes] = {}
    for event in events:
        if event["type"] == "content_block_start":
            assert opened is None and event["index"] == (len(message.content) if message else 0)
            opened = event["index"]
        elif event["type"] == "content_block_delta":
            assert event["index"] == opened
        elif event["type"] == "content_block_stop":
            assert event["index"] == opened
            opened = None
        typed = _events().validate_python(event)
        message = accumulate_event(event=typed, current_snapshot=message, json_bufs=buffers)
    assert opened is None
    return message.to_dict()
