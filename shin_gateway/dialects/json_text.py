"""Strings as JSON writes them: escapes, and changing a part of a string without touching the rest."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from json.decoder import scanstring
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
        self._meant = [0]
        self._written = [0]
        if "\\" not in raw:
            self.text = raw
            return
        self.text = unescape(raw) if text is None else text
        if self.text is not raw:
            self._index()

    def _index(self) -> None:
        shift = 0
        for match in _ESCAPE.finditer(self.raw):
            shift += match.end() - match.start() - 1
            self._written.append(match.end())
            self._meant.append(match.end() - shift)

    def at(self, position: int) -> int:
        """Where the character at `position` of the meaning is written."""
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
        written = Written(text[slot.start : slot.end], slot.text)
        ascii_only = escapes_all(written.raw)
        for start, end, replacement in edits:
            out.append(text[done : slot.start + written.at(start)])
            out.append(escape(replacement, ascii_only))
            done = slot.start + written.at(end)
    out.append(text[done:])
    return "".join(out)
