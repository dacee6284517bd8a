"""Defaults put in and caps enforced, byte by byte."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from shin_gateway.parameters import efforts
from shin_gateway.parameters.body import Body
from shin_gateway.parameters.rows import PLACES, SAMPLING, UNLIMITED, UNSAMPLED_SINCE, Place

_KINDS = ("chat", "complete", "respond")

Changes = list[tuple[str, Any]]
"""Fields by the client's own names, and what each was changed to."""


def applies(kind: str, path: str) -> bool:
    """Whether calls of this kind and path have parameters. A compaction has none, nor have counts and embeddings."""
    return kind in _KINDS and not path.partition("?")[0].endswith("/compact")


def with_defaults(
    dialect_name: str, kind: str, body: bytes, parameters: Mapping[str, Any], model: str = "", version: str = ""
) -> bytes:
    """The body with parameters that the client left out; the identical object when there are none. Raises Invalid.

    `parameters` by their names in `settings.Parameters`. What the API has no place for is left out. `model` is the
    provider's name of the model and `version` what the client's `anthropic-version` says, where known: what an API
    takes differs from model to model, and from version to version.
    """
    return filled(dialect_name, kind, body, parameters, model, version)[0]


def filled(
    dialect_name: str, kind: str, body: bytes, parameters: Mapping[str, Any], model: str = "", version: str = ""
) -> tuple[bytes, list[str]]:
    """`with_defaults`, and the fields that it put in."""
    rows = PLACES.get(dialect_name)
    if rows is None or not parameters or kind not in _KINDS:
        return body, []
    document = Body(body)
    unsampled = version >= UNSAMPLED_SINCE and "claude" in model
    names = [
        name
        for parameter, places in rows.items()
        if parameter in parameters and not (unsampled and parameter in SAMPLING)
        for name in _put(document, places, parameters[parameter], _bare(model))
    ]
    return document.bytes, names


def capped(dialect_name: str, body: bytes, caps: Mapping[str, Any], model: str = "") -> tuple[bytes, list[str]]:
    """The body with its parameters at most `caps`, and the fields that were changed; the identical object when none
    was. A limit of tokens that is missing is put in where the reply would otherwise have none. Raises Invalid."""
    document, over, added = _within(dialect_name, body, caps, model)
    return (body if document is None else document.bytes), [*(name for name, _ in over), *added]


def exceeded(dialect_name: str, body: bytes, caps: Mapping[str, Any], model: str = "") -> Changes:
    """The fields that are over their caps, each with what it may be at most. Raises Invalid."""
    return _within(dialect_name, body, caps, model)[1]


def _within(
    dialect_name: str, body: bytes, caps: Mapping[str, Any], model: str
) -> tuple[Body | None, Changes, list[str]]:
    rows = PLACES.get(dialect_name)
    if rows is None or not caps:
        return None, [], []
    document = Body(body)
    over = [one for name, places in rows.items() if name in caps for one in _lower(document, places, caps[name])]
    added: list[str] = []
    if "max_tokens" in caps and dialect_name in UNLIMITED:
        added = _put(document, rows["max_tokens"], caps["max_tokens"], _bare(model))
    if dialect_name == "anthropic.messages":
        over += efforts.settle(document, caps)
    return document, over, added


def _put(body: Body, places: tuple[Place, ...], value: Any, model: str) -> list[str]:
    """The fields that were put in; none where the client says something itself or the API has no place for it."""
    if any(body.find(place.path) for place in places):
        return []
    for place in places:
        if place.models is None or place.models.search(model):
            written = place.write(value, body)
            if written is not None:
                return [name for name in (body.put(place.path, written), _beside(body, place)) if name]
    return []


def _beside(body: Body, place: Place) -> str:
    path, write = place.beside or ("", _nothing)
    value = write(body)
    return "" if value is None else body.put(path, value)


def _nothing(_: Body) -> None:
    return None


def _lower(body: Body, places: tuple[Place, ...], cap: Any) -> Changes:
    changes: Changes = []
    for place in places:
        for member in body.find(place.path):
            lowered = place.lower(member.value, cap)
            if lowered is not member.value:
                member.change(lowered)
                changes.append((member.name, lowered))
    return changes


def _bare(model: str) -> str:
    """`gpt-5` of `openai/gpt-5`."""
    return model.rpartition("/")[2]
