"""Whole replies of Chat Completions, both ways. Bodies made from OpenAI's reference and other providers' documents."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openai.types.chat import ChatCompletion

from shin_gateway.errors import UpstreamFailed
from shin_gateway.outcome import Usage
from shin_gateway.translation.form import (
    Answer,
    Builtin,
    Choice,
    Citation,
    Media,
    Reasoning,
    Refused,
    Text,
    ToolUse,
)
from shin_gateway.translation.losses import Losses
from tests.translation.openai_chat.kit import CHAT, origin, read


def reply(message: dict[str, Any], finish: str | None = "stop", **more: Any) -> dict[str, Any]:
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 5,
        "model": "gpt",
        "choices": [{"index": 0, "message": message, "finish_reason": finish, **more}],
        "usage": {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7},
    }


def only(message: dict[str, Any], finish: str | None = "stop", **more: Any) -> Choice:
    return CHAT.read_reply(reply(message, finish, **more)).choices[0]


CALL = {"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}
USE = ToolUse(id="a", name="f", arguments="{}")


@pytest.mark.parametrize(
    ("message", "parts"),
    [
        ({"content": "hi"}, [Text(text="hi")]),
        ({"content": None, "tool_calls": [CALL]}, [USE]),
        ({"content": "", "tool_calls": [{**CALL, "function": {"name": "f", "arguments": {}}}]}, [USE]),
        ({"content": None, "refusal": "no"}, [Refused(text="no")]),
        ({"content": "a", "reasoning_content": "r"}, [Reasoning(text="r", origin="openai.chat"), Text(text="a")]),
        (
            {"content": "a", "reasoning": "r", "reasoning_content": "r"},
            [Reasoning(text="r", origin="openai.chat"), Text(text="a")],
        ),
        (
            {
                "content": [
                    {"type": "thinking", "thinking": [{"type": "text", "text": "r"}]},
                    {"type": "text", "text": "a"},
                ]
            },
            [Reasoning(text="r", origin="openai.chat"), Text(text="a")],
        ),
        (
            {
                "content": "",
                "reasoning_details": [{"type": "reasoning.text", "text": "r", "signature": "s", "index": 0}],
            },
            [Reasoning(text="r", seal='{"type":"reasoning.text","signature":"s","index":0}', origin="openai.chat")],
        ),
        (
            {"content": "", "audio": {"id": "i", "data": "AAAA", "transcript": "t", "expires_at": 1}},
            [Media(kind="audio", id="i", data="AAAA", text="t", origin="openai.chat")],
        ),
        (
            {"content": "", "images": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}]},
            [Media(kind="image", mime="image/png", data="AAAA")],
        ),
        ({"content": "a", "tool_calls": [{"id": "x"}, None, CALL]}, [Text(text="a"), USE]),
        ({}, []),
    ],
)
def test_messages(message: dict[str, Any], parts: list[Any]) -> None:
    assert only(message).parts == parts


def test_an_id_that_is_missing_is_made() -> None:
    ids = {only({"tool_calls": [{"function": {"name": "f"}}]}).parts[0].id for _ in range(2)}  # type: ignore[union-attr]
    assert len(ids) == 2 and all(id.startswith("call_") for id in ids)


@pytest.mark.parametrize(
    ("message", "finish", "more", "found"),
    [
        ({"content": "a"}, "stop", {}, "stop"),
        ({"content": "a"}, "length", {}, "length"),
        ({"content": "a"}, "content_filter", {}, "filtered"),
        ({"tool_calls": [CALL]}, "tool_calls", {}, "tools"),
        ({"tool_calls": [CALL]}, "stop", {}, "tools"),
        ({"tool_calls": [CALL]}, None, {}, "tools"),
        ({"function_call": {"name": "f", "arguments": "{}"}}, "function_call", {}, "tools"),
        ({"content": "a"}, "tool_calls", {}, "stop"),
        ({"refusal": "no"}, "stop", {}, "refused"),
        ({"content": "a"}, None, {}, "stop"),
        ({"content": "a"}, "eos", {}, "stop"),
        ({"content": "a"}, "model_length", {}, "context"),
        ({"content": "a"}, "stop", {"stop_reason": "END"}, "stop_sequence"),
    ],
)
def test_reasons_to_finish(message: dict[str, Any], finish: str | None, more: dict[str, Any], found: str) -> None:
    assert only(message, finish, **more).finish == found


def test_usage_logprobs_and_citations() -> None:
    token = {"token": "hi", "logprob": -0.1, "bytes": [104, 105], "top_logprobs": []}
    note = {
        "type": "url_citation",
        "url_citation": {"start_index": 0, "end_index": 2, "url": "https://e.org", "title": "E"},
    }
    answer = CHAT.read_reply(
        reply({"content": "hi", "annotations": [note]}, logprobs={"content": [token], "refusal": None})
    )
    assert answer.usage == Usage(input=3, output=4)
    assert answer.choices[0].logprobs == [token]
    text = answer.choices[0].parts[0]
    assert isinstance(text, Text)
    assert [(c.url, c.title, c.start, c.end) for c in text.citations] == [("https://e.org", "E", 0, 2)]


@pytest.mark.parametrize(
    "body",
    [
        None,
        "<html>",
        [],
        {},
        {"choices": []},
        {"choices": None},
        {"choices": [None]},
        {"error": {"message": "overloaded", "code": 503}},
        {"object": "error", "message": "no", "code": 400},
        reply({"content": ""}, "error", error={"message": "broke", "code": 502}),
        reply({"content": ""}, "insufficient_system_resource"),
    ],
)
def test_what_is_no_reply(body: Any) -> None:
    with pytest.raises(UpstreamFailed):
        CHAT.read_reply(body)


EVERYTHING = Answer(
    id="msg_1",
    model="real",
    created=7,
    choices=[
        Choice(
            parts=[
                Reasoning(text="why", seal="sig", origin="anthropic.messages"),
                Reasoning(seal="enc", redacted=True, origin="anthropic.messages"),
                Text(text="one "),
                Text(text="two", citations=[Citation(url="https://e.org", title="E"), Citation(file_id="f")]),
                Media(kind="audio", id="i", data="AAAA", text="t"),
                Media(kind="image", data="AAAA", mime="image/png"),
                ToolUse(id="a", name="f", arguments="", seal="s", origin="gemini.generate"),
                ToolUse(id="b", name="c", arguments="x", custom=True),
                Builtin(kind="web_search", raw=[]),
            ],
            finish="tools",
            logprobs=[{"token": "a", "logprob": -1.0}],
        ),
        Choice(parts=[Refused(text="no")], finish="refused"),
    ],
    usage=Usage(input=9, output=8, cached=3, reasoning=2, cache_write=1),
    service_tier="default",
)


def test_everything_is_what_the_sdk_takes() -> None:
    losses = Losses()
    body = CHAT.write_reply(EVERYTHING, origin(), losses)
    found = ChatCompletion.model_validate(body, strict=True)
    assert (found.id, found.model, found.created) == ("msg_1", "asked", 7)
    message = found.choices[0].message
    assert message.content == "one two"
    assert message.annotations is not None
    cited = message.annotations[0].url_citation
    assert (cited.start_index, cited.end_index, cited.url) == (4, 7, "https://e.org")
    assert [call.type for call in message.tool_calls or []] == ["function", "custom"]
    assert body["choices"][0]["message"]["tool_calls"][0]["function"]["arguments"] == "{}"
    assert [choice.finish_reason for choice in found.choices] == ["tool_calls", "stop"]
    assert found.usage is not None and found.usage.total_tokens == 17
    assert found.usage.prompt_tokens_details is not None and found.usage.prompt_tokens_details.cached_tokens == 3
    assert set(losses.dropped) == {"server_tools", "citations"}


def test_thoughts_come_back_on_the_next_turn() -> None:
    message = CHAT.write_reply(EVERYTHING, origin(), Losses())["choices"][0]["message"]
    parts = read({"messages": [{"role": "user", "content": "u"}, message]}).messages[1].parts
    assert parts[:2] == EVERYTHING.choices[0].parts[:2]
    assert next(part for part in parts if isinstance(part, ToolUse)).seal == "s"


@pytest.mark.parametrize(
    ("finish", "word"),
    [
        ("stop", "stop"),
        ("stop_sequence", "stop"),
        ("length", "length"),
        ("context", "length"),
        ("filtered", "content_filter"),
        ("refused", "content_filter"),
        ("paused", "stop"),
        ("malformed_tool", "stop"),
        (None, "stop"),
    ],
)
def test_words_for_the_end(finish: Any, word: str) -> None:
    body = CHAT.write_reply(Answer(choices=[Choice(parts=[Text(text="a")], finish=finish)]), origin(), Losses())
    assert body["choices"][0]["finish_reason"] == word


def test_a_prompt_that_was_refused() -> None:
    body = CHAT.write_reply(Answer(blocked="SAFETY"), origin(), Losses())
    assert ChatCompletion.model_validate(body, strict=True).choices[0].finish_reason == "content_filter"
    assert body["id"] == "chatcmpl-c1" and body["created"] == 1700000000


def test_a_client_that_knows_only_functions() -> None:
    answer = Answer(choices=[Choice(parts=[USE, ToolUse(id="b", name="g")], finish="tools")])
    losses = Losses()
    body = CHAT.write_reply(answer, origin({"functions": [{"name": "f"}]}), losses)
    assert body["choices"][0]["message"]["function_call"] == {"name": "f", "arguments": "{}"}
    assert body["choices"][0]["finish_reason"] == "function_call"
    assert losses.dropped == ("function_call",)


@pytest.mark.parametrize(
    ("body", "status", "message", "type", "retryable"),
    [
        ({"error": {"message": "slow", "type": "tokens", "code": "rate_limit_exceeded"}}, 429, "slow", "tokens", True),
        ({"error": {"message": "pay", "code": "insufficient_quota"}}, 429, "pay", "insufficient_quota", False),
        (
            [{"error": {"code": 400, "message": "bad", "status": "INVALID_ARGUMENT"}}],
            400,
            "bad",
            "invalid_request_error",
            False,
        ),
        (
            {"detail": [{"loc": ["body"], "msg": "Field required"}]},
            422,
            "body: Field required",
            "invalid_request_error",
            False,
        ),
        (  # Mistral
            {
                "object": "error",
                "message": {
                    "detail": [{"type": "extra_forbidden", "loc": ["body", "n"], "msg": "no", "input": "secret"}]
                },
                "type": "invalid_request_error",
                "code": None,
            },
            422,
            "body.n: no",
            "invalid_request_error",
            False,
        ),
        (
            {"code": "Client specified …", "error": "Argument not supported: stop"},
            400,
            "Argument not supported: stop",
            "invalid_request_error",
            False,
        ),  # xAI
        ({"error": {"code": 429, "message": "slow", "metadata": {"raw": "{}"}}}, 429, "slow", "rate_limit_error", True),
        ({"error": {"code": "429", "message": "slow"}}, 429, "slow", "rate_limit_error", True),  # Azure
        ({"error": {"code": "DeploymentNotFound", "message": "?"}}, 404, "?", "DeploymentNotFound", False),
        ({"error": {"message": "long", "code": 402}}, 402, "long", "invalid_request_error", False),
        ({"errors": [{"message": "gone"}]}, 502, "gone", "server_error", True),
        (
            {"error": {"message": {"error": {"message": {"error": {}}}}}},
            500,
            "The provider answered with status 500.",
            "server_error",
            True,
        ),
        ({"message": "Unauthorized"}, 401, "Unauthorized", "authentication_error", False),
        (None, 502, "The provider answered with status 502.", "server_error", True),
    ],
)
def test_errors(body: Any, status: int, message: str, type: str, retryable: bool) -> None:
    failure = CHAT.read_error(body, status)
    assert (failure.status, failure.message, failure.retryable) == (status, message, retryable)
    if type != "server_error":
        assert failure.type == type


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)
MESSAGE = st.dictionaries(
    st.sampled_from(
        [
            "content",
            "refusal",
            "audio",
            "images",
            "annotations",
            "tool_calls",
            "function_call",
            "reasoning",
            "reasoning_content",
            "reasoning_details",
        ]
    ),
    JSON,
)


@settings(max_examples=200, deadline=None)
@given(MESSAGE, JSON, JSON, JSON)
def test_nonsense_is_passed_over_or_a_failure(message: Any, finish: Any, usage: Any, error: Any) -> None:
    body = {**reply(message, finish, logprobs=usage, error=error), "usage": usage, "id": error, "created": usage}
    try:
        answer = CHAT.read_reply(body)
    except UpstreamFailed:
        return
    ChatCompletion.model_validate(CHAT.write_reply(answer, origin(), Losses()))


@settings(max_examples=100, deadline=None)
@given(JSON, st.integers(400, 599))
def test_any_error_can_be_read(body: Any, status: int) -> None:
    assert CHAT.read_error(body, status).status == status
