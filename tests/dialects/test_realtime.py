"""Realtime dialects: what a connection used, and what goes by its path."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types.realtime import RealtimeErrorEvent

from shin_gateway import dialects
from shin_gateway.dialects.realtime import Ledger, Message, Realtime
from shin_gateway.errors import UpstreamFailed
from shin_gateway.outcome import Usage

OPENAI, GEMINI = dialects.get("openai.realtime"), dialects.get("gemini.live")
DONE = {  # https://developers.openai.com/api/docs/guides/realtime-costs
    "type": "response.done",
    "event_id": "event_1",
    "response": {
        "object": "realtime.response", "id": "resp_1", "status": "completed", "output": [{"type": "message"}],
        "usage": {
            "total_tokens": 253, "input_tokens": 132, "output_tokens": 121,
            "input_token_details": {
                "text_tokens": 119, "audio_tokens": 13, "image_tokens": 0, "cached_tokens": 64,
                "cached_tokens_details": {"text_tokens": 60, "audio_tokens": 4, "image_tokens": 0},
            },
            "output_token_details": {"text_tokens": 30, "audio_tokens": 91},
        },
    },
}  # fmt: skip
LIVE = {  # https://ai.google.dev/api/live#UsageMetadata
    "serverContent": {"turnComplete": True},
    "usageMetadata": {
        "promptTokenCount": 100, "cachedContentTokenCount": 20, "responseTokenCount": 30, "thoughtsTokenCount": 5,
        "toolUsePromptTokenCount": 7, "totalTokenCount": 142,
        "promptTokensDetails": [{"modality": "AUDIO", "tokenCount": 90}, {"modality": "TEXT", "tokenCount": 10}],
        "responseTokensDetails": [{"modality": "AUDIO", "tokenCount": 30}],
    },
}  # fmt: skip


def ledger(dialect: dialects.Dialect) -> Ledger:
    assert isinstance(dialect, Realtime)
    return dialect.ledger()


def message(said: Any) -> Message:
    return Message(json.dumps(said).encode())


def test_openais_usage() -> None:
    spent = ledger(OPENAI).read(message(DONE))
    assert spent is not None
    assert spent.usage == Usage(input=132, output=121, cached=64, input_audio=9, output_audio=91)
    assert spent.model == ""


def test_the_sessions_models_are_learned() -> None:
    book = ledger(OPENAI)
    heard = {"type": "conversation.item.input_audio_transcription.completed", "transcript": "x",
             "usage": {"type": "duration", "seconds": 3.5}}  # fmt: skip
    spent = book.read(message(heard))
    assert spent is not None
    assert (spent.model, spent.usage.input_seconds) == ("?", 3.5)
    session: dict[str, Any] = {"model": "gpt-realtime", "audio": {"input": {"transcription": {"model": "whisper-1"}}}}
    assert book.read(message({"type": "session.created", "session": session})) is None
    assert book.model == "gpt-realtime"
    spent = book.read(message(heard))
    assert spent is not None
    assert spent.model == "whisper-1"
    beta = {"input_audio_transcription": {"model": "gpt-4o-transcribe"}}
    assert book.read(message({"type": "transcription_session.updated", "session": beta})) is None
    tokens = {"type": "tokens", "input_tokens": 20, "output_tokens": 2, "input_token_details": {"audio_tokens": 18}}
    spent = book.read(message({**heard, "usage": tokens}))
    assert spent is not None
    assert (spent.model, spent.usage) == ("gpt-4o-transcribe", Usage(input=20, output=2, input_audio=18))


@pytest.mark.parametrize(
    "said",
    [
        {"type": "response.output_audio.delta", "delta": "AAAA"},
        {"type": "response.done"},
        {"type": "response.done", "response": {"usage": None}},
        {"type": "response.done", "response": {"usage": {"input_tokens": "many"}}},
        {"type": "response.done", "response": {"usage": {"input_tokens": 1e400}}},
        {"type": "conversation.item.added", "item": {"content": [{"text": '"type":"response.done"'}]}},
        {"usageMetadata": None},
        {"usageMetadata": {"promptTokenCount": "1"}},
    ],
)
def test_what_tells_no_usage(said: Any) -> None:
    assert ledger(OPENAI).read(message(said)) is None
    assert ledger(GEMINI).read(message(said)) is None


def test_geminis_usage() -> None:
    spent = ledger(GEMINI).read(message(LIVE))
    assert spent is not None
    assert spent.usage == Usage(input=107, output=35, cached=20, reasoning=5, input_audio=90, output_audio=30)


@given(
    st.binary(max_size=200)
    | st.recursive(st.none() | st.integers() | st.text(), st.lists).map(lambda x: json.dumps(x).encode())
)
def test_nothing_raises(data: bytes) -> None:
    for start in (
        b"",
        b'{"type":"response.done","response":',
        b'{"usageMetadata":',
        b'{"type":"session.updated","session":',
    ):
        for dialect in (OPENAI, GEMINI):
            ledger(dialect).read(Message(start + data + b"}"))


def test_negative_and_contradictory_numbers_are_bounded() -> None:
    usage = {"input_tokens": 5, "output_tokens": -3, "input_token_details": {"audio_tokens": 50, "cached_tokens": 9}}
    spent = ledger(OPENAI).read(message({"type": "response.done", "response": {"usage": usage}}))
    assert spent is not None
    assert spent.usage == Usage(input=5, output=0, cached=5, input_audio=5)


@pytest.mark.parametrize(
    ("path", "model", "renamed"),
    [
        ("/v1/realtime?model=gpt-realtime", "gpt-realtime", "/v1/realtime?model=a%2Fb"),
        ("/v1/realtime?x=1&model=openai%2Fvoice&y=2", "openai/voice", "/v1/realtime?x=1&model=a%2Fb&y=2"),
        ("/openai/realtime?api-version=1&deployment=mine", "mine", "/openai/realtime?api-version=1&deployment=a%2Fb"),
        ("/v1/realtime?intent=transcription", None, "/v1/realtime?intent=transcription"),
        ("/v1/realtime?submodel=x", None, "/v1/realtime?submodel=x"),
        ("/v1/realtime?model=", None, "/v1/realtime?model=a%2Fb"),
        ("/v1/realtime", None, "/v1/realtime"),
    ],
)
def test_the_model_is_in_the_query(path: str, model: str | None, renamed: str) -> None:
    peek = OPENAI.peek(b"", path)
    assert (peek.model, peek.stream) == (model, True)
    assert OPENAI.with_model(b"", path, "a/b") == (b"", renamed)


def test_errors_are_what_the_sdks_read() -> None:
    refusal = UpstreamFailed("The provider broke off.", code="upstream_cut")
    event = RealtimeErrorEvent.model_validate_json(OPENAI.error_part(refusal, "1"), strict=True)
    assert (event.type, event.error.code, event.error.message) == ("error", "upstream_cut", "The provider broke off.")
    assert GEMINI.error_part(refusal, "1") == b""
    assert json.loads(GEMINI.error_body(refusal, "1"))["error"]["status"]
