"""Streams of Chat Completions, both ways. Chunks made from OpenAI's reference and what other servers send."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shin_gateway.dialects.parts import Part
from shin_gateway.dialects.sse import SsePart
from shin_gateway.errors import UpstreamFailed
from shin_gateway.outcome import Usage
from shin_gateway.translation.form import (
    Began,
    Citation,
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
from shin_gateway.translation.losses import Losses
from tests.translation.openai_chat.kit import (
    CHAT,
    accumulated,
    chunks_of,
    delta,
    events_of,
    origin,
    read,
    sse,
    stream_of,
)

DONE = "[DONE]"
USAGE = {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}


def tool(index: int | None, arguments: Any = None, id: str | None = None, name: str | None = None) -> dict[str, Any]:
    call: dict[str, Any] = {"function": {}}
    if index is not None:
        call["index"] = index
    if id is not None:
        call |= {"id": id, "type": "function"}
    if name is not None:
        call["function"]["name"] = name
    if arguments is not None:
        call["function"]["arguments"] = arguments
    return delta(tool_calls=[call])


def together(events: list[Event]) -> tuple[list[Any], list[Any], bool]:
    """Parts with their pieces put in, reasons to finish, whether it ended; checks what the contract says of order."""
    parts: dict[tuple[int, int], Any] = {}
    still: set[tuple[int, int]] = set()
    finished: list[Any] = []
    assert not events or isinstance(events[0], Began | Failed)
    for event in events:
        assert not isinstance(event, Opened | Grew | Closed | Finished) or event.choice not in [f[0] for f in finished]
        match event:
            case Opened():
                assert event.at == len([key for key in parts if key[0] == event.choice])
                parts[event.choice, event.at] = event.part
                still.add((event.choice, event.at))
            case Grew():
                assert (event.choice, event.at) in still
                part = parts[event.choice, event.at]
                name = "arguments" if isinstance(part, ToolUse) else "data" if isinstance(part, Media) else "text"
                setattr(part, name, getattr(part, name) + event.text)
            case Transcribed():
                parts[event.choice, event.at].text += event.text
            case Sealed():
                parts[event.choice, event.at].seal += event.seal
            case Cited():
                assert (event.choice, event.at) in still
                parts[event.choice, event.at].citations.append(event.citation)
            case Closed():
                still.remove((event.choice, event.at))
            case Finished():
                assert not [key for key in still if key[0] == event.choice]
                finished.append((event.choice, event.finish))
            case _:
                pass
    return list(parts.values()), finished, isinstance(events[-1], Ended) if events else False


def parts_of(*events: Any) -> list[Any]:
    parts, _, ended = together(events_of(sse(*events, DONE)))
    assert ended
    return parts


A, B = ToolUse(id="a", name="f", arguments='{"x":1}'), ToolUse(id="b", name="g", arguments="{}")


@pytest.mark.parametrize(
    ("events", "parts"),
    [
        (
            [delta(role="assistant", content=""), delta(content="a"), delta(content="b"), delta(finish="stop")],
            [Text(text="ab")],
        ),
        # a role in every chunk, null content
        ([delta(role="assistant", content=None), delta(role="assistant", content="a")], [Text(text="a")]),
        (
            [delta(reasoning_content="r", content=None), delta(content="a", reasoning_content=None)],
            [Reasoning(text="r", origin="openai.chat"), Text(text="a")],
        ),
        (
            [delta(reasoning="r", reasoning_content="r"), delta(content="a")],
            [Reasoning(text="r", origin="openai.chat"), Text(text="a")],
        ),
        (
            [delta(content=[{"type": "thinking", "thinking": [{"type": "text", "text": "r"}]}]), delta(content="a")],
            [Reasoning(text="r", origin="openai.chat"), Text(text="a")],
        ),
        ([delta(refusal="n"), delta(refusal="o")], [Refused(text="no")]),
        # OpenAI
        ([tool(0, "", "a", "f"), tool(0, '{"x"'), tool(0, ":1}"), tool(1, "", "b", "g"), tool(1, "{}")], [A, B]),
        # interleaved
        ([tool(0, "", "a", "f"), tool(1, "", "b", "g"), tool(0, '{"x"'), tool(1, "{}"), tool(0, ":1}")], [A, B]),
        # whole calls in one delta, without index (Gemini's compatible API)
        (
            [
                delta(
                    tool_calls=[
                        {"id": "a", "function": {"name": "f", "arguments": '{"x":1}'}},
                        {"id": "b", "function": {"name": "g", "arguments": "{}"}},
                    ]
                )
            ],
            [A, B],
        ),
        # one by one without index
        ([tool(None, '{"x":1}', "a", "f"), tool(None, "{}", "b", "g")], [A, B]),
        # all with index 0
        ([tool(0, '{"x":1}', "a", "f"), tool(0, "{}", "b", "g")], [A, B]),
        # ids repeated, empty, or new with every piece
        ([tool(0, "", "a", "f"), tool(0, '{"x"', "a", "f"), tool(0, ":1}", "", "")], [A]),
        ([tool(0, "", "a", "f"), tool(0, '{"x"', "zz"), tool(0, ":1}", "yy")], [A]),
        # without index in later pieces
        ([tool(None, "", "a", "f"), tool(None, '{"x":1}')], [A]),
        # arguments that are an object (Ollama), a name that comes late
        ([tool(0, {"x": 1}, "a", "f")], [A]),
        ([tool(0, '{"x"', "a"), tool(0, ":1}", None, "f")], [A]),
        # a whole message in place of deltas
        (
            [{"id": "i", "choices": [{"index": 0, "message": {"content": "a"}, "finish_reason": "stop"}]}],
            [Text(text="a")],
        ),
        # a reason to finish with every chunk
        (
            [delta(content="a", finish="stop"), delta(content="b", finish="stop")],
            [Text(text="ab")],
        ),
        # sound and pictures
        (
            [
                delta(audio={"id": "i", "transcript": "t"}),
                delta(audio={"data": "AAAA"}),
                delta(audio={"data": "BBBB", "transcript": "u"}),
                delta(audio={"expires_at": 1}),
            ],
            [Media(kind="audio", id="i", data="AAAABBBB", text="tu", origin="openai.chat")],
        ),
        (
            [delta(images=[{"image_url": {"url": "data:image/png;base64,AAAA"}}])],
            [Media(kind="image", mime="image/png", data="AAAA")],
        ),
        # OpenRouter's thoughts with a signature
        (
            [
                delta(reasoning="r", reasoning_details=[{"type": "reasoning.text", "text": "r", "index": 0}]),
                delta(reasoning="s", reasoning_details=[{"type": "reasoning.text", "text": "s", "index": 0}]),
                delta(reasoning_details=[{"type": "reasoning.text", "signature": "x", "index": 0}]),
                delta(content="a"),
            ],
            [
                Reasoning(text="rs", seal='{"type":"reasoning.text","signature":"x","index":0}', origin="openai.chat"),
                Text(text="a"),
            ],
        ),
        (
            [delta(reasoning_details=[{"type": "reasoning.encrypted", "data": "x", "index": 0}]), delta(content="a")],
            [
                Reasoning(seal='{"type":"reasoning.encrypted","data":"x","index":0}', origin="openai.chat"),
                Text(text="a"),
            ],
        ),
        (
            [
                delta(
                    tool_calls=[
                        {
                            "index": 0,
                            "id": "a",
                            "function": {"name": "f", "arguments": '{"x":1}'},
                            "extra_content": {"google": {"thought_signature": "s"}},
                        }
                    ]
                )
            ],
            [ToolUse(id="a", name="f", arguments='{"x":1}', seal="s", origin="gemini.generate")],
        ),
    ],
)
def test_what_servers_send(events: list[Any], parts: list[Any]) -> None:
    assert parts_of(*events) == parts


AZURE = {
    "id": "",
    "object": "",
    "created": 0,
    "model": "",
    "choices": [],
    "prompt_filter_results": [{"prompt_index": 0}],
}


@pytest.mark.parametrize(
    ("events", "usage"),
    [
        ([delta(content="a", finish="stop"), {"id": "i", "choices": [], "usage": USAGE}], Usage(input=3, output=4)),
        ([delta(content="a"), {**delta(finish="stop"), "usage": USAGE}], Usage(input=3, output=4)),
        (
            [delta(content="a"), {**delta(finish="stop"), "x_groq": {"id": "r", "usage": USAGE}}],
            Usage(input=3, output=4),
        ),
        ([AZURE, delta(content="a"), delta(finish="stop")], None),
        ([{**delta(content="a"), "usage": None}, delta(finish="stop")], None),
    ],
)
def test_where_usage_stands(events: list[Any], usage: Usage | None) -> None:
    found = events_of(sse(*events, DONE))
    told = [event.usage for event in found if isinstance(event, UsageTold)]
    assert (told[-1] if told else None) == usage
    assert found[0] == Began("chatcmpl-1", "gpt", 1)
    assert isinstance(found[-1], Ended)


@pytest.mark.parametrize(
    ("events", "finished", "ended"),
    [
        ([delta(content="a", finish="stop"), DONE], [(0, "stop")], True),
        ([delta(content="a", finish="stop")], [(0, "stop")], True),
        ([delta(content="a"), DONE], [(0, "stop")], True),
        ([tool(0, "{}", "a", "f"), DONE], [(0, "tools")], True),
        ([tool(0, "{}", "a", "f"), delta(finish="stop"), DONE], [(0, "tools")], True),
        ([delta(content="a")], [], False),
        ([delta(content="a"), delta(1, content="b"), delta(finish="length")], [], False),
        (
            [delta(content="a"), delta(1, content="b"), delta(finish="length"), delta(1, finish="stop")],
            [(0, "length"), (1, "stop")],
            True,
        ),
        ([delta(content="a", finish="stop"), delta(content="late", finish="length"), DONE], [(0, "length")], True),
        ([DONE], [], True),
        ([], [], False),
    ],
)
def test_ends(events: list[Any], finished: list[Any], ended: bool) -> None:
    assert together(events_of(sse(*events)))[1:] == (finished, ended)


@pytest.mark.parametrize(
    ("event", "status"),
    [
        ({"error": {"message": "overloaded", "type": "overloaded_error"}}, 529),
        ({"error": {"message": "slow", "code": 429}}, 429),
        ({"error": "no"}, 500),
        ({"object": "error", "message": "bad", "code": 400}, 400),
        (
            {
                "id": "i",
                "choices": [
                    {"index": 0, "delta": {}, "finish_reason": "error", "error": {"code": 502, "message": "x"}}
                ],
            },
            502,
        ),
        ({"id": "i", "choices": [{"index": 0, "delta": {}, "finish_reason": "insufficient_system_resource"}]}, 502),
    ],
)
def test_errors_in_mid_stream(event: Any, status: int) -> None:
    found = events_of(sse(delta(content="a"), event, delta(content="b"), DONE))
    assert isinstance(found[-1], Failed) and found[-1].failure.status == status
    assert not any(isinstance(one, Finished | Ended) for one in found)


def test_an_error_event_without_an_error_object() -> None:
    part = SsePart(b'event: error\ndata: {"message": "gone", "code": 503}\n\n')
    assert [type(event) for event in CHAT.reader().feed(part)] == [Failed]


def test_what_is_no_json_is_a_failure() -> None:
    with pytest.raises(UpstreamFailed):
        list(CHAT.reader().feed(SsePart(b"data: <html>\n\n")))
    assert list(CHAT.reader().feed(SsePart(b"data: 5\n\n"))) == []
    assert list(CHAT.reader().feed(SsePart(b": ping\n\n"))) == []
    assert list(CHAT.reader().feed(SsePart(b'data: {"choices":[],"n":1e999}\n\n'))) == []


LONG = sse(
    AZURE,
    delta(role="assistant", content="", refusal=None),
    delta(reasoning_content="höm"),
    delta(content="Grüße 👋"),
    tool(0, "", "a", "f"),
    tool(0, '{"x":1}'),
    delta(finish="tool_calls"),
    {"id": "i", "choices": [], "usage": USAGE, "obfuscation": "xyz"},
    DONE,
)


def test_a_stream_cut_anywhere_is_read_the_same() -> None:
    whole = events_of(LONG)
    assert together(whole)[0] == [Reasoning(text="höm", origin="openai.chat"), Text(text="Grüße 👋"), A]
    for cut in range(len(LONG)):
        again = events_of(LONG, cut)
        assert len(again) == len(whole)


def test_a_stream_that_breaks_off_anywhere_has_no_end() -> None:
    end = LONG.index(b'"finish_reason": "tool_calls"')
    for cut in range(0, end, 7):
        try:
            assert not any(isinstance(event, Ended) for event in events_of(LONG[:cut]))
        except UpstreamFailed:
            pass


# Written for OpenAI's clients

EVERYTHING: list[Event] = [
    Began("msg_1", "real", 7),
    Opened(0, 0, Reasoning(origin="anthropic.messages")),
    Grew(0, 0, "wh"),
    Grew(0, 0, "y"),
    Sealed(0, 0, "sig"),
    Closed(0, 0),
    Opened(0, 1, Text(text="")),
    Grew(0, 1, "Hel"),
    Logged(0, [{"token": "Hel", "logprob": -0.1}]),
    Grew(0, 1, "lo"),
    Cited(0, 1, Citation(url="https://e.org", title="E")),
    Cited(0, 1, Citation(url="https://f.org", title="F", start=0, end=2)),
    Closed(0, 1),
    Opened(0, 2, ToolUse(id="a", name="f", seal="s", origin="gemini.generate")),
    Opened(0, 3, ToolUse(id="b", name="g")),
    Opened(0, 4, ToolUse(id="c", name="h")),
    Grew(0, 2, '{"x"'),
    Grew(0, 4, '{"y":2}'),
    Grew(0, 2, ":1}"),
    Closed(0, 2),
    Closed(0, 3),
    Closed(0, 4),
    Opened(2, 0, Refused(text="")),
    Grew(2, 0, "no"),
    Closed(2, 0),
    Finished(0, "tools"),
    Finished(2, "refused"),
    UsageTold(Usage(input=9, output=8, cached=3)),
    Ended(),
]


def test_the_sdk_accumulates_everything() -> None:
    found = accumulated(stream_of(EVERYTHING, origin(stream_usage=True)))
    first = found.choices[0]
    assert (found.id, found.model, found.created) == ("msg_1", "asked", 7)
    assert first.message.content == "Hello"
    assert first.message.reasoning_content == "why"
    assert [(call.id, call.function.name, call.function.arguments) for call in first.message.tool_calls] == [
        ("a", "f", '{"x":1}'),
        ("b", "g", "{}"),
        ("c", "h", '{"y":2}'),
    ]
    assert [(note.url_citation.start_index, note.url_citation.end_index) for note in first.message.annotations] == [
        (0, 5),
        (0, 2),
    ]
    assert first.logprobs.content[0].token == "Hel"
    assert [choice.finish_reason for choice in found.choices] == ["tool_calls", "stop", "stop"]
    assert found.choices[2].message.refusal == "no"
    assert found.usage.prompt_tokens_details.cached_tokens == 3


def test_the_order_of_chunks() -> None:
    chunks = chunks_of(stream_of(EVERYTHING, origin(stream_usage=True)))
    assert len({(chunk["id"], chunk["created"], chunk["model"], chunk["object"]) for chunk in chunks}) == 1
    assert chunks[0]["choices"][0]["delta"] == {"role": "assistant", "content": "", "refusal": None}
    assert chunks[-1]["choices"] == [] and chunks[-1]["usage"]["total_tokens"] == 17
    pieces = [call for chunk in chunks for choice in chunk["choices"] for call in choice["delta"].get("tool_calls", [])]
    assert pieces[0] == {"index": 0, "id": "a", "type": "function", "function": {"name": "f", "arguments": ""}}
    assert all("function" in piece and "index" in piece for piece in pieces)
    assert not [chunk for chunk in chunks_of(stream_of(EVERYTHING)) if "usage" in chunk or not chunk["choices"]]


def test_thoughts_and_their_seals_come_back_on_the_next_turn() -> None:
    message = accumulated(stream_of(EVERYTHING)).choices[0].message.to_dict()
    parts = read({"messages": [{"role": "user", "content": "u"}, message]}).messages[1].parts
    assert parts[0] == Reasoning(text="why", seal="sig", origin="anthropic.messages")
    assert next(part for part in parts if isinstance(part, ToolUse)).seal == "s"


def test_what_is_complete_when_it_opens() -> None:
    found = accumulated(
        stream_of(
            [
                Began("", "m"),
                Opened(0, 0, Reasoning(text="r", seal="x", redacted=False, origin="gemini.generate")),
                Closed(0, 0),
                Opened(0, 1, Reasoning(text="s")),
                Closed(0, 1),
                Opened(0, 2, Text(text="t", citations=[Citation(url="u")])),
                Closed(0, 2),
                Opened(0, 3, ToolUse(id="", name="f", arguments='{"x":1}')),
                Closed(0, 3),
                Opened(0, 4, ToolUse(id="b", name="c", custom=True)),
                Grew(0, 4, "code"),
                Closed(0, 4),
                Opened(0, 5, Media(kind="audio", id="i", data="AAAA", text="hi")),
                Grew(0, 5, "BBBB"),
                Transcribed(0, 5, " you"),
                Closed(0, 5),
                Opened(0, 6, Media(kind="image", mime="image/png", data="AA")),
                Grew(0, 6, "AA"),
                Closed(0, 6),
                Finished(0, "tools"),
                Ended(),
            ]
        ),
        strict=False,  # its types of chunks lag behind in custom tools
    )
    message = found.choices[0].message
    assert found.id == "chatcmpl-c1"
    assert (message.content, message.reasoning_content) == ("t", "r\n\ns")
    assert message.tool_calls[0].id == "call_c1_0"
    assert message.tool_calls[0].function.arguments == '{"x":1}'
    assert message.tool_calls[1].custom == {"name": "c", "input": "code"} or message.tool_calls[1].custom == {
        "name": "c",
        "input": "code",
    }
    assert (message.audio.data, message.audio.transcript) == ("AAAABBBB", "hi you")
    assert message.to_dict()["images"][0]["image_url"]["url"] == "data:image/png;base64,AAAA"


def test_a_prompt_that_was_refused() -> None:
    for events in ([Began("i", "m"), Ended("SAFETY")], [Ended("SAFETY")]):
        found = accumulated(stream_of(list(events)))  # type: ignore[arg-type]
        assert found.choices[0].finish_reason == "content_filter"


def test_a_client_that_knows_only_functions() -> None:
    losses = Losses()
    found = accumulated(stream_of(EVERYTHING, origin({"functions": [{}]}), losses))
    call = found.choices[0].message.function_call
    assert (call.name, call.arguments) == ("f", '{"x":1}')
    assert found.choices[0].finish_reason == "function_call"
    assert losses.dropped == ("function_call",)


def test_half_a_pair_of_surrogates_goes_through() -> None:
    out = stream_of(
        events_of(b'data: {"id":"i","choices":[{"index":0,"delta":{"content":"\\ud83d"}}]}\n\ndata: [DONE]\n\n')
    )
    assert '"\\ud83d"' in out.decode()


@pytest.mark.parametrize("cut", range(0, 400, 13))
def test_from_stream_to_stream(cut: int) -> None:
    """What one reads, the other writes, and it means the same."""
    first = events_of(LONG, cut)
    again = events_of(stream_of(first, origin(stream_usage=True)))
    assert together(again)[0] == together(events_of(LONG))[0]
    assert [event for event in again if isinstance(event, UsageTold)] == [UsageTold(Usage(input=3, output=4))]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)
WORDS = (
    "content refusal audio images annotations tool_calls function_call reasoning reasoning_content reasoning_details"
)
CALLS = st.lists(
    st.fixed_dictionaries(
        {},
        optional={
            "index": st.integers(-1, 2) | st.none(),
            "id": st.sampled_from(["", "a", "b", None]),
            "function": st.fixed_dictionaries(
                {}, optional={"name": st.sampled_from(["", "f"]), "arguments": st.sampled_from(["", "{", "{}", None])}
            ),
        },
    ),
    max_size=3,
)
DELTAS = st.dictionaries(st.sampled_from(WORDS.split()), JSON) | st.builds(lambda calls: {"tool_calls": calls}, CALLS)
CHUNKS = st.fixed_dictionaries(
    {
        "choices": st.lists(
            st.fixed_dictionaries(
                {
                    "index": st.integers(-1, 2) | JSON,
                    "delta": DELTAS,
                    "finish_reason": st.sampled_from([None, None, None, "stop", "length", 3]),
                }
            ),
            max_size=2,
        )
    },
    optional={"usage": JSON, "id": JSON, "created": JSON, "x_groq": JSON, "error": JSON},
)


class _Data(Part):
    def __init__(self, value: Any) -> None:
        super().__init__(b"")
        self._value = json.dumps(value).encode()

    @property
    def data(self) -> bytes:
        return self._value


@settings(max_examples=150, deadline=None)
@given(st.lists(CHUNKS, max_size=5))
def test_any_stream_is_read_in_order_and_written_for_the_sdk(chunks: list[Any]) -> None:
    reader = CHAT.reader()
    events: list[Event] = []
    try:
        for chunk in chunks:
            events += reader.feed(_Data(chunk))
    except UpstreamFailed:
        return
    if any(isinstance(event, Failed) for event in events):
        return
    events += reader.feed(SsePart(b"data: [DONE]\n\n"))
    _, _, ended = together(events)
    assert ended
    accumulated(stream_of(events))
