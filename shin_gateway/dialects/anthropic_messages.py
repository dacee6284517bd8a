"""Anthropic Messages, and counting tokens for one.

Thinking is signed: the API refuses a turn whose earlier thinking differs from what it signed. Its
text can be read, but it is rewritten neither in replies, from where clients send it back, nor in
calls; so what a mask hid in a prompt stays hidden in thinking.
"""

from __future__ import annotations

import re
from typing import Any, ClassVar

import msgspec

from shin_gateway.dialects.base import Dialect, Failure, View, event_of, is_retryable, to_json
from shin_gateway.dialects.heads import Peek, peek_as, require_model, whole_number
from shin_gateway.dialects.json_spans import Channel, Slot, paths
from shin_gateway.dialects.numbers import count, part_of
from shin_gateway.dialects.parts import Part
from shin_gateway.errors import OverBudget, Refusal
from shin_gateway.outcome import Usage

_DOCUMENT = ("title", "context", "source.content", "source.content.*.text", "source.data")
# A tool's result: text, content blocks, search results and documents, what code printed, what was fetched.
_RESULT = (
    "content",
    "content.text",
    "content.*.text",
    "content.*.title",
    "content.*.content.*.text",
    *(f"content.*.{row}" for row in _DOCUMENT),
    "content.stdout",
    "content.stderr",
    "content.content",
    "content.lines.*",
    *(f"content.content.{row}" for row in _DOCUMENT),
)
# What a citation repeats of the document or search result it points to.
_CITATION = ("cited_text", "document_title", "title")
_BLOCK = ("text", "input.**", *(f"citations.*.{row}" for row in _CITATION), *_RESULT, *_DOCUMENT)
_THINKING = "thinking:signed"
# Signed, encrypted, or about tools.
_NO_TEXTS = ("redacted_thinking", "compaction", "tool_addition", "tool_removal", "mcp_tool_listing", "fallback")


def _under(prefix: str, rows: tuple[str, ...] = _BLOCK) -> tuple[str, ...]:
    return tuple(f"{prefix}.{row}" for row in rows)


# Blocks whose `source.data` or results are media in base64 rather than text.
def _blocks(prefix: str) -> dict[str, tuple[str, ...]]:
    media = ("image", "container_upload")
    source = ("base64", "url", "file")
    return {
        prefix: (*_NO_TEXTS, *media),
        f"{prefix}.source": source,
        f"{prefix}.content.*": (*_NO_TEXTS, *media, "web_search_result"),
        f"{prefix}.content.*.source": source,
        f"{prefix}.content.content.source": source,
    }


_CALL_SKIP = _blocks("messages.*.content.*")

_TYPES = {
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    408: "timeout_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
    529: "overloaded_error",
}
_TOLD_CODES = frozenset({"thread_unsupported_request", "thread_not_found"})
"""Codes of ours that are Anthropic's too, upon which its SDKs do something about it."""
STATUS_OF = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "billing_error": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "api_error": 500,
    "timeout_error": 504,
    "overloaded_error": 529,
}
_ERROR = re.compile(rb'"type"\s*:\s*"error"').search
_STOP = re.compile(rb'\A\s*\{\s*"type"\s*:\s*"message_stop"').search
_USAGE = re.compile(rb'"usage"\s*:\s*\{').search


class _Head(msgspec.Struct):
    model: Any = None
    stream: bool | None = None
    max_tokens: Any = None


class AnthropicMessages(Dialect):
    name: ClassVar[str] = "anthropic.messages"
    call_paths = paths(
        ("system", "system.*.text", "messages.*.content", *_under("messages.*.content.*")), skip=_CALL_SKIP
    )
    reply_paths = paths(("content", *_under("content.*"), f"content.*.{_THINKING}"), skip=_blocks("content.*"))
    event_paths = paths(
        (
            *_under("content_block"),
            f"content_block.{_THINKING}",
            "delta.text",
            f"delta.{_THINKING}",
            "delta.partial_json:json",
            *(f"delta.citation.{row}" for row in _CITATION),
            *_under("message.content.*"),
        ),
        skip=_blocks("content_block") | _blocks("message.content.*"),
    )

    def peek(self, body: bytes, path: str) -> Peek:
        head = peek_as(body, _Head)
        stream = bool(head.stream) or ":streamRawPredict" in path or "/invoke-with-response-stream" in path
        return Peek(require_model(head.model, path), stream, whole_number(head.max_tokens))

    def see(self, event: dict[str, Any], slots: list[Slot]) -> View:
        index = event.get("index")
        if not isinstance(index, int):
            index = 0
        kind = event.get("type")
        for slot in slots:
            slot.channel = _channel(slot, index)
        return View(slots, _closed(kind, index))

    def is_real(self, part: Part) -> bool:
        return part.data is not None and part.event != "ping"

    def ends(self, part: Part) -> bool:
        if part.event is not None:
            return part.event == "message_stop"
        return part.data is not None and _STOP(part.data) is not None

    def failure(self, part: Part) -> Failure | None:
        if part.event != "error" and not _ERROR(part.raw):
            return None
        event = event_of(part)
        error = event.get("error") if isinstance(event, dict) else None
        if not isinstance(error, dict):
            return Failure(500, "api_error", "The provider reported an error.", True) if part.event == "error" else None
        kind = str(error.get("type") or "api_error")
        status = STATUS_OF.get(kind, 500)
        return Failure(
            status, kind, str(error.get("message") or "The provider reported an error."), is_retryable(status)
        )

    def account(self, body: bytes) -> tuple[Usage | None, str | None]:
        reader = MessageReader()
        reader.read(body, _decode_message)
        return reader.usage, reader.model

    def usage_reader(self) -> MessageReader:
        return MessageReader()

    def error_body(self, refusal: Refusal, call_id: str) -> bytes:
        message = refusal.message
        if refusal.param and refusal.param not in message:
            message = f"{refusal.param}: {message}"
        error: dict[str, Any] = {"type": _type_of(refusal), "message": message}
        if refusal.code in _TOLD_CODES:
            error["details"] = {"error_code": refusal.code}
        return to_json({"type": "error", "error": error, "request_id": call_id})

    def error_part(self, refusal: Refusal, call_id: str, content_type: str = "text/event-stream") -> bytes:
        return b"event: error\ndata: " + self.error_body(refusal, call_id) + b"\n\n"


def _type_of(refusal: Refusal) -> str:
    """A spent budget is a `billing_error` whatever its status: upon any other 400, Claude Code at a base URL takes us
    for a server without its newest features, and asks five times more without some of them.
    """
    if isinstance(refusal, OverBudget):
        return "billing_error"
    return _TYPES.get(refusal.status, "api_error" if refusal.status >= 500 else "invalid_request_error")


def _channel(slot: Slot, index: int) -> Channel | None:
    """Deltas are pieces of their block, and so is what the block begins with."""
    place, name = slot.path[0], slot.path[1]
    if len(slot.path) == 2 and (place == "delta" or (place == "content_block" and name in ("text", "thinking"))):
        return (index, name)
    return None


def _closed(kind: object, index: int) -> list[Channel]:
    if kind == "content_block_stop":
        return [(index,)]
    return [()] if kind in ("message_delta", "message_stop", "error") else []


class _Message(msgspec.Struct):
    model: Any = None
    usage: Any = None


class _Event(msgspec.Struct):
    message: _Message | None = None
    usage: Any = None

    @property
    def model(self) -> Any:
        return self.message and self.message.model


_decode_message = msgspec.json.Decoder(_Message).decode
_decode_event = msgspec.json.Decoder(_Event).decode


class MessageReader:
    """Input from `message_start`, output from each `message_delta`: its counts are cumulative."""

    model: str | None = None

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}
        self._compaction = Usage()

    @property
    def usage(self) -> Usage | None:
        if not self._counts:
            return None
        counts = self._counts
        cached, written = counts.get("cached", 0), counts.get("cache_write", 0)
        extra = self._compaction
        return Usage(
            input=counts.get("input", 0) + cached + written + extra.input,
            output=counts.get("output", 0) + extra.output,
            cached=cached + extra.cached,
            cache_write=written + extra.cache_write,
            cache_write_1h=min(counts.get("cache_write_1h", 0), written) + extra.cache_write_1h,
            reasoning=min(counts.get("reasoning", 0), counts.get("output", 0)),
        )

    def feed(self, part: Part) -> None:
        if _USAGE(part.raw) and part.data is not None:
            self.read(part.data, _decode_event)

    def read(self, data: bytes, decode: Any) -> None:
        """Take what one message or event reports."""
        try:
            found = decode(data)
        except (msgspec.MsgspecError, RecursionError, ValueError):
            return
        if isinstance(found.model, str) and found.model:
            self.model = self.model or found.model
        message = getattr(found, "message", None)
        for usage in (message and message.usage, found.usage):
            if isinstance(usage, dict):
                self._take(usage)

    def _take(self, usage: dict[str, Any]) -> None:
        for name, value in _counts(usage).items():
            self._counts[name] = max(value, self._counts.get(name, 0))
        iterations = usage.get("iterations")
        if isinstance(iterations, list):
            self._compaction = _compactions(iterations)


def _counts(usage: dict[str, Any]) -> dict[str, int]:
    creation = part_of(usage, "cache_creation")
    hour, minutes = count(creation, "ephemeral_1h_input_tokens"), count(creation, "ephemeral_5m_input_tokens")
    written = count(usage, "cache_creation_input_tokens")
    found = {
        "input": count(usage, "input_tokens"),
        "output": count(usage, "output_tokens"),
        "cached": count(usage, "cache_read_input_tokens"),
        "cache_write": (hour or 0) + (minutes or 0) or None if written is None else written,
        "cache_write_1h": hour,
        "reasoning": count(part_of(usage, "output_tokens_details"), "thinking_tokens"),
    }
    return {name: value for name, value in found.items() if value is not None}


def _compactions(iterations: list[Any]) -> Usage:
    """What summarising the context cost: billed, but not in the totals beside it."""
    total = Usage()
    for item in iterations:
        if isinstance(item, dict) and item.get("type") == "compaction":
            counts = _counts(item)
            cached, written = counts.get("cached", 0), counts.get("cache_write", 0)
            total.input += counts.get("input", 0) + cached + written
            total.output += counts.get("output", 0)
            total.cached += cached
            total.cache_write += written
            total.cache_write_1h += counts.get("cache_write_1h", 0)
    return total
