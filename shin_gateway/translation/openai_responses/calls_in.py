"""Calls of the Responses API into the common form.

Source: developers.openai.com/api/reference/resources/responses/methods/create. The frame `response.create` of its
WebSocket has the same fields.
"""

from __future__ import annotations

from typing import Any, get_args

from shin_gateway.dialects.heads import model_in_path
from shin_gateway.translation.form import Chat, Effort, Message, ReasoningWish, Text
from shin_gateway.translation.losses import Losses
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
from shin_gateway.translation.openai_responses.items_in import ItemReader
from shin_gateway.translation.openai_responses.names import Json, plain
from shin_gateway.translation.openai_responses.tools_in import ToolReader, read_choice, read_output

_EFFORTS: tuple[str, ...] = get_args(Effort)
_SUMMARIES = ("auto", "concise", "detailed")
_CHEAPER = ("prompt_cache_options", "prompt_cache_retention", "client_metadata")
_FRAME = ("type", "generate", "stream_id")
"""What the WebSocket's frames have besides."""
_READ = frozenset(
    {"input", "instructions", "model", "stream", "stream_options", "tools", "tool_choice", "parallel_tool_calls"}
    | {"max_output_tokens", "max_tool_calls", "temperature", "top_p", "top_logprobs", "text", "reasoning", "include"}
    | {"metadata", "user", "safety_identifier", "prompt_cache_key", "service_tier", "store", "truncation"}
    | {"background", "previous_response_id", "conversation", "prompt", *_CHEAPER, *_FRAME}
)
_KEPT_ELSEWHERE = {
    "previous_response_id": "the reply that it names is not kept here; the addon conversation keeps replies",
    "conversation": "the conversation that it names is not kept here; the addon conversation keeps them",
    "prompt": "prompt templates are kept by OpenAI, and this model is served elsewhere; send instructions and input",
}
_CODES = {"previous_response_id": "previous_response_not_found"}
"""OpenAI's own code, upon which clients send everything again."""
_LOGPROBS = "message.output_text.logprobs"
_SEALED = "reasoning.encrypted_content"


def read_call(body: Json, path: str, losses: Losses) -> Chat:
    """Raises Invalid, which names the field."""
    try:
        if not isinstance(body, dict):
            raise Misfit("must be a JSON object")
        _refuse(body)
        chat = _read(body, losses)
    except Misfit as wrong:
        refusal = wrong.invalid()
        refusal.code = _CODES.get(refusal.param or "", refusal.code)
        raise refusal from None
    chat.model = chat.model or model_in_path(path) or ""
    return chat


def _refuse(body: Json) -> None:
    for name, why in _KEPT_ELSEWHERE.items():
        if body.get(name) is not None:
            raise Misfit(why, name)
    if maybe_flag(body, "background"):
        raise Misfit("this model cannot answer in the background; leave it out, or set it to false", "background")


def _read(body: Json, losses: Losses) -> Chat:
    tools = ToolReader(losses)
    tools.read(body)
    items = ItemReader(tools, losses)
    items.read(body)
    text = maybe_record(body, "text") or {}
    chat = Chat(
        model=maybe_string(body, "model"),
        messages=_instructions(body) + items.messages,
        tools=tools.tools,
        builtin_tools=tools.builtin,
        tool_choice=read_choice(body, losses),
        parallel_tools=maybe_flag(body, "parallel_tool_calls"),
        stream=maybe_flag(body, "stream") or False,
        stream_usage=True,
    )
    _text(text, chat, losses)
    _sampling(body, chat)
    _include(body, chat, losses)
    _wish(body, chat, losses)
    _rest(body, chat)
    _report(body, chat, losses)
    return chat


def _instructions(body: Json) -> list[Message]:
    value = body.get("instructions")
    if value is None or value == "":
        return []
    if not isinstance(value, str):
        raise Misfit("must be a string", "instructions")
    return [Message(role="system", parts=[Text(text=value)])]


def _text(text: Json, chat: Chat, losses: Losses) -> None:
    try:
        chat.output = read_output(text)
        chat.verbosity = one_of(text, "verbosity", ("low", "medium", "high"))
    except Misfit as wrong:
        raise wrong.within("text") from None
    for name in text.keys() - {"format", "verbosity"}:
        losses.drop(f"text.{plain(name)}")


def _sampling(body: Json, chat: Chat) -> None:
    chat.temperature = maybe_number(body, "temperature", 0, 2)
    chat.top_p = maybe_number(body, "top_p", 0, 1)
    chat.max_tokens = maybe_whole(body, "max_output_tokens", 1)
    chat.logprobs = maybe_whole(body, "top_logprobs", 0, 20) or None


def _include(body: Json, chat: Chat, losses: Losses) -> None:
    for at, word in enumerate(maybe_list(body, "include")):
        if not isinstance(word, str):
            raise Misfit("must be a string", "include", at)
        if word == _SEALED:
            chat.reasoning = ReasoningWish(sealed=True)
        elif word == _LOGPROBS:
            chat.logprobs = chat.logprobs or 0
        else:
            losses.drop(f"include.{plain(word)}" if plain(word) == word else "include")


def _wish(body: Json, chat: Chat, losses: Losses) -> None:
    asked = maybe_record(body, "reasoning")
    if not asked:
        return
    wish = chat.reasoning or ReasoningWish()
    try:
        effort: Any = one_of(asked, "effort", _EFFORTS) or None
        wish.effort = effort
        wish.summary = one_of(asked, "summary", _SUMMARIES) or one_of(asked, "generate_summary", _SUMMARIES)
    except Misfit as wrong:
        raise wrong.within("reasoning") from None
    wish.show = True if wish.summary else None
    for name in asked.keys() - {"effort", "summary", "generate_summary"}:
        if asked[name] is not None:
            losses.soften(f"reasoning.{plain(name)}")
    chat.reasoning = wish


def _rest(body: Json, chat: Chat) -> None:
    chat.metadata = _metadata(body)
    chat.user = maybe_string(body, "user")
    chat.safety_identifier = maybe_string(body, "safety_identifier")
    chat.cache_key = maybe_string(body, "prompt_cache_key")
    chat.service_tier = maybe_string(body, "service_tier")
    chat.store = maybe_flag(body, "store")


def _metadata(body: Json) -> dict[str, str]:
    metadata = maybe_record(body, "metadata") or {}
    for value in metadata.values():
        if not isinstance(value, str):
            raise Misfit("must be an object of strings", "metadata")
    return metadata


def _report(body: Json, chat: Chat, losses: Losses) -> None:
    """What goes no further."""
    if one_of(body, "truncation", ("auto", "disabled")) == "auto":
        losses.drop("truncation")
    _limit_steps(maybe_whole(body, "max_tool_calls", 0), chat, losses)
    options = maybe_record(body, "stream_options") or {}
    for name in options:
        losses.soften(f"stream_options.{plain(name)}")
    for name in _CHEAPER:
        if body.get(name) is not None:
            losses.soften(name)
    for name in body.keys() - _READ:
        if body[name] is not None:
            losses.drop(plain(name))


def _limit_steps(limit: int | None, chat: Chat, losses: Losses) -> None:
    """`max_tool_calls` is for all built-in tools together; other APIs limit each."""
    if limit is None or not chat.builtin_tools:
        return
    if len(chat.builtin_tools) == 1 and limit:
        chat.builtin_tools[0].max_uses = limit
    else:
        losses.drop("max_tool_calls")
