"""The common form of a call for embeddings and of its reply."""

from __future__ import annotations

import math
import re
from array import array
from collections.abc import Iterator, Sequence
from typing import Any, Literal, NamedTuple, Protocol

import msgspec

from shin_gateway.errors import Invalid, UpstreamFailed
from shin_gateway.translation.form import Json
from shin_gateway.translation.losses import Losses
from shin_gateway.translation.translator import Traits

LARGEST_INT = 2**31 - 1
_PLAIN = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,40}")

Form = Literal["list", "one", "batch", "predict"]
"""How the client put it: OpenAI's only form, Gemini's embedContent and batchEmbedContents, Vertex' predict."""


class Embed(msgspec.Struct, kw_only=True):
    """One call. None and empty: the client said nothing."""

    model: str
    inputs: list[str | list[int]]
    """Texts, or texts that OpenAI's clients have cut into tokens themselves."""
    form: Form
    dimensions: int | None = None
    packed: bool = False
    """Whether the client wants base64 of little-endian 32-bit floats (OpenAI's `encoding_format`)."""
    user: str = ""
    task: str = ""
    """Gemini's `taskType`."""
    title: str = ""
    place: str = ""
    """What stands before a field's name in the client's call: `requests.`, `instances.`."""


class Sending(NamedTuple):
    """One call to the provider, for one batch."""

    path: str
    body: Json
    inputs: int


class Vectors(msgspec.Struct, kw_only=True):
    """One reply, or several joined."""

    rows: list[list[float]]
    tokens: int | None = None
    """Of all inputs; None where the provider does not say."""


class Embedder(Protocol):
    """One dialect, both ways."""

    def read_call(self, body: Json, path: str, losses: Losses) -> Embed:
        """Raises Invalid that names the field."""
        ...

    def write_calls(self, embed: Embed, traits: Traits, losses: Losses) -> list[Sending]:
        """Bodies for batches that the provider takes. `traits.words` may say `embed_batch: N`, the most inputs of one
        call, where a server differs, and `embed: predict` where embeddings are made as on Vertex.
        Raises Invalid for what the API has no way to say."""
        ...

    def read_reply(self, body: Any) -> Vectors:
        """Raises UpstreamFailed for what is no reply of the dialect."""
        ...

    def write_reply(self, vectors: Vectors, embed: Embed, model: str) -> Json:
        """`model` is the name that the client asked for."""
        ...


def join(replies: Sequence[Vectors], sendings: Sequence[Sending]) -> Vectors:
    """The replies to `sendings`, in their order, as one. Raises UpstreamFailed where vectors are missing."""
    for reply, sending in zip(replies, sendings, strict=True):
        if len(reply.rows) != sending.inputs:
            raise malformed(f"{len(reply.rows)} embeddings for {sending.inputs} inputs")
    told = [reply.tokens for reply in replies if reply.tokens is not None]
    tokens = sum(told) if len(told) == len(replies) else None
    return Vectors(rows=[row for reply in replies for row in reply.rows], tokens=tokens)


def batches(embed: Embed, traits: Traits, most: int, tokens: int) -> Iterator[list[str | list[int]]]:
    """The inputs in pieces that the provider takes: `most` inputs, and `tokens` of all of them together. Each has one
    input at least."""
    word = traits.words.get("embed_batch", "")
    most = int(word) if word.isdecimal() and 0 < len(word) < 7 and int(word) > 0 else most
    piece: list[str | list[int]] = []
    room = tokens
    for one in embed.inputs:
        size = _tokens_of(one)
        if piece and (len(piece) == most or size > room):
            yield piece
            piece, room = [], tokens
        piece.append(one)
        room -= size
    yield piece


def _tokens_of(one: str | list[int]) -> int:
    """Rather too many than too few: it costs a call more, where too few would cost the whole."""
    if isinstance(one, list):
        return len(one)
    return len(one) // 2 if one.isascii() else len(one) * 3 // 2


def plain(name: object) -> str:
    """A field's name for a note, without anything that a client may have made up."""
    return name if isinstance(name, str) and _PLAIN.fullmatch(name) else "*"


def wrong(field: str, what: str) -> Invalid:
    return Invalid(f"{field}: {what}.", param=field)


def malformed(what: str) -> UpstreamFailed:
    return UpstreamFailed(f"The provider's reply is malformed: {what}.", code="upstream_malformed")


def text_of(value: object, field: str) -> str:
    """A string, "" for null. Raises Invalid."""
    if value is None:
        return ""
    if not isinstance(value, str):
        raise wrong(field, "must be a string")
    return value


def size_of(value: object, field: str) -> int | None:
    """A positive whole number that fits into 32 bits, None for null. Raises Invalid."""
    if value is None:
        return None
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 < value <= LARGEST_INT:
        raise wrong(field, "must be a positive whole number")
    return value


def vector_of(values: object) -> list[float]:
    """A provider's list of numbers. Raises UpstreamFailed."""
    if not isinstance(values, list):
        raise malformed("an embedding is no list of numbers")
    try:
        finite = math.isfinite(sum(array("d", values)))
    except (TypeError, OverflowError, ValueError):
        finite = False
    if not finite:
        raise malformed("an embedding is no list of numbers")
    return values
