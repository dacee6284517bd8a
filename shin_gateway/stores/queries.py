"""What is asked of analytics, once for both engines; what differs between them is named in `Engine`.

Names are quoted throughout: `at` and `end` are reserved words in one engine or the other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

MAX_CALLS = 1000
"""Rows in one answer at most."""

MONEY = "DECIMAL(18, 9)"
"""USD to a billionth: a single cached token of the cheapest model still counts."""

COLUMNS = {
    "id": "text",
    "at": "time",
    "caller": "label",
    "caller_kind": "label",
    "policy": "label",
    "host": "label",
    "dialect": "label",
    "kind": "label",
    "model": "label",
    "target": "label",
    "provider": "label",
    "stream": "flag",
    "status": "whole",
    "end": "label",
    "cause": "text",
    "addon": "label",
    "usage_source": "label",
    "input_tokens": "whole",
    "cached_tokens": "whole",
    "cache_write_tokens": "whole",
    "output_tokens": "whole",
    "reasoning_tokens": "whole",
    "cost": "money",
    "queue_ms": "number",
    "connect_ms": "number",
    "first_part_ms": "number",
    "total_ms": "number",
    "overhead_ms": "number",
    "attempts": "whole",
    "call_bytes": "whole",
    "reply_bytes": "whole",
    "facts": "text",  # JSON
    "call_body": "text",
    "reply_body": "text",
}
"""The columns of `calls`, in the order of `CallRow`."""

BODIES = ("call_body", "reply_body")
KEYS = {
    "day": "day",
    "caller": "label",
    "policy": "label",
    "host": "label",
    "model": "label",
    "provider": "label",
    "end": "label",
}
"""What a daily sum is for."""
SUMS = {
    "calls": "whole",
    "input_tokens": "whole",
    "cached_tokens": "whole",
    "cache_write_tokens": "whole",
    "output_tokens": "whole",
    "reasoning_tokens": "whole",
    "cost": "total",
    "unpriced": "whole",
}
"""What is summed: `unpriced` counts the calls whose cost is unknown, which `cost` leaves out."""


@dataclass(frozen=True)
class Engine:
    """Where two engines differ."""

    types: dict[str, str]
    """The engine's name for each kind of column above."""
    parameter: Callable[[str, str], str]
    """How a query names a parameter: (name, the engine's type) -> placeholder."""


DUCKDB = Engine(
    types={
        "text": "VARCHAR",
        "label": "VARCHAR",
        "time": "TIMESTAMP",
        "day": "DATE",
        "flag": "BOOLEAN",
        "whole": "BIGINT",
        "number": "DOUBLE",
        "money": MONEY,
        "total": "DECIMAL(38,9)",
    },
    parameter=lambda name, kind: f"CAST(${name} AS {kind})",
)

CLICKHOUSE = Engine(
    types={
        "text": "String",
        "label": "LowCardinality(String)",
        "time": "DateTime64(3, 'UTC')",
        "day": "Date",
        "flag": "Bool",
        "whole": "Int64",
        "number": "Float64",
        "money": f"Nullable({MONEY})",
        "total": "Decimal(38, 9)",
    },
    parameter=lambda name, kind: f"{{{name}:{kind}}}",
)


@dataclass(frozen=True)
class CallFilter:
    """Which calls. What is None is not looked at.

    `since` is included, `until` is not; `before` is the id of the last call of the page before. For daily
    sums, only what a sum is for counts, and `since` and `until` as days.
    """

    since: datetime | None = None
    until: datetime | None = None
    caller: str | None = None
    model: str | None = None
    policy: str | None = None
    host: str | None = None
    provider: str | None = None
    status: int | None = None
    end: str | None = None
    before: str | None = None
    limit: int = 100


_CONDITIONS = {
    "since": ('"at" >= {}', "time"),
    "until": ('"at" < {}', "time"),
    "caller": ('"caller" = {}', "text"),
    "model": ('"model" = {}', "text"),
    "policy": ('"policy" = {}', "text"),
    "host": ('"host" = {}', "text"),
    "provider": ('"provider" = {}', "text"),
    "status": ('"status" = {}', "whole"),
    "end": ('"end" = {}', "text"),
    "before": ('("at", "id") < (SELECT ("at", "id") FROM calls WHERE "id" = {} LIMIT 1)', "text"),
}
_DAILY_CONDITIONS = {name: condition for name, condition in _CONDITIONS.items() if name in KEYS and name != "day"} | {
    "since": ('"day" >= {}', "day"),
    "until": ('"day" < {}', "day"),
}

Query = tuple[str, dict[str, Any]]
"""SQL and its parameters."""


def calls(engine: Engine, wanted: CallFilter) -> Query:
    """The newest calls first, without bodies."""
    where, values = _where(engine, wanted, _CONDITIONS)
    columns = names(name for name in COLUMNS if name not in BODIES)
    limit = max(1, min(wanted.limit, MAX_CALLS))
    return f'SELECT {columns} FROM calls WHERE {where} ORDER BY "at" DESC, "id" DESC LIMIT {limit}', values


def one_call(engine: Engine, id: str) -> Query:
    """One call, with bodies where they were logged."""
    placeholder = engine.parameter("id", engine.types["text"])
    return f'SELECT {names(COLUMNS)} FROM calls WHERE "id" = {placeholder} LIMIT 1', {"id": id}


def daily(engine: Engine, wanted: CallFilter) -> Query:
    """Sums a day, newest day first."""
    where, values = _where(engine, wanted, _DAILY_CONDITIONS)
    keys = names(KEYS)
    sums = ", ".join(f'SUM(d."{name}") AS "{name}"' for name in SUMS)
    return f"SELECT {keys}, {sums} FROM daily AS d WHERE {where} GROUP BY {keys} ORDER BY {keys}", values


def sums_of(table: str, engine: Engine) -> str:
    """The daily sums of the rows in `table`, in the columns of `daily`."""
    own = {
        "calls": "COUNT(*)",
        "cost": f'SUM(COALESCE(c."cost", CAST(0 AS {MONEY})))',
        "unpriced": 'SUM(CASE WHEN c."cost" IS NULL THEN 1 ELSE 0 END)',
    }
    sums = ", ".join(f'{own.get(name) or f"""SUM(c."{name}")"""} AS "{name}"' for name in SUMS)
    keys = names(name for name in KEYS if name != "day")
    return f'SELECT CAST(c."at" AS DATE) AS "day", {keys}, {sums} FROM {table} AS c GROUP BY "day", {keys}'


def definition(columns: dict[str, str], engine: Engine) -> str:
    """Columns as CREATE TABLE wants them."""
    return ", ".join(f'"{name}" {engine.types[kind]}' for name, kind in columns.items())


def names(columns: Iterable[str]) -> str:
    return ", ".join(f'"{name}"' for name in columns)


def utc_text(moment: datetime) -> str:
    """A moment as both engines read it: UTC, milliseconds, no zone."""
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]


def _where(engine: Engine, wanted: CallFilter, conditions: dict[str, tuple[str, str]]) -> Query:
    clauses, values = ["1 = 1"], {}
    for name, (clause, kind) in conditions.items():
        value = getattr(wanted, name)
        if value is None:
            continue
        clauses.append(clause.format(engine.parameter(name, engine.types[kind])))
        values[name] = utc_text(value)[: 10 if kind == "day" else None] if isinstance(value, datetime) else value
    return " AND ".join(clauses), values
