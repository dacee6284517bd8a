"""OpenAI's embeddings (developers.openai.com/api/reference/resources/embeddings), which many servers speak."""

from __future__ import annotations

import base64
import binascii
import sys
from array import array
from typing import Any

from shin_gateway.dialects.heads import require_model
from shin_gateway.dialects.numbers import count
from shin_gateway.translation.embeddings.form import (
    Embed,
    Sending,
    Vectors,
    batches,
    malformed,
    plain,
    size_of,
    text_of,
    vector_of,
    wrong,
)
from shin_gateway.translation.form import Json
from shin_gateway.translation.losses import Losses
from shin_gateway.translation.translator import Traits

MOST_INPUTS = 2048
MOST_TOKENS = 300_000
"""Of one call, by OpenAI's reference."""
_KNOWN = frozenset(["model", "input", "dimensions", "encoding_format", "user"])
_LARGEST_TOKEN = 10_000_000


class OpenAIEmbedder:
    """`POST /v1/embeddings`."""

    def read_call(self, body: Json, path: str, losses: Losses) -> Embed:
        for name in body:
            if name not in _KNOWN:
                losses.drop(plain(name))
        format = body.get("encoding_format")
        if format not in (None, "float", "base64"):
            raise wrong("encoding_format", 'must be "float" or "base64"')
        return Embed(
            model=require_model(body.get("model"), path),
            inputs=_inputs(body.get("input")),
            form="list",
            dimensions=size_of(body.get("dimensions"), "dimensions"),
            packed=format == "base64",
            user=text_of(body.get("user"), "user"),
        )

    def write_calls(self, embed: Embed, traits: Traits, losses: Losses) -> list[Sending]:
        for name, value in (("taskType", embed.task), ("title", embed.title)):
            if value:
                losses.drop(embed.place + name)
        common: Json = {"model": embed.model, "encoding_format": "float"}
        if embed.dimensions is not None:
            common["dimensions"] = embed.dimensions
        if embed.user:
            common["user"] = embed.user
        common = {traits.rename.get(name, name): common[name] for name in common if name not in traits.drop}
        if embed.dimensions is not None and "dimensions" in traits.drop:
            losses.drop("dimensions" if embed.form == "list" else f"{embed.place}outputDimensionality")
        return [
            Sending("/v1/embeddings", {**common, "input": some}, len(some))
            for some in batches(embed, traits, MOST_INPUTS, MOST_TOKENS)
        ]

    def read_reply(self, body: Any) -> Vectors:
        rows = body.get("data") if isinstance(body, dict) else None
        if not isinstance(rows, list):
            raise malformed("it has no list `data`")
        found = [_vector(row) for row in rows]
        places = [row.get("index") for row in rows]
        if sorted(place for place in places if type(place) is int) == list(range(len(rows))):
            found = [found[at] for at in sorted(range(len(rows)), key=places.__getitem__)]
        return Vectors(rows=found, tokens=count(body.get("usage"), "prompt_tokens", "total_tokens"))

    def write_reply(self, vectors: Vectors, embed: Embed, model: str) -> Json:
        write = pack if embed.packed else list
        data = [{"object": "embedding", "index": at, "embedding": write(row)} for at, row in enumerate(vectors.rows)]
        tokens = vectors.tokens or 0  # the official clients want a number
        usage = {"prompt_tokens": tokens, "total_tokens": tokens}
        return {"object": "list", "data": data, "model": model, "usage": usage}


def _inputs(value: object) -> list[str | list[int]]:
    """One text, several, the tokens of one, or of several."""
    if isinstance(value, str):
        return [value]
    if not isinstance(value, list):
        raise wrong("input", "must be a string or a list" if value is not None else "is missing")
    if not value:
        raise wrong("input", "must not be empty")
    if isinstance(value[0], int) and not isinstance(value[0], bool):
        return [_tokens(value, "input")]
    return [one if isinstance(one, str) else _tokens(one, f"input[{at}]") for at, one in enumerate(value)]


def _tokens(value: object, field: str) -> list[int]:
    if not isinstance(value, list):
        raise wrong(field, "must be a string or a list of tokens")
    for at, token in enumerate(value):
        if type(token) is not int or not 0 <= token < _LARGEST_TOKEN:
            raise wrong(f"{field}[{at}]", "must be a token, a whole number")
    if not value:
        raise wrong(field, "must not be empty")
    return value


def _vector(row: object) -> list[float]:
    values = row.get("embedding") if isinstance(row, dict) else None
    return unpack(values) if isinstance(values, str) else vector_of(values)


def pack(values: list[float]) -> str:
    """Base64 of little-endian 32-bit floats."""
    numbers = array("f", values)
    if sys.byteorder == "big":
        numbers.byteswap()
    return base64.b64encode(numbers.tobytes()).decode()


def unpack(text: str) -> list[float]:
    """The way back. Raises UpstreamFailed."""
    numbers = array("f")
    try:
        numbers.frombytes(base64.b64decode(text, validate=True))
    except (binascii.Error, ValueError):
        raise malformed("an embedding is no base64 of 32-bit floats") from None
    if sys.byteorder == "big":
        numbers.byteswap()
    return vector_of(numbers.tolist())
