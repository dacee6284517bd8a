"""Work on long bodies, which would hold the event loop, done in a thread."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

AT_ONCE = 64_000
"""Bytes of a body that is worked on at once, on the event loop, in a millisecond."""


async def off_loop[T](size: int, work: Callable[[], T]) -> T:
    """What `work` gives; in a thread where it is about more than a few `size` bytes."""
    return work() if size <= AT_ONCE else await asyncio.to_thread(work)
