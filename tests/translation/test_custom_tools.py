"""Free-form tools and tools' names, there and back."""

from __future__ import annotations

import json
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shin_gateway.dialects.parts import Part
from shin_gateway.translation.custom_tools import as_function, restored, restoring, unwrap, wrap
from shin_gateway.translation.dialects import translator
from shin_gateway.translation.form import Answer, Chat, Choice, Closed, Event, Grew, Opened, Text, Tool, ToolUse
from shin_gateway.translation.losses import Losses
from shin_gateway.translation.names import for_others
from shin_gateway.translation.replay import events
from shin_gateway.translation.translator import Origin, Traits


class _Reader:
    """Half of what is read comes in a part, half with the end."""

    def __init__(self, events: list[Event]) -> None:
        self._events = events

    def feed(self, part: Part) -> list[Event]:
        return self._events[: len(self._events) // 2]

    def finish(self) -> list[Event]:
        return self._events[len(self._events) // 2 :]


CHAT = Chat(tools=[Tool(name="run", custom=True), Tool(name="mcp.look")])


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (wrap('a "b"\n'), 'a "b"\n'),
        ('"just text"', "just text"),
        ('{"other": 1}', '{"other": 1}'),
        ("broken {", "broken {"),
        ("[" * 5000, "[" * 5000),
        ("", ""),
    ],
)
def test_unwrap(arguments: str, text: str) -> None:
    assert unwrap(arguments) == text


def test_as_function() -> None:
    tool = as_function(Tool(name="run", description="Run it.", custom=True, format={"type": "text"}))
    assert (tool.name, tool.description, tool.custom) == ("run", "Run it.", False)


@given(st.text(max_size=200))
def test_names(name: str) -> None:
    fit = for_others(name)
    assert re.fullmatch(r"[a-zA-Z0-9_-]{1,64}", fit)
    assert for_others(fit) == fit
    assert fit == name or not re.fullmatch(r"[a-zA-Z0-9_-]{1,64}", name)


def test_a_whole_answer() -> None:
    parts = [
        Text(text="x"),
        ToolUse(id="1", name="run", arguments=wrap("print()")),
        ToolUse(id="2", name=for_others("mcp.look"), arguments="{}"),
    ]
    _, run, look = restored(Answer(choices=[Choice(parts=list(parts))]), CHAT).choices[0].parts
    assert (run.custom, run.arguments) == (True, "print()")  # type: ignore[union-attr]
    assert (look.name, look.custom) == ("mcp.look", False)  # type: ignore[union-attr]


def test_a_custom_tool_that_the_api_has_keeps_its_input_and_gets_its_name_back() -> None:
    chat = Chat(tools=[Tool(name="my.run", custom=True)])
    use = ToolUse(id="1", name=for_others("my.run"), arguments='{"input": "x"}', custom=True)
    restored(Answer(choices=[Choice(parts=[use])]), chat)
    assert (use.name, use.arguments, use.custom) == ("my.run", '{"input": "x"}', True)


def test_not_needed_without_such_tools() -> None:
    reader = _Reader([])
    assert restoring(reader, Chat(tools=[Tool(name="look")])) is reader


WRITTEN = [json.dumps, lambda value: json.dumps(value, ensure_ascii=False, indent=2)]


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=30), st.sampled_from(WRITTEN), st.integers(1, 7))
def test_a_stream_in_pieces_of_any_size(text: str, written: object, size: int) -> None:
    arguments = written({"input": text})  # type: ignore[operator]
    assert _streamed(arguments, size) == text


@pytest.mark.parametrize("arguments", ['{"input": 5}', "plain", '{"other": "' + "x" * 100 + '"}', '{"input": "cut', ""])
def test_a_stream_of_another_shape_loses_nothing(arguments: str) -> None:
    assert _streamed(arguments, 3) == (arguments if "cut" not in arguments else "cut")


def test_codex_asks_another_model() -> None:
    """A free-form tool and a tool whose name Anthropic would refuse, there and back."""
    patch = {
        "type": "custom",
        "name": "apply_patch",
        "format": {"type": "grammar", "syntax": "lark", "definition": "x"},
    }
    look = {"type": "function", "name": "web.look", "parameters": {"type": "object", "properties": {}}, "strict": False}
    body = {"model": "m", "input": "hi", "tools": [patch, look], "stream": True}
    responses, messages = translator("openai.responses"), translator("anthropic.messages")
    chat = responses.read_call(body, "/v1/responses", Losses())
    asked = [tool["name"] for tool in messages.write_call(chat, Traits(model="claude"), Losses())["tools"]]
    assert asked[0] == "apply_patch" and "." not in asked[1]
    origin = Origin("c1", "m", chat, body)
    uses = [
        {"type": "tool_use", "id": "t1", "name": "apply_patch", "input": {"input": "*** Begin\n"}},
        {"type": "tool_use", "id": "t2", "name": asked[1], "input": {}},
    ]
    reply = {
        "id": "x",
        "type": "message",
        "role": "assistant",
        "model": "c",
        "content": uses,
        "stop_reason": "tool_use",
    }
    whole = responses.write_reply(restored(messages.read_reply(reply), chat), origin, Losses())["output"]
    assert [(one["type"], one["name"]) for one in whole] == [
        ("custom_tool_call", "apply_patch"),
        ("function_call", "web.look"),
    ]
    assert whole[0]["input"] == "*** Begin\n"

    reader, writer = (
        restoring(_Reader(list(events(messages.read_reply(reply)))), chat),
        responses.writer(origin, Losses()),
    )
    sent = b"".join(writer.write(one) for one in [*reader.feed(Part(b"")), *reader.finish()])
    final = json.loads(sent.rpartition(b"data: ")[2])["response"]["output"]
    assert [(one["type"], one["name"]) for one in final] == [(one["type"], one["name"]) for one in whole]
    assert b"response.custom_tool_call_input.delta" in sent


def _streamed(arguments: str, size: int) -> str:
    pieces = [arguments[at : at + size] for at in range(0, len(arguments), size)]
    events: list[Event] = [
        Opened(0, 0, ToolUse(id="1", name="run")),
        *(Grew(0, 0, one) for one in pieces),
        Closed(0, 0),
    ]
    reader = restoring(_Reader(events), CHAT)
    found = [*reader.feed(Part(b"")), *reader.finish()]
    assert isinstance(found[0], Opened) and isinstance(found[0].part, ToolUse) and found[0].part.custom
    return "".join(event.text for event in found if isinstance(event, Grew))
