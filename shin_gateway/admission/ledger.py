"""The books of the budgets that are in use: read, changed and wiped by administrators, never on the way of a call."""

from __future__ import annotations

import time
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from shin_gateway.admission.alerts import Alert, is_money, parse_alert
from shin_gateway.admission.claims import SLOTS
from shin_gateway.admission.scripts import PREFIX
from shin_gateway.stores.state import StateStore

PATIENCE = 5.0
"""Seconds that one question may take."""
_ALL = f"{PREFIX}budgets"
_RAISED = f"{PREFIX}raised"
_ALERTS = f"{PREFIX}alerts"


@dataclass(frozen=True, slots=True)
class Account:
    """One budget of one subject in the period that runs."""

    key: str
    budget: str
    subject: str
    money: bool
    """Whether amounts are billionths of a US dollar; else they are tokens."""
    rolling: bool
    spent: int
    """Of a rolling budget with what calls under way hold."""
    reserved: int
    policy_limit: int
    """The limit that policies say."""
    limit: int
    """The one that holds: an administrator may have set another."""
    ends: float
    """Unix seconds at which the period ends, or at which what was used last has gone out of a rolling one."""

    @property
    def known_as(self) -> str:
        return f"{self.budget}:{self.subject}"


class Ledger:
    """Every method raises StoreError."""

    def __init__(self, state: StateStore) -> None:
        self._state = state
        script = files("shin_gateway.admission").joinpath("lua", "reset.lua")
        self._reset = state.script(script.read_text("utf-8"))

    async def accounts(self, budget: str = "", subject: str = "") -> list[Account]:
        """Those in use, of one budget or one subject where they are named, by name."""
        now = time.time()
        listed = await self._ask("ZRANGE", _ALL, f"({now * 1e6:.0f}", "+inf", "BYSCORE", "WITHSCORES")
        found = []
        for key, ends in listed:
            account = await self._account(key.decode(), ends / 1e6, now)
            if account and budget in ("", account.budget) and subject in ("", account.subject):
                found.append(account)
        return sorted(found, key=lambda one: (one.budget, one.subject))

    async def _account(self, key: str, ends: float, now: float) -> Account | None:
        kept: dict[bytes, bytes] = await self._ask("HGETALL", f"{PREFIX}{key}")
        if b"n" not in kept:
            return None
        known_as = kept[b"n"].decode()
        budget, _, subject = known_as.partition(":")
        raised = await self._ask("HGET", _RAISED, known_as)
        limit = int(kept.get(b"m", 0))
        rolling = key.startswith("w:")
        spent = _rolled(kept, now) if rolling else int(kept.get(b"s", 0))
        return Account(
            key, budget, subject, is_money(key), rolling, spent, int(kept.get(b"r", 0)), limit,
            int(raised) if raised else limit, ends,
        )  # fmt: skip

    async def set_limit(self, account: Account, limit: int | None) -> None:
        """From now on this subject has another limit, in all later periods too; None: the policies' again."""
        if limit is None:
            await self._ask("HDEL", _RAISED, account.known_as)
        else:
            await self._ask("HSET", _RAISED, account.known_as, limit)

    async def reset(self, account: Account) -> None:
        """Nothing is spent any more. What calls under way hold of a calendar's period stays held."""
        await self._reset([_ALL], [PREFIX, account.key], alone=PATIENCE)

    async def alerts(self, count: int) -> list[tuple[float, Alert]]:
        """The latest first, and when each was told (Unix seconds)."""
        entries = await self._ask("XREVRANGE", _ALERTS, "+", "-", "COUNT", count)
        return [(int(id.partition(b"-")[0]) / 1000, parse_alert(fields)) for id, fields in entries]

    async def _ask(self, *command: str | int) -> Any:
        return await self._state.run_alone(*command, timeout=PATIENCE)


def _rolled(kept: dict[bytes, bytes], now: float) -> int:
    """What the slots of the last so many hours hold."""
    oldest = now * 1e6 // float(kept.get(b"w", b"1")) - SLOTS
    return sum(int(count) for slot, count in kept.items() if slot.isdigit() and int(slot) >= oldest)
