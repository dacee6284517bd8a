from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shin_gateway.dialects.sse import SseFramer
from shin_gateway.errors import UpstreamFailed
from shin_gateway.outcome import Usage
from shin_gateway.translation.form import (
    Began,
    Builtin,
    Cited,
    Closed,
    Ended,
    Event,
    Failed,
    Finished,
    Grew,
    Logged,
    Media,
    Opened,
    Reasoning,
    Refused,
    Sealed,
    Text,
    ToolUse,
    Transcribed,
    UsageTold,
)
from tests.translation.openai_responses.sdk import DIALECT, read_stream

FIXTURES = Path(__file__).parents[2] / "dialects" / "fixtures" / "openai.responses"
ORIGIN = "openai.responses"
CREATED = {"type": "response.created", "response": {"id": "resp_1", "model": "gpt-5", "created_at": 1763700000}}
USAGE = {"input_tokens": 5, "output_tokens": 3, "output_tokens_details": {"reasoning_tokens": 1}}
NOTE = {"type": "url_citation", "url": "https://a.example", "title": "A", "start_index": 0, "end_index": 2}


def sse(*events: Any) -> bytes:
    return b"".join(b"data: %b\n\n" % (json.dumps(event).encode()) for event in events)


def about(kind: str, index: int = 0, **fields: Any) -> dict[str, Any]:
    return {"type": f"response.{kind}", "output_index": index, "item_id": f"i{index}", **fields}


def completed(*output: Any, kind: str = "completed", **fields: Any) -> dict[str, Any]:
    reply = {"id": "resp_1", "model": "gpt-5", "status": kind, "output": list(output), "usage": USAGE, **fields}
    return {"type": f"response.{kind}", "response": reply}


def shape(events: list[Event]) -> list[tuple[Any, str]]:
    """Each part with all its text."""
    texts: dict[int, str] = {}
    opened = {event.at: event.part for event in events if isinstance(event, Opened)}
    for event in events:
        if isinstance(event, Grew):
            texts[event.at] = texts.get(event.at, "") + event.text
    return [(type(part).__name__, texts.get(at, "")) for at, part in opened.items()]


def is_orderly(events: list[Event]) -> None:
    """Began first, parts numbered in order, opened before they grow, closed before the end."""
    assert isinstance(events[0], Began)
    open: set[int] = set()
    seen = 0
    for event in events[1:]:
        assert not isinstance(event, Began)
        if isinstance(event, Opened):
            assert event.at == seen
            seen += 1
            open.add(event.at)
        elif isinstance(event, Grew | Sealed | Cited):
            assert event.at in open
        elif isinstance(event, Closed):
            open.remove(event.at)
        elif isinstance(event, Finished | Ended):
            assert not open


MESSAGE = {"id": "i0", "type": "message", "content": [{"type": "output_text", "text": "Bern", "annotations": [NOTE]}]}
CALL = {"id": "i0", "type": "function_call", "call_id": "call_1", "name": "f", "arguments": '{"a":1}'}
THOUGHT = {
    "id": "i0",
    "type": "reasoning",
    "summary": [{"type": "summary_text", "text": "One."}, {"type": "summary_text", "text": "Two."}],
    "encrypted_content": "gAAA",
}

TEXT_STREAM = [
    CREATED,
    {"type": "response.in_progress", "response": CREATED["response"]},
    about("output_item.added", item={"id": "i0", "type": "message", "content": []}),
    about("content_part.added", content_index=0, part={"type": "output_text", "text": ""}),
    about("output_text.delta", content_index=0, delta="Be", logprobs=[{"token": "Be", "logprob": -0.1}]),
    about("output_text.delta", content_index=0, delta="rn", logprobs=[], obfuscation="x"),
    about("output_text.annotation.added", content_index=0, annotation_index=0, annotation=NOTE),
    about("output_text.done", content_index=0, text="Bern"),
    about("content_part.done", content_index=0, part=MESSAGE["content"][0]),  # type: ignore[index]
    about("output_item.done", item=MESSAGE),
    completed(MESSAGE),
]


def test_a_text() -> None:
    events = read_stream(sse(*TEXT_STREAM))
    is_orderly(events)
    assert events[0] == Began("resp_1", "gpt-5", 1763700000)
    assert [type(event) for event in events[1:]] == [
        Opened, Grew, Logged, Grew, Cited, Closed, UsageTold, Finished, Ended
    ]  # fmt: skip
    assert events[-3:] == [UsageTold(Usage(input=5, output=3, reasoning=1)), Finished(0, "stop"), Ended()]


@pytest.mark.parametrize("missing", range(1, len(TEXT_STREAM) - 1))
def test_what_a_server_leaves_out_is_taken_from_elsewhere(missing: int) -> None:
    events = read_stream(sse(*TEXT_STREAM[:missing], *TEXT_STREAM[missing + 1 :]))
    is_orderly(events)
    if missing != 4:  # a lost piece cannot be told from one that was never there
        assert shape(events) == [("Text", "Bern")]


@pytest.mark.parametrize("kept", [(7,), (8,), (9,), (), (4, 5), (2, 9), (3, 8)])
def test_a_few_events_are_enough(kept: tuple[int, ...]) -> None:
    events = read_stream(sse(*(TEXT_STREAM[index] for index in kept), TEXT_STREAM[-1]))
    is_orderly(events)
    assert shape(events) == [("Text", "Bern")]
    assert len([event for event in events if isinstance(event, Cited)]) == 1


def test_two_calls_at_once() -> None:
    second = {**CALL, "id": "i1", "call_id": "call_2"}
    events = read_stream(
        sse(
            CREATED,
            about("output_item.added", item={**CALL, "arguments": ""}),
            about("output_item.added", 1, item={**second, "arguments": ""}),
            about("function_call_arguments.delta", delta='{"a"'),
            about("function_call_arguments.delta", 1, delta='{"a":'),
            about("function_call_arguments.delta", delta=":1}"),
            about("function_call_arguments.done", arguments='{"a":1}'),
            about("function_call_arguments.done", 1, arguments='{"a":1}'),
            about("output_item.done", item=CALL),
            about("output_item.done", 1, item=second),
            completed(CALL, second),
        )
    )
    is_orderly(events)
    assert shape(events) == [("ToolUse", '{"a":1}')] * 2
    assert [event.part.id for event in events if isinstance(event, Opened)] == ["call_1", "call_2"]  # type: ignore[union-attr]
    assert events[-2] == Finished(0, "tools")


@pytest.mark.parametrize("pieces", [True, False])
def test_thoughts(pieces: bool) -> None:
    told = [
        about("output_item.added", item={"id": "i0", "type": "reasoning", "summary": []}),
        about("reasoning_summary_part.added", summary_index=0, part={"type": "summary_text", "text": ""}),
        about("reasoning_summary_text.delta", summary_index=0, delta="One."),
        about("reasoning_summary_text.done", summary_index=0, text="One."),
        about("reasoning_summary_part.added", summary_index=1, part={"type": "summary_text", "text": ""}),
        about("reasoning_summary_text.delta", summary_index=1, delta="Two"),
        about("reasoning_summary_text.done", summary_index=1, text="Two."),
    ]
    events = read_stream(
        sse(CREATED, *(told if pieces else []), about("output_item.done", item=THOUGHT), completed(THOUGHT))
    )
    is_orderly(events)
    assert shape(events) == [("Reasoning", "One.\n\nTwo.")]
    assert Sealed(0, 0, "gAAA") in events
    part = next(event.part for event in events if isinstance(event, Opened))
    assert part == Reasoning(summary=True, id="i0", origin=ORIGIN)


def test_thoughts_of_open_models() -> None:
    events = read_stream(sse(CREATED, about("reasoning_text.delta", content_index=0, delta="Hm"), completed()))
    assert Opened(0, 0, Reasoning(id="i0", origin=ORIGIN)) in events
    assert Grew(0, 0, "Hm") in events


def test_only_a_seal() -> None:
    events = read_stream(sse(CREATED, about("output_item.done", item={**THOUGHT, "summary": []}), completed()))
    assert shape(events) == [("Reasoning", "")]
    assert Sealed(0, 0, "gAAA") in events


def test_refusals_and_free_form_tools() -> None:
    custom = {"id": "i1", "type": "custom_tool_call", "call_id": "c", "name": "patch", "input": "*** Begin"}
    events = read_stream(
        sse(
            CREATED,
            about("refusal.delta", content_index=0, delta="I will"),
            about("refusal.done", content_index=0, refusal="I will not."),
            about("output_item.added", 1, item={**custom, "input": ""}),
            about("custom_tool_call_input.delta", 1, delta="*** "),
            about("custom_tool_call_input.done", 1, input="*** Begin"),
            completed(custom, kind="completed"),
        )
    )
    is_orderly(events)
    assert shape(events) == [("Refused", "I will not."), ("ToolUse", "*** Begin")]
    assert [type(event.part) for event in events if isinstance(event, Opened)] == [Refused, ToolUse]


def test_steps_of_the_provider() -> None:
    search = {
        "id": "ws_1",
        "type": "web_search_call",
        "status": "completed",
        "action": {"type": "search", "query": "Bern"},
    }
    image = {"id": "ig_1", "type": "image_generation_call", "result": "QUFB", "output_format": "webp"}
    events = read_stream(
        sse(
            CREATED,
            about("output_item.added", item={**search, "status": "in_progress"}),
            about("web_search_call.in_progress"),
            about("web_search_call.searching"),
            about("web_search_call.completed"),
            about("output_item.done", item=search),
            about("image_generation_call.partial_image", 1, partial_image_b64="QQ=="),
            about("output_item.done", 1, item=image),
            completed(search, image),
        )
    )
    is_orderly(events)
    assert [event.part for event in events if isinstance(event, Opened)] == [
        Builtin(kind="web_search", raw=[search], text="Bern", origin=ORIGIN),
        Media(kind="image", mime="image/webp", data="QUFB", id="ig_1", origin=ORIGIN),
    ]


@pytest.mark.parametrize(
    ("kind", "details", "finish"),
    [
        ("incomplete", {"reason": "max_output_tokens"}, "length"),
        ("incomplete", {"reason": "content_filter"}, "filtered"),
        ("incomplete", None, "length"),
        ("completed", None, "stop"),
    ],
)
def test_how_it_ends(kind: str, details: Any, finish: str) -> None:
    events = read_stream(sse(CREATED, completed(MESSAGE, kind=kind, incomplete_details=details)))
    assert [event.finish for event in events if isinstance(event, Finished)] == [finish]


@pytest.mark.parametrize(
    ("event", "status", "message"),
    [
        ({"type": "error", "code": "rate_limit_exceeded", "message": "Slow down."}, 429, "Slow down."),
        ({"type": "error", "error": {"type": "server_error", "message": "Oh."}}, 500, "Oh."),
        ({"type": "response.failed", "response": {"error": {"code": "server_error", "message": "Oh."}}}, 500, "Oh."),
        ({"type": "response.failed", "response": None}, 500, "The provider reported an error."),
        ({"type": "response.cancelled", "response": {}}, 500, "The provider broke off its reply."),
        ({"error": {"message": "No.", "code": 400}}, 400, "No."),
    ],
)
def test_errors_in_the_stream(event: Any, status: int, message: str) -> None:
    events = read_stream(sse(CREATED, event, completed()))
    last = events[-1]
    assert isinstance(last, Failed)
    assert (last.failure.status, last.failure.message) == (status, message)


def test_a_server_that_ends_as_chat_does() -> None:
    events = read_stream(sse(CREATED, TEXT_STREAM[4]) + b"data: [DONE]\n\n")
    assert events[-2:] == [Finished(0, "stop"), Ended()]


def test_what_is_no_json() -> None:
    with pytest.raises(UpstreamFailed):
        read_stream(b"data: <html>\n\n")
    with pytest.raises(UpstreamFailed):
        read_stream(b'data: {"type":"response.completed", "x": ' + b"[" * 100_000 + b"\n\n")
    assert read_stream(b": ping\n\nevent: ping\n\ndata: 1\n\ndata: {}\n\n") == []


@pytest.mark.parametrize("name", [path.name for path in sorted(FIXTURES.glob("*.sse"))])
def test_recorded_streams_cut_anywhere(name: str) -> None:
    source = (FIXTURES / name).read_bytes()
    whole = read_stream(source)
    assert isinstance(whole[0], Began | Failed)
    for at in range(0, len(source), 1 + len(source) // 150):
        framer, reader = SseFramer(), DIALECT.reader()
        parts = [*framer.feed(source[:at]), *framer.feed(source[at:]), *framer.end()]
        assert [event for part in parts for event in reader.feed(part)] == whole
    for at in range(0, len(source) - 3, 1 + len(source) // 150):
        cut = SseFramer()
        reader, found = DIALECT.reader(), []
        for part in cut.feed(source[:at]):
            found += reader.feed(part)
        assert [*found, *reader.finish()] == whole[: len(found)]
        assert not any(isinstance(event, Ended | Failed) for event in found)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["type", "text", "id"]), inner, max_size=3)
    ),
    max_leaves=6,
)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_wrong_types_in_events_break_nothing(data: st.DataObject) -> None:
    events: list[Any] = []
    for event in [*TEXT_STREAM, about("output_item.done", 1, item=THOUGHT), about("output_item.done", 2, item=CALL)]:
        event = dict(event)
        if data.draw(st.integers(0, 3)) == 0:
            name = data.draw(st.sampled_from(sorted(event)))
            event[name] = data.draw(JSON)
        if isinstance(event.get("item"), dict) and data.draw(st.booleans()):
            event["item"] = {**event["item"], data.draw(st.sampled_from(sorted(CALL | THOUGHT))): data.draw(JSON)}
        events.append(event)
    found = read_stream(sse(*events))
    if found:
        is_orderly(found) if isinstance(found[0], Began) else None


def test_texts_of_one_part_only() -> None:
    assert shape(read_stream(sse(*TEXT_STREAM, *TEXT_STREAM))) == [("Text", "Bern")]
    assert isinstance(read_stream(sse(TEXT_STREAM[4]))[1], Opened)
    assert read_stream(sse(about("output_text.delta", delta="a")))[1] == Opened(0, 0, Text(text=""))


def test_half_of_a_character() -> None:
    halves = [about("output_text.delta", content_index=0, delta=delta) for delta in ("\ud83d", "\ude00")]
    texts = [event.text for event in read_stream(sse(CREATED, *halves)) if isinstance(event, Grew)]
    assert texts == ["\ud83d", "\ude00"]


def test_ids_that_change_from_event_to_event() -> None:
    events = [
        json.loads(json.dumps(event).replace('"i0"', f'"other{number}"')) for number, event in enumerate(TEXT_STREAM)
    ]
    found = read_stream(sse(*events))
    is_orderly(found)
    assert shape(found) == [("Text", "Bern")]


@pytest.mark.parametrize("id", ["i1", "changed"])
def test_a_last_event_that_leaves_items_out(id: str) -> None:
    call = {**CALL, "id": "i1"}
    events = [CREATED, about("output_item.added", 1, item={**call, "arguments": ""})]
    events += [about("function_call_arguments.delta", 1, delta='{"a":1}'), about("output_item.done", 1, item=call)]
    found = read_stream(sse(*events, completed({**call, "id": id})))
    is_orderly(found)
    assert shape(found) == [("ToolUse", '{"a":1}')]


def test_a_search_of_the_providers_own_is_no_call() -> None:
    """Perplexity announces one as a call that is complete, and puts its results in the call's place."""
    call = {"type": "function_call", "id": "fc", "call_id": "c", "name": "search_web", "arguments": "{}"}
    events = read_stream(
        sse(
            {"type": "response.created", "response": {"id": "r", "model": "m"}},
            {"type": "response.output_item.added", "output_index": 0, "item": {**call, "status": "completed"}},
            {"type": "response.reasoning.search_results", "results": []},
            {
                "type": "response.output_item.done",
                "output_index": 0,
                "item": {"type": "search_results", "queries": ["q"]},
            },
            {"type": "response.output_text.delta", "output_index": 1, "content_index": 0, "delta": "a"},
            {"type": "response.completed", "response": {"status": "completed", "output": []}},
        )
    )
    parts = [event.part for event in events if isinstance(event, Opened)]
    assert [type(part) for part in parts] == [Builtin, Text]
    assert [event.finish for event in events if isinstance(event, Finished)] == ["stop"]


def test_a_call_announced_as_complete() -> None:
    call = {"type": "function_call", "id": "fc", "call_id": "c", "name": "f", "arguments": ""}
    events = read_stream(
        sse(
            {"type": "response.output_item.added", "output_index": 0, "item": {**call, "status": "completed"}},
            {"type": "response.function_call_arguments.delta", "output_index": 0, "item_id": "fc", "delta": "{}"},
            {"type": "response.output_item.done", "output_index": 0, "item": {**call, "arguments": "{}"}},
            {"type": "response.completed", "response": {"status": "completed", "output": []}},
        )
    )
    assert [event.part for event in events if isinstance(event, Opened)] == [ToolUse(id="c", name="f", origin=ORIGIN)]
    assert [event.text for event in events if isinstance(event, Grew)] == ["{}"]


def test_sound() -> None:
    events = read_stream(
        sse(
            {"type": "response.audio.delta", "delta": "AAAA"},
            {"type": "response.audio.transcript.delta", "delta": "hi"},
            {"type": "response.audio.done"},
            {"type": "response.completed", "response": {"status": "completed", "output": []}},
        )
    )
    assert [event.part.kind for event in events if isinstance(event, Opened)] == ["audio"]  # type: ignore[union-attr]
    assert [event.text for event in events if isinstance(event, Grew | Transcribed)] == ["AAAA", "hi"]


def test_a_stream_cut_at_every_byte() -> None:
    source = sse(*TEXT_STREAM)
    whole = read_stream(source)
    for at in range(len(source)):
        framer, reader = SseFramer(), DIALECT.reader()
        first = [event for part in framer.feed(source[:at]) for event in reader.feed(part)]
        assert not any(isinstance(event, Ended) for event in first)
        rest = [event for part in [*framer.feed(source[at:]), *framer.end()] for event in reader.feed(part)]
        assert first + rest == whole


def test_events_without_places_are_known_by_their_items() -> None:
    def placeless(event: Any) -> Any:
        return {name: value for name, value in event.items() if name != "output_index"}

    assert shape(read_stream(sse(*map(placeless, TEXT_STREAM)))) == [("Text", "Bern")]
    second = {**CALL, "id": "i1", "call_id": "call_2"}
    events = [CREATED]
    for index, call in enumerate((CALL, second)):
        events.append(placeless(about("output_item.added", index, item={**call, "arguments": ""})))
    for index in (0, 1):
        events.append(placeless(about("function_call_arguments.delta", index, delta='{"a"')))
    events.append(placeless(about("output_item.done", item=CALL)))
    found = read_stream(sse(*events, completed(CALL, second)))
    is_orderly(found)
    assert shape(found) == [("ToolUse", '{"a":1}')] * 2
