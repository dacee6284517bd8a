"""Gemini: generateContent and its stream, countTokens, embedContent; the API with keys and Vertex alike.

Code Assist (`/v1internal:…`) wraps calls as `{model, request: {…}}` and replies as `{response: {…}}`.
Names are read in camel case and, as protobuf's JSON allows, in snake case. Clients break on
comments, on `id:` lines and on `data:` without a space, so nothing but data events is ever sent.
"""

from __future__ import annotations

import re
from typing import Any, ClassVar

import msgspec

from shin_gateway.dialects.base import (
    Dialect,
    Ending,
    Failure,
    Peek,
    View,
    event_of,
    is_retryable,
    media_type,
    model_in_path,
    peek_as,
    require_model,
    to_json,
    whole_number,
)
from shin_gateway.dialects.json_array import JsonArrayFramer
from shin_gateway.dialects.json_spans import Channel, Slot, paths
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
)


def _under(*prefixes: str, rows: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(f"{prefix}{row}" for prefix in prefixes for row in rows)


# google.rpc.Code, as HTTP maps it.
_CODES = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    409: "ABORTED",
    413: "INVALID_ARGUMENT",
    415: "INVALID_ARGUMENT",
    429: "RESOURCE_EXHAUSTED",
    499: "CANCELLED",
    500: "INTERNAL",
    501: "UNIMPLEMENTED",
    502: "UNAVAILABLE",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}
_STATUS_OF = {
    "INVALID_ARGUMENT": 400,
    "FAILED_PRECONDITION": 400,
    "OUT_OF_RANGE": 400,
    "UNAUTHENTICATED": 401,
    "PERMISSION_DENIED": 403,
    "NOT_FOUND": 404,
    "ABORTED": 409,
    "ALREADY_EXISTS": 409,
    "RESOURCE_EXHAUSTED": 429,
    "CANCELLED": 499,
    "INTERNAL": 500,
    "UNKNOWN": 500,
    "DATA_LOSS": 500,
    "UNIMPLEMENTED": 501,
    "UNAVAILABLE": 503,
    "DEADLINE_EXCEEDED": 504,
}
_ERROR = re.compile(rb'"error"\s*:\s*\{').search
_STREAM = re.compile(r":(?:stream|serverStreaming)[A-Z]").search
_DURATION = re.compile(r"(\d+(?:\.\d+)?)s").fullmatch


class _Head(msgspec.Struct, rename="camel"):
    model: Any = None
    generation_config: Any = None
    request: Any = None


class GeminiGenerate(Dialect):
    name: ClassVar[str] = "gemini.generate"
    call_paths = paths(_under("", "request.", "generateContentRequest.", "requests.*.", rows=_CALL))
    reply_paths = paths(_under("", "response.", "*.", rows=_REPLY))
    event_paths = paths(_under("", "response.", rows=_REPLY))
    keepalive: ClassVar[bytes | None] = None

    def peek(self, body: bytes, path: str) -> Peek:
        head = peek_as(body, _Head) if body else _Head()
        envelope = head.request if isinstance(head.request, dict) else {}
        config = head.generation_config or envelope.get("generationConfig")
        # The path names the model; a body that names one too does so as `models/…`.
        model = model_in_path(path) or require_model(head.model, path)
        limit = count(config, "maxOutputTokens", "max_output_tokens")
        return Peek(model.removeprefix("models/"), _STREAM(path) is not None, whole_number(limit))

    def with_model(self, body: bytes, path: str, model: str) -> tuple[bytes, str]:
        if model_in_path(path) is None:
            return super().with_model(body, path, model)
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
        return _failure_of(error) if isinstance(error, dict) else None

    def usage(self, body: bytes) -> Usage | None:
        reader = GenerateReader()
        reader.read(body)
        return reader.usage

    def model_of(self, body: bytes) -> str | None:
        reader = GenerateReader()
        reader.read(body)
        return reader.model

    def usage_reader(self) -> GenerateReader:
        return GenerateReader()

    def error_body(self, refusal: Refusal, call_id: str) -> bytes:
        default = "INTERNAL" if refusal.status >= 500 else "FAILED_PRECONDITION"
        status = _CODES.get(refusal.status, default)
        error = {"code": refusal.status, "message": refusal.message, "status": status}
        return to_json({"error": {**error, "details": _details(refusal, call_id)}})

    def error_part(self, refusal: Refusal, call_id: str, content_type: str = "text/event-stream") -> bytes:
        body = self.error_body(refusal, call_id)
        # Without `alt=sse` the stream is one array, and elements have been sent before.
        return b",\r\n" + body + b"\r\n]" if "json" in content_type else b"data: " + body + b"\r\n\r\n"


def _inside(event: dict[str, Any]) -> dict[str, Any]:
    inner = event.get("response")
    return inner if isinstance(inner, dict) else event


def _details(refusal: Refusal, call_id: str) -> list[dict[str, Any]]:
    kind = "type.googleapis.com/google.rpc."
    details: list[dict[str, Any]] = [
        {"@type": f"{kind}ErrorInfo", "reason": refusal.code.upper(), "domain": "shin-gateway"},
        {"@type": f"{kind}RequestInfo", "requestId": call_id},
    ]
    if refusal.param:
        violation = {"field": refusal.param, "description": refusal.message}
        details.append({"@type": f"{kind}BadRequest", "fieldViolations": [violation]})
    if refusal.retry_after is not None:
        details.append({"@type": f"{kind}RetryInfo", "retryDelay": f"{refusal.retry_after:g}s"})
    return details


def _failure_of(error: dict[str, Any]) -> Failure:
    word, code = error.get("status"), error.get("code")
    status = code if isinstance(code, int) and 400 <= code <= 599 else _STATUS_OF.get(str(word), 500)
    message = str(error.get("message") or "The provider reported an error.")
    return Failure(
        status, str(word or _CODES.get(status, "UNKNOWN")), message, is_retryable(status), _retry_after(error)
    )


def _retry_after(error: dict[str, Any]) -> float | None:
    details = error.get("details")
    for detail in details if isinstance(details, list) else ():
        delay = detail.get("retryDelay") if isinstance(detail, dict) else None
        if isinstance(delay, str) and (found := _DURATION(delay)):
            return float(found[1])
    return None


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


class _Candidate(msgspec.Struct, rename="camel"):
    index: Any = None
    finish_reason: Any = None


class _Feedback(msgspec.Struct, rename="camel"):
    block_reason: Any = None


class _Progress(msgspec.Struct, rename="camel"):
    candidates: list[_Candidate] | None = None
    prompt_feedback: _Feedback | None = None


class _Event(_Progress, rename="camel"):
    response: _Progress | None = None


_decode_progress = msgspec.json.Decoder(_Event).decode


class CandidatesEnding(Ending):
    """No marker: a stream is whole when every candidate has a finish reason, or the prompt was blocked."""

    def __init__(self, dialect: Dialect) -> None:
        super().__init__(dialect)
        self._open: set[int] = set()
        self._finished: set[int] = set()
        self._blocked = False

    def feed(self, part: Part) -> None:
        super().feed(part)
        try:
            event = _decode_progress(part.data or b"{}")
        except (msgspec.MsgspecError, RecursionError, ValueError):
            return
        reply = event.response or event
        self._blocked = self._blocked or bool(reply.prompt_feedback and reply.prompt_feedback.block_reason)
        for position, candidate in enumerate(reply.candidates or ()):
            index = candidate.index if isinstance(candidate.index, int) else position
            if candidate.finish_reason:
                self._finished.add(index)
                self._open.discard(index)
            elif index not in self._finished:
                self._open.add(index)

    @property
    def complete(self) -> bool:
        return super().complete or self._blocked or (bool(self._finished) and not self._open)


class _Reply(msgspec.Struct, rename="camel"):
    usage_metadata: Any = None
    model_version: Any = None


class _Body(msgspec.Struct, rename="camel"):
    usage_metadata: Any = None
    model_version: Any = None
    response: _Reply | None = None


_decode_body = msgspec.json.Decoder(_Body).decode
_decode_bodies = msgspec.json.Decoder(list[_Body]).decode


class GenerateReader:
    """Usage comes with every chunk or only with the last; the last that counts is right."""

    usage: Usage | None = None
    model: str | None = None

    def feed(self, part: Part) -> None:
        data = part.data
        if data is not None and (b'"usageMetadata"' in data or (self.model is None and b'"modelVersion"' in data)):
            self.read(data)

    def read(self, body: bytes) -> None:
        """Take what one reply or chunk reports; a whole body may also be an array of chunks."""
        try:
            bodies = _decode_bodies(body) if body.lstrip()[:1] == b"[" else [_decode_body(body)]
        except (msgspec.MsgspecError, RecursionError, ValueError):
            return
        for found in bodies:
            reply = found.response or found
            self.usage = usage_of(reply.usage_metadata) or self.usage
            if isinstance(reply.model_version, str) and reply.model_version:
                self.model = self.model or reply.model_version


def usage_of(usage: object) -> Usage | None:
    """`usageMetadata`. Thoughts come on top of the candidates, results of server-side tools on top of the prompt."""
    if not isinstance(usage, dict):
        return None
    prompt, answer = count(usage, "promptTokenCount"), count(usage, "candidatesTokenCount", "responseTokenCount")
    if prompt is None and answer is None:
        return None
    thoughts = count(usage, "thoughtsTokenCount") or 0
    given = (prompt or 0) + (count(usage, "toolUsePromptTokenCount") or 0)
    return Usage(
        input=given,
        output=(answer or 0) + thoughts,
        cached=min(count(usage, "cachedContentTokenCount") or 0, given),
        reasoning=thoughts,
        input_audio=_audio(usage.get("promptTokensDetails")),
        output_audio=_audio(usage.get("candidatesTokensDetails")),
    )


def _audio(details: object) -> int:
    rows = details if isinstance(details, list) else []
    return sum(
        count(row, "tokenCount") or 0 for row in rows if isinstance(row, dict) and row.get("modality") == "AUDIO"
    )
