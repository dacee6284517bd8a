"""An analytics server that may not be there yet: opened by whoever needs it first, tried again by the next."""

from __future__ import annotations

import asyncio
import importlib.util
from collections.abc import Sequence
from typing import Any

from shin_gateway.stores.analytics import Analytics, open_analytics
from shin_gateway.stores.clickhouse_store import parse_place
from shin_gateway.stores.errors import StoreError
from shin_gateway.stores.queries import CallFilter
from shin_gateway.stores.rows import CallRow


class LateAnalytics:
    """ClickHouse. Raises StoreError at once for what waiting cannot mend: a wrong URL, a package that is missing."""

    def __init__(self, url: str, keep: float) -> None:
        place = parse_place(url)
        if importlib.util.find_spec("clickhouse_connect") is None:
            raise StoreError(f"analytics at {place} needs clickhouse-connect: pip install 'shin-gateway[clickhouse]'")
        self._url = url
        self._keep = keep
        self._store: Analytics | None = None
        self._opening = asyncio.Lock()

    async def open(self) -> Analytics:
        """The store, opened where it is not yet. Raises StoreError."""
        async with self._opening:
            if self._store is None:
                self._store = await open_analytics(self._url, keep=self._keep)
            return self._store

    async def insert(self, rows: Sequence[CallRow], token: str) -> None:
        await (await self.open()).insert(rows, token)

    async def calls(self, wanted: CallFilter) -> list[dict[str, Any]]:
        return await (await self.open()).calls(wanted)

    async def call(self, id: str) -> dict[str, Any] | None:
        return await (await self.open()).call(id)

    async def daily(self, wanted: CallFilter) -> list[dict[str, Any]]:
        return await (await self.open()).daily(wanted)

    async def ping(self) -> None:
        await (await self.open()).ping()

    async def close(self) -> None:
        if self._store is not None:
            await self._store.close()
