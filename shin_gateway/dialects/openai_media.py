"""OpenAI's APIs beyond texts: images, speech, transcriptions, moderation. JSON or forms in, JSON, events or files out.

Paths and fields: https://developers.openai.com/api/reference/resources/images, …/audio, …/moderations. What guards
see of them are the texts of JSON bodies; forms are not looked into beyond the fields that decide where they go.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any, ClassVar

import msgspec

from shin_gateway.dialects import multipart
from shin_gateway.dialects.base import Ending, media_type
from shin_gateway.dialects.heads import Peek, peek_as, require_model, whole_number
from shin_gateway.dialects.json_spans import Slot, paths
from shin_gateway.dialects.multipart import Patch
from shin_gateway.dialects.numbers import count, part_of, seconds
from shin_gateway.dialects.openai import OpenAI, usage_of
from shin_gateway.dialects.parts import Part
from shin_gateway.dialects.rewriting import Rewriter
from shin_gateway.outcome import Usage

_MODEL = re.compile(rb'"model"\s*:\s*"([^"\\]*)"')
_DONE = re.compile(rb'"type"\s*:\s*"[a-z_.]+\.(?:done|completed)"')


class _Head(msgspec.Struct):
    model: Any = None
    stream: Any = None
    stream_format: Any = None
    n: Any = None


class _Body(msgspec.Struct):
    model: Any = None
    usage: Any = None
    duration: Any = None


_decode_body = msgspec.json.Decoder(_Body).decode


class OpenAIMedia(OpenAI):
    """What they have in common."""

    model_required: ClassVar[bool] = True
    """Whether a call has to name a model; else its provider has one that it takes."""

    def peek(self, body: bytes, path: str) -> Peek:
        head = peek_as(body, _Head)
        return self._peek(head.model, head.stream is True or head.stream_format == "sse", path, head.n)

    def peek_form(self, body: bytes, mark: bytes, path: str) -> Peek:
        """`peek` of a form whose parts `mark` divides. Raises Invalid that names the field."""
        fields = multipart.texts(body, mark, ("model", "stream", "stream_format", "n"))
        said = {name: multipart.text(body, field) for name, field in fields.items()}
        stream = (said.get("stream") or "").lower() in ("true", "1") or said.get("stream_format") == "sse"
        return self._peek(said.get("model"), stream, path, said.get("n"))

    def _peek(self, model: object, stream: bool, path: str, answers: object = None) -> Peek:
        optional = model is None and not self.model_required
        name = None if optional else require_model(model, path)
        return Peek(name, stream, answers=whole_number(answers) or 1)

    def patch_model(self, body: bytes, mark: bytes | None, model: str) -> Patch | None:
        """The change of the model's name that leaves all other bytes as they are; None where it is not to be found at
        a glance: in JSON that says "model" more than once. `mark` divides the parts of a form. Raises Invalid."""
        if mark is not None:
            field = multipart.texts(body, mark, ("model",)).get("model")
            return field and Patch(field.start, field.end, model.encode("utf-8", "replace"))
        if body.count(b'"model"') != 1 or (found := _MODEL.search(body)) is None:
            return None
        if peek_as(body, _Head).model != found[1].decode("utf-8", "replace"):  # another object's
            return None
        quoted = msgspec.json.encode(model)
        return Patch(found.start(1), found.end(1), quoted[1:-1])

    def call_slots(self, body: bytes) -> list[Slot]:
        return super().call_slots(body) if _is_json(body) else []

    def rewrite_call(self, body: bytes, rewriter: Rewriter) -> bytes:
        return super().rewrite_call(body, rewriter) if _is_json(body) else body

    def gathers(self, content_type: str) -> bool:
        return media_type(content_type) == "application/json"

    def account(self, body: bytes) -> tuple[Usage | None, str | None]:
        try:
            found = _decode_body(body)
        except (msgspec.MsgspecError, RecursionError, ValueError):
            return None, None
        model = found.model if isinstance(found.model, str) and found.model else None
        return self.usage_of(found.usage, found.duration), model

    def usage_of(self, usage: object, duration: object = None) -> Usage | None:
        """`duration` is that of a recording, where the reply tells it outside of its usage."""
        return usage_of(usage)

    def usage_reader(self) -> MediaReader:
        return MediaReader(self)

    def ends(self, part: Part) -> bool:
        return _DONE.search(part.raw) is not None or super().ends(part)

    def ending(self) -> Ending:
        return Ending(self)


class MediaReader:
    """Usage from a stream: in the event that ends it, or one for each image."""

    usage: Usage | None = None
    model: str | None = None

    def __init__(self, dialect: OpenAIMedia) -> None:
        self._dialect = dialect

    def feed(self, part: Part) -> None:
        data = part.data
        if data is None or b'"usage"' not in data:
            return
        usage, model = self._dialect.account(data)
        self.usage = usage or self.usage
        self.model = model or self.model


class OpenAIImages(OpenAIMedia):
    name = "openai.images"
    model_required = False
    call_paths = paths(("prompt",))
    reply_paths = paths(("data.*.revised_prompt",))

    def usage_of(self, usage: object, duration: object = None) -> Usage | None:
        """What comes out are images, unless it is said how much of it is text."""
        found = usage_of(usage)
        if found is None or not isinstance(usage, dict):
            return found
        given, made = part_of(usage, "input_tokens_details"), part_of(usage, "output_tokens_details")
        drawn = count(made, "image_tokens")
        return replace(
            found,
            input_image=min(count(given, "image_tokens") or 0, found.input),
            output_image=found.output if drawn is None else min(drawn, found.output),
        )


class OpenAISpeech(OpenAIMedia):
    name = "openai.speech"
    call_paths = paths(("input", "instructions"))


class OpenAITranscriptions(OpenAIMedia):
    """Transcriptions, and translations into English."""

    name = "openai.transcriptions"
    call_paths = paths(("prompt",))
    reply_paths = paths(("text", "segments.*.text"))
    event_paths = paths(("text", "delta"))

    def usage_of(self, usage: object, duration: object = None) -> Usage | None:
        """Tokens, or the length of the recording: `{"type": "duration", "seconds": 7}`; Mistral tells both. A
        `verbose_json` without usage has its `duration`."""
        said = usage if isinstance(usage, dict) else {"seconds": duration}
        heard = seconds(said, "seconds", "prompt_audio_seconds")
        # Mistral's total counts the recording, its parts do not.
        found = usage_of({key: value for key, value in said.items() if key != "total_tokens"})
        if found is None and not heard:
            return None
        found = found or Usage()
        audio = count(part_of(said, "input_token_details", "input_tokens_details"), "audio_tokens")
        return replace(found, input_audio=min(audio or 0, found.input), input_seconds=heard or 0.0)


class OpenAIModerations(OpenAIMedia):
    name = "openai.moderations"
    model_required = False
    call_paths = paths(("input", "input.*", "input.*.text"))


def _is_json(body: bytes) -> bool:
    return body.lstrip()[:1] == b"{"
