"""Rate limits: what they count, for whom, what refusals say, what the client reads of them."""

from __future__ import annotations

import asyncio
from types import MappingProxyType
from typing import Any

import pytest
from pydantic import ValidationError

from shin_gateway.admission.estimates import OUTPUTS, TYPICAL
from shin_gateway.admission.headers import go_duration
from shin_gateway.admission.rates import Limits, check_limits
from shin_gateway.caller import Caller, Grant
from tests.addons.stand import CHAT, EMBEDDINGS, GEMINI, MESSAGES, Asked, Stand, asking, chat
from tests.provider import OVERLOADED, Answer, FakeProvider, Tokens

PATHS = [CHAT, MESSAGES, GEMINI]
BIG = {"model": "claude-sonnet-4-5", "max_tokens": 100, "messages": [{"role": "user", "content": "hi"}]}


async def ask_as(stand: Stand, caller: Caller, body: Any = None, path: str = CHAT, ip: str = "") -> Asked:
    delivery = stand.call(body or chat(), path)
    delivery.call.caller = caller
    if ip:
        delivery.call.ip = ip
    reply = await delivery.answer()
    assert reply is not None
    return await Asked(delivery.call, delivery, reply).read()


@pytest.mark.parametrize("window", ["bucket", "sliding"])
@pytest.mark.parametrize("path", PATHS)
async def test_the_third_of_two_is_told_when_to_come_back(stand: Stand, path: str, window: str) -> None:
    await stand.start(f"rate_limit: {{requests: 2/min, window: {window}}}")
    path, body = asking(path, "hello", stream=False)
    statuses = [(await stand.ask(body, path)).status for _ in range(2)]
    asked = await stand.ask(body, path)
    assert [*statuses, asked.status] == [200, 200, 429]
    assert (asked.outcome.end, asked.outcome.cause, asked.outcome.addon) == ("refused", "rate_limited", "rate_limit")
    headers = asked.reply.headers
    assert 20 < int(headers["retry-after"]) <= 62
    assert 20_000 < int(headers["retry-after-ms"]) <= 62_000
    assert headers["x-should-retry"] == "true"
    message = asked.json()["error"]["message"]
    assert message.startswith("Rate limit of user ann: 2 requests per min. Try again in ")
    assert (await stand.ask(body, path, caller="bob")).status == 200


async def test_all_of_several_hold(stand: Stand) -> None:
    await stand.start("rate_limit: {limits: [{requests: 3/min}, {requests: 4/min, per: everyone}]}")
    statuses = [
        (await stand.ask(chat(), caller=caller)).status for caller in ("ann", "ann", "ann", "ann", "bob", "bob")
    ]
    assert statuses == [200, 200, 200, 429, 200, 429]  # what one refused, the other has not counted


async def test_tokens_are_held_and_settled(stand: Stand, provider: FakeProvider) -> None:
    provider.default = Answer(tokens=Tokens(input=11, output=7))
    await stand.start("rate_limit: {tokens: 1000/h}\nmeter: on")
    for used in (0, 18, 36):
        asked = await stand.ask(chat(max_tokens=400))
        (claim,) = asked.call.claims
        assert claim.standing is not None
        assert used - 1 <= claim.standing.used <= used
        assert 400 < claim.amount < 450
        await stand.settled()
        await asyncio.sleep(0.02)


async def test_what_never_went_upstream_or_failed_costs_no_tokens(stand: Stand, provider: FakeProvider) -> None:
    provider.default = OVERLOADED
    await stand.start("rate_limit: {tokens: 1000/h}\nmeter: on")
    for _ in range(3):
        asked = await stand.ask(chat(max_tokens=900))
        assert asked.status == 529 or asked.status >= 500
        await stand.settled()
        await asyncio.sleep(0.02)
    with provider.refusing():
        assert (await stand.ask(chat(max_tokens=900))).status == 502


async def test_a_call_that_never_fits_is_no_matter_of_waiting(stand: Stand) -> None:
    await stand.start("rate_limit: {tokens: 1000/h}")
    asked = await stand.ask(chat(max_tokens=5000))
    assert (asked.status, asked.outcome.cause) == (400, "over_limit")
    assert asked.reply.headers["x-should-retry"] == "false"
    assert "retry-after" not in asked.reply.headers
    assert "may never use more than 1,000 at once" in asked.json()["error"]["message"]


async def test_without_a_limit_of_its_own_a_call_is_taken_for_a_usual_one(stand: Stand, provider: FakeProvider) -> None:
    OUTPUTS._means.clear()
    provider.default = Answer(tokens=Tokens(input=11, output=7))
    await stand.start("rate_limit: {tokens: 1M/h}\nmeter: on")
    first, second = await stand.ask(chat()), await stand.ask(chat())
    assert first.call.claims[0].amount > TYPICAL
    assert second.call.claims[0].amount < 60


async def test_requests_alone_for_what_is_not_paid_by_token(stand: Stand) -> None:
    await stand.start("rate_limit: {requests: 5/min, tokens: 10/min}")
    asked = await stand.ask(b"", "/v1/models", method="GET")
    assert [claim.limit.kind for claim in asked.call.claims] == ["bucket"]
    assert asked.reply.headers["x-ratelimit-remaining-requests"] == "4"


async def test_headers_of_each_dialect(stand: Stand) -> None:
    await stand.start(
        "rate_limit: {limits: [{requests: 100/min, tokens: 100k/min}, {requests: 10/h, per: everyone},"
        " {input_tokens: 50k/min}]}"
    )
    headers = (await stand.ask(chat(max_tokens=100))).reply.headers
    assert headers["x-ratelimit-limit-requests"] == "10"  # the tightest
    assert headers["x-ratelimit-remaining-requests"] == "9"
    assert headers["x-ratelimit-reset-requests"] == "6m0s"
    assert headers["x-ratelimit-limit-tokens"] == "100000"
    assert 99_800 < int(headers["x-ratelimit-remaining-tokens"]) < 99_900
    headers = (await stand.ask(BIG, MESSAGES)).reply.headers
    assert headers["anthropic-ratelimit-requests-limit"] == "10"
    assert headers["anthropic-ratelimit-requests-remaining"] == "8"
    assert headers["anthropic-ratelimit-requests-reset"].endswith("Z")
    assert headers["anthropic-ratelimit-input-tokens-limit"] == "50000"
    assert not any(name.startswith("x-ratelimit") for name in headers)


async def test_the_providers_own_headers_stay_but_for_what_is_limited_here(
    stand: Stand, provider: FakeProvider
) -> None:
    theirs = {"x-ratelimit-limit-requests": "9999", "x-ratelimit-limit-tokens": "8888"}
    provider.default = Answer(headers=tuple(theirs.items()))
    await stand.start("rate_limit: {requests: 5/min}")
    headers = (await stand.ask(chat())).reply.headers
    assert headers.getall("x-ratelimit-limit-requests") == ["5"]
    assert headers["x-ratelimit-limit-tokens"] == "8888"


async def test_shadow_changes_nothing_and_says_so(stand: Stand) -> None:
    await stand.start("rate_limit: {requests: 1/h, mode: shadow}")
    first, second = await stand.ask(chat()), await stand.ask(chat())
    assert (first.status, second.status) == (200, 200)
    assert "shadow.rate_limit" not in first.facts
    assert second.facts["shadow.rate_limit"] == "rate_limited"
    assert not any("ratelimit" in name for name in second.reply.headers)


@pytest.mark.parametrize(
    ("per", "same", "other"),
    [
        ("user", Caller("ann", "user", user="ann", key="k2"), Caller("bob", "user", user="bob")),
        ("key", Caller("x", "virtual_key", user="bob", key="k1"), Caller("ann", "user", user="ann", key="k2")),
        ("team", Caller("bob", "user", user="bob", team="red"), Caller("ann", "user", user="ann", team="blue")),
        ("project", Caller("bob", "user", user="bob", project="p"), Caller("ann", "user", user="ann", project="q")),
        ("[user, team]", Caller("", "user", user="ann", team="red"), Caller("", "user", user="ann", team="blue")),
    ],
)
async def test_for_whom_it_counts(stand: Stand, per: str, same: Caller, other: Caller) -> None:
    await stand.start(f"rate_limit: {{requests: 1/h, per: {per}}}")
    ann = Caller("ann", "user", user="ann", team="red", project="p", key="k1")
    assert [(await ask_as(stand, one)).status for one in (ann, same, other)] == [200, 429, 200]


async def test_per_model_and_per_address(stand: Stand) -> None:
    await stand.start("rate_limit: {limits: [{requests: 1/h, per: [model, ip]}]}")
    ann = Caller("ann", "user", user="ann")
    small = {**chat(), "model": "gpt-4o-mini"}
    got = [
        (await ask_as(stand, ann, body, ip=ip)).status
        for body, ip in [
            (chat(), "192.0.2.1"), (chat(), "192.0.2.1"), (chat(), "192.0.2.2"), (small, "192.0.2.1"),
            (chat(), "2001:db8::1"), (chat(), "2001:db8::2"), (chat(), "2001:db8:0:1::1"),
        ]
    ]  # fmt: skip
    assert got == [200, 429, 200, 200, 200, 429, 200]


async def test_a_keys_own_limits_hold_as_well(stand: Stand) -> None:
    await stand.start("rate_limit: {requests: 100/min}")
    grant = Grant(limits=MappingProxyType({"requests": "1/h"}))
    key = Caller("k", "virtual_key", user="ann", key="key_1", grant=grant)
    assert [(await ask_as(stand, one)).status for one in (key, key, Caller("ann", "user", user="ann"))] == [
        200, 429, 200,
    ]  # fmt: skip


async def test_a_key_whose_limits_are_nonsense_gets_nowhere(stand: Stand) -> None:
    await stand.start("rate_limit: on\nbudget: on\nmeter: on")
    for grant in (Grant(limits={"requests": "many"}), Grant(budget={"limit": "much"})):
        asked = await ask_as(stand, Caller("k", "virtual_key", user="ann", key="key_1", grant=grant))
        assert (asked.status, asked.outcome.cause) == (400, "key_limits" if grant.limits else "key_budget")


async def test_tiers_by_role(stand: Stand) -> None:
    await stand.start("rate_limit: {requests: 1/h, tiers: {gold: {requests: 3/h}}}")

    class Roles:
        def tier_of(self, caller: Caller) -> str:
            return "gold" if "boss" in caller.roles else ""

    live = stand.gateway.find_gateway()
    assert live is not None
    live._addons[0]._roles = Roles()  # type: ignore[attr-defined]
    boss, ann = Caller("b", "user", user="b", roles=("boss",)), Caller("ann", "user", user="ann")
    assert [(await ask_as(stand, one)).status for one in (boss, boss, boss, boss, ann, ann)] == [
        200, 200, 200, 429, 200, 429,
    ]  # fmt: skip


async def test_a_store_that_is_gone(stand: Stand, monkeypatch: pytest.MonkeyPatch) -> None:
    await stand.start("rate_limit: {requests: 1/h}")
    stand.state._down_until = asyncio.get_running_loop().time() + 60
    assert [(await stand.ask(chat())).status for _ in range(3)] == [200] * 3
    await stand.stop()
    await stand.start("rate_limit: {requests: 1/h, on_store_error: refuse}")
    asked = await stand.ask(chat())
    assert (asked.status, asked.outcome.cause) == (503, "store_unavailable")
    stand.state._down_until = 0.0


async def test_an_embedding_has_no_output(stand: Stand) -> None:
    await stand.start("rate_limit: {tokens: 1M/h}")
    asked = await stand.ask({"model": "text-embedding-3-small", "input": "hello"}, EMBEDDINGS)
    assert asked.call.claims[0].amount < 30


@pytest.mark.parametrize(
    "wrong",
    [
        {"requests": "-1/min"}, {"requests": "0/min"}, {"requests": "1e9/min"}, {"requests": "5/week"},
        {"requests": "99999999b/min"}, {"requests": 5}, {"requests": "5/min", "burst": 0}, {"per": "dog"},
        {"requests": "5/min", "per": ["user", "user"]}, {"requests": "5/min", "per": ["user", "everyone"]},
        {"requests": "5/min", "limits": [{"requests": "5/min"}]}, {"limits": [{}]}, {"speed": 1},
        {"requests": "5/min", "window": "sliding", "burst": 2}, {"requests": "5/min", "per": []},
    ],
)  # fmt: skip
def test_nonsense_is_refused_where_it_is_written(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Limits.model_validate(wrong)
    with pytest.raises(ValueError, match=r".+") as error:
        check_limits(wrong)
    assert "\n" not in str(error.value)


def test_a_keys_limits_are_checked_when_it_is_made() -> None:
    check_limits({})
    check_limits({"requests": "60/min", "tokens": "1M/day"})
    with pytest.raises(ValueError, match=r"limits\[0\].requests: write a number and a time, like 60/min, not 'x'"):
        check_limits({"limits": [{"requests": "x"}]})
    with pytest.raises(ValueError, match="should have"):
        check_limits({"per": "key"})


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0s"), (0.02, "20ms"), (1, "1s"), (1.5, "1.5s"), (90, "1m30s"), (3600, "1h0m0s"), (7325.25, "2h2m5.25s")],
)
def test_durations_as_openai_writes_them(seconds: float, text: str) -> None:
    assert go_duration(seconds) == text
