"""APIs that talk over a WebSocket for as long as the client likes. Pure code, no I/O.

A call is one connection, a part one message of the provider. Messages pass as they are: no texts are found in them,
only usage.
"""

from __future__ import annotations

import re
from typing import NamedTuple
from urllib.parse import parse_qsl, quote, unquote_plus

from shin_gateway.dialects.base import AnyEnding, Dialect, Ending, Failure
from shin_gateway.dialects.heads import Peek
from shin_gateway.dialects.json_spans import Slot
from shin_gateway.dialects.parts import Framer, Part
from shin_gateway.dialects.rewriting import Rewriter
from shin_gateway.errors import Invalid
from shin_gateway.outcome import Usage

_NAMES = ("model", "deployment")
_MODEL = re.compile(r"(?<=[?&])(?:model|deployment)=([^&#]*)")


class Message(Part):
    """One message: all of it is data."""

    __slots__ = ()

    @property
    def data(self) -> bytes:
        return self.raw

    def replace_data(self, data: bytes) -> Message:
        return Message(data)


class Messages:
    """Takes what it is given for one message each time."""

    def feed(self, chunk: bytes) -> list[Part]:
        return [Message(chunk)]

    def end(self) -> list[Part]:
        return []


class Spent(NamedTuple):
    """What one message says was used."""

    usage: Usage
    model: str = ""
    """Another than the connection's; else empty."""


class Ledger:
    """Reads what a connection uses from the provider's messages. Never raises."""

    model = ""
    """As the provider calls it."""

    def read(self, part: Part) -> Spent | None:
        """What the message says was used; None for nearly all of them."""
        raise NotImplementedError


class Realtime(Dialect):
    """What these APIs have in common."""

    keepalive = None

    def peek(self, body: bytes, path: str) -> Peek:
        found = _MODEL.search(path)
        model = unquote_plus(found[1]) if found else ""
        said = {value for name, value in parse_qsl(path.partition("?")[2]) if name in _NAMES}
        if said - {model}:  # the provider might take the other one
            raise Invalid("model: stands in the query more than once, or in a way that is not plain.", param="model")
        return Peek(model or None, stream=True)

    def with_model(self, body: bytes, path: str, model: str) -> tuple[bytes, str]:
        found = _MODEL.search(path)
        return body, f"{path[: found.start(1)]}{quote(model, safe='')}{path[found.end(1) :]}" if found else path

    def call_slots(self, body: bytes) -> list[Slot]:
        return []

    def rewrite_call(self, body: bytes, rewriter: Rewriter) -> bytes:
        return body

    def framer(self, content_type: str) -> Framer | None:
        return Messages()

    def ending(self) -> Ending:
        return AnyEnding(self)

    def failure(self, part: Part) -> Failure | None:
        return None  # an error is a message like others: the connection goes on

    def ledger(self) -> Ledger:
        raise NotImplementedError


def amount(tokens: int | None) -> int:
    """Of a number that a provider may leave out."""
    return max(0, tokens or 0)
