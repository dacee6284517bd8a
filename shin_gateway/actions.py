"""What administrators did: who, what, before, after, when. Kept in the state store, the last `KEPT` of them.

Nothing secret goes in: whoever records something gives what the admin API would show of it.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Mapping
from typing import Any

import msgspec

from shin_gateway.call_keys import VIRTUAL_KEY
from shin_gateway.stores.errors import StoreError
from shin_gateway.stores.state import StateStore

log = logging.getLogger(__name__)

STREAM = "shin:actions"
KEPT = 20_000
LONGEST = 8000
"""Bytes of `before` and of `after`; more is left out."""
PATIENCE = 5.0

_FIELD = "a"
_SECRET = re.compile(rf"{VIRTUAL_KEY}[0-9A-Za-z]+")

Members = Mapping[str, Any]


class Action(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that was done."""

    at: float
    """Unix seconds."""
    who: str
    what: str
    """`key created`, `budget raised`."""
    subject: str = ""
    """What it was done to: a key's id, a budget's name."""
    before: dict[str, Any] | None = None
    """What it was, of that which changed; None where it did not exist."""
    after: dict[str, Any] | None = None
    id: str = ""
    """Given by the store; later actions have later ids."""


async def record(
    state: StateStore, who: str, what: str, before: Members | None, after: Members | None, *, subject: str = ""
) -> None:
    """Keep what was done. It has been done already, so a store that is away is no error: then the log has it."""
    action = Action(at=time.time(), who=who, what=what, subject=subject, before=_short(before), after=_short(after))
    data = _SECRET.sub(f"{VIRTUAL_KEY}…", msgspec.json.encode(action).decode())
    try:
        await state.run_alone("XADD", STREAM, "MAXLEN", "~", KEPT, "*", _FIELD, data, timeout=PATIENCE)
    except StoreError as error:
        log.error("an action could not be kept (%s): %s", error, data)
    else:
        log.info("%s: %s %s", who, what, subject)


async def latest(state: StateStore, limit: int, before: str | None = None) -> list[Action]:
    """The newest first; `before` is the id of an action. Raises StoreError."""
    end = f"({before}" if before else "+"
    entries = await state.run_alone("XREVRANGE", STREAM, end, "-", "COUNT", limit, timeout=PATIENCE)
    return [_action(id, fields) for id, fields in entries]


def difference(before: Members, after: Members) -> tuple[dict[str, Any], dict[str, Any]]:
    """Of both what is not the same in the other."""
    changed = [name for name in {**before, **after} if before.get(name) != after.get(name)]
    return {name: before.get(name) for name in changed}, {name: after.get(name) for name in changed}


def _short(members: Members | None) -> dict[str, Any] | None:
    if members is None or len(msgspec.json.encode(members)) <= LONGEST:
        return None if members is None else dict(members)
    return {"left out": "too long"}


def _action(id: bytes, fields: list[bytes]) -> Action:
    try:
        action = msgspec.json.decode(fields[1], type=Action)
    except (msgspec.DecodeError, IndexError):
        raise StoreError("state store: a recorded action cannot be read") from None
    return msgspec.structs.replace(action, id=id.decode())
