"""What is kept of a stream is what is kept of the same reply whole, and of half a reply nothing."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from shin_gateway import dialects
from shin_gateway.conversations.kinds import KINDS, Kind
from tests.provider.answer import Answer, ToolCall
from tests.provider.wire import anthropic, chat, gemini, responses
from tests.provider.wire.said import Said, resolve

WIRES: dict[str, tuple[Callable[[Said], bytes], Callable[[Said], Iterator[bytes]]]] = {
    "openai.chat": (chat.whole, chat.events),
    "openai.responses": (responses.whole, responses.events),
    "anthropic.messages": (anthropic.whole, anthropic.events),
    "gemini.generate": (gemini.whole, gemini.events),
}
every = pytest.mark.parametrize("dialect", WIRES)

_numbers = st.integers(-(10**30), 10**30) | st.floats(allow_nan=False, allow_infinity=False)
_json = st.recursive(
    st.none() | st.booleans() | _numbers | st.text(max_size=9),
    lambda one: st.lists(one, max_size=3) | st.dictionaries(st.text(max_size=5), one, max_size=3),
    max_leaves=8,
)
_tools = st.builds(
    ToolCall, st.sampled_from(["f", "g"]), st.dictionaries(st.text(max_size=5), _json, max_size=3), st.uuids().map(str)
)
_text = st.text(st.characters(exclude_categories=["Cs"]), max_size=60).filter(lambda one: "{echo}" not in one)
answers = st.builds(
    Answer,
    text=_text,
    pieces=st.integers(1, 7),
    thinking=_text,
    tools=st.lists(_tools, max_size=3).map(tuple),
)


def said_in(kind: Kind, parts: list[Any]) -> Any:
    gatherer = kind.gatherer()
    legible = [gatherer.feed(part.data) for part in parts if part.data is not None]
    return gatherer.said() if all(legible) else None


def parts_of(dialect: str, stream: bytes) -> list[Any]:
    framer = dialects.get(dialect).framer("text/event-stream")
    assert framer is not None
    return [*framer.feed(stream), *framer.end()]


def meaning(items: Any) -> Any:
    return [json.loads(bytes(one)) for one in items]


def without_ids(items: Any) -> Any:
    """The fake provider makes some of them up for each reply."""
    return [{name: one for name, one in item.items() if name not in ("id", "status")} for item in meaning(items)]


@every
@settings(max_examples=25, deadline=None)
@given(answer=answers)
def test_streamed_and_whole_are_the_same(dialect: str, answer: Answer) -> None:
    kind, (whole, events) = KINDS[dialect], WIRES[dialect]
    assume(dialect != "gemini.generate" or answer.text or answer.tools)  # it streams nothing where nothing is said
    made = resolve(answer, {"model": "m", "stream": True, "messages": [], "stream_options": {}}, "m")
    one, other = kind.whole(whole(made)), said_in(kind, parts_of(dialect, b"".join(events(made))))
    assert one is not None and other is not None
    assert _joined(without_ids(other.items)) == _joined(without_ids(one.items))


def _joined(items: Any) -> Any:
    """Texts of one kind that follow each other are one text."""
    for item in items:
        parts: list[Any] = []
        for part in item.get("parts", ()):
            alike = parts and {*parts[-1]} == {*part} <= {"text", "thought"}
            if alike and parts[-1].get("thought") == part.get("thought"):
                parts[-1] = part | {"text": parts[-1]["text"] + part["text"]}
            else:
                parts.append(part)
        if "parts" in item:
            item["parts"] = parts
    return items


@pytest.mark.parametrize("dialect", ["openai.responses"])
def test_a_reply_that_is_cut_is_not_taken_for_whole(dialect: str) -> None:
    made = resolve(Answer(tools=(ToolCall("f", {"a": 1}),), thinking="Hm."), {"model": "m", "stream": True}, "m")
    parts = parts_of(dialect, b"".join(WIRES[dialect][1](made)))
    for end in range(len(parts)):
        assert said_in(KINDS[dialect], parts[:end]) is None
    assert said_in(KINDS[dialect], parts) is not None


@every
@pytest.mark.parametrize(
    "body",
    [b"", b"<html>", b"[]", b"null", b"{}", b'{"choices":{}}', b'{"choices":[]}', b'{"content":3,"type":"message"}',
     b'{"output":3,"id":"x"}', b'{"output":[],"id":3}', b'{"candidates":[]}', b'{"candidates":3}', b"\xff" * 9,
     b"[" * 100_000, b'{"output":[],"id":"x","status":"failed"}', b'{"promptFeedback":{"blockReason":"SAFETY"}}'],
)  # fmt: skip
def test_what_is_no_answer(dialect: str, body: bytes) -> None:
    kind = KINDS[dialect]
    assert kind.whole(body) is None
    gatherer = kind.gatherer()
    gatherer.feed(body)
    assert gatherer.said() is None


@every
@settings(max_examples=25, deadline=None)
@given(
    events=st.lists(
        st.fixed_dictionaries(
            {},
            optional={
                "type": st.sampled_from(
                    ["content_block_start", "content_block_delta", "message_start", "response.completed",
                     "response.output_item.done", "response.incomplete"]
                ),
                "index": _json, "output_index": _json, "item": _json, "content_block": _json,
                "delta": _json | st.fixed_dictionaries({"text": _json, "type": _json, "partial_json": _json}),
                "response": _json | st.fixed_dictionaries({"output": _json, "id": _json, "candidates": _json}),
                "choices": st.lists(
                    st.fixed_dictionaries({"index": _json, "delta": st.dictionaries(
                        st.sampled_from(["content", "tool_calls", "function_call", "audio"]), _json | st.lists(_json)
                    )}) | _json, max_size=2),
                "candidates": st.lists(st.fixed_dictionaries({"content": _json}) | _json, max_size=2),
            },
        ),
        max_size=4,
    )
)  # fmt: skip
def test_nothing_that_a_provider_says_is_a_bug(dialect: str, events: list[Any]) -> None:
    gatherer = KINDS[dialect].gatherer()
    for event in events:
        gatherer.feed(json.dumps(event).encode())
    gatherer.said()


def test_halves_of_characters() -> None:
    """Some servers cut a character's two escapes apart."""
    gatherer = KINDS["openai.chat"].gatherer()
    for piece in (rb'"Hi \ud83d"', rb'"x"'):
        assert gatherer.feed(b'{"choices":[{"index":0,"delta":{"content":' + piece + b"}}]}")
    said = gatherer.said()
    assert said is not None
    assert meaning(said.items)[0]["content"] == "Hi \ufffdx"
    whole = KINDS["openai.chat"].whole(rb'{"choices":[{"message":{"content":"Hi \ud83d"}}]}')
    assert whole is not None and meaning(whole.items)[0]["content"] == "Hi \ufffd"


def test_numbers_stay_as_the_model_wrote_them() -> None:
    number = b"1" * 400 + b"e400"
    block = b'{"type":"tool_use","id":"a","name":"f","input":{"n":%b}}' % number
    said = KINDS["anthropic.messages"].whole(b'{"type":"message","role":"assistant","content":[%b]}' % block)
    assert said is not None and number in bytes(said.items[0])


def test_reasoning_that_has_to_come_back() -> None:
    gatherer = KINDS["openai.chat"].gatherer()
    for piece in (
        {"role": "assistant", "reasoning_details": [{"type": "reasoning.text", "text": "Hm", "index": 0}]},
        {"reasoning_details": [{"type": "reasoning.text", "text": ", so.", "index": 0, "signature": "sig"}]},
        {"content": "Yes.", "audio": {"id": "audio_1", "data": "AAAA"}},
        {"tool_calls": [{"index": 0, "id": "c", "function": {"name": "f", "arguments": "{"}}]},
        {"tool_calls": [{"index": 0, "function": {"arguments": "}"}, "extra_content": {"google": {"x": "sig"}}}]},
    ):
        gatherer.feed(json.dumps({"choices": [{"index": 0, "delta": piece}]}).encode())
    said = gatherer.said()
    assert said is not None
    (message,) = meaning(said.items)
    assert message["reasoning_details"] == [
        {"type": "reasoning.text", "text": "Hm, so.", "index": 0, "signature": "sig"}
    ]
    assert message["audio"] == {"id": "audio_1"}
    assert message["tool_calls"] == [
        {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"},
         "extra_content": {"google": {"x": "sig"}}}
    ]  # fmt: skip
