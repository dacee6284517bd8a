"""Records that other policies are in force than before, also where the files changed while nothing ran."""

from __future__ import annotations

import logging
import socket
from collections.abc import Iterable

from shin_gateway import actions
from shin_gateway.policy.resolve import PolicySet
from shin_gateway.stores.errors import StoreError
from shin_gateway.stores.state import StateStore

log = logging.getLogger(__name__)

KEPT = 90 * 86400
"""Seconds for which it is remembered what was in force on a machine that is gone."""


async def note(state: StateStore, now: PolicySet, before: PolicySet | None = None) -> None:
    """`before` is what was in force in this process, if anything was. A store that is away is no error."""
    host = socket.gethostname()
    command = ("SET", f"shin:policies:{host}", now.digest, "EX", KEPT, "GET")
    try:
        known: bytes | None = await state.run_alone(*command, timeout=actions.PATIENCE)
    except StoreError as error:
        log.error("policies are now %s; that could not be recorded: %s", now.digest, error)
        return
    if known is None or known.decode() == now.digest:
        return
    after: dict[str, object] = {"digest": now.digest}
    if before is not None:
        after["changed"] = sorted(_changed(before, now))
    await actions.record(state, f"files on {host}", "policies changed", {"digest": known.decode()}, after)


def _changed(before: PolicySet, now: PolicySet) -> Iterable[str]:
    """Names of policies that are new, other or gone."""
    old, new = ({policy.name: policy.digest for policy in one} for one in (before, now))
    return (name for name in old.keys() | new.keys() if old.get(name) != new.get(name))
