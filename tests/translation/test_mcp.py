"""MCP servers between OpenAI and Anthropic: no tool runs unasked, or is let loose, that its client held back."""

from __future__ import annotations

from typing import Any

import pytest

from tests.translation import kit
from tests.translation.kit import CHAT, GEMINI, MESSAGES, RESPONSES

Json = dict[str, Any]
USER = [{"role": "user", "content": "x"}]


def openai(**more: Any) -> Json:
    tool = {"type": "mcp", "server_label": "m", "server_url": "https://m.example", **more}
    return {"model": "m", "input": "x", "tools": [{k: v for k, v in tool.items() if v is not ...}]}


def anthropic(*toolsets: Json, **more: Any) -> Json:
    server = {"type": "url", "name": "m", "url": "https://m.example", **more}
    tools = [{"type": "mcp_toolset", "mcp_server_name": "m", **toolset} for toolset in toolsets]
    return {"model": "m", "max_tokens": 99, "messages": USER, "mcp_servers": [server], "tools": tools}


ONLY_A: Json = {"default_config": {"enabled": False}, "configs": {"a": {"enabled": True}}}
NEVER = "never"
TO_ANTHROPIC: list[tuple[Json, Json, Json, tuple[str, ...]]] = [
    ({}, {}, {}, ()),
    ({"allowed_tools": ["a"]}, {}, ONLY_A, ()),
    ({"allowed_tools": []}, {}, {"default_config": {"enabled": False}, "configs": {}}, ()),
    ({"allowed_tools": {"tool_names": ["a"]}}, {}, ONLY_A, ()),
    ({"allowed_tools": {"tool_names": ["a"], "read_only": None}}, {}, ONLY_A, ()),
    ({"allowed_tools": None, "headers": None, "allowed_callers": ["direct"]}, {}, {}, ()),
    ({"authorization": "t"}, {"authorization_token": "t"}, {}, ()),
    ({"headers": {"Authorization": "Bearer t"}}, {"authorization_token": "t"}, {}, ()),
    ({"headers": {"authorization": "bearer t"}}, {"authorization_token": "t"}, {}, ()),
    ({"server_description": "d"}, {}, {}, ("tools.server_description",)),
    ({"X made up": 1}, {}, {}, ("tools",)),
]  # fmt: skip


@pytest.mark.parametrize(("more", "server", "toolset", "dropped"), TO_ANTHROPIC)
def test_from_openai(more: Json, server: Json, toolset: Json, dropped: tuple[str, ...]) -> None:
    taken = kit.take(RESPONSES, MESSAGES, openai(require_approval=NEVER, **more))
    assert taken.body["mcp_servers"] == [{"type": "url", "name": "m", "url": "https://m.example", **server}]
    assert taken.body["tools"] == [{"type": "mcp_toolset", "mcp_server_name": "m", **toolset}]
    assert taken.dropped == dropped


HELD_BACK_AT_OPENAI: list[Json] = [
    {},  # asks by default
    {"require_approval": None},
    {"require_approval": "always"},
    {"require_approval": {"never": {"tool_names": ["a"]}}},
    {"require_approval": {"always": {"read_only": False}}},
    {"require_approval": NEVER, "allowed_tools": {"read_only": True}},
    {"require_approval": NEVER, "allowed_tools": {"tool_names": ["a"], "read_only": True}},
    {"require_approval": NEVER, "allowed_tools": {"unheard_of": 1}},
    {"require_approval": NEVER, "allowed_tools": ["a", 1]},
    {"require_approval": NEVER, "allowed_tools": "a"},
    {"require_approval": NEVER, "headers": {"Authorization": "Bearer t", "X-MCP-Readonly": "true"}},
    {"require_approval": NEVER, "headers": {"Authorization": "Basic t"}},
    {"require_approval": NEVER, "headers": {"Authorization": "Bearer u"}, "authorization": "t"},
    {"require_approval": NEVER, "server_url": ..., "connector_id": "connector_gmail"},
]


@pytest.mark.parametrize("more", HELD_BACK_AT_OPENAI)
def test_what_openai_holds_back_does_not_run_at_anthropic(more: Json) -> None:
    taken = kit.take(RESPONSES, MESSAGES, openai(**more))
    assert not {"mcp_servers", "tools"} & taken.body.keys()
    assert taken.dropped == ("tools.mcp",)


TO_OPENAI: list[tuple[Json, Json, tuple[str, ...]]] = [
    (anthropic(), {}, ()),
    (anthropic({}), {}, ()),
    (anthropic(authorization_token="t"), {"authorization": "t"}, ()),
    (anthropic(tool_configuration={"enabled": True}), {}, ()),
    (anthropic(tool_configuration={"allowed_tools": ["a"]}), {"allowed_tools": ["a"]}, ()),
    (anthropic(ONLY_A), {"allowed_tools": ["a"]}, ()),
    (anthropic({"configs": {"a": {"enabled": True}}}), {}, ()),
    (anthropic(ONLY_A, tool_configuration={"allowed_tools": ["a", "b"]}), {"allowed_tools": ["a"]}, ()),
    (anthropic({"tools": [{"name": "a"}, {"name": "b"}], "configs": {"b": {"enabled": False}}}),
     {"allowed_tools": ["a"]}, ()),
    (anthropic({"cache_control": {"type": "ephemeral"}}), {}, ("cache_control",)),
    (anthropic({"mcp_server_name": "other"}), {}, ("tools.mcp_toolset",)),
]  # fmt: skip


@pytest.mark.parametrize(("body", "more", "dropped"), TO_OPENAI)
def test_from_anthropic(body: Json, more: Json, dropped: tuple[str, ...]) -> None:
    taken = kit.take(MESSAGES, RESPONSES, body)
    tool = {"type": "mcp", "server_label": "m", "server_url": "https://m.example", "require_approval": NEVER}
    assert taken.body["tools"] == [tool | more]
    assert taken.dropped == dropped


HELD_BACK_AT_ANTHROPIC: list[Json] = [
    anthropic(tool_configuration={"enabled": False}),
    anthropic(tool_configuration={"allowed_tools": []}),
    anthropic(tool_configuration={"allowed_tools": [1]}),
    anthropic(tool_configuration=[]),
    anthropic({"default_config": {"enabled": False}}),
    anthropic({"default_config": {"enabled": "no"}}),
    anthropic({"configs": {"a": {"enabled": False}}}),
    anthropic({"configs": ["a"]}),
    anthropic({"tools": []}),
    anthropic({"tools": [{}]}),
    anthropic({"tools": "a"}),
    anthropic(ONLY_A, tool_configuration={"allowed_tools": ["b"]}),
]


@pytest.mark.parametrize("body", HELD_BACK_AT_ANTHROPIC)
def test_what_anthropic_holds_back_does_not_run_at_openai(body: Json) -> None:
    taken = kit.take(MESSAGES, RESPONSES, body)
    assert "tools" not in taken.body
    assert taken.dropped == ("tools.mcp",)


@pytest.mark.parametrize("target", [CHAT, GEMINI])
@pytest.mark.parametrize(("client", "body"), [(RESPONSES, openai(require_approval=NEVER)), (MESSAGES, anthropic())])
def test_where_there_is_no_such_tool_it_is_named(client: str, body: Json, target: str) -> None:
    taken = kit.take(client, target, body)
    assert "tools" not in taken.body
    assert taken.dropped == ("tools.mcp",)


def test_names_that_are_no_strings() -> None:
    body = anthropic({"mcp_server_name": ["m"]}, name={"a": 1})
    taken = kit.take(MESSAGES, RESPONSES, body)
    assert "tools" not in taken.body
    assert set(taken.dropped) == {"tools.mcp", "tools.mcp_toolset"}
