"""Chats of the common form, written as calls; each is checked with the official client's types."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shin_gateway.errors import Invalid
from shin_gateway.translation.form import (
    AnyPart,
    Builtin,
    BuiltinTool,
    Chat,
    Citation,
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
from tests.translation.anthropic_messages.kit import DIALECT, accept_call, read, tool, user, write

PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
OWN = "anthropic.messages"


def says(role: Any, *parts: AnyPart | str, name: str = "") -> Message:
    return Message(role=role, parts=[Text(text=one) if isinstance(one, str) else one for one in parts], name=name)


def use(id: str = "a", arguments: str = "{}", **fields: Any) -> ToolUse:
    return ToolUse(id=id, name="look", arguments=arguments, **fields)


def result(id: str = "a", *parts: Text | Media, **fields: Any) -> ToolResult:
    return ToolResult(id=id, parts=list(parts), **fields)


def written(*messages: Message, **more: Any) -> list[Any]:
    """Roles and contents."""
    return [(one["role"], one["content"]) for one in write(Chat(messages=list(messages)), **more)["messages"]]


# ── messages ────────────────────────────────────────────────────────────────────────────────────


def test_instructions_at_the_beginning_are_the_system_prompt() -> None:
    body = write(Chat(messages=[says("system", "Be brief."), says("developer", "Be kind."), user()]))
    assert body["system"] == [{"type": "text", "text": "Be brief."}, {"type": "text", "text": "Be kind."}]
    assert body["messages"] == [{"role": "user", "content": [{"type": "text", "text": "Hi"}]}]
    assert write(Chat(messages=[says("system", "Be brief."), user()]))["system"] == "Be brief."


def test_turns_alternate_and_are_not_empty() -> None:
    found = written(
        says("user", "a"), says("user", "", "b"), says("assistant", " \n"), says("assistant", "c"),
        says("assistant", "d"), says("user", "  "), says("assistant", "e"), says("user", "f"),
    )  # fmt: skip
    assert [(role, [block["text"] for block in content]) for role, content in found] == [
        ("user", ["a", "b"]),
        ("assistant", ["c", "d", "e"]),
        ("user", ["f"]),
    ]


def test_only_instructions_become_the_message() -> None:
    body = write(Chat(messages=[says("system", "Tell a joke.")]))
    assert body["messages"][0]["content"][0]["text"] == "Tell a joke."
    assert "system" not in body


@pytest.mark.parametrize("messages", [[], [says("user", " ")], [says("user")]])
def test_nothing_said(messages: list[Message]) -> None:
    with pytest.raises(Invalid, match="^messages: "):
        write(Chat(messages=messages))


def test_the_user_begins() -> None:
    losses = Losses()
    body = write(Chat(messages=[says("assistant", "Welcome."), user()]), losses)
    assert [one["role"] for one in body["messages"]] == ["user", "assistant", "user"]
    assert losses.dropped == ("messages",)


def test_instructions_in_the_middle() -> None:
    turns = [user(), says("assistant", "a"), user("b"), says("system", "French."), says("assistant", "c"), user()]
    losses = Losses()
    body = write(Chat(messages=turns), losses)
    assert body["messages"][2]["content"][1]["text"] == "<system>\nFrench.\n</system>"
    assert losses.dropped == ("messages.role",)
    body = write(Chat(model="claude-opus-5-5", messages=turns), provider="anthropic")
    assert [one["role"] for one in body["messages"]] == ["user", "assistant", "user", "system", "assistant", "user"]
    body = write(Chat(model="claude-opus-5-5", messages=turns), provider="bedrock")
    assert [one["role"] for one in body["messages"]] == ["user", "assistant", "user", "assistant", "user"]
    turns = [user(), says("system", "French."), user("again")]
    body = write(Chat(model="claude-opus-5-5", messages=turns), provider="anthropic")
    assert [block["text"] for block in body["messages"][0]["content"]] == [
        "Hi",
        "<system>\nFrench.\n</system>",
        "again",
    ]


def test_prefill() -> None:
    messages = [user(), says("assistant", "The answer is ( \n")]
    assert written(*messages)[-1] == ("assistant", [{"type": "text", "text": "The answer is ("}])
    losses = Losses()
    body = write(Chat(model="claude-opus-4-6", messages=messages), losses)
    assert [one["role"] for one in body["messages"]] == ["user", "assistant", "user"]
    assert losses.dropped == ("messages.prefill",)


def test_names_and_citations() -> None:
    losses = Losses()
    raw = {"type": "char_location", "cited_text": "q", "document_index": 0, "document_title": None}
    raw |= {"start_char_index": 0, "end_char_index": 1}
    said = Text(text="x", citations=[Citation(raw=raw, origin=OWN), Citation(url="https://a.example")])
    body = write(
        Chat(messages=[says("user", "Hi", name="Ann"), says("assistant", said, Refused(text="No.")), user()]), losses
    )
    assert body["messages"][1]["content"] == [
        {"type": "text", "text": "x", "citations": [raw]},
        {"type": "text", "text": "No."},
    ]
    assert set(losses.dropped) == {"messages.name", "messages.content.annotations"}


# ── tools in the history ────────────────────────────────────────────────────────────────────────


def test_results_come_first_and_in_one_message() -> None:
    found = written(
        user(),
        says("assistant", use("call_1"), "then text"),
        says("assistant", use("call_2", '{"q": 1}')),
        says("user", "and", result("call_2", Text(text="two"))),
        says("user", result("call_1", Text(text="one"), Media(kind="image", data=PNG), is_error=True)),
        says("system", "Quick."),
    )
    assert [block["type"] for block in found[1][1]] == ["text", "tool_use", "tool_use"]
    assert [block.get("input") for block in found[1][1]] == [None, {}, {"q": 1}]
    assert found[2][1][0] == {"type": "tool_result", "tool_use_id": "call_2", "content": "two"}
    assert found[2][1][1]["is_error"] is True
    assert [block["type"] for block in found[2][1][1]["content"]] == ["text", "image"]
    assert found[2][1][1]["content"][1]["source"]["media_type"] == "image/png"
    assert [block["text"] for block in found[2][1][2:]] == ["and", "<system>\nQuick.\n</system>"]


def test_ids_fit_and_are_used_once() -> None:
    found = written(
        user(),
        says("assistant", use("call:1/é")),
        says("user", result("call:1/é")),
        says("assistant", use("x")),
        says("user", result("x")),
        says("assistant", use("x")),
        says("user", result("x", is_error=True)),
    )
    uses = [block["id"] for role, content in found for block in content if block["type"] == "tool_use"]
    results = [block for role, content in found for block in content if block["type"] == "tool_result"]
    assert uses == [one["tool_use_id"] for one in results]
    assert uses[1:] == ["x", "x_2"]
    assert all(re.fullmatch(r"[a-zA-Z0-9_-]+", id) for id in uses)
    assert results[2]["content"] == "The tool failed."


ORPHANS = [
    ([user(), says("user", result("zzz"))], "messages[1]"),
    ([says("user", result("zzz"))], "messages[0]"),
    ([user(), says("assistant", use("a")), says("user", result("a"), result("a"))], "messages[2]"),
    ([user(), says("assistant", use("a")), user()], "messages"),
    ([user(), says("assistant", use("a"))], "messages"),
    ([user(), says("assistant", use("a"), use("b")), says("user", result("a")), says("assistant", "x")], "messages"),
    ([user(), says("assistant", use("a")), says("user", ""), says("assistant", "x"), user()], "messages"),
]


@pytest.mark.parametrize(("messages", "field"), ORPHANS)
def test_orphans(messages: list[Message], field: str) -> None:
    with pytest.raises(Invalid) as caught:
        write(Chat(messages=messages))
    assert caught.value.param == field
    assert caught.value.message.startswith(f"{field}: the ")


ARGUMENTS = [
    ("", {}, False),
    (" ", {}, False),
    ('{"a": 1}', {"a": 1}, False),
    ('{"a":', {"input": '{"a":'}, True),
    ("[1]", {"input": [1]}, True),
    ("[" * 5000, {"input": "[" * 5000}, True),
    ('{"a": 1e400}', {"input": '{"a": 1e400}'}, True),
]


@pytest.mark.parametrize(("text", "given", "noted"), ARGUMENTS, ids=lambda value: str(value)[:12])
def test_arguments(text: str, given: Any, noted: bool) -> None:
    losses = Losses()
    body = write(Chat(messages=[user(), says("assistant", use("a", text)), says("user", result("a"))]), losses)
    assert body["messages"][1]["content"][0]["input"] == given
    assert bool(losses.dropped) == noted


def test_a_history_with_tools_defines_them() -> None:
    body = write(Chat(messages=[user(), says("assistant", use("a")), says("user", result("a"))]))
    assert body["tools"] == [{"name": "look", "input_schema": {"type": "object", "properties": {}}}]
    assert body["tool_choice"] == {"type": "none"}


def test_thoughts() -> None:
    losses = Losses()
    said = [
        Reasoning(text="Hm", seal="EqQB", origin=OWN),
        Reasoning(seal="EmwK", redacted=True, origin=OWN),
        Reasoning(text="foreign", seal="x", origin="openai.responses"),
        Reasoning(text="unsigned", origin=OWN),
    ]
    body = write(Chat(messages=[user(), says("assistant", *said, "x"), user()]), losses)
    assert body["messages"][1]["content"] == [
        {"type": "thinking", "thinking": "Hm", "signature": "EqQB"},
        {"type": "redacted_thinking", "data": "EmwK"},
        {"type": "text", "text": "x"},
    ]
    assert losses.dropped == ("messages.reasoning",)


def test_lost_thoughts_turn_thinking_off_where_a_budget_needs_them() -> None:
    history = [user(), says("assistant", use("a")), says("user", result("a"))]
    losses = Losses()
    wish = ReasoningWish(effort="low")
    assert "thinking" not in write(Chat(messages=history, reasoning=wish), losses)
    assert "reasoning" in losses.dropped
    assert write(Chat(model="claude-opus-4-6", messages=history, reasoning=wish))["thinking"] == {"type": "adaptive"}
    history[1].parts.insert(0, Reasoning(text="Hm", seal="EqQB", origin=OWN))
    assert "thinking" in write(Chat(messages=history, reasoning=wish))


def test_steps_of_server_tools() -> None:
    raw = {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {}}
    found = written(
        user(),
        says(
            "assistant", Builtin(kind="web_search", raw=[raw], origin=OWN), Builtin(kind="x", raw=[{}], origin="o"), "x"
        ),
        user(),
    )
    assert found[1][1] == [raw, {"type": "text", "text": "x"}]


# ── media ───────────────────────────────────────────────────────────────────────────────────────

MEDIA: list[tuple[Media, Any]] = [
    (
        Media(kind="image", mime="image/jpeg", data=PNG),  # what it is counts, not what it is said to be
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}},
    ),
    (
        Media(kind="image", url="https://a.example/b.png"),
        {"type": "image", "source": {"type": "url", "url": "https://a.example/b.png"}},
    ),
    (
        Media(kind="image", file_id="file_1", origin=OWN),
        {"type": "image", "source": {"type": "file", "file_id": "file_1"}},
    ),
    (
        Media(kind="document", mime="application/pdf", data="JVBERg==", name="a.pdf", citations=True),
        {
            "type": "document",
            "source": {"type": "base64", "media_type": "application/pdf", "data": "JVBERg=="},
            "title": "a.pdf",
            "citations": {"enabled": True},
        },
    ),
    (
        Media(kind="document", mime="text/csv", data="YSxi"),
        {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "a,b"}},
    ),
    (
        Media(kind="document", text="words"),
        {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "words"}},
    ),
]


@pytest.mark.parametrize(("part", "block"), MEDIA)
def test_media(part: Media, block: Any) -> None:
    assert written(says("user", part))[0][1] == [block]


@pytest.mark.parametrize(
    "part",
    [
        Media(kind="audio", mime="audio/wav", data="UklGRg=="),
        Media(kind="video", url="https://a.example/v.mp4"),
        Media(kind="image", mime="image/svg+xml", data="PHN2Zz4="),
        Media(kind="image", file_id="file-1", origin="openai.chat"),
        Media(kind="document", mime="application/zip", data="UEsDBA=="),
    ],
)
def test_media_that_cannot_be_given(part: Media) -> None:
    losses = Losses()
    body = write(Chat(messages=[says("user", part)]), losses)
    assert body["messages"][0]["content"][0]["type"] == "text"
    assert losses.dropped == (f"messages.content.{part.kind}",)
    with pytest.raises(Invalid):
        write(Chat(messages=[says("user", part)]), Losses(refuse=True))


def test_cache_marks_up_to_four() -> None:
    losses = Losses()
    messages = [says("user", *(Text(text=str(n), cache="1h" if n == 0 else "5m") for n in range(5)))]
    blocks = write(Chat(messages=messages), losses)["messages"][0]["content"]
    assert [block.get("cache_control") for block in blocks] == [
        {"type": "ephemeral", "ttl": "1h"},
        *[{"type": "ephemeral"}] * 3,
        None,
    ]
    assert losses.dropped == ("cache_control",)


# ── tools ───────────────────────────────────────────────────────────────────────────────────────


def test_tools_and_choice() -> None:
    chat = Chat(messages=[user()], tools=[tool(description="d"), Tool(name="bare")], parallel_tools=False)
    body = write(chat)
    assert body["tools"] == [
        {"name": "look", "description": "d", "input_schema": tool().schema},
        {"name": "bare", "input_schema": {"type": "object", "properties": {}}},
    ]
    assert body["tool_choice"] == {"type": "auto", "disable_parallel_tool_use": True}


CHOICES = [
    (ToolChoice(mode="auto"), {"type": "auto"}),
    (ToolChoice(mode="required"), {"type": "any"}),
    (ToolChoice(mode="none"), {"type": "none"}),
    (ToolChoice(mode="named", name="look"), {"type": "tool", "name": "look"}),
]


@pytest.mark.parametrize(("choice", "said"), CHOICES)
def test_choices(choice: ToolChoice, said: Any) -> None:
    assert write(Chat(messages=[user()], tools=[tool()], tool_choice=choice))["tool_choice"] == said
    assert "tool_choice" not in write(Chat(messages=[user()], tool_choice=choice))


def test_only_the_allowed_tools() -> None:
    choice = ToolChoice(allowed=["b"])
    body = write(Chat(messages=[user()], tools=[tool("a"), tool("b")], tool_choice=choice))
    assert [one["name"] for one in body["tools"]] == ["b"]


def test_a_call_cannot_be_demanded_of_a_model_that_thinks() -> None:
    losses = Losses()
    choice = ToolChoice(mode="required")
    chat = Chat(messages=[user()], tools=[tool()], tool_choice=choice, reasoning=ReasoningWish(effort="low"))
    assert write(chat, losses)["tool_choice"] == {"type": "auto"}
    assert losses.dropped == ("tool_choice",)
    body = write(Chat(model="claude-sonnet-5", messages=[user()], tools=[tool()], tool_choice=choice))
    assert (body["tool_choice"], body["thinking"]) == ({"type": "any"}, {"type": "disabled"})
    body = write(Chat(model="claude-opus-5-5", messages=[user()], tools=[tool()], tool_choice=choice))
    assert body["tool_choice"] == {"type": "auto"}
    assert "thinking" not in body


def test_strict_tools() -> None:
    losses = Losses()
    schema = {"type": "object", "properties": {"n": {"type": "integer", "minimum": 1}}, "required": ["n"]}
    chat = Chat(messages=[user()], tools=[Tool(name="a", schema=schema, strict=True)])
    found = write(chat)["tools"][0]
    assert found["strict"] is True
    assert found["input_schema"]["additionalProperties"] is False
    assert found["input_schema"]["properties"]["n"] == {"type": "integer", "description": "{minimum: 1}"}
    chat.model = "claude-sonnet-4"
    assert write(chat, losses)["tools"][0] == {"name": "a", "input_schema": schema}
    assert losses.dropped == ("tools.strict",)


def test_custom_tools_are_functions_with_one_string() -> None:
    chat = Chat(
        messages=[
            user(),
            says("assistant", ToolUse(id="a", name="run", arguments="print(1)", custom=True)),
            says("user", result("a")),
        ],
        tools=[Tool(name="run", custom=True, format={"type": "grammar", "syntax": "lark", "definition": "start: /x/"})],
    )  # fmt: skip
    body = write(chat)
    assert body["tools"][0]["input_schema"]["required"] == ["input"]
    assert "start: /x/" in body["tools"][0]["description"]
    assert body["messages"][1]["content"][0]["input"] == {"input": "print(1)"}


def test_names_that_do_not_fit() -> None:
    chat = Chat(
        messages=[user(), says("assistant", ToolUse(id="a", name="mcp.look", arguments="")), says("user", result("a"))],
        tools=[tool("mcp.look")],
        tool_choice=ToolChoice(mode="named", name="mcp.look"),
    )
    body = write(chat)
    names = {body["tools"][0]["name"], body["tool_choice"]["name"], body["messages"][1]["content"][0]["name"]}
    assert len(names) == 1
    assert re.fullmatch(r"[a-zA-Z0-9_-]{1,128}", names.pop())


def test_schemas_with_variants_at_the_top() -> None:
    schema = {"anyOf": [{"properties": {"a": {"type": "string"}}, "required": ["a"]}, {"properties": {"b": {}}}]}
    found = write(Chat(messages=[user()], tools=[Tool(name="x", schema=schema)]))["tools"][0]["input_schema"]
    assert found == {"type": "object", "properties": {"a": {"type": "string"}, "b": {}}}


def test_builtin_tools() -> None:
    losses = Losses()
    search = BuiltinTool(
        kind="web_search", raw={}, origin="openai.responses", max_uses=2, allowed_domains=["a.example"],
        location={"city": "Bonn"}, context_size="high",
    )  # fmt: skip
    own = {"type": "web_search_20260209", "name": "web_search"}
    mcp = {"server_label": "m", "server_url": "https://m.example", "authorization": "t", "allowed_tools": ["x"]}
    mcp["require_approval"] = "never"
    tools = [
        search,
        BuiltinTool(kind="code_execution", raw={}, origin="gemini.generate"),
        BuiltinTool(kind="web_search", raw=own, origin=OWN),
        BuiltinTool(kind="file_search", raw={}, origin="openai.responses"),
        BuiltinTool(kind="mcp", raw=mcp, origin="openai.responses"),
    ]
    body = DIALECT.write_call(
        Chat(model="claude-sonnet-4-5", messages=[user()], builtin_tools=tools), _traits(), losses
    )
    assert body["tools"][0] == {
        "type": "web_search_20250305",
        "name": "web_search",
        "max_uses": 2,
        "allowed_domains": ["a.example"],
        "user_location": {"type": "approximate", "city": "Bonn"},
    }
    assert body["tools"][1]["type"] == "code_execution_20250825"
    assert body["tools"][2] == own
    assert body["tools"][3]["configs"] == {"x": {"enabled": True}}
    assert body["mcp_servers"] == [{"type": "url", "name": "m", "url": "https://m.example", "authorization_token": "t"}]
    assert set(losses.dropped) == {"tools.file_search", "tools.context_size"}
    headers = DIALECT.call_headers(Chat(builtin_tools=tools, messages=[says("user", Media(kind="image", file_id="f"))]))
    assert headers["anthropic-version"] == "2023-06-01"
    assert "mcp-client" in headers["anthropic-beta"] and "files-api" in headers["anthropic-beta"]
    assert "anthropic-beta" not in DIALECT.call_headers(Chat())


def _traits() -> Any:
    from shin_gateway.translation.translator import Traits

    return Traits()


# ── the answer's form ───────────────────────────────────────────────────────────────────────────

SCHEMA = {"type": "object", "properties": {"a": {"type": "string", "maxLength": 3}}, "required": ["a"]}


def test_structured_output() -> None:
    wish = OutputFormat(kind="schema", schema=SCHEMA, strict=True)
    format = write(Chat(messages=[user()], output=wish))["output_config"]["format"]
    assert format["type"] == "json_schema"
    assert format["schema"]["additionalProperties"] is False
    assert format["schema"]["properties"]["a"] == {"type": "string", "description": "{maxLength: 3}"}
    losses = Losses()
    body = write(Chat(model="claude-sonnet-4", messages=[says("system", "s"), user()], output=wish), losses)
    assert '"maxLength":3' in body["system"][1]["text"]
    assert losses.dropped == ("response_format",)
    assert "JSON" in write(Chat(messages=[user()], output=OutputFormat(kind="json")))["system"]
    assert "system" not in write(Chat(messages=[user()], output=OutputFormat()))


OPEN_SCHEMAS = [
    {"type": "object", "additionalProperties": {"type": "string"}},
    {"type": "object", "properties": {"m": {"type": "object"}}},
    {"$defs": {"t": {"type": "object", "properties": {"t": {"$ref": "#/$defs/t"}}}}, "$ref": "#/$defs/t"},
    {"type": "object", "properties": {"t": {"$ref": "#"}}},
    {"type": "object", "properties": {"t": {"$ref": "https://a.example/schema.json"}}},
]


@pytest.mark.parametrize("schema", OPEN_SCHEMAS)
def test_what_cannot_be_enforced_is_asked_for(schema: dict[str, Any]) -> None:
    body = write(Chat(messages=[user()], output=OutputFormat(kind="schema", schema=schema)))
    assert "output_config" not in body
    assert "JSON Schema" in body["system"]


def test_a_schema_without_end() -> None:
    schema: dict[str, Any] = {}
    for _ in range(100_000):
        schema = {"type": "array", "items": schema}
    with pytest.raises(Invalid):
        DIALECT.write_call(
            Chat(model="m", messages=[user()], output=OutputFormat(kind="schema", schema=schema)), _traits(), Losses()
        )


# ── settings ────────────────────────────────────────────────────────────────────────────────────


LENGTHS: list[tuple[str, int | None, int | None, int]] = [
    ("claude-sonnet-4-5-20250929", None, None, 64000),
    ("claude-3-haiku-20240307", None, None, 4096),
    ("claude-opus-5-5", None, None, 128000),
    ("anthropic.claude-opus-4-1-20250805-v1:0", None, None, 32000),
    ("claude-3-haiku-20240307", 10**6, None, 4096),
    ("some-model", None, None, 8192),
    ("some-model", 20000, None, 20000),
    ("some-model", 20000, 16000, 16000),
    ("claude-sonnet-4-5", 5, None, 5),
]


@pytest.mark.parametrize(("model", "asked", "known", "expected"), LENGTHS)
def test_lengths(model: str, asked: int | None, known: int | None, expected: int) -> None:
    assert write(Chat(model=model, messages=[user()], max_tokens=asked), max_output=known)["max_tokens"] == expected


THOUGHTS: list[tuple[str, ReasoningWish, Any, Any]] = [
    ("claude-sonnet-4-5", ReasoningWish(effort="medium"), {"type": "enabled", "budget_tokens": 8192}, None),
    ("claude-sonnet-4-5", ReasoningWish(budget=5), {"type": "enabled", "budget_tokens": 1024}, None),
    ("claude-sonnet-4-5", ReasoningWish(budget=-1), {"type": "enabled", "budget_tokens": 8192}, None),
    ("claude-sonnet-4-5", ReasoningWish(effort="none"), None, None),
    ("claude-opus-4-6", ReasoningWish(effort="xhigh"), {"type": "adaptive"}, "high"),
    ("claude-opus-4-6", ReasoningWish(budget=2000, show=True), {"type": "adaptive", "display": "summarized"}, "low"),
    ("claude-opus-4-6", ReasoningWish(budget=0), None, None),
    ("claude-opus-5", ReasoningWish(effort="minimal"), {"type": "adaptive"}, "low"),
    ("claude-opus-5", ReasoningWish(budget=-1), {"type": "adaptive"}, None),
    ("claude-opus-5", ReasoningWish(effort="none"), {"type": "disabled"}, None),
    ("claude-opus-5", ReasoningWish(sealed=True), None, None),
    ("claude-sonnet-5-5", ReasoningWish(effort="none"), {"type": "between_tools"}, None),
    ("claude-opus-5-5", ReasoningWish(effort="none"), None, "low"),
    ("claude-3-5-haiku-latest", ReasoningWish(effort="high"), None, None),
]


@pytest.mark.parametrize(("model", "wish", "thinking", "effort"), THOUGHTS)
def test_thinking(model: str, wish: ReasoningWish, thinking: Any, effort: str | None) -> None:
    body = write(Chat(model=model, messages=[user()], reasoning=wish))
    assert body.get("thinking") == thinking
    assert body.get("output_config", {}).get("effort") == effort


def test_room_to_think() -> None:
    body = write(Chat(messages=[user()], max_tokens=500, reasoning=ReasoningWish(budget=2000)))
    assert (body["max_tokens"], body["thinking"]["budget_tokens"]) == (2500, 2000)
    body = write(Chat(messages=[user()], reasoning=ReasoningWish(budget=100_000)))
    assert (body["max_tokens"], body["thinking"]["budget_tokens"]) == (64000, 63999)
    losses = Losses()
    body = write(Chat(messages=[user()], reasoning=ReasoningWish(budget=2000)), losses, max_output=1000)
    assert "thinking" not in body and losses.dropped == ("reasoning",)


SAMPLING: list[tuple[str, dict[str, Any], dict[str, Any], set[str]]] = [
    ("claude-3-5-sonnet-latest", {"temperature": 0.3, "top_p": 0.5}, {"temperature": 0.3, "top_p": 0.5}, set()),
    ("claude-3-5-sonnet-latest", {"top_k": 4}, {"top_k": 4}, set()),
    ("claude-sonnet-4-5", {"temperature": 0.3, "top_p": 0.5}, {"temperature": 0.3}, {"top_p"}),
    ("claude-sonnet-4-5", {"temperature": 1, "top_p": 1}, {}, set()),
    ("claude-sonnet-4-5", {"temperature": 1.7}, {}, {"temperature"}),
    ("claude-sonnet-4-5", {"top_p": 0.5}, {"top_p": 0.5}, set()),
    ("claude-opus-4-7", {"temperature": 0.3, "top_p": 0.5, "top_k": 4}, {}, {"temperature", "top_p", "top_k"}),
    ("claude-opus-5-5", {"temperature": 1.0, "top_p": 1.0}, {}, set()),
]  # fmt: skip


@pytest.mark.parametrize(("model", "said", "sent", "lost"), SAMPLING)
def test_sampling(model: str, said: dict[str, Any], sent: dict[str, Any], lost: set[str]) -> None:
    losses = Losses()
    body = write(Chat(model=model, messages=[user()], **said), losses)
    assert {name: body[name] for name in ("temperature", "top_p", "top_k") if name in body} == sent
    assert set(losses.dropped) == lost


def test_sampling_while_thinking() -> None:
    losses = Losses()
    chat = Chat(messages=[user()], temperature=0.2, top_k=3, top_p=0.96, reasoning=ReasoningWish(budget=1024))
    assert write(chat, losses)["top_p"] == 0.96
    assert set(losses.dropped) == {"temperature", "top_k"}


def test_the_rest() -> None:
    losses = Losses()
    chat = Chat(
        messages=[user()], stop=["END", " \n", ""], user="u" * 300, service_tier="default", stream=True, n=2, seed=1,
        logprobs=0, logit_bias={"1": 1}, frequency_penalty=1, presence_penalty=1, verbosity="low", store=True,
        modalities=["text", "audio"], audio={}, metadata={"a": "b"}, prediction={}, safety_settings=[{}], cache_key="k",
    )  # fmt: skip
    body = write(chat, losses)
    assert (body["stop_sequences"], body["service_tier"], body["stream"]) == (["END"], "standard_only", True)
    assert len(body["metadata"]["user_id"]) == 64
    assert set(losses.dropped) == {
        "stop", "n", "seed", "logprobs", "logit_bias", "frequency_penalty", "presence_penalty", "verbosity", "store",
        "modalities", "audio", "metadata", "prediction", "safety_settings", "prompt_cache_key",
    }  # fmt: skip


def test_what_is_the_default_anyway_goes_without_a_note() -> None:
    losses = Losses(refuse=True)
    write(
        Chat(
            messages=[user()], n=1, temperature=1, top_p=1, frequency_penalty=0, presence_penalty=0, verbosity="medium",
            modalities=["text"], store=False, parallel_tools=True, service_tier="auto",
        ),
        losses,
    )  # fmt: skip
    assert losses.dropped == ()


def test_quirks() -> None:
    losses = Losses()
    chat = Chat(messages=[user()], top_k=3, user="u")
    body = write(chat, losses, drop=frozenset({"metadata", "model"}), rename={"top_k": "k"})
    assert (body["k"], body["model"]) == (3, "claude-sonnet-4-5")
    assert "metadata" not in body and losses.dropped == ("user",)
    wish = ReasoningWish(effort="low")
    body = write(Chat(model="glm", messages=[user()], reasoning=wish), words={"thinking": "budget"})
    assert body["thinking"]["type"] == "enabled"


TEXTS = st.sampled_from(["", " ", "a", "b\n"])
SAID = st.lists(
    st.builds(says, st.sampled_from(["user", "assistant", "system", "developer"]), TEXTS, TEXTS), max_size=6
)


@settings(max_examples=100, deadline=None)
@given(
    SAID, st.lists(st.sampled_from(["x", "y:", ""]), max_size=3), st.sampled_from(["claude-opus-5-5", "claude-3-opus"])
)
def test_turns_are_always_well_formed(messages: list[Message], ids: list[str], model: str) -> None:
    """What the API demands of any history, whatever the order of roles."""
    for id in ids:
        messages = [*messages, says("assistant", use(id)), says("user", "more", result(id, Text(text="r")))]
    try:
        body = write(Chat(model=model, messages=messages, tools=[tool()]), provider="anthropic")
    except Invalid as wrong:
        assert wrong.message.startswith("messages: there is no message")  # noqa: PT017
        return
    turns = body["messages"]
    assert turns[0]["role"] == "user"
    for before, after in pairwise(turns):
        assert before["role"] != after["role"]
        assert after["role"] != "system" or before["role"] == "user"
        uses = [block["id"] for block in before["content"] if block["type"] == "tool_use"]
        results = [block["tool_use_id"] for block in after["content"] if block["type"] == "tool_result"]
        assert uses == results
    for turn in turns:
        assert turn["content"]
        assert all(block["type"] != "text" or block["text"].strip() for block in turn["content"])
    assert turns[-1]["role"] != "assistant" or turns[-1]["content"][-1]["text"] == "a" or model == "claude-3-opus"


def test_there_and_back() -> None:
    """What came from a client of this API and goes to it again says the same."""
    body = {
        "model": "claude-sonnet-4-5",
        "system": "s",
        "max_tokens": 4000,
        "thinking": {"type": "enabled", "budget_tokens": 2000},
        "tools": [{"name": "look", "input_schema": {"type": "object", "properties": {}}, "description": "d"}],
        "tool_choice": {"type": "auto", "disable_parallel_tool_use": True},
        "stop_sequences": ["END"],
        "metadata": {"user_id": "u"},
        "stream": True,
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": "Hi", "cache_control": {"type": "ephemeral"}}]},
            {
                "role": "assistant",
                "content": [
                    {"type": "thinking", "thinking": "Hm", "signature": "EqQB"},
                    {"type": "tool_use", "id": "toolu_1", "name": "look", "input": {"q": [1, {"a": None}]}},
                ],
            },
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "toolu_1", "content": "found"}]},
        ],
    }
    accept_call(body)
    losses = Losses(refuse=True)
    assert write(read(body, losses), losses) == body
    assert losses.dropped == ()
