from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

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
from tests.translation.openai_responses.sdk import DIALECT, accepts_reply, chat, origin

FIXTURES = Path(__file__).parents[2] / "dialects" / "fixtures" / "openai.responses"
ORIGIN = "openai.responses"


def reply(*output: Any, **fields: Any) -> dict[str, Any]:
    return {"id": "resp_1", "object": "response", "model": "gpt-5", "created_at": 1763700000.0, "status": "completed",
            "output": list(output), **fields}  # fmt: skip


def message(*content: Any) -> dict[str, Any]:
    return {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed", "content": list(content)}


def said(text: str, **more: Any) -> dict[str, Any]:
    return {"type": "output_text", "text": text, "annotations": [], **more}


def test_the_recorded_reply() -> None:
    answer = DIALECT.read_reply(msgspec.json.decode((FIXTURES / "reply.json").read_bytes()))
    assert answer.id
    assert answer.choices[0].parts
    assert answer.usage


def test_a_reply() -> None:
    token = {"token": "a", "logprob": -0.1, "bytes": [97], "top_logprobs": []}
    note = {"type": "file_citation", "file_id": "file-1", "filename": "a.pdf", "index": 3}
    answer = DIALECT.read_reply(
        reply(
            {
                "type": "reasoning",
                "id": "rs_1",
                "summary": [{"type": "summary_text", "text": "Hm"}],
                "encrypted_content": "gAAA",
            },
            {"type": "reasoning", "id": "rs_2", "summary": []},
            {"type": "web_search_call", "id": "ws_1", "action": {"type": "search", "query": "Bern"}},
            message(said("Dear", annotations=[note], logprobs=[token]), {"type": "refusal", "refusal": "No."}),
            {"type": "function_call", "call_id": "c1", "name": "f", "arguments": "{}", "namespace": "ns"},
            {"type": "image_generation_call", "id": "ig_1", "result": "QUFB"},
            usage={"input_tokens": 5, "output_tokens": 2, "input_tokens_details": {"cached_tokens": 4}},
            service_tier="flex",
        )
    )
    assert answer == Answer(
        id="resp_1",
        model="gpt-5",
        created=1763700000,
        service_tier="flex",
        usage=Usage(input=5, output=2, cached=4),
        choices=[
            Choice(
                finish="tools",
                logprobs=[token],
                parts=[
                    Reasoning(text="Hm", summary=True, seal="gAAA", id="rs_1", origin=ORIGIN),
                    Builtin(
                        kind="web_search",
                        text="Bern",
                        origin=ORIGIN,
                        raw=[{"type": "web_search_call", "id": "ws_1", "action": {"type": "search", "query": "Bern"}}],
                    ),
                    Text(
                        text="Dear",
                        citations=[Citation(title="a.pdf", file_id="file-1", start=3, end=3, raw=note, origin=ORIGIN)],
                    ),
                    Refused(text="No."),
                    ToolUse(id="c1", name="ns__f", arguments="{}", origin=ORIGIN),
                    Media(kind="image", mime="image/png", data="QUFB", id="ig_1", origin=ORIGIN),
                ],
            )
        ],
    )


@pytest.mark.parametrize(
    ("fields", "finish"),
    [
        ({}, "stop"),
        ({"status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}}, "length"),
        ({"status": "incomplete", "incomplete_details": {"reason": "content_filter"}}, "filtered"),
        ({"status": None}, "stop"),
    ],
)
def test_how_it_ended(fields: Any, finish: str) -> None:
    assert DIALECT.read_reply(reply(message(said("a")), **fields)).choices[0].finish == finish


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        (None, 502, "no reply"),
        ("<html>", 502, "no reply"),
        ([], 502, "no reply"),
        ({}, 502, "no reply"),
        ({"output": "x"}, 502, "no reply"),
        (reply(status="failed", error={"code": "rate_limit_exceeded", "message": "Slow."}), 429, "Slow."),
        (reply(status="in_progress"), 502, "in_progress"),
        ({"error": {"message": "Oh.", "type": "server_error"}}, 500, "Oh."),
    ],
)
def test_what_is_no_reply(body: Any, status: int, words: str) -> None:
    with pytest.raises(UpstreamFailed, match=words) as caught:
        DIALECT.read_reply(body)
    assert caught.value.status == status


def test_errors() -> None:
    failure = DIALECT.read_error({"error": {"message": "No.", "type": "invalid_request_error", "code": None}}, 400)
    assert (failure.status, failure.type, failure.message, failure.retryable) == (
        400,
        "invalid_request_error",
        "No.",
        False,
    )
    assert DIALECT.read_error(None, 503).retryable


def test_a_reply_to_the_client() -> None:
    losses = Losses()
    answer = Answer(
        id="msg_01",
        model="claude",
        created=1763700009,
        choices=[
            Choice(
                parts=[
                    Reasoning(text="Hm", seal="sig", origin="anthropic.messages"),
                    Reasoning(seal="blob", redacted=True, origin="anthropic.messages"),
                    Text(text="Dear ", citations=[Citation(url="https://a.example", title="A")]),
                    Text(text="Alice"),
                    ToolUse(id="c1", name="f", arguments='{"a":1}', seal="TS", origin="gemini.generate"),
                    Media(kind="audio", mime="audio/wav", data="QQ==", text="Hello"),
                ],
                finish="tools",
            )
        ],
        usage=Usage(input=5, output=2),
    )
    body = DIALECT.write_reply(answer, origin(), losses)
    found = accepts_reply(body)
    assert found.output_text == "Dear AliceHello"
    assert [item.type for item in found.output] == [
        "reasoning", "reasoning", "message", "reasoning", "function_call", "message"
    ]  # fmt: skip
    assert (found.id, found.model, found.created_at, found.status) == ("resp_c1", "fast", 1763700009, "completed")
    assert len({item["id"] for item in body["output"]}) == 6
    assert losses.dropped == ("output.audio",)
    parts = chat({"input": body["output"]}).messages[0].parts
    assert parts[0] == Reasoning(text="Hm", summary=True, seal="sig", origin="anthropic.messages")
    assert parts[1] == Reasoning(seal="blob", redacted=True, origin="anthropic.messages")
    assert ToolUse(id="c1", name="f", arguments='{"a":1}', seal="TS", origin="gemini.generate") in parts


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "type",
                    "content",
                    "summary",
                    "text",
                    "annotations",
                    "logprobs",
                    "call_id",
                    "name",
                    "result",
                    "id",
                    "action",
                ]
            ),
            inner,
        )
    ),
    max_leaves=8,
)
TYPES = [
    "message",
    "reasoning",
    "function_call",
    "custom_tool_call",
    "image_generation_call",
    "web_search_call",
    "output_text",
]


@settings(max_examples=80, deadline=None)
@given(
    st.lists(
        st.builds(
            lambda kind, rest: {**rest, "type": kind},
            st.sampled_from(TYPES),
            st.dictionaries(
                st.sampled_from(
                    [
                        "content",
                        "summary",
                        "encrypted_content",
                        "text",
                        "annotations",
                        "call_id",
                        "id",
                        "arguments",
                        "action",
                    ]
                ),
                JSON,
            ),
        )
    ),
    st.dictionaries(st.sampled_from(["status", "usage", "model", "created_at", "incomplete_details", "id"]), JSON),
)
def test_nonsense_in_a_reply_breaks_nothing(output: Any, fields: Any) -> None:
    try:
        answer = DIALECT.read_reply(reply(*output, **fields))
    except UpstreamFailed:
        return
    DIALECT.write_reply(answer, origin(), Losses())
