"""Gemini's streams into events, and events as streams that Google's client accepts."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import msgspec
import pytest
from google.genai import types
from hypothesis import given, settings
from hypothesis import strategies as st

from shin_gateway.dialects.gemini_generate import GeminiGenerate as Dialect
from shin_gateway.dialects.json_array import JsonArrayFramer
from shin_gateway.dialects.parts import Framer
from shin_gateway.dialects.sse import SseFramer
from shin_gateway.errors import UpstreamFailed
from shin_gateway.outcome import Usage
from shin_gateway.translation import replay
from shin_gateway.translation.form import (
    Answer,
    Began,
    Chat,
    Choice,
    Citation,
    Cited,
    Closed,
    Ended,
    Event,
    Failed,
    Finished,
    Grew,
    Opened,
    Reasoning,
    Sealed,
    Text,
    ToolUse,
    UsageTold,
)
from shin_gateway.translation.gemini_generate import GeminiGenerate
from shin_gateway.translation.losses import Losses
from shin_gateway.translation.translator import Origin

Json = dict[str, Any]
GEMINI = GeminiGenerate()
SSE = "/v1beta/models/m:streamGenerateContent?alt=sse"
ARRAY = "/v1beta/models/m:streamGenerateContent"
OWN = "gemini.generate"


def chunk(*parts: Json, reason: str = "", **more: Any) -> Json:
    candidate: Json = {"content": {"parts": list(parts), "role": "model"}, "index": 0}
    if reason:
        candidate["finishReason"] = reason
    return {"candidates": [candidate], "modelVersion": "g", "responseId": "r1", **more}


def sse(*chunks: Any) -> bytes:
    return b"".join(b"data: " + msgspec.json.encode(one) + b"\r\n\r\n" for one in chunks)


def array(*chunks: Any) -> bytes:
    return b"[" + b",\r\n".join(msgspec.json.encode(one) for one in chunks) + b"\n]"


def read(framer: Framer, *pieces: bytes) -> list[Event]:
    reader = GEMINI.reader()
    parts = [part for piece in pieces for part in framer.feed(piece)]
    events = [event for part in [*parts, *framer.end()] for event in reader.feed(part)]
    return [*events, *reader.finish()]


def events_of(*chunks: Any) -> list[Event]:
    events = read(SseFramer(), sse(*chunks))
    assert read(JsonArrayFramer(), array(*chunks)) == events
    return events


USAGE = {"usageMetadata": {"promptTokenCount": 4, "candidatesTokenCount": 2, "thoughtsTokenCount": 1}}
CHUNKS = [
    chunk({"text": "hm", "thought": True}),
    chunk({"text": "m", "thought": True}, {"text": "Hé"}),
    chunk({"text": "llo"}, {"functionCall": {"name": "f", "args": {"a": 1}}, "thoughtSignature": "c2ln"},
          {"functionCall": {"name": "g", "id": "own"}}),
    chunk({"text": ""}, reason="STOP", **USAGE),
]  # fmt: skip


# ── read ────────────────────────────────────────────────────────────────────────────────────────


def test_a_stream() -> None:
    events = events_of(*CHUNKS)
    use = events[9]
    assert isinstance(use, Opened) and isinstance(use.part, ToolUse)
    assert events == [
        Began("r1", "g"),
        Opened(0, 0, Reasoning(summary=True, origin=OWN)),
        Grew(0, 0, "hm"),
        Grew(0, 0, "m"),
        Closed(0, 0),
        Opened(0, 1, Text(text="")),
        Grew(0, 1, "Hé"),
        Grew(0, 1, "llo"),
        Closed(0, 1),
        Opened(0, 2, ToolUse(id=use.part.id, name="f", arguments='{"a":1}', seal="c2ln", origin=OWN)),
        Closed(0, 2),
        Opened(0, 3, ToolUse(id="own", name="g", arguments="{}", origin=OWN)),
        Closed(0, 3),
        Finished(0, "tools"),
        UsageTold(Usage(input=4, output=3, reasoning=1)),
        Ended(),
    ]


def test_every_cut_gives_the_same() -> None:
    expected = events_of(*CHUNKS)
    for body, framer in ((sse(*CHUNKS), SseFramer), (array(*CHUNKS), JsonArrayFramer)):
        for at in range(len(body)):
            assert read(framer(), body[:at], body[at:]) == expected


def test_signatures() -> None:
    events = events_of(
        chunk({"text": "hm", "thought": True}),
        chunk({"text": "", "thought": True, "thoughtSignature": "YQ=="}),
        chunk({"text": "x"}),
        chunk({"text": "", "thoughtSignature": "Yg=="}, reason="STOP"),
    )
    assert Sealed(0, 0, "YQ==") in events
    assert Opened(0, 2, Reasoning(seal="Yg==", origin=OWN)) in events


def test_reasons_in_every_chunk_and_in_none() -> None:
    repeated = events_of(chunk({"text": "a"}, reason="STOP"), chunk({"text": "b"}, reason="MAX_TOKENS"))
    assert [event for event in repeated if isinstance(event, Finished)] == [Finished(0, "length")]
    assert Finished(0, "stop") in events_of(chunk({"text": "a"}))
    assert Finished(0, "stop") in events_of({"usageMetadata": {"promptTokenCount": 1}})


def test_a_blocked_prompt() -> None:
    assert events_of({"promptFeedback": {"blockReason": "SAFETY"}}) == [Began("", ""), Ended("SAFETY")]


def test_an_error_in_mid_stream() -> None:
    error = {"error": {"code": 503, "message": "overloaded", "status": "UNAVAILABLE"}}
    for chunks in ([chunk({"text": "a"}), error, chunk({"text": "b"})], [chunk({"text": "a"}), [error]]):
        events = read(SseFramer(), sse(*chunks))
        assert isinstance(events[-1], Failed) and events[-1].failure.status == 503


def test_citations() -> None:
    metadata = {
        "groundingChunks": [{"web": {"uri": "u", "title": "t"}}],
        "groundingSupports": [{"segment": {"startIndex": 2, "endIndex": 4}, "groundingChunkIndices": [0]}],
    }
    last = chunk({"text": "b"}, reason="STOP")
    last["candidates"][0]["groundingMetadata"] = metadata
    (cited,) = [event for event in events_of(chunk({"text": "éa"}), last) if isinstance(event, Cited)]
    assert (cited.at, cited.citation.url, cited.citation.start, cited.citation.end) == (0, "u", 1, 3)


def test_several_candidates() -> None:
    other = {"candidates": [{"content": {"parts": [{"text": "y"}]}, "index": 1, "finishReason": "STOP"}]}
    events = events_of(chunk({"text": "x"}), other)
    assert Grew(1, 0, "y") in events
    assert events[-5:] == [Closed(0, 0), Finished(0, "stop"), Closed(1, 0), Finished(1, "stop"), Ended()]


def test_code_assist() -> None:
    assert events_of(*({"response": one} for one in CHUNKS)) == events_of(*CHUNKS)


@pytest.mark.parametrize("data", [b"data: <html>\n\n", b"data: 5\n\n", b'data: {"candidates": [\n\n'])
def test_what_is_no_stream(data: bytes) -> None:
    with pytest.raises(UpstreamFailed):
        read(SseFramer(), data)


def test_a_signature_without_a_text_belongs_to_the_text_before_it() -> None:
    """The last chunk of newer models holds nothing but it, and the sources of the text."""
    grounding = {"groundingChunks": [{"web": {"uri": "https://a", "title": "A"}}],
                 "groundingSupports": [{"segment": {"endIndex": 2}, "groundingChunkIndices": [0]}]}  # fmt: skip
    last = chunk({"text": "", "thoughtSignature": "c2ln"}, reason="STOP")
    last["candidates"][0]["groundingMetadata"] = grounding
    events = events_of(
        chunk({"text": "Yes"}), chunk({"text": "", "thoughtSignature": "b25l"}), chunk({"text": "!"}), last
    )
    assert events[1:4] == [Opened(0, 0, Text(text="")), Grew(0, 0, "Yes"), Grew(0, 0, "!")]
    cited = events[4]
    assert isinstance(cited, Cited) and (cited.citation.url, cited.citation.end) == ("https://a", 2)
    assert events[5:] == [
        Closed(0, 0),
        Opened(0, 1, Reasoning(seal="b25l", origin=OWN)),
        Closed(0, 1),
        Opened(0, 2, Reasoning(seal="c2ln", origin=OWN)),
        Closed(0, 2),
        Finished(0, "stop"),
        Ended(),
    ]


def uses_of(*chunks: Any) -> list[tuple[str, Any, str]]:
    parts = [event.part for event in events_of(*chunks) if isinstance(event, Opened)]
    return [(part.name, json.loads(part.arguments), part.seal) for part in parts if isinstance(part, ToolUse)]


def piece(path: str = "", go_on: bool = True, **value: Any) -> Json:
    call: Json = {"willContinue": True} if go_on else {}
    if path:
        call["partialArgs"] = [{"jsonPath": path, **value}]
    return chunk({"functionCall": call})


def named(name: str, **more: Any) -> Json:
    return chunk({"functionCall": {"name": name, "willContinue": True}, **more})


@pytest.mark.parametrize(
    ("chunks", "expected"),
    [
        ([piece("$.a", stringValue="x", go_on=False)], {"a": "x"}),
        ([piece("$.a", stringValue="x"), piece("$.a", stringValue="y"), piece(go_on=False)], {"a": "xy"}),
        (
            [
                piece("$.o[0].n", stringValue="x"),
                piece("$.o[0].p", numberValue=0.5),
                piece(),
                piece("$.o[1]['k.l']", boolValue=False),
                piece("$.z", nullValue="NULL_VALUE", go_on=False),
            ],
            {"o": [{"n": "x", "p": 0.5}, {"k.l": False}], "z": None},
        ),
        ([piece("$.a", stringValue="x"), chunk({"text": ""}, reason="STOP")], {"a": "x"}),
        ([piece("$.a", stringValue="x")], {"a": "x"}),
        ([piece("$.a.b", numberValue=1), piece("$.a[0]", numberValue=2), piece(go_on=False)], {"a": {"b": 1}}),
        ([piece("$.a[99999999]", numberValue=1), piece("nonsense", numberValue=2), piece(go_on=False)], {"a": []}),
        ([piece(go_on=False)], {}),
    ],
)
def test_arguments_in_pieces(chunks: list[Json], expected: Json) -> None:
    assert uses_of(named("f", thoughtSignature="c2ln"), *chunks) == [("f", expected, "c2ln")]


def test_calls_one_after_the_other_in_pieces() -> None:
    found = uses_of(
        chunk({"functionCall": {"name": "none"}}), named("f"), piece("$.a", numberValue=1), piece(go_on=False),
        named("f"), piece("$.a", numberValue=2), named("g"),
        chunk({"functionCall": {"name": "whole", "args": {"b": 3}}}),
    )  # fmt: skip
    assert [(name, args) for name, args, _ in found] == [
        ("none", {}), ("f", {"a": 1}), ("f", {"a": 2}), ("g", {}), ("whole", {"b": 3})
    ]  # fmt: skip


_junk = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(
        st.sampled_from(["name", "args", "willContinue", "partialArgs", "jsonPath", "stringValue", "functionCall"]),
        inner, max_size=3),
    max_leaves=6,
)  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(st.lists(_junk, max_size=4))
def test_calls_that_make_no_sense_are_passed_over(calls: list[Any]) -> None:
    events = read(SseFramer(), sse(*[chunk({"functionCall": call}) for call in calls]))
    assert isinstance(events[-1], Ended)


@pytest.mark.parametrize(
    ("counts", "tier"),
    [({"serviceTier": "flex"}, "flex"), ({"serviceTier": "standard"}, "default"), ({"trafficType": "ON_DEMAND"}, "")],
)
def test_the_service_tier(counts: Json, tier: str) -> None:
    began = events_of(chunk({"text": "a"}, reason="STOP", usageMetadata={"promptTokenCount": 1, **counts}))[0]
    assert isinstance(began, Began) and began.service_tier == tier


# ── write ───────────────────────────────────────────────────────────────────────────────────────


def write(events: Iterable[Event], path: str = SSE, body: Json | None = None) -> bytes:
    writer = GEMINI.writer(Origin("call-1", "mine", Chat(), body or {}, path=path), Losses())
    return b"".join(map(writer.write, events))


def chunks_in(data: bytes) -> list[Json]:
    """Checks the bytes as strict clients do, and each chunk as Google's types do."""
    lines = data.decode().split("\r\n\r\n")
    assert lines.pop() == "" and all(line.startswith("data: {") and "\n" not in line for line in lines)
    return checked([json.loads(line[6:]) for line in lines])


def checked(found: list[Json]) -> list[Json]:
    for one in found:
        types.GenerateContentResponse.model_validate_json(json.dumps(one.get("response", one)))
        for candidate in one.get("candidates", ()):
            assert candidate["content"]["parts"]
    return found


def parts_in(found: list[Json]) -> list[Json]:
    return [part for one in found for part in one["candidates"][0]["content"]["parts"] if part != {"text": ""}]


EVENTS: list[Event] = [
    Began("a1", "other", usage=Usage(input=3)),
    Opened(0, 0, Reasoning(origin="anthropic.messages")),
    Grew(0, 0, "h"),
    Grew(0, 0, "m"),
    Sealed(0, 0, "SE"),
    Sealed(0, 0, "AL"),
    Closed(0, 0),
    Opened(0, 1, Text(text="")),
    Grew(0, 1, 'say "é"\n'),
    Cited(0, 1, Citation(url="u", title="t", start=5, end=6)),
    Closed(0, 1),
    Opened(0, 2, ToolUse(id="i", name="f")),
    Opened(0, 3, ToolUse(id="j", name="g")),
    Grew(0, 2, '{"a":'),
    Grew(0, 3, "{}"),
    Grew(0, 2, "1}"),
    Closed(0, 2),
    Closed(0, 3),
    Finished(0, "tools"),
    UsageTold(Usage(input=3, output=9, reasoning=4)),
    Ended(),
]


def test_a_written_stream() -> None:
    found = chunks_in(write(EVENTS))
    assert all((one["responseId"], one["modelVersion"]) == ("a1", "mine") for one in found)
    parts = parts_in(found)
    assert [part.pop("thoughtSignature", "") != "" for part in parts] == [False, False, True, False, True, False]
    assert parts == [
        {"text": "h", "thought": True},
        {"text": "m", "thought": True},
        {"text": "", "thought": True},
        {"text": 'say "é"\n'},
        {"functionCall": {"id": "i", "name": "f", "args": {"a": 1}}},
        {"functionCall": {"id": "j", "name": "g", "args": {}}},
    ]
    *others, last = found
    assert not any("finishReason" in one["candidates"][0] for one in others)
    assert last["candidates"][0]["finishReason"] == "STOP"
    assert last["candidates"][0]["groundingMetadata"]["groundingSupports"][0]["segment"] == {
        "startIndex": 5, "endIndex": 7, "text": "é",
    }  # fmt: skip
    assert last["usageMetadata"] == {
        "promptTokenCount": 3, "candidatesTokenCount": 5, "totalTokenCount": 12, "thoughtsTokenCount": 4,
    }  # fmt: skip


def test_an_array_holds_the_same() -> None:
    assert checked(json.loads(write(EVENTS, ARRAY))) == chunks_in(write(EVENTS))
    (only,) = json.loads(write([Ended()], ARRAY))
    assert only["candidates"][0]["finishReason"] == "STOP"


def test_code_assist_gets_its_envelope() -> None:
    found = chunks_in(write(EVENTS, "/v1internal:streamGenerateContent?alt=sse", {"request": {}}))
    assert [one["response"] for one in found] == chunks_in(write(EVENTS))


def test_what_was_written_is_read_again() -> None:
    thought = Reasoning(text="hm", seal="SEAL", origin="anthropic.messages")
    parts = parts_in(chunks_in(write(EVENTS)))
    call = {"contents": [{"role": "model", "parts": [part]} for part in parts]}
    messages = GEMINI.read_call(call, SSE, Losses()).messages
    assert len(messages) == 1 and messages[0].parts == [
        thought,
        Text(text='say "é"\n'),
        ToolUse(id="i", name="f", arguments='{"a":1}'),
        ToolUse(id="j", name="g", arguments="{}", origin=OWN),
    ]


def test_a_cut_stream_has_no_finish_reason() -> None:
    for at in range(len(EVENTS)):
        data = write(EVENTS[:at])
        ending = Dialect().ending()
        for part in SseFramer().feed(data):
            ending.feed(part)
        assert not ending.complete


def test_a_whole_stream_is_complete() -> None:
    ending = Dialect().ending()
    for part in SseFramer().feed(write(EVENTS)):
        ending.feed(part)
    assert ending.complete


def test_a_blocked_answer() -> None:
    found = chunks_in(write([Began("a", "m"), Ended("SAFETY")]))
    assert found == [{"promptFeedback": {"blockReason": "SAFETY"}, "modelVersion": "mine", "responseId": "a"}]


def test_a_replayed_answer() -> None:
    answer = Answer(id="a", choices=[Choice(parts=[Text(text="x")], finish="length"), Choice(parts=[Text(text="y")])])
    last = chunks_in(write(replay.events(answer)))[-1]
    assert [one["finishReason"] for one in last["candidates"]] == ["MAX_TOKENS", "STOP"]


_texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=10)
_parts = st.one_of(
    st.builds(lambda text: Text(text=text), _texts),
    st.builds(lambda text, seal: Reasoning(text=text, seal=seal, origin="openai.responses"), _texts, _texts),
    st.builds(lambda id, text: ToolUse(id=id, name="f", arguments=json.dumps({"x": text})), _texts, _texts),
)


@settings(max_examples=150, deadline=None)
@given(st.lists(_parts, max_size=6), st.sampled_from([SSE, ARRAY]))
def test_whatever_is_said_arrives(parts: list[Any], path: str) -> None:
    answer = Answer(id="a", choices=[Choice(parts=parts, finish="stop")], usage=Usage(input=1, output=1))
    data = write(replay.events(answer), path)
    events = read(SseFramer() if path == SSE else JsonArrayFramer(), data)
    assert isinstance(events[-1], Ended)
    said = "".join(event.text for event in events if isinstance(event, Grew))
    expected = "".join(part.text for part in parts if isinstance(part, Text | Reasoning))
    assert said == expected
    calls = [event.part for event in events if isinstance(event, Opened) and isinstance(event.part, ToolUse)]
    uses = [part for part in parts if isinstance(part, ToolUse)]
    assert [json.loads(call.arguments) for call in calls] == [json.loads(use.arguments) for use in uses]


_FIELDS = ["candidates", "content", "parts", "text", "thought", "functionCall", "name", "index", "finishReason",
           "usageMetadata", "error", "code", "response", "groundingMetadata", "logprobsResult", "args"]  # fmt: skip
_anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.just("x"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(_FIELDS), inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.dictionaries(st.sampled_from(_FIELDS), _anything, max_size=4), max_size=3))
def test_nonsense_is_never_a_crash(found: list[Json]) -> None:
    try:
        events = read(SseFramer(), b"".join(b"data: " + json.dumps(one).encode() + b"\n\n" for one in found))
    except UpstreamFailed:
        return
    write(event for event in events if not isinstance(event, Failed))
