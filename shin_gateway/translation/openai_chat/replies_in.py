"""Whole replies of Chat Completions into the common form. Lenient: servers that are compatible differ."""

from __future__ import annotations

import secrets
from typing import Any

import msgspec

from shin_gateway.dialects.openai import failure_from, failure_of, usage_of
from shin_gateway.errors import UpstreamFailed
from shin_gateway.translation.form import Answer, AnyPart, Builtin, Choice, Citation, Media, Refused, Text, ToolUse
from shin_gateway.translation.openai_chat.messages_in import read_tool_call
from shin_gateway.translation.openai_chat.reasoning import ORIGIN, read_reasoning
from shin_gateway.translation.openai_chat.usage import (
    BROKEN,
    read_citation,
    read_finish,
    read_logprobs,
    read_sources,
    text_in,
)
from shin_gateway.translation.openai_common import Misfit, data_url

Json = dict[str, Any]


def read_reply(body: Any) -> Answer:
    """Raises UpstreamFailed for what is no reply."""
    if isinstance(body, list) and len(body) == 1:
        body = body[0]
    if not isinstance(body, dict):
        raise UpstreamFailed("The provider's reply is not a JSON object.")
    failure = failure_of(body)
    if failure is not None:
        raise UpstreamFailed(failure.message, status=failure.status)
    choices = body.get("choices")
    found = [choice for choice in choices if isinstance(choice, dict)] if isinstance(choices, list) else []
    if not found:
        if blocked := _blocked(body):
            return _answer(body, [], blocked)
        raise UpstreamFailed("The provider's reply holds no choice.")
    if len(found) > 1 and all(type(choice.get("index")) is int for choice in found):
        found.sort(key=lambda choice: choice["index"])
    read = [_choice(choice) for choice in found]
    for choice in read:
        _lean(choice, read_sources(body))
    return _answer(body, read)


def _lean(choice: Choice, sources: list[Citation]) -> None:
    """Sources of the whole answer, where its text names none of its own."""
    texts = [part for part in choice.parts if isinstance(part, Text)]
    if texts and not any(text.citations for text in texts):
        texts[-1].citations = sources


def _blocked(body: Json) -> str:
    """Azure says what it found in the prompt; a prompt that it refuses has no choices."""
    results = body.get("prompt_filter_results")
    return "content_filter" if isinstance(results, list) and results else ""


def _answer(body: Json, choices: list[Choice], blocked: str = "") -> Answer:
    return Answer(
        id=text_in(body, "id"),
        model=text_in(body, "model"),
        created=created_in(body),
        choices=choices,
        usage=usage_of(body.get("usage")),
        service_tier=text_in(body, "service_tier"),
        blocked=blocked,
    )


def created_in(body: Json) -> int:
    value = body.get("created")
    return int(value) if isinstance(value, int | float) and 0 < value < 2**53 else 0


def check_broken(choice: Json) -> None:
    """A choice that ended in an error: OpenRouter puts it beside. Raises UpstreamFailed."""
    error = choice.get("error")
    if isinstance(error, dict) and error:
        failure = failure_from(error)
        raise UpstreamFailed(failure.message, status=failure.status)
    if choice.get("finish_reason") in BROKEN:
        raise UpstreamFailed("The provider broke off its reply.")


def _choice(choice: Json) -> Choice:
    if not choice.get("finish_reason") or choice["finish_reason"] not in ("stop", "length", "tool_calls"):
        check_broken(_hashable(choice))
    message = choice.get("message")
    parts = read_message(message) if isinstance(message, dict) else _read_messages(choice.get("messages"))
    tools = any(isinstance(part, ToolUse) for part in parts)
    refused = any(isinstance(part, Refused) for part in parts)
    finish, sequence = read_finish(choice.get("finish_reason"), tools, choice.get("stop_reason"), refused)
    logprobs = read_logprobs(choice)
    return Choice(parts=parts, finish=finish, stop_sequence=sequence, logprobs=logprobs or None)


def _read_messages(messages: Any) -> list[AnyPart]:
    """Mistral's, of an answer for which it ran tools itself: the model's messages, and between them what tools said.

    A call that has its result is a step of the provider's, not for the client to run.
    """
    found = [one for one in messages if isinstance(one, dict)] if isinstance(messages, list) else []
    done = {text_in(one, "tool_call_id") for one in found if one.get("role") == "tool"} - {""}
    parts = [part for one in found if one.get("role") == "assistant" for part in read_message(one)]
    return [_step(part) if isinstance(part, ToolUse) and part.id in done else part for part in parts]


def _step(use: ToolUse) -> Builtin:
    raw = {"id": use.id, "function": {"name": use.name, "arguments": use.arguments}}
    return Builtin(kind=use.name, raw=[raw], text=_query(use.arguments), origin=ORIGIN)


def _query(arguments: str) -> str:
    try:
        found = msgspec.json.decode(arguments)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return ""
    return text_in(found, "query") if isinstance(found, dict) else ""


def _hashable(choice: Json) -> Json:
    return choice if isinstance(choice.get("finish_reason"), str | None) else {**choice, "finish_reason": None}


def read_message(message: Json) -> list[AnyPart]:
    """The parts of a message, or of a delta that is one. What cannot be read is passed over."""
    parts: list[AnyPart] = list(read_reasoning(message))
    content = message.get("content")
    if isinstance(content, str):
        if content:
            parts.append(Text(text=content))
    elif isinstance(content, list):
        parts += [part for item in content if (part := read_entry(item)) is not None]
    _cite(message, parts)
    if refusal := text_in(message, "refusal"):
        parts.append(Refused(text=refusal))
    parts += read_images(message)
    if isinstance(audio := message.get("audio"), dict):
        parts.append(_spoken(audio))
    return parts + _calls(message)


def read_entry(item: Any) -> AnyPart | None:
    """An entry of a content that is a list: text, thoughts, of some an image."""
    if not isinstance(item, dict):
        return None
    if item.get("type") in ("thinking", "reasoning"):
        value = item.get("thinking", item.get("summary"))  # Mistral's, Databricks's
        texts = [one.get("text") for one in value if isinstance(one, dict)] if isinstance(value, list) else [value]
        found = read_reasoning({"reasoning": "".join(text for text in texts if isinstance(text, str))})
        return found[0] if found else None
    if item.get("type") == "image_url":
        return _made_image(item)
    text = text_in(item, "text")
    return Text(text=text) if text else None


def _cite(message: Json, parts: list[AnyPart]) -> None:
    annotations = message.get("annotations")
    citations = [read_citation(one) for one in annotations] if isinstance(annotations, list) else []
    found = [citation for citation in citations if citation is not None]
    if not found:
        return
    text = next((part for part in parts if isinstance(part, Text)), None)
    if text is not None:
        text.citations = found


def read_images(message: Json) -> list[Media]:
    """Images that the model made, as OpenRouter has them: `images: [{type: image_url, image_url: {url}}]`."""
    images = message.get("images")
    if not isinstance(images, list):
        return []
    return [part for item in images if (part := _made_image(item)) is not None]


def _made_image(item: Any) -> Media | None:
    inner = item.get("image_url") if isinstance(item, dict) else None
    url = text_in(inner, "url") if isinstance(inner, dict) else ""
    if not url:
        return None
    try:
        found = data_url(url)
    except Misfit:
        return None
    return Media(kind="image", mime=found[0], data=found[1]) if found else Media(kind="image", url=url)


def _spoken(audio: Json) -> Media:
    id, data, text = (text_in(audio, name) for name in ("id", "data", "transcript"))
    return Media(kind="audio", id=id, data=data, text=text, origin=ORIGIN)


def _calls(message: Json) -> list[AnyPart]:
    calls = message.get("tool_calls")
    found = [read_call_of(call) for call in calls if isinstance(call, dict)] if isinstance(calls, list) else []
    if isinstance(legacy := message.get("function_call"), dict):
        found.append(read_call_of({"function": legacy}))
    return [use for use in found if use is not None]


def read_call_of(call: Json) -> ToolUse | None:
    """One call of a tool; with an id of ours where the server gave none."""
    try:
        use = read_tool_call(call)
    except Misfit:
        return None
    use.id = use.id or new_id()
    return use


def new_id() -> str:
    """Other than any before: what an id names must stay one thing over all turns of a chat."""
    return f"call_{secrets.token_hex(12)}"
