from __future__ import annotations

import json
from typing import Any

import pytest

from shin_gateway.outcome import Usage
from shin_gateway.translation.form import (
    Answer,
    Began,
    Builtin,
    Choice,
    Citation,
    Cited,
    Closed,
    Ended,
    Event,
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
from shin_gateway.translation.replay import events as replay
from tests.translation.openai_responses.sdk import (
    DIALECT,
    accepts_reply,
    accumulated,
    chat,
    decoded,
    origin,
    read_stream,
    written,
)

BEGAN = Began("msg_01", "claude", 1763700001)
USAGE = Usage(input=20, output=9, cached=4, cache_write=2, reasoning=3)
END: list[Event] = [UsageTold(USAGE), Finished(0, "stop"), Ended()]

TEXT: list[Event] = [
    BEGAN,
    Opened(0, 0, Text(text="")),
    Grew(0, 0, "Dear "),
    Grew(0, 0, "Alice"),
    Closed(0, 0),
    *END,
]


def names(source: bytes) -> list[str]:
    return [event["type"].removeprefix("response.") for event in decoded(source)]


def test_a_text_comes_in_the_official_order() -> None:
    reply, events = accumulated(written(TEXT))
    assert [event["type"].removeprefix("response.") for event in events] == [
        "created", "in_progress", "output_item.added", "content_part.added", "output_text.delta", "output_text.delta",
        "output_text.done", "content_part.done", "output_item.done", "completed",
    ]  # fmt: skip
    assert reply.output_text == "Dear Alice"
    assert reply.usage.total_tokens == 29
    assert reply.usage.input_tokens_details.cached_tokens == 4
    assert reply.model == "fast"
    assert {event["item_id"] for event in events if "item_id" in event} == {"msg_c1_0"}
    assert all(event["logprobs"] == [] for event in events if event["type"] == "response.output_text.delta")
    assert events[0]["response"]["created_at"] == 1763700001
    assert events[-1]["response"]["output"][0]["status"] == "completed"


def test_bytes_are_event_and_data_lines_only() -> None:
    first = written(TEXT).split(b"\n\n")[0]
    assert first.startswith(b'event: response.created\ndata: {"type":"response.created","sequence_number":0,')
    assert b"[DONE]" not in written(TEXT)


def test_thoughts_and_two_tool_calls_at_once() -> None:
    losses = Losses()
    source = written(
        [
            BEGAN,
            Opened(0, 0, Reasoning(origin="anthropic.messages")),
            Grew(0, 0, "Hm"),
            Grew(0, 0, "."),
            Sealed(0, 0, "sig"),
            Closed(0, 0),
            Opened(0, 1, Text(text="Let me see.")),
            Closed(0, 1),
            Opened(0, 2, ToolUse(id="toolu_1", name="a")),
            Opened(0, 3, ToolUse(id="toolu_2", name="b")),
            Grew(0, 2, '{"x"'),
            Grew(0, 3, "{}"),
            Grew(0, 2, ":1}"),
            Closed(0, 3),
            Closed(0, 2),
            Finished(0, "tools"),
            UsageTold(USAGE),
            Ended(),
        ],
        losses=losses,
    )
    reply, events = accumulated(source)
    thought, said, first, second = reply.output
    assert thought.summary[0].text == "Hm."
    assert said.content[0].text == "Let me see."
    assert (first.call_id, first.name, first.arguments) == ("toolu_1", "a", '{"x":1}')
    assert (second.call_id, second.name, second.arguments) == ("toolu_2", "b", "{}")
    assert losses.dropped == ()
    kinds = [event["type"].removeprefix("response.") for event in events]
    assert kinds[2:8] == [
        "output_item.added", "reasoning_summary_part.added", "reasoning_summary_text.delta",
        "reasoning_summary_text.delta", "reasoning_summary_text.done", "reasoning_summary_part.done",
    ]  # fmt: skip
    # the message has ended before the tool calls begin
    assert kinds.index("output_text.done") < kinds.index("function_call_arguments.delta")
    back = chat({"input": [json.loads(item.model_dump_json()) for item in reply.output]}).messages[0].parts
    assert back[0] == Reasoning(text="Hm.", summary=True, seal="sig", origin="anthropic.messages")


@pytest.mark.parametrize("late", [False, True])
def test_the_seal_of_a_tool_call_comes_back(late: bool) -> None:
    use = ToolUse(id="call_1", name="a", seal="" if late else "THOUGHT", origin="gemini.generate")
    events: list[Event] = [BEGAN, Opened(0, 0, use), Grew(0, 0, "{}")]
    if late:
        events += [Sealed(0, 0, "THOUGHT")]
    reply, _ = accumulated(written([*events, Closed(0, 0), Finished(0, "tools"), Ended()]))
    # as Codex does: without ids and status
    items = [{k: v for k, v in item.to_dict().items() if k not in ("id", "status")} for item in reply.output]
    parts = chat({"input": [*items, {"type": "function_call_output", "call_id": "call_1", "output": "1"}]}).messages
    assert parts[0].parts == [ToolUse(id="call_1", name="a", arguments="{}", seal="THOUGHT", origin="gemini.generate")]


def test_an_argumentless_call_has_an_empty_object() -> None:
    reply, _ = accumulated(written([BEGAN, Opened(0, 0, ToolUse(id="1", name="a")), Closed(0, 0), Ended()]))
    assert reply.output[0].arguments == "{}"


def test_a_custom_tool_call() -> None:
    use = ToolUse(id="1", name="patch", custom=True)
    reply, events = accumulated(written([BEGAN, Opened(0, 0, use), Grew(0, 0, "*** Begin"), Closed(0, 0), *END]))
    assert reply.output[0].type == "custom_tool_call"
    assert reply.output[0].input == "*** Begin"
    assert [event["type"] for event in events][3:5] == [
        "response.custom_tool_call_input.delta",
        "response.custom_tool_call_input.done",
    ]


def test_refusals_and_texts_are_contents_of_one_message() -> None:
    events: list[Event] = [BEGAN, Opened(0, 0, Text(text="No: ")), Closed(0, 0), Opened(0, 1, Refused(text=""))]
    reply, _ = accumulated(written([*events, Grew(0, 1, "I will not."), Closed(0, 1), Finished(0, "refused"), Ended()]))
    assert reply.status == "completed"
    assert [part.type for part in reply.output[0].content] == ["output_text", "refusal"]
    assert reply.output[0].content[1].refusal == "I will not."


@pytest.mark.parametrize(
    ("finish", "status", "reason"),
    [
        ("stop", "completed", None),
        ("stop_sequence", "completed", None),
        ("tools", "completed", None),
        ("paused", "completed", None),
        ("length", "incomplete", "max_output_tokens"),
        ("context", "incomplete", "max_output_tokens"),
        ("filtered", "incomplete", "content_filter"),
        ("refused", "incomplete", "content_filter"),
        ("malformed_tool", "failed", None),
    ],
)
def test_how_it_ends(finish: Any, status: str, reason: str | None) -> None:
    _, events = accumulated(written([*TEXT[:-3], Finished(0, finish), Ended()]))
    reply = events[-1]["response"]
    assert events[-1]["type"] == f"response.{status}"
    assert (reply["status"], (reply["incomplete_details"] or {}).get("reason")) == (status, reason)
    whole = DIALECT.write_reply(Answer(choices=[Choice(parts=[Text(text="a")], finish=finish)]), origin(), Losses())
    assert accepts_reply(whole).status == status
    assert bool(whole["error"]) == (status == "failed")


def test_a_prompt_that_was_blocked() -> None:
    _, events = accumulated(written([BEGAN, Ended(blocked="SAFETY")]))
    assert events[-1]["response"]["incomplete_details"] == {"reason": "content_filter"}
    whole = DIALECT.write_reply(Answer(blocked="SAFETY"), origin(), Losses())
    assert whole["status"] == "incomplete"


def test_citations() -> None:
    page = Citation(url="https://a.example", title="A", quote="words", origin="anthropic.messages")
    placed = Citation(url="https://b.example", title="B", start=0, end=4)
    losses = Losses()
    events: list[Event] = [BEGAN, Opened(0, 0, Text(text="")), Cited(0, 0, page), Grew(0, 0, "Bern")]
    source = written([*events, Cited(0, 0, placed), Closed(0, 0), *END], losses=losses)
    reply, _ = accumulated(source)
    notes = {note.url: (note.start_index, note.end_index) for note in reply.output[0].content[0].annotations}
    assert notes == {"https://a.example": (0, 4), "https://b.example": (0, 4)}
    assert names(source).count("output_text.annotation.added") == 2
    assert losses.dropped == ("output.annotations.quote",)


def test_log_probabilities_come_with_their_piece() -> None:
    token = {"token": "Bern", "logprob": -0.1, "bytes": None, "top_logprobs": [{"token": "Bern", "logprob": -0.1}]}
    asked = origin({"include": ["message.output_text.logprobs"], "top_logprobs": 1})
    events: list[Event] = [BEGAN, Opened(0, 0, Text(text="")), Grew(0, 0, "Bern"), Logged(0, [token])]
    reply, sent = accumulated(written([*events, Grew(0, 0, "."), Closed(0, 0), *END], asked))
    deltas = [event for event in sent if event["type"] == "response.output_text.delta"]
    assert [(event["delta"], len(event["logprobs"])) for event in deltas] == [("Bern", 1), (".", 0)]
    assert reply.output[0].content[0].logprobs[0].bytes == list(b"Bern")


def test_log_probabilities_of_a_replay_come_after_the_text() -> None:
    token = {"token": "a", "logprob": -0.1, "bytes": [97], "top_logprobs": []}
    answer = Answer(choices=[Choice(parts=[Text(text="a")], finish="stop", logprobs=[token])])
    reply, _ = accumulated(written(replay(answer), origin({"include": ["message.output_text.logprobs"]})))
    assert reply.output[0].content[0].logprobs[0].token == "a"


def test_searches_images_and_sound() -> None:
    losses = Losses()
    search = Builtin(kind="web_search", raw=[{"type": "server_tool_use"}], text="Bern", origin="anthropic.messages")
    found = Builtin(kind="web_search", raw=[{"type": "web_search_tool_result"}], origin="anthropic.messages")
    fetch = Builtin(kind="web_fetch", raw=[{}], origin="anthropic.messages")
    events: list[Event] = [BEGAN]
    for at, part in enumerate([search, found, fetch, Media(kind="image", mime="image/png", data="QUFB")]):
        events += [Opened(0, at, part), Closed(0, at)]
    events += [Opened(0, 4, Media(kind="audio", mime="audio/wav")), Grew(0, 4, ""), Transcribed(0, 4, "Hello")]
    reply, _ = accumulated(written([*events, Closed(0, 4), *END], losses=losses))
    assert [item.type for item in reply.output] == ["web_search_call", "image_generation_call", "message"]
    assert reply.output[0].action.query == "Bern"
    assert reply.output[1].result == "QUFB"
    assert reply.output_text == "Hello"
    assert set(losses.dropped) == {"output.web_search", "output.web_fetch", "output.audio"}


def test_parts_that_nobody_closed_are_closed() -> None:
    events: list[Event] = [BEGAN, Opened(0, 0, Text(text="a")), Opened(0, 1, ToolUse(id="1", name="x"))]
    reply, _ = accumulated(written([*events, Finished(0, "length"), Ended()]))
    assert [item.status for item in reply.output] == ["completed", "completed"]


def test_other_choices_are_left_out() -> None:
    reply, _ = accumulated(written([*TEXT[:-1], Opened(1, 0, Text(text="other")), Ended()]))
    assert reply.output_text == "Dear Alice"


def test_the_call_is_repeated() -> None:
    body = {
        "instructions": "Be brief.",
        "tools": [
            {"type": "function", "name": "f", "parameters": {"type": "object"}},
            {"type": "mcp", "server_label": "x", "server_url": "https://x.example", "authorization": "secret"},
        ],
        "tool_choice": {"type": "function", "name": "f"},
        "temperature": 0.5,
        "max_output_tokens": 99,
        "metadata": {"a": "b"},
        "text": {"format": {"type": "json_object"}},
        "reasoning": {"effort": "low"},
        "store": False,
        "user": "u",
        "service_tier": "auto",
    }
    reply, events = accumulated(written(TEXT, origin(body)))
    said = events[-1]["response"]
    for name in ("instructions", "tool_choice", "temperature", "max_output_tokens", "metadata", "store", "user"):
        assert said[name] == body[name]
    assert said["tools"][0] == {**body["tools"][0], "strict": True, "description": None}
    assert "secret" not in json.dumps(events)
    assert said["reasoning"] == {"effort": "low", "summary": None}
    assert reply.service_tier == "default"
    whole = DIALECT.write_reply(Answer(choices=[Choice(parts=[Text(text="Dear Alice")])]), origin(body), Losses())
    assert {key: whole[key] for key in said if key not in ("usage", "created_at", "completed_at")} == {
        key: said[key] for key in said if key not in ("usage", "created_at", "completed_at")
    }


def test_tools_of_a_namespace_get_their_names_back() -> None:
    tools = [
        {"type": "namespace", "name": "mcp__git", "description": "Git", "tools": [{"type": "function", "name": "log"}]}
    ]
    asked = origin({"tools": tools})
    assert [tool.name for tool in asked.chat.tools] == ["mcp__git__log"]
    use = ToolUse(id="1", name="mcp__git__log", arguments="{}")
    reply, _ = accumulated(written([BEGAN, Opened(0, 0, use), Closed(0, 0), *END], asked))
    assert (reply.output[0].namespace, reply.output[0].name) == ("mcp__git", "log")
    assert chat({"input": [reply.output[0].to_dict()]}).messages[0].parts[0].name == "mcp__git__log"  # type: ignore[union-attr]


def test_what_is_written_can_be_read() -> None:
    answer = Answer(
        choices=[
            Choice(
                parts=[
                    Reasoning(text="Hm", summary=True, seal="x", id="rs_9", origin="openai.responses"),
                    Text(text="Dear Alice"),
                    ToolUse(id="call_1", name="f", arguments='{"a":1}', origin="openai.responses"),
                ],
                finish="tools",
            )
        ],
        usage=USAGE,
    )
    streamed = read_stream(written(replay(answer)))
    opened = [event.part for event in streamed if isinstance(event, Opened)]
    assert [type(part) for part in opened] == [Reasoning, Text, ToolUse]
    assert streamed[-2:] == [Finished(0, "tools"), Ended()]
    assert UsageTold(Usage(input=20, output=9, cached=4, cache_write=2, reasoning=3)) in streamed
    whole = DIALECT.read_reply(DIALECT.write_reply(answer, origin(), Losses()))
    assert whole.choices == answer.choices


def test_half_of_a_character() -> None:
    halves: list[Event] = [Grew(0, 0, "\ud83d"), Grew(0, 0, "\ude00")]
    source = written([BEGAN, Opened(0, 0, Text(text="")), *halves, Closed(0, 0), *END])
    assert b'"delta": "\\ud83d"' in source or b'"delta":"\\ud83d"' in source
    assert decoded(source)[-1]["response"]["output"][0]["content"][0]["text"] == "\U0001f600"
