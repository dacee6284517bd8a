"""Why an answer ended, in Gemini's words and in the form's.

Source: ai.google.dev/api/generate-content#FinishReason
"""

from __future__ import annotations

from shin_gateway.translation.form import Finish

_FILTERED = (
    "SAFETY", "RECITATION", "LANGUAGE", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII", "IMAGE_SAFETY",
    "IMAGE_PROHIBITED_CONTENT", "IMAGE_RECITATION", "MODEL_ARMOR",
)  # fmt: skip
_MALFORMED = (
    "MALFORMED_FUNCTION_CALL", "UNEXPECTED_TOOL_CALL", "TOO_MANY_TOOL_CALLS", "MISSING_THOUGHT_SIGNATURE",
    "MALFORMED_RESPONSE",
)  # fmt: skip
_FINISHES: dict[str, Finish] = {
    "MAX_TOKENS": "length",
    "CONTINUATION": "paused",
    **dict.fromkeys(_FILTERED, "filtered"),
    **dict.fromkeys(_MALFORMED, "malformed_tool"),
}
_REASONS: dict[Finish, str] = {
    "length": "MAX_TOKENS",
    "context": "MAX_TOKENS",
    "filtered": "SAFETY",
    "refused": "SAFETY",
    "malformed_tool": "MALFORMED_FUNCTION_CALL",
}
_BLOCKS = frozenset(["SAFETY", "OTHER", "BLOCKLIST", "PROHIBITED_CONTENT", "IMAGE_SAFETY", "MODEL_ARMOR", "JAILBREAK"])


def finish_of(reason: object, calls_tools: bool) -> Finish:
    """STOP says nothing of tools: an answer that calls some waits for their results."""
    found = _FINISHES.get(reason) if isinstance(reason, str) else None
    return found or ("tools" if calls_tools else "stop")


def reason_of(finish: Finish | None) -> str:
    return _REASONS.get(finish, "STOP") if finish else "STOP"


def block_reason(word: str) -> str:
    """Why the prompt was blocked, as a word that Gemini's clients know."""
    return word if word in _BLOCKS else "OTHER"
