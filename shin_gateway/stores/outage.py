"""Says once that a store cannot be asked, and once that it can again: not for every call."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

log = logging.getLogger(__name__)

QUIET = 30.0
"""Seconds without a failure after which an outage is over. A store that fails for some and answers others is in one."""


class Outage:
    """`what` begins the line: `limits cannot be asked`."""

    def __init__(self, what: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._what = what
        self._clock = clock
        self._calls = 0
        self._began = self._last = 0.0

    def failed(self, error: Exception) -> None:
        self._last = self._clock()
        self._calls += 1
        if self._calls == 1:
            self._began = self._last
            log.warning("%s: %s", self._what, error)

    def answered(self) -> None:
        if not self._calls or self._clock() - self._last < QUIET:
            return
        log.warning("%s: over after %.0f s and %d times", self._what, self._last - self._began, self._calls)
        self._calls = 0
