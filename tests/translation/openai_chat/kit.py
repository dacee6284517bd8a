"""What the tests of this dialect share."""

from __future__ import annotations

import json
from typing import Any

from openai import ContentFilterFinishReasonError, LengthFinishReasonError
from openai._models import construct_type
from openai.lib.streaming.chat import ChatCompletionStreamState
from openai.types.chat import ChatCompletionChunk

from shin_gateway.dialects.sse import SseFramer
from shin_gateway.translation.form import Chat, Event
from shin_gateway.translation.losses import Losses
from shin_gateway.translation.openai_chat import OpenAIChat
from shin_gateway.translation.translator import Origin, Traits

CHAT = OpenAIChat()


def read(body: dict[str, Any], losses: Losses | None = None, path: str = "/v1/chat/completions") -> Chat:
    return CHAT.read_call(
        {"model": "m", "messages": [{"role": "user", "content": "hi"}], **body}, path, losses or Losses()
    )


def written(chat: Chat, losses: Losses | None = None, **traits: Any) -> dict[str, Any]:
    return CHAT.write_call(chat, Traits(model=chat.model, **traits), losses or Losses())


def origin(body: dict[str, Any] | None = None, **chat: Any) -> Origin:
    return Origin(call_id="c1", model="asked", chat=Chat(**chat), body=body or {}, created=1700000000)


def sse(*events: Any) -> bytes:
    lines = [event if isinstance(event, str) else json.dumps(event) for event in events]
    return "".join(f"data: {line}\n\n" for line in lines).encode()


def delta(index: int = 0, finish: str | None = None, **fields: Any) -> dict[str, Any]:
    choice = {"index": index, "delta": fields, "finish_reason": finish}
    return {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "gpt", "choices": [choice]}


def events_of(stream: bytes, cut: int | None = None) -> list[Event]:
    framer, reader = SseFramer(), CHAT.reader()
    pieces = [stream] if cut is None else [stream[:cut], stream[cut:]]
    parts = [part for piece in pieces for part in framer.feed(piece)] + framer.end()
    return [event for part in parts for event in reader.feed(part)] + list(reader.finish())


def stream_of(events: list[Event], asked: Origin | None = None, losses: Losses | None = None) -> bytes:
    writer = CHAT.writer(asked or origin(), losses or Losses())
    return b"".join(writer.write(event) for event in events)


def chunks_of(stream: bytes) -> list[dict[str, Any]]:
    lines = [part.data for part in SseFramer().feed(stream)]
    assert lines[-1] == b"[DONE]"
    return [json.loads(line or b"") for line in lines[:-1]]


def accumulated(stream: bytes, strict: bool = True) -> Any:
    """What OpenAI's own accumulator makes of it; each chunk is one by the SDK's strict types."""
    state: Any = ChatCompletionStreamState()
    for chunk in chunks_of(stream):
        if strict:
            ChatCompletionChunk.model_validate(chunk)
        list(state.handle_chunk(construct_type(type_=ChatCompletionChunk, value=chunk)))
    if not strict:
        return state.current_completion_snapshot
    try:
        return state.get_final_completion()
    except (ContentFilterFinishReasonError, LengthFinishReasonError):
        return state.current_completion_snapshot
