"""An access token: fetched when the first call needs it, again before it expires, by nobody twice at once.

A token server that fails costs nothing while the token at hand is good. After that calls are refused at once, and it is
asked again with growing pauses.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import random
import time
from collections.abc import Awaitable, Callable
from contextvars import Context
from dataclasses import dataclass, field

from shin_gateway.errors import Refusal, Unavailable, UpstreamTimeout
from shin_gateway.provider_keys.answers import NoToken, granted
from shin_gateway.provider_keys.grants import Form, Grant
from shin_gateway.secret import FetchedSecret, SecretMissing

log = logging.getLogger(__name__)

Ask = Callable[[Form], Awaitable[tuple[int, bytes]]]
"""Posts a form; gives status and body. Raises UpstreamFailed, UpstreamTimeout, and TooLarge for a body that is."""

PATIENCE = 10.0
"""Seconds that a token server has to answer."""
RENEWED = (0.70, 0.85)
"""Shares of a token's life after which the next is fetched: any between them, so that workers do not ask at once."""
MARGIN = (0.1, 30.0)
"""Share of its life, and seconds at most, before its end in which a token is used no more: calls take their time."""
PAUSES = (1.0, 60.0)
"""Seconds after a failure before the server is asked again: the first time, and at most."""
DOUBTED = 10.0
"""Seconds for which another refused token is no reason to fetch one."""


@dataclass(frozen=True)
class _Token:
    value: str = field(repr=False)
    ends: float
    """Monotonic."""


class FetchedToken(FetchedSecret):
    """The token for one provider, for one worker."""

    def __init__(self, provider: str, grant: Grant, ask: Ask | None) -> None:
        """`ask`: None where there is nothing to ask with."""
        self._provider = provider
        self._grant = grant
        self._ask = ask
        self._token: _Token | None = None
        self._fetching: asyncio.Task[None] | None = None
        self._next: asyncio.TimerHandle | None = None
        self._used = False
        """Since it was fetched."""
        self._stale = False
        """Whether the next call waits for another, though this one is good by its time."""
        self._doubted = float("-inf")
        self._why = NoToken("none was fetched")
        self._failures = 0
        self._again = float("-inf")
        self._failed_with = b""

    def read(self) -> str:
        if self._token is None or time.monotonic() >= self._token.ends:
            raise SecretMissing(f"{self} has no token")
        return self._token.value

    def present(self) -> bool:
        try:
            return bool(self._grant.secret.read_text())
        except SecretMissing:
            return False

    def lasting(self) -> str:
        return self._grant.secret.read_text()

    def __str__(self) -> str:
        return f"oauth with {self._grant.secret}"

    async def ready(self) -> None:
        self._used = True
        if self._is_good and not self._stale:
            return
        if self._fetching is None and (time.monotonic() >= self._again or self._has_changed()):
            self._begin()
        if self._fetching is not None:
            await asyncio.wait([self._fetching])
        if not self._is_good:
            raise self._refusal()

    def refused(self) -> None:
        now = time.monotonic()
        if self._token is None or now < self._doubted + DOUBTED:
            return
        self._doubted, self._stale = now, True
        log.warning("the provider %s refused its token; another is fetched", self._provider)
        if self._fetching is None:
            self._begin()

    def close(self) -> None:
        """Fetch nothing more."""
        if self._next is not None:
            self._next.cancel()
        if self._fetching is not None:
            self._fetching.cancel()

    def _has_changed(self) -> bool:
        """Whether the secret behind it is another than the one that was of no use."""
        return self._print() != self._failed_with

    def _print(self) -> bytes:
        try:
            return hashlib.sha256(self.lasting().encode()).digest()
        except SecretMissing:
            return b""

    @property
    def _is_good(self) -> bool:
        return self._token is not None and time.monotonic() < self._token.ends

    def _begin(self) -> None:
        if self._next is not None:
            self._next.cancel()
        context = Context()  # it belongs to no call
        fetching = asyncio.get_running_loop().create_task(
            self._fetch(), name=f"token for {self._provider}", context=context
        )
        self._fetching = None if fetching.done() else fetching  # tasks are eager: it may have failed already

    async def _fetch(self) -> None:
        began = time.monotonic()
        try:
            async with asyncio.timeout(PATIENCE):
                form = await self._grant.form()
                if self._ask is None:
                    raise NoToken("only a gateway that runs fetches tokens")
                answer = granted(*await self._ask(form))
        except (NoToken, SecretMissing, Refusal, TimeoutError) as error:
            self._failed(_reason(error))
        except Exception as error:  # whatever it says may have a secret in it
            self._failed(NoToken(f"it could not be fetched ({type(error).__name__})"))
        else:
            self._got(answer.token, answer.life, began)
        finally:
            self._fetching = None

    def _got(self, token: str, life: float, began: float) -> None:
        share, most = MARGIN
        self._token = _Token(token, began + life - min(life * share, most))
        self._stale = self._used = False
        self._failures = 0
        self._again = float("-inf")
        self._fetch_in(life * random.uniform(*RENEWED))

    def _failed(self, why: NoToken) -> None:
        first, most = PAUSES
        pause = min(most, first * 2.0**self._failures) * random.uniform(0.75, 1.25)
        self._failures = min(self._failures + 1, 16)
        self._why, self._again, self._stale = why, time.monotonic() + pause, False
        self._failed_with = self._print()
        log.warning("no token for the provider %s: %s", self._provider, why)
        if self._is_good:
            self._used = True  # or the one at hand would run out
            self._fetch_in(pause)

    def _fetch_in(self, seconds: float) -> None:
        self._next = asyncio.get_running_loop().call_later(seconds, self._renew)

    def _renew(self) -> None:
        """Where no call has come since the last time, the next one will fetch it."""
        if self._used and self._fetching is None:
            self._begin()

    def _refusal(self) -> Unavailable:
        message = f"The gateway has no token for the provider {self._provider}: {self._why}."
        if self._why.final:  # waiting does not mend it; a verdict, since agents retry a 503 and hide what it says
            refusal = Unavailable(message, code="no_credential", status=400)
            refusal.retryable = False
            return refusal
        return Unavailable(message, code="no_token", retry_after=max(1.0, self._again - time.monotonic()))


def _reason(error: Exception) -> NoToken:
    match error:
        case NoToken():
            return error
        case SecretMissing():
            return NoToken(str(error), final=True)
        case TimeoutError() | UpstreamTimeout():
            return NoToken("the token server did not answer in time")
        case Refusal(code="upstream_unverified"):
            return NoToken("the token server's certificate could not be verified", final=True)
        case Refusal(code="too_large"):
            return NoToken("the token server answered with more than a token")
    return NoToken("the token server could not be reached")
