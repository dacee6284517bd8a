"""JSON schemas of Python types: the TypedDicts of the SDKs of OpenAI and Anthropic, and Google's pydantic models.

Only what `checks` understands is written: type, enum, items, properties, required, additionalProperties, anyOf, $ref.
What is no JSON (a file, a callable) is left out of unions, and is `{}`, anything, where it stands alone.
"""

from __future__ import annotations

import collections.abc as abc
import datetime
import enum
import inspect
import types
import typing
from typing import Any

import typing_extensions
from pydantic import BaseModel

Schema = dict[str, Any]

_SCALARS: dict[Any, Schema] = {
    str: {"type": "string"},
    bytes: {"type": "string"},
    datetime.datetime: {"type": "string"},
    datetime.date: {"type": "string"},
    bool: {"type": "boolean"},
    int: {"type": "integer"},
    float: {"type": "number"},
    None: {"type": "null"},
    type(None): {"type": "null"},
}
_UNIONS = (typing.Union, types.UnionType)
_MAPS = (dict, abc.Mapping)


class Writer:
    """Writes types as schemas, and what they refer to into `definitions`, in the order of their first use."""

    def __init__(self, *, models: bool) -> None:
        self.definitions: dict[str, Schema] = {}
        self._names: dict[type, str] = {}
        self._models = models
        """Whether pydantic models are read. In params of the other SDKs they stand for replies that are handed back,
        which the TypedDicts beside them cover."""

    def schema(self, kind: Any) -> Schema:
        """The schema of a type; `{}` for one that JSON does not have."""
        return self._known(kind) or {}

    def _known(self, kind: Any) -> Schema | None:
        kind = _bare(kind)
        if (scalar := _scalar(kind)) is not None:
            return scalar
        origin, args = typing.get_origin(kind), typing.get_args(kind)
        if origin in (typing.Literal, typing_extensions.Literal):
            return {"enum": list(args)}
        if origin in _UNIONS:
            return self._union(args)
        if origin in _MAPS:
            return {"type": "object", "additionalProperties": self.schema(args[1])}
        if _is_list(kind if origin is None else origin):
            return {"type": "array", "items": self.schema(args[0]) if args else {}}
        return self._class(kind) if isinstance(kind, type) else None

    def _class(self, kind: type) -> Schema | None:
        if issubclass(kind, enum.Enum):
            return {"enum": [member.value for member in kind]}
        if typing_extensions.is_typeddict(kind):
            return self._reference(kind, self.typed_dict)
        if self._models and issubclass(kind, BaseModel):
            return self._reference(kind, self.model)
        return {"type": "object"} if kind is dict else None

    def _union(self, kinds: tuple[Any, ...]) -> Schema | None:
        found: list[Schema] = []
        for kind in kinds:
            schema = {} if _bare(kind) in (object, Any) else self._known(kind)
            branches = [] if schema is None else schema.get("anyOf", [schema])
            found += [branch for branch in branches if branch not in found]
        if {} in found:
            return {}
        if {"type": "string"} in found:  # any string will do, so the known ones say nothing
            found = [one for one in found if not all(isinstance(value, str) for value in one.get("enum", [0]))]
        return {"anyOf": found} if len(found) > 1 else next(iter(found), None)

    def _reference(self, kind: type, write: Any) -> Schema:
        name = self._names.get(kind)
        if name is None:
            name = kind.__name__.removeprefix("Beta")
            if name in self.definitions:
                name = f"{kind.__module__.rpartition('.')[2]}.{name}"
            self._names[kind] = name
            self.definitions[name] = {}  # so that a type may hold itself
            self.definitions[name] = write(kind)
        return {"$ref": f"#/$defs/{name}"}

    def typed_dict(self, kind: Any) -> Schema:
        """The object that a TypedDict stands for, under the names that go over the wire."""
        properties: dict[str, Schema] = {}
        required: list[str] = []
        for field, hint in typing_extensions.get_type_hints(kind, include_extras=True).items():
            name = _alias(hint) or field
            properties[name] = self.schema(hint)
            # What may be null may be left out, whatever the type says: providers take `strict: null` and no `strict`.
            if typing_extensions.get_origin(hint) is typing_extensions.Required and not _nullable(properties[name]):
                required.append(name)
        return _object(properties, required)

    def model(self, kind: type[BaseModel]) -> Schema:
        """The object that a pydantic model stands for. Google's leave every field out at will."""
        fields = {field.alias or name: field.annotation for name, field in kind.model_fields.items()}
        return _object({name: self.schema(hint) for name, hint in fields.items()}, [])


def _object(properties: dict[str, Schema], required: list[str]) -> Schema:
    return {"type": "object", "properties": properties} | ({"required": required} if required else {})


def _nullable(schema: Schema) -> bool:
    return {"type": "null"} in schema.get("anyOf", ())


def _scalar(kind: Any) -> Schema | None:
    try:
        found = _SCALARS.get(kind)
    except TypeError:  # not hashable, so no scalar
        return None
    return None if found is None else dict(found)


def _is_list(kind: Any) -> bool:
    if getattr(kind, "__name__", "") == "SequenceNotStr":
        return True
    return inspect.isclass(kind) and kind in (list, abc.Iterable, abc.Sequence, abc.Collection)


def _bare(kind: Any) -> Any:
    """The type without what is said about it."""
    while typing_extensions.get_origin(kind) in (
        typing_extensions.Required, typing_extensions.NotRequired, typing.Annotated,
    ):  # fmt: skip
        kind = typing.get_args(kind)[0]
    return kind


def _alias(hint: Any) -> str | None:
    while typing_extensions.get_origin(hint) in (typing_extensions.Required, typing_extensions.NotRequired):
        hint = typing.get_args(hint)[0]
    return next((alias for one in getattr(hint, "__metadata__", ()) if (alias := getattr(one, "alias", None))), None)
