"""Calls of this worker that wait for a place, and how it hears that one has got it.

Whoever gives a place to a call of ours puts its name on our list in the store. One blocking read waits for that, for as
long as anybody waits. As a word may be lost, the store is asked every few seconds what became of them all.
"""

from __future__ import annotations

import asyncio
import logging
from itertools import batched

from shin_gateway.admission import scripts
from shin_gateway.stores.errors import StoreError
from shin_gateway.stores.state import StateStore

log = logging.getLogger(__name__)

CHECK = 2.0
"""Seconds between two questions after what may have been missed."""
_TRIES = 2
"""Questions in a row without an answer, after which those who wait are told that the store is away."""
_AT_ONCE = 200
_EARLY = 1000
_PATIENCE = 1.0
"""Seconds that a blocking read may take beyond its own time."""


class Waiting:
    """One worker's."""

    def __init__(self, state: StateStore, worker: str) -> None:
        self._state = state
        self._worker = worker
        self._key = f"{scripts.PREFIX}wake:{worker}"
        self._look = state.script(scripts.load("queue"))
        self._calls: dict[str, asyncio.Future[None]] = {}
        self._early: set[str] = set()
        """Who got a place before we knew that they wait for one."""
        self._listening: asyncio.Task[None] | None = None

    async def close(self) -> None:
        if self._listening is not None:
            self._listening.cancel()
            await asyncio.gather(self._listening, return_exceptions=True)

    async def turn(self, name: str, seconds: float) -> int:
        """Until the reservation `name` has its places: 0; else where it stands when its time is over.

        Raises StoreError when nobody knows.
        """
        if name in self._early:
            self._early.discard(name)
            return 0
        called = self._calls[name] = asyncio.get_running_loop().create_future()
        self._listen()
        try:
            async with asyncio.timeout(seconds):
                await called
        except TimeoutError:
            return await self._place(name)
        finally:
            self._calls.pop(name, None)
        return 0

    async def _place(self, name: str) -> int:
        (place,) = await self._look([self._key], [scripts.PREFIX, self._worker, name])
        if place < 0:
            raise StoreError("a reservation was let go of")
        return int(place)

    def _listen(self) -> None:
        if self._listening is None or self._listening.done():
            self._listening = asyncio.create_task(self._hear(), name="queue")

    async def _hear(self) -> None:
        loop = asyncio.get_running_loop()
        due, failures = loop.time() + CHECK, 0
        while self._calls or loop.time() < due:  # the next who waits comes soon
            try:
                await self._next(CHECK)
                if loop.time() >= due:
                    await self._check()
                    due, failures = loop.time() + CHECK, 0
            except StoreError as error:
                failures += 1
                if failures >= _TRIES:
                    self._fail(error)
                    return
                await asyncio.sleep(CHECK / 4)
            except Exception:  # or all would wait for as long as they may
                log.exception("the queue of calls cannot be followed")
                self._fail(StoreError("the queue of calls cannot be followed"))
                return

    async def _next(self, seconds: float) -> None:
        found = await self._state.run_alone("BLPOP", self._key, seconds, timeout=seconds + _PATIENCE)
        if found is None:
            return
        self._call(found[1].decode())
        for name in await self._state.run("LPOP", self._key, _AT_ONCE) or ():
            self._call(name.decode())

    async def _check(self) -> None:
        for names in batched(list(self._calls), _AT_ONCE):
            places = await self._look([self._key], [scripts.PREFIX, self._worker, *names])
            for name, place in zip(names, places, strict=True):
                if place == 0:
                    self._call(name)
                elif place < 0:
                    self._lose(name, StoreError("a reservation was let go of"))

    def _call(self, name: str) -> None:
        called = self._calls.get(name)
        if called is None:
            if len(self._early) >= _EARLY:
                self._early.clear()  # of calls that have left; what was meant for others, the next check finds
            self._early.add(name)
        elif not called.done():
            called.set_result(None)

    def _lose(self, name: str, error: StoreError) -> None:
        called = self._calls.get(name)
        if called is not None and not called.done():
            called.set_exception(error)

    def _fail(self, error: StoreError) -> None:
        if self._calls:
            log.warning("%s; %d calls wait for places no longer", error, len(self._calls))
        for name in list(self._calls):
            self._lose(name, error)
