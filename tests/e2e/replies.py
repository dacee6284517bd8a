"""Replies of the four APIs that end otherwise than well, as their documents have them.

Sources: platform.openai.com/docs/api-reference (chat, responses), platform.claude.com/docs/en/api/messages,
ai.google.dev/api/generate-content.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import Any

from tests.provider import Answer

Json = dict[str, Any]
SSE = "text/event-stream"
SAID = "It will be"
"""What the model said before it was cut short."""
NO = "I can't help with that."
_USAGE = {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18}
_COUNTS = {"promptTokenCount": 11, "candidatesTokenCount": 7, "totalTokenCount": 18}
_SPENT = {"input_tokens": 11, "output_tokens": 7}


def _sse(events: Iterable[Any], named: bool = False) -> Answer:
    lines = []
    for event in events:
        head = f"event: {event['type']}\n" if named else ""
        data = event if isinstance(event, str) else json.dumps(event)
        lines.append(f"{head}data: {data}\n\n")
    return Answer(body="".join(lines).encode(), body_type=SSE)


def _whole(body: Json) -> Answer:
    return Answer(body=json.dumps(body).encode())


def _chat(message: Json, finish: str, stream: bool) -> Answer:
    base = {"id": "chatcmpl-1", "created": 1780000000, "model": "gpt-4o-2024-11-20"}
    if not stream:
        choice = {"index": 0, "message": {"role": "assistant", **message}, "finish_reason": finish, "logprobs": None}
        return _whole({**base, "object": "chat.completion", "choices": [choice], "usage": _USAGE})
    base["object"] = "chat.completion.chunk"
    deltas = [({"role": "assistant", "content": ""}, None), (message, None), ({}, finish)]
    chunks: list[Any] = [
        {**base, "choices": [{"index": 0, "delta": delta, "finish_reason": why}]} for delta, why in deltas
    ]
    return _sse([*chunks, {**base, "choices": [], "usage": _USAGE}, "[DONE]"])


def _responses(part: Json, status: str, why: str | None, stream: bool) -> Answer:
    item: Json = {"id": "msg_1", "type": "message", "role": "assistant", "status": status, "content": [part]}
    made: Json = {"id": "resp_1", "object": "response", "created_at": 1780000000, "model": "answers-1", "error": None}
    made |= {"status": status, "incomplete_details": {"reason": why} if why else None, "output": [item]}
    made |= {"parallel_tool_calls": True, "tool_choice": "auto", "tools": []}
    made["usage"] = {**_SPENT, "total_tokens": 18, "input_tokens_details": {"cached_tokens": 0}}
    made["usage"]["output_tokens_details"] = {"reasoning_tokens": 0}
    if not stream:
        return _whole(made)
    place = {"item_id": "msg_1", "output_index": 0, "content_index": 0}
    kind = "refusal" if part["type"] == "refusal" else "output_text"
    field = "refusal" if kind == "refusal" else "text"
    begun = {**made, "status": "in_progress", "output": [], "usage": None, "incomplete_details": None}
    events: list[Json] = [
        {"type": "response.created", "response": begun},
        {"type": "response.output_item.added", "output_index": 0, "item": {**item, "content": []}},
        {"type": "response.content_part.added", **place, "part": {**part, field: ""}},
        {"type": f"response.{kind}.delta", **place, "delta": part[field]},
        {"type": f"response.{kind}.done", **place, field: part[field]},
        {"type": "response.content_part.done", **place, "part": part},
        {"type": "response.output_item.done", "output_index": 0, "item": item},
        {"type": f"response.{status}", "response": made},
    ]
    return _sse([{**event, "sequence_number": number} for number, event in enumerate(events)], named=True)


def _messages(text: str, stop: str, stream: bool) -> Answer:
    message: Json = {"id": "msg_1", "type": "message", "role": "assistant", "model": "claude-sonnet-4-5"}
    blocks = [{"type": "text", "text": text}] if text else []
    end: Json = {"stop_reason": stop, "stop_sequence": None}
    if not stream:
        return _whole({**message, "content": blocks, **end, "usage": _SPENT})
    start = {**message, "content": [], "stop_reason": None, "stop_sequence": None, "usage": _SPENT}
    body: list[Json] = [
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": text}},
        {"type": "content_block_stop", "index": 0},
    ]
    last = [{"type": "message_delta", "delta": end, "usage": _SPENT}, {"type": "message_stop"}]
    return _sse([{"type": "message_start", "message": start}, *(body if text else ()), *last], named=True)


def _gemini(candidate: Json | None, stream: bool, **more: Any) -> Answer:
    body: Json = {"modelVersion": "gemini-2.5-pro", "responseId": "r1", "usageMetadata": _COUNTS, **more}
    if candidate is not None:
        body["candidates"] = [{"index": 0, **candidate}]
    return _sse([body]) if stream else _whole(body)


def _said(text: str) -> Json:
    return {"content": {"role": "model", "parts": [{"text": text}]}}


LENGTH: dict[str, Callable[[bool], Answer]] = {
    "chat": lambda stream: _chat({"content": SAID}, "length", stream),
    "responses": lambda stream: _responses(
        {"type": "output_text", "text": SAID, "annotations": []}, "incomplete", "max_output_tokens", stream
    ),
    "messages": lambda stream: _messages(SAID, "max_tokens", stream),
    "gemini": lambda stream: _gemini({**_said(SAID), "finishReason": "MAX_TOKENS"}, stream),
}
"""Cut at the limit of tokens that the caller set. By target; the argument: whether streamed."""

REFUSED: dict[str, Callable[[bool], Answer]] = {
    "chat": lambda stream: _chat({"refusal": NO}, "stop", stream),
    "responses": lambda stream: _responses({"type": "refusal", "refusal": NO}, "completed", None, stream),
    "messages": lambda stream: _messages(NO, "refusal", stream),
    "gemini": lambda stream: _gemini({**_said(NO), "finishReason": "PROHIBITED_CONTENT"}, stream),
}
"""The model will not, and says so."""

BLOCKED: dict[str, Callable[[bool], Answer]] = {
    "chat": lambda stream: _chat({"content": SAID}, "content_filter", stream),
    "responses": lambda stream: _responses(
        {"type": "output_text", "text": SAID, "annotations": []}, "incomplete", "content_filter", stream
    ),
    "messages": lambda stream: _messages("", "refusal", stream),
    "gemini": lambda stream: _gemini(None, stream, promptFeedback={"blockReason": "SAFETY"}),
}
"""The provider withheld the rest, or refused the prompt."""

THOUGHT, LOOK = "Which cities? Two.", "Let me look."
PIECES = (('{"city":"Zü', 'rich","da', 'ys":3}'), ('{"ci', 'ty":"東京"}'))
"""The arguments of two calls of the tool `weather`."""
ORDER = ((0, 0), (1, 0), (0, 1), (1, 1), (0, 2))
"""In which they come where an API can mix them: call, piece."""


def _mixed_chat() -> Answer:
    base = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1780000000, "model": "chatty-1"}
    deltas: list[Json] = [{"role": "assistant", "reasoning_content": "Which cities? "}, {"reasoning_content": "Two."}]
    deltas += [{"content": "Let me "}, {"content": "look."}]
    for call in (0, 1):
        function = {"name": "weather", "arguments": ""}
        deltas.append({"tool_calls": [{"index": call, "id": f"call_{call}", "type": "function", "function": function}]})
    deltas += [{"tool_calls": [{"index": call, "function": {"arguments": PIECES[call][n]}}]} for call, n in ORDER]
    chunks: list[Any] = [{**base, "choices": [{"index": 0, "delta": delta}]} for delta in deltas]
    chunks.append({**base, "choices": [{"index": 0, "delta": {}, "finish_reason": "tool_calls"}]})
    return _sse([*chunks, {**base, "choices": [], "usage": _USAGE}, "[DONE]"])


def _mixed_responses() -> Answer:
    uses = [
        {
            "type": "function_call",
            "id": f"fc_{call}",
            "call_id": f"call_{call}",
            "name": "weather",
            "status": "completed",
        }
        | {"arguments": "".join(PIECES[call])}
        for call in (0, 1)
    ]
    summary = [{"type": "summary_text", "text": THOUGHT}]
    text = {"type": "output_text", "text": LOOK, "annotations": []}
    items: list[Json] = [
        {"type": "reasoning", "id": "rs_1", "summary": summary, "encrypted_content": "c2VjcmV0"},
        {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed", "content": [text]},
        *uses,
    ]
    made: Json = {"id": "resp_1", "object": "response", "created_at": 1780000000, "model": "answers-1", "output": items}
    made |= {"status": "completed", "usage": {**_SPENT, "total_tokens": 18}}
    events: list[Json] = [{"type": "response.created", "response": {**made, "output": [], "status": "in_progress"}}]
    place: Json = {"item_id": "rs_1", "output_index": 0, "summary_index": 0}
    events += [
        {"type": "response.output_item.added", "output_index": 0, "item": {**items[0], "summary": []}},
        {"type": "response.reasoning_summary_part.added", **place, "part": {**summary[0], "text": ""}},
        {"type": "response.reasoning_summary_text.delta", **place, "delta": "Which cities? "},
        {"type": "response.reasoning_summary_text.delta", **place, "delta": "Two."},
        {"type": "response.reasoning_summary_text.done", **place, "text": THOUGHT},
        {"type": "response.reasoning_summary_part.done", **place, "part": summary[0]},
        {"type": "response.output_item.done", "output_index": 0, "item": items[0]},
    ]
    place = {"item_id": "msg_1", "output_index": 1, "content_index": 0}
    events += [
        {"type": "response.output_item.added", "output_index": 1, "item": {**items[1], "content": []}},
        {"type": "response.content_part.added", **place, "part": {**text, "text": ""}},
        {"type": "response.output_text.delta", **place, "delta": "Let me "},
        {"type": "response.output_text.delta", **place, "delta": "look."},
        {"type": "response.output_text.done", **place, "text": LOOK},
        {"type": "response.content_part.done", **place, "part": text},
        {"type": "response.output_item.done", "output_index": 1, "item": items[1]},
    ]
    events += [
        {"type": "response.output_item.added", "output_index": 2 + n, "item": {**use, "arguments": ""}}
        for n, use in enumerate(uses)
    ]
    events += [
        {"type": "response.function_call_arguments.delta", "item_id": f"fc_{call}", "output_index": 2 + call}
        | {"delta": PIECES[call][n]}
        for call, n in ORDER
    ]
    for n, use in enumerate(uses):
        place = {"item_id": use["id"], "output_index": 2 + n}
        events.append({"type": "response.function_call_arguments.done", **place, "arguments": use["arguments"]})
        events.append({"type": "response.output_item.done", "output_index": 2 + n, "item": use})
    events.append({"type": "response.completed", "response": made})
    return _sse([{**event, "sequence_number": number} for number, event in enumerate(events)], named=True)


def _mixed_messages() -> Answer:
    message = {"id": "msg_1", "type": "message", "role": "assistant", "model": "claude-sonnet-4-5", "content": []}
    message |= {"stop_reason": None, "stop_sequence": None, "usage": _SPENT}
    use = {"type": "tool_use", "name": "weather", "input": {}}
    blocks: list[tuple[Json, list[Json]]] = [
        (
            {"type": "thinking", "thinking": "", "signature": ""},
            [{"type": "thinking_delta", "thinking": piece} for piece in ("Which cities? ", "Two.")]
            + [{"type": "signature_delta", "signature": "c2lnbmVk"}],
        ),
        ({"type": "redacted_thinking", "data": "cmVkYWN0ZWQ="}, []),
        ({"type": "text", "text": ""}, [{"type": "text_delta", "text": piece} for piece in ("Let me ", "look.")]),
    ]
    blocks += [
        ({**use, "id": f"toolu_{call}"}, [{"type": "input_json_delta", "partial_json": one} for one in ("", *pieces)])
        for call, pieces in enumerate(PIECES)
    ]
    events: list[Json] = [{"type": "message_start", "message": message}, {"type": "ping"}]
    for index, (block, deltas) in enumerate(blocks):
        events.append({"type": "content_block_start", "index": index, "content_block": block})
        events += [{"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas]
        events.append({"type": "content_block_stop", "index": index})
    end = {"stop_reason": "tool_use", "stop_sequence": None}
    events += [{"type": "message_delta", "delta": end, "usage": _SPENT}, {"type": "message_stop"}]
    return _sse(events, named=True)


def _mixed_gemini() -> Answer:
    parts: list[list[Json]] = [
        [{"text": "Which cities? ", "thought": True}],
        [{"text": "Two.", "thought": True}],
        [{"text": "Let me "}],
        [{"text": "look."}],
        [{"functionCall": {"name": "weather", "args": json.loads("".join(PIECES[0]))}, "thoughtSignature": "Z2VtaW5p"}],
        [{"functionCall": {"name": "weather", "args": json.loads("".join(PIECES[1]))}}],
    ]
    base = {"modelVersion": "gemini-2.5-pro", "responseId": "r1"}
    bodies: list[Json] = [
        {**base, "candidates": [{"index": 0, "content": {"role": "model", "parts": part}}], "usageMetadata": _COUNTS}
        for part in parts
    ]
    bodies[-1]["candidates"][0]["finishReason"] = "STOP"
    return _sse(bodies)


MIXED: dict[str, Callable[[], Answer]] = {
    "chat": _mixed_chat,
    "responses": _mixed_responses,
    "messages": _mixed_messages,
    "gemini": _mixed_gemini,
}
"""A stream of a thought, a text and two calls of tools whose arguments come in turns."""
MIXED_SEALS = {
    "responses": ("c2VjcmV0",),
    "messages": ("c2lnbmVk", "cmVkYWN0ZWQ="),
    "gemini": ("Z2VtaW5p",),
    "chat": (),
}
"""What the provider wants back on the next turn."""

URL, TITLE = "https://weather.example/zurich", "The weather"
CLAIM = "It is sunny."
_PLACE = {"start_index": 0, "end_index": len(CLAIM), "url": URL, "title": TITLE}


def _cited_chat(stream: bool) -> Answer:
    annotation = {"type": "url_citation", "url_citation": _PLACE}
    if not stream:
        return _chat({"content": CLAIM, "annotations": [annotation]}, "stop", False)
    base = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1780000000, "model": "chatty-1"}
    deltas: list[Json] = [{"role": "assistant", "content": ""}, {"content": CLAIM}, {"annotations": [annotation]}]
    chunks: list[Any] = [{**base, "choices": [{"index": 0, "delta": delta}]} for delta in deltas]
    chunks.append({**base, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
    return _sse([*chunks, "[DONE]"])


def _cited_responses(stream: bool) -> Answer:
    annotation = {"type": "url_citation", **_PLACE}
    action = {"type": "search", "query": "weather zurich", "queries": ["weather zurich"], "sources": []}
    search = {"type": "web_search_call", "id": "ws_1", "status": "completed", "action": action}
    text = {"type": "output_text", "text": CLAIM, "annotations": [annotation], "logprobs": []}
    message = {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed", "content": [text]}
    made: Json = {"id": "resp_1", "object": "response", "created_at": 1780000000, "model": "answers-1"}
    made |= {"status": "completed", "output": [search, message], "usage": {**_SPENT, "total_tokens": 18}}
    if not stream:
        return _whole(made)
    place: Json = {"item_id": "msg_1", "output_index": 1, "content_index": 0}
    at = {"item_id": "ws_1", "output_index": 0}
    events: list[Json] = [
        {"type": "response.created", "response": {**made, "output": [], "status": "in_progress"}},
        {"type": "response.output_item.added", "output_index": 0, "item": {**search, "status": "in_progress"}},
        {"type": "response.web_search_call.in_progress", **at},
        {"type": "response.web_search_call.searching", **at},
        {"type": "response.web_search_call.completed", **at},
        {"type": "response.output_item.done", "output_index": 0, "item": search},
        {"type": "response.output_item.added", "output_index": 1, "item": {**message, "content": []}},
        {"type": "response.content_part.added", **place, "part": {**text, "text": "", "annotations": []}},
        {"type": "response.output_text.delta", **place, "delta": CLAIM},
        {"type": "response.output_text.annotation.added", **place, "annotation_index": 0, "annotation": annotation},
        {"type": "response.output_text.done", **place, "text": CLAIM},
        {"type": "response.content_part.done", **place, "part": text},
        {"type": "response.output_item.done", "output_index": 1, "item": message},
        {"type": "response.completed", "response": made},
    ]
    return _sse([{**event, "sequence_number": number} for number, event in enumerate(events)], named=True)


def _cited_messages(stream: bool) -> Answer:
    found = {"type": "web_search_result", "url": URL, "title": TITLE, "encrypted_content": "ZW5j", "page_age": None}
    use: Json = {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search"}
    result = {"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": [found]}
    citation = {"type": "web_search_result_location", "url": URL, "title": TITLE}
    citation |= {"cited_text": CLAIM, "encrypted_index": "aW5kZXg="}
    asked = {"query": "weather zurich"}
    message: Json = {"id": "msg_1", "type": "message", "role": "assistant", "model": "claude-sonnet-4-5"}
    end = {"stop_reason": "end_turn", "stop_sequence": None}
    if not stream:
        text = {"type": "text", "text": CLAIM, "citations": [citation]}
        return _whole({**message, "content": [{**use, "input": asked}, result, text], **end, "usage": _SPENT})
    start = {**message, "content": [], "stop_reason": None, "stop_sequence": None, "usage": _SPENT}
    deltas: list[tuple[int, Json]] = [
        (0, {"type": "input_json_delta", "partial_json": json.dumps(asked)}),
        (2, {"type": "citations_delta", "citation": citation}),
        (2, {"type": "text_delta", "text": CLAIM}),
    ]
    blocks: list[Json] = [{**use, "input": {}}, result, {"type": "text", "text": "", "citations": []}]
    events: list[Json] = [{"type": "message_start", "message": start}]
    for index, block in enumerate(blocks):
        events.append({"type": "content_block_start", "index": index, "content_block": block})
        events += [{"type": "content_block_delta", "index": at, "delta": delta} for at, delta in deltas if at == index]
        events.append({"type": "content_block_stop", "index": index})
    events += [{"type": "message_delta", "delta": end, "usage": _SPENT}, {"type": "message_stop"}]
    return _sse(events, named=True)


def _cited_gemini(stream: bool) -> Answer:
    grounding = {
        "webSearchQueries": ["weather zurich"],
        "groundingChunks": [{"web": {"uri": URL, "title": TITLE}}],
        "groundingSupports": [{"segment": {"endIndex": len(CLAIM), "text": CLAIM}, "groundingChunkIndices": [0]}],
        "searchEntryPoint": {"renderedContent": "<div></div>"},
    }
    return _gemini({**_said(CLAIM), "finishReason": "STOP", "groundingMetadata": grounding}, stream)


CITED: dict[str, Callable[[bool], Answer]] = {
    "chat": _cited_chat,
    "responses": _cited_responses,
    "messages": _cited_messages,
    "gemini": _cited_gemini,
}
"""A claim and where it comes from, found by a tool of the provider's."""
