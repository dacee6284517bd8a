"""The pieces of texts, thoughts and tool calls in a stream that is being read, and the events that make them whole."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from shin_gateway.dialects.numbers import count
from shin_gateway.dialects.openai import usage_of
from shin_gateway.translation.form import AnyPart, Began, Media, Reasoning, Refused, Sealed, Text, ToolUse, Transcribed
from shin_gateway.translation.openai_responses.names import ORIGIN, Json, dicts
from shin_gateway.translation.openai_responses.open_parts import Key, OpenPart, Parts
from shin_gateway.translation.openai_responses.replies_in import tool_use, word


class Pieces:
    """One stream's. Each method takes an event of one type."""

    def __init__(self) -> None:
        self._began = False
        self._parts = Parts()
        self._done: set[object] = set()
        self._places: dict[str, Any] = {}
        """Where the item of an id stands: some servers count in the last event otherwise."""
        self._announced: dict[Key, Json] = {}
        """Tool calls that were said to be complete before any piece of them had come."""
        self._out = self._parts.out

    def _begin(self, reply: Json) -> None:
        if self._began:
            return
        self._began = True
        created = count(reply, "created_at") or 0
        tier = word(reply, "service_tier")
        self._out.append(Began(word(reply, "id"), word(reply, "model"), created, usage_of(reply.get("usage")), tier))

    def _opened(self, key: Key, part: AnyPart) -> OpenPart:
        if not self._began:
            self._begin({})
        return self._parts.opened(key, part)

    def _item(self, event: Json) -> Any:
        """What an event is about: its place in the output, else what its item's id stands for."""
        index = event.get("output_index")
        if isinstance(index, int):
            return index
        id = event.get("item_id")
        return self._places.get(id, id) if isinstance(id, str) else 0

    # Texts of messages

    def _content(self, event: Json) -> Key | None:
        """The content that an event is about; None where it is complete."""
        item = self._item(event)
        key = (item, _index(event, "content_index"))
        return None if item in self._done or key in self._done else key

    def _text(self, event: Json) -> None:
        key, delta = self._content(event), event.get("delta")
        if key is None:
            return
        if delta or key in self._parts.open:
            self._parts.grow(self._opened(key, Text(text="")), delta)
        if logprobs := event.get("logprobs"):
            self._parts.log(logprobs)

    def _text_done(self, event: Json) -> None:
        key = self._content(event)
        if key is None or not event.get("text"):
            return
        known = key in self._parts.open
        self._parts.rest(self._opened(key, Text(text="")), event["text"])
        if not known:
            self._parts.log(event.get("logprobs"))

    def _refusal(self, event: Json) -> None:
        key, delta = self._content(event), event.get("delta")
        if key is not None and delta:
            self._parts.grow(self._opened(key, Refused(text="")), delta)

    def _refusal_done(self, event: Json) -> None:
        key, refusal = self._content(event), event.get("refusal")
        if key is not None and refusal:
            self._parts.rest(self._opened(key, Refused(text="")), refusal)

    def _cited(self, event: Json) -> None:
        key, note = self._content(event), event.get("annotation")
        if key is not None and isinstance(note, dict):
            self._parts.cite(self._opened(key, Text(text="")), note)

    def _content_done(self, event: Json) -> None:
        key, part = self._content(event), event.get("part")
        if key is not None and isinstance(part, dict):
            self._finish_content(key, part)

    def _finish_content(self, key: Key, content: Json) -> None:
        kind = content.get("type")
        if kind == "reasoning_text":
            return
        text = content.get("text") if kind == "output_text" else content.get("refusal")
        notes = dicts(content.get("annotations"))
        if key not in self._parts.open and not text and not notes:
            return
        known = key in self._parts.open
        open = self._opened(key, Text(text="") if kind == "output_text" else Refused(text=""))
        self._parts.rest(open, text)
        if not known:
            self._parts.log(content.get("logprobs"))
        for note in notes[open.cited :]:
            self._parts.cite(open, note)
        self._parts.close(key)
        self._done.add(key)

    # Sound, which the API has events for and no item

    def _sound(self, event: Json) -> None:
        self._parts.grow(self._opened(("sound",), Media(kind="audio", origin=ORIGIN)), event.get("delta"))

    def _transcript(self, event: Json) -> None:
        open, delta = self._opened(("sound",), Media(kind="audio", origin=ORIGIN)), event.get("delta")
        if isinstance(delta, str) and delta:
            self._out.append(Transcribed(0, open.at, delta))

    # Thoughts

    def _thought(self, event: Json) -> None:
        self._think(event, event.get("delta"), self._parts.grow)

    def _thought_done(self, event: Json) -> None:
        self._think(event, event.get("text"), self._parts.rest)

    def _think(self, event: Json, text: object, put: Callable[[OpenPart, object, object], None]) -> None:
        key = (self._item(event),)
        if text and key[0] not in self._done:
            summary = "summary_index" in event
            section = (
                ("summary", _index(event, "summary_index")) if summary else ("text", _index(event, "content_index"))
            )
            id = word(event, "item_id")
            put(self._opened(key, Reasoning(summary=summary, id=id, origin=ORIGIN)), text, section)

    def _finish_reasoning(self, key: Key, item: Json) -> None:
        seal = word(item, "encrypted_content")
        texts: list[tuple[Key, str]] = [
            ((name[0], index), word(one, "text"))
            for name in (("summary", "summary"), ("text", "content"))
            for index, one in enumerate(dicts(item.get(name[1])))
        ]
        if key not in self._parts.open and not seal and not any(text for _, text in texts):
            return
        summary = bool(dicts(item.get("summary")))
        open = self._opened(key, Reasoning(summary=summary, id=word(item, "id"), origin=ORIGIN))
        for section, text in texts:
            self._parts.rest(open, text, section)
        if seal:
            self._out.append(Sealed(0, open.at, seal))

    # Tool calls

    def _call(self, event: Json) -> None:
        key = (self._item(event),)
        if key[0] not in self._done:
            self._parts.grow(self._tool(key, event), event.get("delta"))

    def _call_done(self, event: Json) -> None:
        key = (self._item(event),)
        if key[0] not in self._done and key in self._parts.open:  # the name may come only with the item
            text = event.get("arguments") if "arguments" in event else event.get("input")
            self._parts.rest(self._parts.open[key], text)

    def _tool(self, key: Key, event: Json) -> OpenPart:
        if key in self._parts.open:
            return self._parts.open[key]
        if (item := self._announced.pop(key, None)) is not None:
            return self._opened(key, msgspec.structs.replace(tool_use(item), arguments=""))
        custom = "custom" in event["type"]
        id = word(event, "call_id") or word(event, "item_id")
        return self._opened(key, ToolUse(id=id, name=word(event, "name"), custom=custom, origin=ORIGIN))

    def _finish_call(self, key: Key, item: Json) -> None:
        part = tool_use(item)
        arguments, part.arguments = part.arguments, ""
        self._parts.rest(self._opened(key, part), arguments)


def _index(event: Json, name: str) -> int:
    value = event.get(name)
    return value if isinstance(value, int) else 0
