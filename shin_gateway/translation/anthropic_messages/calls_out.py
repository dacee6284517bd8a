"""A chat of the common form as a call of this API. platform.claude.com/docs/en/api/messages"""

from __future__ import annotations

import hashlib

from shin_gateway.errors import Invalid
from shin_gateway.translation.anthropic_messages.blocks_out import Blocks
from shin_gateway.translation.anthropic_messages.cards import Card, amended, card_of
from shin_gateway.translation.anthropic_messages.client_fields import FIELDS
from shin_gateway.translation.anthropic_messages.names import Json
from shin_gateway.translation.anthropic_messages.settings_out import (
    write_length,
    write_off,
    write_sampling,
    write_thinking,
)
from shin_gateway.translation.anthropic_messages.tools_out import (
    demands_tool,
    write_choice,
    write_output,
    write_tools,
)
from shin_gateway.translation.anthropic_messages.turns import Turns, joined
from shin_gateway.translation.form import Chat
from shin_gateway.translation.losses import Losses
from shin_gateway.translation.translator import Traits

_LONGEST_USER = 256
_SOFT = ("metadata", "service_tier")
_FORM = {own: form for form, own in FIELDS.items()} | {"metadata": "user"}
_REQUIRED = ("model", "messages", "max_tokens")


def write_call(chat: Chat, traits: Traits, losses: Losses) -> Json:
    """Raises Invalid for a history that the API has no way to say, and for schemas nested too deeply."""
    try:
        return _body(chat, traits, losses)
    except (RecursionError, UnicodeEncodeError):
        raise Invalid("tools: a JSON Schema is nested too deeply, or holds text that is no Unicode.") from None


def _body(chat: Chat, traits: Traits, losses: Losses) -> Json:
    card = amended(card_of(chat.model or traits.model), traits.words)
    blocks = Blocks(traits.provider, losses)
    turns = _turns(chat, card, traits, blocks)
    body: Json = {"model": chat.model, "messages": turns.messages}
    most = write_length(chat, card, traits, losses, body)
    write_output(chat.output, card, losses, body, turns.system)
    write_tools(chat, card, blocks, turns.tools_used, body)
    thinking = _think(chat, card, most, turns, losses, body)
    write_choice(chat, card.forced_tools and not thinking, losses, body)
    write_sampling(chat, card, thinking, losses, body)
    _end_with_user(turns, card, thinking, losses)
    if turns.system:
        body["system"] = joined(turns.system)
    _write_rest(chat, losses, body)
    _note_rest(chat, losses)
    return _quirks(body, traits, losses)


# ── messages ────────────────────────────────────────────────────────────────────────────────────


def _turns(chat: Chat, card: Card, traits: Traits, blocks: Blocks) -> Turns:
    # Clouds that serve the same models do not take them.
    turns = Turns(
        blocks, card.system_messages and (traits.provider == "anthropic" or "system_messages" in traits.words)
    )
    for index, message in enumerate(chat.messages):
        turns.add(index, message)
    turns.end()
    if not turns.messages:
        if not turns.system:
            raise Invalid("messages: there is no message with anything in it.", param="messages")
        turns.messages.append({"role": "user", "content": turns.system})
        turns.system = []
    return turns


def _end_with_user(turns: Turns, card: Card, thinking: bool, losses: Losses) -> None:
    """An answer that is begun is gone on with, where the model takes that; its end is no white space then."""
    last = turns.messages[-1]
    if last["role"] != "assistant":
        return
    if not card.prefill or thinking:
        losses.soften("messages.prefill")
        turns.messages.append({"role": "user", "content": [{"type": "text", "text": "Please go on."}]})
    elif last["content"][-1]["type"] == "text":
        last["content"][-1]["text"] = last["content"][-1]["text"].rstrip()


def _think(chat: Chat, card: Card, most: int, turns: Turns, losses: Losses, body: Json) -> bool:
    if demands_tool(chat) and chat.reasoning is None and card.thinks and card.forced_tools:
        # Nobody asked for thoughts, but for a call of a tool, and the model has to choose.
        return not write_off(card, losses, body)
    thinking = write_thinking(chat, card, most, losses, body)
    if thinking and card.thinking == "budget" and _lost_thoughts(turns.messages):
        losses.soften("reasoning")
        del body["thinking"]
        return False
    return thinking


def _lost_thoughts(messages: list[Json]) -> bool:
    """Whether the tool calls that this turn answers came without the thoughts that the API wants before them."""
    last = next((message for message in reversed(messages) if message["role"] == "assistant"), None)
    if last is None or not any(block["type"] == "tool_use" for block in last["content"]):
        return False
    return last["content"][0]["type"] not in ("thinking", "redacted_thinking")


# ── what is left ────────────────────────────────────────────────────────────────────────────────

_TIERS = {"auto": "auto", "priority": "auto", "default": "standard_only"}


def _write_rest(chat: Chat, losses: Losses, body: Json) -> None:
    if stops := [stop for stop in chat.stop if stop.strip()]:
        body["stop_sequences"] = stops
    if len(stops) < len(chat.stop):
        losses.drop("stop", "the provider takes no stop sequence of white space alone")
    if user := chat.user or chat.safety_identifier:
        body["metadata"] = {"user_id": _user(user)}
    if chat.user and chat.safety_identifier not in ("", chat.user):
        losses.soften("safety_identifier")  # there is room for one
    if tier := _TIERS.get(chat.service_tier):
        body["service_tier"] = tier
    if chat.stream:
        body["stream"] = True


def _user(user: str) -> str:
    return user if len(user) <= _LONGEST_USER else hashlib.sha256(user.encode("utf-8", "replace")).hexdigest()


def _note_rest(chat: Chat, losses: Losses) -> None:
    """What the API has no word for."""
    said = {
        "n": (chat.n or 1) > 1,
        "seed": chat.seed is not None,
        "logprobs": chat.logprobs is not None,
        "logit_bias": bool(chat.logit_bias),
        "frequency_penalty": bool(chat.frequency_penalty),
        "presence_penalty": bool(chat.presence_penalty),
        "modalities": any(one != "text" for one in chat.modalities),
        "audio": chat.audio is not None,
        "safety_settings": bool(chat.safety_settings),
    }
    for name, is_said in said.items():
        if is_said:
            losses.drop(name)
    for name, is_said in {
        "verbosity": chat.verbosity not in ("", "medium"),
        "metadata": bool(chat.metadata),
        "prediction": chat.prediction is not None,
        "service_tier": chat.service_tier not in ("", *_TIERS),
        "store": bool(chat.store),
        "prompt_cache_key": bool(chat.cache_key),
    }.items():
        if is_said:
            losses.soften(name)


def _quirks(body: Json, traits: Traits, losses: Losses) -> Json:
    for name in traits.drop:
        if name in body and name not in _REQUIRED:
            del body[name]
            (losses.soften if name in _SOFT else losses.drop)(_FORM.get(name, name))
    for name, other in traits.rename.items():
        if name in body:
            body[other] = body.pop(name)
    return body
