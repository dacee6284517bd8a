"""Gemini's Live API (BidiGenerateContent). https://ai.google.dev/api/live"""

from __future__ import annotations

import msgspec

from shin_gateway.dialects.base import to_json
from shin_gateway.dialects.gemini_errors import error_object
from shin_gateway.dialects.parts import Part
from shin_gateway.dialects.realtime import Ledger, Realtime, Spent, amount
from shin_gateway.errors import Refusal
from shin_gateway.outcome import Usage


class GeminiLive(Realtime):
    name = "gemini.live"

    def ledger(self) -> Ledger:
        return _GeminiLedger()

    def error_body(self, refusal: Refusal, call_id: str) -> bytes:
        return to_json({"error": error_object(refusal, call_id)})

    def error_part(self, refusal: Refusal, call_id: str, content_type: str = "") -> bytes:
        return b""  # its messages know no error; the code that the connection is closed with says it


class _Modality(msgspec.Struct, rename="camel"):
    modality: str = ""
    token_count: int | None = None


class _Metadata(msgspec.Struct, rename="camel"):
    prompt_token_count: int | None = None
    cached_content_token_count: int | None = None
    response_token_count: int | None = None
    tool_use_prompt_token_count: int | None = None
    thoughts_token_count: int | None = None
    prompt_tokens_details: list[_Modality] | None = None
    cache_tokens_details: list[_Modality] | None = None
    response_tokens_details: list[_Modality] | None = None

    def read(self) -> Usage:
        thoughts = amount(self.thoughts_token_count)
        input = amount(self.prompt_token_count) + amount(self.tool_use_prompt_token_count)
        output = amount(self.response_token_count) + thoughts
        cached_sound = _sound(self.cache_tokens_details)
        return Usage(
            input=input,
            output=output,
            cached=min(amount(self.cached_content_token_count), input),
            reasoning=thoughts,
            input_audio=max(0, min(_sound(self.prompt_tokens_details), input) - cached_sound),
            output_audio=min(_sound(self.response_tokens_details), output),
        )


class _ServerMessage(msgspec.Struct, rename="camel"):
    usage_metadata: _Metadata | None = None


_decode_message = msgspec.json.Decoder(_ServerMessage).decode


class _GeminiLedger(Ledger):
    def read(self, part: Part) -> Spent | None:
        if b'"usageMetadata"' not in part.raw:
            return None
        try:
            found = _decode_message(part.raw).usage_metadata
        except (msgspec.MsgspecError, RecursionError, ValueError):
            return None
        return Spent(found.read()) if found else None


def _sound(details: list[_Modality] | None) -> int:
    return sum(amount(one.token_count) for one in details or () if one.modality == "AUDIO")
