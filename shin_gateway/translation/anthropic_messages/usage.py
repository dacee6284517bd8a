"""Usage as this API counts it: input without what the prompt cache served or took in."""

from __future__ import annotations

from typing import Any

from shin_gateway.dialects.numbers import count, part_of
from shin_gateway.outcome import Usage
from shin_gateway.translation.anthropic_messages.names import Json


def take(usage: Any, counts: dict[str, int]) -> Usage | None:
    """What `usage` says, on top of `counts`: later reports of a stream are cumulative and may be partial."""
    if not isinstance(usage, dict):
        return None
    creation = part_of(usage, "cache_creation")
    hour, minutes = count(creation, "ephemeral_1h_input_tokens"), count(creation, "ephemeral_5m_input_tokens")
    _raise(counts, "input", count(usage, "input_tokens"))
    _raise(counts, "output", count(usage, "output_tokens"))
    _raise(counts, "cached", count(usage, "cache_read_input_tokens"))
    _raise(counts, "written", count(usage, "cache_creation_input_tokens"))
    _raise(counts, "written", (hour or 0) + (minutes or 0))
    _raise(counts, "hour", hour)
    _raise(counts, "thinking", count(part_of(usage, "output_tokens_details"), "thinking_tokens"))
    return _usage(counts)


def _raise(counts: dict[str, int], name: str, value: int | None) -> None:
    if value is not None and value > counts.get(name, -1):
        counts[name] = value


def _usage(counts: dict[str, int]) -> Usage:
    cached, written, output = counts.get("cached", 0), counts.get("written", 0), counts.get("output", 0)
    return Usage(
        input=counts.get("input", 0) + cached + written,
        output=output,
        cached=cached,
        cache_write=written,
        cache_write_1h=min(counts.get("hour", 0), written),
        reasoning=min(counts.get("thinking", 0), output),
    )


def delta(usage: Usage | None) -> Json:
    """`usage` of a message_delta: totals so far."""
    found = usage or Usage()
    written: Json = {
        "input_tokens": max(0, found.input - found.cached - found.cache_write),
        "cache_creation_input_tokens": found.cache_write,
        "cache_read_input_tokens": found.cached,
        "output_tokens": found.output,
    }
    if found.reasoning:
        written["output_tokens_details"] = {"thinking_tokens": found.reasoning}
    return written


def whole(usage: Usage | None, service_tier: str) -> Json:
    """`usage` of a message."""
    found = usage or Usage()
    hour = min(found.cache_write_1h, found.cache_write)
    written = delta(usage)
    written["cache_creation"] = {
        "ephemeral_5m_input_tokens": found.cache_write - hour,
        "ephemeral_1h_input_tokens": hour,
    }
    if service_tier:
        written["service_tier"] = service_tier
    return written
