"""A call of this API into the common form. platform.claude.com/docs/en/api/messages"""

from __future__ import annotations

from typing import Any

from shin_gateway.dialects.heads import require_model
from shin_gateway.errors import Invalid
from shin_gateway.translation.anthropic_messages.blocks_in import read_content, text_blocks
from shin_gateway.translation.anthropic_messages.names import Json, plain
from shin_gateway.translation.anthropic_messages.tools_in import read_choice, read_output, read_tools
from shin_gateway.translation.form import AnyPart, Chat, Effort, Message, ReasoningWish, Text
from shin_gateway.translation.losses import Losses
from shin_gateway.translation.openai_common import (
    Misfit,
    as_record,
    each,
    maybe_flag,
    maybe_list,
    maybe_number,
    maybe_record,
    maybe_string,
    maybe_whole,
    one_of,
)

_FIELDS = frozenset(
    {"model", "messages", "system", "max_tokens", "stream", "temperature", "top_p", "top_k", "stop_sequences"}
    | {"tools", "mcp_servers", "tool_choice", "thinking", "output_config", "output_format", "metadata"}
    | {"service_tier", "anthropic_version", "anthropic_beta", "betas"}
)
_HINTS = frozenset(
    {"cache_control", "context_management", "compaction", "diagnostics", "speed"}
    | {"fallbacks", "fallback_credit_token", "billing_policy"}
)
"""What makes a call cheaper, faster or better watched, and nothing else. Claude Code sends some of it always."""

_BILLING = "x-anthropic-billing-header:"
"""How a system text of Claude Code begins that is meant for Anthropic alone."""


def read_call(body: Json, path: str, losses: Losses) -> Chat:
    """Raises Invalid that names the field."""
    try:
        return _chat(body, path, losses)
    except Misfit as wrong:
        raise wrong.invalid() from None


def _chat(body: Json, path: str, losses: Losses) -> Chat:
    _refuse_thread(body)
    _note_rest(body, losses)
    messages = _system(body, losses) + _messages(body, losses)
    tools, builtin_tools = read_tools(body, losses)
    choice, parallel = read_choice(body)
    return Chat(
        model=require_model(body.get("model"), path),
        messages=messages,
        tools=tools,
        builtin_tools=builtin_tools,
        tool_choice=choice,
        parallel_tools=parallel,
        max_tokens=_length(body, losses),
        temperature=maybe_number(body, "temperature", 0, 1),
        top_p=maybe_number(body, "top_p", 0, 1),
        top_k=maybe_whole(body, "top_k", 0),
        stop=each(maybe_list(body, "stop_sequences"), _stop, "stop_sequences"),
        output=read_output(body),
        reasoning=_reasoning(body, losses),
        user=_user(body, losses),
        service_tier=_TIERS[one_of(body, "service_tier", ("auto", "standard_only"))],
        stream=bool(maybe_flag(body, "stream")) or ":streamRawPredict" in path,
        stream_usage=True,
    )


_TIERS = {"": "", "auto": "auto", "standard_only": "default"}


def _refuse_thread(body: Json) -> None:
    """A thread is state that Anthropic keeps. Upon this error its SDKs' tool runners send the whole conversation."""
    if body.get("thread") is not None:
        why = "thread: this model's provider keeps no threads; send the whole conversation without it."
        raise Invalid(why, code="thread_unsupported_request", param="thread")


def _note_rest(body: Json, losses: Losses) -> None:
    for name in body.keys() - _FIELDS:
        if body[name] is None:
            continue
        note = losses.soften if name in _HINTS else losses.drop
        note(plain(name))
    for name in (maybe_record(body, "output_config") or {}).keys() - {"effort", "format"}:
        losses.drop(f"output_config.{plain(name)}")


# ── messages ────────────────────────────────────────────────────────────────────────────────────


def _system(body: Json, losses: Losses) -> list[Message]:
    parts: list[AnyPart] = []
    for part in text_blocks(body, "system", losses):
        if isinstance(part, Text) and part.text.startswith(_BILLING):
            losses.soften("system.x-anthropic-billing-header")
        elif isinstance(part, Text):
            parts.append(part)
    return [Message(role="system", parts=parts)] if parts else []


def _messages(body: Json, losses: Losses) -> list[Message]:
    if body.get("messages") is None:
        raise Misfit("is missing", "messages")
    items = maybe_list(body, "messages")
    if not items:
        raise Misfit("must not be empty", "messages")
    return each(items, lambda item: _message(as_record(item), losses), "messages")


def _message(item: Json, losses: Losses) -> Message:
    role: Any = one_of(item, "role", ("user", "assistant", "system"))
    if not role:
        raise Misfit("is missing", "role")
    for name in item.keys() - {"role", "content"} if len(item) > 2 else ():
        if item[name] is not None:
            losses.drop(f"messages.{plain(name)}")
    return Message(role=role, parts=read_content(item, losses))


# ── settings ────────────────────────────────────────────────────────────────────────────────────


def _length(body: Json, losses: Losses) -> int | None:
    length = maybe_whole(body, "max_tokens", 0)
    if length == 0:  # only fill the prompt cache, which no other API is told to do; one token is the least they give
        losses.soften("max_tokens")
        return 1
    return length


def _stop(item: Any) -> str:
    if isinstance(item, str):
        return item
    raise Misfit("must be a string")


def _user(body: Json, losses: Losses) -> str:
    metadata = maybe_record(body, "metadata") or {}
    for name in metadata.keys() - {"user_id"}:
        losses.soften(f"metadata.{plain(name)}")
    try:
        return maybe_string(metadata, "user_id")
    except Misfit as wrong:
        raise wrong.within("metadata") from None


_EFFORTS = ("low", "medium", "high", "xhigh", "max")
_THINKING = ("enabled", "adaptive", "disabled", "between_tools")
_THINKING_FIELDS = frozenset({"type", "budget_tokens", "display"})


def _reasoning(body: Json, losses: Losses) -> ReasoningWish | None:
    """`thinking` and `output_config.effort` (platform.claude.com/docs/en/build-with-claude/thinking)."""
    try:
        effort: Any = one_of(maybe_record(body, "output_config") or {}, "effort", _EFFORTS) or None
    except Misfit as wrong:
        raise wrong.within("output_config") from None
    thinking = maybe_record(body, "thinking")
    if thinking is None:
        return ReasoningWish(effort=effort) if effort else None
    try:
        return _thinking(thinking, effort, losses)
    except Misfit as wrong:
        raise wrong.within("thinking") from None


def _thinking(thinking: Json, effort: Effort | None, losses: Losses) -> ReasoningWish | None:
    others = thinking.keys() - _THINKING_FIELDS
    for name in others:  # block_binding: what becomes of thoughts that do not fit
        losses.soften(f"thinking.{plain(name)}")
    kind = one_of(thinking, "type", _THINKING)
    if not kind and not others:
        raise Misfit("is missing", "type")
    if not kind:
        return ReasoningWish(effort=effort) if effort else None
    if kind in ("disabled", "between_tools"):
        if effort:
            losses.soften("output_config.effort")
        return ReasoningWish(budget=0)
    show = maybe_string(thinking, "display") != "omitted"  # else summarized, or the beta's updates
    if kind == "adaptive":
        return ReasoningWish(effort=effort, budget=None if effort else -1, show=show, sealed=True)
    if thinking.get("budget_tokens") is None:
        raise Misfit("is missing", "budget_tokens")
    budget = maybe_whole(thinking, "budget_tokens", 1024)
    return ReasoningWish(effort=effort, budget=budget, show=show, sealed=True)
