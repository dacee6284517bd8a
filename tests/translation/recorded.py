"""Streams as providers send them, made by us from their documents.

- OpenAI Chat: developers.openai.com/api/reference/resources/chat/subresources/completions/streaming-events
- Responses: developers.openai.com/api/reference/resources/responses/streaming-events
- Anthropic: platform.claude.com/docs/en/build-with-claude/streaming
- Gemini: ai.google.dev/api/generate-content#method:-models.streamgeneratecontent
"""

from __future__ import annotations

import json
from typing import Any

from tests.translation.kit import CHAT, GEMINI, MESSAGES, RESPONSES

Json = dict[str, Any]
TEXT = ("Grüße", " aus", " 東京 ", "🗼", '\n"ok"', "")
"""Two to four bytes a character, quotes, an empty piece."""


def _line(event: Json, ascii: bool = False) -> bytes:
    return b"data: " + json.dumps(event, ensure_ascii=ascii, separators=(",", ":")).encode()


# ── OpenAI Chat Completions ─────────────────────────────────────────────────────────────────────


def _chunk(finish: str | None = None, **delta: Any) -> Json:
    head = {"id": "chatcmpl-B9", "object": "chat.completion.chunk", "created": 4102444800, "model": "gpt-4o-2024-08-06"}
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
    return {**head, "service_tier": "default", "system_fingerprint": "fp_1", "choices": [choice], "usage": None}


_CHAT_USAGE = {
    **_chunk(),
    "choices": [],
    "usage": {"prompt_tokens": 19, "completion_tokens": 10, "total_tokens": 29,
              "prompt_tokens_details": {"cached_tokens": 4, "audio_tokens": 0},
              "completion_tokens_details": {"reasoning_tokens": 3, "audio_tokens": 0}},
}  # fmt: skip


def _chat(*events: Json, end: bytes = b"\n\n", done: bool = True) -> bytes:
    return b"".join(_line(event) + end for event in events) + (b"data: [DONE]" + end if done else b"")


def _call_piece(index: int, arguments: str, **head: Any) -> Json:
    function = {**({"name": head.pop("name")} if head else {}), "arguments": arguments}
    return {"index": index, **head, "function": function}


_CHAT_STREAMS = {
    "text": _chat(
        _chunk(role="assistant", content="", refusal=None), *[_chunk(content=piece) for piece in TEXT],
        _chunk("stop"), _CHAT_USAGE),
    "text, CRLF and comments": b": OPENROUTER PROCESSING\r\n\r\n" + _chat(
        _chunk(role="assistant", content=""), _chunk(content="Grüße"), end=b"\r\n\r\n", done=False,
    ) + b": keep-alive\r\n\r\n" + _chat(_chunk(content=" 🗼"), _chunk("length"), _CHAT_USAGE, end=b"\r\n\r\n"),
    "several tools at once": _chat(
        _chunk(role="assistant", content=None),
        _chunk(tool_calls=[_call_piece(0, "", id="call_a", type="function", name="weather")]),
        _chunk(tool_calls=[_call_piece(0, '{"city":')]), _chunk(tool_calls=[_call_piece(0, '"Zürich"}')]),
        _chunk(tool_calls=[_call_piece(1, "", id="call_b", type="function", name="time")]),
        _chunk(tool_calls=[_call_piece(1, "{}")]), _chunk("tool_calls"), _CHAT_USAGE),
    "reasoning": _chat(
        _chunk(role="assistant", content=None, reasoning_content=""), _chunk(reasoning_content="Let me"),
        _chunk(reasoning_content=" see."), _chunk(content="Yes"), _chunk(content="."), _chunk("stop"), _CHAT_USAGE),
    "refusal": _chat(
        _chunk(role="assistant", content="", refusal=None), _chunk(refusal="I'm sorry,"), _chunk(refusal=" no."),
        _chunk("stop"), _CHAT_USAGE),
}  # fmt: skip
_CHAT_ERROR = _chat(_chunk(role="assistant", content=""), _chunk(content="Grüße"), done=False) + _line(
    {"error": {"message": "The server had an error.", "type": "server_error", "param": None, "code": None}}
) + b"\n\n"  # fmt: skip

# ── OpenAI Responses ────────────────────────────────────────────────────────────────────────────


def _responses(*events: tuple[str, Json], end: bytes = b"\n\n") -> bytes:
    newline = end[: len(end) // 2]
    rows = [{"type": kind, "sequence_number": number, **rest} for number, (kind, rest) in enumerate(events)]
    return b"".join(b"event: %b%b%b%b" % (row["type"].encode(), newline, _line(row), end) for row in rows)


def _response(status: str, output: list[Json], usage: bool = False, **more: Any) -> Json:
    used = {"input_tokens": 19, "input_tokens_details": {"cached_tokens": 4}, "output_tokens": 10,
            "output_tokens_details": {"reasoning_tokens": 3}, "total_tokens": 29}  # fmt: skip
    return {"response": {
        "id": "resp_67", "object": "response", "created_at": 4102444800, "status": status, "error": None,
        "incomplete_details": None, "instructions": None, "metadata": {}, "model": "gpt-5-2025-08-07",
        "output": output, "parallel_tool_calls": True, "temperature": 1.0, "tool_choice": "auto", "tools": [],
        "top_p": 1.0, "usage": used if usage else None, **more}}  # fmt: skip


def _message_events(at: int, pieces: tuple[str, ...], kind: str = "output_text") -> list[tuple[str, Json]]:
    delta, name = ("response.output_text", "text") if kind == "output_text" else ("response.refusal", "refusal")
    place = {"item_id": f"msg_{at}", "output_index": at, "content_index": 0}
    extra: Json = {"annotations": []} if kind == "output_text" else {}
    lists: Json = {"logprobs": []} if kind == "output_text" else {}
    part = {"type": kind, name: "".join(pieces), **extra}
    item = message_item(at, part)
    return [
        ("response.output_item.added",
         {"output_index": at, "item": {**item, "status": "in_progress", "content": []}}),
        ("response.content_part.added", {**place, "part": {**part, name: ""}}),
        *[(f"{delta}.delta", {**place, "delta": piece, **lists}) for piece in pieces],
        (f"{delta}.done", {**place, name: "".join(pieces), **lists}),
        ("response.content_part.done", {**place, "part": part}),
        ("response.output_item.done", {"output_index": at, "item": item}),
    ]  # fmt: skip


def message_item(at: int, part: Json) -> Json:
    return {"id": f"msg_{at}", "type": "message", "status": "completed", "role": "assistant", "content": [part]}


def _text_item(at: int, pieces: tuple[str, ...]) -> Json:
    return message_item(at, {"type": "output_text", "text": "".join(pieces), "annotations": []})


def _call_item(at: int, name: str, arguments: str) -> Json:
    return {"id": f"fc_{at}", "type": "function_call", "status": "completed", "arguments": arguments,
            "call_id": f"call_{at}", "name": name}  # fmt: skip


def _call_events(at: int, name: str, *pieces: str) -> list[tuple[str, Json]]:
    item, place = _call_item(at, name, "".join(pieces)), {"item_id": f"fc_{at}", "output_index": at}
    return [
        ("response.output_item.added",
         {"output_index": at, "item": {**item, "status": "in_progress", "arguments": ""}}),
        *[("response.function_call_arguments.delta", {**place, "delta": piece}) for piece in pieces],
        ("response.function_call_arguments.done", {**place, "arguments": "".join(pieces)}),
        ("response.output_item.done", {"output_index": at, "item": item}),
    ]  # fmt: skip


def _thought_item(at: int, text: str) -> Json:
    return {"id": f"rs_{at}", "type": "reasoning", "summary": [{"type": "summary_text", "text": text}],
            "encrypted_content": "gAAAA1"}  # fmt: skip


def _thought_events(at: int, *pieces: str) -> list[tuple[str, Json]]:
    place = {"item_id": f"rs_{at}", "output_index": at, "summary_index": 0}
    part = {"type": "summary_text", "text": "".join(pieces)}
    item = _thought_item(at, "".join(pieces))
    return [
        ("response.output_item.added", {"output_index": at, "item": {**item, "summary": [], "encrypted_content": ""}}),
        ("response.reasoning_summary_part.added", {**place, "part": {**part, "text": ""}}),
        *[("response.reasoning_summary_text.delta", {**place, "delta": piece}) for piece in pieces],
        ("response.reasoning_summary_text.done", {**place, "text": part["text"]}),
        ("response.reasoning_summary_part.done", {**place, "part": part}),
        ("response.output_item.done", {"output_index": at, "item": item}),
    ]


def _answered(*items: tuple[list[tuple[str, Json]], Json], end: bytes = b"\n\n", **more: Any) -> bytes:
    status = more.get("status", "completed")
    events = [
        ("response.created", _response("in_progress", [])),
        ("response.in_progress", _response("in_progress", [])),
    ]
    events += [event for found, _ in items for event in found]
    final = _response(status, [item for _, item in items], usage=True)
    final["response"] |= more
    return _responses(*events, (f"response.{status}", final), end=end)


_NO = ("I'm sorry,", " no.")
_RESPONSES_STREAMS = {
    "text": _answered((_message_events(0, TEXT), _text_item(0, TEXT))),
    "text, CRLF and keepalive": _answered(
        (_message_events(0, ("Grüße", " 🗼")), _text_item(0, ("Grüße", " 🗼"))),
        end=b"\r\n\r\n", status="incomplete", incomplete_details={"reason": "max_output_tokens"},
    ).replace(b"event: response.output_text.done", b'event: keepalive\r\ndata: {"type":"keepalive"}\r\n\r\n'
              b": a comment\r\n\r\nevent: response.output_text.done"),
    "several tools at once": _answered(
        (_call_events(0, "weather", '{"city":', '"Zürich"}'), _call_item(0, "weather", '{"city":"Zürich"}')),
        (_call_events(1, "time", "{}"), _call_item(1, "time", "{}"))),
    "reasoning": _answered(
        (_thought_events(0, "Let me", " see."), _thought_item(0, "Let me see.")),
        (_message_events(1, ("Yes", ".")), _text_item(1, ("Yes", ".")))),
    "refusal": _answered(
        (_message_events(0, _NO, "refusal"), message_item(0, {"type": "refusal", "refusal": "".join(_NO)}))),
}  # fmt: skip
_RESPONSES_ERROR = _responses(
    ("response.created", _response("in_progress", [])), *_message_events(0, ("Grüße",))[:3],
    ("error", {"code": "server_error", "message": "The server had an error.", "param": None}),
    ("response.failed", _response("failed", [], error={"code": "server_error", "message": "An error."})))  # fmt: skip

# ── Anthropic Messages ──────────────────────────────────────────────────────────────────────────


def _messages(*events: Json, end: bytes = b"\n\n") -> bytes:
    newline = end[: len(end) // 2]
    return b"".join(b"event: %b%b%b%b" % (event["type"].encode(), newline, _line(event), end) for event in events)


_START = {"type": "message_start", "message": {
    "id": "msg_1", "type": "message", "role": "assistant", "content": [], "model": "claude-sonnet-4-5-20250929",
    "stop_reason": None, "stop_sequence": None,
    "usage": {"input_tokens": 15, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 4, "output_tokens": 1,
              "service_tier": "standard"}}}  # fmt: skip
_PING = {"type": "ping"}
_STOPPED = {"type": "message_stop"}


def _ended(reason: str, sequence: str | None = None) -> Json:
    delta = {"stop_reason": reason, "stop_sequence": sequence}
    return {"type": "message_delta", "delta": delta, "usage": {"output_tokens": 10}}


def _block(at: int, block: Json, kind: str, name: str, *pieces: str) -> list[Json]:
    deltas = [{"type": "content_block_delta", "index": at, "delta": {"type": kind, name: piece}} for piece in pieces]
    return [{"type": "content_block_start", "index": at, "content_block": block}, *deltas, _block_stop(at)]


def _block_stop(at: int) -> Json:
    return {"type": "content_block_stop", "index": at}


def _words(at: int, *pieces: str) -> list[Json]:
    return _block(at, {"type": "text", "text": ""}, "text_delta", "text", *pieces)


def _use(at: int, name: str, *pieces: str) -> list[Json]:
    block = {"type": "tool_use", "id": f"toolu_{at}", "name": name, "input": {}}
    return _block(at, block, "input_json_delta", "partial_json", *pieces)


def _thinking() -> list[Json]:
    start, *deltas, stop = _block(
        0, {"type": "thinking", "thinking": "", "signature": ""}, "thinking_delta", "thinking", "Let me", " see."
    )
    signed = {"type": "content_block_delta", "index": 0, "delta": {"type": "signature_delta", "signature": "EqQBCg=="}}
    return [start, *deltas, signed, stop]


_MESSAGES_STREAMS = {
    "text": _messages(_START, _PING, *_words(0, *TEXT), _ended("end_turn"), _STOPPED),
    "text, CRLF and pings": _messages(
        _START, *_words(0, "Grüße")[:2], _PING, *_words(0, " 🗼")[1:], _ended("max_tokens"), _STOPPED, end=b"\r\n\r\n"),
    "several tools at once": _messages(
        _START, *_use(0, "weather", "", '{"city":', '"Zürich"}'), *_use(1, "time"), _ended("tool_use"), _STOPPED),
    "reasoning": _messages(_START, *_thinking(), *_words(1, "Yes", "."), _ended("end_turn"), _STOPPED),
    "refusal": _messages(_START, *_words(0, "I'm sorry,"), _ended("refusal"), _STOPPED),
}  # fmt: skip
_MESSAGES_ERROR = _messages(
    _START, *_words(0, "Grüße")[:2],
    {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}},
)  # fmt: skip

# ── Gemini ──────────────────────────────────────────────────────────────────────────────────────


def _gemini(*chunks: Json, end: bytes = b"\r\n\r\n") -> bytes:
    return b"".join(_line(chunk) + end for chunk in chunks)


def _piece(*parts: Json, finish: str = "", tokens: int = 0, **more: Any) -> Json:
    candidate: Json = {"content": {"parts": list(parts), "role": "model"}, "index": 0}
    if finish:
        candidate["finishReason"] = finish
    usage = {"promptTokenCount": 19, "candidatesTokenCount": tokens, "totalTokenCount": 22 + tokens,
             "thoughtsTokenCount": 3, "cachedContentTokenCount": 4}  # fmt: skip
    names = {"modelVersion": "gemini-2.5-pro", "responseId": "mpqKaNvkHOq9"}
    return {"candidates": [{**candidate, **more}], "usageMetadata": usage, **names}


_GEMINI_STREAMS = {
    "text": _gemini(
        *[_piece({"text": piece}) for piece in TEXT if piece], _piece({"text": ""}, finish="STOP", tokens=7)),
    "text, escaped": b"".join(
        _line(chunk, ascii=True) + b"\r\n\r\n"
        for chunk in (_piece({"text": "Grüße"}), _piece({"text": " 🗼"}, finish="MAX_TOKENS", tokens=7))),
    "several tools at once": _gemini(
        _piece({"functionCall": {"name": "weather", "args": {"city": "Zürich"}}, "thoughtSignature": "CikBVKhc"},
               {"functionCall": {"name": "time", "args": {}}}),
        _piece({"text": ""}, finish="STOP", tokens=7)),
    "reasoning": _gemini(
        _piece({"text": "Let me", "thought": True}), _piece({"text": " see.", "thought": True}),
        _piece({"text": "Yes"}), _piece({"text": "."}, finish="STOP", tokens=7)),
    "refusal": _gemini(_piece({"text": "I'm sorry,"}), _piece(finish="SAFETY", tokens=2)),
}  # fmt: skip
_GEMINI_ERROR = _gemini(_piece({"text": "Grüße"})) + _line(
    {"error": {"code": 503, "message": "The model is overloaded.", "status": "UNAVAILABLE"}}
) + b"\r\n\r\n"  # fmt: skip

STREAMS = {CHAT: _CHAT_STREAMS, RESPONSES: _RESPONSES_STREAMS, MESSAGES: _MESSAGES_STREAMS, GEMINI: _GEMINI_STREAMS}
"""Of each dialect: streams that end as they should."""
ERRORS = {CHAT: _CHAT_ERROR, RESPONSES: _RESPONSES_ERROR, MESSAGES: _MESSAGES_ERROR, GEMINI: _GEMINI_ERROR}
"""Streams that report an error after a 200 and some text."""
