"""What Mistral's and OpenRouter's APIs have otherwise than OpenAI's, in calls, whole replies and errors."""

from __future__ import annotations

import json
from typing import Any

import pytest

from shin_gateway.dialects.base import Failure
from shin_gateway.errors import Invalid
from shin_gateway.translation.dialects import translator
from shin_gateway.translation.form import Builtin, Media, Text, Tool, ToolChoice, ToolUse
from shin_gateway.translation.losses import Losses
from tests.translation import kit
from tests.translation.openai_chat.kit import CHAT, events_of, read, sse

Json = dict[str, Any]

# ── calls ───────────────────────────────────────────────────────────────────────────────────────

FUNCTION = {"name": "f", "parameters": {"type": "object", "properties": {}}}
TOOL = Tool(name="f", schema=FUNCTION["parameters"])  # type: ignore[arg-type]


@pytest.mark.parametrize("more", [{}, {"type": None}, {"type": ""}, {"type": "function"}])
def test_a_tool_without_its_type(more: Json) -> None:
    chat = read({"tools": [{"function": FUNCTION, **more}], "tool_choice": {"function": {"name": "f"}, **more}})
    assert chat.tools == [TOOL]
    assert chat.tool_choice == ToolChoice(mode="named", name="f")


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"tools": [{}]}, "tools[0].type"),
        ({"tools": [{"function": "f"}]}, "tools[0].type"),
        ({"tools": [{"type": "", "custom": {"name": "f"}}]}, "tools[0].type"),
        ({"tools": [{"function": {}}]}, "tools[0].function.name"),
        ({"tool_choice": {}}, "tool_choice.type"),
        ({"tool_choice": {"type": ""}}, "tool_choice.type"),
        ({"tool_choice": {"type": "newer", "function": {"name": "f"}}}, "tool_choice.type"),
        ({"tool_choice": {"function": {}}}, "tool_choice.function.name"),
    ],
)
def test_what_is_no_tool_is_named(body: Json, field: str) -> None:
    with pytest.raises(Invalid) as caught:
        read(body)
    assert caught.value.param == field


@pytest.mark.parametrize("arguments", ['{"a":1}', {"a": 1}])
def test_a_call_of_a_tool_without_its_type(arguments: Any) -> None:
    call = {"id": "9v45XkLNV", "function": {"name": "f", "arguments": arguments}}
    messages = [
        {"role": "user", "content": "x"},
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "9v45XkLNV", "content": "1"},
    ]
    use = read({"messages": messages}).messages[1].parts[-1]
    assert use == ToolUse(id="9v45XkLNV", name="f", arguments='{"a":1}')


def test_an_image_that_is_its_url() -> None:
    content = [{"type": "image_url", "image_url": "https://example.com/a.png"}]
    part = read({"messages": [{"role": "user", "content": content}]}).messages[0].parts[0]
    assert part == Media(kind="image", url="https://example.com/a.png")


# ── replies ─────────────────────────────────────────────────────────────────────────────────────

SEARCH = {"id": "t", "function": {"name": "web_search", "arguments": '{"query": "q"}'}}
STEP = Builtin(kind="web_search", raw=[SEARCH], text="q", origin="openai.chat")
ASKED = {"role": "assistant", "content": "", "tool_calls": [SEARCH]}
RESULT = {"role": "tool", "content": "r", "tool_call_id": "t"}
FINAL = {"role": "assistant", "content": [{"type": "text", "text": "Final"}]}
USE = ToolUse(id="t", name="web_search", arguments='{"query": "q"}')

MESSAGES: list[tuple[Any, list[Any], str]] = [
    ([ASKED, RESULT, FINAL], [STEP, Text(text="Final")], "stop"),
    ([{**ASKED, "content": "I look."}, RESULT, FINAL], [Text(text="I look."), STEP, Text(text="Final")], "stop"),
    ([ASKED], [USE], "tools"),
    ([ASKED, {**RESULT, "tool_call_id": None}, FINAL], [USE, Text(text="Final")], "tools"),
    ([{**ASKED, "tool_calls": [{**SEARCH, "function": {"name": "x", "arguments": "["}}]}, RESULT],
     [Builtin(kind="x", raw=[{"id": "t", "function": {"name": "x", "arguments": "["}}], origin="openai.chat")],
     "stop"),
    ([None, "x", {"role": "user", "content": "x"}, FINAL], [Text(text="Final")], "stop"),
    ("x", [], "stop"),
    (None, [], "stop"),
]  # fmt: skip


def of_messages(messages: Any) -> Json:
    return {"id": "m", "model": "m", "choices": [{"index": 0, "finish_reason": "stop", "messages": messages}]}


@pytest.mark.parametrize(("messages", "parts", "finish"), MESSAGES)
def test_messages_in_place_of_one(messages: Any, parts: list[Any], finish: str) -> None:
    choice = CHAT.read_reply(of_messages(messages)).choices[0]
    assert (choice.parts, choice.finish) == (parts, finish)


@pytest.mark.parametrize("client", [kit.CHAT, kit.RESPONSES, kit.MESSAGES, kit.GEMINI])
def test_the_last_of_the_messages_reaches_the_client(client: str) -> None:
    answer = CHAT.read_reply(of_messages([ASKED, RESULT, FINAL]))
    written = json.dumps(translator(client).write_reply(answer, kit.asked(client), Losses()))
    assert "Final" in written and "tool_use" not in written and "functionCall" not in written


# ── errors ──────────────────────────────────────────────────────────────────────────────────────

GENERAL = "Provider returned error"
REASONS: list[tuple[Any, str]] = [
    ('{"type":"error","error":{"type":"invalid_request_error","message":"prompt is too long: 9"}}',
     "prompt is too long: 9"),
    ('[{"error":{"message":"too many"}}]', "too many"),
    ({"message": "as an object"}, "as an object"),
    ("upstream broke", f"{GENERAL}: upstream broke"),
    ("{}", GENERAL),
    ('"in quotes"', "in quotes"),
    ("[" * 9999, f"{GENERAL}: " + "[" * (2000 - len(GENERAL) - 2)),
    ('{"message":"' + "x" * 9999 + '"}', "x" * 2000),
    ("", GENERAL),
    (None, GENERAL),
    (7, GENERAL),
    ([], GENERAL),
]  # fmt: skip


def routed(raw: Any) -> Json:
    metadata = {"raw": raw, "provider_name": "Anthropic"}
    return {"error": {"message": GENERAL, "code": 400, "metadata": metadata}, "user_id": "u"}


@pytest.mark.parametrize(("raw", "message"), REASONS, ids=lambda value: str(value)[:20])
def test_the_reason_behind_a_router(raw: Any, message: str) -> None:
    assert CHAT.read_error(routed(raw), 400).message == message
    failed = events_of(sse({"id": "g", "choices": [], **routed(raw)}))[0]
    assert failed.failure == Failure(400, "server_error", message, False)  # type: ignore[union-attr]


def test_a_reason_without_end() -> None:
    raw: Any = "x"
    for _ in range(50_000):
        raw = {"metadata": {"raw": raw}}
    assert CHAT.read_error(routed(raw), 400).message == GENERAL


@pytest.mark.parametrize("dialect", [kit.CHAT, kit.RESPONSES, kit.MESSAGES, kit.GEMINI])
def test_an_error_in_a_list(dialect: str) -> None:
    body = [{"error": {"code": 400, "message": "The publisher model was not found.", "status": "NOT_FOUND"}}]
    assert translator(dialect).read_error(body, 404).message == "The publisher model was not found."
