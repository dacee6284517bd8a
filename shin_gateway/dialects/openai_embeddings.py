"""OpenAI Embeddings: texts in, vectors out. Never streamed."""

from __future__ import annotations

from shin_gateway.dialects.json_spans import paths
from shin_gateway.dialects.openai import OpenAI


class OpenAIEmbeddings(OpenAI):
    name = "openai.embeddings"
    call_paths = paths(("input", "input.*"))
