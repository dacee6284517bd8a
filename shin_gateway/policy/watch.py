"""Watches policy files: a good change swaps in, a bad one keeps the last good policies and says why."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import logging
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

from shin_gateway.policy.files import PRESETS, yaml_files
from shin_gateway.policy.positions import PolicyErrors
from shin_gateway.policy.resolve import PolicySet, load_policies
from shin_gateway.registry import Registry, bundled

log = logging.getLogger(__name__)

Snapshot = dict[str, tuple[int, int, int]]
"""Change time, size and inode of each file; enough to see every save, also by renaming or through a symlink."""


class PolicyWatcher:
    """Polls once in `every` seconds; `on_change` gets each new set that loaded and differs from the last one."""

    def __init__(
        self,
        dirs: Sequence[Path],
        registry: Registry,
        on_change: Callable[[PolicySet], Awaitable[None] | None],
        *,
        base: Path | None = None,
        every: float = 1.0,
    ) -> None:
        self._dirs = list(dirs)
        self._watched = [*dirs, base or bundled("policies")]
        self._registry = registry
        self._on_change = on_change
        self._base = base
        self._every = every
        self._digest = ""
        self._wrong = False
        """Whether the files were wrong when they were last loaded."""
        self._loading = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None
        # Unknown at first, so that a change between loading and watching is not lost.
        self._loaded: Snapshot | None = None

    def start(self, current: PolicySet) -> None:
        """Begin to watch; `current` is what runs now."""
        self._digest = current.digest
        self._task = asyncio.create_task(self._watch(), name="policy watcher")

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def reload(self) -> bool:
        """Load now (SIGHUP). False when the files are wrong and the last good policies stay."""
        async with self._loading:
            loaded = await self._load()
            if loaded and self._wrong:
                log.info("policies are right again")
            self._wrong = not loaded
            return loaded

    async def _load(self) -> bool:
        self._loaded = snapshot(self._watched)
        try:
            # Parsing is slow and calls are in flight, so it does not run on the loop.
            policies = await asyncio.to_thread(load_policies, self._dirs, self._registry, self._base)
        except PolicyErrors as error:
            return _kept(f"policies are wrong:\n{error}")
        except Exception:  # whatever somebody has written, the next version is looked at too
            log.exception("policies could not be read")
            return _kept("policies cannot be read")
        return await self._swap(policies)

    async def _swap(self, policies: PolicySet) -> bool:
        if policies.digest == self._digest:
            return True
        try:
            done = self._on_change(policies)
            if inspect.isawaitable(done):
                await done
        except Exception as error:
            return _kept(f"policies do not start: {error}")
        self._digest = policies.digest
        log.info("policies reloaded: %s", policies.digest)
        return True

    async def _watch(self) -> None:
        before = snapshot(self._watched)
        while True:
            await asyncio.sleep(self._every)
            now = snapshot(self._watched)
            # Loads only what stood still for one round: half of a file that is being written may parse, without
            # its guards.
            if now == before and now != self._loaded:
                await self.reload()
            before = now


def snapshot(dirs: Sequence[Path]) -> Snapshot:
    """The state of every policy file below these folders."""
    seen: Snapshot = {}
    for folder in dirs:
        for path in [*yaml_files(folder), *yaml_files(folder / PRESETS)]:
            with contextlib.suppress(OSError):
                stat = path.stat()
                seen[str(path)] = (stat.st_mtime_ns, stat.st_size, stat.st_ino)
    return seen


def _kept(why: str) -> bool:
    log.error("%s\nthe last good policies stay in force", why)
    return False
