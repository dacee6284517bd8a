"""Every field of a call, message, entry and tool that the official client has a type for: read, or named as lost."""

from __future__ import annotations

import json
from typing import Any

import pytest
import typing_extensions
from openai.types.chat import ChatCompletionMessageParam
from openai.types.chat.chat_completion_assistant_message_param import ChatCompletionAssistantMessageParam
from openai.types.chat.chat_completion_content_part_param import ChatCompletionContentPartParam
from openai.types.chat.chat_completion_tool_choice_option_param import ChatCompletionToolChoiceOptionParam
from openai.types.chat.chat_completion_tool_union_param import ChatCompletionToolUnionParam
from openai.types.chat.completion_create_params import CompletionCreateParamsBase, ResponseFormat
from openai.types.completion_create_params import CompletionCreateParamsBase as LegacyParams

from shin_gateway.translation.dialects import CHATS, translator
from shin_gateway.translation.form import Chat
from shin_gateway.translation.losses import Losses
from shin_gateway.translation.translator import Traits
from tests.translation.openai_chat.kit import read
from tests.translation.openai_responses.examples import example, members

Json = dict[str, Any]
UNHEARD = Chat(model="m")
FITTING = {
    "url": "data:image/png;base64,iVBORw0KGgo=",
    "data": "AAAA",
    "image_url": {"url": "https://e.example/i.png"},
    "file": {"file_id": "file-1"},
    "tool_call_id": "call_1",
}
LOSSY = {"moderation"}
SAID = {
    "messages": [{"role": "user", "content": "hi"}],
    "reasoning_effort": "low",
    "top_logprobs": 2,
    "stop": "x",
    "logit_bias": {"1": 1},
    "metadata": {"a": "b"},
    "stream_options": {"include_usage": True},
    "modalities": ["text", "audio"],
    "functions": [{"name": "f"}],
    "function_call": "auto",
    "tool_choice": "auto",
    "tools": [{"type": "function", "function": {"name": "f"}}],
    "response_format": {"type": "json_object"},
    "verbosity": "low",
    "service_tier": "flex",
    "prompt_cache_retention": "24h",
    "n": 2,
    "max_tokens": 5,
    "max_completion_tokens": 5,
    "prompt": "hi",
    "best_of": 3,
    "logprobs": True,
}


def fitting(value: Any) -> Any:
    """An example with words where the type alone is not enough."""
    if isinstance(value, dict):
        return {key: FITTING.get(key, fitting(one)) for key, one in value.items()}
    return [fitting(one) for one in value] if isinstance(value, list) else value


def fields(params: Any) -> dict[str, Any]:
    """What each field may hold; True where the example would be null."""
    hints = typing_extensions.get_type_hints(params, include_extras=True)
    return {name: SAID.get(name, example(hint) or True) for name, hint in hints.items()}


@pytest.mark.parametrize("name", sorted(set(fields(CompletionCreateParamsBase)) - {"messages", "model"}))
def test_a_field_is_read_or_named(name: str) -> None:
    values = fields(CompletionCreateParamsBase)
    losses = Losses()
    value = values[name]
    if value is True and name in ("frequency_penalty", "presence_penalty", "temperature", "top_p", "seed"):
        value = 1
    if value is True and name in ("audio", "prediction", "web_search_options", "moderation", "prompt_cache_options"):
        value = {"type": "content"} if name == "prediction" else {}
    if value is True and name in ("user", "safety_identifier", "prompt_cache_key"):
        value = "u"
    chat = read({name: value}, losses)
    chat.messages = []
    assert (chat != UNHEARD) is not bool(losses.dropped), (value, losses.dropped)
    assert all(dropped.startswith(name) for dropped in losses.dropped)


@pytest.mark.parametrize("name", sorted(set(fields(LegacyParams)) - {"prompt", "model"}))
def test_a_field_of_the_legacy_api(name: str) -> None:
    value = {"logprobs": 2, "user": "u", "suffix": "s"}.get(name, fields(LegacyParams)[name])
    if value is True and name not in ("echo", "stream"):
        value = 1
    losses = Losses()
    chat = translator("openai.completions").read_call({"model": "m", "prompt": "a", name: value}, "", losses)
    chat.messages = []
    assert (chat != UNHEARD) is not bool(losses.dropped), (value, losses.dropped)


@pytest.mark.parametrize("message", [fitting(example(one)) for one in members(ChatCompletionMessageParam)], ids=str)
def test_messages(message: Json) -> None:
    call = {"id": "call_1", "type": "function", "function": {"name": "x", "arguments": "{}"}}
    before = {
        "tool": [{"role": "assistant", "tool_calls": [call]}],
        "function": [{"role": "assistant", "function_call": call["function"]}],
    }
    losses = Losses()
    chat = read({"messages": [*before.get(message["role"], []), {"content": "x", **message}]}, losses)
    assert losses.dropped == ()
    for target in CHATS:
        assert json.dumps(translator(target).write_call(chat, Traits(model="m"), Losses()))


def test_every_field_of_an_assistant() -> None:
    known = typing_extensions.get_type_hints(ChatCompletionAssistantMessageParam)
    losses = Losses()
    read({"messages": [dict.fromkeys(known) | {"role": "assistant", "content": "a"}]}, losses)
    message = {"role": "assistant", "content": "a", "refusal": "b", "name": "n", "audio": {"id": "a"}}
    read({"messages": [message]}, losses)
    assert losses.dropped == ()


@pytest.mark.parametrize("part", [fitting(example(one)) for one in members(ChatCompletionContentPartParam)], ids=str)
def test_entries(part: Json) -> None:
    losses = Losses()
    (found,) = read({"messages": [{"role": "user", "content": [part]}]}, losses).messages[0].parts
    assert losses.dropped == () and found


@pytest.mark.parametrize("tool", [example(one) for one in members(ChatCompletionToolUnionParam)], ids=str)
def test_tools(tool: Json) -> None:
    losses = Losses()
    assert read({"tools": [tool]}, losses).tools and losses.dropped == ()


@pytest.mark.parametrize("choice", [example(one) for one in members(ChatCompletionToolChoiceOptionParam)], ids=str)
def test_choices(choice: Any) -> None:
    if isinstance(choice, dict) and "allowed_tools" in choice:
        choice["allowed_tools"]["tools"] = [{"type": "function", "function": {"name": "f"}}]
    assert read({"tool_choice": choice}).tool_choice is not None


@pytest.mark.parametrize("format", [example(one) for one in members(ResponseFormat)], ids=str)
def test_formats(format: Json) -> None:
    assert read({"response_format": format}).output is not None
