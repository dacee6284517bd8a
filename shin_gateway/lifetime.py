"""How a child of the supervisor begins and ends: says when it is ready, goes when its parent goes."""

from __future__ import annotations

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def die_with_parent() -> None:
    """Have the kernel send SIGTERM to this process when the supervisor is gone, however it went (Linux only)."""
    parent = os.getppid()
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:
            sys.exit(1)


def say_ready(descriptor: int) -> None:
    """Tell the supervisor, who reads the other end of this pipe, that the ports are open."""
    os.write(descriptor, b"ready\n")
    os.close(descriptor)
