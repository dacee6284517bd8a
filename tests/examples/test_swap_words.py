"""The example addon: in four dialects, whole and streamed, in texts and in tool arguments."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from shin_gateway.policy.resolve import load_policies
from shin_gateway.registry import Registry
from tests.addons.conftest import EXAMPLES
from tests.addons.stand import CHAT, COMPLETIONS, GEMINI, MESSAGES, RESPONSES, Stand, asking, chat
from tests.provider import Answer, FakeProvider, ToolCall

POLICIES = EXAMPLES.parent / "policies"
SWAP = 'swap_words: {words: {Falcon: Sparrow, "Order 66": Plan}}'
PATHS = [CHAT, COMPLETIONS, RESPONSES, MESSAGES, GEMINI]


def events(body: bytes) -> list[Any]:
    return [json.loads(line[6:]) for line in body.decode().splitlines() if line.startswith("data: {")]


def strings(value: Any) -> Iterator[str]:
    """Every string in a JSON value."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from strings(inner)


def delta(path: str, event: Any) -> str:
    """What one event adds to the text."""
    if path == RESPONSES:
        return str(event["delta"]) if event["type"] == "response.output_text.delta" else ""
    if path == MESSAGES:
        return str(event.get("delta", {}).get("text", ""))
    if path == GEMINI:
        return "".join(part.get("text", "") for part in event["candidates"][0]["content"]["parts"])
    choice = (event["choices"] or [{}])[0]
    return choice.get("text") or choice.get("delta", {}).get("content") or ""


def arguments(path: str, event: Any) -> str:
    """What one event adds to a tool's arguments."""
    if path == RESPONSES:
        return str(event["delta"]) if event["type"] == "response.function_call_arguments.delta" else ""
    if path == MESSAGES:
        return str(event.get("delta", {}).get("partial_json", ""))
    if path == GEMINI:
        parts = event["candidates"][0]["content"]["parts"]
        return "".join(json.dumps(part["functionCall"]["args"]) for part in parts if "functionCall" in part)
    calls = (event["choices"] or [{}])[0].get("delta", {}).get("tool_calls") or []
    return "".join(call["function"].get("arguments", "") for call in calls)


@pytest.mark.parametrize("path", PATHS)
async def test_whole(stand: Stand, provider: FakeProvider, path: str) -> None:
    provider.default = Answer(text='A Sparrow says "Plan".\n')
    await stand.start("{}")
    where, body = asking(path, 'Find "Falcon" by Order 66.\n', stream=False)
    raw = json.dumps(body, indent=3).encode()
    plain = await stand.ask(raw, where)
    await stand.stop()
    await stand.start(SWAP)
    swapped = await stand.ask(raw, where)
    assert provider.seen[1].body == raw.replace(b"Falcon", b"Sparrow").replace(b"Order 66", b"Plan")
    assert swapped.body == plain.body.replace(b"Sparrow", b"Falcon").replace(b"Plan", b"Order 66")
    assert swapped.body != plain.body


@pytest.mark.parametrize("pieces", [0, 1, 2, 3, 5])
@pytest.mark.parametrize("path", PATHS)
async def test_streamed_in_pieces(stand: Stand, provider: FakeProvider, path: str, pieces: int) -> None:
    text = "A Sparrow, two Sparrows; the Plan: Span, Sparrow"
    provider.default = Answer(text=text, pieces=pieces)
    await stand.start(SWAP)
    where, body = asking(path, "Where is Falcon?", stream=True)
    asked = await stand.ask(body, where)
    wanted = text.replace("Sparrow", "Falcon").replace("Plan", "Order 66")
    assert "".join(delta(path, event) for event in events(asked.body)) == wanted
    assert b"Falcon" not in provider.seen[0].body
    copies = [string for event in events(asked.body) for string in strings(event) if len(string) >= len(text)]
    assert set(copies) <= {wanted}  # a Responses stream repeats its text at the end
    assert len(copies) == (4 if path == RESPONSES else 0) or pieces == 0


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("path", [CHAT, RESPONSES, MESSAGES, GEMINI])
async def test_tool_arguments(stand: Stand, provider: FakeProvider, path: str, stream: bool) -> None:
    given = {"bird": "Sparrow", "note": 'the "Plan"\n', "depth": 2}
    provider.default = Answer(tools=(ToolCall("look_up", given),), pieces=3)
    await stand.start(SWAP)
    where, body = asking(path, "Look up Falcon.", stream)
    asked = await stand.ask(body, where)
    wanted = {"bird": "Falcon", "note": 'the "Order 66"\n', "depth": 2}
    if stream:
        assert json.loads("".join(arguments(path, event) for event in events(asked.body))) == wanted
    else:
        assert any(found == wanted for found in objects(asked.json()))
    assert b"Sparrow" not in asked.body


def objects(value: Any) -> Iterator[Any]:
    """Every object in a JSON value, those inside of strings included."""
    if isinstance(value, str) and value.startswith("{"):
        value = json.loads(value)
    if isinstance(value, dict):
        yield value
    if isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from objects(inner)


@pytest.mark.parametrize("path", PATHS)
async def test_a_stream_without_the_words_keeps_its_bytes(stand: Stand, provider: FakeProvider, path: str) -> None:
    where, body = asking(path, "Hello", stream=True)
    bodies = []
    for addons in ("{}", SWAP):
        await stand.start(addons)
        bodies.append((await stand.ask(body, where)).body)
        await stand.stop()
    assert bodies[0] == bodies[1]
    assert provider.seen[0].body == provider.seen[1].body


async def test_a_compressed_call(stand: Stand, provider: FakeProvider) -> None:
    import gzip

    await stand.start(SWAP)
    raw = json.dumps(chat("Falcon")).encode()
    asked = await stand.ask(gzip.compress(raw), headers={"content-encoding": "gzip"})
    assert asked.status == 200
    assert provider.seen[0].json()["messages"][0]["content"] == "Sparrow"


@pytest.mark.parametrize(
    "words",
    ["{a: ''}", "{'': b}", "{a: x, b: x}", "{a: b, b: c}"],
)
def test_words_that_cannot_be_restored(tmp_path: Path, words: str) -> None:
    (tmp_path / "p.yaml").write_text(f"hosts: [example.com]\naddons:\n  swap_words: {{words: {words}}}\n")
    with pytest.raises(Exception, match="word"):
        load_policies([tmp_path], Registry.load([EXAMPLES]))


def test_the_example_policy_loads() -> None:
    policies = load_policies([POLICIES], Registry.load([EXAMPLES]))
    for host in ("api.openai.com", "api.anthropic.com", "generativelanguage.googleapis.com"):
        policy = policies.find(host)
        assert policy is not None
        assert [line.name for line in policy.addons] == ["log", "swap_words", "retry", "translate", "meter"]


def test_it_is_as_short_as_an_example_should_be() -> None:
    assert len((EXAMPLES / "swap_words.py").read_text().splitlines()) <= 60
