"""Gemini generateContent: whole, server-sent events (with CRLF, as Google writes them) and a JSON array."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tests.provider.answer import Tokens
from tests.provider.wire.said import Said, cut, event, pretty

Json = dict[str, Any]
ERROR = {"error": {"code": 503, "message": "The model is overloaded.", "status": "UNAVAILABLE"}}


def usage(tokens: Tokens) -> Json:
    """The prompt includes cached tokens; candidates exclude thoughts."""
    counts: Json = {
        "promptTokenCount": tokens.input,
        "candidatesTokenCount": tokens.output - tokens.reasoning,
        "totalTokenCount": tokens.input + tokens.output,
        "promptTokensDetails": [{"modality": "TEXT", "tokenCount": tokens.input}],
    }
    if tokens.cached:
        counts["cachedContentTokenCount"] = tokens.cached
    return counts | ({"thoughtsTokenCount": tokens.reasoning} if tokens.reasoning else {})


def whole(said: Said) -> bytes:
    parts = _thoughts([said.thinking]) if said.thinking else []
    parts += _tool_parts(said) if said.tools else [{"text": said.text}]
    return (pretty(_enclose(said, _reply(said, parts, "STOP"))) + "\n").encode()


def events(said: Said) -> Iterator[bytes]:
    for reply in _replies(said):
        yield event(None, reply, "\r\n")


def array(said: Said) -> Iterator[bytes]:
    """streamGenerateContent without alt=sse: one JSON array whose members arrive one by one."""
    opening = "["
    for reply in _replies(said):
        yield f"{opening}{pretty(reply)}".encode()
        opening = "\n,\r\n"
    if said.ending:
        yield b"\n]\n"


def _replies(said: Said) -> Iterator[Json]:
    for piece in cut(said.thinking, 0):
        yield _enclose(said, _reply(said, _thoughts([piece]), None))
    if said.tools:
        yield _enclose(said, _reply(said, _tool_parts(said), "STOP"))
        return
    pieces = said.until_error()
    final = len(pieces) - 1 if said.error_after is None else -1
    for index, piece in enumerate(pieces):
        yield _enclose(said, _reply(said, [{"text": piece}], "STOP" if index == final else None))
    if said.error_after is not None:
        yield ERROR


def _reply(said: Said, parts: list[Json], finish: str | None) -> Json:
    candidate: Json = {"content": {"parts": parts, "role": "model"}}
    if finish:
        candidate["finishReason"] = finish
    reply: Json = {"candidates": [candidate | {"index": 0}]}
    if said.tokens:
        reply["usageMetadata"] = usage(said.tokens)
    return reply | {"modelVersion": said.model, "responseId": "fake0001"}


def _thoughts(texts: list[str]) -> list[Json]:
    return [{"text": text, "thought": True} for text in texts]


def _tool_parts(said: Said) -> list[Json]:
    return [
        {"functionCall": {"name": tool.name, "args": dict(tool.arguments)}, "thoughtSignature": "RmFrZQ=="}
        for tool in said.tools
    ]


def _enclose(said: Said, reply: Json) -> Json:
    """Google's own log-in back end wraps what it says when it was asked in an envelope."""
    return {"response": reply, "traceId": "fake0001"} if "request" in said.call else reply
