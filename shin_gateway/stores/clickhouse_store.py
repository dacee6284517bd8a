"""Analytics in ClickHouse, over HTTP, by clickhouse-connect's async client (an optional extra).

A batch that is sent again counts once: the insert carries the batch's token, the tables remember
the last tokens, and the view that makes the daily sums looks at them too.
"""

from __future__ import annotations

import asyncio
import importlib
import importlib.util
import math
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import parse_qsl, unquote, urlsplit

from shin_gateway.stores import queries
from shin_gateway.stores.analytics import DAY, call_of, columns_of, refuse_newer
from shin_gateway.stores.errors import RowsRejected, StoreError, StoreTimeout
from shin_gateway.stores.queries import CLICKHOUSE, COLUMNS, KEYS, SUMS, CallFilter, Query
from shin_gateway.stores.rows import CallRow

if TYPE_CHECKING:
    from clickhouse_connect.driver.asyncclient import AsyncClient

_CONNECT = 5.0
_TIMEOUT = 30.0
_WINDOW = 10_000
"""Inserts whose tokens a table remembers."""
_OPTIONS = {"secure", "verify", "ca_cert", "client_cert", "client_cert_key"}
_UNKNOWN_DATABASE = 81
_BAD_ROWS = {6, 27, 38, 41, 53, 69, 70, 72, 321, 407}
"""Error codes of ClickHouse that speak of values: cannot parse, type mismatch, out of range, overflow."""

_REMEMBER = f"SETTINGS non_replicated_deduplication_window = {_WINDOW}"
MIGRATIONS = [
    [
        f"CREATE TABLE IF NOT EXISTS calls ({queries.definition(COLUMNS, CLICKHOUSE)}, "
        'INDEX id_index "id" TYPE bloom_filter GRANULARITY 4) ENGINE = MergeTree '
        f'PARTITION BY toYYYYMM("at") ORDER BY ("at", "id") {_REMEMBER}',
        f"CREATE TABLE IF NOT EXISTS daily ({queries.definition(KEYS | SUMS, CLICKHOUSE)}) "
        f"ENGINE = SummingMergeTree(({queries.names(SUMS)})) ORDER BY ({queries.names(KEYS)}) {_REMEMBER}",
        f"CREATE MATERIALIZED VIEW IF NOT EXISTS daily_view TO daily AS {queries.sums_of('calls', CLICKHOUSE)}",
    ],
]
"""Statements that lead from one version of the schema to the next; the first makes version 1. Forward only,
and each may run twice: two admin processes may start at once."""


@dataclass(frozen=True)
class Place:
    """A parsed URL. `str()` leaves the credentials out."""

    host: str
    port: int
    database: str
    user: str
    password: str
    secure: bool
    options: dict[str, str]

    def __str__(self) -> str:
        return f"clickhouse://{self.host}:{self.port}/{self.database}"

    def __repr__(self) -> str:
        return f"Place({self})"


class ClickHouseAnalytics:
    def __init__(self, client: AsyncClient, place: Place) -> None:
        self._client = client
        self._place = place

    @classmethod
    async def open(cls, url: str, keep: float) -> Self:
        place = parse_place(url)
        try:
            import clickhouse_connect  # noqa: F401
        except ImportError:
            raise StoreError(
                f"analytics at {place} needs clickhouse-connect: pip install 'shin-gateway[clickhouse]'"
            ) from None
        if importlib.util.find_spec("pandas"):
            # clickhouse-connect imports pandas, where there is one, on its first insert: a second on the loop
            await asyncio.to_thread(importlib.import_module, "pandas")
        analytics = cls(await _connect(place), place)
        try:
            await analytics._migrate()
            await analytics._expire(math.ceil(keep / DAY))
        except BaseException:
            await analytics.close()
            raise
        return analytics

    async def insert(self, rows: Sequence[CallRow], token: str) -> None:
        if not rows:
            return
        settings = {
            "insert_deduplication_token": token,
            "insert_deduplicate": 1,
            "deduplicate_blocks_in_dependent_materialized_views": 1,
            "async_insert": 0,
            "wait_end_of_query": 1,
        }
        columns = columns_of(rows)
        names, values = list(columns), list(columns.values())
        try:
            await self._work(
                self._client.insert("calls", values, column_names=names, column_oriented=True, settings=settings)
            )
        except StoreError as error:
            if _of_values(error.__cause__):
                raise RowsRejected(str(error)) from None
            raise

    async def calls(self, wanted: CallFilter) -> list[dict[str, Any]]:
        names, rows = await self._ask(queries.calls(CLICKHOUSE, wanted))
        return [call_of(names, row) for row in rows]

    async def call(self, id: str) -> dict[str, Any] | None:
        names, rows = await self._ask(queries.one_call(CLICKHOUSE, id))
        return call_of(names, rows[0]) if rows else None

    async def daily(self, wanted: CallFilter) -> list[dict[str, Any]]:
        names, rows = await self._ask(queries.daily(CLICKHOUSE, wanted))
        return [dict(zip(names, row, strict=True)) for row in rows]

    async def ping(self) -> None:
        await self._work(self._client.command("SELECT 1"))

    async def close(self) -> None:
        await self._client.close()

    async def _ask(self, query: Query) -> tuple[Sequence[str], Sequence[Sequence[Any]]]:
        sql, values = query
        result = await self._work(self._client.query(sql, parameters=values))
        return result.column_names, result.result_rows

    async def _work[T](self, work: Awaitable[T]) -> T:
        return await _timed(work, self._place)

    async def _migrate(self) -> None:
        await self._run('CREATE TABLE IF NOT EXISTS schema_version ("version" UInt32, "at" DateTime) '
                        'ENGINE = MergeTree ORDER BY "version"')  # fmt: skip
        _, rows = await self._ask(('SELECT MAX("version") FROM schema_version', {}))
        found = int(rows[0][0] or 0)
        refuse_newer(found, len(MIGRATIONS), str(self._place))
        for version, statements in enumerate(MIGRATIONS[found:], found + 1):
            for statement in statements:
                await self._run(statement)
            await self._run(f"INSERT INTO schema_version SELECT {version}, now()")

    async def _expire(self, days: int) -> None:
        """Let rows go after so many days. The daily sums stay."""
        ask = "SELECT engine_full FROM system.tables WHERE database = currentDatabase() AND name = 'calls'"
        _, rows = await self._ask((ask, {}))
        if f"toIntervalDay({days})" not in rows[0][0]:
            await self._run(f'ALTER TABLE calls MODIFY TTL toDateTime("at") + INTERVAL {days} DAY')

    async def _run(self, statement: str) -> None:
        await self._work(self._client.command(statement))


def parse_place(url: str) -> Place:
    """Raises `StoreError` naming what is wrong, never the URL itself: it may hold a password."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise StoreError("the analytics URL is not a URL; write one like clickhouse://host:8123/shin") from None
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    for name in options:
        if name not in _OPTIONS:
            raise StoreError(f"unknown option {name!r} in the analytics URL; known: {', '.join(sorted(_OPTIONS))}")
    secure = parts.scheme == "clickhouses" or options.pop("secure", "0").lower() in ("1", "true", "yes")
    port = port or (8443 if secure else 8123)
    database = unquote(parts.path.strip("/")) or "default"
    user, password = unquote(parts.username or "default"), unquote(parts.password or "")
    return Place(parts.hostname or "localhost", port, database, user, password, secure, options)


async def _connect(place: Place) -> AsyncClient:
    """A client of the place's database, which is made where it is missing."""
    try:
        return await _timed(_client(place, place.database), place)
    except StoreError as error:
        if getattr(error.__cause__, "code", None) != _UNKNOWN_DATABASE:
            raise
    anywhere = await _timed(_client(place, "default"), place)
    try:
        name = place.database.replace("`", "``")
        await _timed(anywhere.command(f"CREATE DATABASE IF NOT EXISTS `{name}`"), place)
    finally:
        await anywhere.close()
    return await _timed(_client(place, place.database), place)


def _client(place: Place, database: str) -> Awaitable[AsyncClient]:
    import clickhouse_connect

    options: dict[str, Any] = dict(place.options)
    return clickhouse_connect.get_async_client(
        host=place.host,
        port=place.port,
        username=place.user,
        password=place.password,
        database=database,
        secure=place.secure,
        connect_timeout=_CONNECT,
        send_receive_timeout=_TIMEOUT,
        query_retries=0,
        autogenerate_session_id=False,
        client_name="shin-gateway",
        **options,
    )


async def _timed[T](work: Awaitable[T], place: Place) -> T:
    from clickhouse_connect.driver.exceptions import ClickHouseError

    try:
        async with asyncio.timeout(_TIMEOUT):
            return await work
    except TimeoutError:
        raise StoreTimeout(f"analytics at {place} took longer than {_TIMEOUT:.0f} s") from None
    except (ClickHouseError, ArithmeticError, ValueError, TypeError) as error:
        raise StoreError(_told(error, place)) from error
    except OSError as error:
        raise StoreError(_told(error, place)) from None


def _of_values(cause: BaseException | None) -> bool:
    """Whether the rows are at fault: they could not be written down, or the server says so."""
    from clickhouse_connect.driver.exceptions import DataError

    unwritable = (ArithmeticError, ValueError, TypeError, DataError)
    return isinstance(cause, unwritable) or getattr(cause, "code", None) in _BAD_ROWS


def _told(error: Exception, place: Place) -> str:
    """What happened, short, without what the URL keeps secret."""
    text = " ".join(str(error).split())[:300]
    if place.password:
        text = text.replace(place.password, "***")
    return f"analytics at {place}: {text}"
