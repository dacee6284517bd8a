"""Rewriting the texts of calls and replies: words, and streams in which a word may come in pieces."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from shin_gateway.dialects import json_inner
from shin_gateway.dialects.json_spans import Channel, Slot
from shin_gateway.dialects.json_text import Edit
from shin_gateway.dialects.parts import Part
from shin_gateway.dialects.rewriting import Rewriter, changes, rewrite_body

if TYPE_CHECKING:
    from shin_gateway.dialects import Dialect

__all__ = ["Edit", "Rewriter", "StreamRewriter", "Words", "rewrite_body"]

MAX_HELD_PARTS = 256
MAX_HELD_CHARACTERS = 256 * 1024
"""So much waits for the rest of a word at most; then it is taken for no word."""


class Words:
    """Replaces words by words: literally, case and all, the longest that fits."""

    def __init__(self, mapping: Mapping[str, str]) -> None:
        self._mapping = {word: new for word, new in mapping.items() if word}
        words = sorted(self._mapping, key=len, reverse=True)
        self._find = re.compile("|".join(map(re.escape, words)) or r"(?!)").finditer
        self._longest = len(words[0]) if words else 0
        self._beginnings = {word[:size] for word in words for size in range(1, len(word))}

    def edits(self, text: str) -> list[Edit]:
        return [(match.start(), match.end(), self._mapping[match[0]]) for match in self._find(text)]

    def held(self, text: str) -> int:
        first = max(0, len(text) - self._longest + 1)
        inside = [(match.start(), match.end()) for match in self._find(text) if match.end() > first]
        for start in range(first, len(text)):
            if text[start:] in self._beginnings and not any(a < start < b for a, b in inside):
                return len(text) - start
        return 0


class StreamRewriter:
    """Rewrites a stream's texts part by part, also where a match is spread over several parts.

    A part in whose end a match may begin waits, and all parts after it, to keep their order. Then
    the match's replacement goes where the match began and its other characters are taken out. No
    part is made, dropped or merged, and one in which nothing matched keeps its bytes.
    """

    def __init__(
        self,
        dialect: Dialect,
        rewriter: Rewriter,
        *,
        max_parts: int = MAX_HELD_PARTS,
        max_characters: int = MAX_HELD_CHARACTERS,
    ) -> None:
        self._dialect = dialect
        self._rewriter = rewriter
        self._max_parts = max_parts
        self._max_characters = max_characters
        self._waiting: deque[_Waiting] = deque()
        self._characters = 0
        self._channels: dict[Channel, _Text] = {}

    def feed(self, part: Part) -> list[Part]:
        """The parts that can go on now."""
        view = self._dialect.view(part)
        waiting = _Waiting(part)
        slots = [slot for slot in view.slots if slot.text and not slot.signed]
        if self._channels:
            self._end_other_kinds(slots)
        for slot in slots:
            self._take(waiting, slot)
        for prefix in view.closes:
            self._close(prefix)
        if not self._waiting and waiting.is_settled:
            return [waiting.render(self._dialect)]
        self._waiting.append(waiting)
        self._characters += len(part.raw)
        if len(self._waiting) > self._max_parts or self._characters > self._max_characters:
            self._close(())
        return self._settled()

    def finish(self) -> list[Part]:
        """What still waits, when no more parts come."""
        self._close(())
        return self._settled()

    def _take(self, waiting: _Waiting, slot: Slot) -> None:
        if slot.channel is None:
            waiting.edits.extend(changes([slot], self._rewriter))
            return
        text = self._channels.get(slot.channel)
        if text is None:
            text = self._channels[slot.channel] = _Text(self._rewriter, slot.json)
        text.add(waiting, slot)

    def _end_other_kinds(self, slots: list[Slot]) -> None:
        """In one group texts of different kinds follow one another: reasoning ends where content begins."""
        kinds = {slot.channel[:2] for slot in slots if slot.channel is not None}
        groups = {kind[:1] for kind in kinds}
        for other in [key for key in self._channels if key[:1] in groups and key[:2] not in kinds]:
            self._channels.pop(other).close()

    def _close(self, prefix: Channel) -> None:
        if not self._channels:
            return
        for channel in [key for key in self._channels if key[: len(prefix)] == prefix]:
            self._channels.pop(channel).close()

    def _settled(self) -> list[Part]:
        parts = []
        while self._waiting and self._waiting[0].is_settled:
            waiting = self._waiting.popleft()
            self._characters -= len(waiting.part.raw)
            parts.append(waiting.render(self._dialect))
        return parts


class _Waiting:
    """A part, what is to be changed in it, and how many of its texts may still change."""

    __slots__ = ("edits", "open", "part")

    def __init__(self, part: Part) -> None:
        self.part = part
        self.edits: list[tuple[Slot, Sequence[Edit]]] = []
        self.open = 0

    @property
    def is_settled(self) -> bool:
        return not self.open

    def render(self, dialect: Dialect) -> Part:
        if not self.edits:
            return self.part
        return dialect.splice_part(self.part, self.edits)


class _Piece:
    """One slot's stretch of a channel's text, counted from the channel's beginning."""

    __slots__ = ("edits", "end", "slot", "start", "waiting")

    def __init__(self, waiting: _Waiting, slot: Slot, start: int) -> None:
        self.waiting = waiting
        self.slot = slot
        self.start = start
        self.end = start + len(slot.text)
        self.edits: list[Edit] = []

    def apply(self, start: int, end: int, new: str) -> None:
        """Take the stretch out, or put `new` in its place where it begins here."""
        begins_here = start >= self.start
        self.edits.append(
            (max(start, self.start) - self.start, min(end, self.end) - self.start, new if begins_here else "")
        )

    def settle(self) -> None:
        self.waiting.open -= 1
        if self.edits:
            self.waiting.edits.append((self.slot, self.edits))


class _Text:
    """A channel's text as it grows: what is not settled yet, and the pieces it came in."""

    def __init__(self, rewriter: Rewriter, is_json: bool) -> None:
        self._reader = json_inner.InnerJson(rewriter) if is_json else json_inner.Plain(rewriter)
        self._open = ""
        self._settled = 0
        self._pieces: deque[_Piece] = deque()

    def add(self, waiting: _Waiting, slot: Slot) -> None:
        self._pieces.append(_Piece(waiting, slot, self._settled + len(self._open)))
        waiting.open += 1
        self._open += slot.text
        self._settle(final=False)

    def close(self) -> None:
        self._settle(final=True)

    def _settle(self, *, final: bool) -> None:
        edits, settled = self._reader.settle(self._open, final)
        for start, end, new in edits:
            self._apply(self._settled + start, self._settled + end, new)
        self._open = self._open[settled:]
        self._settled += settled
        while self._pieces and self._pieces[0].end <= self._settled:
            self._pieces.popleft().settle()

    def _apply(self, start: int, end: int, new: str) -> None:
        for piece in self._pieces:
            if piece.start >= end:
                break
            if piece.end > start:
                piece.apply(start, end, new)
