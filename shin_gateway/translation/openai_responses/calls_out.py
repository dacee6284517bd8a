"""The common form into a call of the Responses API.

Source: developers.openai.com/api/reference/resources/responses/methods/create
"""

from __future__ import annotations

from shin_gateway.translation.effort import effort_of
from shin_gateway.translation.form import Chat, Message, ReasoningWish, Text
from shin_gateway.translation.losses import Losses
from shin_gateway.translation.names import shorten
from shin_gateway.translation.openai_common import fitting_metadata
from shin_gateway.translation.openai_models import Model, model_of, nearest
from shin_gateway.translation.openai_responses.client_fields import FIELDS
from shin_gateway.translation.openai_responses.items_out import ItemWriter, mentions_json, write_instructions
from shin_gateway.translation.openai_responses.names import Json
from shin_gateway.translation.openai_responses.tools_out import (
    is_there,
    step_limit,
    write_choice,
    write_format,
    write_tools,
)
from shin_gateway.translation.translator import Traits
from shin_gateway.translation.usual import drop_sampling

_LEAST = 16
"""Fewer output tokens the API refuses."""
_TIERS = frozenset({"auto", "default", "flex", "scale", "priority", "fast", "ultrafast"})
_NO_PLACE = (
    ("stop", "stop"),
    ("seed", "seed"),
    ("logit_bias", "logit_bias"),
    ("frequency_penalty", "frequency_penalty"),
    ("presence_penalty", "presence_penalty"),
    ("audio", "audio"),
    ("safety_settings", "safety_settings"),
)
"""Fields of the form that this API has no word for, and their name in a note. Zero says what the API does anyway."""
_QUIET = frozenset({"store", "include", "stream", "stream_options"})
"""What a server may refuse without anything of the caller's being lost."""
_SOFT = frozenset({"user", "safety_identifier", "prompt_cache_key", "metadata", "service_tier"})
"""What makes a call cheaper, faster or easier to follow."""
_FORM = {own: form for form, own in FIELDS.items()} | {"text": "response_format"}


def write_call(chat: Chat, traits: Traits, losses: Losses) -> Json:
    model = model_of(traits.model or chat.model)
    instructions, messages = write_instructions(chat.messages)
    items = ItemWriter(traits.provider, losses)
    body: Json = {"model": chat.model}
    if instructions:
        body["instructions"] = instructions
    body["input"] = items.items
    if chat.output and chat.output.kind == "json" and not mentions_json(chat):
        items.items.append({"type": "message", "role": "developer", "content": "Answer with JSON."})
    items.write(messages)
    if _prefills(messages):
        losses.soften("messages.prefill")
    _tools(chat, body, losses)
    _text(chat, model, body, losses)
    _reasoning(chat, model, body, losses)
    _sampling(chat, model, traits, body, losses)
    _rest(chat, body, losses)
    return _fitted(body, traits, losses)


def _prefills(messages: list[Message]) -> bool:
    """Whether the last message is the beginning of an answer that the model shall go on with, as Anthropic's do."""
    last = messages[-1] if messages else None
    return last is not None and last.role == "assistant" and bool(last.parts) and isinstance(last.parts[-1], Text)


def _tools(chat: Chat, body: Json, losses: Losses) -> None:
    tools = write_tools(chat, losses)
    if (limit := step_limit(chat, losses)) is not None:
        body["max_tool_calls"] = limit
    if not tools:
        return
    body["tools"] = tools
    if chat.tool_choice is not None:
        choice = write_choice(chat.tool_choice, chat)
        if is_there(choice, tools):
            body["tool_choice"] = choice
        else:
            losses.drop("tool_choice")
    if chat.parallel_tools is not None:
        body["parallel_tool_calls"] = chat.parallel_tools


def _text(chat: Chat, model: Model, body: Json, losses: Losses) -> None:
    text: Json = {}
    if chat.output is not None:
        text["format"] = write_format(chat.output)
    if chat.verbosity and model.verbosity:
        text["verbosity"] = chat.verbosity
    elif chat.verbosity not in ("", "medium"):
        losses.soften("verbosity")
    if text:
        body["text"] = text


def _reasoning(chat: Chat, model: Model, body: Json, losses: Losses) -> None:
    wish = chat.reasoning or ReasoningWish()
    effort = effort_of(wish)
    if model.reasons is False:
        if effort not in (None, "none"):
            losses.soften("reasoning")
        return
    asked: Json = {}
    if effort is not None:
        asked["effort"] = nearest(effort, model.efforts)
    if effort != "none" and (wish.summary or wish.show):
        asked["summary"] = wish.summary or "auto"
    if asked:
        body["reasoning"] = asked
    if model.reasons or wish.sealed or asked:  # without the state at the provider, thoughts only come back so
        body["include"] = ["reasoning.encrypted_content"]


def _sampling(chat: Chat, model: Model, traits: Traits, body: Json, losses: Losses) -> None:
    if chat.max_tokens is not None:
        body["max_output_tokens"] = _limit(chat.max_tokens, traits.max_output, losses)
    thinks = model.reasons is True and body.get("reasoning", {}).get("effort") not in model.sampled
    for name in ("temperature", "top_p"):
        value = getattr(chat, name)
        if value is None or (thinks and value == 1):
            continue
        if thinks:
            drop_sampling(name, value, losses, "models that reason do not take it")
        else:
            body[name] = value
    _logprobs(chat, thinks, body, losses)
    for field, name in _NO_PLACE:
        if getattr(chat, field):
            losses.drop(name)
    if chat.top_k:
        drop_sampling("top_k", chat.top_k, losses)
    if chat.prediction:
        losses.soften("prediction")
    if chat.seed == 0:
        losses.drop("seed")
    if chat.n is not None and chat.n > 1:
        losses.drop("n")
    if "audio" in chat.modalities:
        losses.drop("modalities")


def _limit(wanted: int, most: int | None, losses: Losses) -> int:
    if wanted < _LEAST:
        losses.soften("max_tokens")
        return _LEAST
    return min(wanted, most) if most else wanted


def _logprobs(chat: Chat, thinks: bool, body: Json, losses: Losses) -> None:
    if chat.logprobs is None:
        return
    if thinks:
        losses.drop("logprobs", "models that reason do not give them")
        return
    body["include"] = [*body.get("include", ()), "message.output_text.logprobs"]
    body["top_logprobs"] = chat.logprobs


def _rest(chat: Chat, body: Json, losses: Losses) -> None:
    body["store"] = chat.store or False
    if chat.stream:
        body["stream"] = True
    if chat.metadata:
        body["metadata"] = fitting_metadata(chat.metadata, losses)
    for name, value in (
        ("user", chat.user),
        ("safety_identifier", chat.safety_identifier),
        ("prompt_cache_key", chat.cache_key),
    ):
        if value:
            body[name] = shorten(value)
    if chat.service_tier in _TIERS:
        body["service_tier"] = chat.service_tier
    elif chat.service_tier:
        losses.soften("service_tier")


def _fitted(body: Json, traits: Traits, losses: Losses) -> Json:
    """What this server does not know is left out, what it calls otherwise is renamed."""
    for name in traits.drop & body.keys():
        del body[name]
        if name not in _QUIET:
            (losses.soften if name in _SOFT else losses.drop)(_FORM.get(name, name))
    for name, other in traits.rename.items():
        if name in body:
            body[other] = body.pop(name)
    return body
