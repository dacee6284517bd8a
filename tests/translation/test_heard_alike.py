"""What the official clients make of a stream is what they make of the same answer whole."""

from __future__ import annotations

import copy
import itertools
import json
from collections.abc import Iterator
from random import Random
from typing import Any

import anthropic
import httpx2
import openai
import pytest
from google import genai
from google.genai import types
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shin_gateway.outcome import Usage
from shin_gateway.translation.dialects import translator
from shin_gateway.translation.form import (
    Answer,
    AnyPart,
    Began,
    Chat,
    Choice,
    Citation,
    Cited,
    Closed,
    Ended,
    Event,
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
from shin_gateway.translation.translator import Origin

PATH = "/v1beta/models/m:streamGenerateContent?alt=sse"
ORIGIN = Origin("01abc", "m", Chat(model="m", stream=True, stream_usage=True), {"model": "m"}, 7, PATH)
ASKED: Any = [{"role": "user", "content": "x"}]
texts = st.lists(st.sampled_from(["Hello", "世界", " ", "\n", '"q"', "\\", "é", "😀", "data: x\n\n", "{}"])).map(
    "".join
)
GEMINI = "gemini.generate"
origins = st.sampled_from(["anthropic.messages", GEMINI, "openai.responses"])
seals = st.sampled_from(["", "c2VhbA=="])
arguments = st.one_of(st.sampled_from(["", "{}"]), texts.map(lambda text: json.dumps({"x": text})))
cited = [Citation(url="https://x.example/a", title="T", start=0, end=5)]
parts = st.one_of(
    st.builds(Text, text=texts),
    st.builds(lambda text: Text(text="claim " + text, citations=cited), texts),
    st.builds(Refused, text=texts),
    st.builds(Reasoning, text=texts, summary=st.booleans(), seal=seals, origin=origins),
    st.builds(ToolUse, id=st.just(""), name=st.just("f"), arguments=arguments, seal=seals, origin=st.just(GEMINI)),
)
"""`id` is set when the answer is put together."""


@st.composite
def answers(draw: st.DrawFn) -> Answer:
    made = draw(st.lists(parts, max_size=5))
    for number, part in enumerate(made):
        if isinstance(part, ToolUse):
            part.id = f"call_{number}"
    has_tools = any(isinstance(part, ToolUse) for part in made)
    finish = "tools" if has_tools else draw(st.sampled_from(["stop", "length", "filtered", "refused", "context"]))
    usage = draw(st.one_of(st.none(), st.builds(Usage, input=st.integers(0, 99), output=st.integers(0, 99))))
    choice = Choice(parts=made, finish=finish)  # type: ignore[arg-type]
    return Answer(id="r_1", model="m", created=5, choices=[choice], usage=usage)


def events(answer: Answer, random: Random) -> Iterator[Event]:
    """The answer in pieces; calls of tools that follow one another come in turns."""
    (choice,) = answer.choices
    yield Began(answer.id, answer.model, answer.created, answer.usage if random.random() < 0.5 else None)
    for is_tool, group in itertools.groupby(
        enumerate(copy.deepcopy(choice.parts)), lambda one: type(one[1]) is ToolUse
    ):
        if is_tool:
            yield from _mixed(list(group), random)
            continue
        for at, part in group:
            yield from (*_part(at, part, random), Closed(0, at))
    yield Finished(0, choice.finish or "stop")
    if answer.usage is not None:
        yield UsageTold(answer.usage)
    yield Ended()


def _mixed(uses: list[tuple[int, AnyPart]], random: Random) -> Iterator[Event]:
    streams = [list(_part(at, use, random)) for at, use in uses]
    for stream in streams:
        yield stream.pop(0)
    while left := [stream for stream in streams if stream]:
        yield random.choice(left).pop(0)
    for at, _ in uses:
        yield Closed(0, at)


def _part(at: int, part: AnyPart, random: Random) -> Iterator[Event]:
    seal, citations, field = "", [], "arguments" if isinstance(part, ToolUse) else "text"
    if isinstance(part, Reasoning):
        seal, part.seal = part.seal, ""
    if isinstance(part, Text):
        citations, part.citations = part.citations, []
    whole = getattr(part, field)
    setattr(part, field, "")
    yield Opened(0, at, part)
    while whole:
        size = random.randint(1, 7)
        yield Grew(0, at, whole[:size])
        whole = whole[size:]
    for citation in citations:
        yield Cited(0, at, citation)
    if seal:
        yield from (Sealed(0, at, seal[:3]), Sealed(0, at, seal[3:]))


class Wire:
    """The official clients, and what they are answered."""

    def __init__(self) -> None:
        self.body, self.type = b"", ""
        http = httpx2.Client(transport=httpx2.MockTransport(self._answer))
        self.openai = openai.OpenAI(api_key="k", base_url="http://x/v1", http_client=http, max_retries=0)
        self.anthropic = anthropic.Anthropic(api_key="k", base_url="http://x", http_client=http, max_retries=0)
        options = types.HttpOptions(base_url="http://x", httpx_client=http)
        self.genai = genai.Client(api_key="k", http_options=options)

    def _answer(self, _: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(200, content=self.body, headers={"content-type": self.type})

    def hear(self, dialect: str, body: bytes, stream: bool) -> Any:
        self.body, self.type = body, "text/event-stream" if stream else "application/json"
        return _HEAR[dialect](self, stream)


def _chat(wire: Wire, stream: bool) -> Any:
    completions = wire.openai.chat.completions
    if stream:
        with completions.stream(model="m", messages=ASKED) as events:
            for _ in events:
                pass
            done: Any = events.current_completion_snapshot
    else:
        done = completions.create(model="m", messages=ASKED)
    message = done.choices[0].message.model_dump(exclude_none=True)
    for name in ("reasoning_details", "annotations", "tool_calls"):
        for entry in message.get(name, ()):
            entry.pop("index", None)
            entry.get("function", {}).pop("parsed_arguments", None)
    return {name: value for name, value in message.items() if value}, done.choices[0].finish_reason, _spent(done)


def _responses(wire: Wire, stream: bool) -> Any:
    if stream:
        with wire.openai.responses.stream(model="m", input="x") as events:
            done = [event for event in events if hasattr(event, "response")][-1].response
    else:
        done = wire.openai.responses.create(model="m", input="x")
    output = [item.model_dump(exclude_none=True, exclude={"id", "parsed_arguments", "status"}) for item in done.output]
    for part in [part for item in output for part in item.get("content") or ()]:
        part.pop("parsed", None)
    return output, done.status, done.incomplete_details, _spent(done)


def _messages(wire: Wire, stream: bool) -> Any:
    if stream:
        with wire.anthropic.messages.stream(model="m", max_tokens=9, messages=ASKED) as events:
            done: Any = events.get_final_message()
    else:
        done = wire.anthropic.messages.create(model="m", max_tokens=9, messages=ASKED)
    content = [block.model_dump(exclude_none=True, exclude={"parsed_output"}) for block in done.content]
    kept = [{name: value for name, value in block.items() if name != "citations" or value} for block in content]
    return kept, done.stop_reason, (done.usage.input_tokens, done.usage.output_tokens)


def _gemini(wire: Wire, stream: bool) -> Any:
    models = wire.genai.models
    chunks: list[Any] = (
        list(models.generate_content_stream(model="m", contents="x"))
        if stream
        else [models.generate_content(model="m", contents="x")]
    )
    contents = [one.content for chunk in chunks for one in chunk.candidates if one.content]
    joined: list[Any] = []
    for part in [part for content in contents for part in content.parts or ()]:
        piece = part.model_dump(exclude_none=True)
        last = joined[-1] if joined else {}
        goes_on = "text" in piece and "text" in last and "thought_signature" not in last
        if goes_on and piece.get("thought") == last.get("thought"):
            last |= piece | {"text": last["text"] + piece["text"]}
        else:
            joined.append(piece)
    usage = chunks[-1].usage_metadata
    kept = [piece for piece in joined if piece.get("text") != "" or "thought_signature" in piece]
    return (
        kept,
        chunks[-1].candidates[0].finish_reason,
        usage and (usage.prompt_token_count, usage.candidates_token_count),
    )


def _spent(done: Any) -> Any:
    usage = done.usage and done.usage.model_dump()
    return usage and [usage[name] for name in usage if name.endswith("_tokens")]


_HEAR = {"openai.chat": _chat, "openai.responses": _responses, "anthropic.messages": _messages, GEMINI: _gemini}


@pytest.fixture(scope="module")
def wire() -> Wire:
    return Wire()


@pytest.mark.parametrize("dialect", _HEAR)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(answer=answers(), random=st.randoms(use_true_random=False))
def test_streamed_as_whole(wire: Wire, dialect: str, answer: Answer, random: Random) -> None:
    one = translator(dialect)
    writer = one.writer(ORIGIN, Losses())
    streamed = b"".join(writer.write(event) for event in events(answer, random))
    whole = json.dumps(one.write_reply(copy.deepcopy(answer), ORIGIN, Losses())).encode()
    assert wire.hear(dialect, streamed, True) == wire.hear(dialect, whole, False)
