"""Ports for servers that have to be told theirs."""

from __future__ import annotations

import itertools
import os
import socket

_FIRST, _EACH, _PROCESSES = 10_240, 2_800, 8
"""Below all ports that a system takes for connections by itself (Linux: 32,768), else one of those may come between the
choice and the use. A node of a Redis cluster listens on its port + 10,000 too, which may happen only there."""

_process = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % _PROCESSES
_ports = itertools.cycle(range(_FIRST + _process * _EACH, _FIRST + (_process + 1) * _EACH))
for _ in range(os.getpid() % _EACH):
    next(_ports)


def free_port() -> int:
    """A port of 127.0.0.1 that nobody uses, and that no other process of this test run is given."""
    return next(port for port in _ports if _is_free(port))


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
