"""Has the kernel keep a process's heap in huge pages (madvise(2), MADV_COLLAPSE; Linux 6.1 and later).

A call touches a little of very much: a thousand functions, types and dictionaries, spread over as many pages. Finding
those costs a worker time that huge pages save: six per cent under a hundred streams (`bench/run --scenarios streams`).
Where a system has none, nothing changes.
"""

from __future__ import annotations

import ctypes
import re
import sys
from collections.abc import Iterator
from pathlib import Path

_COLLAPSE = 25
_HUGE = 2 * 1024 * 1024
"""Bytes of a huge page, on x86-64 and on AArch64 with pages of 4 kB."""
_HEAP = re.compile(r"^(\w+)-(\w+) rw-p \w+ 00:00 0 *(?:\[heap\])?\n(?:(?!Rss:).*\n)*Rss: +(\d+) kB$", re.MULTILINE)


def collapse_heap() -> int:
    """Move what is in memory now into huge pages; takes some tenths of a second, for which a thread will do.

    Returns how many bytes were moved. What cannot be stays where it is.
    """
    if sys.platform != "linux":
        return 0
    try:
        smaps = Path("/proc/self/smaps").read_text()
        madvise = ctypes.CDLL(None, use_errno=True).madvise
    except (OSError, AttributeError):
        return 0
    madvise.argtypes = [ctypes.c_size_t, ctypes.c_size_t, ctypes.c_int]
    return sum(end - start for start, end in _used(smaps) if madvise(start, end - start, _COLLAPSE) == 0)


def _used(smaps: str) -> Iterator[tuple[int, int]]:
    """Where the process's own memory is, from /proc/self/smaps: what is mostly in use, so that no stack of a thread is
    blown up to a huge page."""
    for low, high, resident in _HEAP.findall(smaps):
        start, end = -(-int(low, 16) // _HUGE) * _HUGE, int(high, 16) // _HUGE * _HUGE
        if start < end and int(resident) * 1024 * 2 > int(high, 16) - int(low, 16):
            yield start, end
