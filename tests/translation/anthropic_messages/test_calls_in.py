"""Calls of the Messages API, read into the common form (platform.claude.com/docs/en/api/messages)."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shin_gateway.errors import Invalid, TooLarge
from shin_gateway.translation.form import (
    Builtin,
    Citation,
    Media,
    Message,
    OutputFormat,
    Reasoning,
    ReasoningWish,
    Text,
    ToolChoice,
    ToolResult,
    ToolUse,
)
from shin_gateway.translation.losses import Losses
from tests.translation.anthropic_messages.kit import DIALECT, read

PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
BASE = {"model": "m", "max_tokens": 100, "messages": [{"role": "user", "content": "Hi"}]}


def parts(*content: Any, role: str = "user", losses: Losses | None = None) -> list[Any]:
    return read({"messages": [{"role": role, "content": list(content)}]}, losses).messages[0].parts


def test_plain() -> None:
    chat = read({"system": "Be brief.", "stream": True, "stop_sequences": ["END"], "temperature": 0.5, "top_k": 4})
    assert [(message.role, message.parts[0].text) for message in chat.messages] == [  # type: ignore[union-attr]
        ("system", "Be brief."),
        ("user", "Hi"),
    ]
    assert (chat.model, chat.max_tokens, chat.stream, chat.stop) == ("m", 100, True, ["END"])
    assert (chat.temperature, chat.top_k, chat.top_p) == (0.5, 4, None)


def test_system_blocks_cache_marks_and_the_billing_text() -> None:
    losses = Losses()
    system = [
        {"type": "text", "text": "x-anthropic-billing-header: cc_version=2; cch=40f89;"},
        {"type": "text", "text": "You are Claude Code.", "cache_control": {"type": "ephemeral"}},
        {"type": "text", "text": "More.", "cache_control": {"type": "ephemeral", "ttl": "1h"}},
    ]
    chat = read({"system": system, "metadata": {"user_id": "u1"}, "service_tier": "standard_only"}, losses)
    assert chat.messages[0].parts == [Text(text="You are Claude Code.", cache="5m"), Text(text="More.", cache="1h")]
    assert losses.dropped == ("system.x-anthropic-billing-header",)
    assert (chat.user, chat.service_tier) == ("u1", "default")


def test_system_in_the_middle() -> None:
    messages = [
        {"role": "user", "content": "Hi"},
        {"role": "system", "content": [{"type": "text", "text": "Now in French."}]},
    ]
    assert read({"messages": messages}).messages[1] == Message(role="system", parts=[Text(text="Now in French.")])


MEDIA = [
    (
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}},
        Media(kind="image", mime="image/png", data=PNG),
    ),
    (
        {"type": "image", "source": {"type": "url", "url": "https://a.example/b.png"}},
        Media(kind="image", url="https://a.example/b.png"),
    ),
    (
        {"type": "image", "source": {"type": "file", "file_id": "file_1"}},
        Media(kind="image", file_id="file_1", origin="anthropic.messages"),
    ),
    (
        {
            "type": "document",
            "title": "T",
            "citations": {"enabled": True},
            "source": {"type": "base64", "media_type": "application/pdf", "data": "JVBERg=="},
        },
        Media(kind="document", mime="application/pdf", data="JVBERg==", name="T", citations=True),
    ),
    (
        {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "words"}},
        Media(kind="document", mime="text/plain", text="words"),
    ),
    (
        {"type": "document", "source": {"type": "content", "content": [{"type": "text", "text": "a"}]}},
        Media(kind="document", mime="text/plain", text="a"),
    ),
    (
        {"type": "document", "source": {"type": "content", "content": "a"}},
        Media(kind="document", mime="text/plain", text="a"),
    ),
    (
        {"type": "document", "source": {"type": "url", "url": "https://a.example/b.pdf"}},
        Media(kind="document", url="https://a.example/b.pdf"),
    ),
]


@pytest.mark.parametrize(("block", "part"), MEDIA)
def test_media(block: dict[str, Any], part: Media) -> None:
    assert parts(block) == [part]


def test_context_of_a_document_and_search_results_become_text() -> None:
    losses = Losses()
    document = {
        "type": "document",
        "context": "From 1999.",
        "source": {"type": "text", "media_type": "text/plain", "data": "words"},
    }
    result = {
        "type": "search_result",
        "source": "https://a.example",
        "title": "A",
        "content": [{"type": "text", "text": "found"}],
        "citations": {"enabled": True},
    }
    found = parts(document, result, losses=losses)
    assert found[0] == Text(text="From 1999.")
    assert found[2] == Text(text="A\nhttps://a.example\nfound")
    assert set(losses.dropped) == {"messages.content.context", "messages.content.citations"}


def test_tools_there_and_back() -> None:
    messages = [
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": "Hm", "signature": "EqQB"},
                {"type": "redacted_thinking", "data": "EmwK"},
                {"type": "tool_use", "id": "toolu_1", "name": "look", "input": {"q": "ü"}},
            ],
        },
        {
            "role": "user",
            "content": [
                {
                    "type": "tool_result",
                    "tool_use_id": "toolu_1",
                    "is_error": True,
                    "content": [
                        {"type": "text", "text": "no"},
                        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}},
                    ],
                    "cache_control": {"type": "ephemeral"},
                },
                {"type": "tool_result", "tool_use_id": "toolu_2"},
                {"type": "text", "text": "Go on."},
            ],
        },
    ]
    said, given_back = read({"messages": messages}).messages
    assert said.parts == [
        Reasoning(text="Hm", seal="EqQB", origin="anthropic.messages"),
        Reasoning(seal="EmwK", redacted=True, origin="anthropic.messages"),
        ToolUse(id="toolu_1", name="look", arguments='{"q":"ü"}', origin="anthropic.messages"),
    ]
    assert given_back.parts == [
        ToolResult(
            id="toolu_1",
            parts=[Text(text="no"), Media(kind="image", mime="image/png", data=PNG)],
            is_error=True,
            cache="5m",
        ),
        ToolResult(id="toolu_2"),
        Text(text="Go on."),
    ]


def test_steps_of_server_tools() -> None:
    use = {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {"query": "rain"}}
    result = {
        "type": "web_search_tool_result",
        "tool_use_id": "srvtoolu_1",
        "content": [{"type": "web_search_result", "url": "https://a.example", "title": "A", "encrypted_content": "x"}],
    }
    assert parts(use, result, role="assistant") == [
        Builtin(kind="web_search", raw=[use], text="rain", origin="anthropic.messages"),
        Builtin(kind="web_search", raw=[result], text="A https://a.example", origin="anthropic.messages"),
    ]


def test_citations() -> None:
    location = {
        "type": "char_location",
        "cited_text": "words",
        "document_index": 0,
        "document_title": "T",
        "start_char_index": 0,
        "end_char_index": 5,
    }
    found = parts({"type": "text", "text": "x", "citations": [location]}, role="assistant")
    assert found[0].citations == [Citation(title="T", quote="words", raw=location, origin="anthropic.messages")]


def test_tool_definitions() -> None:
    losses = Losses()
    chat = read(
        {
            "tools": [
                {"name": "look", "description": "d", "input_schema": {"type": "object"}, "strict": True},
                {"type": "custom", "name": "b", "input_schema": {}, "defer_loading": True, "allowed_callers": ["x"]},
                {"type": "bash_20250124", "name": "bash"},
                {"type": "text_editor_20250728", "name": "str_replace_based_edit_tool"},
                {
                    "type": "web_search_20250305",
                    "name": "web_search",
                    "max_uses": 3,
                    "allowed_domains": ["a.example"],
                    "user_location": {"type": "approximate", "city": "Bonn"},
                },
                {"type": "computer_20250124", "name": "computer", "display_width_px": 1},
            ],
            "mcp_servers": [{"type": "url", "url": "https://m.example", "name": "m"}],
            "tool_choice": {"type": "tool", "name": "look", "disable_parallel_tool_use": True},
        },
        losses,
    )
    assert [tool.name for tool in chat.tools] == ["look", "b", "bash", "str_replace_based_edit_tool"]
    assert chat.tools[0].strict is True
    assert chat.tools[2].schema is not None and "command" in chat.tools[2].schema["properties"]
    search, computer, mcp = chat.builtin_tools
    assert (search.kind, search.max_uses, search.allowed_domains) == ("web_search", 3, ["a.example"])
    assert search.location == {"city": "Bonn"}
    assert (computer.kind, mcp.kind) == ("computer_20250124", "mcp")
    assert chat.tool_choice == ToolChoice(mode="named", name="look")
    assert chat.parallel_tools is False
    assert set(losses.dropped) == {"tools.defer_loading", "tools.allowed_callers"}


WISHES = [
    ({"thinking": {"type": "enabled", "budget_tokens": 2048}}, ReasoningWish(budget=2048, show=True, sealed=True)),
    ({"thinking": {"type": "adaptive", "display": "omitted"}}, ReasoningWish(budget=-1, show=False, sealed=True)),
    ({"thinking": {"type": "adaptive", "display": "updates"}}, ReasoningWish(budget=-1, show=True, sealed=True)),
    (
        {"thinking": {"type": "adaptive"}, "output_config": {"effort": "max"}},
        ReasoningWish(effort="max", show=True, sealed=True),
    ),
    ({"thinking": {"type": "disabled"}}, ReasoningWish(budget=0)),
    ({"thinking": {"type": "between_tools"}}, ReasoningWish(budget=0)),
    ({"output_config": {"effort": "low"}}, ReasoningWish(effort="low")),
    ({}, None),
]


@pytest.mark.parametrize(("said", "wish"), WISHES)
def test_thinking(said: dict[str, Any], wish: ReasoningWish | None) -> None:
    assert read(said).reasoning == wish


@pytest.mark.parametrize("place", ["output_config", "output_format"])
def test_structured_output(place: str) -> None:
    format = {"type": "json_schema", "schema": {"type": "object"}}
    said = {"output_config": {"format": format}} if place == "output_config" else {"output_format": format}
    assert read(said).output == OutputFormat(kind="schema", schema={"type": "object"}, strict=True)


def test_what_the_form_cannot_hold_is_told() -> None:
    losses = Losses()
    read(
        {
            "context_management": {"edits": []},
            "container": "c_1",
            "inference_geo": "eu",
            "Weird-Header\n": 1,
            "metadata": {"user_id": None, "team": "x"},
            "messages": [{"role": "user", "content": [{"type": "text", "text": "x", "extra": 1}], "clear_at": 3}],
        },
        losses,
    )
    assert set(losses.dropped) == {
        "context_management",
        "container",
        "inference_geo",
        "other",
        "metadata.team",
        "messages.content.extra",
        "messages.clear_at",
    }


def test_a_policy_that_refuses_lets_claude_code_through() -> None:
    read({"context_management": {}, "speed": "standard", "cache_control": {"type": "ephemeral"}}, Losses(refuse=True))


def test_vertex_names_the_model_in_the_path() -> None:
    body = {"anthropic_version": "vertex-2023-10-16", "messages": BASE["messages"], "max_tokens": 1}
    path = "/v1/projects/p/locations/l/publishers/anthropic/models/claude-opus-4-1@20250805:streamRawPredict"
    chat = DIALECT.read_call(body, path, Losses())
    assert (chat.model, chat.stream) == ("claude-opus-4-1@20250805", True)


def content(block: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": [block]}]}


WRONG = [
    ({"messages": None}, "messages"),
    ({"messages": []}, "messages"),
    ({"messages": {}}, "messages"),
    ({"messages": [1]}, "messages[0]"),
    ({"messages": [{"role": "robot", "content": "x"}]}, "messages[0].role"),
    ({"messages": [{"content": "x"}]}, "messages[0].role"),
    ({"messages": [{"role": "user"}]}, "messages[0].content"),
    ({"messages": [{"role": "user", "content": 5}]}, "messages[0].content"),
    (content(None), "messages[0].content[0]"),
    (content({}), "messages[0].content[0].type"),
    (content({"type": "text"}), "messages[0].content[0].text"),
    (content({"type": ["text"]}), "messages[0].content[0].type"),
    (content({"type": "video"}), "messages[0].content[0].type"),
    (content({"type": "text", "text": "x", "cache_control": 1}), "messages[0].content[0].cache_control"),
    (content({"type": "image"}), "messages[0].content[0].source"),
    (content({"type": "image", "source": {"type": "ftp"}}), "messages[0].content[0].source.type"),
    (
        content({"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "#"}}),
        "messages[0].content[0].source.data",
    ),
    (
        content({"type": "image", "source": {"type": "url", "url": "file:///etc/passwd"}}),
        "messages[0].content[0].source.url",
    ),
    (content({"type": "tool_use", "id": "a", "name": "b", "input": []}), "messages[0].content[0].input"),
    (content({"type": "tool_use", "id": "", "name": "b", "input": {}}), "messages[0].content[0].id"),
    (content({"type": "tool_result", "content": "x"}), "messages[0].content[0].tool_use_id"),
    (
        content({"type": "tool_result", "tool_use_id": "a", "content": [{"type": "thinking"}]}),
        "messages[0].content[0].content[0].type",
    ),
    (content({"type": "thinking", "thinking": 1}), "messages[0].content[0].thinking"),
    ({"system": 1}, "system"),
    ({"system": [{"type": "image"}]}, "system[0].type"),
    ({"max_tokens": "5"}, "max_tokens"),
    ({"max_tokens": -1}, "max_tokens"),
    ({"max_tokens": 10**400}, "max_tokens"),
    ({"max_tokens": float("inf")}, "max_tokens"),
    ({"temperature": float("nan")}, "temperature"),
    ({"temperature": 1.5}, "temperature"),
    ({"top_k": True}, "top_k"),
    ({"stop_sequences": "x"}, "stop_sequences"),
    ({"stop_sequences": [1]}, "stop_sequences[0]"),
    ({"stream": "yes"}, "stream"),
    ({"metadata": "x"}, "metadata"),
    ({"metadata": {"user_id": 1}}, "metadata.user_id"),
    ({"service_tier": "gold"}, "service_tier"),
    ({"thinking": "on"}, "thinking"),
    ({"thinking": {}}, "thinking.type"),
    ({"thinking": {"type": "enabled"}}, "thinking.budget_tokens"),
    ({"thinking": {"type": "enabled", "budget_tokens": 5}}, "thinking.budget_tokens"),
    ({"output_config": {"effort": "huge"}}, "output_config.effort"),
    ({"output_config": {"format": {"type": "xml"}}}, "output_config.format.type"),
    ({"output_format": {"type": "json_schema"}}, "output_format.schema"),
    ({"tools": {}}, "tools"),
    ({"tools": [{"name": "x"}]}, "tools[0].input_schema"),
    ({"tools": [{"input_schema": {}}]}, "tools[0].name"),
    ({"tools": [{"type": "web_search_20250305", "max_uses": 0}]}, "tools[0].max_uses"),
    ({"tool_choice": "auto"}, "tool_choice"),
    ({"tool_choice": {"type": "tool"}}, "tool_choice.name"),
    ({"mcp_servers": [{"name": "x"}]}, "mcp_servers[0].url"),
    ({"model": 5}, "model"),
]


@pytest.mark.parametrize(("said", "field"), WRONG, ids=[f"{i}-{field}" for i, (_, field) in enumerate(WRONG)])
def test_what_is_wrong_is_named(said: dict[str, Any], field: str) -> None:
    with pytest.raises(Invalid) as caught:
        read(said)
    assert caught.value.param == field
    assert caught.value.message.startswith(field)


ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.just(10**400),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
KEYS = [
    "model", "messages", "system", "max_tokens", "tools", "tool_choice", "thinking", "output_config", "metadata",
    "type", "text", "content", "source", "role", "name", "input_schema", "input", "tool_use_id", "cache_control",
    "signature", "citations", "id", "data", "url", "budget_tokens", "format", "effort", "mcp_servers", "stream",
]  # fmt: skip
KINDS = ["text", "image", "document", "tool_use", "tool_result", "thinking", "search_result", "compaction", "base64"]
LIKELY = st.recursive(
    ANY | st.sampled_from([*KINDS, "user", "assistant", "enabled", "tool", "url", "web_search_20250305"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=5),
    max_leaves=12,
)
BLOCKS = st.fixed_dictionaries(
    {"type": st.sampled_from(KINDS)},
    optional=dict.fromkeys(("text", "source", "content", "input", "id", "name", "tool_use_id", "thinking"), LIKELY),
)


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(st.sampled_from(KEYS), LIKELY, max_size=8), st.lists(BLOCKS, max_size=3), st.booleans())
def test_nonsense_is_refused_and_never_breaks(said: dict[str, Any], blocks: list[Any], whole: bool) -> None:
    body = said if whole else {**BASE, **said, "messages": [{"role": "user", "content": blocks}]}
    with suppress(Invalid, TooLarge):
        DIALECT.read_call(body, "/v1/messages", Losses())


CLAUDE_CODE: dict[str, Any] = {
    "model": "claude-opus-5-5",
    "max_tokens": 32000,
    "stream": True,
    "system": [
        {"type": "text", "text": "x-anthropic-billing-header: cc_version=3; cch=0;"},
        {"type": "text", "text": "You are.", "cache_control": {"type": "ephemeral", "ttl": "1h", "scope": "global"}},
    ],
    "thinking": {"type": "adaptive", "display": "summarized"},
    "output_config": {"effort": "high"},
    "context_management": {"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]},
    "metadata": {"user_id": "user_1_account__session_2"},
    "tools": [
        {"name": "Read", "description": "Reads.", "input_schema": {"type": "object", "properties": {}},
         "eager_input_streaming": True},
        {"name": "Later", "description": "Later.", "input_schema": {"type": "object"}, "defer_loading": True,
         "input_examples": [{}], "allowed_callers": ["direct"]},
        {"type": "web_search_20260318", "name": "web_search", "max_uses": 8, "response_inclusion": "full",
         "allowed_domains": ["a.example"]},
    ],
    "messages": [
        {"role": "user", "content": [{"type": "text", "text": "<system-reminder>x</system-reminder>"},
                                     {"type": "text", "text": "Look."}]},
        {"role": "assistant", "content": [
            {"type": "thinking", "thinking": "", "signature": "EqQB"},
            {"type": "tool_use", "id": "toolu_1", "name": "Read", "input": {"p": 1}, "caller": {"type": "direct"}},
        ]},
        {"role": "user", "content": [
            {"type": "tool_result", "tool_use_id": "toolu_1", "content": [
                {"type": "text", "text": "1\tx"}, {"type": "tool_reference", "tool_name": "Later"}]},
            {"type": "text", "text": "And?", "cache_control": {"type": "ephemeral"}},
        ]},
        {"role": "system", "content": "Be quick."},
    ],
}  # fmt: skip


def test_what_claude_code_sends() -> None:
    losses = Losses(refuse=True)  # nothing of it is worth a refusal
    chat = DIALECT.read_call(CLAUDE_CODE, "/v1/messages?beta=true", losses)
    assert set(losses.dropped) == {
        "context_management", "system.x-anthropic-billing-header", "tools.eager_input_streaming",
        "tools.defer_loading", "tools.input_examples", "tools.response_inclusion",
    }  # fmt: skip
    assert chat.reasoning == ReasoningWish(effort="high", show=True, sealed=True)
    assert [tool.name for tool in chat.tools] == ["Read", "Later"]
    search = chat.builtin_tools[0]
    assert (search.kind, search.max_uses, search.allowed_domains) == ("web_search", 8, ["a.example"])
    assert [message.role for message in chat.messages] == ["system", "user", "assistant", "user", "system"]
    assert chat.messages[3].parts == [
        ToolResult(id="toolu_1", parts=[Text(text="1\tx"), Text(text="Later")]),
        Text(text="And?", cache="5m"),
    ]


@pytest.mark.parametrize(
    ("body", "dropped"),
    [
        ({"container": "c"}, "container"),
        ({"inference_geo": "us"}, "inference_geo"),
        ({"of_tomorrow": 1}, "of_tomorrow"),
        ({"fallbacks": [{"model": "m"}]}, "fallbacks"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"thinking": {"block_binding": {"prefix_mismatch_behavior": "drop_block"}}}, "thinking.block_binding"),
        ({"output_config": {"task_budget": {}}}, "output_config.task_budget"),
        ({"tools": [{"type": "web_fetch_20260318", "name": "web_fetch", "max_content_tokens": 5}]},
         "tools.max_content_tokens"),
        ({"tools": [{"type": "text_editor_20250728", "name": "e", "max_characters": 5}]}, "tools.max_characters"),
        ({"tools": [{"name": "f", "input_schema": {}, "allowed_callers": ["code_execution_20260120"]}]},
         "tools.allowed_callers"),
    ],
)  # fmt: skip
def test_what_has_no_place_is_named(body: dict[str, Any], dropped: str) -> None:
    losses = Losses()
    read(body, losses)
    assert losses.dropped == (dropped,)


def test_a_tool_that_code_called_and_a_block_of_tomorrow() -> None:
    losses = Losses()
    newer = {"type": "of_tomorrow_tool_result", "content": []}
    called = {"type": "tool_use", "id": "a", "name": "f", "input": {}, "caller": {"type": "code_execution_20260120"}}
    found = parts(newer, called, role="assistant", losses=losses)
    assert found[0] == Builtin(kind="of_tomorrow", raw=[newer], origin="anthropic.messages")
    assert losses.dropped == ("messages.content.caller",)
