"""What a realtime connection says: OpenAI's events and Gemini's messages, as JSON texts."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from tests.provider.answer import Answer

RESPONSE = "resp_fake0001"
ITEM = "item_fake0001"


def greeting(model: str) -> str:
    session = {
        "type": "realtime", "object": "realtime.session", "id": "sess_fake0001", "model": model,
        "output_modalities": ["audio"], "audio": {"input": {"transcription": {"model": "gpt-4o-transcribe"}}},
    }  # fmt: skip
    return _event("session.created", session=session)


def session_updated(said: dict[str, Any]) -> str:
    return _event("session.updated", session=said.get("session") or {})


def transcribed(seconds: float = 0.0) -> str:
    """What the client's sound was heard as, and what that cost."""
    tokens = {"type": "tokens", "total_tokens": 22, "input_tokens": 20, "output_tokens": 2,
              "input_token_details": {"audio_tokens": 20, "text_tokens": 0}}  # fmt: skip
    usage = {"type": "duration", "seconds": seconds} if seconds else tokens
    return _event("conversation.item.input_audio_transcription.completed", item_id=ITEM, content_index=0,
                  transcript="say hello", usage=usage)  # fmt: skip


def openai_events(answer: Answer) -> Iterator[str]:
    """One reply in text."""
    place = {"response_id": RESPONSE, "item_id": ITEM, "output_index": 0, "content_index": 0}
    yield _event("response.created", response=_response("in_progress"))
    item = {"id": ITEM, "object": "realtime.item", "type": "message", "role": "assistant", "content": []}
    yield _event("response.output_item.added", response_id=RESPONSE, output_index=0, item=item)
    for word in answer.text.split(" "):
        yield _event("response.output_text.delta", **place, delta=f"{word} ")
    yield _event("response.output_text.done", **place, text=answer.text)
    done = {**item, "status": "completed", "content": [{"type": "output_text", "text": answer.text}]}
    yield _event("response.output_item.done", response_id=RESPONSE, output_index=0, item=done)
    yield _event("response.done", response={**_response("completed"), "output": [done], "usage": _usage(answer)})


def gemini_messages(answer: Answer) -> Iterator[str]:
    """One turn in text."""
    for word in answer.text.split(" "):
        yield json.dumps({"serverContent": {"modelTurn": {"role": "model", "parts": [{"text": f"{word} "}]}}})
    tokens = answer.tokens
    metadata = {} if tokens is None else {
        "promptTokenCount": tokens.input, "responseTokenCount": tokens.output,
        "totalTokenCount": tokens.input + tokens.output,
        "responseTokensDetails": [{"modality": "TEXT", "tokenCount": tokens.output}],
    }  # fmt: skip
    yield json.dumps({"serverContent": {"turnComplete": True}, "usageMetadata": metadata})


def _response(status: str) -> dict[str, Any]:
    return {"object": "realtime.response", "id": RESPONSE, "status": status, "output": [], "usage": None}


def _usage(answer: Answer) -> dict[str, Any] | None:
    tokens = answer.tokens
    return tokens and {
        "total_tokens": tokens.input + tokens.output, "input_tokens": tokens.input, "output_tokens": tokens.output,
        "input_token_details": {"text_tokens": tokens.input, "audio_tokens": 0, "cached_tokens": tokens.cached,
                                "cached_tokens_details": {"text_tokens": tokens.cached, "audio_tokens": 0}},
        "output_token_details": {"text_tokens": tokens.output, "audio_tokens": 0},
    }  # fmt: skip


def _event(kind: str, **fields: Any) -> str:
    return json.dumps({"type": kind, "event_id": "event_fake0001", **fields})
