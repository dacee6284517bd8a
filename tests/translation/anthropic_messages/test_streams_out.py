"""Events written as a stream: what the official client makes of it."""

from __future__ import annotations

import itertools
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shin_gateway.outcome import Usage
from shin_gateway.translation import seals
from shin_gateway.translation.form import (
    Answer,
    Began,
    Builtin,
    Chat,
    Choice,
    Citation,
    Cited,
    Closed,
    Ended,
    Event,
    Finished,
    Grew,
    Media,
    Opened,
    Reasoning,
    ReasoningWish,
    Refused,
    Sealed,
    Text,
    ToolUse,
    Transcribed,
    UsageTold,
)
from shin_gateway.translation.losses import Losses
from shin_gateway.translation.replay import events as replayed
from tests.translation.anthropic_messages.kit import THINKS, accumulated, read, tool, write_reply, write_stream

USAGE = Usage(input=30, output=9, cached=10, cache_write=5, cache_write_1h=2, reasoning=4)


def stream(*middle: Event, finish: str = "stop") -> list[Event]:
    return [Began("chatcmpl-1", "gpt"), *middle, Finished(0, finish), UsageTold(USAGE), Ended()]  # type: ignore[arg-type]


def test_text() -> None:
    events = write_stream(stream(Opened(0, 0, Text(text="")), Grew(0, 0, "Hel"), Grew(0, 0, "lo"), Closed(0, 0)))
    assert [event["type"] for event in events] == [
        "message_start",
        "content_block_start",
        "content_block_delta",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]
    assert events[0]["message"]["usage"]["input_tokens"] == 0
    assert events[0]["message"]["usage"]["output_tokens"] == 0
    message = accumulated(events)
    assert message["id"] == "msg_call_1"
    assert message["model"] == "claude-alias"
    assert message["content"] == [{"type": "text", "text": "Hello"}]
    assert message["stop_reason"] == "end_turn"
    assert message["usage"] | {"input_tokens": 15, "cache_read_input_tokens": 10} == message["usage"]
    assert message["usage"]["cache_creation_input_tokens"] == 5
    assert message["usage"]["output_tokens"] == 9


def test_tools_that_are_open_at_once_come_one_after_another() -> None:
    found = write_stream(
        stream(
            Opened(0, 0, Text(text="Let me see.")),
            Closed(0, 0),
            Opened(0, 1, ToolUse(id="call_a", name="one", origin="openai.chat")),
            Grew(0, 1, '{"q":'),
            Opened(0, 2, ToolUse(id="call_b", name="two", origin="openai.chat")),
            Grew(0, 2, '{"r": 1}'),
            Grew(0, 1, '"x"}'),
            Closed(0, 2),
            Closed(0, 1),
            finish="tools",
        )
    )
    message = accumulated(found)
    assert [block.get("input") for block in message["content"]] == [None, {"q": "x"}, {"r": 1}]
    assert [block.get("id") for block in message["content"]] == [None, "call_a", "call_b"]
    assert message["stop_reason"] == "tool_use"


@pytest.mark.parametrize(
    ("opened", "pieces"),
    [
        ("", ["SELECT ", "1"]), ("SELECT 1", []), ("SEL", ["ECT", ' "a\\b"\n', "\u4e16"]),
        ("", ['{"input": "x"}']), ("", ["\ud83d", "\ude00"]), ("", [" "]), ("", []),
    ],
)  # fmt: skip
@pytest.mark.parametrize("waits", [False, True])
def test_a_free_form_input_is_an_object(opened: str, pieces: list[str], waits: bool) -> None:
    use = ToolUse(id="c", name="sql", custom=True, arguments=opened, origin="openai.chat")
    grown = [Opened(0, 1, use), *(Grew(0, 1, piece) for piece in pieces), Closed(0, 1)]
    first = [Opened(0, 0, Text(text="x")), *grown, Closed(0, 0)] if waits else grown
    found = write_stream(stream(*first, finish="tools"))
    written = "".join(
        event["delta"]["partial_json"]
        for event in found
        if event["type"] == "content_block_delta" and event["delta"]["type"] == "input_json_delta"
    )
    text = (opened + "".join(pieces)).encode("utf-16", "surrogatepass").decode("utf-16")
    assert json.loads(written or "{}") == ({"input": text} if text else {})
    block = accumulated(found)["content"][-1]
    assert block["input"] == ({"input": text} if text else {})
    use = ToolUse(id="c", name="sql", custom=True, arguments=text)
    assert block["input"] == write_reply(Answer(choices=[Choice(parts=[use], finish="tools")]))["content"][0]["input"]


def test_what_nobody_closed_is_closed_at_the_end() -> None:
    events = stream(
        Opened(0, 0, Text(text="")),
        Grew(0, 0, "a"),
        Opened(0, 1, ToolUse(id="t", name="one")),
        Grew(0, 1, "{}"),
    )
    message = accumulated(write_stream(events))
    assert [block["type"] for block in message["content"]] == ["text", "tool_use"]
    assert message["stop_reason"] == "tool_use"  # also where the target said `stop`


def test_empty_texts_and_thoughts_make_no_block() -> None:
    events = stream(
        Opened(0, 0, Reasoning(origin="openai.chat")),
        Closed(0, 0),
        Opened(0, 1, Text(text="")),
        Closed(0, 1),
        Opened(0, 2, Text(text="x")),
        Closed(0, 2),
    )
    assert accumulated(write_stream(events))["content"] == [{"type": "text", "text": "x"}]


def test_foreign_thoughts_come_back_with_their_seal() -> None:
    events = stream(
        Opened(0, 0, Reasoning(id="rs_1", origin="openai.responses")),
        Grew(0, 0, "Hm"),
        Sealed(0, 0, "gAA"),
        Sealed(0, 0, "AA"),
        Closed(0, 0),
        Opened(0, 1, Text(text="ok")),
        Closed(0, 1),
    )
    written = write_stream(events)
    deltas = [event["delta"]["type"] for event in written if event["type"] == "content_block_delta"]
    assert deltas == ["thinking_delta", "signature_delta", "text_delta"]
    content = accumulated(written)["content"]
    assert content[0]["thinking"] == "Hm"
    back = read({"messages": [{"role": "user", "content": "x"}, {"role": "assistant", "content": content}]})
    assert back.messages[1].parts[0] == Reasoning(text="Hm", seal="gAAAA", id="rs_1", origin="openai.responses")


@pytest.mark.parametrize("late", [False, True])
def test_seal_of_a_tool_use_survives_the_client(late: bool) -> None:
    sealed, grew = Sealed(0, 0, "c2ln"), Grew(0, 0, '{"q":1}')
    events = stream(
        Opened(0, 0, ToolUse(id="fc_1", name="look", origin="gemini.generate")),
        *((grew, sealed) if late else (sealed, grew)),
        Closed(0, 0),
        Opened(0, 1, ToolUse(id="fc_2", name="look", origin="gemini.generate", arguments="{}")),
        Closed(0, 1),
        finish="tools",
    )
    content = accumulated(write_stream(events, Chat(tools=[tool()])))["content"]
    kinds = [block["type"] for block in content]
    assert kinds == (["tool_use", "thinking", "tool_use"] if late else ["thinking", "tool_use", "tool_use"])
    back = read({"messages": [{"role": "assistant", "content": content}]}).messages[0].parts
    assert [(part.id, part.seal) for part in back if isinstance(part, ToolUse)] == [("fc_1", "c2ln"), ("fc_2", "")]
    assert len(back) == 2


def test_own_thoughts_keep_their_signature() -> None:
    events = stream(
        Opened(0, 0, Reasoning(origin="anthropic.messages")),
        Grew(0, 0, "Hm"),
        Sealed(0, 0, "EqQB"),
        Closed(0, 0),
        Opened(0, 1, Reasoning(origin="anthropic.messages", redacted=True, seal="EmwK")),
        Closed(0, 1),
    )
    assert accumulated(write_stream(events))["content"] == [
        {"type": "thinking", "thinking": "Hm", "signature": "EqQB"},
        {"type": "redacted_thinking", "data": "EmwK"},
    ]


def test_a_client_that_wants_no_thoughts_gets_none() -> None:
    thoughts = (Opened(0, 0, Reasoning(origin="openai.chat")), Grew(0, 0, "Hm"), Closed(0, 0))
    text = (Opened(0, 1, Text(text="ok")), Closed(0, 1))
    losses = Losses()
    assert len(accumulated(write_stream(stream(*thoughts, *text), Chat(), losses))["content"]) == 1
    assert losses.dropped == ("content.thinking",)


@pytest.mark.parametrize(
    "chat", [Chat(tools=[tool()]), Chat(reasoning=ReasoningWish(budget=-1, show=False))], ids=["tools", "omitted"]
)
def test_hidden_thoughts_come_back_whole(chat: Chat) -> None:
    events = stream(Opened(0, 0, Reasoning(origin="openai.chat")), Grew(0, 0, "Hm"), Grew(0, 0, "m"), Closed(0, 0))
    content = accumulated(write_stream(events, chat))["content"]
    assert content[0]["thinking"] == ""
    back = read({"messages": [{"role": "assistant", "content": content}]})
    assert back.messages[0].parts == [Reasoning(text="Hmm", origin="openai.chat")]


def test_citations_and_what_has_no_block() -> None:
    losses = Losses()
    events = stream(
        Opened(0, 0, Text(text="")),
        Grew(0, 0, "Rain."),
        Cited(0, 0, Citation(url="https://a.example", title="A", start=0, end=5)),
        Cited(0, 0, Citation(file_id="file-1")),
        Closed(0, 0),
        Opened(0, 1, Builtin(kind="web_search", raw=[{}], origin="openai.responses")),
        Closed(0, 1),
        Opened(0, 2, Media(kind="audio", mime="audio/wav")),
        Grew(0, 2, "UklGRg=="),
        Transcribed(0, 2, "Spoken"),
        Grew(0, 2, "UklGRg=="),
        Transcribed(0, 2, "."),
        Closed(0, 2),
        Opened(1, 0, Text(text="second choice")),
    )
    content = accumulated(write_stream(events, None, losses))["content"]
    assert [block["text"] for block in content] == ["Rain.", "Spoken."]
    assert content[0]["citations"][0]["url"] == "https://a.example"
    assert set(losses.dropped) == {"content.citations", "content.server_tool_use", "content.audio", "n"}
    back = read({"messages": [{"role": "assistant", "content": content}]}).messages[0].parts[0]
    assert back.citations[0] == Citation(url="https://a.example", title="A")  # type: ignore[union-attr]


FINISHES = {
    "stop": "end_turn",
    "length": "max_tokens",
    "context": "model_context_window_exceeded",
    "tools": "tool_use",
    "filtered": "refusal",
    "refused": "refusal",
    "paused": "pause_turn",
    "malformed_tool": "end_turn",
    "stop_sequence": "end_turn",  # nobody said which
}


@pytest.mark.parametrize(("finish", "reason"), FINISHES.items())
def test_finishes(finish: str, reason: str) -> None:
    assert write_stream(stream(finish=finish))[-2]["delta"]["stop_reason"] == reason


def test_stop_sequence_refusal_and_blocked() -> None:
    ended = write_stream([Began("x", "m"), Finished(0, "stop_sequence", "END"), Ended()])[-2]["delta"]
    assert ended == {"stop_reason": "stop_sequence", "stop_sequence": "END"}
    refused = write_stream(stream(Opened(0, 0, Refused(text="")), Grew(0, 0, "No."), Closed(0, 0)))
    assert accumulated(refused)["stop_reason"] == "refusal"
    assert accumulated(refused)["content"] == [{"type": "text", "text": "No."}]
    assert write_stream([Began("x", "m"), Ended("SAFETY")])[-2]["delta"]["stop_reason"] == "refusal"


def test_a_stream_without_a_beginning_gets_one() -> None:
    assert accumulated(write_stream([Opened(0, 0, Text(text="x")), Ended(), Ended()]))["content"][0]["text"] == "x"


def test_no_clean_end_without_one() -> None:
    assert write_stream(stream(Opened(0, 0, Text(text="x")))[:-1])[-1]["type"] == "content_block_delta"


def test_lone_surrogates_are_escaped() -> None:
    events = stream(Opened(0, 0, Text(text="\ud83d")), Grew(0, 0, "\ude00"))
    assert json.dumps(accumulated(write_stream(events))["content"][0]["text"]) == '"\\ud83d\\ude00"'


TEXTS = st.text(max_size=6)
PARTS = st.lists(
    st.one_of(
        st.builds(Text, text=TEXTS),
        st.builds(Reasoning, text=TEXTS, seal=st.text("ab", max_size=3), origin=st.just("openai.chat")),
        st.builds(
            ToolUse,
            id=st.uuids().map(str),
            name=st.just("look"),
            arguments=st.dictionaries(TEXTS, TEXTS, max_size=2).map(json.dumps),
            seal=st.text("ab", max_size=2),
            origin=st.just("gemini.generate"),
        ),
    ),
    max_size=5,
)


@settings(max_examples=60, deadline=None)
@given(PARTS, st.sampled_from([THINKS, Chat(), Chat(tools=[tool()])]), st.randoms())
def test_pieces_in_any_order_make_the_same_message(parts: list[Text], chat: Chat, chance: object) -> None:
    """However the pieces of parts are interleaved, the message is that of the whole reply."""
    answer = Answer(choices=[Choice(parts=list(parts), finish="stop")])
    whole = write_reply(answer, chat)
    queues = [_pieces(at, part) for at, part in enumerate(parts)]
    events: list[Event] = []
    while any(queues):
        ready = [queue for number, queue in enumerate(queues) if queue and _may_open(queue, queues[:number])]
        events.append(chance.choice(ready).pop(0))  # type: ignore[attr-defined]
    streamed = accumulated(write_stream(stream(*events), chat))
    assert [_plain(block) for block in streamed["content"]] == [_plain(block) for block in whole["content"]]
    assert streamed["stop_reason"] == whole["stop_reason"]


def _may_open(queue: list[Event], before: list[list[Event]]) -> bool:
    """Parts begin in order."""
    return not isinstance(queue[0], Opened) or not any(one and isinstance(one[0], Opened) for one in before)


def _pieces(at: int, part: Text | Reasoning | ToolUse) -> list[Event]:
    if isinstance(part, ToolUse):
        opened: Event = Opened(0, at, ToolUse(id=part.id, name=part.name, seal=part.seal, origin=part.origin))
        return [opened, *(Grew(0, at, "".join(two)) for two in itertools.batched(part.arguments, 2)), Closed(0, at)]
    if isinstance(part, Reasoning):
        sealed = [Sealed(0, at, part.seal)] if part.seal else []
        texts = [Grew(0, at, letter) for letter in part.text]
        return [Opened(0, at, Reasoning(origin=part.origin)), *texts, *sealed, Closed(0, at)]
    return [Opened(0, at, Text(text="")), *(Grew(0, at, letter) for letter in part.text), Closed(0, at)]


def _plain(block: dict[str, object]) -> dict[str, object]:
    signature = block.get("signature")
    return block | {"signature": seals.unpack(signature)} if isinstance(signature, str) else block


def test_a_whole_answer_replayed() -> None:
    answer = Answer(
        id="resp_1",
        model="gpt",
        choices=[
            Choice(
                parts=[
                    Reasoning(text="Hm", seal="s", origin="openai.responses"),
                    Text(text="ok", citations=[Citation(url="https://a.example", title="A")]),
                    ToolUse(id="a", name="look", arguments='{"q":1}'),
                ],
                finish="tools",
            )
        ],
        usage=USAGE,
    )
    whole = write_reply(answer)
    assert accumulated(write_stream(replayed(answer)))["content"] == whole["content"]
