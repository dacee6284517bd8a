"""Files and batches: what providers keep for their callers. Errors in the words of the client's API, all else as it is.

Neither the files nor the calls in a batch are looked into: no guard sees them.
"""

from __future__ import annotations

from shin_gateway.dialects.anthropic_messages import AnthropicMessages
from shin_gateway.dialects.base import NO_PATHS, AnyEnding, Dialect, Ending, Failure, media_type
from shin_gateway.dialects.gemini_generate import GeminiGenerate
from shin_gateway.dialects.heads import Peek, model_in_path, rename_in_path
from shin_gateway.dialects.json_spans import Slot
from shin_gateway.dialects.openai import OpenAI
from shin_gateway.dialects.parts import Framer, Part
from shin_gateway.dialects.rewriting import Rewriter
from shin_gateway.outcome import Usage


class Kept(Dialect):
    """Nothing of the body is understood."""

    call_paths = NO_PATHS
    reply_paths = NO_PATHS
    event_paths = NO_PATHS

    def peek(self, body: bytes, path: str) -> Peek:
        return Peek(model_in_path(path))

    def with_model(self, body: bytes, path: str, model: str) -> tuple[bytes, str]:
        return body, rename_in_path(path, model)

    def call_slots(self, body: bytes) -> list[Slot]:
        return []

    def rewrite_call(self, body: bytes, rewriter: Rewriter) -> bytes:
        return body

    def account(self, body: bytes) -> tuple[Usage | None, str | None]:
        return None, None

    def gathers(self, content_type: str) -> bool:
        """Replies about what is kept; what is kept itself passes as it arrives."""
        return media_type(content_type) == "application/json"

    def framer(self, content_type: str) -> Framer | None:
        return None

    def failure(self, part: Part) -> Failure | None:
        return None

    def ending(self) -> Ending:
        return AnyEnding(self)


class OpenAIFiles(Kept, OpenAI):
    name = "openai.files"


class OpenAIBatches(Kept, OpenAI):
    name = "openai.batches"


class AnthropicFiles(Kept, AnthropicMessages):
    name = "anthropic.files"


class AnthropicBatches(Kept, AnthropicMessages):
    name = "anthropic.batches"


class GeminiFiles(Kept, GeminiGenerate):
    name = "gemini.files"


class GeminiBatches(Kept, GeminiGenerate):
    name = "gemini.batches"
