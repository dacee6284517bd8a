"""Tool calls that the model wrote so badly that its provider gave none."""

from __future__ import annotations

import json
from typing import Any

import pytest

from shin_gateway import dialects
from shin_gateway.errors import UpstreamFailed
from shin_gateway.translation.dialects import CHATS, translator
from shin_gateway.translation.form import Event, Failed, Finished
from shin_gateway.translation.malformed import settled, settling

Json = dict[str, Any]
CHAT, RESPONSES, MESSAGES, GEMINI = CHATS
OTHERS = (CHAT, RESPONSES, MESSAGES, "openai.completions")
THOUGHT: Json = {"text": "Hm.", "thought": True, "thoughtSignature": "c2ln"}
CALL: Json = {"functionCall": {"name": "f", "args": {}}}
TEXT: Json = {"text": "I will look."}


def reply(*parts: Json, reason: str = "MALFORMED_FUNCTION_CALL") -> Json:
    content = {"role": "model", "parts": list(parts)} if parts else {}
    return {"candidates": [{"content": content, "finishReason": reason, "index": 0}], "modelVersion": "g"}


def heard(body: Json, client: str) -> list[Event]:
    """What a client's writer is given of a stream of one chunk."""
    framer = dialects.get(GEMINI).framer("text/event-stream")
    assert framer is not None
    reader = settling(translator(GEMINI).reader(), client)
    parts = framer.feed(b"data: " + json.dumps(body).encode() + b"\n\n")
    return [*(event for part in parts for event in reader.feed(part)), *reader.finish()]


def finish_of(events: list[Event]) -> str:
    (found,) = [event.finish for event in events if isinstance(event, Finished)]
    return found


@pytest.mark.parametrize("client", OTHERS)
@pytest.mark.parametrize("reason", ["MALFORMED_FUNCTION_CALL", "UNEXPECTED_TOOL_CALL"])
@pytest.mark.parametrize("parts", [(), (THOUGHT,), ({"text": ""},)], ids=["nothing", "a thought", "an empty text"])
def test_an_answer_with_nothing_in_it_failed(client: str, reason: str, parts: tuple[Json, ...]) -> None:
    body = reply(*parts, reason=reason)
    with pytest.raises(UpstreamFailed) as raised:
        settled(translator(GEMINI).read_reply(body), client)
    assert (raised.value.status, raised.value.retryable) == (502, True)
    failed = next(event for event in heard(body, client) if isinstance(event, Failed))
    assert (failed.failure.status, failed.failure.retryable) == (502, True)


@pytest.mark.parametrize("client", OTHERS)
@pytest.mark.parametrize(("parts", "finish"), [((THOUGHT, TEXT), "stop"), ((TEXT, CALL), "tools")])
def test_what_came_is_an_answer(client: str, parts: tuple[Json, ...], finish: str) -> None:
    answer = settled(translator(GEMINI).read_reply(reply(*parts)), client)
    assert answer.choices[0].finish == finish
    events = heard(reply(*parts), client)
    assert finish_of(events) == finish
    assert not any(isinstance(event, Failed) for event in events)


@pytest.mark.parametrize("parts", [(), (TEXT,)])
def test_gemini_s_clients_are_told_by_its_own_word(parts: tuple[Json, ...]) -> None:
    answer = settled(translator(GEMINI).read_reply(reply(*parts)), GEMINI)
    assert answer.choices[0].finish == "malformed_tool"
    assert finish_of(heard(reply(*parts), GEMINI)) == "malformed_tool"


def test_an_empty_answer_that_ended_well_is_one() -> None:
    answer = settled(translator(GEMINI).read_reply(reply(reason="STOP")), CHAT)
    assert answer.choices[0].finish == "stop"
    assert finish_of(heard(reply(reason="STOP"), CHAT)) == "stop"


def test_one_of_two_choices() -> None:
    body = reply(TEXT, reason="STOP")
    body["candidates"].append({"finishReason": "MALFORMED_FUNCTION_CALL", "index": 1})
    answer = settled(translator(GEMINI).read_reply(body), CHAT)
    assert [choice.finish for choice in answer.choices] == ["stop", "stop"]
    assert [event.finish for event in heard(body, CHAT) if isinstance(event, Finished)] == ["stop", "stop"]
