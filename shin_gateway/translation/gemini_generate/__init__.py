"""Gemini's generateContent and streamGenerateContent: by key, on Vertex, and in Code Assist's envelope."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from shin_gateway.dialects.base import Failure, is_retryable
from shin_gateway.dialects.gemini_errors import failure_of
from shin_gateway.translation.form import Answer, Chat, Json
from shin_gateway.translation.gemini_generate.calls_in import read_call
from shin_gateway.translation.gemini_generate.calls_out import write_call
from shin_gateway.translation.gemini_generate.client_fields import FIELDS
from shin_gateway.translation.gemini_generate.fields import NAME
from shin_gateway.translation.gemini_generate.replies_in import read_reply
from shin_gateway.translation.gemini_generate.replies_out import write_reply
from shin_gateway.translation.gemini_generate.streams_in import GenerateStreamReader
from shin_gateway.translation.gemini_generate.streams_out import GenerateStreamWriter
from shin_gateway.translation.losses import Losses
from shin_gateway.translation.translator import Origin, StreamReader, StreamWriter, Traits

__all__ = ["GeminiGenerate"]


class GeminiGenerate:
    name = NAME
    fields = FIELDS
    takes_urls: frozenset[str] = frozenset(["video"])
    """Videos, which are too long to inline: YouTube's, and files that the API fetches. Other files it fetches only
    for newer models and with a known type, so they are inlined."""

    def read_call(self, body: Json, path: str, losses: Losses) -> Chat:
        return read_call(body, path, losses)

    def write_call(self, chat: Chat, traits: Traits, losses: Losses) -> Json:
        return write_call(chat, traits, losses)

    def path(self, chat: Chat) -> str:
        verb = "streamGenerateContent?alt=sse" if chat.stream else "generateContent"
        return f"/v1beta/models/{quote(chat.model, safe='@')}:{verb}"

    def call_headers(self, chat: Chat) -> Mapping[str, str]:
        return {}

    def read_reply(self, body: Any) -> Answer:
        return read_reply(body)

    def write_reply(self, answer: Answer, origin: Origin, losses: Losses) -> Json:
        return write_reply(answer, origin, losses)

    def read_error(self, body: Any, status: int) -> Failure:
        """`{error: {code, message, status, details}}`, also in a list of one, as streams without `alt=sse` have it."""
        if isinstance(body, list) and body:
            body = body[0]
        error = body.get("error") if isinstance(body, dict) else None
        if isinstance(error, dict):
            found = failure_of(error)
            return Failure(status, found.type, found.message, is_retryable(status), found.retry_after)
        message = error if isinstance(error, str) and error else f"The provider answered with status {status}."
        return Failure(status, failure_of({"code": status}).type, message, is_retryable(status))

    def reader(self) -> StreamReader:
        return GenerateStreamReader()

    def writer(self, origin: Origin, losses: Losses) -> StreamWriter:
        return GenerateStreamWriter(origin, losses)
