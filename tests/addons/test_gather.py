"""Embedding calls that become one: vectors, usage and cost come apart again; errors and leavers."""

from __future__ import annotations

import asyncio
import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shin_gateway.crossing import gathering
from shin_gateway.errors import UpstreamFailed
from tests.addons.stand import EMBEDDINGS, Stand
from tests.provider import RATE_LIMITED, Answer, FakeProvider

MODEL = "text-embedding-3-small"
METER = "meter: on"


def answer(count: int, tokens: int, **how: Any) -> Answer:
    data = [{"object": "embedding", "index": at, "embedding": [float(at), 0.5], "extra": 1} for at in range(count)]
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    body = {"object": "list", "data": data[::-1], "model": MODEL, "usage": usage, "more": {"a": 1}}
    return Answer(body=json.dumps(body).encode(), **how)


def embed(*texts: str, **more: Any) -> dict[str, Any]:
    return {"model": MODEL, "input": texts[0] if len(texts) == 1 else list(texts), **more}


async def test_calls_of_a_moment_become_one(stand: Stand, provider: FakeProvider) -> None:
    await stand.start(f"gather: {{calls: 3, wait: 5s}}\n{METER}")
    provider.script(answer(4, 101))
    asked = await asyncio.gather(
        stand.ask(embed("a"), EMBEDDINGS), stand.ask(embed("bb", "ccc"), EMBEDDINGS), stand.ask(embed("dd"), EMBEDDINGS)
    )
    (seen,) = provider.seen
    assert seen.json() == {"model": MODEL, "input": ["a", "bb", "ccc", "dd"]}
    found = [[row["embedding"][0] for row in one.json()["data"]] for one in asked]
    assert found == [[0.0], [1.0, 2.0], [3.0]]
    assert [row["index"] for row in asked[1].json()["data"]] == [0, 1]
    assert asked[0].json()["more"] == {"a": 1} and asked[0].json()["data"][0]["extra"] == 1
    tokens = [one.json()["usage"]["total_tokens"] for one in asked]
    assert sum(tokens) == 101 and tokens == [one.outcome.usage.input for one in asked if one.outcome.usage]
    costs = [one.outcome.cost for one in asked if one.outcome.cost is not None]
    assert len(costs) == 3 and sum(costs) == Decimal(101) * Decimal("0.02") / 1_000_000
    assert {one.facts["gathered"] for one in asked} == {"3"} and len({one.facts["gathered_as"] for one in asked}) == 1
    assert all(one.call.target and one.call.target.name == f"openai/{MODEL}" for one in asked)
    assert {one.outcome.attempts for one in asked} == {1}


async def test_only_what_is_alike_is_joined(stand: Stand, provider: FakeProvider) -> None:
    await stand.start("gather: {wait: 50ms}")
    provider.default = answer(1, 5)
    await asyncio.gather(
        stand.ask(embed("a"), EMBEDDINGS),
        stand.ask(embed("a", dimensions=5), EMBEDDINGS),
        stand.ask(embed("a"), EMBEDDINGS, caller="bob"),
        stand.ask({"model": MODEL, "input": [1, 2]}, EMBEDDINGS),
        stand.ask(embed("a"), EMBEDDINGS, headers={"openai-organization": "x"}),
    )
    assert len(provider.seen) == 5
    assert provider.seen[0].json() in [seen.json() for seen in provider.seen[1:]]


async def test_one_that_stays_alone_goes_as_it_came(stand: Stand, provider: FakeProvider) -> None:
    await stand.start("gather: {wait: 20ms}")
    raw = b'{"input":  "a", "model": "text-embedding-3-small" }'
    provider.script(answer(1, 3))
    asked = await stand.ask(raw, EMBEDDINGS)
    assert provider.seen[0].body == raw and "gathered" not in asked.facts


async def test_what_the_provider_takes_at_once_is_the_limit(stand: Stand, provider: FakeProvider) -> None:
    await stand.start("gather: {inputs: 3, wait: 100ms}")
    provider.script(answer(2, 2), answer(2, 2))
    asked = await asyncio.gather(*(stand.ask(embed("a", "b"), EMBEDDINGS) for _ in range(2)))
    assert [one.status for one in asked] == [200, 200] and len(provider.seen) == 2


async def test_errors_go_to_all(stand: Stand, provider: FakeProvider) -> None:
    await stand.start("gather: {calls: 2, wait: 5s}")
    provider.script(RATE_LIMITED)
    asked = await asyncio.gather(*(stand.ask(embed("a"), EMBEDDINGS) for _ in range(2)))
    assert [one.status for one in asked] == [429, 429]
    with provider.refusing():
        asked = await asyncio.gather(*(stand.ask(embed("a"), EMBEDDINGS) for _ in range(2)))
    assert [one.status for one in asked] == [502, 502]
    provider.script(answer(1, 1))
    asked = await asyncio.gather(*(stand.ask(embed("a"), EMBEDDINGS) for _ in range(2)))
    assert [one.outcome.cause for one in asked] == ["upstream_malformed"] * 2


@pytest.mark.parametrize("leaver", [0, 1, 2])
async def test_one_that_leaves_does_not_take_the_others_along(
    stand: Stand, provider: FakeProvider, leaver: int
) -> None:
    await stand.start("gather: {calls: 3, wait: 5s}")
    provider.script(answer(3, 30, wait_head=0.2))
    deliveries = [stand.call(embed(text), EMBEDDINGS) for text in ("a", "b", "c")]
    tasks = [asyncio.create_task(one.answer()) for one in deliveries]
    await provider.wait_seen(1)
    deliveries[leaver].client_left()
    replies = await asyncio.gather(*tasks)
    assert [reply is None for reply in replies] == [at == leaver for at in range(3)]
    for one in deliveries:
        one.sent()
    async with asyncio.timeout(20):
        await stand.settled()


async def test_when_all_leave_the_provider_is_let_go(stand: Stand, provider: FakeProvider) -> None:
    await stand.start("gather: {calls: 2, wait: 5s}")
    provider.script(answer(2, 30, wait_head=30))
    deliveries = [stand.call(embed(text), EMBEDDINGS) for text in ("a", "b")]
    tasks = [asyncio.create_task(one.answer()) for one in deliveries]
    (seen,) = await provider.wait_seen(1)
    for one in deliveries:
        one.client_left()
    await asyncio.gather(*tasks)
    async with asyncio.timeout(20):
        await seen.left
        await stand.settled()


async def test_one_that_leaves_before_is_not_sent(stand: Stand, provider: FakeProvider) -> None:
    await stand.start("gather: {wait: 200ms}")
    provider.script(answer(2, 4))
    deliveries = [stand.call(embed(text), EMBEDDINGS) for text in ("a", "b", "c")]
    tasks = [asyncio.create_task(one.answer()) for one in deliveries]
    await asyncio.sleep(0.05)
    deliveries[1].client_left()
    await asyncio.gather(*tasks)
    assert provider.seen[0].json()["input"] == ["a", "c"]


async def test_with_a_place_for_each_and_a_retry_for_all(stand: Stand, provider: FakeProvider) -> None:
    await stand.start("gather: {calls: 2, wait: 5s}\nconcurrency: {calls: 4}\nretry: {first_wait: 1ms}")
    provider.script(Answer(status=500), answer(2, 4))
    asked = await asyncio.gather(*(stand.ask(embed("a"), EMBEDDINGS) for _ in range(2)))
    assert [one.status for one in asked] == [200, 200] and {one.outcome.attempts for one in asked} == {2}
    assert "attempt.1" in asked[0].facts


@given(st.integers(0, 10**9), st.lists(st.integers(0, 10**6), min_size=1, max_size=30))
def test_shares_add_up(whole: int, weights: list[int]) -> None:
    found = list(gathering.shares(whole, weights))
    assert sum(found) == whole and min(found) >= 0


@given(st.decimals(0, 1000, places=15), st.lists(st.integers(1, 10**6), min_size=1, max_size=30))
def test_shares_of_a_cost_add_up(cost: Decimal, weights: list[int]) -> None:
    assert sum(gathering.shares_of_cost(cost, weights)) == cost


@pytest.mark.parametrize(
    "body", [b"[]", b"{}", b'{"input":""}', b'{"input":[]}', b'{"input":["a",[1]]}', b"x", b'{"input":[""]}']
)
def test_what_cannot_be_joined(body: bytes) -> None:
    assert gathering.read(body) is None


@pytest.mark.parametrize(
    "body", [b"[]", b"{}", b'{"data":1}', b'{"data":[{"index":0},{"index":0}]}', b'{"data":[{"index":"x"}]}', b"\xff"]
)
def test_a_reply_that_is_none(body: bytes) -> None:
    asked = gathering.read(b'{"input":["a","b"]}')
    assert asked is not None
    with pytest.raises(UpstreamFailed):
        gathering.split(body, [asked])
