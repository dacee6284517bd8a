"""Budgets over HTTP and on the command line: seen, raised, wiped, and who did it."""

from __future__ import annotations

import json
import os

import msgspec
import pytest

from shin_gateway.admission import Claim, allowance, scripts, window
from shin_gateway.assembly import Places
from shin_gateway.errors import OverBudget
from shin_gateway.stores.state import StateStore
from tests.admin.conftest import Running
from tests.cli.test_keys import shin

BUDGETS = "/api/v1/budgets"
NAME, TOKENS = "$20/day per team", "1000 tokens/day rolling per user"


def refuse(*_: object) -> OverBudget:
    return OverBudget("no")


async def spend(state: StateStore, dollars: float, tokens: int) -> None:
    """As a worker does it for one call."""
    claims = [
        Claim("budget", allowance(f"${NAME}", 20 * 10**9, 4e9, NAME), "team red", 0, refuse, truth=lambda *_: 0),
        Claim("budget", window(f"#{TOKENS}", 1000, 86400, TOKENS), "user ann", 0, refuse, truth=lambda *_: 0),
    ]
    enter, leave = state.script(scripts.load("enter")), state.script(scripts.load("leave"))
    packed = msgspec.msgpack.encode([claim.packed() for claim in claims])
    await enter(["k"], [scripts.PREFIX, "w", "one", packed])
    truths = msgspec.msgpack.encode([round(dollars * 10**9), tokens])
    await leave(["k"], [scripts.PREFIX, "w", "one", truths])


async def test_looking_changing_and_wiping(admin: Running, state: StateStore) -> None:
    assert (await admin.ask("GET", BUDGETS)).json == {"budgets": []}
    await spend(state, 18.5, 400)
    team, ann = (await admin.ask("GET", BUDGETS)).json["budgets"]
    assert (team["budget"], team["subject"], team["unit"], team["rolling"]) == (NAME, "team red", "dollars", False)
    assert (team["spent"], team["reserved"], team["limit"]) == ("18.5", "0", "20")
    assert (ann["subject"], ann["unit"], ann["spent"], ann["rolling"]) == ("user ann", "tokens", "400", True)

    alerts = (await admin.ask("GET", f"{BUDGETS}/alerts")).json["alerts"]
    assert [(one["subject"], one["level"]) for one in alerts] == [("team red", 90)]
    assert alerts[0]["message"] == 'budget "$20/day per team" of team red: $18.50 of $20.00 are spent, 90 % or more'

    one = {"budget": NAME, "subject": "team red"}
    raised = (await admin.ask("PUT", f"{BUDGETS}/limit", {**one, "limit": "$30"})).json
    assert (raised["limit"], raised["policy_limit"]) == ("30", "20")
    assert (await admin.ask("PUT", f"{BUDGETS}/limit", {**one, "limit": None})).json["limit"] == "20"
    assert (await admin.ask("POST", f"{BUDGETS}/reset", one)).json["spent"] == "0"
    actions = (await admin.ask("GET", "/api/v1/actions")).json["actions"]
    assert [(one["what"], one["before"], one["after"]) for one in actions] == [
        ("budget reset", {"spent": "$18.50"}, {"spent": "$0.00"}),
        ("budget set", {"limit": "$30.00"}, {"limit": "$20.00"}),
        ("budget set", {"limit": "$20.00"}, {"limit": "$30.00"}),
    ]
    assert {one["subject"] for one in actions} == {f"{NAME}:team red"}


@pytest.mark.parametrize("limit", ["-5", "$-5", "$0", "30", "3M tokens", "$1e99", "", "x" * 100])
async def test_nonsense_for_a_limit(admin: Running, state: StateStore, limit: str) -> None:
    await spend(state, 1, 1)
    answer = await admin.ask("PUT", f"{BUDGETS}/limit", {"budget": NAME, "subject": "team red", "limit": limit})
    assert answer.status == 422
    assert (await admin.ask("GET", BUDGETS)).json["budgets"][0]["limit"] == "20"


async def test_a_budget_that_nobody_uses(admin: Running) -> None:
    answer = await admin.ask("POST", f"{BUDGETS}/reset", {"budget": "x", "subject": "user ann"})
    assert (answer.status, answer.kind) == (404, "application/problem+json")


async def test_the_command(admin: Running, places: Places, state: StateStore) -> None:
    address = f"127.0.0.1:{admin.port}"
    (places.home / "run.json").write_text(json.dumps({"pid": os.getpid(), "proxy": address, "admin": address}))
    await spend(state, 18.5, 400)
    code, out, _ = await shin(places.home, "budget", "show")
    assert code == 0
    assert [line.split() for line in out.splitlines() if "team red" in line] == [
        ["$20/day", "per", "team", "team", "red", "$18.50", "$0.00", "$20.00", "$1.50", "2096-10-02", "07:06"]
    ]
    code, out, _ = await shin(places.home, "budget", "set", NAME, "team red", "$30", "--json")
    assert (code, json.loads(out)[0]["limit"]) == (0, "30")
    code, _, err = await shin(places.home, "budget", "set", NAME, "team red", "-1")
    assert code != 0
    assert err
    code, out, _ = await shin(places.home, "budget", "alerts")
    assert "$18.50 of $20.00 are spent, 90 % or more" in out
    assert (await shin(places.home, "budget", "reset", TOKENS, "user ann"))[0] == 0
    code, out, _ = await shin(places.home, "budget", "show", "--of", "user ann", "--json")
    assert [one["spent"] for one in json.loads(out)] == ["0"]
