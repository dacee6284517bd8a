"""Streams as Anthropic sends them, read into events (platform.claude.com/docs/en/build-with-claude/streaming)."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shin_gateway.dialects.sse import SsePart
from shin_gateway.outcome import Usage
from shin_gateway.translation.form import (
    Began,
    Builtin,
    Citation,
    Cited,
    Closed,
    Ended,
    Failed,
    Finished,
    Grew,
    Opened,
    Reasoning,
    Refused,
    Sealed,
    Text,
    ToolUse,
    UsageTold,
)
from shin_gateway.translation.losses import Losses
from tests.translation.anthropic_messages.kit import DIALECT, accumulated, origin, read_stream, sse, write_stream

OWN = "anthropic.messages"
START: dict[str, Any] = {
    "type": "message_start",
    "message": {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "content": [],
        "model": "claude-sonnet-4-5",
        "stop_reason": None,
        "stop_sequence": None,
        "usage": {
            "input_tokens": 25,
            "cache_read_input_tokens": 5,
            "cache_creation_input_tokens": 2,
            "output_tokens": 1,
            "service_tier": "standard",
        },
    },
}


def start(index: int, **block: Any) -> dict[str, Any]:
    return {"type": "content_block_start", "index": index, "content_block": block}


def delta(index: int, kind: str, **fields: Any) -> dict[str, Any]:
    return {"type": "content_block_delta", "index": index, "delta": {"type": kind, **fields}}


def stop(index: int) -> dict[str, Any]:
    return {"type": "content_block_stop", "index": index}


def finish(reason: str = "end_turn", **fields: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    ended = {"stop_reason": reason, "stop_sequence": None, **fields}
    return {"type": "message_delta", "delta": ended, "usage": {"output_tokens": 15}}, {"type": "message_stop"}


BEGAN = Began("msg_1", "claude-sonnet-4-5", 0, Usage(input=32, output=1, cached=5, cache_write=2), "default")
TOLD = UsageTold(Usage(input=32, output=15, cached=5, cache_write=2))
LOCATION = {
    "type": "web_search_result_location",
    "url": "https://a.example",
    "cited_text": "q",
    "title": "A",
    "encrypted_index": "Eo8B",
}

WHOLE = sse(
    START,
    {"type": "ping"},
    start(0, type="thinking", thinking="", signature=""),
    delta(0, "thinking_delta", thinking="Hm"),
    delta(0, "signature_delta", signature="EqQB"),
    stop(0),
    start(1, type="redacted_thinking", data="EmwK"),
    stop(1),
    start(2, type="text", text=""),
    delta(2, "text_delta", text="Räin "),
    delta(2, "text_delta", text="🌧"),
    delta(2, "citations_delta", citation=LOCATION),
    stop(2),
    start(3, type="server_tool_use", id="srvtoolu_1", name="web_search", input={}),
    delta(3, "input_json_delta", partial_json='{"query":'),
    delta(3, "input_json_delta", partial_json='"rain"}'),
    stop(3),
    start(4, type="web_search_tool_result", tool_use_id="srvtoolu_1", content=[]),
    stop(4),
    start(5, type="tool_use", id="toolu_1", name="look", input={}),
    delta(5, "input_json_delta", partial_json=""),
    delta(5, "input_json_delta", partial_json='{"q": '),
    delta(5, "input_json_delta", partial_json="1}"),
    stop(5),
    start(6, type="tool_use", id="toolu_2", name="now", input={}),
    delta(6, "input_json_delta", partial_json=""),
    stop(6),
    *finish("tool_use"),
)
SEARCH = {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {"query": "rain"}}
RESULT = {"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": []}
EVENTS = [
    BEGAN,
    Opened(0, 0, Reasoning(origin=OWN)),
    Grew(0, 0, "Hm"),
    Sealed(0, 0, "EqQB"),
    Closed(0, 0),
    Opened(0, 1, Reasoning(origin=OWN, seal="EmwK", redacted=True)),
    Closed(0, 1),
    Opened(0, 2, Text(text="")),
    Grew(0, 2, "Räin "),
    Grew(0, 2, "🌧"),
    Cited(0, 2, Citation(url="https://a.example", title="A", quote="q", raw=LOCATION, origin=OWN)),
    Closed(0, 2),
    Opened(0, 3, Builtin(kind="web_search", raw=[SEARCH], text="rain", origin=OWN)),
    Closed(0, 3),
    Opened(0, 4, Builtin(kind="web_search", raw=[RESULT], origin=OWN)),
    Closed(0, 4),
    Opened(0, 5, ToolUse(id="toolu_1", name="look", origin=OWN)),
    Grew(0, 5, '{"q": '),
    Grew(0, 5, "1}"),
    Closed(0, 5),
    Opened(0, 6, ToolUse(id="toolu_2", name="now", origin=OWN)),
    Grew(0, 6, "{}"),
    Closed(0, 6),
    Finished(0, "tools"),
    TOLD,
    Ended(),
]


def test_every_kind_of_block() -> None:
    assert read_stream(WHOLE) == EVENTS


def test_cut_at_every_byte() -> None:
    for at in range(len(WHOLE)):
        assert read_stream(WHOLE[:at], WHOLE[at:]) == EVENTS


def test_ended_anywhere_it_has_no_end() -> None:
    last = WHOLE.rindex(b"message_stop")
    for at in range(0, last, 7):
        assert not any(isinstance(event, Ended) for event in read_stream(WHOLE[:at]))


def test_crlf_and_no_event_lines() -> None:
    lines = b"".join(line + b"\r\n" for line in WHOLE.split(b"\n") if not line.startswith(b"event:"))
    assert read_stream(lines) == EVENTS


def test_there_and_back() -> None:
    message = accumulated(write_stream(read_stream(WHOLE)))
    assert [block["type"] for block in message["content"]] == [
        "thinking",
        "redacted_thinking",
        "text",
        "server_tool_use",
        "web_search_tool_result",
        "tool_use",
        "tool_use",
    ]
    assert message["content"][3]["input"] == {"query": "rain"}
    assert message["usage"]["cache_read_input_tokens"] == 5


def test_error_in_the_stream() -> None:
    error = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}
    found = read_stream(sse(START, error, start(0, type="text", text="late")))
    assert isinstance(found[-1], Failed)
    assert (found[-1].failure.status, found[-1].failure.message) == (529, "Overloaded")
    assert len(found) == 2


def test_input_all_at_once() -> None:
    found = read_stream(sse(START, start(0, type="tool_use", id="t", name="look", input={"q": 1}), stop(0)))
    assert found[1:] == [Opened(0, 0, ToolUse(id="t", name="look", origin=OWN)), Grew(0, 0, '{"q":1}'), Closed(0, 0)]


def test_what_nobody_stopped_closes() -> None:
    found = read_stream(sse(START, start(0, type="text", text="a"), start(0, type="text", text="b"), *finish()))
    assert [type(event).__name__ for event in found] == [
        "Began", "Opened", "Closed", "Opened", "Closed", "Finished", "UsageTold", "Ended",
    ]  # fmt: skip


def test_refusal_before_a_word() -> None:
    details = {"type": "refusal", "category": None, "explanation": "Not that."}
    found = read_stream(sse(START, *finish("refusal", stop_details=details)))
    assert found[1:4] == [Opened(0, 0, Refused(text="Not that.")), Closed(0, 0), Finished(0, "refused")]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[DONE]",
        b"<html>",
        b"[]",
        b"null",
        b'{"type": 5}',
        b'{"type": "brand_new"}',
        b'{"type": "content_block_delta", "index": [], "delta": {"type": "text_delta", "text": "x"}}',
        b'{"type": "content_block_delta", "index": 9, "delta": {"type": "text_delta", "text": "x"}}',
        b'{"type": "content_block_start", "index": "0", "content_block": {"type": "text"}}',
        b'{"type": "content_block_start", "index": 0, "content_block": 5}',
        b'{"type": "content_block_stop"}',
        b'{"type": "message_start", "message": []}',
        b'{"type": "message_delta", "delta": null, "usage": null}',
        b"\xff\xfe",
        b"[" * 100_000,
    ],
)
def test_what_means_nothing_is_passed_over(data: bytes) -> None:
    assert list(DIALECT.reader().feed(SsePart(b"data: " + data + b"\n\n"))) == []


KINDS = ["text_delta", "thinking_delta", "input_json_delta", "signature_delta", "citations_delta", "text", "tool_use"]
ANY = st.none() | st.integers(-1, 3) | st.text(max_size=3) | st.sampled_from(KINDS) | st.just([1]) | st.just({})
TYPES = ["content_block_start", "content_block_delta", "content_block_stop", "message_delta", "message_start", "error"]
INNER = st.dictionaries(
    st.sampled_from(["type", "text", "partial_json", "usage", "id", "name", "input", "stop_reason", "citation"]), ANY
)
SHAPES = st.fixed_dictionaries(
    {"type": st.sampled_from(TYPES)},
    optional={"index": ANY, "content_block": INNER | ANY, "delta": INNER | ANY, "message": INNER | ANY, "usage": ANY},
)


@settings(max_examples=150, deadline=None)
@given(st.lists(SHAPES, max_size=8))
def test_nonsense_never_breaks(events: list[dict[str, Any]]) -> None:
    reader = DIALECT.reader()
    found = [event for one in events for event in reader.feed(SsePart(b"data: " + json.dumps(one).encode() + b"\n\n"))]
    writer = DIALECT.writer(origin(), Losses())
    assert b"message_stop" in b"".join(writer.write(one) for one in [*found, Ended()] if not isinstance(one, Failed))


def test_a_message_that_is_there_at_the_start() -> None:
    """What the provider sends when code has called the client's tools and nothing is left to say."""
    result = {"type": "code_execution_tool_result", "tool_use_id": "srvtoolu_1", "content": {"stdout": "4"}}
    use = {"type": "tool_use", "id": "toolu_1", "name": "look", "input": {"q": 1}}
    message = {**START["message"], "content": [result, use], "stop_reason": "tool_use"}
    events = read_stream(sse({"type": "message_start", "message": message}, {"type": "message_stop"}))
    assert events == [
        BEGAN,
        Opened(0, 0, Builtin(kind="code_execution", raw=[result], text="4", origin=OWN)),
        Closed(0, 0),
        Opened(0, 1, ToolUse(id="toolu_1", name="look", arguments='{"q":1}', origin=OWN)),
        Closed(0, 1),
        Finished(0, "tools"),
        Ended(),
    ]


@pytest.mark.parametrize(
    ("block", "expected"),
    [(start(0, type="text", text="Hi"), "stop"), (start(0, type="tool_use", id="t", name="n", input={}), "tools")],
)
def test_an_end_without_a_reason(block: dict[str, Any], expected: str) -> None:
    events = read_stream(sse(START, block, {"type": "message_stop"}))
    assert isinstance(events[-3], Closed)
    assert events[-2:] == [Finished(0, expected), Ended()]  # type: ignore[arg-type]


def test_a_summary_of_the_conversation() -> None:
    events = read_stream(
        sse(
            START,
            start(0, type="compaction", content=None),
            delta(0, "compaction_delta", content="What was said.", encrypted_content="Eo"),
            stop(0),
            *finish("compaction"),
        )
    )
    raw = {"type": "compaction", "content": "What was said.", "encrypted_content": "Eo"}
    assert events[1] == Opened(0, 0, Builtin(kind="compaction", raw=[raw], text="What was said.", origin=OWN))
    assert Finished(0, "paused") in events


def test_servers_that_are_only_alike() -> None:
    """A second message_start, no `type` in the data, a block whose number comes twice, deltas of nobody's."""
    chunks = [
        b'event: message_start\ndata: {"message":{"id":"m","model":"x"}}\n\n',
        sse(START, start(0, type="text", text=""), delta(7, "text_delta", text="lost")),
        b'event: content_block_delta\ndata: {"index":0,"delta":{"type":"text_delta","text":"a"}}\n\n',
        sse(start(0, type="text", text="b"), delta(0, "of_tomorrow", text=5), {"type": "of_tomorrow"}),
        b"data: [DONE]\n\n",
        sse(*finish()),
    ]
    assert read_stream(*chunks)[:7] == [
        Began("m", "x"),
        Opened(0, 0, Text(text="")),
        Grew(0, 0, "a"),
        Closed(0, 0),
        Opened(0, 1, Text(text="b")),
        Closed(0, 1),
        Finished(0, "stop"),
    ]
