"""Calls of Chat Completions into the common form.

Source: developers.openai.com/api/reference/resources/chat/subresources/completions/methods/create, and what
compatible servers add: `top_k`, `reasoning` (OpenRouter), `thinking` (DeepSeek), `extra_body.google` (Gemini).
"""

from __future__ import annotations

from typing import Any, get_args

from shin_gateway.dialects.heads import model_in_path
from shin_gateway.translation.form import Chat, Effort, ReasoningWish
from shin_gateway.translation.losses import Losses
from shin_gateway.translation.openai_chat.messages_in import MessageReader, plain
from shin_gateway.translation.openai_chat.tools_in import read_choice, read_output, read_search, read_tools
from shin_gateway.translation.openai_common import (
    Misfit,
    maybe_flag,
    maybe_list,
    maybe_number,
    maybe_record,
    maybe_string,
    maybe_whole,
    one_of,
)

Json = dict[str, Any]

_EFFORTS: tuple[str, ...] = get_args(Effort)
_DEFAULT = "default"
"""Groq's word for what the model does unasked."""
_CHEAPER = ("prompt_cache_options", "prompt_cache_retention")
_KNOWN = frozenset(
    {"messages", "model", "stream", "stream_options", "audio", "modalities", "prediction", "metadata", "store"}
    | {"max_tokens", "max_completion_tokens", "temperature", "top_p", "top_k", "frequency_penalty", "presence_penalty"}
    | {"n", "seed", "stop", "logprobs", "top_logprobs", "logit_bias", "response_format", "verbosity"}
    | {"tools", "functions", "tool_choice", "function_call", "parallel_tool_calls", "web_search_options"}
    | {"reasoning_effort", "reasoning", "thinking", "extra_body", "include_reasoning"}
    | {"user", "safety_identifier", "service_tier", "prompt_cache_key", *_CHEAPER}
)


def read_call(body: Json, path: str, losses: Losses) -> Chat:
    """Raises Invalid, which names the field."""
    try:
        if not isinstance(body, dict):
            raise Misfit("must be a JSON object")
        chat = _read(body, losses)
    except Misfit as wrong:
        raise wrong.invalid() from None
    chat.model = chat.model or model_in_path(path) or ""
    return chat


def _read(body: Json, losses: Losses) -> Chat:
    tools, builtin = read_tools(body, losses)
    if (search := read_search(body, losses)) is not None:
        builtin.append(search)
    chat = Chat(
        model=maybe_string(body, "model"),
        messages=MessageReader(losses).read(body.get("messages")),
        tools=tools,
        builtin_tools=builtin,
        tool_choice=read_choice(body),
        parallel_tools=maybe_flag(body, "parallel_tool_calls"),
        output=read_output(body),
        reasoning=read_wish(body),
    )
    _sampling(body, chat)
    _rest(body, chat, losses)
    report_unknown(body, _KNOWN, losses)
    return chat


def report_unknown(body: Json, known: frozenset[str], losses: Losses) -> None:
    for name in body.keys() - known:
        if body[name] is not None:
            losses.drop(plain(name))


def _sampling(body: Json, chat: Chat) -> None:
    limit = maybe_whole(body, "max_completion_tokens", 1)
    older = maybe_whole(body, "max_tokens", 1)
    chat.max_tokens = limit if limit is not None else older
    chat.logprobs = _logprobs(body)
    read_sampling(body, chat)


def read_sampling(body: Json, chat: Chat) -> None:
    """What the legacy API has in common. Raises Misfit."""
    chat.temperature = maybe_number(body, "temperature", 0, 2)
    chat.top_p = maybe_number(body, "top_p", 0, 1)
    chat.top_k = maybe_whole(body, "top_k", -1) or None
    if chat.top_k == -1:  # vLLM's word for all
        chat.top_k = None
    chat.frequency_penalty = maybe_number(body, "frequency_penalty", -2, 2)
    chat.presence_penalty = maybe_number(body, "presence_penalty", -2, 2)
    chat.n = maybe_whole(body, "n", 1, 128)
    chat.seed = maybe_whole(body, "seed", -(2**63), 2**63)
    chat.stop = _stop(body)
    chat.logit_bias = _bias(body)
    chat.stream = maybe_flag(body, "stream") or False
    chat.user = maybe_string(body, "user")


def _logprobs(body: Json) -> int | None:
    wanted, top = maybe_flag(body, "logprobs"), maybe_whole(body, "top_logprobs", 0, 20)
    if wanted is False or (wanted is None and not top):
        return None
    return top or 0


def _stop(body: Json) -> list[str]:
    value = body.get("stop")
    texts = [value] if isinstance(value, str) else maybe_list(body, "stop")
    for index, text in enumerate(texts):
        if not isinstance(text, str):
            raise Misfit("must be a string", "stop", index)
    return [text for text in texts if text]


def _bias(body: Json) -> dict[str, float]:
    bias = maybe_record(body, "logit_bias") or {}
    for token in bias:
        try:
            maybe_number(bias, token, -100, 100)
        except Misfit as wrong:
            raise Misfit(wrong.problem, "logit_bias") from None
    return {token: value for token, value in bias.items() if value is not None}


def _rest(body: Json, chat: Chat, losses: Losses) -> None:
    chat.verbosity = one_of(body, "verbosity", ("low", "medium", "high"))
    chat.modalities = _modalities(body)
    chat.audio = maybe_record(body, "audio")
    chat.metadata = _metadata(body)
    chat.service_tier = maybe_string(body, "service_tier")
    chat.store = maybe_flag(body, "store")
    chat.cache_key = maybe_string(body, "prompt_cache_key")
    chat.prediction = maybe_record(body, "prediction")
    chat.safety_identifier = maybe_string(body, "safety_identifier")
    chat.stream_usage = read_stream_usage(body, losses)
    for name in _CHEAPER:
        if body.get(name) is not None:
            losses.soften(name)


def read_stream_usage(body: Json, losses: Losses) -> bool:
    options = maybe_record(body, "stream_options") or {}
    try:
        usage = maybe_flag(options, "include_usage") or False
    except Misfit as wrong:
        raise wrong.within("stream_options") from None
    for name in options.keys() - {"include_usage"}:
        losses.soften(f"stream_options.{plain(name)}")
    return usage


def _modalities(body: Json) -> list[str]:
    words = maybe_list(body, "modalities")
    for index, word in enumerate(words):
        if not isinstance(word, str):
            raise Misfit("must be a string", "modalities", index)
    return [word.lower() for word in words]


def _metadata(body: Json) -> dict[str, str]:
    metadata = maybe_record(body, "metadata") or {}
    for value in metadata.values():
        if not isinstance(value, str):
            raise Misfit("must be an object of strings", "metadata")
    return metadata


def read_wish(body: Json) -> ReasoningWish | None:
    """How much to think, in the words of OpenAI, OpenRouter, DeepSeek or Gemini. Raises Misfit."""
    effort: Any = one_of(body, "reasoning_effort", (*_EFFORTS, _DEFAULT))
    wish = ReasoningWish(effort=effort if effort in _EFFORTS else None)
    for name, read in (("reasoning", _openrouter), ("thinking", _thinking), ("extra_body", _gemini)):
        inner = maybe_record(body, name) if isinstance(body.get(name), dict) or name != "extra_body" else None
        if inner:
            try:
                read(inner, wish)
            except Misfit as wrong:
                raise wrong.within(name) from None
    if (shown := maybe_flag(body, "include_reasoning")) is not None:
        wish.show = shown
    return None if wish == ReasoningWish() else wish


def _openrouter(inner: Json, wish: ReasoningWish) -> None:
    """`{effort, max_tokens, exclude, enabled, summary}` (openrouter.ai/docs/use-cases/reasoning-tokens)."""
    effort: Any = one_of(inner, "effort", _EFFORTS) or None
    wish.effort = effort or wish.effort
    wish.budget = maybe_whole(inner, "max_tokens", 0)
    wish.summary = maybe_string(inner, "summary")
    exclude, enabled = maybe_flag(inner, "exclude"), maybe_flag(inner, "enabled")
    if exclude is not None:
        wish.show = not exclude
    if enabled is not None and wish.effort is None and wish.budget is None:
        wish.effort = "medium" if enabled else "none"


def _thinking(inner: Json, wish: ReasoningWish) -> None:
    """`{type: enabled | disabled | adaptive, budget_tokens}` (api-docs.deepseek.com/guides/thinking_mode)."""
    kind = maybe_string(inner, "type")
    budget = maybe_whole(inner, "budget_tokens", 0)
    if kind == "disabled":
        wish.effort = "none"
    elif budget is not None:
        wish.budget = budget
    elif kind and wish.effort is None:
        wish.budget = -1


def _gemini(inner: Json, wish: ReasoningWish) -> None:
    """`{google: {thinking_config: …}}` (ai.google.dev/gemini-api/docs/openai#extra-body)."""
    config = maybe_record(maybe_record(inner, "google") or {}, "thinking_config") or {}
    budget = maybe_whole(config, "thinking_budget", -1)
    level: Any = one_of({"v": maybe_string(config, "thinking_level").lower()}, "v", _EFFORTS) or None
    wish.budget = budget if budget is not None else wish.budget
    wish.effort = level or wish.effort
    shown = maybe_flag(config, "include_thoughts")
    wish.show = shown if shown is not None else wish.show
