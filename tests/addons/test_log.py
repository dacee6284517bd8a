"""One row for each call, whatever became of it, and nothing in it that must not be kept."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime

import pytest

from tests.addons.stand import PROMPT, Asked, Stand, chat
from tests.provider import RATE_LIMITED, Answer, FakeProvider, Stop

NAMED = "/openai/v1/chat/completions"


async def test_a_row_says_all_there_is_to_say(stand: Stand) -> None:
    before = datetime.now(UTC)
    await stand.start("meter: on\nlog: on")
    asked = await stand.ask(chat())
    row = await stand.row()
    assert row.id == asked.call.id
    assert before <= row.at <= datetime.now(UTC)
    assert (row.caller, row.caller_kind, row.policy, row.host) == ("ann", "user", "gateway", "gateway")
    assert (row.dialect, row.kind, row.model, row.stream) == ("openai.chat", "chat", "gpt-4o", False)
    assert (row.target, row.provider) == ("openai/gpt-4o", "openai")
    assert (row.status, row.end, row.cause, row.addon) == (200, "completed", "", "")
    assert (row.usage_source, row.input_tokens, row.output_tokens) == ("provider", 11, 7)
    assert row.cost == asked.outcome.cost
    assert row.attempts == 1
    assert row.call_bytes == len(asked.call.raw_body)
    assert row.reply_bytes == len(asked.body)
    assert 0 < row.first_part_ms <= row.total_ms
    assert 0 < row.overhead_ms < row.total_ms
    assert row.connect_ms > 0
    assert (row.facts, row.call_body, row.reply_body) == ({}, "", "")


async def test_a_stream_has_one_row_when_it_has_ended(stand: Stand) -> None:
    await stand.start("meter: on\nlog: on")
    asked = await stand.begin(chat(stream=True), NAMED)
    await asked.next()
    assert len(stand.state.rows) == 0
    await asked.read()
    row = await stand.row()
    assert (row.stream, row.end, row.input_tokens, row.reply_bytes) == (True, "completed", 11, len(asked.body))


async def test_the_model_is_as_asked_and_the_target_as_served(stand: Stand) -> None:
    await stand.start("log: on")
    await stand.ask(chat(model="ollama/llama3"))
    row = await stand.row()
    assert (row.model, row.target) == ("ollama/llama3", "ollama/llama3")


async def test_errors_of_the_provider(stand: Stand, provider: FakeProvider) -> None:
    provider.script(RATE_LIMITED, Answer(error_after=1))
    await stand.start("log: on")
    await stand.ask(chat())
    await stand.ask(chat(stream=True))
    limited, failed = await stand.rows()
    assert (limited.status, limited.end) == (429, "completed")
    assert (failed.status, failed.end) == (200, "failed")
    assert failed.cause


async def test_refusals(stand: Stand, provider: FakeProvider) -> None:
    await stand.start("log: on")
    await stand.ask(b"not json")
    await stand.ask(chat(model="unheard-of"))
    with provider.refusing():
        await stand.ask(chat())
    invalid, unknown, unreachable = await stand.rows()
    assert (invalid.status, invalid.end, invalid.cause) == (400, "refused", "invalid_request")
    assert (unknown.status, unknown.model, unknown.cause) == (404, "unheard-of", "model_not_found")
    assert (unreachable.status, unreachable.end, unreachable.cause) == (502, "failed", "upstream_unreachable")


async def test_a_client_that_leaves_in_any_phase(stand: Stand, provider: FakeProvider) -> None:
    await stand.start("log: on")
    provider.script(Answer(stop=Stop("hang", after="call")), Answer(stop=Stop("hang", after="parts", count=3)))
    delivery = stand.call(chat())
    answering = asyncio.ensure_future(delivery.answer())
    await provider.wait_seen(1)
    delivery.client_left()
    assert await answering is None
    asked = await stand.begin(chat(stream=True))
    await asked.next()
    asked.delivery.client_left()
    rows = await stand.rows()
    assert [(row.status, row.end, row.cause) for row in rows] == [(499, "cancelled", "client_left")] * 2
    for seen in provider.seen:
        await asyncio.wait_for(seen.left, 10)


async def test_a_broken_stream(stand: Stand, provider: FakeProvider) -> None:
    provider.default = Answer(stop=Stop("rst", after="parts", count=3))
    await stand.start("log: on")
    await stand.ask(chat(stream=True))
    row = await stand.row()
    assert (row.status, row.end, row.cause) == (200, "broken", "upstream_cut")


async def test_facts_are_bounded(stand: Stand) -> None:
    await stand.start("log: on")
    asked = await stand.begin(chat())
    asked.call.note(**{f"fact{number}": "x" * 1000 for number in range(100)})
    await asked.read()
    row = await stand.row()
    assert len(row.facts) == 32
    assert max(map(len, row.facts.values())) == 256


async def test_names_of_callers_making_are_bounded(stand: Stand) -> None:
    await stand.start("log: on")
    await stand.ask(chat(model="x" * 100_000), caller="y" * 1000)
    row = await stand.row()
    assert len(row.model) == 256
    assert len(row.caller) == 256


async def both(stand: Stand, provider: FakeProvider) -> list[Asked]:
    provider.script(Answer(), Answer(), RATE_LIMITED)
    bodies = [chat(), chat(stream=True), chat()]
    return [await stand.ask(body, NAMED) for body in bodies]


async def test_bodies_are_not_kept_unless_told(stand: Stand, provider: FakeProvider) -> None:
    await stand.start("log: on")
    await both(stand, provider)
    assert {(row.call_body, row.reply_body) for row in await stand.rows()} == {("", "")}


async def test_bodies_of_errors(stand: Stand, provider: FakeProvider) -> None:
    await stand.start("log: {bodies: errors}")
    asked = await both(stand, provider)
    *good, bad = await stand.rows()
    assert {(row.call_body, row.reply_body) for row in good} == {("", "")}
    assert (json.loads(bad.call_body), bad.reply_body) == (chat(), asked[-1].body.decode())


async def test_all_bodies(stand: Stand, provider: FakeProvider) -> None:
    await stand.start("meter: on\nlog: {bodies: all}")
    asked = await both(stand, provider)
    rows = await stand.rows()
    assert sorted(row.reply_body for row in rows) == sorted(one.body.decode() for one in asked)
    assert all(json.loads(row.call_body)["messages"] for row in rows)
    assert not any("stream_options" in row.call_body for row in rows)


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
async def test_bodies_are_decoded_and_bounded(stand: Stand, provider: FakeProvider, stream: bool) -> None:
    provider.default = Answer(text="long " * 5000, encoding="gzip")
    await stand.start("log: {bodies: all, body_limit: 1kB}")
    await stand.ask(chat("y" * 5000, stream=stream), NAMED)
    row = await stand.row()
    assert len(row.call_body) == len(row.reply_body) == 1000
    assert row.reply_body.lstrip().startswith(("{", "data: {"))


async def test_no_header_is_kept(stand: Stand) -> None:
    await stand.start("meter: on\nlog: {bodies: all}")
    secret = "sk-very-secret"
    headers = {"authorization": f"Bearer {secret}", "cookie": secret, "x-goog-api-key": secret}
    path = f"/v1beta/models/gemini-2.5-pro:generateContent?key={secret}"
    await stand.ask({"contents": [{"parts": [{"text": PROMPT[0]["content"]}]}]}, path, headers=headers)
    row = await stand.row()
    assert row.status == 200
    assert secret.encode() not in row.encode()
    assert b"test-key" not in row.encode()


async def test_a_log_that_fails_costs_the_caller_nothing(
    stand: Stand, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    await stand.start("log: on")

    def fall_over(_: object) -> None:
        raise RuntimeError("full")

    monkeypatch.setattr(stand.state.rows, "put", fall_over)
    assert (await stand.ask(chat())).status == 200
    assert "at the end of call" in caplog.text
