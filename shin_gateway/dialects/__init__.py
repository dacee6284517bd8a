"""Dialects: how each API writes calls, replies, stream events, errors and usage. One file per API."""

from __future__ import annotations

from shin_gateway.dialects.anthropic_messages import AnthropicMessages
from shin_gateway.dialects.base import Dialect, Failure
from shin_gateway.dialects.gemini_generate import GeminiGenerate
from shin_gateway.dialects.gemini_images import GeminiImages
from shin_gateway.dialects.gemini_live import GeminiLive
from shin_gateway.dialects.heads import Peek
from shin_gateway.dialects.kept import (
    AnthropicBatches,
    AnthropicFiles,
    GeminiBatches,
    GeminiFiles,
    OpenAIBatches,
    OpenAIFiles,
)
from shin_gateway.dialects.openai_chat import OpenAIChat
from shin_gateway.dialects.openai_completions import OpenAICompletions
from shin_gateway.dialects.openai_embeddings import OpenAIEmbeddings
from shin_gateway.dialects.openai_media import (
    OpenAIImages,
    OpenAIModerations,
    OpenAISpeech,
    OpenAITranscriptions,
)
from shin_gateway.dialects.openai_realtime import OpenAIRealtime
from shin_gateway.dialects.openai_responses import OpenAIResponses
from shin_gateway.dialects.plain import Plain

__all__ = ["NAMES", "Dialect", "Failure", "Peek", "get"]

_DIALECTS: dict[str, Dialect] = {
    dialect.name: dialect
    for dialect in (
        OpenAIChat(),
        OpenAICompletions(),
        OpenAIResponses(),
        OpenAIEmbeddings(),
        AnthropicMessages(),
        GeminiGenerate(),
        OpenAIRealtime(),
        GeminiLive(),
        OpenAIImages(),
        OpenAISpeech(),
        OpenAITranscriptions(),
        OpenAIModerations(),
        GeminiImages(),
        OpenAIFiles(),
        OpenAIBatches(),
        AnthropicFiles(),
        AnthropicBatches(),
        GeminiFiles(),
        GeminiBatches(),
        Plain(),
    )
}

NAMES = tuple(_DIALECTS)


def get(name: str) -> Dialect:
    """The dialect of this name. Raises KeyError for a name that is none."""
    return _DIALECTS[name]
