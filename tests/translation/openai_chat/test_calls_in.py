"""Calls of Chat Completions into the common form. Bodies made from OpenAI's API reference and guides."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shin_gateway.errors import Invalid
from shin_gateway.translation.form import (
    Media,
    OutputFormat,
    Reasoning,
    ReasoningWish,
    Refused,
    Text,
    ToolChoice,
    ToolResult,
    ToolUse,
)
from shin_gateway.translation.losses import Losses
from shin_gateway.translation.seals import Parcel, pack
from tests.translation.openai_chat.kit import CHAT, read

PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg=="


def call_of(id: str, name: str = "f", arguments: str = "{}") -> dict[str, Any]:
    return {"id": id, "type": "function", "function": {"name": name, "arguments": arguments}}


def parts(*content: Any, role: str = "user") -> Any:
    return read({"messages": [{"role": role, "content": list(content)}]}).messages[0].parts


def test_roles_texts_and_names() -> None:
    chat = read(
        {
            "messages": [
                {"role": "developer", "content": "d"},
                {"role": "system", "content": [{"type": "text", "text": "s"}], "name": "boss"},
                {"role": "user", "content": "u"},
                {"role": "assistant", "content": "a"},
            ]
        }
    )
    assert [(m.role, m.parts[0].text, m.name) for m in chat.messages] == [  # type: ignore[union-attr]
        ("developer", "d", ""),
        ("system", "s", "boss"),
        ("user", "u", ""),
        ("assistant", "a", ""),
    ]


@pytest.mark.parametrize(
    ("item", "media"),
    [
        (
            {"type": "image_url", "image_url": {"url": "https://e.org/a.png", "detail": "low"}},
            Media(kind="image", url="https://e.org/a.png", detail="low"),
        ),
        (
            {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}},
            Media(kind="image", mime="image/png", data=PNG),
        ),
        ({"type": "image_url", "image_url": "https://e.org/a.png"}, Media(kind="image", url="https://e.org/a.png")),
        (
            {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "mp3"}},
            Media(kind="audio", mime="audio/mpeg", data="AAAA"),
        ),
        (
            {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,AAAA"}},
            Media(kind="document", mime="application/pdf", data="AAAA", name="a.pdf"),
        ),
        ({"type": "file", "file": {"file_data": "AAAA"}}, Media(kind="document", mime="application/pdf", data="AAAA")),
        (
            {"type": "file", "file": {"file_id": "file-1"}},
            Media(kind="document", file_id="file-1", origin="openai.chat"),
        ),
        (
            {"type": "video_url", "video_url": {"url": "https://e.org/v.mp4"}},
            Media(kind="video", url="https://e.org/v.mp4"),
        ),
        ({"type": "text", "text": "t", "cache_control": {"type": "ephemeral"}}, Text(text="t", cache="5m")),
    ],
)
def test_parts_of_a_user(item: dict[str, Any], media: Media) -> None:
    assert parts(item) == [media]


def test_an_assistant_with_everything() -> None:
    message = {
        "role": "assistant",
        "content": [{"type": "text", "text": "t"}, {"type": "refusal", "refusal": "r"}],
        "reasoning_content": "why",
        "audio": {"id": "audio_1"},
        "tool_calls": [
            call_of("a", arguments='{"x": 1}'),
            {"id": "b", "type": "custom", "custom": {"name": "c", "input": "print"}},
        ],
    }
    assert read({"messages": [message]}).messages[0].parts == [
        Reasoning(text="why", origin="openai.chat"),
        Text(text="t"),
        Refused(text="r"),
        Media(kind="audio", id="audio_1", origin="openai.chat"),
        ToolUse(id="a", name="f", arguments='{"x": 1}'),
        ToolUse(id="b", name="c", arguments="print", custom=True),
    ]


def test_results_of_tools_join_one_message() -> None:
    chat = read(
        {
            "messages": [
                {"role": "assistant", "tool_calls": [call_of("a"), call_of("b", "g")]},
                {"role": "tool", "tool_call_id": "a", "content": "1"},
                {"role": "tool", "tool_call_id": "b", "content": [{"type": "text", "text": "2"}]},
                {"role": "user", "content": "go on"},
            ]
        }
    )
    assert [message.role for message in chat.messages] == ["assistant", "user", "user"]
    assert chat.messages[1].parts == [
        ToolResult(id="a", name="f", parts=[Text(text="1")]),
        ToolResult(id="b", name="g", parts=[Text(text="2")]),
    ]


def test_legacy_functions() -> None:
    chat = read(
        {
            "functions": [{"name": "f", "parameters": {"type": "object"}}],
            "function_call": {"name": "f"},
            "messages": [
                {"role": "user", "content": "u"},
                {"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": "{}"}},
                {"role": "function", "name": "f", "content": "done"},
            ],
        }
    )
    use, result = chat.messages[1].parts[0], chat.messages[2].parts[0]
    assert isinstance(use, ToolUse) and isinstance(result, ToolResult)
    assert use.id == result.id and result.name == "f"
    assert chat.tools[0].schema == {"type": "object"}
    assert chat.tool_choice == ToolChoice(mode="named", name="f")


def test_seals_come_back() -> None:
    packed = pack(Parcel(origin="anthropic.messages", seal="sig", id="i"))
    message = {
        "role": "assistant",
        "content": "t",
        "reasoning_content": "why",
        "reasoning_details": [
            {"type": "reasoning.text", "text": "why", "signature": packed, "format": "shin-v1", "index": 0}
        ],
        "tool_calls": [{**call_of("a"), "extra_content": {"google": {"thought_signature": "s"}}}],
    }
    found = read({"messages": [message]}).messages[0].parts
    assert found[0] == Reasoning(text="why", seal="sig", id="i", origin="anthropic.messages")
    assert found[2] == ToolUse(id="a", name="f", arguments="{}", seal="s", origin="gemini.generate")


@pytest.mark.parametrize(
    ("body", "name", "value"),
    [
        ({"max_tokens": 5}, "max_tokens", 5),
        ({"max_tokens": 5, "max_completion_tokens": 7}, "max_tokens", 7),
        ({"temperature": 0.5}, "temperature", 0.5),
        ({"stop": "a"}, "stop", ["a"]),
        ({"stop": ["a", "b"]}, "stop", ["a", "b"]),
        ({"stop": None}, "stop", []),
        ({"n": 2}, "n", 2),
        ({"seed": -1}, "seed", -1),
        ({"logprobs": True}, "logprobs", 0),
        ({"logprobs": True, "top_logprobs": 3}, "logprobs", 3),
        ({"logprobs": False}, "logprobs", None),
        ({"logit_bias": {"50256": -100}}, "logit_bias", {"50256": -100}),
        ({"parallel_tool_calls": False}, "parallel_tools", False),
        ({"stream": True, "stream_options": {"include_usage": True}}, "stream_usage", True),
        ({"response_format": {"type": "json_object"}}, "output", OutputFormat(kind="json")),
        (
            {
                "response_format": {
                    "type": "json_schema",
                    "json_schema": {"name": "n", "schema": {"type": "object"}, "strict": True},
                }
            },
            "output",
            OutputFormat(kind="schema", name="n", schema={"type": "object"}, strict=True),
        ),
        ({"reasoning_effort": "high"}, "reasoning", ReasoningWish(effort="high")),
        ({"reasoning": {"max_tokens": 99, "exclude": True}}, "reasoning", ReasoningWish(budget=99, show=False)),
        ({"thinking": {"type": "disabled"}}, "reasoning", ReasoningWish(effort="none")),
        (
            {"extra_body": {"google": {"thinking_config": {"thinking_budget": 5, "include_thoughts": True}}}},
            "reasoning",
            ReasoningWish(budget=5, show=True),
        ),
        ({"tool_choice": "required"}, "tool_choice", ToolChoice(mode="required")),
        (
            {"tool_choice": {"type": "function", "function": {"name": "f"}}},
            "tool_choice",
            ToolChoice(mode="named", name="f"),
        ),
        (
            {
                "tool_choice": {
                    "type": "allowed_tools",
                    "allowed_tools": {"mode": "required", "tools": [{"type": "function", "function": {"name": "f"}}]},
                }
            },
            "tool_choice",
            ToolChoice(mode="required", allowed=["f"]),
        ),
        ({"verbosity": "low"}, "verbosity", "low"),
        ({"modalities": ["text", "audio"]}, "modalities", ["text", "audio"]),
        ({"metadata": {"a": "b"}}, "metadata", {"a": "b"}),
        ({"user": "u"}, "user", "u"),
        ({"prompt_cache_key": "k"}, "cache_key", "k"),
        ({"safety_identifier": "s"}, "safety_identifier", "s"),
        ({"service_tier": "flex"}, "service_tier", "flex"),
        ({"store": True}, "store", True),
    ],
)
def test_settings(body: dict[str, Any], name: str, value: Any) -> None:
    losses = Losses()
    assert getattr(read(body, losses), name) == value
    assert losses.dropped == ()


def test_tools() -> None:
    chat = read(
        {
            "tools": [
                {
                    "type": "function",
                    "function": {"name": "f", "description": "d", "parameters": {"type": "object"}, "strict": True},
                },
                {
                    "type": "custom",
                    "custom": {
                        "name": "c",
                        "format": {"type": "grammar", "grammar": {"syntax": "lark", "definition": "x"}},
                    },
                },
                {"type": "code_interpreter"},
            ],
            "web_search_options": {
                "search_context_size": "low",
                "user_location": {"type": "approximate", "approximate": {"city": "Bern"}},
            },
        }
    )
    function, custom = chat.tools
    assert (function.name, function.description, function.strict) == ("f", "d", True)
    assert custom.custom and custom.format == {"type": "grammar", "syntax": "lark", "definition": "x"}
    assert [tool.kind for tool in chat.builtin_tools] == ["code_execution", "web_search"]
    assert chat.builtin_tools[1].location == {"city": "Bern"}


@pytest.mark.parametrize(
    ("body", "name", "value"),
    [
        ({"top_k": -1}, "top_k", None),
        ({"top_k": 0}, "top_k", None),
        ({"top_k": 7}, "top_k", 7),
        ({"stop": ""}, "stop", []),
        ({"stop": ["a", ""]}, "stop", ["a"]),
        ({"reasoning_effort": "default"}, "reasoning", None),
        ({"tool_choice": {"type": "auto"}}, "tool_choice", ToolChoice()),
        ({"tool_choice": {"type": "any"}}, "tool_choice", ToolChoice(mode="required")),
        (
            {"response_format": {"type": "json_object", "schema": {"type": "object"}}},
            "output",
            OutputFormat(kind="schema", schema={"type": "object"}),
        ),
    ],
)
def test_what_compatible_servers_take_besides(body: Any, name: str, value: Any) -> None:
    losses = Losses()
    assert getattr(read(body, losses), name) == value
    assert losses.dropped == ()


@pytest.mark.parametrize(
    ("entry", "part"),
    [
        ({"type": "document_url", "document_url": "https://e.example/a.pdf", "document_name": "a.pdf"},
         Media(kind="document", url="https://e.example/a.pdf", name="a.pdf")),
        ({"type": "audio_url", "audio_url": {"url": "data:audio/wav;base64,AAAA"}},
         Media(kind="audio", mime="audio/wav", data="AAAA")),
        ({"type": "video_url", "video_url": "https://e.example/a.mp4"},
         Media(kind="video", url="https://e.example/a.mp4")),
        ({"type": "text", "text": "a", "copilot_cache_control": {"type": "ephemeral"}}, Text(text="a", cache="5m")),
    ],
)  # fmt: skip
def test_entries_of_compatible_servers(entry: Any, part: Any) -> None:
    losses = Losses()
    assert read({"messages": [{"role": "user", "content": [entry]}]}, losses).messages[0].parts == [part]
    assert losses.dropped == ()


def test_a_cache_mark_of_a_whole_message() -> None:
    marked = {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}
    for name in ("cache_control", "copilot_cache_control"):
        losses = Losses(refuse=True)
        (message,) = read({"messages": [{**marked, name: {"type": "ephemeral"}}]}, losses).messages
        assert [part.cache for part in message.parts] == ["", "5m"]


def test_nothing_of_a_tool_is_lost_in_silence() -> None:
    losses = Losses()
    function = {"type": "function", "function": {"name": "f"}, "defer_loading": True, "strict": None}
    custom = {"type": "custom", "custom": {"name": "c", "more": 1}}
    search = {"user_location": {"type": "approximate", "approximate": {"city": "Bern"}}, "sites": ["x"]}
    read({"tools": [function, custom], "web_search_options": search}, losses)
    assert set(losses.dropped) == {"tools.defer_loading", "tools.custom.more", "web_search_options.sites"}


def test_what_the_form_does_not_hold_is_reported() -> None:
    losses = Losses()
    body = {
        "frobnicate": 1,
        "moderation": {"model": "m"},
        "prompt_cache_retention": "24h",
        "bad\r\nname": 1,
        "nothing": None,
        "messages": [{"role": "user", "content": [{"type": "text", "text": "t", "odd": 1}], "mood": "glad"}],
    }
    read(body, losses)
    assert set(losses.dropped) == {
        "frobnicate",
        "moderation",
        "prompt_cache_retention",
        "*",
        "messages.mood",
        "messages.content.odd",
    }


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"messages": None}, "messages"),
        ({"messages": []}, "messages"),
        ({"messages": "hi"}, "messages"),
        ({"messages": [1]}, "messages[0]"),
        ({"messages": [{"content": "a"}]}, "messages[0].role"),
        ({"messages": [{"role": "robot", "content": "a"}]}, "messages[0].role"),
        ({"messages": [{"role": ["user"], "content": "a"}]}, "messages[0].role"),
        ({"messages": [{"role": "user"}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": 1}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, "messages[0].content[0].text"),
        ({"messages": [{"role": "user", "content": [{"type": "x"}]}]}, "messages[0].content[0].type"),
        ({"messages": [{"role": "user", "content": [{"type": {}}]}]}, "messages[0].content[0].type"),
        (
            {
                "messages": [
                    {"role": "user", "content": "a"},
                    {"role": "user", "content": [{"type": "text", "text": ""}, {"type": "image_url", "image_url": 1}]},
                ]
            },
            "messages[1].content[1].image_url",
        ),
        (
            {
                "messages": [
                    {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "file:///etc/passwd"}}]}
                ]
            },
            "messages[0].content[0].image_url.url",
        ),
        (
            {
                "messages": [
                    {
                        "role": "user",
                        "content": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,@@"}}],
                    }
                ]
            },
            "messages[0].content[0].image_url.url",
        ),
        (
            {"messages": [{"role": "user", "content": [{"type": "file", "file": {}}]}]},
            "messages[0].content[0].file.file_data",
        ),
        ({"messages": [{"role": "tool", "tool_call_id": "x", "content": "a"}]}, "messages[0].tool_call_id"),
        ({"messages": [{"role": "function", "name": "x", "content": "a"}]}, "messages[0].name"),
        (
            {"messages": [{"role": "assistant", "tool_calls": [{"id": "a", "type": "function"}]}]},
            "messages[0].tool_calls[0].function",
        ),
        (
            {"messages": [{"role": "assistant", "tool_calls": [{"function": {"name": "f"}}]}]},
            "messages[0].tool_calls[0].id",
        ),
        ({"temperature": "hot"}, "temperature"),
        ({"temperature": True}, "temperature"),
        ({"temperature": float("inf")}, "temperature"),
        ({"temperature": float("nan")}, "temperature"),
        ({"temperature": 10**400}, "temperature"),
        ({"max_tokens": 10**400}, "max_tokens"),
        ({"max_tokens": float("inf")}, "max_tokens"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": 1.5}, "max_tokens"),
        ({"n": 0}, "n"),
        ({"stop": [1]}, "stop[0]"),
        ({"stop": {}}, "stop"),
        ({"logit_bias": {"1": "a"}}, "logit_bias"),
        ({"metadata": {"a": 1}}, "metadata"),
        ({"tools": [{"type": "function"}]}, "tools[0].function"),
        (
            {"tools": [{"type": "function", "function": {"name": "f", "parameters": []}}]},
            "tools[0].function.parameters",
        ),
        ({"tools": {}}, "tools"),
        ({"functions": [3]}, "functions[0]"),
        ({"tool_choice": "sometimes"}, "tool_choice"),
        ({"tool_choice": {"type": "function"}}, "tool_choice.function"),
        (
            {"tool_choice": {"type": "allowed_tools", "allowed_tools": {"tools": [{}]}}},
            "tool_choice.allowed_tools.tools[0].function",
        ),
        ({"response_format": {"type": "xml"}}, "response_format.type"),
        ({"response_format": {"type": "json_schema"}}, "response_format.json_schema"),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"schema": 1}}},
            "response_format.json_schema.schema",
        ),
        ({"reasoning_effort": "lots"}, "reasoning_effort"),
        ({"reasoning": {"max_tokens": "x"}}, "reasoning.max_tokens"),
        ({"stream_options": {"include_usage": 1}}, "stream_options.include_usage"),
        ({"web_search_options": {"user_location": 1}}, "web_search_options.user_location"),
    ],
)
def test_a_wrong_field_is_named(body: dict[str, Any], field: str) -> None:
    with pytest.raises(Invalid) as caught:
        read(body)
    assert caught.value.param == field
    assert caught.value.message.startswith(f"{field}: ")


def test_the_model_may_stand_in_the_path() -> None:
    body = {"messages": [{"role": "user", "content": "a"}]}
    assert CHAT.read_call(body, "/openai/deployments/my-gpt/chat/completions", Losses()).model == "my-gpt"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)
FIELDS = st.sampled_from(
    [
        "messages",
        "tools",
        "functions",
        "tool_choice",
        "function_call",
        "response_format",
        "stop",
        "logit_bias",
        "metadata",
        "modalities",
        "audio",
        "reasoning",
        "thinking",
        "extra_body",
        "stream_options",
        "web_search_options",
        "temperature",
        "max_tokens",
        "seed",
        "n",
        "logprobs",
    ]
)
MESSAGE = st.dictionaries(
    st.sampled_from(
        [
            "role",
            "content",
            "name",
            "tool_calls",
            "tool_call_id",
            "refusal",
            "audio",
            "function_call",
            "reasoning_details",
        ]
    ),
    JSON | st.sampled_from(["user", "assistant", "tool", "system"]) | st.just([{"type": "text", "text": "a"}]),
)


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(FIELDS, JSON), st.lists(MESSAGE, max_size=3))
def test_nonsense_is_refused_and_nothing_else(body: dict[str, Any], messages: list[Any]) -> None:
    for one in (body, {**body, "messages": messages}, {"messages": messages}):
        try:
            CHAT.read_call(one, "", Losses())
        except Invalid:
            pass
