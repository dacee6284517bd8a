"""Where in a JSON text the strings at wanted paths stand, so that one can be changed and nothing else.

A body is never parsed and written again: that would reorder, re-escape and re-space what the
client sent, and providers' prompt caches and signatures depend on the very bytes. Only containers
that lie on a wanted path are walked in Python; everything else is read by the C scanner of the
standard library. Offsets are characters of the decoded text. Grammar: RFC 8259.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from json.decoder import JSONDecodeError, scanstring  # type: ignore[attr-defined]  # public by use
from typing import Any, NamedTuple, NoReturn

from shin_gateway.errors import Invalid

MAX_DEPTH = 200
"""Containers inside one another on a wanted path. Deeper is an attack or a mistake."""

NOWHERE = -1

Step = str | int
Channel = tuple[Step, ...]
"""Names one text that a stream carries in pieces: the group it belongs to, its kind, and further indexes."""


@dataclass(slots=True)
class Slot:
    """One string value: `text[start:end]` between its quotes, as written; `text` is what it means.

    Where only the text is asked for, as in most events of a stream, start and end are NOWHERE.
    """

    start: int
    end: int
    text: str
    path: tuple[Step, ...]
    channel: Channel | None = None
    """Set in stream events: this is a piece of the channel's text. None: a whole text."""
    json: bool = False
    """The text is itself JSON, or a piece of it, as tool arguments are."""
    signed: bool = False
    """The provider signed this text: it may be read but not rewritten, or the next turn is refused."""


class Span(NamedTuple):
    """A value of any type: `text[start:end]` is how it is written."""

    start: int
    end: int
    value: Any


class Node:
    """One step of the compiled paths."""

    __slots__ = ("is_json", "is_signed", "is_text", "keys", "skip", "star")

    def __init__(self) -> None:
        self.is_text = False
        self.is_json = False
        self.is_signed = False
        self.keys: dict[str, Node] = {}
        self.star: Node | None = None
        self.skip: frozenset[str] = frozenset()
        """Objects of these `type`s hold no texts."""

    def child(self, step: str) -> Node:
        if step == "*":
            self.star = self.star or Node()
            return self.star
        if step == "**":
            self.star = self.star or _anything_below()
            return self.star
        return self.keys.setdefault(step, Node())

    @property
    def goes_on(self) -> bool:
        return bool(self.keys) or self.star is not None


def _anything_below() -> Node:
    node = Node()
    node.is_text = True
    node.star = node
    return node


Paths = Node
_NOTHING = Node()


def paths(rows: Iterable[str], skip: Mapping[str, Iterable[str]] | None = None) -> Paths:
    """Compile rows such as `messages.*.content`.

    `*` is any element or member, `**` every string at any depth below (values, not keys). A row
    may end in `:json` (the string holds JSON) or `:signed`. `skip` maps a row to the values of
    `type` whose objects there are passed over.
    """
    root = Node()
    for row in rows:
        path, _, mark = row.partition(":")
        node = _descend(root, path)
        node.is_text = True
        node.is_json = mark == "json"
        node.is_signed = mark == "signed"
    for path, types in (skip or {}).items():
        _descend(root, path).skip = frozenset(types)
    return root


def _descend(node: Node, path: str) -> Node:
    for step in path.split("."):
        node = node.child(step)
    return node


def decode(body: bytes) -> str:
    """The text of a call's body. Raises Invalid that says where it is not UTF-8."""
    try:
        text = body.decode()
    except UnicodeDecodeError as error:
        raise Invalid(f"The body is not valid UTF-8 at byte {error.start}.") from None
    if text.startswith("\ufeff"):
        raise Invalid("The body begins with a byte order mark at byte 0, which JSON does not allow.")
    return text


def scan(text: str, wanted: Paths) -> tuple[Any, list[Slot]]:
    """The value that `text` means and the slots of all wanted strings, in order. Raises Invalid."""
    walker = _Walker(text)
    try:
        return walker.document(wanted), walker.slots
    except JSONDecodeError as error:
        raise _malformed(text, error.msg, error.pos) from None
    except StopIteration as stop:
        raise _malformed(text, "a value is missing", stop.value) from None
    except IndexError:
        raise _malformed(text, "it ends too early", len(text)) from None
    except RecursionError:
        raise Invalid("The body is nested too deeply.") from None
    except ValueError as error:  # NaN, or a number of thousands of digits
        raise Invalid(f"The body is not valid JSON: {error}.") from None


def read(text: str) -> Any:
    """The value that `text` means. Raises Invalid."""
    return scan(text, _NOTHING)[0]


def collect(value: Any, wanted: Paths) -> list[Slot]:
    """The slots of a value that was read, without their places: a fraction of the time of `scan`."""
    slots: list[Slot] = []
    _collect(value, wanted, (), slots)
    return slots


def _collect(value: Any, node: Node, path: tuple[Step, ...], slots: list[Slot]) -> None:
    if isinstance(value, str):
        if node.is_text:
            slots.append(Slot(NOWHERE, NOWHERE, value, path, None, node.is_json, node.is_signed))
    elif len(path) >= MAX_DEPTH:
        raise Invalid(f"The body is nested more than {MAX_DEPTH} deep.")
    elif isinstance(value, dict):
        if node.skip and isinstance(kind := value.get("type"), str) and kind in node.skip:
            return
        for key, member in value.items():
            if (child := node.keys.get(key, node.star)) is not None:
                _collect(member, child, (*path, key), slots)
    elif isinstance(value, list) and node.star is not None:
        for i, item in enumerate(value):
            _collect(item, node.star, (*path, i), slots)


def members(text: str, at: int = 0) -> dict[str, Span]:
    """The members of the object that begins at or after `at`; of duplicates the last. Raises Invalid."""
    walker = _Walker(text)
    try:
        return walker.members(at)
    except (JSONDecodeError, StopIteration, IndexError, RecursionError, ValueError):
        read(text)
        raise Invalid("The body is not a JSON object.") from None


def _malformed(text: str, what: str, position: int) -> Invalid:
    line = text.count("\n", 0, position) + 1
    column = position - text.rfind("\n", 0, position)
    return Invalid(f"The body is not valid JSON: {what} at line {line}, column {column} (character {position}).")


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON value")


_scan_once = json.JSONDecoder(parse_constant=_no_constant).scan_once  # type: ignore[attr-defined]
_key = re.compile(r'[ \t\n\r]*"([^"\\\x00-\x1f]*)"[ \t\n\r]*:[ \t\n\r]*').match
_next_key = re.compile(r'[ \t\n\r]*,[ \t\n\r]*"([^"\\\x00-\x1f]*)"[ \t\n\r]*:[ \t\n\r]*').match
_colon = re.compile(r"[ \t\n\r]*:[ \t\n\r]*").match
_space = re.compile(r"[ \t\n\r]*").match


class _Walker:
    """One walk over one text. `i` is always the place to read next."""

    __slots__ = ("slots", "text")

    def __init__(self, text: str) -> None:
        self.text = text
        self.slots: list[Slot] = []

    def document(self, node: Node) -> Any:
        value, i = self.value(self.skip_space(0), node, (), 0)
        i = self.skip_space(i)
        if i != len(self.text):
            raise JSONDecodeError("there is more after its end", self.text, i)
        return value

    def skip_space(self, i: int) -> int:
        return _space(self.text, i).end()  # type: ignore[union-attr]  # matches the empty string too

    def value(self, i: int, node: Node, path: tuple[Step, ...], depth: int) -> tuple[Any, int]:
        first = self.text[i]
        if first == '"':
            value, end = scanstring(self.text, i + 1, True)
            if node.is_text:
                self.slots.append(Slot(i + 1, end - 1, value, path, None, node.is_json, node.is_signed))
            return value, end
        if first == "{" and node.goes_on:
            return self.object(i + 1, node, path, depth + 1)
        if first == "[" and node.star is not None:
            return self.array(i + 1, node.star, path, depth + 1)
        return _scan_once(self.text, i)

    def object(self, i: int, node: Node, path: tuple[Step, ...], depth: int) -> tuple[dict[str, Any], int]:
        text, keys, star = self.text, node.keys, node.star
        first_slot, types = len(self.slots), 0
        value: dict[str, Any] = {}
        self.check(depth, i)
        key, i = self.first_key(i)
        while key is not None:
            child = keys.get(key, star)
            if child is None:
                value[key], i = _scan_once(text, i)
            else:
                value[key], i = self.value(i, child, (*path, key), depth)
            types += key == "type"
            match = _next_key(text, i)
            if match is not None:
                key, i = match[1], match.end()
            else:
                key, i = self.next_key(i)
        # A `type` written twice is read differently by different parsers: then nothing is passed over.
        if node.skip and types == 1 and isinstance(kind := value["type"], str) and kind in node.skip:
            del self.slots[first_slot:]
        return value, i

    def array(self, i: int, node: Node, path: tuple[Step, ...], depth: int) -> tuple[list[Any], int]:
        text = self.text
        value: list[Any] = []
        self.check(depth, i)
        i = self.skip_space(i)
        if text[i] == "]":
            return value, i + 1
        while True:
            item, i = self.value(i, node, (*path, len(value)), depth)
            value.append(item)
            i = self.skip_space(i)
            after = text[i]
            i += 1
            if after == "]":
                return value, i
            if after != ",":
                raise JSONDecodeError("a comma or closing bracket is missing", text, i - 1)
            i = self.skip_space(i)

    def first_key(self, i: int) -> tuple[str | None, int]:
        """The first member's name and where its value begins; None and where the object ends if it is empty."""
        match = _key(self.text, i)
        if match is not None:
            return match[1], match.end()
        i = self.skip_space(i)
        return (None, i + 1) if self.text[i] == "}" else self.odd_key(i)

    def next_key(self, i: int) -> tuple[str | None, int]:
        """The same after a value."""
        i = self.skip_space(i)
        after = self.text[i]
        if after == "}":
            return None, i + 1
        if after != ",":
            raise JSONDecodeError("a comma or closing brace is missing", self.text, i)
        return self.odd_key(self.skip_space(i + 1))

    def odd_key(self, i: int) -> tuple[str, int]:
        """A name with escapes in it, or none at all."""
        if self.text[i] != '"':
            raise JSONDecodeError("a member's name in double quotes is missing", self.text, i)
        key, i = scanstring(self.text, i + 1, True)
        colon = _colon(self.text, i)
        if colon is None:
            raise JSONDecodeError("a colon is missing", self.text, i)
        return key, colon.end()

    def members(self, i: int) -> dict[str, Span]:
        found: dict[str, Span] = {}
        i = self.skip_space(i)
        if self.text[i] != "{":
            raise JSONDecodeError("an object is missing", self.text, i)
        key, i = self.first_key(i + 1)
        while key is not None:
            value, end = _scan_once(self.text, i)
            found[key] = Span(i, end, value)
            key, i = self.next_key(end)
        return found

    def check(self, depth: int, i: int) -> None:
        if depth > MAX_DEPTH:
            raise JSONDecodeError(f"it is nested more than {MAX_DEPTH} deep", self.text, i)
