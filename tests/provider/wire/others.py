"""Embeddings, models and counts: the calls that have no stream."""

from __future__ import annotations

import base64
import hashlib
import struct
from collections.abc import Mapping
from typing import Any

from tests.provider.wire.said import CREATED, Said, compact, pretty

MODELS: Mapping[str, tuple[str, ...]] = {
    "openai": ("gpt-4o", "gpt-4o-mini", "gpt-5", "text-embedding-3-small"),
    "anthropic": ("claude-sonnet-4-5", "claude-haiku-4-5"),
    "gemini": ("gemini-2.5-pro", "gemini-2.5-flash"),
}


def vector(text: object, size: int = 8) -> list[float]:
    """The same numbers for the same text, each exact in 32 bits."""
    digest = hashlib.shake_256(repr(text).encode()).digest(size)
    return [byte / 256 for byte in digest]


def embeddings(said: Said) -> bytes:
    given = said.call.get("input", "")
    single = isinstance(given, str) or (bool(given) and isinstance(given[0], int))
    items = [given] if single else given
    data = [{"object": "embedding", "index": i, "embedding": _number(said.call, x)} for i, x in enumerate(items)]
    body = {"object": "list", "data": data, "model": said.model}
    tokens = said.tokens.input if said.tokens else 0
    counted = {"usage": {"prompt_tokens": tokens, "total_tokens": tokens}} if said.tokens else {}
    return pretty(body | counted).encode()


def _number(call: dict[str, Any], text: object) -> list[float] | str:
    numbers = vector(text, call.get("dimensions") or 8)
    if call.get("encoding_format") != "base64":
        return numbers
    return base64.b64encode(struct.pack(f"<{len(numbers)}f", *numbers)).decode()


def gemini_embed(said: Said) -> bytes:
    return pretty({"embedding": {"values": vector(compact(said.call.get("content")))}}).encode()


def gemini_embed_many(said: Said) -> bytes:
    asked = said.call.get("requests") or []
    return pretty({"embeddings": [{"values": vector(compact(one.get("content")))} for one in asked]}).encode()


def anthropic_count(said: Said) -> bytes:
    return compact({"input_tokens": said.tokens.input if said.tokens else 0}).encode()


def openai_count(said: Said) -> bytes:
    found = said.tokens.input if said.tokens else 0
    return pretty({"object": "response.input_tokens", "input_tokens": found}).encode()


def gemini_count(said: Said) -> bytes:
    total = said.tokens.input if said.tokens else 0
    details = [{"modality": "TEXT", "tokenCount": total}]
    return pretty({"totalTokens": total, "promptTokensDetails": details}).encode()


def openai_model(name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": CREATED, "owned_by": "fake"}


def anthropic_model(name: str) -> dict[str, Any]:
    return {"type": "model", "id": name, "display_name": name, "created_at": "2026-01-01T00:00:00Z"}


def gemini_model(name: str) -> dict[str, Any]:
    methods = ["generateContent", "countTokens"]
    return {"name": f"models/{name}", "version": "001", "displayName": name, "supportedGenerationMethods": methods}


def models(dialect: str, name: str) -> bytes:
    """The list in a dialect's shape, or one model when a name is asked."""
    make = {"openai": openai_model, "anthropic": anthropic_model, "gemini": gemini_model}[dialect]
    if name:
        return pretty(make(name)).encode()
    all_ = [make(one) for one in MODELS[dialect]]
    if dialect == "gemini":
        return pretty({"models": all_}).encode()
    if dialect == "openai":
        return pretty({"object": "list", "data": all_}).encode()
    ends = {"first_id": MODELS[dialect][0], "last_id": MODELS[dialect][-1]}
    return compact({"data": all_, "has_more": False, **ends}).encode()
