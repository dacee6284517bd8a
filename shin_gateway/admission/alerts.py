"""That a budget is half spent, three quarters, nine tenths, all: told once by the script that settled the call."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import NamedTuple

from shin_gateway.units import dollars

log = logging.getLogger(__name__)


class Alert(NamedTuple):
    """As the stream `alerts` holds it (lua/alerts.lua)."""

    budget: str
    subject: str
    money: bool
    """Whether it is about billionths of a dollar, and not about tokens."""
    level: int
    """Per cent."""
    spent: int
    limit: int
    ends: float
    """Unix seconds at which the period ends; for a rolling one, at which what was used now has gone out of it."""

    def __str__(self) -> str:
        spent, limit = shown(self.spent, self.money), shown(self.limit, self.money)
        return f'budget "{self.budget}" of {self.subject}: {spent} of {limit} are spent, {self.level} % or more'


def shown(amount: int, money: bool) -> str:
    """`$19.87` or `1,500,000 tokens`."""
    return dollars(amount) if money else f"{amount:,} tokens"


def parse_alert(fields: Sequence[bytes]) -> Alert:
    """From names and values in turn. Raises KeyError and ValueError for what no script of ours wrote."""
    found = dict(zip(fields[::2], fields[1::2], strict=True))
    name, _, subject = found[b"budget"].decode().partition(":")
    money = is_money(found[b"key"].decode())
    level, spent, limit, ends = (int(found[one]) for one in (b"level", b"spent", b"limit", b"ends"))
    return Alert(name, subject, money, level, spent, limit, ends / 1e6)


def is_money(key: str) -> bool:
    """A budget's key names what it counts: `a:$…` and `w:$…` are money, the others tokens."""
    return key[2:3] == "$"


def tell(alerts: Sequence[Sequence[bytes]]) -> None:
    """Say them in the log, each once."""
    for fields in alerts:
        log.warning("%s", parse_alert(fields))
