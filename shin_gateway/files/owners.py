"""Who owns a file or a batch: the provider that keeps it and the tenant that made it, by its id, in the state store.

The gateway asks providers with one key for all its callers, so a provider tells them nothing apart; this does. One hash
for each id, `{provider: tenant}`, that lives for TTL after its last use.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

from shin_gateway.caller import Caller
from shin_gateway.stores.state import StateStore

TTL = 90 * 86_400
"""Seconds."""

Known = Mapping[str, Mapping[str, str]]
"""By id, the tenant at each provider that has something of this id."""


def tenant_of(caller: Caller) -> str:
    return hashlib.sha256(caller.tenant.encode("utf-8", "surrogateescape")).hexdigest()[:32]


class Owners:
    """Every method raises StoreError when the store does not answer."""

    def __init__(self, state: StateStore) -> None:
        self._state = state

    async def find(self, ids: Iterable[str]) -> Known:
        """What is known of these ids; nothing of those that the gateway did not see made."""
        wanted = list(dict.fromkeys(one for one in ids if one))
        found = await asyncio.gather(*(self._state.run("HGETALL", _key(one)) for one in wanted))
        return {one: owners for one, fields in zip(wanted, found, strict=True) if (owners := _read(fields))}

    async def keep(self, ids: Iterable[str], provider: str, tenant: str) -> None:
        """Remember these ids, or remember them for longer."""
        commands = [command for one in ids if one for command in self._set(one, provider, tenant)]
        await asyncio.gather(*commands)

    def _set(self, one: str, provider: str, tenant: str) -> list[asyncio.Future[Any]]:
        key = _key(one)
        return [self._state.run("HSET", key, provider, tenant), self._state.run("EXPIRE", key, TTL)]

    async def drop(self, one: str, provider: str) -> None:
        await self._state.run("HDEL", _key(one), provider)


def _key(one: str) -> str:
    return f"shin:{{own:{one}}}"


def _read(fields: Any) -> dict[str, str]:
    pairs = fields.items() if isinstance(fields, dict) else zip(fields[::2], fields[1::2], strict=True)
    return {provider.decode(): tenant.decode() for provider, tenant in pairs}
