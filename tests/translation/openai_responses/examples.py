"""Bodies made from the official client's own types."""

from __future__ import annotations

import types
import typing
from collections.abc import Iterable, Iterator
from typing import Any, Literal, Required, Union, get_args, get_origin

import typing_extensions
from pydantic import BaseModel


def members(union: Any) -> Iterator[Any]:
    """The models or typed dicts in a union."""
    if get_origin(union) in (Union, types.UnionType, typing.Annotated):
        for one in get_args(union) if get_origin(union) is not typing.Annotated else get_args(union)[:1]:
            yield from members(one)
    else:
        yield union


def example(kind: Any, depth: int = 0) -> Any:
    """The least that fits a type."""
    origin, args = get_origin(kind), get_args(kind)
    if origin in (typing.Annotated, Required):
        return example(args[0], depth)
    if origin is Literal:
        return args[0]
    if origin in (Union, types.UnionType):
        return None if type(None) in args else example(args[0], depth)
    if isinstance(origin, type) and issubclass(origin, Iterable):
        if origin is dict:
            return {}
        return [example(args[0], depth + 1)] if args and depth < 4 else []
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        fields = kind.model_fields.items()
        return {name: example(field.annotation, depth + 1) for name, field in fields if field.is_required()}
    if typing_extensions.is_typeddict(kind):
        hints = typing.get_type_hints(kind, include_extras=True)
        return {name: example(hint, depth + 1) for name, hint in hints.items() if get_origin(hint) is Required}
    return {str: "x", int: 0, float: 0.5, bool: True}.get(kind, {})
