"""Budgets: what is reserved and settled, for whom, what refusals say, what comes beyond the limit."""

from __future__ import annotations

import asyncio
import re
from decimal import Decimal
from types import MappingProxyType
from typing import Any

import pytest
from pydantic import ValidationError

from shin_gateway.admission import scripts
from shin_gateway.admission.budgets import Budgets, check_budget, parse_allowed
from shin_gateway.admission.costs import billionths
from shin_gateway.admission.estimates import THOUGHTS
from shin_gateway.caller import Caller, Grant
from tests.addons.stand import CHAT, GEMINI, MESSAGES, Asked, Stand, asking, chat
from tests.addons.test_rate_limit import ask_as
from tests.provider import OVERLOADED, Answer, FakeProvider, Stop, Tokens

PATHS = [CHAT, MESSAGES, GEMINI]
METERED = "\nmeter: on"
TOKENS = Tokens(input=11, output=7)


async def settled(stand: Stand) -> None:
    await stand.settled()
    while stand.gateway._admission.reservations._tasks:
        await asyncio.gather(*stand.gateway._admission.reservations._tasks)


async def books(stand: Stand) -> dict[str, tuple[int, int]]:
    """Spent and reserved, by name and subject."""
    await settled(stand)
    found = {}
    for key in await stand.state.run("ZRANGE", f"{scripts.PREFIX}budgets", 0, -1):
        spent, reserved, name = await stand.state.run("HMGET", f"{scripts.PREFIX}{key.decode()}", "s", "r", "n")
        found[name.decode()] = int(spent or 0), int(reserved or 0)
    return found


async def ask(stand: Stand, body: Any = None, path: str = CHAT, **how: Any) -> Asked:
    asked = await stand.ask(body or chat(max_tokens=50), path, **how)
    await settled(stand)
    return asked


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("path", PATHS)
async def test_what_a_call_cost_is_spent_and_nothing_stays_reserved(stand: Stand, path: str, stream: bool) -> None:
    await stand.start("budget: {limit: $20/day}" + METERED)
    path, body = asking(path, "hello", stream)
    asked = await ask(stand, body, path)
    assert asked.status == 200 and asked.outcome.cost
    assert await books(stand) == {"$20/day per user:user ann": (billionths(asked.outcome.cost), 0)}


async def test_while_it_runs_the_most_that_it_may_cost_is_reserved(stand: Stand) -> None:
    await stand.start("budget: {limit: $20/day}" + METERED)
    begun = await stand.begin(chat(max_tokens=1000, stream=True))
    (claim,) = begun.call.claims
    assert claim.amount >= billionths(Decimal(10) / 1000)  # 1,000 tokens at $10 a million, and the input
    key = f"{scripts.PREFIX}{claim.limit.id}:user ann"
    assert int((await stand.state.run("HGET", key, "r")) or 0) == claim.amount
    await begun.read()
    assert (await books(stand)).popitem()[1][1] == 0


async def test_a_refusal_says_what_was_spent_of_what_and_when_it_resets(stand: Stand) -> None:
    await stand.start("budget: {limit: $0.001/day, timezone: Europe/Berlin}" + METERED)
    refused = await ask(stand, chat(max_tokens=90))
    while refused.status == 200:
        refused = await ask(stand, chat(max_tokens=90))
    assert (refused.status, refused.outcome.cause, refused.outcome.addon) == (400, "over_budget", "budget")
    assert refused.reply.headers["x-should-retry"] == "false"
    assert "retry-after" not in refused.reply.headers
    message = refused.json()["error"]["message"]
    assert re.fullmatch(
        r'The budget "\$0\.001/day per user" of user ann: \$0\.000\d+ of \$0\.001 are spent or held, '
        r"and this call may need \$0\.000\d+\. It resets at 20\d\d-\d\d-\d\dT00:00:00\+0[12]:00, in [\d a-z]+\.",
        message,
    ), message
    assert (await ask(stand, chat(max_tokens=10), caller="bob")).status == 200


async def test_tokens_and_money_at_once(stand: Stand, provider: FakeProvider) -> None:
    provider.default = Answer(tokens=Tokens(input=11, output=7))
    await stand.start(
        "budget: {budgets: [{limit: $5/month, per: team}, {limit: 200 tokens/week, per: everyone}]}" + METERED
    )
    assert (await ask(stand)).status == 200
    found = await books(stand)
    assert found["200 tokens/week per everyone:everyone"] == (18, 0)
    assert found["$5/month per team:team -"][0] > 0
    asked = await ask(stand, chat(max_tokens=190))
    assert asked.status == 400
    assert "18 tokens of 200 tokens" in asked.json()["error"]["message"]
    assert (await books(stand))["$5/month per team:team -"][1] == 0


async def test_failures_cost_nothing(stand: Stand, provider: FakeProvider) -> None:
    provider.default = OVERLOADED
    await stand.start("budget: {limit: $20/day}" + METERED)
    assert (await ask(stand)).status >= 500
    with provider.refusing():
        assert (await ask(stand)).status == 502
    assert (await ask(stand, {"model": "gpt-4o"}, caller="ann")).status >= 400
    assert set((await books(stand)).values()) == {(0, 0)}


async def test_a_stream_that_is_left_costs_what_was_counted(stand: Stand, provider: FakeProvider) -> None:
    THOUGHTS._means.clear()
    text = "Words without an end " * 20
    provider.default = Answer(text=text, pieces=(text, "never seen"), stop=Stop("hang", after="parts", count=2))
    await stand.start("budget: {limit: $20/day}" + METERED)
    begun = await stand.begin(chat(stream=True, max_tokens=5000))
    while b"without an end" not in begun.body:
        assert await begun.next()
    begun.delivery.client_left()
    spent, reserved = (await books(stand)).popitem()[1]
    assert begun.outcome.end == "cancelled"
    assert begun.outcome.cost is not None
    assert (spent, reserved) == (billionths(begun.outcome.cost), 0)
    assert 0 < spent < billionths(Decimal(1) / 100)


async def test_a_rolling_budget(stand: Stand, provider: FakeProvider) -> None:
    provider.default = Answer(tokens=Tokens(input=11, output=7))
    await stand.start("budget: {limit: 110 tokens/24h rolling}" + METERED)
    got = [(await ask(stand)).status for _ in range(3)]
    assert got == [200, 200, 400]
    asked = await ask(stand)
    assert "It has room again at" in asked.json()["error"]["message"]


@pytest.mark.parametrize(("unknown", "status"), [("refuse", 400), ("allow", 200), ("{input: $5, output: $10}", 200)])
async def test_unknown_prices(stand: Stand, unknown: str, status: int) -> None:
    await stand.start(f"budget: {{limit: $20/day, unknown_price: {unknown}}}" + METERED)
    asked = await ask(stand, {**chat(max_tokens=50), "model": "ollama/nobody-knows"})
    assert asked.status == status
    if status == 400:
        assert asked.outcome.cause == "unknown_price"
        assert '"ollama/nobody-knows" is unknown' in asked.json()["error"]["message"]
        return
    spent, reserved = (await books(stand)).popitem()[1]
    assert reserved == 0
    assert bool(spent) == (unknown != "allow")


async def test_prices_of_shin_yaml(stand: Stand) -> None:
    prices = {"nobody-knows": {"input": "$2", "output": "$4"}}
    await stand.start("budget: {limit: $20/day}" + METERED, prices=prices)
    asked = await ask(stand, {**chat(max_tokens=1000), "model": "ollama/nobody-knows"})
    assert asked.status == 200
    assert asked.call.claims[0].amount >= 4_000_000


async def test_throttle(stand: Stand, provider: FakeProvider) -> None:
    provider.default = Answer(tokens=Tokens(input=11, output=7))
    await stand.start("budget: {limit: 110 tokens/day, action: throttle, throttle: 2/h}" + METERED)
    asked = [await ask(stand) for _ in range(5)]
    assert [one.status for one in asked] == [200, 200, 200, 200, 429]
    assert [one.facts.get("budget") for one in asked] == [None, None, *["throttled"] * 3]
    assert asked[-1].reply.headers["retry-after"]
    assert (await books(stand)).popitem()[1] == (72, 0)  # what was let through beyond it counts


async def test_downgrade(stand: Stand, provider: FakeProvider) -> None:
    provider.default = Answer(tokens=Tokens(input=11, output=7))
    await stand.start("budget: {limit: 110 tokens/day, action: downgrade, downgrade: gpt-4o-mini}" + METERED)
    asked = [await ask(stand) for _ in range(4)]
    assert [one.status for one in asked] == [200] * 4
    assert [one.json()["model"] for one in provider.seen] == ["gpt-4o", "gpt-4o", "gpt-4o-mini", "gpt-4o-mini"]
    assert [one.json()["model"] for one in asked][2:] == ["gpt-4o", "gpt-4o"]  # as the client asked
    assert asked[-1].facts["budget"] == "downgraded"
    assert asked[-1].reply.headers.get("x-shin-target", "openai/gpt-4o-mini") == "openai/gpt-4o-mini"
    assert (await books(stand)).popitem()[1] == (72, 0)


async def test_downgrade_to_an_alias_of_another_api(stand: Stand, provider: FakeProvider) -> None:
    provider.default = Answer(tokens=TOKENS)
    line = "budget: {limit: 110 tokens/day, action: downgrade, downgrade: cheap}\ntranslate: on"
    await stand.start(line + METERED, models={"cheap": "openai/gpt-4o-mini"})
    body = {"model": "claude-sonnet-4-5", "max_tokens": 60, "messages": [{"role": "user", "content": "hi"}]}
    asked = [await ask(stand, body, MESSAGES) for _ in range(4)]
    assert [one.status for one in asked] == [200] * 4
    assert [one.json()["model"] for one in asked] == ["claude-sonnet-4-5"] * 4
    assert provider.seen[0].json()["model"] == "claude-sonnet-4-5"
    assert (provider.seen[-1].json()["model"], provider.seen[-1].path) == ("gpt-4o-mini", CHAT)


async def test_a_hard_stop_behind_a_soft_one(stand: Stand, provider: FakeProvider) -> None:
    provider.default = Answer(tokens=Tokens(input=11, output=7))
    await stand.start(
        "budget: {budgets: [{limit: 110 tokens/day, action: downgrade, downgrade: gpt-4o-mini},"
        " {limit: 150 tokens/day, name: stop}]}" + METERED
    )
    assert [(await ask(stand)).status for _ in range(5)] == [200, 200, 200, 200, 400]


async def test_shadow(stand: Stand, provider: FakeProvider) -> None:
    await stand.start("budget: {limit: 140 tokens/day, mode: shadow}" + METERED)
    asked = [await ask(stand, chat(max_tokens=80)) for _ in range(3)]
    assert [one.status for one in asked] == [200] * 3
    assert "shadow.budget" not in asked[0].facts
    assert asked[2].facts["shadow.budget"] == "over_budget"


async def test_the_same_budget_in_two_policies_is_one(stand: Stand, provider: FakeProvider) -> None:
    provider.default = Answer(tokens=Tokens(input=11, output=7))
    shared, apart = "$1/day per user:user ann", "$1/day per user:user ann, policy gateway"
    for scope, expected in (("shared", [shared]), ("policy", [apart])):
        await stand.state.run("FLUSHALL")
        await stand.start(f"budget: {{limit: $1/day, scope: {scope}}}" + METERED)
        await ask(stand)
        assert list(await books(stand)) == expected
        await stand.stop()


async def test_a_keys_own_budget_holds_as_well(stand: Stand, provider: FakeProvider) -> None:
    provider.default = Answer(tokens=Tokens(input=11, output=7))
    await stand.start("budget: {limit: $100/day}" + METERED)
    grant = Grant(budget=MappingProxyType({"limit": "110 tokens/day"}))
    key = Caller("k", "virtual_key", user="ann", key="key_1", grant=grant)
    statuses = []
    for caller in (key, key, key, Caller("ann", "user", user="ann")):
        statuses.append((await ask_as(stand, caller, chat(max_tokens=50))).status)
        await settled(stand)
    assert statuses == [200, 200, 400, 200]
    assert "own 110 tokens/day per key:key key_1" in await books(stand)


async def test_a_store_that_is_gone_refuses(stand: Stand) -> None:
    await stand.start("budget: {limit: $1/day}" + METERED)
    stand.state._down_until = asyncio.get_running_loop().time() + 60
    asked = await stand.ask(chat())
    assert (asked.status, asked.outcome.cause, asked.outcome.addon) == (503, "store_unavailable", "budget")
    await stand.stop()
    await stand.start("budget: {limit: $1/day, on_store_error: allow}" + METERED)
    assert (await stand.ask(chat())).status == 200
    stand.state._down_until = 0.0


async def test_it_survives_a_restart_of_the_gateway(stand: Stand, provider: FakeProvider) -> None:
    provider.default = Answer(tokens=Tokens(input=11, output=7))
    for expected in (18, 36):
        await stand.start("budget: {limit: 1000 tokens/month}" + METERED)
        await ask(stand)
        assert (await books(stand)).popitem()[1] == (expected, 0)
        await stand.stop()


async def test_lists_of_models_are_free(stand: Stand) -> None:
    await stand.start("budget: {limit: $1/day}" + METERED)
    assert not (await stand.ask(b"", "/v1/models", method="GET")).call.claims


@pytest.mark.parametrize(
    "wrong",
    [
        {"limit": "20/day"}, {"limit": "$20"}, {"limit": "$-20/day"}, {"limit": "$0/day"}, {"limit": "$20/hour"},
        {"limit": "$20/24h"}, {"limit": "$99999999/day"}, {"limit": "$1/9999d rolling"}, {"limit": "-5 tokens/day"},
        {"limit": "$nan/day"}, {"limit": 20}, {"limit": "$1/day", "action": "downgrade"}, {"per": "user"},
        {"limit": "$1/day", "throttle": "6/min"}, {"limit": "$1/day", "timezone": "Mars/Base"},
        {"limit": "$1/day", "name": "a:b"}, {"budgets": [{"per": "user"}]}, {"budgets": [{"limit": "$1/day"}] * 2},
        {"limit": "$1/day", "budgets": [{"limit": "$1/day"}]}, {"limit": "$1/day", "timezone": "../../etc/passwd"},
    ],
)  # fmt: skip
def test_nonsense_is_refused_where_it_is_written(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Budgets.model_validate(wrong)
    with pytest.raises(ValueError, match=r".+"):
        check_budget(wrong)


@pytest.mark.parametrize(
    "text", ["$20/day", "$0.5/week", "2000000 tokens/month", "$20/day rolling", "$1/12h rolling", "$0.000000001/day"]
)
def test_limits_are_shown_as_they_are_written(text: str) -> None:
    assert str(parse_allowed(text)) == text
    assert parse_allowed(str(parse_allowed(text))) == parse_allowed(text)
