"""Strings as JSON writes them: escapes, and changing a part of a string without touching the rest."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from json.decoder import scanstring  # type: ignore[attr-defined]  # public by use
from json.encoder import encode_basestring, encode_basestring_ascii

from shin_gateway.dialects.json_spans import Slot

Edit = tuple[int, int, str]
"""Replace the characters from start to end (exclusive) by a text."""

_ESCAPE = re.compile(r"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|.)", re.DOTALL)
_SURROGATE = re.compile("[\ud800-\udfff]")


class Written:
    """A string's inside as it is written, what it means, and which character is written where."""

    __slots__ = ("_meant", "_written", "raw", "text")

    def __init__(self, raw: str, text: str | None = None) -> None:
        self.raw = raw
        self.text = text if text is not None else unescape(raw) if "\\" in raw else raw
        self._meant: list[int] = []
        self._written: list[int] = []

    def _index(self) -> None:
        self._meant.append(0)
        self._written.append(0)
        if self.text == self.raw:  # no escapes, or none that are understood
            return
        shift = 0
        for match in _ESCAPE.finditer(self.raw):
            shift += match.end() - match.start() - 1
            self._written.append(match.end())
            self._meant.append(match.end() - shift)

    def at(self, position: int) -> int:
        """Where the character at `position` of the meaning is written."""
        if not self._meant:
            self._index()
        i = bisect_right(self._meant, position) - 1
        return self._written[i] + position - self._meant[i]


def unescape(raw: str) -> str:
    """What a string's inside means; what is no valid JSON string means itself."""
    try:
        text, end = scanstring(raw + '"', 0, False)
    except ValueError:
        return raw
    return text if end == len(raw) + 1 else raw


def escape(text: str, ascii_only: bool = False) -> str:
    """`text` as the inside of a JSON string. A lone surrogate is always escaped: UTF-8 cannot hold it."""
    if ascii_only:
        return encode_basestring_ascii(text)[1:-1]
    return _SURROGATE.sub(lambda match: f"\\u{ord(match[0]):04x}", encode_basestring(text)[1:-1])


def escapes_all(raw: str) -> bool:
    """Whether the writer of this string escapes what is not ASCII."""
    return "\\u" in raw and raw.isascii()


def splice(text: str, changes: Iterable[tuple[Slot, Sequence[Edit]]]) -> str:
    """`text` with the given edits in its slots (in order); every other character stays as it is."""
    out: list[str] = []
    done = 0
    for slot, edits in changes:
        out.append(text[done : slot.start])
        out.append(_edited(text[slot.start : slot.end], slot.text, edits))
        done = slot.end
    out.append(text[done:])
    return "".join(out)


def _edited(raw: str, text: str, edits: Sequence[Edit]) -> str:
    ascii_only = escapes_all(raw)
    # Most writers escape as we do. Then the quick way leaves every character outside the edits as it was, too.
    if len(edits) > 1 and "\\" in raw and escape(text, ascii_only) == raw:
        return escape(apply(text, edits), ascii_only)
    written = Written(raw, text)
    return apply(raw, [(written.at(start), written.at(end), escape(new, ascii_only)) for start, end, new in edits])


def apply(text: str, edits: Iterable[Edit]) -> str:
    """`text` with its edits made."""
    out: list[str] = []
    done = 0
    for start, end, new in edits:
        out += (text[done:start], new)
        done = end
    out.append(text[done:])
    return "".join(out)
