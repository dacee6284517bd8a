"""Whole replies of the Responses API into the common form. What is no reply of it raises UpstreamFailed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from shin_gateway.dialects.numbers import count
from shin_gateway.dialects.openai import failure_from, usage_of
from shin_gateway.errors import UpstreamFailed
from shin_gateway.translation.form import (
    Answer,
    AnyPart,
    Choice,
    Citation,
    Finish,
    Media,
    Reasoning,
    Refused,
    Text,
    ToolUse,
)
from shin_gateway.translation.openai_responses.content_in import citation
from shin_gateway.translation.openai_responses.items import tokens
from shin_gateway.translation.openai_responses.names import ORIGIN, Json, dicts, flat_name
from shin_gateway.translation.openai_responses.steps import step

_INCOMPLETE: dict[str, Finish] = {"max_output_tokens": "length", "content_filter": "filtered", "steered": "stop"}
_IMAGES = {"png": "image/png", "webp": "image/webp", "jpeg": "image/jpeg", "gif": "image/gif"}


def read_reply(body: Any) -> Answer:
    if not isinstance(body, dict) or not isinstance(body.get("output"), list):
        raise _nonsense(body)
    status = body.get("status")
    if status in ("failed", "cancelled", "queued", "in_progress") or isinstance(body.get("error"), dict):
        raise _nonsense(body)
    choice = Choice()
    logprobs: list[Json] = []
    for item in body["output"]:
        if isinstance(item, dict):
            choice.parts += read_item(item)
            logprobs += logprobs_of(item)
    choice.logprobs = logprobs or None
    choice.finish = finish_of(body, choice.parts)
    return Answer(
        id=word(body, "id"),
        model=word(body, "model"),
        created=count(body, "created_at") or 0,
        choices=[choice],
        usage=usage_of(body.get("usage")),
        service_tier=word(body, "service_tier"),
    )


def _nonsense(body: Any) -> UpstreamFailed:
    error = body.get("error") if isinstance(body, dict) else None
    if isinstance(error, dict):
        failure = failure_from(error)
        return UpstreamFailed(failure.message, status=failure.status)
    status = body.get("status") if isinstance(body, dict) else None
    if status in ("failed", "cancelled", "queued", "in_progress"):
        return UpstreamFailed(f"The provider left its reply {status}.")
    return UpstreamFailed("The provider's reply is no reply of the Responses API.", code="upstream_malformed")


def finish_of(body: Json, parts: list[AnyPart]) -> Finish:
    if body.get("status") == "incomplete":
        details = body.get("incomplete_details")
        reason = details.get("reason") if isinstance(details, dict) else None
        return _INCOMPLETE.get(reason, "length") if isinstance(reason, str) else "length"
    if any(isinstance(part, ToolUse) for part in parts):
        return "tools"
    if any(isinstance(part, Refused) for part in parts):
        return "refused"
    return "stop"


def word(owner: Json, name: str) -> str:
    value = owner.get(name)
    return value if isinstance(value, str) else ""


def read_item(item: Json) -> list[AnyPart]:
    """The parts of one item of `output`. Never raises."""
    kind = word(item, "type")
    read = _READERS.get(kind)
    return read(item) if read else [step(item, kind)] if kind else []


def _message(item: Json) -> list[AnyPart]:
    return [part for one in dicts(item.get("content")) if (part := read_content(one)) is not None]


def read_content(one: Json) -> Text | Refused | None:
    kind = one.get("type")
    if kind == "output_text":
        return Text(text=word(one, "text"), citations=citations_of(one))
    if kind == "refusal":
        return Refused(text=word(one, "refusal"))
    return None


def citations_of(one: Json) -> list[Citation]:
    return [citation(note) for note in dicts(one.get("annotations"))]


def logprobs_of(item: Json) -> list[Json]:
    return tokens([token for one in dicts(item.get("content")) for token in dicts(one.get("logprobs"))])


def reasoning_text(item: Json) -> str:
    """Summary and thoughts, which few items have both."""
    texts = [word(one, "text") for name in ("summary", "content") for one in dicts(item.get(name))]
    return "\n\n".join(text for text in texts if text)


def _reasoning(item: Json) -> list[AnyPart]:
    part = Reasoning(
        text=reasoning_text(item),
        summary=bool(dicts(item.get("summary"))),
        seal=word(item, "encrypted_content"),
        id=word(item, "id"),
        origin=ORIGIN,
    )
    return [part] if part.text or part.seal else []


def tool_use(item: Json) -> ToolUse:
    """A `function_call` or `custom_tool_call`."""
    custom = item.get("type") == "custom_tool_call"
    return ToolUse(
        id=word(item, "call_id") or word(item, "id"),
        name=flat_name(word(item, "namespace"), word(item, "name")),
        arguments=word(item, "input" if custom else "arguments"),
        custom=custom,
        origin=ORIGIN,
    )


def _call(item: Json) -> list[AnyPart]:
    return [tool_use(item)]


def _image(item: Json) -> list[AnyPart]:
    data = word(item, "result")
    mime = _IMAGES.get(word(item, "output_format"), "image/png")
    return [Media(kind="image", mime=mime, data=data, id=word(item, "id"), origin=ORIGIN)] if data else []


_READERS: dict[str, Callable[[Json], list[AnyPart]]] = {
    "message": _message,
    "reasoning": _reasoning,
    "function_call": _call,
    "custom_tool_call": _call,
    "image_generation_call": _image,
}
