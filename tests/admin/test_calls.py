from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from urllib.parse import quote

import pytest

from shin_gateway.stores.rows import CallRow
from shin_gateway.stores.state import StateStore
from tests.admin.conftest import Running, keep

NOON = datetime.now(UTC).replace(hour=12, minute=0, second=0, microsecond=0)


def row(number: int, **values: object) -> CallRow:
    plain = {
        "id": f"c{number:03}",
        "at": NOON + timedelta(seconds=number),
        "caller": "ann",
        "policy": "openai",
        "host": "api.openai.com",
        "model": "gpt-4o",
        "status": 200,
        "input_tokens": 10,
        "output_tokens": 2,
        "cost": Decimal("0.000100"),
    }
    return CallRow(**(plain | values))  # type: ignore[arg-type]


async def ids(admin: Running, query: str) -> list[str]:
    answer = await admin.get(f"/api/v1/calls?{query}")
    assert answer.status == 200, answer.body
    return [call["id"] for call in answer.json["calls"]]


async def test_a_call_with_all_that_is_known_of_it_but_its_bodies(admin: Running, state: StateStore) -> None:
    await keep(state, row(1, facts={"cache": "hit"}, call_body="hello", cost=Decimal("0.00000012")), row(2, cost=None))
    await admin.shipped(2)
    two, one = (await admin.get("/api/v1/calls")).json["calls"]
    assert one["at"] == (NOON + timedelta(seconds=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
    assert one["cost"] == "0.00000012"
    assert two["cost"] is None
    assert one["facts"] == {"cache": "hit"}
    assert "hello" not in str(one)


async def test_filters(admin: Running, state: StateStore) -> None:
    await keep(
        state,
        row(1),
        row(2, caller="bob", model="gpt-4o-mini", status=429, end="refused"),
        row(3, host="api.anthropic.com", policy="anthropic"),
        row(4, caller="O'Neill; DROP TABLE calls --"),
    )
    await admin.shipped(4)
    assert await ids(admin, "caller=bob") == ["c002"]
    assert await ids(admin, "caller=" + quote("O'Neill; DROP TABLE calls --")) == ["c004"]
    assert await ids(admin, "model=gpt-4o-mini&status=429&end=refused") == ["c002"]
    assert await ids(admin, "host=api.anthropic.com") == ["c003"]
    assert await ids(admin, "policy=openai&caller=ann") == ["c001"]
    assert await ids(admin, "caller=nobody%00") == []
    since = quote((NOON + timedelta(seconds=3)).isoformat())
    assert await ids(admin, f"since={since}") == ["c004", "c003"]
    assert await ids(admin, f"until={since}") == ["c002", "c001"]
    berlin = quote((NOON + timedelta(seconds=3, hours=2)).strftime("%Y-%m-%dT%H:%M:%S+02:00"))
    assert await ids(admin, f"since={berlin}") == ["c004", "c003"]
    assert await ids(admin, "since=" + (NOON + timedelta(seconds=3)).strftime("%Y-%m-%dT%H:%M:%S")) == ["c004", "c003"]


async def test_pages_show_every_call_once(admin: Running, state: StateStore) -> None:
    await keep(state, *(row(number, at=NOON) for number in range(7)))
    await admin.shipped(7)
    seen, query = [], "limit=3"
    while query:
        page = (await admin.get(f"/api/v1/calls?{query}")).json
        seen += [call["id"] for call in page["calls"]]
        query = f"limit=3&before={page['next']}" if page["next"] else ""
    assert seen == [f"c{number:03}" for number in reversed(range(7))]
    assert await ids(admin, "before=unknown") == []


async def test_sums_of_a_day(admin: Running, state: StateStore) -> None:
    await keep(state, row(1), row(2), row(3, cost=None), row(4, caller="bob"), row(5, at=NOON - timedelta(days=40)))
    await admin.shipped(5)
    sums = (await admin.get("/api/v1/usage?caller=ann")).json
    since, until = date.fromisoformat(sums["since"]), date.fromisoformat(sums["until"])
    assert until - since == timedelta(days=30)
    assert NOON.date() < until <= datetime.now(UTC).date() + timedelta(days=1)
    (day,) = sums["days"]
    assert (day["day"], day["calls"], day["input_tokens"]) == (str(NOON.date()), 3, 30)
    assert (day["cost"], day["unpriced"]) == ("0.0002", 1)
    older = (await admin.get(f"/api/v1/usage?since={NOON.date() - timedelta(days=41)}&until={NOON.date()}")).json
    assert [day["calls"] for day in older["days"]] == [1]


async def test_usage_is_bounded(admin: Running) -> None:
    sums = (await admin.get("/api/v1/usage?since=1990-01-01&until=2020-01-01")).json
    assert (sums["since"], sums["until"]) == ("2018-12-31", "2020-01-01")


@pytest.mark.parametrize(
    "query",
    [
        "modle=gpt-4o",
        "limit=0",
        "limit=1001",
        "limit=many",
        "status=abc",
        "end=nonsense",
        "since=yesterday",
        "since=0001-01-01T00:00:00%2B14:00",
        "until=9999-12-31T23:59:59-14:00",
        f"caller={'x' * 501}",
    ],
)
async def test_a_wrong_filter_is_a_problem(admin: Running, query: str) -> None:
    answer = await admin.get(f"/api/v1/calls?{query}")
    assert (answer.status, answer.kind) == (422, "application/problem+json")
    problem = answer.json
    (fault,) = problem["errors"]
    assert fault["where"] == f"query.{query.partition('=')[0]}"
    assert (problem["status"], problem["title"]) == (422, "Unprocessable Content")
    assert "xxxx" not in str(problem)


async def test_wrong_days_are_a_problem(admin: Running) -> None:
    for query in ("since=0001-01-01", "until=9999-12-31", "since=soon"):
        assert (await admin.get(f"/api/v1/usage?{query}")).status == 422
