"""Forms with files in them (multipart/form-data): the few fields that decide where a call goes, and a change of one.

A form may hold a recording of many megabytes, so nothing of it is copied: fields are found in the bytes as they came,
and a change is a `Patch`, to be applied as the form is sent. RFC 7578, with the grammar of RFC 2046 §5.1.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from email.message import Message
from typing import NamedTuple

from shin_gateway.errors import Invalid

MAX_PARTS = 200
"""More parts than any API takes."""
MAX_HEAD = 4096
"""Bytes of one part's headers."""
MAX_FIELD = 4096
"""Bytes of a field that decides anything."""
PIECE = 262_144
"""Bytes that are sent at once."""

_NO_FORM = "The body is not the form that its content-type says."
_FOLD = re.compile(rb"\r\n[ \t]+")
_DISPOSITION = re.compile(rb"(?:^|\r\n)content-disposition[ \t]*:([^\r\n]*)", re.IGNORECASE)
_PARAMETER = re.compile(rb""";[ \t]*([^\s=;"]+)[ \t]*=[ \t]*("(?:[^"\\]|\\.){0,1100}"|[^;]*)""")


class Field(NamedTuple):
    """The value of a field that is no file: `body[start:end]`."""

    name: str
    start: int
    end: int


class Patch(NamedTuple):
    """Other bytes in the place of `body[start:end]`."""

    start: int
    end: int
    new: bytes

    def size(self, body: bytes) -> int:
        """Of the body with the change in it."""
        return len(body) - (self.end - self.start) + len(self.new)


def boundary(content_type: str) -> bytes | None:
    """What stands between the parts of a form; None where the type is not a form's. Raises Invalid."""
    if content_type.partition(";")[0].strip().lower() != "multipart/form-data":
        return None
    message = Message()
    message["content-type"] = content_type
    found = message.get_param("boundary")
    if not isinstance(found, str) or not 0 < len(found) <= 200 or not found.isascii() or not found.isprintable():
        raise Invalid("The header content-type of a form has to name its boundary.", param="content-type")
    return found.encode()


def texts(body: bytes, mark: bytes, names: tuple[str, ...]) -> dict[str, Field]:
    """The fields of these names, each with its place. Raises Invalid for a form that is none, or says one twice."""
    found: dict[str, Field] = {}
    for field in _fields(body, mark, names):
        if field.name in found:
            raise Invalid(f"{field.name}: is in the form more than once.", param=field.name)
        if field.end - field.start > MAX_FIELD:
            raise Invalid(f"{field.name}: is too long.", param=field.name)
        found[field.name] = field
    return found


def text(body: bytes, field: Field | None) -> str | None:
    """A field's value. Raises Invalid where it is not UTF-8."""
    if field is None:
        return None
    try:
        return body[field.start : field.end].decode()
    except UnicodeDecodeError:
        raise Invalid(f"{field.name}: is not UTF-8.", param=field.name) from None


def _fields(body: bytes, mark: bytes, names: tuple[str, ...]) -> Iterator[Field]:
    line = b"--" + mark
    at = 0 if body.startswith(line) else _after(body, b"\r\n" + line, 0) - len(line)
    for _ in range(MAX_PARTS):
        at += len(line)
        if body.startswith(b"--", at):
            return
        start = _after(body, b"\r\n", at)
        if body[at : start - 2].strip(b" \t"):
            raise Invalid(_NO_FORM)
        head_end = _after(body, b"\r\n\r\n", start - 2, start + MAX_HEAD)
        end = _after(body, b"\r\n" + line, head_end - 2) - len(line) - 2
        if (name := _named(body[start : head_end - 2])) in names:
            yield Field(name, head_end, max(head_end, end))
        at = end + 2
    raise Invalid(f"The form has more than {MAX_PARTS} parts.")


def _named(head: bytes) -> str:
    """The name of the field whose headers these are; "" for a file. Raises Invalid for one with two names."""
    found = _DISPOSITION.findall(_FOLD.sub(b" ", head))
    parameters = [(key.lower(), value) for one in found for key, value in _PARAMETER.findall(one)]
    named = [value for key, value in parameters if key == b"name"]
    if len(named) > 1:
        raise Invalid(_NO_FORM)
    if not named or any(key in (b"filename", b"filename*") for key, _ in parameters):
        return ""
    return _unquoted(named[0])


def _after(body: bytes, what: bytes, start: int, before: int | None = None) -> int:
    """Where `what`, the next from `start` on, ends."""
    found = body.find(what, start, len(body) if before is None else before)
    if found < 0:
        raise Invalid(_NO_FORM)
    return found + len(what)


def _unquoted(name: bytes) -> str:
    name = name.strip()
    inner = name[1:-1] if name[:1] == b'"' else name
    return re.sub(rb"\\(.)", rb"\1", inner).decode("utf-8", "replace")


def pieces(body: bytes, patch: Patch | None) -> Iterator[memoryview | bytes]:
    """The body with the change in it, piece by piece, without a copy of it."""
    view = memoryview(body)
    if patch is None:
        yield from _cut(view)
        return
    yield from _cut(view[: patch.start])
    yield patch.new
    yield from _cut(view[patch.end :])


def _cut(view: memoryview) -> Iterator[memoryview]:
    for start in range(0, len(view), PIECE):
        yield view[start : start + PIECE]
