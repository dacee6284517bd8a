"""Analytics in one file, for one machine. One process owns it; one thread does all its work."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Self

import duckdb
import msgspec

from shin_gateway.stores import queries
from shin_gateway.stores.analytics import call_of, columns_of, refuse_newer
from shin_gateway.stores.errors import RowsRejected, StoreError, StoreTimeout
from shin_gateway.stores.queries import COLUMNS, DUCKDB, KEYS, SUMS, CallFilter, Query
from shin_gateway.stores.rows import CallRow

logger = logging.getLogger(__name__)

_TIMEOUT = 30.0
_PRUNE_EVERY = 3600.0
_TOKENS_DAYS = 7
"""A batch is sent again within seconds, or when a machine comes back: a week is ample."""
_CONFIG: dict[str, Any] = {
    "threads": 1,
    "memory_limit": "512MB",
    "autoinstall_known_extensions": False,  # nothing is downloaded
    "autoload_known_extensions": False,
}

MIGRATIONS = [
    [
        f"CREATE TABLE calls ({queries.definition(COLUMNS, DUCKDB)})",
        f"CREATE TABLE daily ({queries.definition(KEYS | SUMS, DUCKDB)}, PRIMARY KEY ({queries.names(KEYS)}))",
        'CREATE TABLE batches ("token" VARCHAR PRIMARY KEY, "at" TIMESTAMP)',
    ],
]
"""Statements that lead from one version of the schema to the next; the first makes version 1. Forward only."""

# Column by column: read as a list of rows, the same JSON takes almost three times as long.
_SHAPE = msgspec.json.encode({name: [DUCKDB.types[kind]] for name, kind in COLUMNS.items()}).decode()
_ROWS = ", ".join(f'unnest(c."{name}") AS "{name}"' for name in COLUMNS)
_BATCH = f"CREATE OR REPLACE TEMP TABLE batch AS SELECT {_ROWS} FROM (SELECT from_json($rows::JSON, '{_SHAPE}') AS c)"
_CALLS = f"INSERT INTO calls SELECT {queries.names(COLUMNS)} FROM batch"
_DAILY = (
    f"INSERT INTO daily {queries.sums_of('batch', DUCKDB)} ON CONFLICT ({queries.names(KEYS)}) DO UPDATE SET "
    + ", ".join(f'"{name}" = daily."{name}" + excluded."{name}"' for name in SUMS)
)


class DuckDBAnalytics:
    def __init__(self, path: Path, keep: float) -> None:
        self._path = path
        self._keep = keep
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="duckdb")
        self._pruned = 0.0
        self._db = duckdb.connect(":memory:")  # until the file is open

    @classmethod
    async def open(cls, path: Path, keep: float) -> Self:
        analytics = cls(path, keep)
        try:
            await analytics._work(analytics._open)
        except BaseException:
            await analytics.close()
            raise
        return analytics

    async def insert(self, rows: Sequence[CallRow], token: str) -> None:
        if rows:
            await self._work(lambda: self._insert(rows, token))

    async def calls(self, wanted: CallFilter) -> list[dict[str, Any]]:
        return [call_of(names, row) for names, row in await self._ask(queries.calls(DUCKDB, wanted))]

    async def call(self, id: str) -> dict[str, Any] | None:
        return next((call_of(names, row) for names, row in await self._ask(queries.one_call(DUCKDB, id))), None)

    async def daily(self, wanted: CallFilter) -> list[dict[str, Any]]:
        rows = await self._ask(queries.daily(DUCKDB, wanted))
        return [dict(zip(names, row, strict=True)) for names, row in rows]

    async def ping(self) -> None:
        await self._ask(("SELECT 1", {}))

    async def close(self) -> None:
        await self._work(lambda: self._db.close())
        self._thread.shutdown()

    async def _ask(self, query: Query) -> list[tuple[list[str], tuple[Any, ...]]]:
        def ask() -> list[tuple[list[str], tuple[Any, ...]]]:
            result = self._db.execute(*query)
            names = [column[0] for column in result.description or ()]
            return [(names, row) for row in result.fetchall()]

        return await self._work(ask)

    async def _work[T](self, work: Callable[[], T]) -> T:
        """Run in the one thread, and give up after the timeout: what runs then is interrupted."""
        future = asyncio.get_running_loop().run_in_executor(self._thread, work)
        try:
            async with asyncio.timeout(_TIMEOUT):
                return await asyncio.shield(future)
        except TimeoutError:
            self._db.interrupt()
            future.add_done_callback(lambda late: late.cancelled() or late.exception())
            raise StoreTimeout(f"analytics ({self._path}) took longer than {_TIMEOUT:.0f} s") from None
        except (duckdb.DataError, duckdb.ConversionException) as error:
            raise RowsRejected(f"analytics ({self._path}): {_first_line(error)}") from None
        except duckdb.Error as error:
            raise StoreError(f"analytics ({self._path}): {_first_line(error)}") from None

    def _open(self) -> None:
        try:
            self._db = duckdb.connect(str(self._path), config=_CONFIG)
        except duckdb.IOException as error:
            hint = "another process has it open" if "lock" in str(error) else _first_line(error)
            raise StoreError(f"cannot open the analytics store {self._path}: {hint}") from None
        self._migrate()
        self._prune()

    def _migrate(self) -> None:
        self._db.execute('CREATE TABLE IF NOT EXISTS schema_version ("version" INTEGER, "at" TIMESTAMP)')
        (found,) = self._db.execute('SELECT COALESCE(MAX("version"), 0) FROM schema_version').fetchone() or (0,)
        refuse_newer(found, len(MIGRATIONS), str(self._path))
        for version, statements in enumerate(MIGRATIONS[found:], found + 1):
            self._db.execute("BEGIN")
            for statement in statements:
                self._db.execute(statement)
            self._db.execute("INSERT INTO schema_version VALUES ($version, $at)", {"version": version, "at": _now()})
            self._db.execute("COMMIT")

    def _insert(self, rows: Sequence[CallRow], token: str) -> None:
        packed = _packed(rows)
        self._db.execute("BEGIN")
        try:
            if not self._db.execute("SELECT 1 FROM batches WHERE token = $token", {"token": token}).fetchone():
                self._db.execute("INSERT INTO batches VALUES ($token, $at)", {"token": token, "at": _now()})
                self._db.execute(_BATCH, {"rows": packed})
                self._db.execute(_CALLS)
                self._db.execute(_DAILY)
            self._db.execute("COMMIT")
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        if time.monotonic() - self._pruned > _PRUNE_EVERY:
            self._prune()

    def _prune(self) -> None:
        """Let go of rows past their time. The daily sums stay."""
        self._pruned = time.monotonic()
        now = _now()
        self._db.execute('DELETE FROM calls WHERE "at" < $until', {"until": now - timedelta(seconds=self._keep)})
        self._db.execute('DELETE FROM batches WHERE "at" < $until', {"until": now - timedelta(days=_TOKENS_DAYS)})


def _packed(rows: Sequence[CallRow]) -> str:
    """The rows as one JSON object of columns."""
    return msgspec.json.encode(columns_of(rows)).decode()


def _now() -> datetime:
    return datetime.now(UTC).replace(tzinfo=None)


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0][:300]
