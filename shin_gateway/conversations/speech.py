"""What a model answered, as the items or the message with which the next call of the same dialect repeats it.

Streams are gathered as they pass. Only the first of several answers goes on with the conversation.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import msgspec

from shin_gateway.conversations import body

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Said:
    """What is kept of a reply."""

    items: list[msgspec.Raw]
    """Empty where the model said nothing."""
    reply: body.Fields | None = None
    """The whole reply, where the dialect has replies that can be asked for later."""


class Gatherer(Protocol):
    """Gathers one streamed reply. Never raises."""

    def feed(self, data: bytes) -> bool:
        """One event; False for what cannot be understood."""
        ...

    def said(self) -> Said | None:
        """None where the stream did not say that the reply is whole, or there is no answer."""
        ...


class Responses:
    """https://platform.openai.com/docs/api-reference/responses-streaming"""

    _ENDS: ClassVar[frozenset[str]] = frozenset({"response.completed", "response.incomplete"})

    def __init__(self) -> None:
        self._items: dict[int, msgspec.Raw] = {}
        self._reply: body.Fields | None = None

    def feed(self, data: bytes) -> bool:
        if b"response.output_item.done" not in data and b"response.completed" not in data and b"incomplete" not in data:
            return True
        event = body.maybe(data, _ResponsesEvent)
        if event is None:
            return False
        if event.type == "response.output_item.done" and event.item:
            self._items[event.output_index] = event.item
        elif event.type in self._ENDS:
            self._reply = event.response
        return True

    def said(self) -> Said | None:
        reply = self._reply
        if reply is None:
            return None
        if self._items and not body.maybe_items(reply.get("output")):
            # ChatGPT's own server ends a reply without repeating it
            reply = reply | {"output": body.listed(item for _, item in sorted(self._items.items()))}
        return responses(reply)


class _ResponsesEvent(msgspec.Struct):
    type: str = ""
    output_index: int = 0
    item: msgspec.Raw = msgspec.Raw(b"")
    response: body.Fields = {}


def whole_responses(data: bytes | None) -> Said | None:
    reply = body.maybe(data, body.Fields)
    return None if reply is None else responses(reply)


def responses(reply: body.Fields) -> Said | None:
    """A reply of the Responses API; None for one that is under way or has failed."""
    output = body.maybe_items(reply.get("output"))
    status = body.maybe_text(reply, "status") or "completed"
    fit = body.maybe_text(reply, "id") and status in ("completed", "incomplete")
    return Said(output, reply) if fit and output is not None else None


def as_dict(value: Any) -> Json:
    return value if isinstance(value, dict) else {}


def as_dicts(value: Any) -> list[Json]:
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []
