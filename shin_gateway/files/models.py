"""The models that the calls inside a batch of Anthropic's name, and other names for them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from shin_gateway.dialects.json_spans import decode, paths, scan
from shin_gateway.dialects.json_text import splice

_PLACES = paths(("requests.*.params.model",))


class _Params(msgspec.Struct):
    model: Any = None


class _Entry(msgspec.Struct):
    params: _Params | None = None


class _Batch(msgspec.Struct):
    requests: list[_Entry] | None = None


def named(body: bytes) -> list[str]:
    """Each model once, in the order of the calls; none where the body is not to be understood."""
    try:
        batch = msgspec.json.decode(body, type=_Batch)
    except (msgspec.MsgspecError, RecursionError, ValueError):
        return []
    models = [entry.params.model for entry in batch.requests or () if entry.params is not None]
    return list(dict.fromkeys(one for one in models if isinstance(one, str) and one))


def renamed(body: bytes, names: Mapping[str, str]) -> bytes:
    """The batch with these models called otherwise, every other byte as it was. Raises Invalid."""
    text = decode(body)
    slots = [slot for slot in scan(text, _PLACES)[1] if slot.text in names]
    return splice(text, [(slot, [(0, len(slot.text), names[slot.text])]) for slot in slots]).encode()
