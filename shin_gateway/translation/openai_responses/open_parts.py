"""The parts of a stream that is being read: opened, grown, closed, and the events that this makes."""

from __future__ import annotations

from typing import Any

from shin_gateway.translation.form import AnyPart, Cited, Closed, Event, Grew, Json, Logged, Opened
from shin_gateway.translation.openai_responses.content_in import citation
from shin_gateway.translation.openai_responses.items import tokens
from shin_gateway.translation.openai_responses.names import dicts

Key = tuple[Any, ...]


class OpenPart:
    __slots__ = ("at", "cited", "section", "seen")

    def __init__(self, at: int) -> None:
        self.at = at
        self.seen: dict[object, int] = {}
        """Characters of each section that have been passed on."""
        self.section: object = None
        self.cited = 0


class Parts:
    """Contents of a message are known by (item, content index), other items by (item,)."""

    def __init__(self) -> None:
        self.out: list[Event] = []
        self.all: list[AnyPart] = []
        self.open: dict[Key, OpenPart] = {}

    def opened(self, key: Key, part: AnyPart) -> OpenPart:
        """The open part of this key; `part` becomes it where there is none."""
        found = self.open.get(key)
        if found is None:
            found = self.open[key] = OpenPart(len(self.all))
            self.all.append(part)
            self.out.append(Opened(0, found.at, part))
        return found

    def close(self, key: Key) -> None:
        found = self.open.pop(key, None)
        if found is not None:
            self.out.append(Closed(0, found.at))

    def grow(self, open: OpenPart, text: object, section: object = None) -> None:
        """A piece of the part's text. Sections, as those of a summary, are set apart."""
        if not isinstance(text, str) or not text:
            return
        if open.section != section:
            if open.seen:
                self.out.append(Grew(0, open.at, "\n\n"))
            open.section = section
        open.seen[section] = open.seen.get(section, 0) + len(text)
        self.out.append(Grew(0, open.at, text))

    def rest(self, open: OpenPart, text: object, section: object = None) -> None:
        """Of a text that is now whole, what has not been passed on."""
        seen = open.seen.get(section, 0)
        if isinstance(text, str) and len(text) > seen:
            self.grow(open, text[seen:], section)

    def log(self, logprobs: Any) -> None:
        if found := dicts(logprobs):
            self.out.append(Logged(0, tokens(found)))

    def cite(self, open: OpenPart, note: Json) -> None:
        open.cited += 1
        self.out.append(Cited(0, open.at, citation(note)))
