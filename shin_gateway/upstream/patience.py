"""Bounds waits that come one after the other, with one timer for all of them."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Self


class Patience:
    """As `asyncio.timeout` for each wait: a `with` block that raises TimeoutError.

    A stream waits for every one of its parts, and hardly ever for too long. Setting a timer for each and taking it back
    costs more than reading the part does, so this one stays set from wait to wait and looks at the clock when it rings.
    """

    __slots__ = ("_cancelling", "_loop", "_rang", "_task", "_timer", "_until")

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._until = 0.0
        self._task: asyncio.Task[object] | None = None
        """Who waits; None between two waits."""
        self._cancelling = 0
        self._rang = False

    def lasting(self, seconds: float) -> Self:
        """What to enter: the wait that now begins may take this long."""
        self._until = self._loop.time() + seconds
        if self._timer is None or self._timer.when() > self._until:
            self._set()
        return self

    def __enter__(self) -> None:
        task = self._task = asyncio.current_task()
        assert task is not None
        self._cancelling = task.cancelling()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        task, self._task = self._task, None
        if not self._rang:
            return
        self._rang = False
        assert task is not None
        if task.uncancel() <= self._cancelling and kind is asyncio.CancelledError:
            raise TimeoutError from error

    def end(self) -> None:
        """Let the wait at hand, if any, take no longer."""
        if self._task is not None and not self._rang:
            self._rang = True
            self._task.cancel()

    def close(self) -> None:
        """No more waits."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _set(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_at(self._until, self._look)

    def _look(self) -> None:
        self._timer = None
        if self._task is None:  # the next wait sets it again
            return
        if self._loop.time() < self._until:
            self._set()
        else:
            self.end()
