"""OpenAI chat completions and legacy completions."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tests.provider.answer import Tokens
from tests.provider.wire.said import CREATED, Said, compact, cut, event, pretty

ERROR = {"message": "The server had an error.", "type": "server_error", "param": None, "code": None}


def usage(tokens: Tokens) -> dict[str, Any]:
    return {
        "prompt_tokens": tokens.input,
        "completion_tokens": tokens.output,
        "total_tokens": tokens.input + tokens.output,
        "prompt_tokens_details": {"cached_tokens": tokens.cached, "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": tokens.reasoning,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }


def whole(said: Said) -> bytes:
    choices = [
        {"index": index, "message": _message(said), "logprobs": None, "finish_reason": _finish(said)}
        for index in range(said.call.get("n") or 1)
    ]
    body: dict[str, Any] = {
        "id": "chatcmpl-fake0001",
        "object": "chat.completion",
        "created": CREATED,
        "model": said.model,
        "choices": choices,
    }
    if said.tokens:
        body["usage"] = usage(said.tokens)
    return (pretty({**body, "service_tier": "default", "system_fingerprint": "fp_fake"}) + "\n").encode()


def _message(said: Said) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": said.text, "refusal": None, "annotations": []}
    if said.thinking:
        message["reasoning_content"] = said.thinking  # as DeepSeek, Groq and others write it
    if said.tools:
        message |= {"content": None, "tool_calls": [_tool(tool.id, tool.name, tool.arguments) for tool in said.tools]}
    return message


def _tool(id_: str, name: str, arguments: Any) -> dict[str, Any]:
    return {"id": id_, "type": "function", "function": {"name": name, "arguments": compact(arguments)}}


def _finish(said: Said) -> str:
    return "tool_calls" if said.tools else "stop"


def events(said: Said) -> Iterator[bytes]:
    asked = (said.call.get("stream_options") or {}).get("include_usage") and said.tokens
    base: dict[str, Any] = {
        "id": "chatcmpl-fake0001",
        "object": "chat.completion.chunk",
        "created": CREATED,
        "model": said.model,
        "service_tier": "default",
        "system_fingerprint": "fp_fake",
    }
    extra = {"usage": None} if asked else {}
    for index in range(said.call.get("n") or 1):
        for delta, finish in _deltas(said):
            choice = {"index": index, "delta": delta, "logprobs": None, "finish_reason": finish}
            yield event(None, {**base, "choices": [choice], **extra})
    if said.error_after is not None:
        yield event(None, {"error": ERROR})
        return
    if asked and said.tokens:
        yield event(None, {**base, "choices": [], "usage": usage(said.tokens)})
    if said.ending:
        yield event(None, "[DONE]")


def _deltas(said: Said) -> Iterator[tuple[dict[str, Any], str | None]]:
    yield {"role": "assistant", "content": None if said.tools else "", "refusal": None}, None
    for piece in cut(said.thinking, 0):
        yield {"reasoning_content": piece}, None
    if said.tools:
        yield from _tool_deltas(said)
    else:
        for piece in said.until_error():
            yield {"content": piece}, None
    if said.error_after is None:
        yield {}, _finish(said)


def _tool_deltas(said: Said) -> Iterator[tuple[dict[str, Any], None]]:
    for index, tool in enumerate(said.tools):
        first = _tool(tool.id, tool.name, {})
        first["function"]["arguments"] = ""
        yield {"tool_calls": [{"index": index, **first}]}, None
        for piece in cut(compact(tool.arguments), 7):
            yield {"tool_calls": [{"index": index, "function": {"arguments": piece}}]}, None


def whole_text(said: Said) -> bytes:
    """Legacy completions, whole."""
    body = _text_body(said, said.text, "stop")
    return pretty(body | ({"usage": usage(said.tokens)} if said.tokens else {})).encode()


def text_events(said: Said) -> Iterator[bytes]:
    """Legacy completions, streamed."""
    for piece in said.until_error():
        yield event(None, _text_body(said, piece, None))
    if said.error_after is not None:
        yield event(None, {"error": ERROR})
        return
    yield event(None, _text_body(said, "", "stop"))
    if said.tokens and (said.call.get("stream_options") or {}).get("include_usage"):
        yield event(None, _text_body(said, "", None) | {"choices": [], "usage": usage(said.tokens)})
    if said.ending:
        yield event(None, "[DONE]")


def _text_body(said: Said, text: str, finish: str | None) -> dict[str, Any]:
    return {
        "id": "cmpl-fake0001",
        "object": "text_completion",
        "created": CREATED,
        "model": said.model,
        "choices": [{"text": text, "index": 0, "logprobs": None, "finish_reason": finish}],
    }
