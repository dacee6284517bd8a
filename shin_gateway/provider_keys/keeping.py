"""Keeps credentials: seals them, lists what may be shown of them, seals them again when the master key has changed."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass

from shin_gateway.provider_keys.kept import place_of, sealer_of
from shin_gateway.provider_keys.shelf import MOST, Record, Shelf, decode
from shin_gateway.sealing import Master
from shin_gateway.secret import LONGEST
from shin_gateway.stores.errors import StoreError
from shin_gateway.stores.state import StateStore

NAME = re.compile(r"[a-z0-9][a-z0-9_.-]{0,63}")
_SHOWN, _SHOWN_OF = 4, 16
"""Characters of a credential's end that are shown, where it has as many as this: less would give too much away."""


class NotKept(ValueError):
    """Why a credential is not kept. Holds nothing of it."""


@dataclass(frozen=True)
class Shown:
    """What is shown of a kept credential."""

    name: str
    at: float
    """When it was set, in Unix seconds."""
    by: str
    end: str
    """Its last four characters; "" for a short one, and for one that cannot be opened."""
    state: str
    """`good`, `old key` where `reseal` is due, `unreadable` where it is sealed with a key that is not known."""


class Keeping:
    """For the admin process. Every method raises StoreError when the store does not answer."""

    def __init__(self, state: StateStore, master: Master) -> None:
        self._shelf = Shelf(state)
        self._sealer = sealer_of(master)

    async def put(self, name: str, value: str, by: str) -> Shown:
        """Keep it in the place of what was there. Raises NotKept."""
        value = value.strip()
        _check(name, value)
        record = Record(sealed=self._sealer.seal(place_of(name), value.encode()), at=time.time(), by=by)
        if await self._shelf.put(name, record.encode()) == "full":
            raise NotKept(f"there are {MOST} credentials already; remove one first")
        return self._shown(name, record)

    async def listed(self) -> list[Shown]:
        found = await self._shelf.everything()
        return [self._shown(name, _decoded(found[name])) for name in sorted(found)]

    async def one(self, name: str) -> Shown | None:
        return next((shown for shown in await self.listed() if shown.name == name), None)

    async def remove(self, name: str) -> Shown | None:
        """What it was; None where there was none."""
        before = await self.one(name)
        if before is not None:
            await self._shelf.put(name, b"")
        return before

    async def reseal(self) -> list[str]:
        """Seal with the master key what one before it has sealed. Gives the names; what cannot be opened stays."""
        found = await self._shelf.everything()
        return [name for name, data in sorted(found.items()) if await self._resealed(name, data)]

    async def _resealed(self, name: str, data: bytes) -> bool:
        record = _decoded(data)
        plain = self._sealer.open(place_of(name), record.sealed)
        if plain is None or self._sealer.is_current(record.sealed):
            return False
        new = Record(sealed=self._sealer.seal(place_of(name), plain), at=record.at, by=record.by)
        return await self._shelf.put(name, new.encode(), old=data) == "written"  # else somebody has just set it

    def _shown(self, name: str, record: Record) -> Shown:
        plain = self._sealer.open(place_of(name), record.sealed)
        if plain is None:
            return Shown(name, record.at, record.by, "", "unreadable")
        text = plain.decode("utf-8", "replace")
        end = text[-_SHOWN:] if len(text) >= _SHOWN_OF and text.isprintable() else ""
        state = "good" if self._sealer.is_current(record.sealed) else "old key"
        return Shown(name, record.at, record.by, end, state)


def _decoded(data: bytes) -> Record:
    """What is no record is shown as one that cannot be opened."""
    try:
        return decode(data)
    except StoreError:
        return Record(sealed=b"", at=0.0, by="")


def _check(name: str, value: str) -> None:
    if not NAME.fullmatch(name):
        raise NotKept("a name has up to 64 of a-z, 0-9, _ . and -, and begins with a letter or a digit")
    if not value:
        raise NotKept("the credential is empty")
    if len(value) > LONGEST:
        raise NotKept(f"the credential is longer than {LONGEST} characters")
    if "\0" in value or (not value.isprintable() and not value.startswith("{")):
        raise NotKept("a credential is one line of printable characters, or a JSON file")
