"""Calls of the common form as Chat Completions has them, with the quirks of the server that gets them."""

from __future__ import annotations

from typing import Any

import msgspec

from shin_gateway.translation.effort import budget_of, effort_of
from shin_gateway.translation.form import Chat, Message, OutputFormat, ReasoningWish, Text
from shin_gateway.translation.losses import Losses
from shin_gateway.translation.names import shorten
from shin_gateway.translation.openai_chat.messages_out import MessageWriter
from shin_gateway.translation.openai_chat.quirks import accepted_efforts, limit, matches, refused_fields
from shin_gateway.translation.openai_chat.tools_out import write_tools
from shin_gateway.translation.openai_common import fitting_metadata
from shin_gateway.translation.openai_models import nearest
from shin_gateway.translation.translator import Traits
from shin_gateway.translation.usual import drop_sampling

Json = dict[str, Any]

_SAME = (
    ("temperature", "temperature"),
    ("top_p", "top_p"),
    ("frequency_penalty", "frequency_penalty"),
    ("presence_penalty", "presence_penalty"),
    ("n", "n"),
    ("seed", "seed"),
    ("store", "store"),
    ("logit_bias", "logit_bias"),
    ("verbosity", "verbosity"),
    ("audio", "audio"),
    ("prediction", "prediction"),
    ("service_tier", "service_tier"),
)
"""Fields of the form, and what this API calls them."""
_IDS = (("user", "user"), ("safety_identifier", "safety_identifier"), ("cache_key", "prompt_cache_key"))
"""The same of ids, which may be too long for it: Claude Code's user is."""
_HARMLESS = {"n": 1, "temperature": 1, "top_p": 1, "presence_penalty": 0, "frequency_penalty": 0, "verbosity": "medium",
             "store": False}  # fmt: skip
"""Defaults: nothing is lost with them."""
_SOFT = frozenset(
    {"user", "safety_identifier", "prompt_cache_key", "metadata", "store", "service_tier", "prediction", "verbosity"}
)
"""What makes a call cheaper, faster or easier to follow, or is only a hint: agents say it always."""
_FORM = {
    "max_completion_tokens": "max_tokens",
    "top_logprobs": "logprobs",
    "reasoning_effort": "reasoning",
    "web_search_options": "tools.web_search",
}
"""The form's names for fields of this API."""


def write_call(chat: Chat, traits: Traits, losses: Losses) -> Json:
    body: Json = {"model": chat.model, "messages": MessageWriter(traits, losses).write(chat.messages)}
    write_tools(chat, traits, losses, body)
    _limits(chat, traits, losses, body)
    for name, field in _SAME:
        value = getattr(chat, name)
        if value not in (None, "", {}):
            body[field] = value
    for name, field in _IDS:
        if value := getattr(chat, name):
            body[field] = shorten(value)
    _output(chat, traits, losses, body)
    _effort(chat.reasoning or ReasoningWish(), traits, losses, body)
    _rest(chat, traits, losses, body)
    _fit(chat, traits, losses, body)
    return body


def _limits(chat: Chat, traits: Traits, losses: Losses, body: Json) -> None:
    words = traits.words
    if chat.max_tokens is not None:
        body["max_completion_tokens"] = min(chat.max_tokens, traits.max_output or chat.max_tokens)
        if body["max_completion_tokens"] < chat.max_tokens:
            losses.soften("max_tokens")
    if chat.stop:
        most = int(limit(traits, "max_stop", 4))
        body["stop"] = chat.stop[:most]
        if len(chat.stop) > most:
            losses.drop("stop", f"no more than {most} stop sequences are possible")
    if chat.logprobs is not None:
        body["logprobs"] = True
        if chat.logprobs:
            body["top_logprobs"] = min(chat.logprobs, 20)
    if chat.top_k is not None:
        if words.get("top_k") == "yes":
            body["top_k"] = chat.top_k
        else:
            drop_sampling("top_k", chat.top_k, losses)


def _output(chat: Chat, traits: Traits, losses: Losses, body: Json) -> None:
    output = chat.output
    if output is None or output.kind == "text":
        return
    if output.kind == "schema" and output.schema is not None and traits.words.get("json_schema") != "no":
        body["response_format"] = {"type": "json_schema", "json_schema": _schema(output)}
        return
    body["response_format"] = {"type": "json_object"}
    if output.schema is not None:
        losses.soften("response_format.schema")
    if output.schema is not None or not _mentions_json(chat.messages):
        # The API insists that the word stands in a message.
        _instruct(body["messages"], _instruction(output))


def _schema(output: OutputFormat) -> Json:
    schema: Json = {"name": output.name or "response", "schema": output.schema}
    if output.description:
        schema["description"] = output.description
    if output.strict is not None:
        schema["strict"] = output.strict
    return schema


def _mentions_json(messages: list[Message]) -> bool:
    return any(isinstance(part, Text) and "json" in part.text.lower() for one in messages for part in one.parts)


def _instruction(output: OutputFormat) -> str:
    if output.schema is None:
        return "Answer with one JSON object and nothing else."
    try:
        schema = msgspec.json.encode(output.schema).decode()
    except (RecursionError, OverflowError, UnicodeEncodeError, msgspec.MsgspecError):
        return "Answer with one JSON object and nothing else."
    return f"Answer with one JSON object and nothing else. It follows this JSON Schema:\n{schema}"


def _instruct(messages: list[Json], text: str) -> None:
    """After the last of the leading instructions, so that what stands before it stays as it was."""
    place = 0
    while place < len(messages) and messages[place]["role"] in ("system", "developer"):
        place += 1
    messages.insert(place, {"role": "system", "content": text})


def _effort(wish: ReasoningWish, traits: Traits, losses: Losses, body: Json) -> None:
    words = traits.words
    if (pattern := words.get("reasoning_format")) and matches(pattern, traits.model):
        body["reasoning_format"] = "hidden" if wish.show is False else "parsed"
    way = words.get("effort", "reasoning_effort")
    effort, accepted = effort_of(wish), accepted_efforts(traits)
    if way == "reasoning":
        _openrouter(wish, body)
    elif effort is None:
        return
    elif way == "no" or not accepted or (accepted == ("none",) and effort != "none"):
        if effort != "none":
            losses.soften("reasoning")
    elif way == "thinking" and effort == "none":
        body["thinking"] = {"type": "disabled"}
    else:
        if way == "thinking":
            body["thinking"] = {"type": "enabled"}
        body["reasoning_effort"] = nearest(effort, accepted)


def _openrouter(wish: ReasoningWish, body: Json) -> None:
    """`reasoning: {effort | max_tokens, exclude}` (openrouter.ai/docs/use-cases/reasoning-tokens)."""
    reasoning: Json = {}
    budget = budget_of(wish) if wish.effort is None else None
    if wish.effort is not None:
        reasoning["effort"] = wish.effort
    elif budget is not None and budget > 0:
        reasoning["max_tokens"] = budget
    elif budget is not None:
        reasoning["enabled"] = budget < 0
    if wish.show is False:
        reasoning["exclude"] = True
    if reasoning:
        body["reasoning"] = reasoning


def _rest(chat: Chat, traits: Traits, losses: Losses, body: Json) -> None:
    if chat.metadata:
        if traits.words.get("metadata") == "stored" and not chat.store:
            losses.soften("metadata")  # the provider keeps it only of calls that it stores
        else:
            body["metadata"] = fitting_metadata(chat.metadata, losses)
    if set(chat.modalities) - {"text"}:
        body["modalities"] = chat.modalities
    if chat.safety_settings:
        losses.drop("safety_settings")
    if chat.stream:
        body["stream"] = True
        body["stream_options"] = {"include_usage": True}


def _lose(name: str, value: Any, losses: Losses) -> None:
    if name in _SOFT:
        losses.soften(name)
    elif name in ("temperature", "top_p"):
        drop_sampling(name, value, losses)
    else:
        losses.drop(_FORM.get(name, name))


def _fit(chat: Chat, traits: Traits, losses: Losses, body: Json) -> None:
    """What the model or the server refuses goes; what it calls otherwise is renamed."""
    for name in sorted(body.keys() & refused_fields(body.get("reasoning_effort"), traits)):
        value = body.pop(name)
        if name != "stream_options" and (name not in _HARMLESS or value != _HARMLESS[name]):
            _lose(name, value, losses)
    most = limit(traits, "max_temperature", 2)
    if body.get("temperature", 0) > most:
        body["temperature"] = most
        losses.soften("temperature")
    for name, other in traits.rename.items():
        if name in body:
            body[other] = body.pop(name)
