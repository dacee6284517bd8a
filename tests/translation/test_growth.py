"""Work grows with what is said, not with its square: what a hostile client or upstream may send."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from shin_gateway import dialects
from shin_gateway.dialects.base import to_json
from shin_gateway.translation.dialects import translator
from shin_gateway.translation.form import Chat, Json
from shin_gateway.translation.losses import Losses
from shin_gateway.translation.translator import Origin, Traits

PATIENCE = 3.0
"""Seconds of CPU; what these took before was 20 and more."""


def _chat_of_one_id(count: int) -> Json:
    use = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    turn = [{"role": "assistant", "tool_calls": [use]}, {"role": "tool", "tool_call_id": "c", "content": "r"}]
    return {"model": "m", "messages": [{"role": "user", "content": "x"}, *(turn * count)]}


def _gemini_of_many_names(count: int) -> Json:
    uses = [{"functionCall": {"name": f"f{at}", "args": {}}} for at in range(count)]
    results = [{"functionResponse": {"name": f"f{at}", "response": {}}} for at in reversed(range(count))]
    turns = [("user", [{"text": "x"}]), ("model", uses), ("user", results)]
    return {"contents": [{"role": role, "parts": parts} for role, parts in turns]}


CALLS: dict[str, tuple[str, Json]] = {
    "one id for all calls": ("openai.chat", _chat_of_one_id(15_000)),
    "results in another order": ("gemini.generate", _gemini_of_many_names(30_000)),
}


@pytest.mark.parametrize("call", CALLS)
def test_calls(call: str) -> None:
    client, body = CALLS[call]
    began, losses = time.process_time(), Losses()
    chat = translator(client).read_call(body, "/v1beta/models/m:generateContent", losses)
    translator("anthropic.messages").write_call(chat, Traits(), losses)
    assert time.process_time() - began < PATIENCE


def _event(**fields: Any) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (str(fields.get("type", "")).encode(), to_json(fields))


def _tools_of_chat(count: int) -> Iterator[bytes]:
    for at in range(count):
        use = {"index": at, "id": f"c{at}", "type": "function", "function": {"name": "f", "arguments": "{}"}}
        yield (
            b"data: %b\n\n"
            % json.dumps({"id": "x", "choices": [{"index": 0, "delta": {"tool_calls": [use]}}]}).encode()
        )


def _blocks_of_messages(count: int) -> Iterator[bytes]:
    yield _event(type="message_start", message={"id": "m", "model": "m", "content": [], "usage": {}})
    for at in range(count):
        yield _event(type="content_block_start", index=at, content_block={"type": "text", "text": ""})
        yield _event(type="content_block_delta", index=at, delta={"type": "text_delta", "text": "x"})
        yield _event(type="content_block_stop", index=at)


def _open_items_of_responses(count: int) -> Iterator[bytes]:
    yield _event(type="response.created", response={"id": "r", "model": "m"})
    for at in range(count):
        item = {"type": "function_call", "id": f"i{at}", "call_id": f"c{at}", "name": "f", "arguments": ""}
        yield _event(type="response.output_item.added", output_index=at, item=item)


STREAMS: dict[str, tuple[str, str, Callable[[int], Iterator[bytes]], int]] = {
    "calls of tools": ("openai.chat", "anthropic.messages", _tools_of_chat, 30_000),
    "blocks": ("anthropic.messages", "openai.responses", _blocks_of_messages, 15_000),
    "items that stay open": ("openai.responses", "anthropic.messages", _open_items_of_responses, 20_000),
}


@pytest.mark.parametrize("stream", STREAMS)
def test_streams(stream: str) -> None:
    target, client, events, count = STREAMS[stream]
    framer = dialects.get(target).framer("text/event-stream")
    assert framer is not None
    reader, losses = translator(target).reader(), Losses()
    writer = translator(client).writer(Origin("id", "m", Chat(model="m", stream=True)), losses)
    data = list(events(count))
    began = time.process_time()
    for piece in data:
        for part in framer.feed(piece):
            for event in reader.feed(part):
                writer.write(event)
    assert time.process_time() - began < PATIENCE
