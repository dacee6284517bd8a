"""JSON inside a JSON string: tool arguments, whole or as they come in pieces.

Words are looked for in what the values of such a text mean, so that a quote or an umlaut that is
escaped inside is found; names of members, numbers and punctuation stay. Models write arguments
that are no JSON, too: from where a text stops being JSON it is taken as plain text.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from shin_gateway.dialects.json_text import Edit, Written, escape, escapes_all

if TYPE_CHECKING:
    from shin_gateway.dialects.rewriting import Rewriter

# Between strings: punctuation, numbers and the letters of true, false and null.
_OUTSIDE = re.compile(r"[\s{}\[\],:0-9+\-.eEtrufalsn]*")
_INSIDE = re.compile(r'[^"\\]*(?:\\.[^"\\]*)*', re.DOTALL)
_OPENS = re.compile(r'\s*["{\[]')
_HIGH = re.compile(r"\\u[dD][89abAB][0-9a-fA-F]{2}")
_ESCAPE_LENGTH = 6

_START, _BETWEEN, _NAME, _VALUE, _PLAIN = range(5)


def edits(text: str, rewriter: Rewriter) -> Sequence[Edit]:
    """The edits for a whole text that holds JSON, in that text's own characters."""
    return InnerJson(rewriter).settle(text, True)[0]


class InnerJson:
    """Reads one JSON text as it grows. `settle` is handed what has not been settled yet, and what came since."""

    __slots__ = ("_ascii_only", "_edits", "_name_next", "_rewriter", "_stack", "_state")

    def __init__(self, rewriter: Rewriter) -> None:
        self._rewriter = rewriter
        self._state = _START
        self._stack: list[str] = []
        self._name_next = False
        self._ascii_only = False
        self._edits: list[Edit] = []

    def settle(self, text: str, final: bool) -> tuple[Sequence[Edit], int]:
        """The edits that are certain, and how many characters of `text` are settled by now."""
        self._edits = []
        i, goes_on = 0, True
        while goes_on and i < len(text):
            i, goes_on = self._step(text, i, final)
        return self._edits, i

    def _step(self, text: str, i: int, final: bool) -> tuple[int, bool]:
        """Read one token from `i`: what is settled then, and whether there is more to read now."""
        if self._state == _START:
            return self._start(text, i, final)
        if self._state == _BETWEEN:
            return self._between(text, i), True
        if self._state == _PLAIN:
            return self._plain(text, i, final), False
        return self._string(text, i, final)

    def _start(self, text: str, i: int, final: bool) -> tuple[int, bool]:
        if text.isspace() and not final:
            return i, False
        self._state = _BETWEEN if _OPENS.match(text, i) else _PLAIN
        return i, True

    def _between(self, text: str, i: int) -> int:
        end = _OUTSIDE.match(text, i).end()  # type: ignore[union-attr]  # matches the empty string too
        for mark in re.findall(r"[{}\[\],:]", text[i:end]):
            self._punctuate(mark)
        if end == len(text):
            return end
        if text[end] != '"':
            self._state = _PLAIN
            return end
        self._state = _NAME if self._name_next else _VALUE
        return end + 1

    def _punctuate(self, mark: str) -> None:
        if mark in "{[":
            self._stack.append(mark)
        elif mark in "}]" and self._stack:
            self._stack.pop()
        self._name_next = mark in "{," and bool(self._stack) and self._stack[-1] == "{"

    def _string(self, text: str, i: int, final: bool) -> tuple[int, bool]:
        end = _INSIDE.match(text, i).end()  # type: ignore[union-attr]  # matches the empty string too
        if text[end : end + 1] != '"':
            return self._open_string(text, i, final), False
        if self._state == _VALUE:
            written = Written(text[i:end])
            self._add(written, i, self._rewriter.edits(written.text))
        self._state = _BETWEEN
        return end + 1, True

    def _open_string(self, text: str, start: int, final: bool) -> int:
        end = len(text) if final else _unfinished(text, start)
        if self._state == _NAME:
            return end
        written = Written(text[start:end])
        found, settled = _certain(written.text, self._rewriter, final)
        self._add(written, start, found)
        return start + written.at(settled)

    def _plain(self, text: str, start: int, final: bool) -> int:
        found, settled = _certain(text[start:], self._rewriter, final)
        self._edits.extend((start + a, start + b, new) for a, b, new in found)
        return start + settled

    def _add(self, written: Written, start: int, found: Sequence[Edit]) -> None:
        self._ascii_only = self._ascii_only or escapes_all(written.raw)
        for a, b, new in found:
            self._edits.append((start + written.at(a), start + written.at(b), escape(new, self._ascii_only)))


def _unfinished(text: str, start: int) -> int:
    """Where an escape begins that is cut by the end of `text`, or its end. A surrogate pair is one escape."""
    end = len(text)
    last = text.rfind("\\", max(start, end - _ESCAPE_LENGTH), end)
    if last < 0 or _backslashes(text, start, last) % 2 == 0:
        return end
    size = end - last
    before = last - _ESCAPE_LENGTH
    follows_high = before >= start and _HIGH.match(text, before) and _backslashes(text, start, before) % 2 == 1
    if size == 1 or (text[last + 1] == "u" and size < _ESCAPE_LENGTH):
        return before if follows_high else last
    return last if _HIGH.match(text, last) and not follows_high else end


def _backslashes(text: str, start: int, last: int) -> int:
    """How many backslashes stand in a row up to `last`."""
    count = 0
    while last - count >= start and text[last - count] == "\\":
        count += 1
    return count


class Plain:
    """The same for a text that is no JSON."""

    __slots__ = ("_rewriter",)

    def __init__(self, rewriter: Rewriter) -> None:
        self._rewriter = rewriter

    def settle(self, text: str, final: bool) -> tuple[Sequence[Edit], int]:
        return _certain(text, self._rewriter, final)


def _certain(text: str, rewriter: Rewriter, final: bool) -> tuple[Sequence[Edit], int]:
    """The edits that no later text can change, and how much of `text` is settled."""
    found = rewriter.edits(text)
    if final:
        return found, len(text)
    settled = len(text) - rewriter.held(text)
    for start, end, _ in found:
        if start < settled < end:
            settled = start
    return [edit for edit in found if edit[1] <= settled], settled
