"""Usage, reasons to finish and log probabilities, as Chat Completions has them."""

from __future__ import annotations

from typing import Any

from shin_gateway.outcome import Usage
from shin_gateway.translation.form import AnyPart, Citation, Finish, Refused, ToolUse
from shin_gateway.translation.openai_chat.reasoning import ORIGIN

Json = dict[str, Any]

TIERS = frozenset({"auto", "default", "flex", "scale", "priority", "fast"})

_FINISH: dict[str, Finish] = {
    "stop": "stop",
    "length": "length",
    "tool_calls": "tools",
    "function_call": "tools",
    "content_filter": "filtered",
    # Compatible servers: Mistral, GLM, Gemini's, Together, and proxies that pass on what they got.
    "model_length": "context",
    "model_context_window_exceeded": "context",
    "max_tokens": "length",
    "max_output_tokens": "length",
    "sensitive": "filtered",
    "safety": "filtered",
    "refusal": "refused",
    "tool_use": "tools",
    "malformed_function_call": "malformed_tool",
}
_WORDS: dict[Finish, str] = {
    "stop": "stop",
    "stop_sequence": "stop",
    "length": "length",
    "context": "length",
    "tools": "tool_calls",
    "filtered": "content_filter",
    "refused": "content_filter",
    "paused": "stop",
    "malformed_tool": "stop",
}
BROKEN = frozenset({"error", "insufficient_system_resource", "abort"})
"""Reasons that mean a failure: OpenRouter and Mistral, DeepSeek, SGLang."""


def read_finish(word: object, tools: bool, stop_reason: object = None, refused: bool = False) -> tuple[Finish, str]:
    """The reason and the stop sequence, which vLLM names (`stop_reason`). A call of a tool is one whatever is said."""
    finish = _FINISH.get(word.lower(), "stop") if isinstance(word, str) else "stop"
    if finish == "stop" and tools:
        return "tools", ""
    if finish == "tools" and not tools:
        return "stop", ""
    if finish == "stop" and refused:
        return "refused", ""
    if finish == "stop" and isinstance(stop_reason, str) and stop_reason:
        return "stop_sequence", stop_reason
    return finish, ""


def write_finish(finish: Finish | None, parts: list[AnyPart], legacy: bool) -> str:
    word = _WORDS[finish or "stop"]
    if finish == "refused" and any(isinstance(part, Refused) for part in parts):
        return "stop"
    if word == "tool_calls" and legacy:
        return "function_call"
    return "tool_calls" if finish is None and any(isinstance(part, ToolUse) for part in parts) else word


def write_usage(usage: Usage) -> Json:
    details: Json = {"cached_tokens": usage.cached, "audio_tokens": usage.input_audio}
    if usage.cache_write:
        details["cache_write_tokens"] = usage.cache_write
    return {
        "prompt_tokens": usage.input,
        "completion_tokens": usage.output,
        "total_tokens": usage.input + usage.output,
        "prompt_tokens_details": details,
        "completion_tokens_details": {
            "reasoning_tokens": usage.reasoning,
            "audio_tokens": usage.output_audio,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }


def read_logprobs(choice: Json) -> list[Json]:
    found = choice.get("logprobs")
    if not isinstance(found, dict):
        return []
    tokens: list[Json] = []
    for name in ("content", "refusal"):
        entries = found.get(name)
        if isinstance(entries, list):
            tokens += [entry for entry in entries if isinstance(entry, dict) and isinstance(entry.get("token"), str)]
    return tokens


def write_logprobs(tokens: list[Json]) -> Json:
    """With the fields that OpenAI's clients insist on."""
    return {"content": [{"bytes": None, "top_logprobs": [], **token} for token in tokens], "refusal": None}


def read_citation(annotation: Any) -> Citation | None:
    if not isinstance(annotation, dict) or annotation.get("type") != "url_citation":
        return None
    inner = annotation.get("url_citation")
    if not isinstance(inner, dict) or not isinstance(inner.get("url"), str):
        return None
    title, quote = inner.get("title"), inner.get("content")
    return Citation(
        url=inner["url"],
        title=title if isinstance(title, str) else "",
        quote=quote if isinstance(quote, str) else "",
        start=_place(inner.get("start_index")),
        end=_place(inner.get("end_index")),
        raw=annotation,
        origin=ORIGIN,
    )


def _place(value: object) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**31 else -1


def write_citation(citation: Citation, start: int, end: int) -> Json | None:
    """None for what is no page on the web. `start` and `end` are those of the text that is cited for."""
    if not citation.url:
        return None
    if citation.start >= 0:
        start, end = start + citation.start, start + max(citation.start, citation.end)
    place = {"start_index": start, "end_index": end}
    return {"type": "url_citation", "url_citation": {**place, "url": citation.url, "title": citation.title}}
