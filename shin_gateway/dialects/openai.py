"""What OpenAI's APIs have in common, and the many servers that speak them: errors, usage, `[DONE]`."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from shin_gateway.dialects.base import Dialect, Failure, event_of, is_retryable, to_json
from shin_gateway.dialects.heads import Peek, most_of, peek_as, require_model
from shin_gateway.dialects.numbers import count, part_of
from shin_gateway.dialects.parts import Part
from shin_gateway.errors import Refusal
from shin_gateway.outcome import Usage

_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    408: "timeout_error",
    409: "conflict_error",
    429: "rate_limit_error",
}
# Words that OpenAI and compatible servers use for `type` and `code`, and the status they stand for.
_STATUS_OF = {
    "invalid_request_error": 400,
    "invalid_prompt": 400,
    "context_length_exceeded": 400,
    "content_filter": 400,
    "content_policy_violation": 400,
    "authentication_error": 401,
    "invalid_api_key": 401,
    "insufficient_quota": 429,
    "permission_error": 403,
    "permission_denied": 403,
    "not_found_error": 404,
    "model_not_found": 404,
    "timeout": 504,
    "timeout_error": 504,
    "rate_limit_error": 429,
    "rate_limit_exceeded": 429,
    "rate_limit_reached": 429,
    "tokens": 429,
    "requests": 429,
    "engine_overloaded_error": 503,
    "overloaded_error": 529,
    "server_overloaded": 503,
    "service_unavailable": 503,
    "service_unavailable_error": 503,
    "server_error": 500,
    "internal_error": 500,
    "internal_server_error": 500,
    "api_error": 500,
}
# What may stand in `error.code` of a reply that failed: https://developers.openai.com/api/reference/resources/responses
_STATUS_OF |= dict.fromkeys(
    (
        "bio_policy",
        "data_residency_mismatch",
        "empty_image_file",
        "failed_to_download_image",
        "image_content_policy_violation",
        "image_file_not_found",
        "image_file_too_large",
        "image_parse_error",
        "image_too_large",
        "image_too_small",
        "invalid_base64_image",
        "invalid_image",
        "invalid_image_format",
        "invalid_image_mode",
        "invalid_image_url",
        "misalignment_policy_violation",
        "unsupported_image_media_type",
    ),
    400,
) | {"vector_store_timeout": 504}
_HOPELESS = frozenset({"insufficient_quota", "billing_hard_limit_reached"})
_MAYBE_ERROR = re.compile(rb'"error"\s*:\s*[{"]|"object"\s*:\s*"error"')
_USAGE = re.compile(rb'"usage"\s*:\s*\{')


class _Head(msgspec.Struct):
    model: Any = None
    stream: bool | None = None
    max_tokens: Any = None
    max_completion_tokens: Any = None
    n: Any = None
    best_of: Any = None


class OpenAI(Dialect):
    """Errors and the head of calls, the same in all of OpenAI's APIs."""

    def peek(self, body: bytes, path: str) -> Peek:
        head = peek_as(body, _Head)
        limit, answers = most_of(head.max_completion_tokens, head.max_tokens), most_of(head.n, head.best_of) or 1
        return Peek(require_model(head.model, path), bool(head.stream), limit, answers)

    def error_body(self, refusal: Refusal, call_id: str) -> bytes:
        return to_json({"error": error_object(refusal), "request_id": call_id})

    def error_part(self, refusal: Refusal, call_id: str, content_type: str = "text/event-stream") -> bytes:
        return b"data: " + self.error_body(refusal, call_id) + b"\n\n"

    def failure(self, part: Part) -> Failure | None:
        if b'"error"' not in part.raw or not _MAYBE_ERROR.search(part.raw):  # every part is asked: the search is slow
            return None
        event = event_of(part)
        return failure_of(event) if isinstance(event, dict) else None

    def ends(self, part: Part) -> bool:
        if b"[DONE]" not in part.raw:
            return False
        data = part.data
        return data is not None and data.startswith(b"[DONE]")

    def account(self, body: bytes) -> tuple[Usage | None, str | None]:
        return read_body(body)


def maybe_usage(part: Part) -> bool:
    """Whether it is worth a look: once asked, OpenAI sends `"usage":null` with every chunk."""
    return b'"usage"' in part.raw and _USAGE.search(part.raw) is not None  # every part is asked: the search is slow


class ChunkReader:
    """Usage from a stream of chunks, at the top or where some servers put it. The last one counts."""

    usage: Usage | None = None
    model: str | None = None

    def feed(self, part: Part) -> None:
        if self.model is not None and not maybe_usage(part):
            return
        data = part.data
        if data is None or data[:1] != b"{":
            return
        usage, model = read_body(data)
        self.usage = usage or self.usage
        self.model = self.model or model


class _Choice(msgspec.Struct):
    usage: Any = None


class _Groq(msgspec.Struct):
    usage: Any = None


class _Body(msgspec.Struct):
    model: Any = None
    usage: Any = None
    x_groq: _Groq | None = None
    choices: list[_Choice] | None = None


_decode_body = msgspec.json.Decoder(_Body).decode


def read_body(body: bytes) -> tuple[Usage | None, str | None]:
    """Usage and model of a reply or chunk; None for what is not there. Never raises."""
    try:
        found = _decode_body(body)
    except (msgspec.MsgspecError, RecursionError, ValueError):
        return None, None
    usage = found.usage or (found.x_groq and found.x_groq.usage)
    if not usage:  # Moonshot puts it into the choice
        usage = next((choice.usage for choice in found.choices or () if choice.usage), None)
    model = found.model if isinstance(found.model, str) and found.model else None
    return usage_of(usage), model


def usage_of(usage: object) -> Usage | None:
    """OpenAI's usage object, in the words of any of its APIs; None for null or nonsense."""
    if not isinstance(usage, dict):
        return None
    given = count(usage, "prompt_tokens", "input_tokens")
    made = count(usage, "completion_tokens", "output_tokens")
    if given is None and made is None:
        return None
    given, made = given or 0, made or 0
    in_details = part_of(usage, "prompt_tokens_details", "input_tokens_details")
    out_details = part_of(usage, "completion_tokens_details", "output_tokens_details")
    reasoning = count(out_details, "reasoning_tokens") or count(usage, "reasoning_tokens") or 0
    # xAI leaves reasoning out of the completion, Gemini's compatible API out of everything but the total.
    apart = (count(usage, "total_tokens") or 0) - given - made
    if apart > 0 and reasoning in (0, apart):
        made, reasoning = made + apart, apart
    cached = count(in_details, "cached_tokens") or count(usage, "prompt_cache_hit_tokens", "cached_tokens") or 0
    return Usage(
        input=given,
        output=made,
        cached=min(cached, given),
        cache_write=min(count(in_details, "cache_write_tokens") or 0, given),
        reasoning=min(reasoning, made),
        input_audio=count(in_details, "audio_tokens") or 0,
        output_audio=count(out_details, "audio_tokens") or 0,
    )


def error_object(refusal: Refusal) -> dict[str, object]:
    """`{message, type, param, code}` as OpenAI's error reference has it."""
    default = "server_error" if refusal.status >= 500 else "invalid_request_error"
    return {
        "message": refusal.message,
        "type": _TYPES.get(refusal.status, default),
        "param": refusal.param,
        "code": refusal.code,
    }


def failure_of(event: dict[str, Any]) -> Failure | None:
    """The error in `{"error": {…}}`, `{"error": "…"}` or vLLM's `{"object": "error", …}`."""
    error = event.get("error")
    if not error and event.get("object") == "error":
        error = event
    if isinstance(error, str):
        error = {"message": error}
    if not isinstance(error, dict):
        return None
    return failure_from(error, event.get("status"), event.get("status_code"))


def failure_from(error: dict[str, Any], *statuses: object) -> Failure:
    """A failure from an error object; its status from numbers it carries, else from its words."""
    code, kind = error.get("code"), error.get("type")
    words = [word for word in (code, kind) if isinstance(word, str) and word]
    status = _status_in(code, error.get("status"), error.get("status_code"), *statuses)
    status = status or next((_STATUS_OF[word] for word in words if word in _STATUS_OF), 500)
    return Failure(
        status=status,
        type=words[-1] if words else "server_error",
        message=reason_of(error) or str(error.get("message") or "The provider reported an error."),
        retryable=is_retryable(status) and not _HOPELESS.intersection(words),
    )


_WORDS = ("error", "errors", "message", "detail", "msg", "title")
_LONGEST = 2000
"""Characters of a reason that is text of any kind, a page even."""


def words_in(value: Any, depth: int = 4) -> str:
    """The words in an error, as deep as any server puts them."""
    if isinstance(value, str):
        return value
    if isinstance(value, list) and value:
        return words_in(value[0], depth - 1) if depth else ""
    if not isinstance(value, dict) or not depth:
        return ""
    text = reason_of(value, depth - 1) or next(
        (text for name in _WORDS if (text := words_in(value.get(name), depth - 1))), ""
    )
    place = value.get("loc")  # FastAPI's, of the field
    steps = [str(step) for step in place if isinstance(step, str | int)] if isinstance(place, list) else []
    return f"{'.'.join(steps)}: {text}" if steps else text


def reason_of(error: dict[str, Any], depth: int = 3) -> str:
    """What the provider behind OpenRouter said, whose own message is "Provider returned error" whatever it was."""
    metadata = error.get("metadata")
    raw = metadata.get("raw") if isinstance(metadata, dict) else None
    if not raw or not isinstance(raw, str | dict):
        return ""
    if isinstance(raw, dict):
        return words_in(raw, depth)[:_LONGEST]
    found = _decoded(raw)
    said = words_in(found) if found is not None else f"{error.get('message') or 'The provider said'}: {raw.strip()}"
    return said[:_LONGEST]


def _decoded(raw: str) -> Any:
    """An error's JSON; None for text of another kind."""
    try:
        return msgspec.json.decode(raw)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None


def _status_in(*values: object) -> int | None:
    for value in values:
        if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) == 3:
            value = int(value)
        if isinstance(value, int) and not isinstance(value, bool) and 400 <= value <= 599:
            return value
    return None
