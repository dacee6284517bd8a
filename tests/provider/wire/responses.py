"""OpenAI Responses. The final text comes five times: deltas, text done, part done, item done, completed."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

from tests.provider.answer import ToolCall
from tests.provider.wire.said import CREATED, Said, compact, cut, event, pretty

Event = tuple[str, dict[str, Any]]
TEXT_ID = "msg_fake0001"
THOUGHT_ID = "rs_fake0001"


def whole(said: Said) -> bytes:
    return (pretty(_response(said, "completed")) + "\n").encode()


def events(said: Said) -> Iterator[bytes]:
    numbers = itertools.count()
    for kind, fields in _events(said):
        yield event(kind, {"type": kind, "sequence_number": next(numbers), **fields})


def _events(said: Said) -> Iterator[Event]:
    yield "response.created", {"response": _response(said, "in_progress")}
    yield "response.in_progress", {"response": _response(said, "in_progress")}
    index = itertools.count()
    if said.thinking:
        yield from _thought_events(said, next(index))
    if said.tools:
        for tool in said.tools:
            yield from _tool_events(tool, next(index))
    else:
        yield from _text_events(said, next(index))
    if said.error_after is not None:
        yield "error", {"code": "server_error", "message": "The server had an error.", "param": None}
    elif said.ending:
        yield "response.completed", {"response": _response(said, "completed")}


def _text_events(said: Said, index: int) -> Iterator[Event]:
    place = {"item_id": TEXT_ID, "output_index": index, "content_index": 0}
    started = {"id": TEXT_ID, "type": "message", "status": "in_progress", "content": [], "role": "assistant"}
    yield "response.output_item.added", {"output_index": index, "item": started}
    yield "response.content_part.added", {**place, "part": _part("")}
    for piece in said.until_error():
        yield "response.output_text.delta", {**place, "delta": piece, "logprobs": []}
    if said.error_after is not None:
        return
    yield "response.output_text.done", {**place, "text": said.text, "logprobs": []}
    yield "response.content_part.done", {**place, "part": _part(said.text)}
    yield "response.output_item.done", {"output_index": index, "item": _text_item(said)}


def _thought_events(said: Said, index: int) -> Iterator[Event]:
    place = {"item_id": THOUGHT_ID, "output_index": index, "summary_index": 0}
    started = {"id": THOUGHT_ID, "type": "reasoning", "summary": []}
    part = {"type": "summary_text", "text": said.thinking}
    yield "response.output_item.added", {"output_index": index, "item": started}
    yield "response.reasoning_summary_part.added", {**place, "part": {"type": "summary_text", "text": ""}}
    for piece in cut(said.thinking, 0):
        yield "response.reasoning_summary_text.delta", {**place, "delta": piece}
    yield "response.reasoning_summary_text.done", {**place, "text": said.thinking}
    yield "response.reasoning_summary_part.done", {**place, "part": part}
    yield "response.output_item.done", {"output_index": index, "item": _thought_item(said)}


def _tool_events(tool: ToolCall, index: int) -> Iterator[Event]:
    item = _tool_item(tool)
    place = {"item_id": item["id"], "output_index": index}
    started = {**item, "status": "in_progress", "arguments": ""}
    yield "response.output_item.added", {"output_index": index, "item": started}
    for piece in cut(item["arguments"], 7):
        yield "response.function_call_arguments.delta", {**place, "delta": piece}
    yield "response.function_call_arguments.done", {**place, "arguments": item["arguments"], "name": tool.name}
    yield "response.output_item.done", {"output_index": index, "item": item}


def _part(text: str) -> dict[str, Any]:
    return {"type": "output_text", "annotations": [], "logprobs": [], "text": text}


def _text_item(said: Said) -> dict[str, Any]:
    content = [_part(said.text)]
    return {"id": TEXT_ID, "type": "message", "status": "completed", "content": content, "role": "assistant"}


def _thought_item(said: Said) -> dict[str, Any]:
    return {
        "id": THOUGHT_ID,
        "type": "reasoning",
        "summary": [{"type": "summary_text", "text": said.thinking}],
        "encrypted_content": "ZmFrZSBlbmNyeXB0ZWQgcmVhc29uaW5n",
    }


def _tool_item(tool: ToolCall) -> dict[str, Any]:
    return {
        "id": f"fc_{tool.id}",
        "type": "function_call",
        "status": "completed",
        "arguments": compact(tool.arguments),
        "call_id": tool.id,
        "name": tool.name,
    }


def _output(said: Said) -> list[dict[str, Any]]:
    thoughts = [_thought_item(said)] if said.thinking else []
    return thoughts + ([_tool_item(tool) for tool in said.tools] or [_text_item(said)])


def _response(said: Said, status: str) -> dict[str, Any]:
    done = status == "completed"
    call = said.call
    return {
        "id": "resp_fake0001",
        "object": "response",
        "created_at": CREATED,
        "status": status,
        "background": False,
        "error": None,
        "incomplete_details": None,
        "instructions": call.get("instructions"),
        "max_output_tokens": call.get("max_output_tokens"),
        "model": said.model,
        "output": _output(said) if done else [],
        "parallel_tool_calls": True,
        "previous_response_id": call.get("previous_response_id"),
        "reasoning": {"effort": None, "summary": None},
        "service_tier": "default" if done else "auto",
        "store": call.get("store", True),
        "temperature": 1.0,
        "text": {"format": {"type": "text"}, "verbosity": "medium"},
        "tool_choice": "auto",
        "tools": call.get("tools") or [],
        "top_p": 1.0,
        "truncation": "disabled",
        "usage": _usage(said) if done else None,
        "user": None,
        "metadata": call.get("metadata") or {},
    }


def _usage(said: Said) -> dict[str, Any] | None:
    if said.tokens is None:
        return None
    tokens = said.tokens
    return {
        "input_tokens": tokens.input,
        "input_tokens_details": {"cached_tokens": tokens.cached, "cache_write_tokens": tokens.cache_write},
        "output_tokens": tokens.output,
        "output_tokens_details": {"reasoning_tokens": tokens.reasoning},
        "total_tokens": tokens.input + tokens.output,
    }
