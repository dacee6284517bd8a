"""Whole replies and errors, both ways."""

from __future__ import annotations

from typing import Any

import pytest

from shin_gateway.errors import UpstreamFailed
from shin_gateway.outcome import Usage
from shin_gateway.translation.form import (
    Answer,
    Builtin,
    Chat,
    Choice,
    Media,
    Reasoning,
    Refused,
    Text,
    ToolUse,
)
from shin_gateway.translation.losses import Losses
from tests.translation.anthropic_messages.kit import DIALECT, accept_reply, read, tool, write_reply

MESSAGE: dict[str, Any] = {
    "id": "msg_013Zva2CMHLNnjNjJJKqJ2EF",
    "type": "message",
    "role": "assistant",
    "model": "claude-sonnet-4-5-20250929",
    "content": [
        {"type": "thinking", "thinking": "Hm", "signature": "EqQB"},
        {"type": "redacted_thinking", "data": "EmwK"},
        {"type": "text", "text": "Rain.", "citations": None},
        {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {"query": "rain"}},
        {"type": "tool_use", "id": "toolu_1", "name": "look", "input": {}},
    ],
    "stop_reason": "tool_use",
    "stop_sequence": None,
    "usage": {
        "input_tokens": 20,
        "cache_creation_input_tokens": 7,
        "cache_read_input_tokens": 100,
        "cache_creation": {"ephemeral_5m_input_tokens": 3, "ephemeral_1h_input_tokens": 4},
        "output_tokens": 50,
        "output_tokens_details": {"thinking_tokens": 30},
        "service_tier": "priority",
    },
}


def test_reading() -> None:
    answer = DIALECT.read_reply(MESSAGE)
    assert (answer.id, answer.model, answer.service_tier) == (MESSAGE["id"], MESSAGE["model"], "priority")
    assert answer.usage == Usage(input=127, output=50, cached=100, cache_write=7, cache_write_1h=4, reasoning=30)
    choice = answer.choices[0]
    assert choice.finish == "tools"
    own = "anthropic.messages"
    assert choice.parts == [
        Reasoning(text="Hm", seal="EqQB", origin=own),
        Reasoning(seal="EmwK", redacted=True, origin=own),
        Text(text="Rain."),
        Builtin(kind="web_search", raw=[MESSAGE["content"][3]], text="rain", origin=own),
        ToolUse(id="toolu_1", name="look", arguments="{}", origin=own),
    ]


def test_there_and_back_is_the_same() -> None:
    written = write_reply(DIALECT.read_reply(MESSAGE))
    assert written == MESSAGE | {
        "model": "claude-alias",
        "content": [*MESSAGE["content"][:2], {"type": "text", "text": "Rain."}, *MESSAGE["content"][3:]],
    }


REASONS = {
    "end_turn": "stop",
    "max_tokens": "length",
    "stop_sequence": "stop_sequence",
    "pause_turn": "paused",
    "refusal": "refused",
    "model_context_window_exceeded": "context",
    "something_new": "stop",
}


@pytest.mark.parametrize(("reason", "finish"), REASONS.items())
def test_reasons(reason: str, finish: str) -> None:
    body = MESSAGE | {"content": [], "stop_reason": reason, "stop_sequence": "END"}
    answer = DIALECT.read_reply(body)
    assert answer.choices[0].finish == finish
    assert write_reply(answer)["stop_reason"] == (reason if reason != "something_new" else "end_turn")


def test_refusal_says_why() -> None:
    details = {"type": "refusal", "category": "cyber", "explanation": "Not that."}
    answer = DIALECT.read_reply(MESSAGE | {"content": [], "stop_reason": "refusal", "stop_details": details})
    assert answer.choices[0].parts == [Refused(text="Not that.")]
    written = write_reply(answer)
    assert written["stop_details"]["explanation"] == "Not that."
    assert written["content"] == [{"type": "text", "text": "Not that."}]


NO_REPLIES: list[Any] = [None, [], "x", {}, {"content": "x"}, {"error": {"message": "no"}}, {"choices": []}]


@pytest.mark.parametrize("body", NO_REPLIES)
def test_what_is_no_message(body: Any) -> None:
    with pytest.raises(UpstreamFailed):
        DIALECT.read_reply(body)


def test_an_error_that_came_as_a_success() -> None:
    with pytest.raises(UpstreamFailed, match="Busy") as found:
        DIALECT.read_reply({"type": "error", "error": {"type": "overloaded_error", "message": "Busy"}})
    assert found.value.status == 529


BLOCKS: list[tuple[dict[str, Any], str, str]] = [
    ({"type": "web_fetch_tool_result", "content": {"type": "web_fetch_result", "url": "https://a"}}, "url_context",
     "https://a"),
    ({"type": "code_execution_tool_result", "content": {"type": "code_execution_result", "stdout": "4"}},
     "code_execution", "4"),
    ({"type": "bash_code_execution_tool_result", "content": {"error_code": "unavailable"}}, "code_execution",
     "unavailable"),
    ({"type": "text_editor_code_execution_tool_result", "content": {"content": "x"}}, "code_execution", ""),
    ({"type": "tool_search_tool_result", "content": {}}, "tool_search", ""),
    ({"type": "advisor_tool_result", "content": {"type": "advisor_result", "text": "Do."}}, "advisor", "Do."),
    ({"type": "mcp_tool_use", "id": "m", "name": "echo", "server_name": "s", "input": {}}, "mcp", ""),
    ({"type": "mcp_tool_result", "content": [{"type": "text", "text": "hi"}]}, "mcp", "hi"),
    ({"type": "container_upload", "file_id": "file_1"}, "container_upload", ""),
    ({"type": "compaction", "content": "What was said."}, "compaction", "What was said."),
    ({"type": "fallback", "from": {"model": "a"}, "to": {"model": "b"}}, "fallback", ""),
    ({"type": "of_tomorrow", "text": 5}, "of_tomorrow", ""),
]  # fmt: skip


@pytest.mark.parametrize(("block", "kind", "text"), BLOCKS)
def test_blocks_of_tools_at_the_provider(block: dict[str, Any], kind: str, text: str) -> None:
    part = DIALECT.read_reply(MESSAGE | {"content": [block]}).choices[0].parts[0]
    assert part == Builtin(kind=kind, raw=[block], text=text, origin="anthropic.messages")


@pytest.mark.parametrize(
    "body",
    [
        {"content": [None, 1, {}, {"type": 5}, {"type": "text"}, {"type": "tool_use", "input": 5}], "usage": []},
        {"content": [], "usage": {"input_tokens": -5, "output_tokens": 1e400}, "id": 5, "stop_reason": []},
        {"content": [{"type": "text", "text": "x", "citations": [1, {"url": 5}]}], "model": None},
        {"content": [{"type": "server_tool_use"}, {"type": "web_search_tool_result", "content": [1]}]},
    ],
)
def test_replies_with_holes(body: Any) -> None:
    DIALECT.read_reply(body)


def test_foreign_answers() -> None:
    losses = Losses()
    answer = Answer(
        id="chatcmpl-1",
        choices=[
            Choice(
                parts=[
                    Reasoning(text="Hm", origin="openai.chat"),
                    Text(text=""),
                    Media(kind="image", mime="image/png", data="xx"),
                    ToolUse(id="call_1", name="look", arguments='{"broken', origin="openai.chat"),
                    ToolUse(id="call_2", name="look", arguments="[1]", origin="openai.chat"),
                    ToolUse(id="call_3", name="look", arguments="", origin="gemini.generate", seal="c2ln"),
                ],
                finish="stop",
            ),
            Choice(parts=[Text(text="second")]),
        ],
        usage=Usage(input=10, output=5, cached=4),
    )
    body = write_reply(answer, Chat(tools=[tool()]), losses)
    assert [block["type"] for block in body["content"]] == ["thinking", *["tool_use"] * 2, "thinking", "tool_use"]
    assert [block["input"] for block in body["content"] if block["type"] == "tool_use"] == [
        {"input": '{"broken'},
        {"input": [1]},
        {},
    ]
    assert body["id"] == "msg_call_1"
    assert body["stop_reason"] == "tool_use"
    assert body["usage"]["input_tokens"] == 6
    assert set(losses.dropped) == {"n", "content.image"}
    back = read({"messages": [{"role": "assistant", "content": body["content"]}]}).messages[0].parts
    assert back[0] == Reasoning(text="Hm", origin="openai.chat")
    assert [part.seal for part in back[1:]] == ["", "", "c2ln"]  # type: ignore[union-attr]


def test_blocked_and_empty() -> None:
    body = write_reply(Answer(blocked="SAFETY"))
    assert (body["stop_reason"], body["content"]) == ("refusal", [])
    assert accept_reply(write_reply(Answer(choices=[Choice(parts=[Text(text="x")])]))).stop_reason == "end_turn"


ERRORS: list[tuple[Any, int, str, str]] = [
    ({"type": "error", "error": {"type": "overloaded_error", "message": "Busy"}}, 529, "overloaded_error", "Busy"),
    (
        {"type": "error", "error": {"type": "invalid_request_error", "message": "No"}},
        400,
        "invalid_request_error",
        "No",
    ),
    ({"error": "plain"}, 429, "rate_limit_error", "plain"),
    ({"message": "m"}, 404, "not_found_error", "m"),
    (None, 502, "api_error", "The provider answered with status 502."),
    ([1], 401, "authentication_error", "The provider answered with status 401."),
    ({"error": {"type": 5, "message": []}}, 418, "api_error", "The provider answered with status 418."),
]


@pytest.mark.parametrize(("body", "status", "kind", "message"), ERRORS)
def test_errors(body: Any, status: int, kind: str, message: str) -> None:
    failure = DIALECT.read_error(body, status)
    assert (failure.status, failure.type, failure.message) == (status, kind, message)
    assert failure.retryable == (status in (429, 502, 529))
