"""Anthropic messages."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tests.provider.answer import Tokens, ToolCall
from tests.provider.wire.said import Said, compact, cut, event

SIGNATURE = "RmFrZVNpZ25hdHVyZQ=="
OVERLOADED = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded", "details": None}}


@dataclass(frozen=True, slots=True)
class Block:
    """One content block: whole, as it starts in a stream, and its deltas."""

    whole: dict[str, Any]
    start: dict[str, Any]
    deltas: list[dict[str, Any]]


def usage(tokens: Tokens) -> dict[str, Any]:
    """Input excludes what came from or went into the cache: Anthropic's way."""
    return {
        "input_tokens": tokens.input - tokens.cached - tokens.cache_write,
        "cache_creation_input_tokens": tokens.cache_write,
        "cache_read_input_tokens": tokens.cached,
        "cache_creation": {"ephemeral_5m_input_tokens": tokens.cache_write, "ephemeral_1h_input_tokens": 0},
        "output_tokens": tokens.output,
        "service_tier": "standard",
    }


def whole(said: Said) -> bytes:
    message = _message(said, [block.whole for block in _blocks(said)], _stop(said))
    return compact(message | ({"usage": usage(said.tokens)} if said.tokens else {})).encode()


def events(said: Said) -> Iterator[bytes]:
    for data in _events(said):
        yield event(data["type"], data)


def _events(said: Said) -> Iterator[dict[str, Any]]:
    start = {"usage": usage(said.tokens) | {"output_tokens": 1}} if said.tokens else {}
    yield {"type": "message_start", "message": _message(said, [], None) | start}
    for index, block in enumerate(_blocks(said)):
        yield {"type": "content_block_start", "index": index, "content_block": block.start}
        if index == 0:
            yield {"type": "ping"}
        for delta in block.deltas:
            yield {"type": "content_block_delta", "index": index, "delta": delta}
        if said.error_after is None:
            yield {"type": "content_block_stop", "index": index}
    if said.error_after is not None:
        yield OVERLOADED
        return
    last = {"usage": _last_usage(said.tokens)} if said.tokens else {}
    yield {"type": "message_delta", "delta": {"stop_reason": _stop(said), "stop_sequence": None}, **last}
    if said.ending:
        yield {"type": "message_stop"}


def _last_usage(tokens: Tokens) -> dict[str, Any]:
    """Cumulative, without the details that only the start has."""
    kept = ("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens", "output_tokens")
    return {key: value for key, value in usage(tokens).items() if key in kept}


def _message(said: Said, content: list[dict[str, Any]], stop: str | None) -> dict[str, Any]:
    return {
        "model": said.model,
        "id": "msg_fake0001",
        "type": "message",
        "role": "assistant",
        "content": content,
        "stop_reason": stop,
        "stop_sequence": None,
    }


def _stop(said: Said) -> str:
    return "tool_use" if said.tools else "end_turn"


def _blocks(said: Said) -> Iterator[Block]:
    if said.thinking:
        yield _thinking(said.thinking)
    if not said.tools:
        yield _text(said)
    for tool in said.tools:
        yield _tool_use(tool)


def _text(said: Said) -> Block:
    return Block(
        whole={"type": "text", "text": said.text},
        start={"type": "text", "text": ""},
        deltas=[{"type": "text_delta", "text": piece} for piece in said.until_error()],
    )


def _thinking(text: str) -> Block:
    pieces: list[dict[str, Any]] = [{"type": "thinking_delta", "thinking": piece} for piece in cut(text, 0)]
    return Block(
        whole={"type": "thinking", "thinking": text, "signature": SIGNATURE},
        start={"type": "thinking", "thinking": "", "signature": ""},
        deltas=[*pieces, {"type": "signature_delta", "signature": SIGNATURE}],
    )


def _tool_use(tool: ToolCall) -> Block:
    head = {"type": "tool_use", "id": tool.id.replace("call_", "toolu_"), "name": tool.name}
    pieces = ("", *cut(compact(tool.arguments), 7))
    return Block(
        whole={**head, "input": dict(tool.arguments)},
        start={**head, "input": {}},
        deltas=[{"type": "input_json_delta", "partial_json": piece} for piece in pieces],
    )
