"""Gemini's `predict`, with which its clients have images made. https://ai.google.dev/gemini-api/docs/imagen"""

from __future__ import annotations

from shin_gateway.dialects.base import NO_PATHS
from shin_gateway.dialects.gemini_generate import GeminiGenerate
from shin_gateway.dialects.heads import Peek, model_in_path, require_model
from shin_gateway.dialects.json_spans import paths
from shin_gateway.outcome import Usage


class GeminiImages(GeminiGenerate):
    """Paid by the image; no tokens are told."""

    name = "gemini.images"
    call_paths = paths(("instances.*.prompt",))
    reply_paths = NO_PATHS
    event_paths = NO_PATHS

    def peek(self, body: bytes, path: str) -> Peek:
        return Peek(require_model(model_in_path(path), path))

    def account(self, body: bytes) -> tuple[Usage | None, str | None]:
        return None, None
