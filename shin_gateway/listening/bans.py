"""Addresses that try key after key are told to wait.

A ban only slows guessing: while it lasts, what an address sends is answered without a look-up, except for keys that
were right here lately. So people behind the same address (NAT) go on working. In memory, of each worker by itself.
"""

from __future__ import annotations

import time
from collections import OrderedDict, deque
from collections.abc import Callable

from shin_gateway.call import Call
from shin_gateway.call_keys import credential
from shin_gateway.errors import RateLimited, Refusal, Unauthenticated
from shin_gateway.listening.limits import BanSettings
from shin_gateway.listening.peers import is_own, neighbourhood
from shin_gateway.outcome import Outcome

SAID = "Too many wrong keys came from this address."

MOST = 10_000
"""Addresses, and right keys, that are remembered; the oldest are forgotten."""


class Bans:
    """Who has tried too often."""

    def __init__(self, settings: BanSettings, clock: Callable[[], float] = time.monotonic) -> None:
        self._settings = settings
        self._clock = clock
        self._tries: OrderedDict[str, deque[float]] = OrderedDict()
        self._until: OrderedDict[str, float] = OrderedDict()
        self._right: OrderedDict[int, None] = OrderedDict()

    def concerns(self, ip: str) -> bool:
        """Whether this address can be banned at all."""
        return self._settings.after > 0 and (self._settings.loopback or not is_own(ip))

    def note_bad_key(self, ip: str) -> None:
        """A key was shown that is none of ours, or the wrong one. A request without any is no guess."""
        if not self.concerns(ip):
            return
        now, one = self._clock(), neighbourhood(ip)
        tries = self._tries.setdefault(one, deque(maxlen=self._settings.after))
        self._tries.move_to_end(one)
        tries.append(now)
        if len(tries) == self._settings.after and now - tries[0] <= self._settings.within:
            del self._tries[one]
            _remember(self._until, one, now + self._settings.lasts)
        _trim(self._tries)

    def note_good_key(self, ip: str, secret: str) -> None:
        """A key was right: it is let through, should its address be banned. Kept as a hash that only this process
        can make, and only as a reason to look the key up."""
        if secret and self.concerns(ip):
            _remember(self._right, hash(secret), None)

    def wait(self, ip: str) -> float:
        """Seconds that this address still has to wait; 0 where it is not banned."""
        if not self._until:
            return 0.0
        one = neighbourhood(ip)
        until = self._until.get(one)
        if until is None:
            return 0.0
        left = until - self._clock()
        if left <= 0:
            del self._until[one]
        return max(0.0, left)

    def is_banned(self, ip: str, secret: str = "") -> bool:
        """Whether what comes from here, with this key, is to be refused without a look-up."""
        return bool(self._until) and self.wait(ip) > 0 and not (secret and hash(secret) in self._right)

    def check(self, ip: str, secret: str) -> None:
        """Raises RateLimited where this key is not to be looked up. A request without any is no guess."""
        if secret and self.is_banned(ip, secret):
            refusal = RateLimited(SAID, code="banned", retry_after=self.wait(ip))
            refusal.retryable = False
            raise refusal

    def guard(self, call: Call, ip: str) -> None:
        """Refuse a call that shows a key from a banned address; hear how any other ends."""
        if not self.concerns(ip):
            return
        secret = credential(call.headers, call.path)
        try:
            self.check(ip, secret)
        except RateLimited as refusal:
            call.refusal = refusal
            return
        if secret:
            call.on_end(lambda _, outcome: self._heard(ip, secret, outcome))

    def note_refusal(self, ip: str, secret: str, refusal: Refusal) -> None:
        """Where it is one of a wrong key."""
        if secret and isinstance(refusal, Unauthenticated):
            self.note_bad_key(ip)

    def _heard(self, ip: str, secret: str, outcome: Outcome) -> None:
        if outcome.end == "refused" and outcome.cause == Unauthenticated.code:
            self.note_bad_key(ip)
        elif outcome.end == "completed":
            self.note_good_key(ip, secret)


def _remember[K, V](kept: OrderedDict[K, V], key: K, value: V) -> None:
    kept[key] = value
    kept.move_to_end(key)
    _trim(kept)


def _trim[K, V](kept: OrderedDict[K, V]) -> None:
    while len(kept) > MOST:
        kept.popitem(last=False)
