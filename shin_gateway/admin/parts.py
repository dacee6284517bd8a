"""What the admin process stands on: both stores, the policies as they are now, the shipper."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

from shin_gateway.admin import outward, policy_changes
from shin_gateway.admin.late import LateAnalytics
from shin_gateway.assembly import Places, state_url
from shin_gateway.config import Config
from shin_gateway.identity import Identity
from shin_gateway.identity.opening import open_identity
from shin_gateway.keys import Registrar
from shin_gateway.policy.resolve import PolicySet, load_policies
from shin_gateway.policy.watch import PolicyWatcher
from shin_gateway.roles import Roles
from shin_gateway.stores.analytics import Analytics, open_analytics
from shin_gateway.stores.errors import CommandError, StoreError
from shin_gateway.stores.row_queue import STREAM
from shin_gateway.stores.shipper import Shipper
from shin_gateway.stores.state import StateStore

log = logging.getLogger(__name__)

FIRST = 3.0
"""Seconds that an analytics server gets at the start; after that we serve without it."""
LEFT = 5.0
"""Seconds at the end that the rows in the stream get to reach analytics; what is left waits for the next start."""
BATCH = 3.0
"""Seconds after that for the batch at hand."""
CLOSE = 2.0


@dataclass
class Parts:
    """Open from `open_parts` on, until its block ends."""

    state: StateStore
    analytics: Analytics
    policies: PolicySet
    """Those that load now; replaced as a whole when a file changes."""
    shipper: Shipper
    shipping: asyncio.Task[None]
    """Runs until the end. If it ends before, something is wrong with us, not with a store."""
    roles: Roles
    identity: Identity
    """Who asks the admin API, where it is not this machine's owner."""
    registrar: Registrar
    home: Path | None = None
    """Where this installation keeps its files."""

    async def use(self, policies: PolicySet) -> None:
        before, self.policies = self.policies, policies
        await policy_changes.note(self.state, policies, before)


@contextlib.asynccontextmanager
async def open_parts(places: Places, config: Config) -> AsyncIterator[Parts]:
    """Raises StoreError, PolicyErrors, RegistryError, SecretMissing, OSError."""
    registry = places.registry(config)
    policies = load_policies(places.policy_dirs(config), registry)
    async with contextlib.AsyncExitStack() as stack:
        state = await StateStore.connect(state_url(config, places.home))
        stack.push_async_callback(state.close)
        analytics = await _analytics(config, places.home)
        stack.push_async_callback(_close, analytics)
        shipper = Shipper(state, analytics)
        shipping = asyncio.create_task(shipper.run(), name="shipper")
        stack.push_async_callback(_finish, state, shipper, shipping)
        options = outward.options(config, places.home)
        identity = await stack.enter_async_context(open_identity(config, state, options, places.home))
        roles, registrar = Roles.load(config), Registrar(state)
        parts = Parts(state, analytics, policies, shipper, shipping, roles, identity, registrar, places.home)
        await policy_changes.note(state, policies)
        watcher = PolicyWatcher(places.policy_dirs(config), registry, parts.use)
        watcher.start(policies)
        stack.push_async_callback(watcher.stop)
        yield parts


async def _analytics(config: Config, home: Path) -> Analytics:
    """A file that cannot be opened is somebody's mistake; a server that is down comes back."""
    keep = config.log.retention
    if config.stores.analytics is None:
        return await open_analytics(home / "analytics.duckdb", keep=keep)
    where = config.stores.analytics.read()
    if not where.startswith(("clickhouse://", "clickhouses://")):
        return await open_analytics(where, keep=keep)
    late = LateAnalytics(where, keep)
    try:
        async with asyncio.timeout(FIRST):
            await late.open()
    except (TimeoutError, StoreError) as error:
        why = str(error) or f"analytics: no answer in {FIRST:g} s"
        log.error("%s; rows of calls wait in the state store until it is there", why)
    return late


async def _finish(state: StateStore, shipper: Shipper, shipping: asyncio.Task[None]) -> None:
    """Ship what the workers left, as long as it moves and for a few seconds at most."""
    with contextlib.suppress(TimeoutError, StoreError):
        async with asyncio.timeout(LEFT):
            while not shipping.done() and not shipper.trouble and not await all_shipped(state):
                await asyncio.sleep(0.05)
    try:
        async with asyncio.timeout(BATCH):
            await shipper.stop()
    except TimeoutError:
        log.warning("analytics did not take the last batch in time; it waits in the state store")
    shipping.cancel()
    (ended,) = await asyncio.gather(shipping, return_exceptions=True)
    if isinstance(ended, Exception):
        raise ended


async def all_shipped(state: StateStore) -> bool:
    """Whether every row in the stream is in analytics. Raises StoreError."""
    try:
        # Alone: a store that is busy for a quarter of a second is none that is down.
        stream = await state.run_alone("XINFO", "STREAM", STREAM, timeout=LEFT)
        groups = await state.run_alone("XINFO", "GROUPS", STREAM, timeout=LEFT)
    except CommandError:
        return True  # there has never been a row
    newest = stream[b"last-generated-id"]
    if not groups:  # the shipper has yet to look for the first time
        return False
    return all(group[b"last-delivered-id"] == newest and not group[b"pending"] for group in groups)


async def _close(analytics: Analytics) -> None:
    try:
        async with asyncio.timeout(CLOSE):
            await analytics.close()
    except (TimeoutError, StoreError) as error:
        log.warning("analytics did not close in order: %s", str(error) or "no answer in time")
