"""Work on a body that does not hold up other calls."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

AT_ONCE = 256_000
"""Bytes that are read on the event loop, in about a millisecond; more in a thread."""


async def aside[T](body: bytes, work: Callable[[bytes], T]) -> T:
    """`work(body)`, with its exceptions."""
    return work(body) if len(body) <= AT_ONCE else await asyncio.to_thread(work, body)
