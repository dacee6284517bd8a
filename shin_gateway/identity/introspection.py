"""Tokens that say nothing themselves: the server that made them is asked (OAuth 2.0 Token Introspection, RFC 7662).

Its answer holds for a short while. While it cannot be asked, such tokens let nobody in. It is never asked about what
looks like a provider's key: that would hand the key to it.
"""

from __future__ import annotations

import asyncio
import fnmatch
import logging
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from shin_gateway.auth_settings import IntrospectionSettings
from shin_gateway.caller import Caller
from shin_gateway.client_login import basic
from shin_gateway.errors import Unauthenticated, Unavailable
from shin_gateway.fetching.servers import Answer, ServerFailed
from shin_gateway.identity import jwt
from shin_gateway.identity.claims import caller_from
from shin_gateway.identity.remembered import Remembered, digest_of
from shin_gateway.identity.strict_json import read_object
from shin_gateway.secret import SecretMissing

log = logging.getLogger(__name__)

REFUSED_FOR = 3.0
"""Seconds for which a token that was refused is not asked about again."""
AT_ONCE = 200
"""Tokens that may be asked about at the same time."""
FAILURES, PAUSE = 3, 2.0
"""After so many failures in a row the server is left alone, for so many seconds."""
SHORTEST = 8
"""Characters of a token (RFC 6750 §2.1 has no bound; nobody makes shorter ones)."""
_VISIBLE = re.compile(r"[\x21-\x7e]+")


class Asks(Protocol):
    """What is used of `fetching.servers.ServerClient`."""

    async def post(self, url: str, form: Mapping[str, str], headers: Mapping[str, str] | None = None) -> Answer: ...


@dataclass(frozen=True, slots=True)
class _Known:
    """What the server said; `refusal` instead of a caller where it was no."""

    caller: Caller | None
    refusal: str
    holds: tuple[float, float]
    """Of the token itself, in seconds since 1970."""
    until: float
    """In the loop's time."""


class Introspection:
    """One server that knows tokens. `clock` is the time of day."""

    def __init__(self, settings: IntrospectionSettings, client: Asks, clock: Callable[[], float] = time.time) -> None:
        self._settings = settings
        self._client = client
        self._clock = clock
        self._skip = re.compile("|".join(map(fnmatch.translate, settings.skip)) or r"(?!)")
        self._remembered: Remembered[_Known] = Remembered()
        self._asking: dict[bytes, asyncio.Task[_Known]] = {}
        self._failures = 0
        self._pause_until = float("-inf")

    async def caller_of(self, secret: str) -> Caller | None:
        """Whose token it is; None for what is not asked about: JWTs, keys of providers, what can be no token.

        Raises Unauthenticated for what the server does not know or no longer, Unavailable where it cannot be asked.
        """
        if not self._is_asked_about(secret):
            return None
        digest = digest_of(secret)
        known = self._remembered.get(digest)
        if known is None or _now() >= known.until:
            known = await self._find_out(digest, secret)
        if known.caller is None:
            raise jwt.wrong(known.refusal)
        jwt.check_now(known.holds, self._clock())
        return known.caller

    async def close(self) -> None:
        tasks = list(self._asking.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _is_asked_about(self, secret: str) -> bool:
        if not SHORTEST <= len(secret) <= jwt.LONGEST or jwt.looks_like_one(secret):
            return False
        return _VISIBLE.fullmatch(secret) is not None and self._skip.match(secret) is None

    async def _find_out(self, digest: bytes, secret: str) -> _Known:
        """All who come with the same token at the same time share one question."""
        task = self._asking.get(digest)
        if task is None:
            if len(self._asking) >= AT_ONCE or _now() < self._pause_until:
                raise _unavailable()
            task = self._asking[digest] = asyncio.get_running_loop().create_task(self._ask(digest, secret))
            task.add_done_callback(lambda task: self._asked(digest, task))
        await asyncio.wait([task])  # one of them may leave
        if task.cancelled():
            raise _unavailable()
        return task.result()

    def _asked(self, digest: bytes, task: asyncio.Task[_Known]) -> None:
        self._asking.pop(digest, None)
        if not task.cancelled():
            task.exception()  # all who wanted to know may have left

    async def _ask(self, digest: bytes, secret: str) -> _Known:
        try:
            claims = _claims_in(await self._post(secret))
        except (ServerFailed, SecretMissing, ValueError) as error:
            self._failed(error)
            raise _unavailable() from None
        self._failures = 0
        known = self._judge(claims)
        self._remembered.put(digest, known)
        return known

    async def _post(self, secret: str) -> Answer:
        """Raises ServerFailed, SecretMissing."""
        form = {"token": secret, "token_type_hint": "access_token"}
        login = basic(self._settings.client_id, self._settings.client_secret.read())
        return await self._client.post(self._settings.url, form, {"authorization": login})

    def _judge(self, claims: dict[str, Any]) -> _Known:
        try:
            caller, holds = self._caller(claims)
        except Unauthenticated as refusal:
            return _Known(None, refusal.message, (0.0, 0.0), _now() + REFUSED_FOR)
        return _Known(caller, "", holds, _now() + self._settings.cache)

    def _caller(self, claims: dict[str, Any]) -> tuple[Caller, tuple[float, float]]:
        if claims.get("active") is not True:
            raise jwt.wrong("The token is unknown, expired or revoked.")
        holds = jwt.check_times({"exp": jwt.LATEST, **claims}, self._clock(), 0.0)
        if self._settings.audience:
            jwt.check_audience(claims, self._settings.audience)
        return caller_from(claims, self._settings), holds

    def _failed(self, error: Exception) -> None:
        self._failures += 1
        level = logging.WARNING if self._failures in (1, FAILURES) else logging.DEBUG
        log.log(level, "tokens cannot be introspected: %s", error)
        if self._failures >= FAILURES:
            self._pause_until = _now() + PAUSE


def _claims_in(answer: Answer) -> dict[str, Any]:
    """Raises ServerFailed, ValueError. A 401 means that we ourselves were not let in (RFC 7662 §2.3)."""
    if answer.status != 200:
        raise ServerFailed(f"the server answered {answer.status}")
    claims = read_object(answer.body)
    if not isinstance(claims.get("active"), bool):
        raise ValueError("the answer does not say whether the token is active")
    return claims


def _unavailable() -> Unavailable:
    return Unavailable("The token cannot be checked now.", retry_after=PAUSE)


def _now() -> float:
    return asyncio.get_running_loop().time()
