"""The object `response`, which repeats the call that it answers, as OpenAI's does.

Source: developers.openai.com/api/reference/resources/responses, and the types of the official SDKs.
"""

from __future__ import annotations

import time
from typing import Any

from shin_gateway.outcome import Usage
from shin_gateway.translation.form import Finish, Json
from shin_gateway.translation.translator import Origin

_REPEATED: tuple[tuple[str, Any], ...] = (
    ("background", False),
    ("frequency_penalty", 0.0),
    ("presence_penalty", 0.0),
    ("instructions", None),
    ("max_output_tokens", None),
    ("max_tool_calls", None),
    ("previous_response_id", None),
    ("prompt_cache_key", None),
    ("prompt_cache_retention", None),
    ("safety_identifier", None),
    ("top_logprobs", 0),
    ("truncation", "disabled"),
    ("user", None),
    ("parallel_tool_calls", True),
    ("store", True),
    ("temperature", 1.0),
    ("top_p", 1.0),
    ("tool_choice", "auto"),
    ("metadata", {}),
)
"""Fields of the call that the reply has too, and what they are where the call does not say."""
_SECRETS = ("authorization", "headers")
"""What a caller gives an MCP server's tool, which OpenAI does not repeat either."""
_TIERS = frozenset({"auto", "default", "flex", "scale", "priority", "fast", "ultrafast"})

_STATUS: dict[str, tuple[str, str | None]] = {
    "length": ("incomplete", "max_output_tokens"),
    "context": ("incomplete", "max_output_tokens"),
    "filtered": ("incomplete", "content_filter"),
    "malformed_tool": ("failed", None),
}
_MALFORMED = {"code": "server_error", "message": "The model's tool call could not be read."}


def reply_id(origin: Origin) -> str:
    """The same as in the dialect's error events, so that a client sees one reply and not two."""
    return f"resp_{origin.call_id}"


def envelope(origin: Origin) -> Json:
    """A reply that has just begun."""
    body = origin.body
    reply: Json = {
        "id": reply_id(origin),
        "object": "response",
        "created_at": origin.created,
        "status": "in_progress",
        "completed_at": None,
        "error": None,
        "incomplete_details": None,
        "model": origin.model or origin.chat.model,
        "output": [],
    }
    for name, default in _REPEATED:
        value = body.get(name)
        reply[name] = default if value is None else value
    reply["reasoning"] = {"effort": None, "summary": None, **_given(body, "reasoning")}
    reply["text"] = {"format": {"type": "text"}, "verbosity": "medium", **_given(body, "text")}
    reply["tools"] = [_tool(tool) for tool in body.get("tools") or ()]
    tier = body.get("service_tier")
    reply["service_tier"] = tier if isinstance(tier, str) and tier in _TIERS else "auto"
    reply["usage"] = None
    conversation = body.get("conversation")
    if conversation is not None:
        reply["conversation"] = {"id": conversation} if isinstance(conversation, str) else conversation
    return reply


def _given(body: Json, name: str) -> Json:
    value = body.get(name)
    return {key: inner for key, inner in value.items() if inner is not None} if isinstance(value, dict) else {}


def _tool(tool: Json) -> Json:
    if tool.get("type") == "function":
        return {"description": None, "parameters": None, "strict": True, **tool}
    if tool.get("type") == "mcp" and any(name in tool for name in _SECRETS):
        return {name: value for name, value in tool.items() if name not in _SECRETS}
    return tool


def settle(reply: Json, finish: Finish | None, refused: bool, usage: Usage | None, tier: str) -> None:
    """How it ended. `refused`: whether the output itself says that the model would not."""
    status, reason = _STATUS.get(finish or "stop", ("completed", None))
    if finish == "refused" and not refused:  # the provider stopped it, and there is no other word for that
        status, reason = "incomplete", "content_filter"
    reply["status"] = status
    if status == "completed":
        reply["completed_at"] = max(reply["created_at"], int(time.time()))
    if reason is not None:
        reply["incomplete_details"] = {"reason": reason}
    if status == "failed":
        reply["error"] = _MALFORMED
    reply["usage"] = usage_object(usage)
    if tier in _TIERS and tier != "auto":
        reply["service_tier"] = tier
    elif reply["service_tier"] == "auto":
        reply["service_tier"] = "default"


def item_status(finish: Finish | None) -> str:
    return "incomplete" if finish in ("length", "context", "filtered") else "completed"


def usage_object(usage: Usage | None) -> Json | None:
    if usage is None:
        return None
    return {
        "input_tokens": usage.input,
        "input_tokens_details": {"cached_tokens": usage.cached, "cache_write_tokens": usage.cache_write},
        "output_tokens": usage.output,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning},
        "total_tokens": usage.input + usage.output,
    }
