"""Sound that models make: what it is called, what of it other dialects get, what stands in for a format."""

from __future__ import annotations

import base64
import io
import json
import wave
from typing import Any

import pytest

from shin_gateway.errors import Invalid
from shin_gateway.translation.dialects import CHATS, translator
from shin_gateway.translation.form import Answer, Chat, Choice, Media
from shin_gateway.translation.losses import Losses
from shin_gateway.translation.replay import events as replayed
from shin_gateway.translation.sound import fits, fitted, type_of
from shin_gateway.translation.translator import Origin
from tests.translation import kit
from tests.translation.kit import CHAT, GEMINI, MESSAGES, RESPONSES

Json = dict[str, Any]
SAMPLES = bytes([1, 2, 3, 4])
RAW = base64.b64encode(SAMPLES).decode()
L16 = "audio/L16;codec=pcm;rate=24000"
WAV = base64.b64encode(b"RIFF\x24\0\0\0WAVEfmt ").decode()
ASKED: Json = {"model": "m", "messages": [{"role": "user", "content": "x"}], "modalities": ["text", "audio"]}


def origin_of(client: str, format: str = "", stream: bool = False) -> Origin:
    chat = Chat(model="m", stream=stream, audio={"voice": "alloy", "format": format} if format else None)
    return Origin("c1", "m", chat, {"model": "m"}, 7, kit.PATHS[client])


def spoken(*pieces: Json) -> bytes:
    deltas = [({"role": "assistant"}, None), *[({"audio": piece}, None) for piece in pieces], ({}, "stop")]
    chunks = [
        {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m",
         "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}
        for delta, finish in deltas
    ]  # fmt: skip
    return b"".join(b"data: %b\n\n" % json.dumps(one).encode() for one in chunks) + b"data: [DONE]\n\n"


WORDS_FIRST = spoken({"id": "audio_1", "transcript": "He"}, {"data": "AAAA"}, {"transcript": "llo"}, {"data": "BBBB"})
DATA_FIRST = spoken({"id": "audio_1", "data": "AAAA"}, {"transcript": "Hello"}, {"data": "BBBB"})


# ── streams ─────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("client", [RESPONSES, MESSAGES])
@pytest.mark.parametrize("stream", [WORDS_FIRST, DATA_FIRST], ids=["words first", "data first"])
def test_of_a_stream_of_sound_only_the_words_are_text(client: str, stream: bytes) -> None:
    reply, losses = kit.translated(client, CHAT, [stream])
    data = b"".join(iter(lambda: kit.now(reply.read()), b""))
    assert kit.said(kit.accumulated(client, data))[1][0] == [("text", "Hello")]
    assert b"AAAA" not in data and b"BBBB" not in data
    assert losses.dropped == ({RESPONSES: "output.audio", MESSAGES: "content.audio"}[client],)


@pytest.mark.parametrize("client", [RESPONSES, MESSAGES])
def test_sound_without_a_word_is_no_text(client: str) -> None:
    found = kit.accumulated(client, kit.carry(client, CHAT, [spoken({"data": "AAAA"})]).data)
    assert kit.said(found)[1] == ([], "stop", "")


# ── what it is called ───────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("format", "data", "stream", "mime"),
    [
        ("wav", RAW, False, "audio/wav"), ("mp3", RAW, False, "audio/mpeg"), ("flac", RAW, False, "audio/flac"),
        ("opus", RAW, False, "audio/ogg"), ("aac", RAW, False, "audio/aac"), ("pcm16", RAW, False, L16),
        ("", WAV, False, "audio/wav"), ("", RAW, True, L16), ("", RAW, False, "audio/wav"),
        ("unknown", WAV, True, "audio/wav"),
    ],
)  # fmt: skip
def test_a_client_of_gemini_is_told_the_type(format: str, data: str, stream: bool, mime: str) -> None:
    origin = origin_of(GEMINI, format, stream)
    part = Media(kind="audio", data=data, origin=CHAT)
    assert type_of(part, origin.chat) == mime
    answer = Answer(choices=[Choice(parts=[part], finish="stop")])
    whole = translator(GEMINI).write_reply(answer, origin, Losses())
    assert whole["candidates"][0]["content"]["parts"] == [{"inlineData": {"mimeType": mime, "data": data}}]
    events = kit.events_of(GEMINI, kit.written(GEMINI, replayed(answer), origin))
    (heard,) = (one for one in kit.answer_of(events).choices[0].parts if isinstance(one, Media))
    assert (heard.mime, heard.data) == (mime.lower(), data)


def test_what_is_no_sound_is_looked_at() -> None:
    parts = [Media(kind="image", data="iVBORw0KGgoAAAAN"), Media(kind="document", data=RAW)]
    answer = Answer(choices=[Choice(parts=[*parts], finish="stop")])
    rows = translator(GEMINI).write_reply(answer, origin_of(GEMINI, "wav"), Losses())["candidates"][0]["content"]
    assert [row["inlineData"]["mimeType"] for row in rows["parts"]] == ["image/png", "application/octet-stream"]


def test_words_beside_the_sound_are_named_as_lost() -> None:
    losses = Losses()
    answer = Answer(choices=[Choice(parts=[Media(kind="audio", data=WAV, text="Hi")], finish="stop")])
    translator(GEMINI).write_reply(answer, origin_of(GEMINI), losses)
    assert losses.dropped == ("candidates.content.transcript",)


# ── what the client asked for ───────────────────────────────────────────────────────────────────

FITS = [
    (L16, "wav", "RIFF", True),
    ("audio/pcm", "wav", "RIFF", True),
    (L16, "pcm16", RAW, True),
    ("audio/l16; rate=16000", "pcm16", "RIFF", False),
    (f"{L16};channels=2", "pcm16", "RIFF", False),
    (L16, "mp3", "RIFF", False),
    ("audio/mpeg", "mp3", RAW, True),
    ("audio/mpeg", "wav", RAW, False),
    ("audio/x-unknown", "wav", RAW, False),
    ("", "wav", RAW, True),
    (L16, "", RAW, True),
]
"""A type, the format that was asked for, what the client gets, and whether that is it."""


@pytest.mark.parametrize(("mime", "wanted", "got", "good"), FITS)
def test_a_client_of_chat_gets_its_format_or_is_told(mime: str, wanted: str, got: str, good: bool) -> None:
    losses = Losses()
    answer = Answer(choices=[Choice(parts=[Media(kind="audio", mime=mime, data=RAW)], finish="stop")])
    found = translator(CHAT).write_reply(answer, origin_of(CHAT, wanted), losses)["choices"][0]["message"]["audio"]
    assert found["data"] == RAW if got == RAW else base64.b64decode(found["data"])[:4] == b"RIFF"
    assert losses.dropped == (() if good else ("audio.format",))


@pytest.mark.parametrize(("mime", "rate"), [("audio/L16;codec=pcm;rate=16000", 16000), ("audio/L16", 24000)])
def test_sound_of_gemini_keeps_its_rate(mime: str, rate: int) -> None:
    content = {"parts": [{"inlineData": {"mimeType": mime, "data": RAW}}]}
    answer = translator(GEMINI).read_reply({"candidates": [{"content": content, "finishReason": "STOP"}]})
    found = translator(CHAT).write_reply(answer, origin_of(CHAT, "wav"), Losses())["choices"][0]["message"]["audio"]
    with wave.open(io.BytesIO(base64.b64decode(found["data"]))) as file:
        assert file.getframerate() == rate


@pytest.mark.parametrize(("mime", "wanted"), [(L16, "pcm16"), (L16, ""), (L16, "wav"), ("audio/mpeg", "pcm16")])
def test_a_stream_keeps_its_format_and_says_so(mime: str, wanted: str) -> None:
    losses, origin = Losses(), origin_of(CHAT, wanted, True)
    writer = translator(CHAT).writer(origin, losses)
    part = Media(kind="audio", mime=mime, data=RAW)
    answer = Answer(choices=[Choice(parts=[part], finish="stop")])
    assert RAW.encode() in b"".join(writer.write(event) for event in replayed(answer))
    assert losses.dropped == (() if fits(part, wanted) else ("audio.format",))


@pytest.mark.parametrize(
    ("more", "rate", "channels"),
    [
        ("", 24000, 1), (";codec=pcm;rate=16000", 16000, 1), ("; RATE=48000 ; Channels=2", 48000, 2),
        (";rate=0;channels=0", 24000, 1), (";rate=x;channels=-1", 24000, 1), (f";rate={'9' * 5000}", 24000, 1),
        (";rate=99999999;channels=99", 24000, 1), (";rate=²", 24000, 1), (";;=;rate", 24000, 1),
    ],
)  # fmt: skip
def test_raw_samples_become_a_file_that_others_read(more: str, rate: int, channels: int) -> None:
    data, good = fitted(Media(kind="audio", mime=f"audio/L16{more}", data=RAW), "wav")
    assert good
    with wave.open(io.BytesIO(base64.b64decode(data))) as file:
        assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (rate, channels, 2)
        assert file.readframes(9) == SAMPLES


def test_what_is_no_base64_goes_as_it_is() -> None:
    assert fitted(Media(kind="audio", mime=L16, data="A"), "wav") == ("A", False)


# ── calls ───────────────────────────────────────────────────────────────────────────────────────

SPEECH = {"voiceConfig": {"prebuiltVoiceConfig": {"voiceName": "Kore"}}}


@pytest.mark.parametrize(("method", "format"), [("generateContent", "wav"), ("streamGenerateContent", "pcm16")])
def test_a_call_of_gemini_names_the_format_that_chat_wants(method: str, format: str) -> None:
    body = {"contents": [{"parts": [{"text": "x"}]}],
            "generationConfig": {"responseModalities": ["AUDIO"], "speechConfig": SPEECH}}  # fmt: skip
    chat = translator(GEMINI).read_call(body, f"/v1beta/models/m:{method}", Losses())
    assert json.loads(kit.write_call(CHAT, chat))["audio"] == {"voice": "Kore", "format": format}


EARLIER: Json = {**ASKED, "messages": [{"role": "user", "content": "x"}, {"role": "assistant", "audio": {"id": "a_1"}},
                                       {"role": "user", "content": "y"}]}  # fmt: skip


@pytest.mark.parametrize("target", [target for target in CHATS if target != CHAT])
def test_an_earlier_spoken_answer_is_named_as_lost(target: str) -> None:
    body = {name: value for name, value in EARLIER.items() if name != "modalities"}
    assert kit.take(CHAT, target, body).dropped[0] in ("messages.content.audio", "messages.content")
    with pytest.raises(Invalid):
        kit.write_call(target, kit.read_call(CHAT, json.dumps(body).encode()), Losses(refuse=True))
