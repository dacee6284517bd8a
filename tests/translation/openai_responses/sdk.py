"""What the official Python client makes of our bytes, taken strictly."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from openai._models import construct_type_unchecked
from openai._types import omit
from openai.lib.streaming.responses._responses import ResponseStreamState
from openai.types.responses import Response, ResponseStreamEvent
from openai.types.responses.response_create_params import (
    ResponseCreateParamsNonStreaming,
    ResponseCreateParamsStreaming,
)
from openai.types.responses.response_input_item_param import ResponseInputItemParam
from openai.types.responses.tool_param import ToolParam
from pydantic import TypeAdapter

from shin_gateway.dialects.parts import Part
from shin_gateway.dialects.sse import SseFramer
from shin_gateway.translation.form import Chat, Event
from shin_gateway.translation.losses import Losses
from shin_gateway.translation.openai_responses import OpenAIResponses
from shin_gateway.translation.translator import Origin

Json = dict[str, Any]
DIALECT = OpenAIResponses()

_CALLS = {True: TypeAdapter(ResponseCreateParamsStreaming), False: TypeAdapter(ResponseCreateParamsNonStreaming)}
_ITEM: TypeAdapter[Any] = TypeAdapter(ResponseInputItemParam)
_TOOL: TypeAdapter[Any] = TypeAdapter(ToolParam)
_EVENT: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)


def accepts_call(body: Json) -> None:
    """Raises where the SDK's parameter types do not fit. Iterables are looked into one by one: pydantic does not."""
    _CALLS[bool(body.get("stream"))].validate_python(body)
    items = body["input"]
    for item in items if isinstance(items, list) else []:
        _ITEM.validate_python(item)
    for tool in body.get("tools", ()):
        _TOOL.validate_python(tool)


def accepts_reply(body: Json) -> Response:
    return Response.model_validate_json(json.dumps(body))


def origin(body: Json | None = None, **chat: Any) -> Origin:
    body = {"model": "fast", "input": "hi", **(body or {})}
    read = DIALECT.read_call(body, "/v1/responses", Losses())
    for name, value in chat.items():
        setattr(read, name, value)
    return Origin(call_id="c1", model="fast", chat=read, body=body, created=1763700000)


def written(events: Iterable[Event], answered: Origin | None = None, losses: Losses | None = None) -> bytes:
    writer = DIALECT.writer(answered or origin(), losses or Losses())
    return b"".join([writer.write(event) for event in events])


def parts(source: bytes) -> list[Part]:
    framer = SseFramer()
    return [*framer.feed(source), *framer.end()]


def decoded(source: bytes) -> list[Json]:
    found = []
    for part in parts(source):
        assert part.data is not None
        event = json.loads(part.data)
        assert part.event == event["type"]
        found.append(event)
    return found


def accumulated(source: bytes) -> tuple[Any, list[Json]]:
    """The reply that the SDK's own accumulator has in the end, and the events, each valid by its own type."""
    state: Any = ResponseStreamState(input_tools=omit, text_format=omit)
    events = decoded(source)
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    final = None
    for event in events:
        strict = _EVENT.validate_python(event)
        assert strict.type == event["type"]
        loose = construct_type_unchecked(type_=ResponseStreamEvent, value=event)
        for fired in state.handle_event(loose):
            final = fired
    return getattr(final, "response", None), events


def read_stream(source: bytes) -> list[Event]:
    reader = DIALECT.reader()
    events = [event for part in parts(source) for event in reader.feed(part)]
    return [*events, *reader.finish()]


def chat(body: Json, losses: Losses | None = None) -> Chat:
    return DIALECT.read_call(body, "/v1/responses", losses or Losses())
