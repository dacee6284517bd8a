"""Images, speech, transcriptions, moderation: heads, names, usage, and how streams end."""

from __future__ import annotations

import json
from typing import Any

import pytest

from shin_gateway import dialects
from shin_gateway.dialects.openai_media import OpenAIMedia
from shin_gateway.dialects.sse import SseFramer
from shin_gateway.errors import Invalid
from shin_gateway.outcome import Usage

IMAGES, SPEECH = dialects.get("openai.images"), dialects.get("openai.speech")
TRANSCRIPTS, MODERATIONS = dialects.get("openai.transcriptions"), dialects.get("openai.moderations")
MEDIA = [IMAGES, SPEECH, TRANSCRIPTS, MODERATIONS]
KEPT = [dialects.get(name) for name in dialects.NAMES if name.endswith((".files", ".batches"))]


@pytest.mark.parametrize(
    ("dialect", "call", "model", "stream"),
    [
        (IMAGES, {"model": "gpt-image-1", "prompt": "a", "stream": True}, "gpt-image-1", True),
        (IMAGES, {"prompt": "a"}, None, False),
        (MODERATIONS, {"input": "a"}, None, False),
        (SPEECH, {"model": "tts-1", "stream_format": "sse"}, "tts-1", True),
        (SPEECH, {"model": "tts-1", "stream_format": "audio"}, "tts-1", False),
        (TRANSCRIPTS, {"model": "whisper-1", "stream": "true"}, "whisper-1", False),
    ],
)
def test_heads(dialect: OpenAIMedia, call: dict[str, Any], model: str | None, stream: bool) -> None:
    peek = dialect.peek(json.dumps(call).encode(), "/v1/x")
    assert (peek.model, peek.stream) == (model, stream)


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{", b'{"model": 1}', b'{"model": ""}', b'{"model": ["a"]}', b'{"a":' * 9999]
)
@pytest.mark.parametrize("dialect", MEDIA, ids=lambda one: one.name)
def test_heads_that_are_none(dialect: OpenAIMedia, body: bytes) -> None:
    with pytest.raises(Invalid):
        dialect.peek(body, "/v1/x")


@pytest.mark.parametrize("dialect", [SPEECH, TRANSCRIPTS], ids=lambda one: one.name)
def test_a_model_has_to_be_named(dialect: OpenAIMedia) -> None:
    with pytest.raises(Invalid) as refused:
        dialect.peek(b"{}", "/v1/x")
    assert refused.value.param == "model"
    assert dialect.peek(b"{}", "/openai/deployments/w/audio/speech").model == "w"


@pytest.mark.parametrize(
    ("body", "made"),
    [
        (b'{"prompt":"a",  "model" : "groq\\/x"}', None),
        (b'{"prompt":"a",  "model" : "x"}', b'{"prompt":"a",  "model" : "n\\"e"}'),
        (b'{"prompt":"\\"model\\": \\"x\\"","model":"x"}', b'{"prompt":"\\"model\\": \\"x\\"","model":"n\\"e"}'),
        (b'{"other":{"model":"x"},"model":"x"}', None),
        (b'{"other":{"model":"y"},"mod\\u0065l":"x"}', None),
    ],
)
def test_a_name_is_changed_in_place(body: bytes, made: bytes | None) -> None:
    patch = IMAGES.patch_model(body, None, 'n"e')
    assert (patch and body[: patch.start] + patch.new + body[patch.end :]) == made
    if made is None:  # then the long way does it
        assert json.loads(IMAGES.with_model(body, "/v1/x", "new")[0])["model"] == "new"


USAGES = [
    (
        IMAGES,
        {"input_tokens": 9, "output_tokens": 7, "input_tokens_details": {"image_tokens": 5, "text_tokens": 4}},
        Usage(input=9, output=7, input_image=5, output_image=7),
    ),
    (
        IMAGES,
        {"input_tokens": 9, "output_tokens": 7, "output_tokens_details": {"image_tokens": 4, "text_tokens": 3}},
        Usage(input=9, output=7, output_image=4),
    ),
    (IMAGES, {"input_tokens": 1, "input_tokens_details": {"image_tokens": 99}}, Usage(input=1, input_image=1)),
    (TRANSCRIPTS, {"type": "duration", "seconds": 3.5}, Usage(input_seconds=3.5)),
    (
        TRANSCRIPTS,
        {"type": "tokens", "input_tokens": 14, "output_tokens": 45, "input_token_details": {"audio_tokens": 14}},
        Usage(input=14, output=45, input_audio=14),
    ),
    (
        TRANSCRIPTS,  # Mistral's
        {"prompt_audio_seconds": 203, "prompt_tokens": 4, "completion_tokens": 635, "total_tokens": 3264},
        Usage(input=4, output=635, input_seconds=203.0),
    ),
    (SPEECH, {"input_tokens": 2, "output_tokens": 3, "total_tokens": 5}, Usage(input=2, output=3)),
]
NONSENSE: list[Any] = [
    None, [], 1, "x", {}, {"seconds": "9"}, {"seconds": -1}, {"seconds": True}, {"input_tokens": {}},
    {"input_tokens": None, "output_tokens": []}, {"type": "duration", "seconds": 1e400},
]  # fmt: skip


@pytest.mark.parametrize(("dialect", "usage", "read"), USAGES)
def test_usage(dialect: OpenAIMedia, usage: dict[str, Any], read: Usage) -> None:
    body = json.dumps({"usage": usage, "data": []}).encode()
    assert dialect.account(body) == (read, None)
    reader = dialect.usage_reader()
    for part in SseFramer().feed(b'data: {"type":"x"}\n\ndata: ' + body + b"\n\ndata: [DONE]\n\n"):
        reader.feed(part)
    assert reader.usage == read


@pytest.mark.parametrize("usage", NONSENSE)
@pytest.mark.parametrize("dialect", MEDIA, ids=lambda one: one.name)
def test_usage_that_is_none(dialect: OpenAIMedia, usage: Any) -> None:
    body = json.dumps({"usage": usage}).replace("Infinity", "1e400").encode()
    assert dialect.account(body) == (None, None)
    assert dialect.account(b"\xff") == (None, None)


def test_the_length_of_a_recording() -> None:
    assert TRANSCRIPTS.account(b'{"text":"a","duration":8.47}') == (Usage(input_seconds=8.47), None)
    assert TRANSCRIPTS.account(b'{"text":"a","duration":"x"}') == (None, None)
    assert IMAGES.account(b'{"duration":8.47}') == (None, None)


ENDS = [
    (IMAGES, "image_generation.partial_image", "image_generation.completed"),
    (IMAGES, "image_edit.partial_image", "image_edit.completed"),
    (TRANSCRIPTS, "transcript.text.delta", "transcript.text.done"),
    (SPEECH, "speech.audio.delta", "speech.audio.done"),
]


@pytest.mark.parametrize(("dialect", "first", "last"), ENDS)
def test_a_stream_ends_with_its_last_event(dialect: OpenAIMedia, first: str, last: str) -> None:
    whole = b"".join(b'event: %b\ndata: {"type": "%b"}\n\n' % (one.encode(), one.encode()) for one in (first, last))
    for cut in range(len(whole)):
        ending = dialect.ending()
        for part in SseFramer().feed(whole[:cut]):
            ending.feed(part)
        assert not ending.complete, cut
    for part in SseFramer().feed(whole):
        ending.feed(part)
    assert ending.complete


def test_an_error_in_a_stream() -> None:
    (part,) = SseFramer().feed(b'data: {"type":"error","error":{"code":"content_policy_violation","message":"no"}}\n\n')
    failure = IMAGES.failure(part)
    assert failure is not None
    assert (failure.status, failure.message) == (400, "no")


@pytest.mark.parametrize("dialect", [*MEDIA, *KEPT], ids=lambda one: one.name)
def test_only_json_is_gathered(dialect: OpenAIMedia) -> None:
    assert dialect.gathers("application/json; charset=utf-8")
    for kind in ("audio/mpeg", "application/octet-stream", "application/x-jsonl", "text/plain", ""):
        assert not dialect.gathers(kind)


@pytest.mark.parametrize("dialect", KEPT, ids=lambda one: one.name)
def test_what_is_kept_is_not_looked_into(dialect: OpenAIMedia) -> None:
    body = b"\x00\xff{"
    assert dialect.peek(body, "/v1/files").model is None
    assert dialect.call_slots(body) == []
    assert dialect.account(body) == (None, None)
    assert dialect.framer("text/event-stream") is None
    assert dialect.ending().complete


def test_texts_that_guards_see() -> None:
    said = b'{"prompt": "a cat", "model": "x"}'
    assert [slot.text for slot in IMAGES.call_slots(said)] == ["a cat"]
    assert [slot.text for slot in MODERATIONS.call_slots(b'{"input":[{"type":"text","text":"a"},"b"]}')] == ["a", "b"]
    assert IMAGES.call_slots(b"--B\r\n") == []
