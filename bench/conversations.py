"""Chats of a given size in each dialect, and replies, whole and streamed: what the translation is timed with."""

from __future__ import annotations

import json
from typing import Any

Json = dict[str, Any]

CHAT, RESPONSES, MESSAGES, GEMINI = "openai.chat", "openai.responses", "anthropic.messages", "gemini.generate"
_SENTENCE = "Our ferry leaves the island every other hour, except on Sundays, when “the tide” decides. "
_SCHEMA = {
    "type": "object",
    "properties": {"day": {"type": "string", "description": "ISO 8601"}, "seats": {"type": "integer"}},
    "required": ["day"],
}
_TOOLS = [("timetable", "The ferry's times on one day."), ("book", "Book seats on a ferry.")]
_ARGUMENTS = {"day": "2026-11-22", "seats": 2}


def call(dialect: str, size: int, stream: bool = False, sentences: int = 1) -> bytes:
    """About `size` bytes: a system prompt, tools, and turns among which each third calls a tool.

    `sentences`, of 90 bytes each, are the length of an answer and of a tool's result; questions are twice as long.
    """
    turns = 1
    while len(body := _call(dialect, turns, stream, _SENTENCE * sentences)) < size:
        turns += max(1, (size - len(body)) * turns // len(body))
    return body


def _call(dialect: str, turns: int, stream: bool, text: str) -> bytes:
    body = _CALLS[dialect](turns, text)
    if stream and dialect != GEMINI:
        body["stream"] = True
    return json.dumps(body, ensure_ascii=False).encode()


def _asked(turn: int, text: str) -> str:
    return f"{turn}: {text * 2}When can I leave?"


def _chat(turns: int, text: str) -> Json:
    messages: list[Json] = [{"role": "system", "content": "You answer in one short sentence."}]
    for turn in range(turns):
        messages.append({"role": "user", "content": _asked(turn, text)})
        if turn % 3 == 2:
            use = {"name": "timetable", "arguments": json.dumps(_ARGUMENTS)}
            calls = [{"id": f"call_{turn}", "type": "function", "function": use}]
            messages.append({"role": "assistant", "content": None, "tool_calls": calls})
            messages.append({"role": "tool", "tool_call_id": f"call_{turn}", "content": text})
        messages.append({"role": "assistant", "content": text})
    messages.append({"role": "user", "content": "And back?"})
    tools = [
        {"type": "function", "function": {"name": name, "description": about, "parameters": _SCHEMA}}
        for name, about in _TOOLS
    ]
    return {"model": "gpt-4o", "messages": messages, "tools": tools, "temperature": 0.2, "max_tokens": 500}


def _responses(turns: int, text: str) -> Json:
    items: list[Json] = []
    for turn in range(turns):
        items.append({"role": "user", "content": [{"type": "input_text", "text": _asked(turn, text)}]})
        if turn % 3 == 2:
            use = {"call_id": f"call_{turn}", "name": "timetable", "arguments": json.dumps(_ARGUMENTS)}
            items.append({"type": "function_call", **use})
            items.append({"type": "function_call_output", "call_id": f"call_{turn}", "output": text})
        said = {"type": "output_text", "text": text, "annotations": []}
        items.append({"type": "message", "id": f"msg_{turn}", "role": "assistant", "content": [said]})
    items.append({"role": "user", "content": "And back?"})
    tools = [{"type": "function", "name": name, "description": about, "parameters": _SCHEMA} for name, about in _TOOLS]
    return {"model": "gpt-4o", "instructions": "You answer in one short sentence.", "input": items, "tools": tools,
            "temperature": 0.2, "max_output_tokens": 500}  # fmt: skip


def _messages(turns: int, text: str) -> Json:
    messages: list[Json] = []
    for turn in range(turns):
        messages.append({"role": "user", "content": [{"type": "text", "text": _asked(turn, text)}]})
        if turn % 3 == 2:
            use = {"type": "tool_use", "id": f"call_{turn}", "name": "timetable", "input": _ARGUMENTS}
            messages.append({"role": "assistant", "content": [use]})
            result = {"type": "tool_result", "tool_use_id": f"call_{turn}", "content": text}
            messages.append({"role": "user", "content": [result]})
        messages.append({"role": "assistant", "content": [{"type": "text", "text": text}]})
    messages.append({"role": "user", "content": "And back?"})
    tools = [{"name": name, "description": about, "input_schema": _SCHEMA} for name, about in _TOOLS]
    return {"model": "claude-sonnet-4-5", "system": "You answer in one short sentence.", "messages": messages,
            "tools": tools, "temperature": 0.2, "max_tokens": 500}  # fmt: skip


def _gemini(turns: int, text: str) -> Json:
    contents: list[Json] = []
    for turn in range(turns):
        contents.append({"role": "user", "parts": [{"text": _asked(turn, text)}]})
        if turn % 3 == 2:
            call = {"id": f"call_{turn}", "name": "timetable", "args": _ARGUMENTS}
            contents.append({"role": "model", "parts": [{"functionCall": call}]})
            response = {"id": f"call_{turn}", "name": "timetable", "response": {"output": text}}
            contents.append({"role": "user", "parts": [{"functionResponse": response}]})
        contents.append({"role": "model", "parts": [{"text": text}]})
    contents.append({"role": "user", "parts": [{"text": "And back?"}]})
    tools = [{"name": name, "description": about, "parametersJsonSchema": _SCHEMA} for name, about in _TOOLS]
    return {"systemInstruction": {"parts": [{"text": "You answer in one short sentence."}]}, "contents": contents,
            "tools": [{"functionDeclarations": tools}],
            "generationConfig": {"temperature": 0.2, "maxOutputTokens": 500}}  # fmt: skip


_CALLS = {CHAT: _chat, RESPONSES: _responses, MESSAGES: _messages, GEMINI: _gemini}

# ── replies ─────────────────────────────────────────────────────────────────────────────────────

_ANSWER = _SENTENCE * 3
REPLIES: dict[str, bytes] = {
    dialect: json.dumps(body, ensure_ascii=False).encode()
    for dialect, body in {
        CHAT: {
            "id": "chatcmpl-bench", "object": "chat.completion", "created": 1780000000, "model": "gpt-4o",
            "choices": [{"index": 0, "logprobs": None, "finish_reason": "tool_calls", "message": {
                "role": "assistant", "content": _ANSWER, "refusal": None, "tool_calls": [{
                    "id": "call_1", "type": "function",
                    "function": {"name": "timetable", "arguments": json.dumps(_ARGUMENTS)}}]}}],
            "usage": {"prompt_tokens": 1190, "completion_tokens": 110, "total_tokens": 1300}},
        RESPONSES: {
            "id": "resp_bench", "object": "response", "created_at": 1780000000, "model": "gpt-4o",
            "status": "completed", "output": [
                {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed",
                 "content": [{"type": "output_text", "text": _ANSWER, "annotations": []}]},
                {"type": "function_call", "id": "fc_1", "call_id": "call_1", "name": "timetable",
                 "arguments": json.dumps(_ARGUMENTS), "status": "completed"}],
            "usage": {"input_tokens": 1190, "output_tokens": 110, "total_tokens": 1300}},
        MESSAGES: {
            "id": "msg_bench", "type": "message", "role": "assistant", "model": "claude-sonnet-4-5",
            "content": [{"type": "text", "text": _ANSWER},
                        {"type": "tool_use", "id": "toolu_1", "name": "timetable", "input": _ARGUMENTS}],
            "stop_reason": "tool_use", "stop_sequence": None, "usage": {"input_tokens": 1190, "output_tokens": 110}},
        GEMINI: {
            "candidates": [{"index": 0, "finishReason": "STOP", "content": {"role": "model", "parts": [
                {"text": _ANSWER}, {"functionCall": {"name": "timetable", "args": _ARGUMENTS}}]}}],
            "usageMetadata": {"promptTokenCount": 1190, "candidatesTokenCount": 110, "totalTokenCount": 1300},
            "modelVersion": "gemini-2.5-pro", "responseId": "bench"},
    }.items()
}  # fmt: skip


def stream(dialect: str, parts: int) -> bytes:
    """A streamed text in so many pieces."""
    first, piece, last = _STREAMS[dialect]
    return first + b"".join([piece % b"%d ferries " % number for number in range(parts)]) + last


_CHUNK = (
    b'data: {"id":"chatcmpl-bench","object":"chat.completion.chunk","created":1780000000,"model":"gpt-4o","choices":['
)
_DELTA = _CHUNK + b'{"index":0,"delta":{"content":"%b"},"logprobs":null,"finish_reason":null}]}\n\n'
_PLACE = b'"item_id":"msg_1","output_index":0'
_ITEM = b'{"id":"msg_1","type":"message","status":"completed","role":"assistant","content":['
_REPLY = (
    b'"response":{"id":"resp_bench","object":"response","created_at":1780000000,"model":"gpt-4o",'
    b'"status":"%b","output":[]}'
)
_STREAMS: dict[str, tuple[bytes, bytes, bytes]] = {
    CHAT: (
        _DELTA.replace(b'"content":"%b"', b'"role":"assistant","content":""'),
        _DELTA,
        _CHUNK + b'{"index":0,"delta":{},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n',
    ),
    RESPONSES: (
        b'event: response.created\ndata: {"type":"response.created",%b}\n\n'
        % (_REPLY % b"in_progress")
        + b'event: response.output_item.added\ndata: {"type":"response.output_item.added","output_index":0,'
        b'"item":%b]}}\n\n'
        % _ITEM
        + b'event: response.content_part.added\ndata: {"type":"response.content_part.added",%b,"content_index":0,'
        b'"part":{"type":"output_text","text":"","annotations":[]}}\n\n' % _PLACE,
        b'event: response.output_text.delta\ndata: {"type":"response.output_text.delta","sequence_number":4,'
        b'%b,"content_index":0,"delta":"%%b","logprobs":[],"obfuscation":"x8f"}\n\n' % _PLACE,
        b'event: response.completed\ndata: {"type":"response.completed",%b}\n\n' % (_REPLY % b"completed"),
    ),
    MESSAGES: (
        b'event: message_start\ndata: {"type":"message_start","message":{"id":"msg_bench","type":"message",'
        b'"role":"assistant","model":"claude-sonnet-4-5","content":[],"stop_reason":null,"stop_sequence":null,'
        b'"usage":{"input_tokens":1190,"output_tokens":1}}}\n\nevent: content_block_start\n'
        b'data: {"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}\n\n',
        b'event: content_block_delta\ndata: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta",'
        b'"text":"%b"}}\n\n',
        b'event: content_block_stop\ndata: {"type":"content_block_stop","index":0}\n\nevent: message_delta\n'
        b'data: {"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":90}}\n\n'
        b'event: message_stop\ndata: {"type":"message_stop"}\n\n',
    ),
    GEMINI: (
        b"",
        b'data: {"candidates":[{"content":{"parts":[{"text":"%b"}],"role":"model"},"index":0}],'
        b'"usageMetadata":{"promptTokenCount":1190,"candidatesTokenCount":9,"totalTokenCount":1199},'
        b'"modelVersion":"gemini-2.5-pro","responseId":"bench"}\r\n\r\n',
        b'data: {"candidates":[{"content":{"parts":[{"text":""}],"role":"model"},"index":0,"finishReason":"STOP"}],'
        b'"modelVersion":"gemini-2.5-pro","responseId":"bench"}\r\n\r\n',
    ),
}
