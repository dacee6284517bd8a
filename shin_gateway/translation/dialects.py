"""Which dialects can be translated into which."""

from __future__ import annotations

from functools import cache

from shin_gateway.translation.translator import Translator

CHATS = ("openai.chat", "openai.responses", "anthropic.messages", "gemini.generate")
"""Dialects that a target of a chat may speak."""

COUNTING = ("openai.responses", "anthropic.messages", "gemini.generate")
"""Those whose API can count a chat's tokens."""

_CHAT_KINDS = ("chat", "respond", "complete")
_EMBEDDINGS = ("openai.embeddings", "gemini.generate")


def others(dialect: str, kind: str) -> tuple[str, ...]:
    """The dialects that a call of this dialect and kind can be translated into."""
    if kind in _CHAT_KINDS and (dialect in CHATS or dialect == "openai.completions"):
        return CHATS
    if kind == "embed" and dialect in _EMBEDDINGS:
        return _EMBEDDINGS
    if kind == "count" and dialect in CHATS:
        return CHATS
    return ()


@cache
def translator(dialect: str) -> Translator:
    """The one for this dialect. Raises KeyError for one that is no dialect of a chat."""
    return {one.name: one for one in _all()}[dialect]


def _all() -> tuple[Translator, ...]:
    # Only here, so that a gateway whose calls need no translation does not load what translates.
    from shin_gateway.translation.anthropic_messages import AnthropicMessages
    from shin_gateway.translation.gemini_generate import GeminiGenerate
    from shin_gateway.translation.openai_chat import OpenAIChat
    from shin_gateway.translation.openai_completions import OpenAICompletions
    from shin_gateway.translation.openai_responses import OpenAIResponses

    return OpenAIChat(), OpenAICompletions(), OpenAIResponses(), AnthropicMessages(), GeminiGenerate()
