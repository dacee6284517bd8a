"""OpenAI Responses: items in, items out, typed events with ids, no `[DONE]`.

A stream repeats its texts: deltas, `*.done`, `content_part.done`, `output_item.done` and the whole
reply in `response.completed`. Only deltas are pieces; everything else is a whole copy. The same
call may come as a WebSocket frame (`response.create`), whose fields are the same.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec

from shin_gateway.dialects.base import NOTHING, Failure, View, event_of, to_json
from shin_gateway.dialects.heads import Peek, peek_as, require_model, whole_number
from shin_gateway.dialects.json_spans import Channel, Slot, paths
from shin_gateway.dialects.openai import OpenAI, error_object, failure_from, maybe_usage, usage_of
from shin_gateway.dialects.parts import Part
from shin_gateway.errors import Refusal
from shin_gateway.outcome import Usage

# Texts of one item of `input` or `output`. `arguments` of a tool search are an object.
_ITEM = (
    "content",
    "content.*.text",
    "content.*.refusal",
    "content.*.transcript",
    "summary.*.text",
    "arguments:json",
    "arguments.**",
    "input",
    "output",
    "output.*.text",
    "output.*.stdout",
    "output.*.stderr",
    "action.command.*",
    "action.commands.*",
    "action.env.**",
    "action.query",
    "action.queries.*",
    "action.pattern",
    "action.text",
    "operation.diff",
    "code",
    "outputs.*.logs",
    "queries.*",
    "results.*.text",
    "reason",
    "revised_prompt",
)
# Opaque to clients and handed back as they came, or definitions of tools.
_NO_TEXTS = ("program", "compaction", "context_compaction", "additional_tools", "mcp_list_tools", "tool_search_output")
_PROMPT = ("prompt.variables.*", "prompt.variables.*.text")


def _under(prefix: str, rows: tuple[str, ...] = _ITEM) -> tuple[str, ...]:
    return tuple(f"{prefix}.{row}" for row in rows)


# `items` and `data` are of conversations: what is put into one, and what it lists.
# A reply repeats the call's instructions and prompt variables.
_REPLY = (*_under("output.*"), "output_text", "instructions", *_under("instructions.*"), *_PROMPT)
_DELTA = ("delta", "delta.text", "delta.stdout", "delta.stderr")
_DONE = ("text", "refusal", "arguments:json", "input", "code", "command", "transcript", "diff", "part.text")
_INDEXES = ("content_index", "summary_index", "command_index")
_NO_TEXT_EVENTS = frozenset({"error", "response.audio.delta"})
_ENDS = frozenset({"response.completed", "response.incomplete", "response.failed", "response.cancelled"})
_TYPE = re.compile(rb'\s*\{\s*"type"\s*:\s*"([a-z_.]+)"').match
_FAILURE = re.compile(rb'"type"\s*:\s*"(?:error|response\.failed)"').search


class _Head(msgspec.Struct):
    model: Any = None
    stream: bool | None = None
    max_output_tokens: Any = None
    prompt: Any = None
    background: Any = None


class OpenAIResponses(OpenAI):
    name = "openai.responses"
    call_paths = paths(
        ("instructions", "input", *_under("input.*"), *_under("items.*"), *_PROMPT),
        skip={"input.*": _NO_TEXTS, "items.*": _NO_TEXTS},
    )
    reply_paths = paths(
        (*_REPLY, *_under("data.*")),
        skip={"output.*": _NO_TEXTS, "instructions.*": _NO_TEXTS, "data.*": _NO_TEXTS},
    )
    event_paths = paths(
        (*_DELTA, *_DONE, "part.refusal", *_under("item"), *_under("response", _REPLY)),
        skip={"item": _NO_TEXTS, "response.output.*": _NO_TEXTS, "response.instructions.*": _NO_TEXTS},
    )

    def peek(self, body: bytes, path: str) -> Peek:
        head = peek_as(body, _Head)
        # A stored prompt names its own model (`prompt.id`), and so may the path.
        optional = head.model is None and isinstance(head.prompt, dict)
        model = None if optional else require_model(head.model, path)
        limit = whole_number(head.max_output_tokens)
        return Peek(model, bool(head.stream), limit, background=bool(head.background))

    def see(self, event: dict[str, Any], slots: list[Slot]) -> View:
        kind = event.get("type")
        if not isinstance(kind, str) or kind in _NO_TEXT_EVENTS:
            return NOTHING
        if kind.endswith((".delta", "_delta")):
            return View(_as_pieces(event, kind, slots))
        return View([slot for slot in slots if slot.path[0] != "delta"], _closed(event, kind))

    def is_real(self, part: Part) -> bool:
        return part.data is not None and part.event not in ("ping", "keepalive")

    def ends(self, part: Part) -> bool:
        return event_type(part) in _ENDS or super().ends(part)

    def failure(self, part: Part) -> Failure | None:
        if not _FAILURE(part.raw):
            return super().failure(part)
        event = event_of(part)
        return _failure_of(event) if isinstance(event, dict) else None

    def usage(self, body: bytes) -> Usage | None:
        return read_reply(body)[0]

    def model_of(self, body: bytes) -> str | None:
        return read_reply(body)[1]

    def usage_reader(self) -> ResponseReader:
        return ResponseReader()

    def error_part(self, refusal: Refusal, call_id: str, content_type: str = "text/event-stream") -> bytes:
        """`response.failed` is what Codex reads, `error` what the SDKs raise on."""
        error = error_object(refusal)
        code = "rate_limit_exceeded" if refusal.status == 429 else "server_error"
        reply = {"id": f"resp_{call_id}", "object": "response", "created_at": 0, "model": "", "status": "failed"}
        reply |= {"error": {"code": code, "message": refusal.message}, "output": [], "usage": None, "metadata": {}}
        reply |= {"parallel_tool_calls": True, "tool_choice": "auto", "tools": []}
        failed = {"type": "response.failed", "sequence_number": 0, "response": reply}
        flat = {"code": refusal.code, "message": refusal.message, "param": refusal.param}
        last = {"type": "error", "sequence_number": 0, **flat, "error": error, "request_id": call_id}
        return b"event: response.failed\ndata: %b\n\nevent: error\ndata: %b\n\n" % (to_json(failed), to_json(last))


def event_type(part: Part) -> str | None:
    """The `type` of an event: from its name, else from the beginning of its data, else by reading it."""
    if part.event:
        return part.event
    data = part.data
    if not data or data[:1] != b"{":
        return None
    found = _TYPE(data)
    if found is not None:
        return found[1].decode()
    event = event_of(part)
    return event.get("type") if isinstance(event, dict) else None


def _group(event: dict[str, Any]) -> int | str:
    for name in ("output_index", "item_id"):
        if isinstance(value := event.get(name), int | str):
            return value
    return 0


def _indexes(event: dict[str, Any]) -> list[int]:
    return [value for name in _INDEXES if isinstance(value := event.get(name), int)]


def _as_pieces(event: dict[str, Any], kind: str, slots: list[Slot]) -> list[Slot]:
    name = kind[:-6]
    group, indexes, is_json = _group(event), _indexes(event), "arguments" in name
    pieces = [slot for slot in slots if slot.path[0] == "delta"]
    for slot in pieces:
        slot.channel = (group, name, *indexes, *slot.path[1:])
        slot.json = is_json
    return pieces


def _closed(event: dict[str, Any], kind: str) -> list[Channel]:
    if kind in _ENDS:
        return [()]
    if kind == "response.output_item.done":
        return [(_group(event),)]
    if kind.endswith((".done", "_done")):
        return [(_group(event), kind[:-5], *_indexes(event))]
    return []


def _failure_of(event: dict[str, Any]) -> Failure | None:
    kind = event.get("type")
    if kind == "error":
        error = event.get("error")
        return failure_from(error if isinstance(error, dict) else {**event, "type": ""}, event.get("status"))
    if kind != "response.failed":
        return None
    reply = event.get("response")
    error = reply.get("error") if isinstance(reply, dict) else None
    return failure_from(error if isinstance(error, dict) else {})


class _Reply(msgspec.Struct):
    model: Any = None
    usage: Any = None


class _Event(msgspec.Struct):
    response: _Reply | None = None


_decode_reply = msgspec.json.Decoder(_Reply).decode
_decode_event = msgspec.json.Decoder(_Event).decode


def read_reply(body: bytes) -> tuple[Usage | None, str | None]:
    """Usage and model of a whole reply. Never raises."""
    try:
        return _read(_decode_reply(body))
    except (msgspec.MsgspecError, RecursionError, ValueError):
        return None, None


def _read(reply: _Reply) -> tuple[Usage | None, str | None]:
    return usage_of(reply.usage), reply.model if isinstance(reply.model, str) and reply.model else None


class ResponseReader:
    """The model from `response.created`, usage from the event that ends the stream."""

    usage: Usage | None = None
    model: str | None = None

    def feed(self, part: Part) -> None:
        if self.model is not None and not maybe_usage(part):
            return
        data = part.data
        if data is None or b'"response"' not in data:
            return
        try:
            event = _decode_event(data)
        except (msgspec.MsgspecError, RecursionError, ValueError):
            return
        if event.response is not None:
            usage, model = _read(event.response)
            self.usage, self.model = usage or self.usage, model or self.model
