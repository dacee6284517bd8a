"""A call that is not what its API takes never reaches the provider, and its client is told which field is wrong."""

from __future__ import annotations

import gzip
import json
from typing import Any

import pytest

from tests.addons.stand import CHAT, COMPLETIONS, EMBEDDINGS, GEMINI, MESSAGES, RESPONSES, Stand, asking, chat
from tests.provider import FakeProvider

WRONG: list[tuple[str, dict[str, Any], str]] = [
    (CHAT, chat() | {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": 1}]}]},
     'messages[0].content[0].image_url: should be a string or an object with "url", not a number.'),
    (COMPLETIONS, {"model": "gpt-3.5-turbo-instruct", "prompt": {}},
     "prompt: should be a string or a list, not an object."),
    (EMBEDDINGS, {"model": "text-embedding-3-small", "input": {}},
     "input: should be a string or a list, not an object."),
    (RESPONSES, {"model": "gpt-4o", "input": "x", "tools": {}}, "tools: should be a list, not an object."),
    (MESSAGES, {"model": "claude-sonnet-4-5", "messages": []}, "max_tokens: is missing; should be a whole number."),
    (GEMINI, {"contents": [{"parts": [{"text": {}}]}]},
     "contents[0].parts[0].text: should be a string, not an object."),
]  # fmt: skip


@pytest.mark.parametrize(("path", "body", "message"), WRONG)
async def test_the_error_is_the_dialects_own(
    stand: Stand, provider: FakeProvider, path: str, body: Any, message: str
) -> None:
    await stand.start("validate: on")
    asked = await stand.ask(body, path)
    field = message.partition(":")[0]
    error = asked.json()["error"]
    assert (asked.status, error["message"]) == (400, message)
    if path == GEMINI:
        violations = [one["fieldViolations"] for one in error["details"] if "fieldViolations" in one]
        assert error["status"] == "INVALID_ARGUMENT" and violations[0][0]["field"] == field
    else:
        assert error["type"] == "invalid_request_error"
    if path not in (GEMINI, MESSAGES):
        assert error["param"] == field
    assert (asked.outcome.end, asked.outcome.cause) == ("refused", "invalid_request")
    assert provider.seen == []


@pytest.mark.parametrize("path", [CHAT, COMPLETIONS, RESPONSES, MESSAGES, GEMINI])
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
async def test_a_good_call_goes_on_as_it_came(stand: Stand, provider: FakeProvider, path: str, stream: bool) -> None:
    await stand.start("validate: {unknown: refuse, values: refuse}")
    path, body = asking(path, "Hi.", stream)
    raw = json.dumps(body, indent=3).encode()
    assert (await stand.ask(raw, path)).status == 200
    assert provider.seen[0].body == raw


async def test_unknown_fields_pass_unless_they_are_refused(stand: Stand, provider: FakeProvider) -> None:
    body = chat(temprature=1, verbosity="loud")
    for settings, param in (
        ("on", None), ("{unknown: refuse}", "temprature"), ("{values: refuse}", "verbosity"), ("{mode: shadow}", None),
    ):  # fmt: skip
        await stand.start(f"validate: {settings}")
        asked = await stand.ask(body)
        assert asked.status == (400 if param else 200)
        assert asked.status == 200 or asked.json()["error"]["param"] == param
        await stand.stop()


async def test_shadow_notes_what_it_would_have_refused(stand: Stand) -> None:
    await stand.start("validate: {mode: shadow}")
    asked = await stand.ask(chat(temperature="hot"))
    assert (asked.status, asked.facts["shadow.validate"]) == (200, "invalid_request")


async def test_a_long_call_is_checked_too(stand: Stand) -> None:
    await stand.start("validate: on")
    messages = [{"role": "user", "content": "word " * 20} for _ in range(10_000)]
    asked = await stand.ask(chat() | {"messages": [*messages, {"role": "user", "content": 3}]})
    assert asked.json()["error"]["param"] == "messages[10000].content"


async def test_compressed_calls_are_read(stand: Stand, provider: FakeProvider) -> None:
    await stand.start("validate: on")
    raw = gzip.compress(json.dumps(chat(temperature="hot")).encode())
    asked = await stand.ask(raw, headers={"content-encoding": "gzip"})
    assert asked.json()["error"]["param"] == "temperature"
    good = gzip.compress(json.dumps(chat()).encode())
    assert (await stand.ask(good, headers={"content-encoding": "gzip"})).status == 200
    assert provider.seen[0].body == good or json.loads(provider.seen[0].body) == chat()
