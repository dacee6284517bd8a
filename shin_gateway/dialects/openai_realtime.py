"""OpenAI's Realtime API, which others speak too. https://developers.openai.com/api/docs/guides/realtime-websocket"""

from __future__ import annotations

import re

import msgspec

from shin_gateway.dialects.base import to_json
from shin_gateway.dialects.openai import error_object
from shin_gateway.dialects.parts import Part
from shin_gateway.dialects.realtime import Ledger, Realtime, Spent, amount
from shin_gateway.errors import Refusal
from shin_gateway.outcome import Usage


class OpenAIRealtime(Realtime):
    name = "openai.realtime"

    def ledger(self) -> Ledger:
        return _OpenAILedger()

    def error_body(self, refusal: Refusal, call_id: str) -> bytes:
        return to_json({"error": error_object(refusal), "request_id": call_id})

    def error_part(self, refusal: Refusal, call_id: str, content_type: str = "") -> bytes:
        error = {**error_object(refusal), "event_id": None}
        return to_json({"type": "error", "event_id": f"event_{call_id}", "error": error})


class _Cached(msgspec.Struct):
    audio_tokens: int | None = None
    image_tokens: int | None = None


class _Input(msgspec.Struct):
    audio_tokens: int | None = None
    image_tokens: int | None = None
    cached_tokens: int | None = None
    cached_tokens_details: _Cached | None = None


class _Output(msgspec.Struct):
    audio_tokens: int | None = None
    reasoning_tokens: int | None = None


class _Usage(msgspec.Struct):
    input_tokens: int | None = None
    output_tokens: int | None = None
    input_token_details: _Input | None = None
    output_token_details: _Output | None = None
    seconds: float | None = None
    """Transcriptions by some models are paid by the second."""

    def read(self) -> Usage:
        given, made = self.input_token_details or _Input(), self.output_token_details or _Output()
        input, output = amount(self.input_tokens), amount(self.output_tokens)
        cached = given.cached_tokens_details or _Cached()
        return Usage(
            input=input,
            output=output,
            cached=min(amount(given.cached_tokens), input),
            reasoning=min(amount(made.reasoning_tokens), output),
            input_audio=max(0, min(amount(given.audio_tokens), input) - amount(cached.audio_tokens)),
            input_image=max(0, min(amount(given.image_tokens), input) - amount(cached.image_tokens)),
            output_audio=min(amount(made.audio_tokens), output),
            input_seconds=max(0.0, self.seconds or 0.0),
        )


class _Response(msgspec.Struct):
    usage: _Usage | None = None


class _Transcription(msgspec.Struct):
    model: str | None = None


class _AudioInput(msgspec.Struct):
    transcription: _Transcription | None = None


class _Audio(msgspec.Struct):
    input: _AudioInput | None = None


class _Session(msgspec.Struct):
    model: str | None = None
    audio: _Audio | None = None
    input_audio_transcription: _Transcription | None = None
    """Where the beta has it."""

    @property
    def hears_with(self) -> str | None:
        heard = self.audio.input if self.audio else None
        found = (heard.transcription if heard else None) or self.input_audio_transcription
        return found.model if found else None


class _Event(msgspec.Struct):
    response: _Response | None = None
    session: _Session | None = None
    usage: _Usage | None = None


_decode_event = msgspec.json.Decoder(_Event).decode
_TYPE = re.compile(
    rb'"type"\s*:\s*"(response\.done|(?:transcription_)?session\.(?:created|updated)'
    rb'|conversation\.item\.input_audio_transcription\.completed)"'
).search
_HEAD = 256
"""Bytes in which an event says its type; where it says it later, all are searched."""


class _OpenAILedger(Ledger):
    def __init__(self) -> None:
        self._hears_with = ""

    def read(self, part: Part) -> Spent | None:
        data = part.raw
        if b".delta" in data[:_HEAD] or not (found := _TYPE(data)):  # nearly all: sound and text in pieces
            return None
        try:
            event = _decode_event(data)
        except (msgspec.MsgspecError, RecursionError, ValueError):
            return None
        if b"session" in found[1]:
            self._learn(event.session or _Session())
            return None
        if event.response is not None:
            return Spent(event.response.usage.read()) if event.response.usage else None
        heard = event.usage
        return Spent(heard.read(), self._hears_with or "?") if heard else None

    def _learn(self, session: _Session) -> None:
        self.model = session.model or self.model
        self._hears_with = session.hears_with or self._hears_with
