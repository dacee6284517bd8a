"""Gemini: generateContent and its stream, countTokens, embedContent; the API with keys and Vertex alike.

Code Assist (`/v1internal:…`) wraps calls as `{model, request: {…}}` and replies as `{response: {…}}`; a count of tokens
names the model inside of `request`, and its reply is not wrapped.
Names are read in camel case and, as protobuf's JSON allows, in snake case. Clients break on
comments, on `id:` lines and on `data:` without a space, so nothing but data events is ever sent.
"""

from __future__ import annotations

import re
from typing import Any, ClassVar

import msgspec

from shin_gateway.dialects.base import Dialect, Ending, Failure, View, event_of, media_type, to_json
from shin_gateway.dialects.gemini_errors import error_object, failure_of
from shin_gateway.dialects.gemini_stream import CandidatesEnding, GenerateReader
from shin_gateway.dialects.heads import Peek, model_in_path, peek_as, require_model, whole_number
from shin_gateway.dialects.json_array import JsonArrayFramer
from shin_gateway.dialects.json_spans import Channel, Slot, decode, members, paths
from shin_gateway.dialects.json_text import escape
from shin_gateway.dialects.numbers import count
from shin_gateway.dialects.parts import Framer, Part
from shin_gateway.errors import Refusal
from shin_gateway.outcome import Usage

_PART = (
    "text",
    "functionCall.args.**",
    "function_call.args.**",
    "functionCall.partialArgs.*.stringValue",
    "functionResponse.response.**",
    "function_response.response.**",
    "executableCode.code",
    "executable_code.code",
    "codeExecutionResult.output",
    "code_execution_result.output",
    "toolCall.args.**",
    "toolResponse.response.**",
    "audioTranscription.text",
)


def _contents(*places: str) -> tuple[str, ...]:
    return tuple(f"{place}.parts.{row}" for place in places for row in (*(f"*.{part}" for part in _PART), *_PART))


_CALL = (
    *_contents("contents.*", "contents", "content", "systemInstruction", "system_instruction"),
    "systemInstruction",
    "system_instruction",
    "contents",
    "contents.*",
)
_REPLY = (
    *_contents("candidates.*.content"),
    "candidates.*.groundingMetadata.webSearchQueries.*",
    "candidates.*.groundingMetadata.groundingSupports.*.segment.text",
    "candidates.*.groundingMetadata.groundingChunks.*.retrievedContext.text",
    "candidates.*.groundingMetadata.groundingChunks.*.retrievedContext.ragChunk.text",
    "candidates.*.groundingMetadata.groundingChunks.*.maps.text",
)


def _under(*prefixes: str, rows: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(f"{prefix}{row}" for prefix in prefixes for row in rows)


_ERROR = re.compile(rb'"error"\s*:\s*\{').search
_STREAM = re.compile(r":(?:stream|serverStreaming)[A-Z]").search


class _Head(msgspec.Struct, rename="camel"):
    model: Any = None
    generation_config: Any = None
    request: Any = None


class GeminiGenerate(Dialect):
    name: ClassVar[str] = "gemini.generate"
    call_paths = paths(_under("", "request.", "generateContentRequest.", "requests.*.", rows=_CALL))
    reply_paths = paths(_under("", "response.", "*.", "*.response.", rows=_REPLY))
    event_paths = paths(_under("", "response.", rows=_REPLY))
    keepalive: ClassVar[bytes | None] = None

    def peek(self, body: bytes, path: str) -> Peek:
        head = peek_as(body, _Head) if body else _Head()
        envelope = head.request if isinstance(head.request, dict) else {}
        config = head.generation_config or envelope.get("generationConfig")
        # The path names the model; a body that names one too does so as `models/…`.
        model = model_in_path(path) or require_model(head.model or envelope.get("model"), path)
        limit = count(config, "maxOutputTokens", "max_output_tokens")
        answers = whole_number(count(config, "candidateCount", "candidate_count")) or 1
        return Peek(model.removeprefix("models/"), _STREAM(path) is not None, whole_number(limit), answers)

    def with_model(self, body: bytes, path: str, model: str) -> tuple[bytes, str]:
        if model_in_path(path) is None:
            return _with_inner_model(body, model) or super().with_model(body, path, model)[0], path
        return body, super().with_model(b"", path, model)[1]

    def see(self, event: dict[str, Any], slots: list[Slot]) -> View:
        reply = _inside(event)
        candidates = reply.get("candidates")
        if not isinstance(candidates, list):
            return View(slots)
        for slot in slots:
            slot.channel = _channel(candidates, slot)
        return View(slots, list(_closed(candidates)))

    def framer(self, content_type: str) -> Framer | None:
        """Without `alt=sse` a stream is one JSON array, sent element by element."""
        return JsonArrayFramer() if media_type(content_type) == "application/json" else super().framer(content_type)

    def ending(self) -> Ending:
        return CandidatesEnding(self)

    def failure(self, part: Part) -> Failure | None:
        if not _ERROR(part.raw):
            return None
        event = event_of(part)
        error = event.get("error") if isinstance(event, dict) else None
        return failure_of(error) if isinstance(error, dict) else None

    def account(self, body: bytes) -> tuple[Usage | None, str | None]:
        reader = GenerateReader()
        reader.read(body)
        return reader.usage, reader.model

    def usage_reader(self) -> GenerateReader:
        return GenerateReader()

    def error_body(self, refusal: Refusal, call_id: str) -> bytes:
        return to_json({"error": error_object(refusal, call_id)})

    def error_part(self, refusal: Refusal, call_id: str, content_type: str = "text/event-stream") -> bytes:
        body = self.error_body(refusal, call_id)
        # Without `alt=sse` the stream is one array, and elements have been sent before.
        return b",\r\n" + body + b"\r\n]" if "json" in content_type else b"data: " + body + b"\r\n\r\n"


def _with_inner_model(body: bytes, model: str) -> bytes | None:
    """A count of tokens in an envelope names its model inside. None where the envelope itself names it."""
    text = decode(body)
    outer = members(text)
    request = outer.get("request")
    if "model" in outer or request is None or not isinstance(request.value, dict):
        return None
    span = members(text, request.start).get("model")
    return f'{text[: span.start]}"{escape(model)}"{text[span.end :]}'.encode() if span else None


def _inside(event: dict[str, Any]) -> dict[str, Any]:
    inner = event.get("response")
    return inner if isinstance(inner, dict) else event


def _channel(candidates: list[Any], slot: Slot) -> Channel | None:
    """Texts of parts go on from event to event; arguments are whole, but for partial ones."""
    at = slot.path.index("candidates") + 1
    position, place = slot.path[at], slot.path[at + 1]
    if place != "content" or not isinstance(position, int) or not isinstance(slot.path[at + 3], int):
        return None
    candidate = candidates[position]
    part = candidate["content"]["parts"][slot.path[at + 3]]
    group = _index(candidate, position)
    if slot.path[-1] == "stringValue":
        piece = part["functionCall"]["partialArgs"][slot.path[-2]]
        return (group, "arguments", str(piece.get("jsonPath")))
    if slot.path[at + 4 :] == ("text",):
        return (group, "thought" if part.get("thought") is True else "text")
    return None


def _index(candidate: Any, otherwise: int) -> int:
    index = candidate.get("index") if isinstance(candidate, dict) else None
    return index if isinstance(index, int) else otherwise


def _closed(candidates: list[Any]) -> Any:
    for position, candidate in enumerate(candidates):
        if not isinstance(candidate, dict):
            continue
        if candidate.get("finishReason"):
            yield (_index(candidate, position),)
        elif _last_of_arguments(candidate):
            yield (_index(candidate, position), "arguments")


def _last_of_arguments(candidate: dict[str, Any]) -> bool:
    content = candidate.get("content")
    found = content.get("parts") if isinstance(content, dict) else None
    calls = [part.get("functionCall") for part in found if isinstance(part, dict)] if isinstance(found, list) else []
    return any(isinstance(call, dict) and not call.get("willContinue") for call in calls)
