"""Defaults and caps of a policy, on calls that go to a provider."""

from __future__ import annotations

import gzip
import json
from typing import Any

import pytest

from tests.addons.stand import CHAT, COMPLETIONS, EMBEDDINGS, GEMINI, MESSAGES, RESPONSES, Stand, asking, chat
from tests.provider import FakeProvider

BOTH = "parameters: {defaults: {temperature: 0.2, max_tokens: 300}, caps: {max_tokens: 200, n: 1}}"
REFUSING = "parameters: {caps: {max_tokens: 200, n: 1}, over_cap: refuse}"
both_ways = pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])


@both_ways
@pytest.mark.parametrize(
    ("path", "put"),
    [
        (CHAT, {"temperature": 0.2, "max_tokens": 200}),
        (COMPLETIONS, {"temperature": 0.2, "max_tokens": 200}),
        (RESPONSES, {"temperature": 0.2, "max_output_tokens": 200}),
        (MESSAGES, {"temperature": 0.2}),
        (GEMINI, {"generationConfig": {"temperature": 0.2, "maxOutputTokens": 200}}),
    ],
)
async def test_in_every_dialect(
    stand: Stand, provider: FakeProvider, path: str, put: dict[str, Any], stream: bool
) -> None:
    await stand.start(BOTH)
    path, body = asking(path, "hello", stream)
    asked = await stand.ask(body, path)
    assert asked.status == 200
    assert provider.seen[0].json() == body | put
    assert asked.facts["defaults"]


async def test_what_the_client_says_wins_over_a_default_and_not_over_a_cap(
    stand: Stand, provider: FakeProvider
) -> None:
    await stand.start(BOTH)
    asked = await stand.ask(b'{ "model": "gpt-4o", "n": 3, "temperature": 1.0, "max_tokens": 50, "messages": [] }')
    assert provider.seen[0].body == (
        b'{ "model": "gpt-4o", "n": 1, "temperature": 1.0, "max_tokens": 50, "messages": [] }'
    )
    assert asked.facts == {"capped": "n"}


async def test_a_call_within_its_caps_leaves_as_it_came(stand: Stand, provider: FakeProvider) -> None:
    await stand.start("parameters: {caps: {max_tokens: 200, n: 1}}")
    body = gzip.compress(b'{"model":"gpt-4o","max_tokens":200,"messages":[]}')
    asked = await stand.ask(body, headers={"content-encoding": "gzip"})
    assert (provider.seen[0].body, dict(provider.seen[0].headers)["content-encoding"]) == (body, "gzip")
    assert not asked.facts


async def test_without_settings_nothing_is_even_read(stand: Stand, provider: FakeProvider) -> None:
    await stand.start("parameters: on")
    body = b'{"model":"gpt-4o","n":99}'
    await stand.ask(body)
    assert provider.seen[0].body == body


@pytest.mark.parametrize(
    ("path", "more", "field", "most"),
    [
        (CHAT, {"max_tokens": 900, "n": 5}, "max_tokens", 200),
        (CHAT, {"n": 5}, "n", 1),
        (RESPONSES, {"max_output_tokens": 900}, "max_output_tokens", 200),
        (MESSAGES, {"max_tokens": 900}, "max_tokens", 200),
        (GEMINI, {"generationConfig": {"candidateCount": 2}}, "generationConfig.candidateCount", 1),
    ],
)
async def test_refused(
    stand: Stand, provider: FakeProvider, path: str, more: dict[str, Any], field: str, most: int
) -> None:
    await stand.start(REFUSING)
    path, body = asking(path, "hello", False)
    asked = await stand.ask(body | more, path)
    assert (asked.status, asked.outcome.cause, provider.seen) == (400, "over_cap", [])
    assert f"{field}: at most {most} is allowed here." in json.dumps(asked.json())


async def test_what_is_not_over_is_not_refused(stand: Stand, provider: FakeProvider) -> None:
    await stand.start(REFUSING)
    asked = await stand.ask(chat())
    assert (asked.status, provider.seen[0].json()["max_tokens"]) == (200, 200)
    assert asked.facts == {"capped": "max_tokens"}


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (EMBEDDINGS, {"model": "text-embedding-3-small", "input": "x"}),
        ("/v1/responses/compact", {"model": "gpt-4o", "input": "x"}),
        ("/v1/messages/count_tokens", {"model": "claude-sonnet-4-5", "messages": []}),
    ],
)
async def test_calls_without_parameters(stand: Stand, provider: FakeProvider, path: str, body: dict[str, Any]) -> None:
    await stand.start(BOTH)
    await stand.ask(body, path)
    assert provider.seen[0].json() == body


async def test_a_client_that_speaks_a_version_without_sampling(stand: Stand, provider: FakeProvider) -> None:
    await stand.start("parameters: {defaults: {temperature: 0.2}}")
    _, body = asking(MESSAGES, "hello", False)
    for version in ("2023-06-01", "2026-10-21"):
        await stand.ask(body, MESSAGES, headers={"anthropic-version": version})
    assert ["temperature" in seen.json() for seen in provider.seen] == [True, False]


async def test_in_shadow(stand: Stand, provider: FakeProvider) -> None:
    await stand.start("parameters: {caps: {n: 1}, over_cap: refuse, mode: shadow}")
    asked = await stand.ask(chat(n=5))
    await stand.settled()
    assert (asked.status, provider.seen[0].json()["n"]) == (200, 5)
    assert asked.facts["shadow.parameters"] == "over_cap"
