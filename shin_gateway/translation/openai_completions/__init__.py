"""OpenAI's legacy Completions API: one prompt in, text out. As a client's dialect, and simply as a target's.

Source: developers.openai.com/api/reference/resources/completions
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from shin_gateway.dialects.base import Failure
from shin_gateway.translation.form import Answer, Chat, Json
from shin_gateway.translation.losses import Losses
from shin_gateway.translation.openai_chat.replies_in import read_reply
from shin_gateway.translation.openai_chat.streams_in import StreamReader
from shin_gateway.translation.openai_common import read_error
from shin_gateway.translation.openai_completions.calls import read_call, write_call
from shin_gateway.translation.openai_completions.replies import as_chat, write_reply
from shin_gateway.translation.openai_completions.streams import StreamWriter
from shin_gateway.translation.translator import Origin, Traits


class OpenAICompletions:
    name = "openai.completions"
    takes_urls: frozenset[str] = frozenset()
    fields: Mapping[str, str] = {}

    def read_call(self, body: Json, path: str, losses: Losses) -> Chat:
        return read_call(body, path, losses)

    def write_call(self, chat: Chat, traits: Traits, losses: Losses) -> Json:
        return write_call(chat, traits, losses)

    def path(self, chat: Chat) -> str:
        return "/v1/completions"

    def call_headers(self, chat: Chat) -> Mapping[str, str]:
        return {}

    def read_reply(self, body: Any) -> Answer:
        if isinstance(body, dict) and isinstance(choices := body.get("choices"), list):
            body = {**body, "choices": [as_chat(choice) for choice in choices if isinstance(choice, dict)]}
        return read_reply(body)

    def write_reply(self, answer: Answer, origin: Origin, losses: Losses) -> Json:
        return write_reply(answer, origin, losses)

    def read_error(self, body: Any, status: int) -> Failure:
        return read_error(body, status)

    def reader(self) -> StreamReader:
        return StreamReader()

    def writer(self, origin: Origin, losses: Losses) -> StreamWriter:
        return StreamWriter(origin, losses)
