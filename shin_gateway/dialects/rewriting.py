"""Changing texts in place: what a rewriter is, and how its edits get into a body."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

from shin_gateway.dialects import json_inner
from shin_gateway.dialects.json_spans import Paths, Slot, decode, scan
from shin_gateway.dialects.json_text import Edit, splice


class Rewriter(Protocol):
    """What finds the parts of a text to change: a masker, a restorer of masks, a swapper of words."""

    def edits(self, text: str) -> Sequence[Edit]:
        """Replacements (start, end, text) in order, not overlapping, none of them empty."""
        ...

    def held(self, text: str) -> int:
        """How many of the last characters may still become part of an edit when more text follows."""
        ...


def changes(slots: Iterable[Slot], rewriter: Rewriter) -> list[tuple[Slot, Sequence[Edit]]]:
    """The slots in which `rewriter` changes something, each text being complete."""
    found = []
    for slot in slots:
        if slot.signed or not slot.text:
            continue
        edits = json_inner.edits(slot.text, rewriter) if slot.json else rewriter.edits(slot.text)
        if edits:
            found.append((slot, edits))
    return found


def rewrite_body(body: bytes, wanted: Paths, rewriter: Rewriter) -> bytes:
    """`body` with the texts at `wanted` rewritten; the identical object when nothing matched. Raises Invalid."""
    text = decode(body)
    found = changes(scan(text, wanted)[1], rewriter)
    return splice(text, found).encode() if found else body
