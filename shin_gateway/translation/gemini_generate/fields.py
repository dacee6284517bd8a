"""Fields under the names that Gemini's JSON may give them: camel case, or snake case as protobuf's JSON allows."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from shin_gateway.translation.form import Json
from shin_gateway.translation.losses import Losses
from shin_gateway.translation.openai_common import Misfit

NAME = "gemini.generate"

_PLAIN = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,47}")
_HUMP = re.compile(r"(?<!^)(?=[A-Z])")


class Fields:
    """The fields that an object of Gemini's may have."""

    def __init__(self, *names: str) -> None:
        self._names = frozenset(names)
        self._spellings: Mapping[str, str] = {spelling: name for name in names for spelling in (name, _snake(name))}

    def of(self, owner: Any, place: str, losses: Losses) -> Json:
        """The object with its fields in camel case; what is no field of it is reported. Raises Misfit."""
        if not isinstance(owner, dict):
            raise Misfit("must be an object")
        if owner.keys() <= self._names:
            return owner
        found: Json = {}
        for key, value in owner.items():
            name = self._spellings.get(key)
            if name is not None:
                found[name] = value
            elif value is not None:
                losses.drop(f"{place}{plain(key)}")
        return found

    def camel(self, owner: Json) -> Json:
        """The object with its fields in camel case, and those that it does not know as they are."""
        if owner.keys() <= self._names:
            return owner
        return {self._spellings.get(key, key): value for key, value in owner.items()}


def _snake(name: str) -> str:
    return _HUMP.sub("_", name).lower()


def plain(name: object) -> str:
    """A field's name for a note, without anything that a client may have made up."""
    return name if isinstance(name, str) and _PLAIN.fullmatch(name) else "unknown field"


def drop(owner: Json, place: str, losses: Losses, names: Iterable[str]) -> None:
    """Report those of the named fields that are set."""
    for name in names:
        if owner.get(name) is not None:
            losses.drop(f"{place}{name}")


def objects(value: Any) -> list[Any]:
    """A list; protobuf's JSON takes one object for a list of one. Raises Misfit."""
    if value is None:
        return []
    if isinstance(value, list):
        return value
    if isinstance(value, dict):
        return [value]
    raise Misfit("must be a list")
