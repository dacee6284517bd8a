"""Both engines, one set of tests: DuckDB, and ClickHouse's own engine over HTTP."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import textwrap
from collections.abc import AsyncIterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import duckdb
import pytest

from shin_gateway.stores.analytics import Analytics, CallFilter, RowsRejected, StoreError, open_analytics
from shin_gateway.stores.clickhouse_store import parse_place
from shin_gateway.stores.rows import CallRow
from tests.stores.clickhouse_fixture import PASSWORD, Fake
from tests.stores.servers import row

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)


@pytest.fixture(params=["duckdb", "clickhouse"])
def where(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The place of an empty store."""
    if request.param == "duckdb":
        return str(tmp_path / "analytics.duckdb")
    fake: Fake = request.getfixturevalue("clickhouse")
    return fake.url()


@pytest.fixture
async def analytics(where: str) -> AsyncIterator[Analytics]:
    store = await open_analytics(where, keep=10_000 * 86_400)
    yield store
    await store.close()


async def ids(analytics: Analytics, **wanted: object) -> list[str]:
    return [call["id"] for call in await analytics.calls(CallFilter(**wanted))]  # type: ignore[arg-type]


def full(id: str) -> CallRow:
    """A row with no field left at its default."""
    return CallRow(
        id=id, at=NOON, caller="ann", caller_kind="key", policy="openai", host="api.openai.com", dialect="openai.chat",
        kind="chat", model="gpt-4o", target="openai/gpt-4o", provider="openai", stream=True, status=200, end="broken",
        cause="it's \"cut\" \\ \n\t\x00é🙂", addon="meter", usage_source="provider", input_tokens=2**40,
        cached_tokens=2, cache_write_tokens=3, output_tokens=4, reasoning_tokens=5, cost=Decimal("0.123456789"),
        queue_ms=0.5, connect_ms=1.5, first_part_ms=2.5, total_ms=3.5, overhead_ms=4.5, attempts=2, call_bytes=10,
        reply_bytes=20, facts={"cache": "hit", "'": '"'}, call_body='{"a": 1}', reply_body="data: {}\n\n",
    )  # fmt: skip


async def test_a_row_comes_back_as_it_was(analytics: Analytics) -> None:
    await analytics.insert([full("c1")], "t1")
    found = await analytics.call("c1")
    assert found is not None
    assert {name: found[name] for name in CallRow.__struct_fields__} == {
        name: getattr(full("c1"), name) for name in CallRow.__struct_fields__
    }
    (listed,) = await analytics.calls(CallFilter())
    assert "call_body" not in listed
    assert await analytics.call("other") is None


async def test_filters(analytics: Analytics) -> None:
    await analytics.insert(
        [
            row("a", at=NOON, caller="ann", model="gpt-4o", policy="p1", host="h1", status=200, end="completed"),
            row("b", at=NOON + timedelta(hours=1), caller="bob", model="gpt-4o", status=429, end="refused"),
            row("c", at=NOON + timedelta(hours=2), caller="bob", model="claude", host="h1", status=200, provider="x"),
        ],
        "t",
    )
    assert await ids(analytics) == ["c", "b", "a"]
    assert await ids(analytics, limit=2) == ["c", "b"]
    assert await ids(analytics, since=NOON + timedelta(hours=1)) == ["c", "b"]
    assert await ids(analytics, until=NOON + timedelta(hours=1)) == ["a"]
    assert await ids(analytics, caller="bob", model="claude") == ["c"]
    assert await ids(analytics, policy="p1") == ["a"]
    assert await ids(analytics, host="h1") == ["c", "a"]
    assert await ids(analytics, provider="x") == ["c"]
    assert await ids(analytics, status=429) == ["b"]
    assert await ids(analytics, end="refused") == ["b"]
    assert await ids(analytics, before="b") == ["a"]
    assert await ids(analytics, before="nobody") == []
    assert await ids(analytics, caller="' OR 1=1 --") == []


async def test_pages_neither_skip_nor_repeat(analytics: Analytics) -> None:
    rows = [row(f"c{i:02}", at=NOON + timedelta(milliseconds=i // 4)) for i in range(20)]
    await analytics.insert(rows, "t")
    seen: list[str] = []
    while page := await ids(analytics, limit=6, before=seen[-1] if seen else None):
        seen += page
    assert seen == [r.id for r in reversed(rows)]


async def test_daily_sums(analytics: Analytics) -> None:
    await analytics.insert(
        [
            row("a", at=NOON, input_tokens=10, output_tokens=1, cost=Decimal("0.1")),
            row("b", at=NOON, input_tokens=5, cost=None),
            row("c", at=NOON + timedelta(days=1), input_tokens=7, cost=Decimal("0.2")),
            row("d", at=NOON, caller="bob", input_tokens=100),
        ],
        "t1",
    )
    await analytics.insert([row("e", at=NOON, input_tokens=1, cost=Decimal("0.000000001"))], "t2")
    days = await analytics.daily(CallFilter(caller="ann"))
    assert [(d["day"], d["calls"], d["input_tokens"], d["cost"], d["unpriced"]) for d in days] == [
        (date(2026, 11, 20), 3, 16, Decimal("0.100000001"), 1),
        (date(2026, 11, 21), 1, 7, Decimal("0.2"), 0),
    ]
    assert len(await analytics.daily(CallFilter(since=NOON + timedelta(days=1)))) == 1
    assert len(await analytics.daily(CallFilter(until=NOON + timedelta(days=1)))) == 2


async def test_a_repeated_batch_counts_once(analytics: Analytics, where: str) -> None:
    batch = [row(f"c{i}", at=NOON + timedelta(days=20 * i), input_tokens=1) for i in range(5)]  # over two months
    for _ in range(3):
        await analytics.insert(batch, "again")
    await analytics.insert([row("other", input_tokens=1)], "new")
    assert len(await ids(analytics)) == 6
    assert sum(day["calls"] for day in await analytics.daily(CallFilter())) == 6
    if "://" in where:  # another client, as after a restart; DuckDB has but one
        other = await open_analytics(where, keep=10_000 * 86_400)
        await other.insert(batch, "again")
        await other.close()
        assert len(await ids(analytics)) == 6


async def test_equal_rows_in_another_batch_count_again(analytics: Analytics) -> None:
    await analytics.insert([row("a")], "t1")
    await analytics.insert([row("a")], "t2")
    assert [day["calls"] for day in await analytics.daily(CallFilter())] == [2]


async def test_odd_numbers_are_kept_within_bounds(analytics: Analytics) -> None:
    await analytics.insert([row("a", input_tokens=2**70, total_ms=float("nan"), queue_ms=float("inf"))], "t")
    (call,) = await analytics.calls(CallFilter())
    assert (call["input_tokens"], call["total_ms"], call["queue_ms"]) == (2**63 - 1, 0.0, 0.0)


@pytest.mark.parametrize("cost", ["1e12", "NaN", "Infinity"])
async def test_rows_that_cannot_be_are_rejected_and_the_store_goes_on(analytics: Analytics, cost: str) -> None:
    with pytest.raises(RowsRejected):
        await analytics.insert([row("fine"), row("odd", cost=Decimal(cost))], "t")
    await analytics.insert([row("fine")], "t2")
    assert await ids(analytics) == ["fine"]


async def test_empty_insert_ping_and_many_at_once(analytics: Analytics) -> None:
    await analytics.insert([], "t")
    await analytics.ping()
    await asyncio.gather(*(analytics.insert([row(f"c{i}")], f"t{i}") for i in range(8)))
    pages = await asyncio.gather(*(ids(analytics) for _ in range(4)))
    assert [len(page) for page in pages] == [8] * 4


async def test_opening_again_keeps_what_was_there(where: str) -> None:
    for number in range(2):
        store = await open_analytics(where, keep=10_000 * 86_400)
        await store.insert([row(f"c{number}")], f"t{number}")
        if number:
            assert await ids(store) == ["c1", "c0"]
        await store.close()


async def test_a_newer_schema_is_refused(where: str) -> None:
    store = await open_analytics(where)
    await _execute(store, "INSERT INTO schema_version SELECT 99, now()")
    await store.close()
    with pytest.raises(StoreError, match="schema version 99.*newer Shin Gateway"):
        await open_analytics(where)


async def test_rows_past_their_time_go_and_sums_stay(tmp_path: Path) -> None:
    path = tmp_path / "a.duckdb"
    now = datetime.now(UTC)
    store = await open_analytics(path, keep=10 * 86_400)
    await store.insert([row("old", at=now - timedelta(days=11)), row("new", at=now)], "t")
    await store.close()
    store = await open_analytics(path, keep=10 * 86_400)
    assert await ids(store) == ["new"]
    assert len(await store.daily(CallFilter())) == 2
    await store.close()


async def test_clickhouse_lets_rows_go_by_ttl(clickhouse: Fake) -> None:
    url = clickhouse.url()
    for days in (90, 30, 30):
        store = await open_analytics(url, keep=days * 86_400)
        _, rows = await store._ask(("SELECT engine_full FROM system.tables WHERE name = 'calls' "  # type: ignore[attr-defined]
                                    "AND database = currentDatabase()", {}))  # fmt: skip
        assert f"toIntervalDay({days})" in rows[0][0]
        await store.close()


async def test_one_process_owns_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a.duckdb"
    code = f"import duckdb, sys; db = duckdb.connect({str(path)!r}); print('open', flush=True); sys.stdin.read()"
    other = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert other.stdout and other.stdout.readline()
    with pytest.raises(StoreError, match="another process has it open"):
        await open_analytics(path)
    other.communicate()
    await (await open_analytics(path)).close()


async def test_a_file_that_is_no_database_is_one_clear_error(tmp_path: Path) -> None:
    path = tmp_path / "a.duckdb"
    path.write_bytes(b"this is not a database at all" * 1000)
    with pytest.raises(StoreError, match="cannot open the analytics store"):
        await open_analytics(path)
    with pytest.raises(StoreError, match="cannot open the analytics store"):
        await open_analytics(tmp_path / "no" / "such" / "folder" / "a.duckdb")


async def test_duckdb_survives_kill_9(tmp_path: Path) -> None:
    path = tmp_path / "a.duckdb"
    code = f"""
        import asyncio, os, signal
        from shin_gateway.stores.analytics import open_analytics
        from tests.stores.servers import row
        async def main():
            store = await open_analytics({str(path)!r}, keep=1e9)
            for i in range(20):
                await store.insert([row(f"c{{i}}")], f"t{{i}}")
            os.kill(os.getpid(), signal.SIGKILL)
        asyncio.run(main())
    """
    assert subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=False).returncode == -9
    store = await open_analytics(path, keep=1e9)
    assert len(await ids(store)) == 20
    await store.insert([row("c0")], "t0")
    assert len(await ids(store)) == 20
    await store.close()


async def test_clickhouse_that_fails_mid_batch_counts_once(clickhouse: Fake) -> None:
    store = await open_analytics(clickhouse.url(), keep=1e9)
    for how in ("before", "after"):
        clickhouse.fail(how, inserts=10)  # the client itself tries again when a connection is cut
        with pytest.raises(StoreError):
            await store.insert([row(how)], how)
        clickhouse.fail("")
        await store.insert([row(how)], how)
    assert sorted(await ids(store)) == ["after", "before"]
    assert sum(day["calls"] for day in await store.daily(CallFilter())) == 2
    await store.close()


async def test_clickhouse_errors_keep_the_password(clickhouse: Fake) -> None:
    wrong = clickhouse.url().replace("s3cret", "hunter2")
    for url in (wrong, f"clickhouse://shin:{PASSWORD.replace('/', '%2F')}@127.0.0.1:1/x"):
        with pytest.raises(StoreError) as caught:
            await open_analytics(url)
        assert "hunter2" not in str(caught.value)
        assert "s3cret" not in str(caught.value)
        assert "127.0.0.1" in str(caught.value)


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("clickhouse://u:hunter2@h?nonsense=1", "unknown option 'nonsense'"),
        ("clickhouse://u:hunter2@h:port/x", "not a URL"),
        ("mysql://u:hunter2@h", "begins with 'mysql'"),
    ],
)
async def test_wrong_urls(url: str, says: str) -> None:
    with pytest.raises(StoreError) as caught:
        await open_analytics(url)
    assert says in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_clickhouse_urls() -> None:
    place = parse_place("clickhouse://us%40er:p%2Fw@h/shin?secure=1&ca_cert=/a.pem")
    assert (place.user, place.password, place.port, place.database) == ("us@er", "p/w", 8443, "shin")
    assert place.secure
    assert place.options == {"ca_cert": "/a.pem"}
    assert "p/w" not in repr(place)


async def test_clickhouse_connect_is_an_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "clickhouse_connect", None)
    with pytest.raises(StoreError, match=r"shin-gateway\[clickhouse\]"):
        await open_analytics("clickhouse://h/x")


async def _execute(store: Analytics, statement: str) -> None:
    database = getattr(store, "_db", None)
    if isinstance(database, duckdb.DuckDBPyConnection):
        database.execute(statement)
    else:
        await store._run(statement)  # type: ignore[attr-defined]
