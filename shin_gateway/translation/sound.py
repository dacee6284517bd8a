"""Sound that a model made: OpenAI's words for its formats, media types, and raw samples made a WAV file.

Sources: developers.openai.com/api/docs/guides/audio, ai.google.dev/gemini-api/docs/speech-generation, RFC 2586
"""

from __future__ import annotations

import base64
import struct
from typing import NamedTuple

from shin_gateway.translation.form import Chat, Media
from shin_gateway.translation.media import sniff_base64

_RATE = 24_000
"""Of OpenAI's `pcm16`, which has one channel, and of Gemini's sound."""
_RAW = f"audio/L16;codec=pcm;rate={_RATE}"
_TYPES = {
    "wav": "audio/wav",
    "mp3": "audio/mpeg",
    "flac": "audio/flac",
    "opus": "audio/ogg",
    "aac": "audio/aac",
    "pcm16": _RAW,
}
_FORMATS = {
    **{mime: format for format, mime in _TYPES.items()},
    "audio/x-wav": "wav",
    "audio/wave": "wav",
    "audio/mp3": "mp3",
    "audio/opus": "opus",
    "audio/l16": "pcm16",
    "audio/pcm": "pcm16",
}
_SAMPLE = 2
"""Bytes of one: signed, the lower byte first, whatever RFC 2586 says of the order."""
_FASTEST = 768_000
_MOST_CHANNELS = 64


class Fitted(NamedTuple):
    data: str
    """Base64."""
    fits: bool
    """Whether it has the format that the client asked for."""


def format_of(chat: Chat) -> str:
    """The format that the caller asked for, in OpenAI's word; empty where none was."""
    word = (chat.audio or {}).get("format")
    return word if isinstance(word, str) else ""


def type_of(part: Media, chat: Chat) -> str:
    """The media type of sound that came without one. OpenAI streams nothing but raw samples."""
    return _TYPES.get(format_of(chat)) or sniff_base64(part.data) or (_RAW if chat.stream else _TYPES["wav"])


def fits(part: Media, wanted: str) -> bool:
    """Whether the sound has the format `wanted`, as far as both are known."""
    if not wanted or not part.mime:
        return True
    return _format(part.mime) == wanted and (wanted != "pcm16" or _shape(part.mime) == (_RATE, 1))


def fitted(part: Media, wanted: str) -> Fitted:
    """The sound in the format `wanted`, if it can be made; raw samples always as a file that says what it is."""
    if fits(part, wanted):
        return Fitted(part.data, True)
    if _format(part.mime) != "pcm16":
        return Fitted(part.data, False)
    try:
        samples = base64.b64decode(part.data)
    except ValueError:
        return Fitted(part.data, False)
    return Fitted(base64.b64encode(_wav(samples, *_shape(part.mime))).decode(), wanted == "wav")


def _format(mime: str) -> str:
    return _FORMATS.get(mime.partition(";")[0].strip().lower(), "")


def _shape(mime: str) -> tuple[int, int]:
    """Samples in a second, and channels: `audio/L16;codec=pcm;rate=24000;channels=1`."""
    words = (word.strip().lower().partition("=") for word in mime.split(";")[1:])
    told = {name: value for name, _, value in words}
    return _number(told.get("rate"), _RATE, _FASTEST), _number(told.get("channels"), 1, _MOST_CHANNELS)


def _number(word: str | None, usual: int, most: int) -> int:
    if word is None or not (word.isascii() and word.isdigit()) or len(word) > len(str(most)):
        return usual
    return int(word) if 0 < int(word) <= most else usual


def _wav(samples: bytes, rate: int, channels: int) -> bytes:
    frame = channels * _SAMPLE
    shape = struct.pack("<HHIIHH", 1, channels, rate, rate * frame, frame, _SAMPLE * 8)
    size = len(samples)
    return b"RIFF%bWAVEfmt %b%bdata%b%b" % (_long(36 + size), _long(len(shape)), shape, _long(size), samples)


def _long(number: int) -> bytes:
    return number.to_bytes(4, "little")
