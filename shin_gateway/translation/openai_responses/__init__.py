"""The Responses API of OpenAI, both as a client's dialect and as a target's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from shin_gateway.dialects.base import Failure
from shin_gateway.translation.form import Answer, Chat, Json
from shin_gateway.translation.losses import Losses
from shin_gateway.translation.openai_common import read_error
from shin_gateway.translation.openai_responses.calls_in import read_call
from shin_gateway.translation.openai_responses.calls_out import write_call
from shin_gateway.translation.openai_responses.client_fields import FIELDS
from shin_gateway.translation.openai_responses.names import ORIGIN
from shin_gateway.translation.openai_responses.replies_in import read_reply
from shin_gateway.translation.openai_responses.replies_out import write_reply
from shin_gateway.translation.openai_responses.streams_in import ResponsesReader
from shin_gateway.translation.openai_responses.streams_out import ResponsesWriter
from shin_gateway.translation.translator import Origin, StreamReader, StreamWriter, Traits


class OpenAIResponses:
    name = ORIGIN
    takes_urls = frozenset({"image", "document"})
    fields = FIELDS

    def read_call(self, body: Json, path: str, losses: Losses) -> Chat:
        return read_call(body, path, losses)

    def write_call(self, chat: Chat, traits: Traits, losses: Losses) -> Json:
        return write_call(chat, traits, losses)

    def path(self, chat: Chat) -> str:
        return "/v1/responses"

    def call_headers(self, chat: Chat) -> Mapping[str, str]:
        return {}

    def read_reply(self, body: Any) -> Answer:
        return read_reply(body)

    def write_reply(self, answer: Answer, origin: Origin, losses: Losses) -> Json:
        return write_reply(answer, origin, losses)

    def read_error(self, body: Any, status: int) -> Failure:
        return read_error(body, status)

    def reader(self) -> StreamReader:
        return ResponsesReader()

    def writer(self, origin: Origin, losses: Losses) -> StreamWriter:
        return ResponsesWriter(origin, losses)
