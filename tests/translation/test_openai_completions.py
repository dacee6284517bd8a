"""The legacy Completions API, for clients that still speak it. Bodies made from OpenAI's reference."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openai.types import Completion
from openai.types.completion_create_params import CompletionCreateParamsNonStreaming
from pydantic import TypeAdapter

from shin_gateway.dialects.sse import SseFramer
from shin_gateway.errors import Invalid, UpstreamFailed
from shin_gateway.outcome import Usage
from shin_gateway.translation.form import (
    Answer,
    Began,
    Chat,
    Choice,
    Closed,
    Ended,
    Event,
    Finished,
    Grew,
    Logged,
    Message,
    Opened,
    Reasoning,
    Text,
    Tool,
    ToolUse,
    UsageTold,
)
from shin_gateway.translation.losses import Losses
from shin_gateway.translation.openai_completions import OpenAICompletions
from shin_gateway.translation.translator import Origin, Traits

LEGACY = OpenAICompletions()


def read(losses: Losses | None = None, **body: Any) -> Chat:
    return LEGACY.read_call({"model": "m", "prompt": "once", **body}, "/v1/completions", losses or Losses())


def origin(**chat: Any) -> Origin:
    return Origin(call_id="c1", model="asked", chat=Chat(**chat), created=9)


def test_a_call() -> None:
    losses = Losses()
    chat = read(
        losses,
        max_tokens=5,
        temperature=0.5,
        stop="a",
        n=2,
        logprobs=3,
        stream=True,
        stream_options={"include_usage": True},
        echo=False,
    )
    assert chat.messages == [Message(role="user", parts=[Text(text="once")])]
    assert chat.stream and chat.stream_usage
    assert (chat.max_tokens, chat.temperature, chat.stop, chat.n, chat.logprobs) == (5, 0.5, ["a"], 2, 3)
    assert losses.dropped == ()


def test_what_has_no_place() -> None:
    losses = Losses()
    read(losses, suffix="end", best_of=3, echo=True)
    assert set(losses.dropped) == {"suffix", "best_of", "echo"}


def test_the_model_may_stand_in_the_path() -> None:
    assert LEGACY.read_call({"prompt": ["a"]}, "/openai/deployments/d/completions", Losses()).model == "d"


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"prompt": None}, "prompt"),
        ({"prompt": ["a", "b"]}, "prompt"),
        ({"prompt": [1, 2]}, "prompt"),
        ({"prompt": [[1, 2]]}, "prompt"),
        ({"prompt": {}}, "prompt"),
        ({"max_tokens": "x"}, "max_tokens"),
        ({"logprobs": True}, "logprobs"),
        ({"n": 10**400}, "n"),
    ],
)
def test_a_wrong_field_is_named(body: dict[str, Any], field: str) -> None:
    with pytest.raises(Invalid) as caught:
        read(**body)
    assert caught.value.param == field


def test_a_reply() -> None:
    losses = Losses()
    tokens = [
        {"token": "a", "logprob": -1.0, "top_logprobs": [{"token": "b", "logprob": -2.0}]},
        {"token": "bc", "logprob": -0.5},
    ]
    answer = Answer(
        choices=[
            Choice(
                parts=[Reasoning(text="r"), Text(text="abc"), ToolUse(id="i", name="f")],
                finish="tools",
                logprobs=tokens,
            ),
            Choice(parts=[Text(text="d")], finish="length"),
        ],
        usage=Usage(input=1, output=2),
    )
    found = Completion.model_validate(LEGACY.write_reply(answer, origin(), losses), strict=True)
    assert (found.id, found.model, found.created) == ("cmpl-c1", "asked", 9)
    assert [(one.text, one.finish_reason) for one in found.choices] == [("abc", "stop"), ("d", "length")]
    logprobs = found.choices[0].logprobs
    assert logprobs is not None and logprobs.text_offset == [0, 1] and logprobs.top_logprobs == [{"b": -2.0}, {}]
    assert set(losses.dropped) == {"reasoning", "tooluse"}


EVENTS: list[Event] = [
    Began("", "real"),
    Opened(0, 0, Reasoning()),
    Grew(0, 0, "hidden"),
    Closed(0, 0),
    Opened(0, 1, Text(text="")),
    Grew(0, 1, "on"),
    Logged(0, [{"token": "on", "logprob": -1.0}]),
    Grew(0, 1, "ce"),
    Closed(0, 1),
    Finished(0, "length"),
    UsageTold(Usage(input=1, output=2)),
    Ended(),
]


def stream_of(events: list[Event], **chat: Any) -> bytes:
    writer = LEGACY.writer(origin(**chat), Losses())
    return b"".join(writer.write(event) for event in events)


def test_a_stream() -> None:
    parts = [part.data or b"" for part in SseFramer().feed(stream_of(EVENTS, stream_usage=True))]
    assert parts[-1] == b"[DONE]"
    chunks = [Completion.construct(**json.loads(part)) for part in parts[:-1]]
    assert (
        "".join(choice["text"] if isinstance(choice, dict) else choice.text for one in chunks for choice in one.choices)
        == "once"
    )
    last = json.loads(parts[-2])
    assert (last["choices"], last["usage"]["total_tokens"]) == ([], 3)
    assert json.loads(parts[-3])["choices"][0]["finish_reason"] == "length"
    assert {json.loads(part)["object"] for part in parts[:-1]} == {"text_completion"}
    assert b"hidden" not in b"".join(parts)


def test_from_stream_to_stream() -> None:
    reader = LEGACY.reader()
    events = [event for part in SseFramer().feed(stream_of(EVENTS)) for event in reader.feed(part)]
    assert "".join(event.text for event in events if isinstance(event, Grew)) == "once"
    assert [event.finish for event in events if isinstance(event, Finished)] == ["length"]
    assert isinstance(events[-1], Ended)


def test_as_a_target() -> None:
    losses = Losses()
    chat = Chat(
        model="davinci-002",
        messages=[Message(role="system", parts=[Text(text="s")]), Message(role="user", parts=[Text(text="u")])],
        tools=[Tool(name="f")],
        max_tokens=3,
        logprobs=9,
    )
    body = LEGACY.write_call(chat, Traits(model="davinci-002"), losses)
    TypeAdapter(CompletionCreateParamsNonStreaming).validate_python(body, strict=True)
    assert body == {
        "model": "davinci-002",
        "prompt": "System: s\n\nUser: u\n\nAssistant:",
        "max_tokens": 3,
        "logprobs": 5,
    }
    assert losses.dropped == ("tools",)
    assert LEGACY.write_call(read(), Traits(), Losses())["prompt"] == "once"


def test_a_reply_of_a_target() -> None:
    choice = {
        "text": "hi",
        "index": 0,
        "finish_reason": "stop",
        "logprobs": {"tokens": ["hi"], "token_logprobs": [-1.0]},
    }
    answer = LEGACY.read_reply({"id": "cmpl-1", "choices": [choice]})
    assert answer.choices[0].parts == [Text(text="hi")]
    assert answer.choices[0].logprobs is not None and answer.choices[0].logprobs[0]["token"] == "hi"
    with pytest.raises(UpstreamFailed):
        LEGACY.read_reply({"choices": 5})


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=100, deadline=None)
@given(
    st.dictionaries(
        st.sampled_from(["prompt", "max_tokens", "n", "stop", "logprobs", "echo", "best_of", "stream_options"]), JSON
    )
)
def test_nonsense_is_refused_and_nothing_else(body: dict[str, Any]) -> None:
    try:
        read(**body)
    except Invalid:
        pass
    try:
        LEGACY.read_reply({"choices": [{"text": value, "logprobs": value} for value in body.values()]})
    except UpstreamFailed:
        pass
