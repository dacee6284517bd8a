"""Analytics: what calls there were and what they cost. DuckDB by default, ClickHouse by URL."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from operator import attrgetter
from pathlib import Path
from typing import Any, Protocol

import msgspec

from shin_gateway.stores.errors import RowsRejected, StoreError, StoreTimeout
from shin_gateway.stores.queries import COLUMNS, CallFilter
from shin_gateway.stores.rows import CallRow

__all__ = ["Analytics", "CallFilter", "RowsRejected", "StoreError", "StoreTimeout", "open_analytics"]

DAY = 86_400.0
_WHOLE = 2**63 - 1
_NANO, _RICH = Decimal("1e-9"), Decimal("1e9")


class Analytics(Protocol):
    """One store of rows. Every method raises `StoreError`, `StoreTimeout` when it took too long."""

    async def insert(self, rows: Sequence[CallRow], token: str) -> None:
        """Keep rows and add them to the daily sums, at once. A token that was there before changes nothing.

        Raises `RowsRejected` when the rows themselves are at fault.
        """

    async def calls(self, wanted: CallFilter) -> list[dict[str, Any]]:
        """The newest calls first, without bodies. `at` is an aware datetime, `facts` a dict, `cost` Decimal or None."""

    async def call(self, id: str) -> dict[str, Any] | None:
        """One call, with its bodies where they were logged."""

    async def daily(self, wanted: CallFilter) -> list[dict[str, Any]]:
        """Calls, tokens and cost a day (UTC), caller, policy, host, model, provider and end."""

    async def ping(self) -> None: ...

    async def close(self) -> None: ...


async def open_analytics(where: str | Path, *, keep: float = 90 * DAY) -> Analytics:
    """Open the store at `clickhouse://user:password@host:port/database?secure=1`, or the DuckDB file at a path.

    `keep`: seconds that rows stay; daily sums stay for ever. Tables are made and migrated. Raises `StoreError`
    for a store that cannot be reached, is in use by another process, or was made by a newer version.
    """
    scheme, path = _split(where)
    if scheme in ("clickhouse", "clickhouses"):
        from shin_gateway.stores.clickhouse_store import ClickHouseAnalytics

        return await ClickHouseAnalytics.open(str(where), keep)
    if scheme != "duckdb":
        raise StoreError(f"the analytics store's URL begins with {scheme!r}; use clickhouse, or a path for DuckDB")
    from shin_gateway.stores.duckdb_store import DuckDBAnalytics

    return await DuckDBAnalytics.open(path, keep)


def _split(where: str | Path) -> tuple[str, Path]:
    """The scheme of a URL, `duckdb` for a path, and the path."""
    scheme, found, rest = str(where).partition("://")
    return (scheme, Path(rest)) if found else ("duckdb", Path(where))


def columns_of(rows: Sequence[CallRow]) -> dict[str, list[Any]]:
    """Rows as both engines store them, column by column: numbers within 64 bits, facts as JSON, UTC.

    Raises RowsRejected.
    """
    columns: dict[str, list[Any]] = {name: list(map(attrgetter(name), rows)) for name in COLUMNS}
    for name, kind in COLUMNS.items():
        if kind in _FIT:
            columns[name] = list(map(_FIT[kind], columns[name]))
    columns["facts"] = [msgspec.json.encode(facts).decode() for facts in columns["facts"]]
    return columns


def _whole(value: int) -> int:
    return value if -_WHOLE <= value <= _WHOLE else max(-_WHOLE, min(value, _WHOLE))


def _number(value: float) -> float:
    return value if math.isfinite(value) else 0.0


def _time(value: datetime) -> datetime:
    return value.astimezone(UTC)


def _money(cost: Decimal | None) -> Decimal | None:
    """To a billionth of a dollar. What is no amount of money at all raises `RowsRejected`."""
    if cost is None:
        return None
    if not cost.is_finite() or abs(cost) >= _RICH:
        raise RowsRejected(f"{cost} is no cost of a call")
    return cost.quantize(_NANO)


_FIT: dict[str, Callable[[Any], Any]] = {"whole": _whole, "number": _number, "time": _time, "money": _money}
"""By kind of column."""


def call_of(columns: Sequence[str], values: Sequence[Any]) -> dict[str, Any]:
    """A row as the engine returned it -> what `calls` promises."""
    call = dict(zip(columns, values, strict=True))
    at: datetime = call["at"]
    call["at"] = at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
    call["facts"] = json.loads(call["facts"] or "{}")
    return call


def refuse_newer(found: int, known: int, where: str) -> None:
    if found > known:
        raise StoreError(
            f"the analytics store {where} has schema version {found}, this Shin Gateway knows up to {known}: "
            "run the newer Shin Gateway, or name another store"
        )
