"""A worker's heap in huge pages: what is moved, and that the process is none the worse for it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from shin_gateway import huge_pages

SMAPS = """\
55d000000000-55d000100000 r-xp 00000000 fe:00 1234                       /usr/bin/python3
Size:               1024 kB
Rss:                1024 kB
55d001000000-55d001f00000 rw-p 00000000 00:00 0                          [heap]
Size:              15360 kB
KernelPageSize:        4 kB
Rss:               15000 kB
7f0000000000-7f0000800000 rw-p 00000000 00:00 0 
Size:               8192 kB
Rss:                  40 kB
7f0001000000-7f0001400000 rw-p 00000000 00:00 0 
Size:               4096 kB
Rss:                4096 kB
7f0002000000-7f0002100000 rw-p 00000000 00:00 0 
Size:               1024 kB
Rss:                1024 kB
7f0003000000-7f0003400000 rw-s 00000000 00:01 77                         /dev/zero (deleted)
Size:               4096 kB
Rss:                4096 kB
7ffd00000000-7ffd00400000 rw-p 00000000 00:00 0                          [stack]
Size:               4096 kB
Rss:                4096 kB
"""  # noqa: W291 - as the kernel writes it

GROWN = """
from shin_gateway.huge_pages import collapse_heap

def huge():
    with open("/proc/self/smaps_rollup") as rollup:
        return next(int(line.split()[1]) for line in rollup if line.startswith("AnonHugePages"))

kept = [bytes([number % 251]) * 400 for number in range(100_000)]
before, moved, after = huge(), collapse_heap(), huge()
assert all(one == bytes([number % 251]) * 400 for number, one in enumerate(kept))
print(moved, after - before)
"""


def test_what_is_in_use_and_the_process_s_own() -> None:
    """No code, no stack, nothing shared, nothing that is mostly empty or smaller than a huge page."""
    assert list(huge_pages._used(SMAPS)) == [(0x55D001000000, 0x55D001E00000), (0x7F0001000000, 0x7F0001400000)]


@pytest.mark.skipif(not Path("/proc/self/smaps").exists(), reason="Linux alone has /proc")
def test_a_grown_heap_is_moved_and_stays_as_it_was() -> None:
    found = subprocess.run([sys.executable, "-c", GROWN], capture_output=True, text=True, check=True, timeout=60)
    moved, more = map(int, found.stdout.split())
    if not moved:
        pytest.skip("this kernel has no huge pages to give")
    assert more * 1024 >= moved - 4_000_000


def test_elsewhere_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    assert huge_pages.collapse_heap() == 0
