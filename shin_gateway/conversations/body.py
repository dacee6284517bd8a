"""JSON field by field: what is not touched stays as it was written."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from shin_gateway.errors import Invalid

Fields = dict[str, msgspec.Raw]
UNREADABLE = (msgspec.MsgspecError, ValueError, RecursionError)
"""What reading JSON raises."""

_decode_fields = msgspec.json.Decoder(Fields).decode


def read(body: bytes) -> Fields:
    """Raises Invalid."""
    try:
        return _decode_fields(_checked(body))
    except msgspec.ValidationError:
        raise Invalid("The body must be a JSON object.") from None
    except UNREADABLE:
        fields = _mended(body, Fields)
    if fields is None:
        raise Invalid("The body is not valid JSON.")
    return fields


def maybe[T](data: bytes | None, kind: type[T]) -> T | None:
    """What it says; None for anything else."""
    data = data or b""
    hashable: Any = kind
    decode: Callable[[bytes], T] = _decoder(hashable).decode
    try:
        return decode(_checked(data))
    except msgspec.ValidationError:
        return None
    except UNREADABLE:
        return _mended(data, kind)


@functools.cache
def _decoder(kind: Any) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(kind)


def _checked(data: bytes) -> bytes:
    """What is taken over unread has to be UTF-8 too. Raises UnicodeDecodeError."""
    if not data.isascii():
        data.decode()
    return data


def _mended[T](data: bytes, kind: type[T]) -> T | None:
    """JSON with halves of surrogate pairs in it, which some programs write, or with bytes that are no UTF-8."""
    if b"\\u" not in data and data.isascii():
        return None
    try:
        text = json.dumps(json.loads(data.decode("utf-8", "replace")), ensure_ascii=False, separators=(",", ":"))
        return msgspec.json.decode(text.encode("utf-16", "surrogatepass").decode("utf-16", "replace"), type=kind)
    except UNREADABLE:
        return None


def value(fields: Fields, name: str) -> Any:
    """The field's value; None where it is null or not there. Raises Invalid."""
    raw = fields.get(name)
    try:
        return None if raw is None else msgspec.json.decode(raw)
    except UNREADABLE:
        raise Invalid(f"{name}: is not valid JSON.", param=name) from None


def text(fields: Fields, name: str) -> str | None:
    """Raises Invalid for anything but a string or null."""
    found = value(fields, name)
    if found is not None and not isinstance(found, str):
        raise Invalid(f"{name}: should be a string.", param=name)
    return found or None


def maybe_text(fields: Fields, name: str) -> str:
    """ "" for anything but a string."""
    try:
        found = value(fields, name)
    except Invalid:
        return ""
    return found if isinstance(found, str) else ""


def items(fields: Fields, name: str, *, lone: bool = False) -> list[msgspec.Raw]:
    """The members of a list of objects; `lone`: one object counts as a list of one. Raises Invalid."""
    raw = fields.get(name)
    if lone and raw is not None and bytes(raw)[:1] == b"{":
        return [raw]
    found = maybe_items(raw)
    if found is None:
        raise Invalid(f"{name}: should be a list.", param=name)
    return objects(found, name)


def objects(found: list[msgspec.Raw], name: str) -> list[msgspec.Raw]:
    """The same list. Raises Invalid for a member that is no object."""
    for index, one in enumerate(found):
        if bytes(one)[:1] != b"{":
            raise Invalid(f"{name}[{index}]: should be an object.", param=f"{name}[{index}]")
    return found


_decode_items = msgspec.json.Decoder(list[msgspec.Raw]).decode


def maybe_items(raw: msgspec.Raw | bytes | None) -> list[msgspec.Raw] | None:
    try:
        return _decode_items(raw or b"")
    except UNREADABLE:
        return None


def raw(value: Any) -> msgspec.Raw:
    return msgspec.Raw(msgspec.json.encode(value))


def listed(found: Iterable[msgspec.Raw]) -> msgspec.Raw:
    return msgspec.Raw(b"[" + b",".join([bytes(one) for one in found]) + b"]")


def write(fields: Fields) -> bytes:
    return msgspec.json.encode(fields)
