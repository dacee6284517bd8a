"""The addon in a whole gateway: places are held to the end, classes and refusals are what the policy says."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from addons.concurrency import ConcurrencySettings
from shin_gateway.caller import Caller
from shin_gateway.letters import Shelf
from shin_gateway.policy.positions import PolicyErrors
from shin_gateway.sealing import master_key
from tests.addons.stand import Asked, Stand, chat
from tests.provider import UNAVAILABLE, Answer, FakeProvider, Stop

NAMED = "/openai/v1/chat/completions"
STUCK = Answer(stop=Stop("hang", after="parts", count=2))


async def begun(stand: Stand, provider: FakeProvider, **more: Any) -> Asked:
    """A stream that holds its place until it is left."""
    provider.script(STUCK)
    return await stand.begin(chat(stream=True, **more), NAMED)


async def until_waiting(stand: Stand, count: int) -> None:
    async with asyncio.timeout(20):
        while int(await stand.state.run("HGET", "shin:{admission}:p:policy:policy gateway", "a") or 0) != count:
            await asyncio.sleep(0.01)


async def test_a_stream_holds_its_place_to_its_end(stand: Stand, provider: FakeProvider) -> None:
    await stand.start("concurrency: {calls: 1}")
    first = await begun(stand, provider)
    second = asyncio.create_task(stand.ask(chat(), NAMED))
    await until_waiting(stand, 1)
    assert len(provider.seen) == 1
    first.delivery.client_left()
    asked = await second
    assert asked.status == 200 and asked.outcome.timings.queued > 0
    assert int(asked.reply.headers["x-shin-queue-ms"]) > 0


async def test_who_leaves_the_queue_frees_his_spot(stand: Stand, provider: FakeProvider) -> None:
    await stand.start("concurrency: {calls: 1, queue: 1}")
    first = await begun(stand, provider)
    delivery = stand.call(chat(), NAMED)
    waiting = asyncio.create_task(delivery.answer())
    await until_waiting(stand, 1)
    full = await stand.ask(chat(), NAMED)
    assert (full.status, full.outcome.cause, full.outcome.addon) == (429, "queue_full", "concurrency")
    assert full.reply.headers["x-shin-queue-place"] == "2" and full.reply.headers["x-should-retry"] == "true"
    assert 1 <= int(full.reply.headers["retry-after"]) <= 60
    delivery.client_left()
    assert await waiting is None and delivery.call.outcome.end == "cancelled"
    await until_waiting(stand, 0)
    third = asyncio.create_task(stand.ask(chat(), NAMED))
    await until_waiting(stand, 1)
    first.delivery.client_left()
    assert (await third).status == 200


async def test_a_wait_that_is_too_long(stand: Stand, provider: FakeProvider) -> None:
    await stand.start("concurrency: {calls: 1, max_wait: 50ms}")
    first = await begun(stand, provider)
    late = await stand.ask(chat(), NAMED)
    assert (late.status, late.outcome.cause) == (429, "queue_timeout")
    assert "number 1 in the queue" in late.json()["error"]["message"]
    assert late.outcome.timings.queued >= 0.05 and late.outcome.timings.overhead < late.outcome.timings.queued
    first.delivery.client_left()


async def test_a_retry_holds_its_place(stand: Stand, provider: FakeProvider) -> None:
    provider.script(UNAVAILABLE)
    await stand.start("concurrency: {calls: 1}\nretry: {first_wait: 300ms, max_retry_after: 1s}")
    first = asyncio.create_task(stand.ask(chat("first"), NAMED))
    await provider.wait_seen(1)
    second = asyncio.create_task(stand.ask(chat("second"), NAMED))
    await asyncio.gather(first, second)
    texts = [seen.json()["messages"][0]["content"] for seen in provider.seen]
    assert texts == ["first", "first", "second"]


async def order_of(stand: Stand, provider: FakeProvider, asking: list[tuple[str, dict[str, str]]]) -> list[str]:
    first = await begun(stand, provider)
    tasks = []
    for number, (text, headers) in enumerate(asking, 1):
        tasks.append(asyncio.create_task(stand.ask(chat(text), NAMED, headers=headers)))
        await until_waiting(stand, number)
    first.delivery.client_left()
    await asyncio.gather(*tasks)
    return [seen.json()["messages"][0]["content"] for seen in provider.seen[1:]]


def said(*classes: str) -> list[tuple[str, dict[str, str]]]:
    return [(name, {"x-shin-priority": name} if name else {}) for name in classes]


async def test_the_header_steps_back_but_not_forward(stand: Stand, provider: FakeProvider) -> None:
    await stand.start("concurrency: {calls: 1}")
    found = await order_of(stand, provider, said("batch", "low", "critical"))
    assert found == ["critical", "low", "batch"]
    assert not any("x-shin-priority" in seen.headers for seen in provider.seen)
    wrong = await stand.ask(chat(), NAMED, headers={"x-shin-priority": "best"})
    assert wrong.status == 400 and "critical, high, normal" in wrong.json()["error"]["message"]
    capped = await stand.ask(chat(), NAMED, headers={"x-shin-priority": "critical"})
    assert "priority" not in capped.facts


@pytest.mark.parametrize(
    ("settings", "tags", "header", "expected"),
    [
        ("max: high", (), "critical", "high"),
        ("max: critical", ("max_priority:low",), "critical", "low"),
        ("calls: 2", ("priority:high",), "", "high"),
        ("calls: 2", ("priority:high",), "low", "low"),
        ("calls: 2", ("max_priority:high",), "critical", "high"),
        ("max: critical, priority_header: ignore", (), "critical", None),
    ],
)
async def test_who_may_say_what(
    stand: Stand, settings: str, tags: tuple[str, ...], header: str, expected: str | None
) -> None:
    await stand.start(f"concurrency: {{{settings}}}")
    delivery = stand.call(chat(), NAMED, headers={"x-shin-priority": header})
    delivery.call.caller = replace(Caller("ann", "user"), tags=tags)
    assert (await delivery.answer()) is not None
    assert delivery.call.facts.get("priority") == expected
    delivery.sent()


async def test_places_for_a_target_and_for_a_user(stand: Stand, provider: FakeProvider) -> None:
    await stand.start("concurrency: {calls: 3, per: target, also: [{calls: 1, per: user}], max_wait: 50ms}")
    await begun(stand, provider)
    assert (await stand.ask(chat(), NAMED)).outcome.cause == "queue_timeout"
    assert (await stand.ask(chat(), NAMED, caller="bob")).status == 200


async def test_lists_and_counts_take_no_place(stand: Stand, provider: FakeProvider) -> None:
    await stand.start("concurrency: {calls: 1, queue: 0}")
    await begun(stand, provider)
    assert (await stand.ask(b"", "/v1/models", method="GET")).status == 200


async def test_shadow_waits_for_nothing(stand: Stand, provider: FakeProvider) -> None:
    await stand.start("concurrency: {calls: 1, mode: shadow}")
    await begun(stand, provider)
    asked = await stand.ask(chat(), NAMED)
    assert asked.status == 200 and asked.facts["shadow.concurrency"] == "queued"


# Dead letters


async def shelf(stand: Stand) -> Shelf:
    return Shelf(stand.state, master_key(None))


async def test_what_failed_for_good_is_kept_sealed(stand: Stand, provider: FakeProvider) -> None:
    provider.default = UNAVAILABLE
    await stand.start("concurrency: {dead_letters: on}\nretry: {first_wait: 1ms, attempts: 2, max_retry_after: 100ms}")
    headers = {"authorization": "Bearer sk-secret", "x-shin-priority": "low", "x-private": "secret"}
    asked = await stand.ask(chat("a secret"), "/v1/chat/completions?key=sk-secret", headers=headers)
    assert asked.status == 503
    await stand.settled()
    letters = await shelf(stand)
    (letter,) = await letters.latest(10)
    assert (letter.id, letter.caller, letter.status) == (asked.call.id, "ann", 503)
    assert (letter.path, letter.model, letter.unsent) == ("/v1/chat/completions", "gpt-4o", "")
    content = await letters.read(letter.id)
    assert content is not None and b"a secret" in content.body
    assert content.headers == {"content-type": "application/json", "x-shin-priority": "low"}
    for key in await stand.state.run("KEYS", "shin:{letters}:*"):
        dump = await stand.state.run("DUMP", key)
        assert b"secret" not in dump
    assert await letters.drop([letter.id]) == 1
    assert await stand.state.run("KEYS", "shin:{letters}:*") == [b"shin:{letters}:bytes"]
    assert await stand.state.run("GET", "shin:{letters}:bytes") == b"0"


async def test_the_oldest_go_and_large_bodies_are_not_kept(stand: Stand, provider: FakeProvider) -> None:
    provider.default = UNAVAILABLE
    await stand.start("concurrency: {dead_letters: {most: 2, body: 1kB}}")
    asked = []
    for text in ("one", "two", "x" * 2000):
        asked.append(await stand.ask(chat(text), "/v1/chat/completions"))
        await stand.settled()  # or they are kept in another order
    letters = await (await shelf(stand)).latest(10)
    assert [one.id for one in letters] == [asked[2].call.id, asked[1].call.id]
    assert "larger" in letters[0].unsent and letters[1].unsent == ""
    assert [one.id for one in await (await shelf(stand)).latest(10, letters[0].id)] == [letters[1].id]


@pytest.mark.parametrize("answer", [Answer(), Answer(status=400), Answer(status=404)])
async def test_what_did_not_fail_is_not_kept(stand: Stand, provider: FakeProvider, answer: Answer) -> None:
    provider.default = answer
    await stand.start("concurrency: {dead_letters: on}")
    await stand.ask(chat(), NAMED)
    await stand.settled()
    assert await (await shelf(stand)).latest(10) == []


async def test_a_targets_name_that_is_long_is_shortened(stand: Stand) -> None:
    await stand.start("concurrency: {per: [user, target]}")
    asked = await stand.ask({**chat(), "model": "openai/" + "x" * 5000}, "/v1/chat/completions")
    assert asked.status == 200
    (claim,) = asked.call.claims
    assert claim.subject.startswith("user ann, target ") and len(claim.subject) < 200


@pytest.mark.parametrize(
    "settings",
    [
        "calls: 0", "calls: 1.5", "per: []", "per: planet", "queue: -1", "max_wait: 0s", "max_wait: 2h",
        "priority: best",
        "classes: {best: 3}", "classes: {low: 0}", "classes: {low: 1.5}", "classes: {low: {depth: -1}}", "classes: 3",
        "classes: {low: {keep_free: 1}}", "dead_letters: maybe", "dead_letters: {body: 1GB}", "also: [{per: user}]",
    ],
)  # fmt: skip
async def test_settings_that_are_wrong(stand: Stand, settings: str) -> None:
    with pytest.raises(PolicyErrors, match="gateway.yaml:3"):
        await stand.start(f"concurrency: {{{settings}}}")


async def test_a_class_that_is_changed_keeps_the_rest() -> None:
    settings = ConcurrencySettings.model_validate({"classes": {"batch": {"keep_free": 0.5}, "low": 3}})
    batch, low = settings.classes["batch"], settings.classes["low"]
    assert (batch.weight, batch.idle_only, batch.keep_free, low.weight) == (1, True, 0.5, 3)
    assert settings.classes["critical"].weight == 16
