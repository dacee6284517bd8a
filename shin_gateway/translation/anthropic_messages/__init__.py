"""Anthropic's Messages API, as a client's dialect and as a target's. platform.claude.com/docs/en/api/messages

Seals of other providers travel in the signature of thinking blocks (`names.TOOL_SEAL` says how those of tool uses).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from shin_gateway.dialects.base import Failure
from shin_gateway.translation.anthropic_messages import calls_in, calls_out, replies
from shin_gateway.translation.anthropic_messages.client_fields import FIELDS
from shin_gateway.translation.anthropic_messages.streams_in import Reader
from shin_gateway.translation.anthropic_messages.streams_out import Writer
from shin_gateway.translation.form import Answer, Chat, Json
from shin_gateway.translation.losses import Losses
from shin_gateway.translation.media import media_of
from shin_gateway.translation.translator import Origin, StreamReader, StreamWriter, Traits

_VERSION = "2023-06-01"
"""The last version that takes temperature, top_p and top_k (2026-10-21 refuses them, for every model)."""
_FILES = "files-api-2025-04-14"
_MCP = "mcp-client-2025-11-20"


class AnthropicMessages:
    """Implements Translator."""

    name = "anthropic.messages"
    takes_urls = frozenset({"image", "document"})
    fields = FIELDS

    def read_call(self, body: Json, path: str, losses: Losses) -> Chat:
        return calls_in.read_call(body, path, losses)

    def write_call(self, chat: Chat, traits: Traits, losses: Losses) -> Json:
        return calls_out.write_call(chat, traits, losses)

    def path(self, chat: Chat) -> str:
        return "/v1/messages"

    def call_headers(self, chat: Chat) -> Mapping[str, str]:
        betas = [_FILES] if any(media.file_id for media in media_of(chat)) else []
        if any(tool.kind == "mcp" for tool in chat.builtin_tools):
            betas.append(_MCP)
        headers = {"anthropic-version": _VERSION}
        return headers | {"anthropic-beta": ",".join(betas)} if betas else headers

    def read_reply(self, body: Any) -> Answer:
        return replies.read_reply(body)

    def write_reply(self, answer: Answer, origin: Origin, losses: Losses) -> Json:
        return replies.write_reply(answer, origin, losses)

    def read_error(self, body: Any, status: int) -> Failure:
        return replies.read_error(body, status)

    def reader(self) -> StreamReader:
        return Reader()

    def writer(self, origin: Origin, losses: Losses) -> StreamWriter:
        return Writer(origin, losses)


__all__ = ["AnthropicMessages"]
