"""Try again what failed by accident, before the client has seen anything of the reply.

Connection errors, a first part that never comes, the statuses of the settings, and a stream that
begins with such an error. The reply's head is held until its first part, so nothing is ever sent twice.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Annotated

from pydantic import Field

from shin_gateway.addon import Addon, Forward, Mode, Services, Settings, Stage
from shin_gateway.call import Call
from shin_gateway.errors import Refusal, UpstreamFailed, UpstreamTimeout
from shin_gateway.reply import Reply
from shin_gateway.units import Duration

_NOT_CONNECTED = frozenset({"upstream_unreachable", "connect_timeout"})
"""After these the provider has not seen the call, so that files, batches and images can be sent again too."""
_ONCE = frozenset({"image", "file", "batch", "other"})
"""Kinds of calls that cost too much, or leave too much behind, to be made twice."""
_LASTING = frozenset({"upstream_unverified", "upstream_proxy_refused"})
_SPENT = (b"insufficient_quota", b"billing_hard_limit_reached")
"""What a 429 says when the account is empty: waiting does not fill it."""

Status = Annotated[int, Field(ge=401, le=599)]


class RetrySettings(Settings):
    attempts: Annotated[int, Field(ge=1, le=10)] = 3
    """Attempts in all, the first included."""
    statuses: frozenset[Status] = frozenset({408, 409, 429, 500, 502, 503, 504, 529})
    """Statuses of a reply that are worth another attempt. 400 never is."""
    first_wait: Duration = 0.5
    """The longest wait before the second attempt; the real one is a random part of it."""
    factor: Annotated[float, Field(ge=1, le=10)] = 2.0
    """How much longer each further wait may be."""
    longest_wait: Duration = 20.0
    """What waits grow to at most."""
    max_retry_after: Duration = 30.0
    """A provider that asks for a longer wait is obeyed by the client: it gets the reply as it is."""
    budget: Annotated[float, Field(ge=0, le=1)] = 0.2
    """Retries for each call, over all calls of the policy, so that an outage is not multiplied. Ten retries in ten
    seconds are always allowed."""


@dataclass(frozen=True, slots=True)
class _Trouble:
    """Why an attempt failed, and when the provider wants the next one at the soonest (seconds, None: not said)."""

    what: str
    retryable: bool
    retry_after: float | None = None


class Retry(Addon[RetrySettings]):
    stage = Stage.ROUTE

    def __init__(self, settings: RetrySettings, services: Services, mode: Mode = "enforce") -> None:
        super().__init__(settings, services, mode)
        self._budget = Budget(settings.budget)

    async def handle(self, call: Call, forward: Forward) -> Reply:
        self._budget.earn()
        number = 1
        while True:
            started = time.monotonic()
            reply, refusal = await _attempt(call, forward)
            trouble = self._trouble_of_reply(call, reply) if reply else _trouble_of(call, refusal)
            if (trouble or number > 1) and call.outcome.attempts:
                _note(call, number, trouble.what if trouble else str(reply and reply.status), started)
            wait = self._wait(call, number, trouble) if trouble else None
            if wait is None:
                return _result(reply, refusal)
            if reply is not None:
                reply.close()
            await asyncio.sleep(wait)
            number += 1

    def _wait(self, call: Call, number: int, trouble: _Trouble) -> float | None:
        """Seconds until the next attempt; None when there is to be none."""
        settings = self.settings
        if not trouble.retryable or number >= settings.attempts:
            return None
        asked = trouble.retry_after
        if asked is not None and asked > settings.max_retry_after:
            call.note(retry="retry_after_too_long")
            return None
        if asked is None:
            longest = min(settings.longest_wait, settings.first_wait * settings.factor ** (number - 1))
            wait = random.uniform(0, longest)
        else:
            wait = asked * random.uniform(1, 1.1)  # all who were turned away together shall not come back together
        if call.outcome.timings.total + wait >= call.policy.timeouts.total:
            call.note(retry="out_of_time")
            return None
        if not self._budget.spend():
            call.note(retry="budget_spent")
            return None
        return wait

    def _trouble_of_reply(self, call: Call, reply: Reply) -> _Trouble | None:
        if reply.failure is not None:
            failure = reply.failure
            retryable = failure.retryable and failure.status in self.settings.statuses and call.kind not in _ONCE
            return _Trouble(f"{failure.status} {failure.type[:40]}", retryable, failure.retry_after)
        if reply.status < 400:
            return None
        retryable = reply.status in self.settings.statuses and call.kind not in _ONCE and not _is_final(reply)
        return _Trouble(str(reply.status), retryable, retry_after(reply.headers, datetime.now(UTC)))


async def _attempt(call: Call, forward: Forward) -> tuple[Reply | None, Refusal | None]:
    try:
        return await forward(call), None
    except Refusal as refusal:
        return None, refusal


def _result(reply: Reply | None, refusal: Refusal | None) -> Reply:
    if refusal is not None:
        raise refusal
    assert reply is not None
    return reply


def _trouble_of(call: Call, refusal: Refusal | None) -> _Trouble:
    assert refusal is not None
    accident = isinstance(refusal, UpstreamFailed | UpstreamTimeout) and refusal.retryable
    fitting = refusal.code in _NOT_CONNECTED if call.kind in _ONCE else refusal.code not in _LASTING
    return _Trouble(f"{refusal.status} {refusal.code}", accident and fitting, refusal.retry_after)


def _is_final(reply: Reply) -> bool:
    if reply.headers.get("x-should-retry", "").strip().lower() == "false":
        return True
    return reply.status == 429 and any(word in reply.raw_body for word in _SPENT)


def _note(call: Call, number: int, what: str, started: float) -> None:
    call.note(**{f"attempt.{number}": f"{what} {(time.monotonic() - started) * 1000:.0f}ms"})


def retry_after(headers: Mapping[str, str], now: datetime) -> float | None:
    """Seconds that a reply asks to wait (RFC 9110 §10.2.3, and `retry-after-ms`); None where it says none."""
    seconds = _number(headers.get("retry-after-ms"))
    if seconds is not None:
        return seconds / 1000
    value = headers.get("retry-after")
    seconds = _number(value)
    if seconds is not None or value is None:
        return seconds
    try:
        at = parsedate_to_datetime(value)
    except (ValueError, OverflowError):
        return None
    return max(0.0, (at.replace(tzinfo=at.tzinfo or UTC) - now).total_seconds())


def _number(value: str | None) -> float | None:
    try:
        number = float(value or "")
    except ValueError:
        return None
    return number if 0 <= number < 1e9 else None


class Budget:
    """Each call earns a share of a retry. Beside that one is granted a second, ten at most."""

    GRANT = 10.0
    MOST = 100.0

    def __init__(self, share: float) -> None:
        self._share = share
        self._earned = 0.0
        self._granted = self.GRANT
        self._at = time.monotonic()

    def earn(self) -> None:
        self._earned = min(self.MOST, self._earned + self._share)

    def spend(self) -> bool:
        """Take one retry; whether there was one left."""
        now = time.monotonic()
        self._granted = min(self.GRANT, self._granted + now - self._at)
        self._at = now
        if self._earned >= 1:
            self._earned -= 1
        elif self._granted >= 1:
            self._granted -= 1
        else:
            return False
        return True
