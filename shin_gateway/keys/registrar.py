"""Makes virtual keys and changes them. For the admin process: no call waits for it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec

from shin_gateway.keys.minting import digest_of, is_id, make_id, make_secret
from shin_gateway.keys.records import Held, KeyRecord
from shin_gateway.keys.shelf import MOST, Shelf
from shin_gateway.stores.state import StateStore

GRACE = 3600.0
"""Seconds that a key's old secret works after a new one was made."""

_PAGE = 500
_TRIES = 10

Change = Callable[[KeyRecord], KeyRecord]
Permit = Callable[[KeyRecord], None]
Wanted = Callable[[KeyRecord], bool]


class KeyUnknown(Exception):
    """There is no key of this id."""


class KeyGone(Exception):
    """The key is revoked, and nothing brings it back."""


class TooManyKeys(Exception):
    """There is no room for another key."""


class Busy(Exception):
    """Others change the same key all the time."""


class Changed(NamedTuple):
    before: KeyRecord
    after: KeyRecord


class Registrar:
    """All of its methods raise StoreError; after StoreTimeout a change may have been made or not."""

    def __init__(self, state: StateStore) -> None:
        self._shelf = Shelf(state)

    async def create(self, **fields: Any) -> tuple[KeyRecord, str]:
        """A new key with these fields of its record, and its secret, which nobody can show again.

        Raises TooManyKeys.
        """
        for _ in range(_TRIES):
            secret = make_secret()
            record = KeyRecord(id=make_id(), created=time.time(), secrets=(Held(digest_of(secret)),), **fields)
            written = await self._shelf.write(None, record)
            if written == "full":
                raise TooManyKeys(f"there are {MOST:,} keys: revoke some first")
            if written == "written":
                return record, secret
        raise Busy("no id is free")  # which chance does not bring about

    async def show(self, id: str) -> KeyRecord:
        """Raises KeyUnknown."""
        record = await self._shelf.read(id) if is_id(id) else None
        if record is None:
            raise KeyUnknown(f"there is no key {id[:32]}")
        return record

    async def list(self, wanted: Wanted, before: str | None, limit: int) -> list[KeyRecord]:
        """The newest keys that are wanted, older than `before`. Raises KeyUnknown where `before` is no key."""
        found: list[KeyRecord] = []
        while True:
            page = await self._shelf.page(before, _PAGE)
            if page is None:
                raise KeyUnknown("there is no such key to go on from")
            found += filter(wanted, page)
            if not page or len(found) >= limit:
                return found[:limit]
            before = page[-1].id

    async def update(self, id: str, permit: Permit = lambda record: None, **fields: Any) -> Changed:
        """Give a key other fields. Raises KeyUnknown, KeyGone, Busy, and what `permit` raises of the key as it is."""
        return await self._change(id, permit, lambda record: msgspec.structs.replace(record, **fields))

    async def rotate(self, id: str, grace: float = GRACE, permit: Permit = lambda record: None) -> tuple[Changed, str]:
        """A new secret for the same key; the old one works for `grace` seconds more. Raises as `update`."""
        secret = make_secret()
        digest = digest_of(secret)
        return await self._change(id, permit, lambda record: record.rotate(digest, time.time(), grace)), secret

    async def revoke(self, id: str, permit: Permit = lambda record: None) -> Changed:
        """End a key for good. Once is enough: a second time changes nothing. Raises as `update`, but for KeyGone."""
        try:
            return await self._change(id, permit, KeyRecord.revoke)
        except KeyGone:
            record = await self.show(id)
            return Changed(record, record)

    async def _change(self, id: str, permit: Permit, change: Change) -> Changed:
        for _ in range(_TRIES):
            before = await self.show(id)
            if before.revoked is not None:
                raise KeyGone(f"the key {id} is revoked")
            permit(before)
            after = change(before)
            if after == before or await self._shelf.write(before, after) == "written":
                return Changed(before, after)
        raise Busy(f"others change the key {id} at the same time: try again")
