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
    "function_call_filter": "malformed_tool",
    "recitation": "filtered",
    "prohibited_content": "filtered",
    "blocklist": "filtered",
    "spii": "filtered",
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
BROKEN = frozenset({"error", "insufficient_system_resource", "abort", "network_error"})
"""Reasons that mean a failure: OpenRouter and Mistral, DeepSeek, SGLang, GLM."""


def read_finish(word: object, tools: bool, stop_reason: object = None, refused: bool = False) -> tuple[Finish, str]:
    """The reason and the stop sequence, which vLLM names (`stop_reason`). A call of a tool is one whatever is said."""
    # Gemini's compatible API says more after a colon: `content_filter: SAFETY`.
    finish = _FINISH.get(word.partition(":")[0].lower(), "stop") if isinstance(word, str) else "stop"
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
    tokens = legacy_tokens(found)
    for name in ("content", "refusal"):
        entries = found.get(name)
        if isinstance(entries, list):
            tokens += [entry for entry in entries if isinstance(entry, dict) and isinstance(entry.get("token"), str)]
    return tokens


def legacy_tokens(found: Json) -> list[Json]:
    """`{tokens, token_logprobs, top_logprobs}`, of the legacy API and Together's, as one object for each token."""
    tokens, values, tops = (found.get(name) for name in ("tokens", "token_logprobs", "top_logprobs"))
    if not isinstance(tokens, list) or not isinstance(values, list):
        return []
    tops = tops if isinstance(tops, list) else [None] * len(tokens)
    return [
        {"token": token, "logprob": value, "bytes": None, "top_logprobs": _legacy_tops(top)}
        for token, value, top in zip(tokens, values, tops, strict=False)
        if isinstance(token, str) and isinstance(value, int | float)
    ]


def _legacy_tops(top: Any) -> list[Json]:
    items = top.items() if isinstance(top, dict) else ()
    return [{"token": token, "logprob": value, "bytes": None} for token, value in items]


def write_logprobs(tokens: list[Json]) -> Json:
    """With the fields that OpenAI's clients insist on."""
    return {"content": [_token(one) for one in tokens], "refusal": None}


def _token(one: Json) -> Json:
    tops = one.get("top_logprobs")
    found = [_chance(top) for top in tops if isinstance(top, dict)] if isinstance(tops, list) else []
    return {**_chance(one), "top_logprobs": found}


def _chance(one: Json) -> Json:
    value, spelt = one.get("logprob"), one.get("bytes")
    value = value if isinstance(value, int | float) else _UNLIKELY
    return {"token": str(one.get("token", "")), "logprob": value, "bytes": spelt if isinstance(spelt, list) else None}


_UNLIKELY = -9999.0
"""OpenAI's word for a token beyond the likeliest."""


def read_citation(annotation: Any) -> Citation | None:
    if not isinstance(annotation, dict) or annotation.get("type") != "url_citation":
        return None
    inner = annotation.get("url_citation")
    if not isinstance(inner, dict) or not isinstance(inner.get("url"), str):
        return None
    return Citation(
        url=inner["url"],
        title=text_in(inner, "title"),
        quote=text_in(inner, "content"),
        start=_place(inner.get("start_index")),
        end=_place(inner.get("end_index")),
        raw=annotation,
        origin=ORIGIN,
    )


def read_sources(body: Json) -> list[Citation]:
    """Pages that the whole answer leans on: Perplexity's `search_results`, its older `citations`, and xAI's.

    docs.perplexity.ai/api-reference/sonar-post; the text names them by number: `[1]`.
    """
    results = body.get("search_results")
    pages = [one for one in results if isinstance(one, dict)] if isinstance(results, list) else []
    if not pages and isinstance(urls := body.get("citations"), list):
        pages = [one if isinstance(one, dict) else {"url": one} for one in urls]
    return [
        Citation(url=page["url"], title=text_in(page, "title"), quote=text_in(page, "snippet"), raw=page, origin=ORIGIN)
        for page in pages
        if isinstance(page.get("url"), str) and page["url"]
    ]


def text_in(owner: Json, name: str) -> str:
    value = owner.get(name)
    return value if isinstance(value, str) else ""


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
