"""How a child of the supervisor begins and ends: says when it is ready, goes when its parent goes."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1

READY = "ready\n"
"""What the supervisor waits for on the pipe; anything else is why the child does not start."""


def die_with_parent() -> None:
    """Have the kernel send SIGTERM to this process when the supervisor is gone, however it went (Linux only)."""
    parent = os.getppid()
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:
            sys.exit(1)


def say_ready(descriptor: int) -> None:
    """Tell the supervisor, who reads the other end of this pipe, that the ports are open."""
    _say(descriptor, READY)


def say_failed(descriptor: int, why: str) -> None:
    """Tell the supervisor why nothing will be open: it says so once, however many children fail for it."""
    _say(descriptor, why)


def _say(descriptor: int, words: str) -> None:
    with contextlib.suppress(BrokenPipeError):  # its parent will be gone in a moment too
        os.write(descriptor, words.encode(errors="replace")[:4096])
    os.close(descriptor)
