"""Calls of the common form as Chat Completions has them, for OpenAI and for servers with quirks."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openai.types.chat.completion_create_params import (
    CompletionCreateParamsNonStreaming,
    CompletionCreateParamsStreaming,
)
from pydantic import TypeAdapter

from shin_gateway.errors import Invalid
from shin_gateway.providers import Providers
from shin_gateway.translation.form import (
    Builtin,
    BuiltinTool,
    Chat,
    Media,
    Message,
    OutputFormat,
    Reasoning,
    ReasoningWish,
    Refused,
    Text,
    Tool,
    ToolChoice,
    ToolResult,
    ToolUse,
)
from shin_gateway.translation.losses import Losses
from shin_gateway.translation.translator import Traits
from tests.translation.openai_chat.kit import CHAT, read, written

WHOLE: TypeAdapter[Any] = TypeAdapter(CompletionCreateParamsNonStreaming)
STREAMED: TypeAdapter[Any] = TypeAdapter(CompletionCreateParamsStreaming)


def messages(*given: Message, **traits: Any) -> Any:
    return written(Chat(model="gpt-4o", messages=list(given)), **traits)["messages"]


def user(*parts: Any) -> Message:
    return Message(role="user", parts=list(parts))


def assistant(*parts: Any) -> Message:
    return Message(role="assistant", parts=list(parts))


def asked(
    losses: Losses | None = None, model: str = "gpt-4o", traits: dict[str, Any] | None = None, **fields: Any
) -> Any:
    chat = Chat(model=model, messages=[user(Text(text="hi"))], **fields)
    return written(chat, losses, **(traits or {}))


def row(name: str, model: str = "m") -> Traits:
    found = Providers.load().get(name)
    assert found is not None
    quirks = found.quirks
    return Traits(provider=name, model=model, drop=quirks.drop, rename=quirks.rename, words=quirks.words)


EVERYTHING = Chat(
    model="my-deployment",
    messages=[
        Message(role="developer", parts=[Text(text="d")]),
        user(Text(text="look"), Media(kind="image", mime="image/png", data="AAAA", detail="low")),
        user(
            Media(kind="document", data="AAAA", mime="application/pdf"),
            Media(kind="audio", data="AAAA", mime="audio/wav"),
        ),
        assistant(
            Text(text="ok"),
            ToolUse(id="a", name="f", arguments='{"x":1}'),
            ToolUse(id="b", name="c", arguments="z", custom=True),
        ),
        user(
            ToolResult(id="a", parts=[Text(text="1"), Media(kind="image", url="https://e.org/i.png")]),
            ToolResult(id="b", parts=[Text(text="no")], is_error=True, custom=True),
            Text(text="go on"),
        ),
        assistant(Refused(text="no")),
    ],
    tools=[
        Tool(name="f", description="d", schema={"type": "object"}, strict=True),
        Tool(name="c", custom=True, format={"type": "grammar", "syntax": "lark", "definition": "x"}),
    ],
    tool_choice=ToolChoice(mode="auto", allowed=["f", "c"]),
    parallel_tools=False,
    builtin_tools=[BuiltinTool(kind="web_search", raw={}, origin="x", location={"city": "Bern"}, context_size="low")],
    max_tokens=9,
    temperature=0.5,
    top_p=0.5,
    stop=["a"],
    n=2,
    seed=1,
    logprobs=2,
    logit_bias={"1": 5},
    frequency_penalty=1,
    presence_penalty=1,
    output=OutputFormat(kind="schema", schema={"type": "object"}, strict=True, description="d"),
    verbosity="low",
    modalities=["text", "audio"],
    audio={"voice": "alloy", "format": "wav"},
    user="u",
    metadata={"a": "b"},
    service_tier="flex",
    store=True,
    cache_key="k",
    prediction={"type": "content", "content": "x"},
    safety_identifier="s",
)


def test_everything_is_what_the_sdk_takes() -> None:
    losses = Losses()
    body = written(EVERYTHING, losses)
    WHOLE.validate_python(body, strict=True, extra="forbid")
    assert losses.dropped == ()
    assert body["max_completion_tokens"] == 9
    assert body["tool_choice"]["allowed_tools"]["tools"][1] == {"type": "custom", "custom": {"name": "c"}}
    assert body["tools"][1]["custom"]["format"] == {"type": "grammar", "grammar": {"syntax": "lark", "definition": "x"}}
    assert body["web_search_options"]["user_location"] == {"type": "approximate", "approximate": {"city": "Bern"}}


def test_there_and_back_keeps_meaning() -> None:
    first = written(EVERYTHING)
    assert written(CHAT.read_call(first, "", Losses())) == first


def test_results_of_tools_come_first_and_pictures_after() -> None:
    found = messages(
        assistant(ToolUse(id="a", name="f")),
        user(
            Text(text="go"),
            ToolResult(id="a", parts=[Text(text="1"), Media(kind="image", data="AAAA", mime="image/png")]),
        ),
    )
    assert [one["role"] for one in found] == ["assistant", "tool", "user"]
    assert found[1] == {"role": "tool", "tool_call_id": "a", "content": "1"}
    assert [entry["type"] for entry in found[2]["content"]] == ["text", "image_url", "text"]


def test_an_error_of_a_tool_is_said_in_words() -> None:
    results = [ToolResult(id="a", parts=[Text(text="boom")], is_error=True)]
    assert messages(user(*results))[0]["content"] == "Error: boom"


def test_an_assistant_that_only_calls() -> None:
    call = messages(assistant(ToolUse(id="a", name="f")))[0]
    assert call["content"] is None
    assert call["tool_calls"][0]["function"] == {"name": "f", "arguments": "{}"}
    assert messages(assistant())[0] == {"role": "assistant", "content": ""}


def test_what_cannot_be_said_is_reported() -> None:
    losses = Losses()
    chat = Chat(
        model="gpt-4o",
        messages=[
            user(Media(kind="video", url="https://e.org/v.mp4"), Text(text="t", cache="5m")),
            user(Media(kind="image", file_id="x", origin="anthropic.messages")),
            assistant(Reasoning(text="why", seal="s", origin="anthropic.messages"), Builtin(kind="web_search", raw=[])),
        ],
        top_k=5,
        stop=["a", "b", "c", "d", "e"],
        safety_settings=[{}],
        builtin_tools=[BuiltinTool(kind="url_context", raw={}, origin="gemini.generate")],
    )
    body = written(chat, losses)
    assert set(losses.dropped) == {
        "messages.content.video",
        "messages.content.image",
        "messages.content.server_tools",
        "cache_control",
        "messages.reasoning",
        "top_k",
        "stop",
        "safety_settings",
        "tools.url_context",
    }
    assert body["stop"] == ["a", "b", "c", "d"]
    with pytest.raises(Invalid) as caught:
        written(chat, Losses(refuse=True))
    assert caught.value.status == 400


def test_a_stream_is_asked_for_usage() -> None:
    body = asked(stream=True)
    STREAMED.validate_python(body, strict=True)
    assert body["stream_options"] == {"include_usage": True}


@pytest.mark.parametrize(
    ("model", "wish", "kept", "effort"),
    [
        ("gpt-4o", ReasoningWish(effort="high"), True, None),
        ("o3-mini", ReasoningWish(effort="minimal"), False, "low"),
        ("o1", None, False, None),
        ("gpt-5", ReasoningWish(budget=0), False, "minimal"),
        ("gpt-5-mini", ReasoningWish(budget=30000), False, "high"),
        ("gpt-5.1", None, True, None),
        ("gpt-5.1", ReasoningWish(effort="none"), True, "none"),
        ("gpt-5.2", ReasoningWish(effort="max"), False, "xhigh"),
        ("gpt-5-chat-latest", None, True, None),
        ("openai/gpt-5", ReasoningWish(effort="high"), False, "high"),
        ("openai/gpt-oss-120b", ReasoningWish(effort="max"), True, "high"),
        ("llama", ReasoningWish(effort="high"), True, "high"),
    ],
)
def test_models_that_think(model: str, wish: ReasoningWish | None, kept: bool, effort: str | None) -> None:
    losses = Losses()
    body = asked(losses, model, temperature=0.2, top_p=1, reasoning=wish)
    assert ("temperature" in body) is kept
    assert ("temperature" in losses.dropped) is not kept
    assert body.get("reasoning_effort") == effort
    assert "top_p" not in losses.dropped  # 1 is the default


@pytest.mark.parametrize(
    ("model", "dropped"),
    [
        ("gpt-4o", ("verbosity",)),
        ("gpt-5-chat-latest", ("verbosity",)),
        ("o3", ("stop", "verbosity")),
        ("gpt-5", ("stop",)),
        ("gpt-5.2", ("stop",)),
        ("gpt-oss-20b", ()),
        ("my-deployment", ()),
    ],
)
def test_models_take_stop_and_verbosity_or_do_not(model: str, dropped: tuple[str, ...]) -> None:
    losses = Losses()
    body = asked(losses, model, stop=["x"], verbosity="low")
    assert losses.dropped == dropped
    assert {"stop", "verbosity"} - body.keys() == set(dropped)
    assert asked(losses, "gpt-4o", verbosity="medium") and losses.dropped == dropped


def test_the_limit_is_the_models() -> None:
    losses = Losses()
    assert asked(losses, max_tokens=64000, traits={"max_output": 16384})["max_completion_tokens"] == 16384
    assert losses.dropped == ("max_tokens",)


def test_json_has_to_be_mentioned() -> None:
    body = asked(output=OutputFormat(kind="json"))
    assert body["response_format"] == {"type": "json_object"}
    assert "JSON" in body["messages"][0]["content"]


def test_names_that_do_not_fit_are_fitted_everywhere() -> None:
    chat = Chat(
        model="m",
        messages=[assistant(ToolUse(id="a", name="ns.f:x"))],
        tools=[Tool(name="ns.f:x")],
        tool_choice=ToolChoice(mode="named", name="ns.f:x"),
    )
    body = written(chat)
    name = body["tools"][0]["function"]["name"]
    assert name.startswith("ns_f_x_")
    assert body["tool_choice"]["function"]["name"] == name
    assert body["messages"][0]["tool_calls"][0]["function"]["name"] == name


# Servers with quirks, as the rows have them


def fitted(provider: str, chat: Chat = EVERYTHING, model: str = "m", losses: Losses | None = None) -> Any:
    return CHAT.write_call(chat, row(provider, model), losses or Losses())


def test_mistral() -> None:
    losses = Losses()
    body = fitted("mistral", losses=losses)
    known = {
        "model",
        "messages",
        "temperature",
        "top_p",
        "max_tokens",
        "stop",
        "random_seed",
        "response_format",
        "tools",
        "tool_choice",
        "presence_penalty",
        "frequency_penalty",
        "n",
        "prediction",
        "parallel_tool_calls",
        "metadata",
    }
    assert body.keys() <= known
    assert {"logprobs", "logit_bias", "user", "verbosity"} <= set(losses.dropped)
    assert body["messages"][0]["role"] == "system"
    roles = [one["role"] for one in body["messages"]]
    assert all(pair != ("tool", "user") for pair in pairwise(roles))
    calls = body["messages"][3]["tool_calls"]
    assert [len(call["id"]) for call in calls] == [9, 9]
    assert body["messages"][4]["tool_call_id"] == calls[0]["id"]
    chosen = Chat(messages=[user(Text(text="a"))], tools=[Tool(name="f")], tool_choice=ToolChoice(mode="required"))
    assert fitted("mistral", chosen)["tool_choice"] == "any"
    thought = Chat(messages=[assistant(Reasoning(text="why"), Text(text="so"))])
    assert fitted("mistral", thought)["messages"][0]["content"][0]["type"] == "thinking"


def test_groq() -> None:
    losses = Losses()
    body = fitted("groq", losses=losses)
    assert not body.keys() & {"logprobs", "top_logprobs", "logit_bias", "n"}
    assert {"logprobs", "logit_bias", "n"} <= set(losses.dropped)
    losses = Losses()
    named = Chat(
        messages=[Message(role="user", parts=[Text(text="a")], name="bob")], n=1, reasoning=ReasoningWish(effort="max")
    )
    body = fitted("groq", named, "qwen/qwen3-32b", losses)
    assert losses.dropped == ("messages.name", "reasoning")
    assert body["reasoning_format"] == "parsed" and "reasoning_effort" not in body
    quiet = Chat(messages=named.messages, reasoning=ReasoningWish(effort="none", show=False))
    body = fitted("groq", quiet, "qwen/qwen3-32b")
    assert (body["reasoning_format"], body["reasoning_effort"]) == ("hidden", "none")
    unasked = Chat(messages=named.messages)
    assert fitted("groq", unasked, "qwen/qwen3-32b")["reasoning_format"] == "parsed"  # else thoughts are in the text
    assert "reasoning_format" not in fitted("groq", unasked, "openai/gpt-oss-20b")


@pytest.mark.parametrize(
    ("provider", "model", "effort", "written"),
    [
        ("groq", "openai/gpt-oss-120b", "none", "low"),
        ("groq", "openai/gpt-oss-120b", "xhigh", "high"),
        ("groq", "llama-3.3-70b-versatile", "high", None),
        ("mistral", "mistral-large-4", "low", "high"),
        ("mistral", "mistral-small-latest", "medium", "high"),
        ("mistral", "codestral-latest", "high", None),
        ("xai", "grok-4.3", "none", "none"),
        ("xai", "grok-4.5", "none", "low"),
        ("xai", "grok-3-mini", "medium", "low"),
        ("xai", "grok-4.20-reasoning", "high", None),
        ("deepseek", "deepseek-chat", "medium", "low"),
        ("ollama", "gpt-oss:20b", "high", "high"),
        ("ollama", "llama3.2", "high", None),
        ("generic", "gpt-oss-20b", "minimal", "low"),
        ("openai", "gpt-5-pro", "low", "high"),
    ],
)
def test_efforts_that_servers_take(provider: str, model: str, effort: Any, written: str | None) -> None:
    body = fitted(provider, Chat(messages=[], reasoning=ReasoningWish(effort=effort)), model)
    assert body.get("reasoning_effort") == written


def test_deepseek() -> None:
    body = fitted("deepseek")
    assert body["max_tokens"] == 9 and "max_completion_tokens" not in body
    assert body["response_format"] == {"type": "json_object"}
    assert '{"type":"object"}' in body["messages"][1]["content"]
    chat = Chat(
        messages=[assistant(Reasoning(text="why"), ToolUse(id="a", name="f"))], reasoning=ReasoningWish(effort="medium")
    )
    body = fitted("deepseek", chat)
    assert body["messages"][0]["reasoning_content"] == "why"
    assert (body["thinking"], body["reasoning_effort"]) == ({"type": "enabled"}, "low")
    assert fitted("deepseek", Chat(messages=[], reasoning=ReasoningWish(budget=0)))["thinking"] == {"type": "disabled"}


def test_openrouter() -> None:
    chat = Chat(
        model="anthropic/claude-sonnet-4.5",
        messages=[
            assistant(
                Reasoning(text="why", seal='{"type":"reasoning.text","signature":"s","index":0}', origin="openai.chat")
            )
        ],
        reasoning=ReasoningWish(budget=2000, show=False),
        top_k=3,
    )
    body = fitted("openrouter", chat)
    assert body["reasoning"] == {"max_tokens": 2000, "exclude": True}
    assert body["top_k"] == 3
    assert body["messages"][0]["reasoning_details"] == [
        {"type": "reasoning.text", "signature": "s", "index": 0, "text": "why"}
    ]


def test_xai() -> None:
    losses = Losses()
    body = fitted("xai", model="grok-4", losses=losses)
    assert not body.keys() & {"presence_penalty", "frequency_penalty", "stop", "reasoning_effort"}
    assert {"presence_penalty", "frequency_penalty", "stop"} <= set(losses.dropped)
    wished = Chat(messages=[], reasoning=ReasoningWish(effort="minimal"), stop=["a"])
    assert fitted("xai", wished, "grok-4.3")["reasoning_effort"] in ("none", "low")
    assert "reasoning_effort" not in fitted("xai", wished, "grok-4")
    assert fitted("xai", wished, "grok-4.20-non-reasoning")["stop"] == ["a"]


def test_ids_that_are_too_long() -> None:
    long = "toolu_" + "x" * 60
    turns = [assistant(ToolUse(id=long, name="f")), user(ToolResult(id=long, parts=[Text(text="1")]))]
    metadata = {str(n): "v" for n in range(20)}
    losses = Losses()
    chat = Chat(model="m", messages=turns, user="u" * 150, cache_key="k", metadata=metadata, store=True)
    body = written(chat, losses)
    id = body["messages"][0]["tool_calls"][0]["id"]
    assert len(id) == 40 and id == body["messages"][1]["tool_call_id"]
    assert len(body["user"]) <= 64 and body["prompt_cache_key"] == "k"
    assert len(body["metadata"]) == 16 and losses.dropped == ("metadata",)


def test_what_the_api_cannot_say_leaves_no_empty_message() -> None:
    step = Builtin(kind="web_search", raw=[{}], origin="x")
    turns = [user(Text(text="a")), assistant(step), Message(role="user", parts=[step]), assistant(Reasoning(text="r"))]
    body = written(Chat(model="m", messages=[*turns, assistant(step, Text(text="b")), user(Text(text=""))]))
    assert [(one["role"], one["content"]) for one in body["messages"]] == [
        ("user", "a"),
        ("assistant", "b"),
        ("user", ""),
    ]


def test_copilots_thoughts_go_back_as_they_came() -> None:
    thought = Reasoning(text="why", seal='{"reasoning_opaque":"op"}', origin="openai.chat")
    chat = Chat(messages=[assistant(thought, Text(text="so"))])
    body = written(chat, words={"past_reasoning": "reasoning_text"})
    assert body["messages"] == [
        {"role": "assistant", "content": "so", "reasoning_text": "why", "reasoning_opaque": "op"}
    ]


def test_a_server_that_wants_its_signatures_back() -> None:
    chat = Chat(messages=[assistant(ToolUse(id="a", name="f", seal="sig", origin="gemini.generate"))])
    call = written(chat, words={"tool_seals": "yes"})["messages"][0]["tool_calls"][0]
    assert call["extra_content"] == {"google": {"thought_signature": "sig"}}
    assert "extra_content" not in written(chat)["messages"][0]["tool_calls"][0]


def test_ollama_and_others() -> None:
    for provider in ("ollama", "generic"):
        body = fitted(provider)
        assert body["max_tokens"] == 9
        assert body["messages"][0]["role"] == "system"
        assert all(tool["type"] == "function" for tool in body["tools"])
        assert not body.keys() & {"store", "metadata", "service_tier", "web_search_options"}
    wished = Chat(messages=[], reasoning=ReasoningWish(effort="high"))
    assert "reasoning_effort" not in fitted("ollama", wished, "llama3.2")
    assert fitted("ollama", wished, "gpt-oss:20b")["reasoning_effort"] == "high"


def test_openai_keeps_metadata_only_of_what_it_stores() -> None:
    losses = Losses()
    assert "metadata" not in fitted("openai", Chat(messages=[], metadata={"a": "b"}), losses=losses)
    assert losses.dropped == ("metadata",)


@pytest.mark.parametrize("provider", [one.name for one in Providers.load() if "openai.chat" in one.dialects])
def test_every_row_gets_a_call_that_the_sdk_takes(provider: str) -> None:
    body = fitted(provider)
    ours = {"reasoning", "thinking", "reasoning_format", "top_k", "random_seed"}
    WHOLE.validate_python({key: value for key, value in body.items() if key not in ours})
    assert CHAT.read_call(body, "", Losses()).messages


TEXTS = st.text(max_size=8)
PARTS = st.one_of(
    st.builds(Text, text=TEXTS, cache=st.sampled_from(["", "5m", "1h"])),
    st.builds(
        Media,
        kind=st.sampled_from(["image", "document", "audio", "video"]),
        data=TEXTS,
        url=TEXTS,
        mime=TEXTS,
        text=TEXTS,
    ),
    st.builds(ToolUse, id=TEXTS, name=TEXTS, arguments=TEXTS, custom=st.booleans(), seal=TEXTS, origin=TEXTS),
    st.builds(ToolResult, id=TEXTS, parts=st.lists(st.builds(Text, text=TEXTS), max_size=2), is_error=st.booleans()),
    st.builds(Reasoning, text=TEXTS, seal=TEXTS, origin=st.sampled_from(["openai.chat", "x"])),
    st.builds(Refused, text=TEXTS),
    st.builds(Builtin, kind=TEXTS, raw=st.just([])),
)
MESSAGES = st.builds(
    Message, role=st.sampled_from(["system", "developer", "user", "assistant"]), parts=st.lists(PARTS, max_size=4)
)


@settings(max_examples=150, deadline=None)
@given(st.lists(MESSAGES, max_size=4), st.sampled_from([one.name for one in Providers.load()]))
def test_any_chat_can_be_written(given_messages: list[Message], provider: str) -> None:
    CHAT.write_call(Chat(model="m", messages=given_messages), row(provider), Losses())


@settings(max_examples=100, deadline=None)
@given(st.lists(TEXTS, min_size=1, max_size=5), st.floats(0, 2), st.integers(1, 10**6))
def test_texts_there_and_back(texts: list[str], temperature: float, limit: int) -> None:
    body = {
        "messages": [{"role": "user", "content": text} for text in texts],
        "temperature": temperature,
        "max_completion_tokens": limit,
    }
    again = written(read(body))
    assert again == {"model": "m", **body}
