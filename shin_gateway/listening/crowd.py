"""How many connections are open, in all and of each address."""

from __future__ import annotations

from collections import Counter

from shin_gateway.listening.limits import ListenLimits
from shin_gateway.listening.peers import is_own, neighbourhood


class Crowd:
    """Bounded by what it bounds: no more addresses than connections."""

    def __init__(self, limits: ListenLimits) -> None:
        self._most = limits.connections
        self._most_of_one = limits.connections_per_ip
        self._of: Counter[str] = Counter()
        self.count = 0

    def enter(self, ip: str) -> str:
        """ "" where the connection may stay, else why not. It counts until it leaves, either way."""
        one = neighbourhood(ip)
        self.count += 1
        self._of[one] += 1
        if self.count > self._most:
            return "too many connections"
        if self._of[one] > self._most_of_one and not is_own(ip):
            return "too many connections of one address"
        return ""

    def leave(self, ip: str) -> None:
        one = neighbourhood(ip)
        self.count -= 1
        self._of[one] -= 1
        if self._of[one] <= 0:
            del self._of[one]
