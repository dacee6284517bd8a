"""Anything else: passed on as it is. No texts, no usage, errors in OpenAI's shape."""

from __future__ import annotations

import msgspec

from shin_gateway.dialects.base import AnyEnding, Dialect, Ending, Failure, to_json
from shin_gateway.dialects.heads import Peek, model_in_path
from shin_gateway.dialects.openai import error_object
from shin_gateway.dialects.parts import Part
from shin_gateway.errors import Refusal


class _Head(msgspec.Struct):
    model: str | None = None
    stream: bool | None = None


_decode_head = msgspec.json.Decoder(_Head).decode


class Plain(Dialect):
    name = "plain"

    def peek(self, body: bytes, path: str) -> Peek:
        """A guess, since nothing is known of the body: never an error."""
        try:
            head = _decode_head(body) if body[:1] == b"{" else _Head()
        except (msgspec.MsgspecError, RecursionError, ValueError):
            head = _Head()
        return Peek(head.model or model_in_path(path), bool(head.stream))

    def gathers(self, content_type: str) -> bool:
        return False

    def ending(self) -> Ending:
        return AnyEnding(self)

    def failure(self, part: Part) -> Failure | None:
        return None

    def error_body(self, refusal: Refusal, call_id: str) -> bytes:
        return to_json({"error": error_object(refusal), "request_id": call_id})

    def error_part(self, refusal: Refusal, call_id: str, content_type: str = "text/event-stream") -> bytes:
        if content_type.startswith("text/event-stream"):
            return b"data: " + self.error_body(refusal, call_id) + b"\n\n"
        return b""
