"""The dialect's own words, in one place."""

from __future__ import annotations

import re

import msgspec

from shin_gateway.translation.form import Finish
from shin_gateway.translation.form import Json as Json

ORIGIN = "anthropic.messages"

FINISHES: dict[str, Finish] = {
    "end_turn": "stop",
    "max_tokens": "length",
    "stop_sequence": "stop_sequence",
    "tool_use": "tools",
    "pause_turn": "paused",
    "compaction": "paused",
    "refusal": "refused",
    "model_context_window_exceeded": "context",
}
"""`stop_reason` (platform.claude.com/docs/en/api/handling-stop-reasons). What is not here counts as `stop`."""

STOP_REASONS: dict[Finish, str] = {finish: reason for reason, finish in FINISHES.items()} | {
    "paused": "pause_turn",
    "filtered": "refusal",
    "malformed_tool": "end_turn",
}

TIERS = {"standard": "default", "priority": "priority", "batch": "batch"}
"""`usage.service_tier` in the form's words."""
TIERS_OUT = {"default": "standard", "auto": "standard", "priority": "priority", "batch": "batch"}

TOOL_SEAL = "tool:"
"""In a parcel's `id`, before the id of the tool use whose seal it carries: Anthropic's tool uses have no room for
one. It travels as a thinking block of its own, without text, which clients return as they must return any; a longer
tool id would survive as well, but Claude Code names files after it."""

_PLAIN = re.compile(r"[a-z][a-z0-9_]{0,39}")


def plain(word: str) -> str:
    """A client's own word, if it may stand in a header and a log, else `other`."""
    return word if _PLAIN.fullmatch(word) else "other"


def dumps(value: object) -> str:
    """Compact JSON text."""
    return msgspec.json.encode(value).decode()
