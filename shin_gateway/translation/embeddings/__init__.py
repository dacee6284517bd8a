"""Embeddings between OpenAI's and Gemini's APIs. Pure code, no I/O.

embed = embedder(client).read_call(body, path, losses)
embed.model = …the target's name…
sendings = embedder(target).write_calls(embed, traits, losses)        # one for each batch that the provider takes
vectors = join([embedder(target).read_reply(reply) for each reply], sendings)
body = embedder(client).write_reply(vectors, embed, …the name that the client asked for…)
"""

from __future__ import annotations

from shin_gateway.translation.embeddings.form import Embed as Embed
from shin_gateway.translation.embeddings.form import Embedder as Embedder
from shin_gateway.translation.embeddings.form import Sending as Sending
from shin_gateway.translation.embeddings.form import Vectors as Vectors
from shin_gateway.translation.embeddings.form import join as join
from shin_gateway.translation.embeddings.gemini import GeminiEmbedder
from shin_gateway.translation.embeddings.openai import OpenAIEmbedder

_EMBEDDERS: dict[str, Embedder] = {"openai.embeddings": OpenAIEmbedder(), "gemini.generate": GeminiEmbedder()}

DIALECTS = tuple(_EMBEDDERS)


def embedder(dialect: str) -> Embedder:
    """The one for this dialect. Raises KeyError for one that has no embeddings."""
    return _EMBEDDERS[dialect]
