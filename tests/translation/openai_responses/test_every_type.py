"""Every item, event and tool that the official client has a type for: read, and named where it goes no further."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from openai.types.responses import ResponseOutputItem, ResponseStreamEvent
from openai.types.responses.response_input_item_param import ResponseInputItemParam
from openai.types.responses.tool_param import ToolParam

from shin_gateway.dialects.sse import SsePart
from shin_gateway.errors import Invalid
from shin_gateway.translation.dialects import CHATS, translator
from shin_gateway.translation.form import Began, Chat, Ended, Event, Failed
from shin_gateway.translation.losses import Losses
from shin_gateway.translation.translator import Origin, Traits
from tests.translation.openai_responses.examples import example, members
from tests.translation.openai_responses.sdk import DIALECT

Json = dict[str, Any]
PNG = "iVBORw0KGgo="


def name_of(value: Json) -> str:
    return str(value.get("type") or value.get("role"))


OUTPUTS = [example(one) for one in members(ResponseOutputItem)]
EVENTS = [example(one) for one in members(ResponseStreamEvent)]
INPUTS = [example(one) for one in members(ResponseInputItemParam)]
TOOLS = [example(one) for one in members(ToolParam)]


def head(status: str, *output: Json) -> Json:
    usage = {"input_tokens": 1, "output_tokens": 1, "total_tokens": 2}
    return {"id": "r", "model": "m", "created_at": 1, "status": status, "output": list(output), "usage": usage}


def read(*events: Json) -> list[Event]:
    reader = DIALECT.reader()
    return [found for event in events for found in reader.feed(SsePart(b"data: %b\n\n" % json.dumps(event).encode()))]


def asked() -> Origin:
    return Origin("c1", "asked", Chat(stream=True), {"model": "asked", "input": "hi"}, 1)


def test_there_are_as_many_as_the_documents_have() -> None:
    assert len(OUTPUTS) > 25 and len(EVENTS) > 50 and len(INPUTS) > 30 and len(TOOLS) > 14


@pytest.mark.parametrize("item", OUTPUTS, ids=name_of)
@pytest.mark.parametrize("client", CHATS)
def test_items_of_output(item: Json, client: str) -> None:
    losses = Losses()
    whole = translator(client).write_reply(DIALECT.read_reply(head("completed", item)), asked(), losses)
    assert json.dumps(whole)
    added = {"type": "response.output_item.added", "output_index": 0, "item": item}
    events = read(
        {"type": "response.created", "response": head("in_progress")},
        added,
        {**added, "type": "response.output_item.done"},
        {"type": "response.completed", "response": head("completed", item)},
    )
    assert isinstance(events[0], Began) and isinstance(events[-1], Ended)
    writer = translator(client).writer(asked(), losses)
    assert b"".join(writer.write(event) for event in events)


@pytest.mark.parametrize("event", EVENTS, ids=name_of)
def test_events(event: Json) -> None:
    begun = {"type": "response.created", "response": head("in_progress")}
    found = read(begun, event, {"type": "response.completed", "response": head("completed")})
    fails = event["type"] in ("error", "response.failed")
    assert isinstance(found[-1], Failed if fails else Ended)
    for client in CHATS:
        writer = translator(client).writer(asked(), Losses())
        assert isinstance(b"".join(writer.write(one) for one in found if not isinstance(one, Failed)), bytes)


PLACES = {"image_url": f"data:image/png;base64,{PNG}", "file_id": "file-1", "id": "rs_1"}


@pytest.mark.parametrize("item", INPUTS, ids=name_of)
def test_items_of_input(item: Json) -> None:
    item = {**item, **{key: text for key, text in PLACES.items() if key in item}}
    kind, before = str(item.get("type")), list[Json]()
    if kind in ("function_call_output", "custom_tool_call_output"):
        item["call_id"] = "call_1"
        call = {"type": kind.removesuffix("_output"), "call_id": "call_1", "name": "f", "arguments": "{}", "input": ""}
        before.append(call)
    body = {"model": "m", "input": [{"role": "user", "content": "hi"}, *before, _sound(item)]}
    chat = DIALECT.read_call(body, "/v1/responses", Losses())
    for target in (CHATS[0], CHATS[3]):
        with contextlib.suppress(Invalid):
            assert json.dumps(translator(target).write_call(chat, Traits(model="m"), Losses()))


def _sound(item: Json) -> Json:
    """With contents that are what they say."""
    content = item.get("content")
    if isinstance(content, list):
        item = {**item, "content": [{"type": one["type"], "text": "x"} if "text" in one else one for one in content]}
    return item


@pytest.mark.parametrize("tool", TOOLS, ids=name_of)
@pytest.mark.parametrize("target", CHATS)
def test_tools(tool: Json, target: str) -> None:
    losses = Losses()
    body = {"model": "m", "input": "hi", "tools": [tool]}
    chat = DIALECT.read_call(body, "/v1/responses", losses)
    written = translator(target).write_call(chat, Traits(model="m"), losses)
    assert json.dumps(written)
    if "tools" not in written and "web_search_options" not in written:
        assert losses.dropped
