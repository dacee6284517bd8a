"""What was said on one connection, so that `previous_response_id` can be written out. Pure code, no I/O.

A provider keeps the last reply of a connection in its memory, and a client then sends only what is new. Whoever
looks at texts, and whoever is asked elsewhere, needs all of it.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

import msgspec

from shin_gateway.errors import Invalid

_ITEM_DONE = "response.output_item.done"
_KEPT = frozenset({"response.completed", "response.incomplete"})
_MAX_IDS = 10_000
"""Ids of replies that are remembered with their texts, and to have been here, when their texts no longer are."""


class History:
    """The contexts after the replies of one connection, by the replies' ids. The oldest go when it grows too large."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        """Bytes of all contexts together."""
        self._size = 0
        self._contexts: OrderedDict[str, tuple[bytes, ...]] = OrderedDict()
        self._gone: OrderedDict[str, None] = OrderedDict()

    def before(self, previous: str) -> tuple[bytes, ...] | None:
        """All items up to and with the reply `previous`; None for one that was not made on this connection.

        Raises Invalid for one that was, and is no longer known: clients then send the whole context.
        """
        if previous in self._gone:
            message = f"Previous response with id '{previous}' not found."
            raise Invalid(message, code="previous_response_not_found", param="previous_response_id")
        return self._contexts.get(previous)

    def keep(self, reply_id: str, context: Sequence[bytes]) -> None:
        """Remember all items up to and with the reply `reply_id`."""
        self._forget(reply_id)
        self._gone.pop(reply_id, None)
        self._contexts[reply_id] = tuple(context)
        self._size += _cost(context)
        while self._size > self._limit or len(self._contexts) > _MAX_IDS:  # a context may have no bytes at all
            oldest = next(iter(self._contexts))
            self._forget(oldest)
            self._gone[oldest] = None
        while len(self._gone) > _MAX_IDS:
            self._gone.popitem(last=False)

    def _forget(self, reply_id: str) -> None:
        if (context := self._contexts.pop(reply_id, None)) is not None:
            self._size -= _cost(context)


_EACH = 8
"""Bytes that an item of a context takes beside its own, which several contexts share."""


def _cost(context: Sequence[bytes]) -> int:
    return sum(map(len, context)) + _EACH * len(context)


class _Item(msgspec.Struct):
    type: str = ""
    encrypted_content: str | None = None


class _Done(msgspec.Struct):
    item: msgspec.Raw
    output_index: int = 0


class _Response(msgspec.Struct):
    id: str
    output: list[msgspec.Raw] = []


class _End(msgspec.Struct):
    response: _Response


_decode_item = msgspec.json.Decoder(_Item).decode
_decode_done = msgspec.json.Decoder(_Done).decode
_decode_end = msgspec.json.Decoder(_End).decode


class Scribe:
    """Writes down the output of one reply from the events that the client gets."""

    def __init__(self, stored: bool) -> None:
        self._stored = stored
        self._items: dict[int, bytes] = {}
        self.reply_id: str | None = None
        """Known when the reply has ended, and may be referred to."""

    def feed(self, kind: str, event: bytes) -> None:
        """Never raises."""
        if kind != _ITEM_DONE and kind not in _KEPT:
            return
        try:
            if kind == _ITEM_DONE:
                done = _decode_done(event)
                self._items[done.output_index] = bytes(done.item)
            else:
                self._end(_decode_end(event).response)
        except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
            return

    def _end(self, response: _Response) -> None:
        # ChatGPT's own server ends a reply without repeating its output.
        self._items = self._items or {index: bytes(item) for index, item in enumerate(response.output)}
        self.reply_id = response.id

    @property
    def output(self) -> list[bytes]:
        """The items, as the next call may hand them back."""
        return [item for _, item in sorted(self._items.items()) if self._may_return(item)]

    def _may_return(self, item: bytes) -> bool:
        """Reasoning that the provider has not stored is known to it only by its encrypted content."""
        try:
            read = _decode_item(item)
        except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
            return False
        return self._stored or read.type != "reasoning" or bool(read.encrypted_content)
