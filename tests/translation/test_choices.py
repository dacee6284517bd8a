"""A choice among tools that the target cannot make is named, and never one that the target would refuse."""

from __future__ import annotations

from typing import Any

import pytest

from tests.translation import kit
from tests.translation.kit import CHAT, GEMINI, MESSAGES, RESPONSES

Json = dict[str, Any]
SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}}
F: Json = {"type": "function", "name": "f", "parameters": SCHEMA}
SEARCH: Json = {"type": "web_search"}
FILES: Json = {"type": "file_search", "vector_store_ids": ["v"]}


def respond(*tools: Json, choice: Any) -> Json:
    return {"model": "m", "input": "x", "tools": list(tools), "tool_choice": choice}


def allowed(*tools: Json, mode: str = "auto") -> Json:
    return {"type": "allowed_tools", "mode": mode, "tools": list(tools)}


ONE = {"type": "function", "name": "f"}
ANY_F = {"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["f"]}}
ONLY_F = {"functionCallingConfig": {"mode": "VALIDATED", "allowedFunctionNames": ["f"]}}
NO_F = {"functionCallingConfig": {"mode": "NONE"}}
CHAT_ONLY_F = {
    "type": "allowed_tools",
    "allowed_tools": {"mode": "auto", "tools": [{"type": "function", "function": {"name": "f"}}]},
}

CHOICES: list[tuple[str, Json, Any, set[str]]] = [
    (CHAT, respond(F, SEARCH, choice=ONE), {"type": "function", "function": {"name": "f"}}, set()),
    (CHAT, respond(F, SEARCH, choice=SEARCH), None, {"tool_choice"}),
    (CHAT, respond(F, FILES, choice={"type": "file_search"}), None, {"tool_choice", "tools.file_search"}),
    (CHAT, respond(F, SEARCH, choice=allowed(ONE, SEARCH)), CHAT_ONLY_F, set()),
    (CHAT, respond(F, SEARCH, choice=allowed(SEARCH)), "none", set()),
    (CHAT, respond(F, SEARCH, choice=allowed(SEARCH, mode="required")), "none", {"tool_choice"}),
    (GEMINI, respond(F, SEARCH, choice=ONE), ANY_F, {"tools.web_search"}),
    (GEMINI, respond(F, SEARCH, choice=SEARCH), None, {"tool_choice", "tools.web_search"}),
    (GEMINI, respond(SEARCH, choice=SEARCH), None, {"tool_choice"}),
    (GEMINI, respond(F, SEARCH, choice=allowed(ONE, SEARCH)), ONLY_F, {"tools.web_search"}),
    (GEMINI, respond(F, SEARCH, choice=allowed(SEARCH)), NO_F, {"tools.web_search"}),
    (MESSAGES, respond(F, SEARCH, choice=SEARCH), {"type": "tool", "name": "web_search"}, set()),
    (MESSAGES, respond(F, FILES, choice={"type": "file_search"}), {"type": "auto"},
     {"tool_choice", "tools.file_search"}),
]  # fmt: skip


@pytest.mark.parametrize(("target", "body", "choice", "dropped"), CHOICES)
def test_tools_of_the_providers(target: str, body: Json, choice: Any, dropped: set[str]) -> None:
    taken = kit.take(RESPONSES, target, body)
    assert taken.body.get("toolConfig" if target == GEMINI else "tool_choice") == choice
    assert set(taken.dropped) == dropped


def claude(kind: str, name: str) -> Json:
    tools = [{"type": kind, "name": name}, {"name": "f", "input_schema": SCHEMA}]
    choice = {"type": "tool", "name": name}
    messages = [{"role": "user", "content": "x"}]
    return {"model": "m", "max_tokens": 99, "messages": messages, "tools": tools, "tool_choice": choice}


@pytest.mark.parametrize(
    ("body", "choice", "dropped"),
    [
        (claude("web_search_20250305", "web_search"), {"type": "web_search"}, set()),
        (claude("code_execution_20250825", "code_execution"), {"type": "code_interpreter"}, set()),
        (claude("web_fetch_20250910", "web_fetch"), None, {"tool_choice", "tools.url_context"}),
    ],
)
def test_a_tool_that_openai_does_not_run(body: Json, choice: Any, dropped: set[str]) -> None:
    taken = kit.take(MESSAGES, RESPONSES, body)
    assert taken.body.get("tool_choice") == choice
    assert set(taken.dropped) == dropped


@pytest.mark.parametrize("target", [CHAT, RESPONSES, MESSAGES])
@pytest.mark.parametrize(
    ("config", "dropped"),
    [
        ({"includeServerSideToolInvocations": True}, ("toolConfig.includeServerSideToolInvocations",)),
        ({"includeServerSideToolInvocations": False}, ()),
        ({"functionCallingConfig": {"mode": "validated"}}, ("toolConfig.functionCallingConfig.mode",)),
        ({"functionCallingConfig": {"mode": "AUTO"}}, ()),
    ],
)
def test_what_gemini_alone_can_be_told(config: Json, dropped: tuple[str, ...], target: str) -> None:
    tools = [{"functionDeclarations": [{"name": "f"}]}]
    body = {"contents": [{"parts": [{"text": "x"}]}], "tools": tools, "toolConfig": config}
    assert kit.take(GEMINI, target, body).dropped == dropped


@pytest.mark.parametrize("schema", [SCHEMA, {**SCHEMA, "description": "its own"}])
def test_the_description_of_an_answers_form(schema: Json) -> None:
    format = {"type": "json_schema", "name": "n", "description": "D", "schema": schema}
    taken = kit.take(RESPONSES, MESSAGES, {"model": "m", "input": "x", "text": {"format": format}})
    assert taken.body["output_config"]["format"]["schema"]["description"] == schema.get("description", "D")
