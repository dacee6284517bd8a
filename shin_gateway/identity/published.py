"""The keys of one issuer, as fresh as its server says and no more often asked for than it can bear.

Where they are, the issuer says itself (OpenID Connect Discovery 1.0 §4, RFC 8414 §3). They hold as long as its
`cache-control` says, within bounds; a token signed with a key that is not among them makes us look again, once in
PAUSE seconds whoever comes with what. While the server is away, the keys that we have go on for STALE seconds.
"""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Protocol
from urllib.parse import urlsplit

from shin_gateway.addresses import is_loopback
from shin_gateway.auth_settings import Issuer, check_url
from shin_gateway.errors import Unavailable
from shin_gateway.fetching.servers import Answer, ServerFailed
from shin_gateway.identity.jwks import PublicKey, fitting, read_keys
from shin_gateway.identity.strict_json import read_object

log = logging.getLogger(__name__)

SHORTEST, LONGEST, UNSAID = 60.0, 86400.0, 600.0
"""Seconds that keys hold at least and at most, and where the server does not say."""
STALE = 3600.0
"""Seconds that they hold beyond that while the server cannot be asked."""
PAUSE = 10.0
"""Seconds between two looks at the server, as long as there are keys..."""
PAUSE_WITHOUT = 2.0
"""...and while there are none."""
TIMEOUT = 5.0
"""Seconds for one look, and so the longest that a call waits."""
_REDISCOVER = 86400.0
_MAX_AGE = re.compile(r'\bmax-age\s*=\s*"?(\d{1,9})', re.IGNORECASE)


class Asks(Protocol):
    """What is used of `fetching.servers.ServerClient`."""

    async def get(self, url: str) -> Answer: ...


class PublishedKeys:
    """Kept for one issuer. `clock` counts seconds from anywhere, and never goes back."""

    def __init__(self, issuer: Issuer, client: Asks, clock: Callable[[], float] = time.monotonic) -> None:
        self._issuer = issuer
        self._client = client
        self._clock = clock
        self._keys: tuple[PublicKey, ...] = ()
        self._thumbprints: frozenset[bytes] = frozenset()
        self._fresh_until = self._stale_until = float("-inf")
        self._asked = float("-inf")
        self._failing = False
        self._uri, self._found_at = issuer.jwks_uri or "", float("inf") if issuer.jwks_uri else float("-inf")
        self._look: asyncio.Task[None] | None = None

    async def fitting(self, kid: str, algorithm: str, tried: Collection[PublicKey] = ()) -> Sequence[PublicKey]:
        """The keys that may have signed a token, beside those `tried` in vain; none where the issuer publishes no such.
        Raises Unavailable where that cannot be known."""
        await self._freshen()
        found = self._untried(kid, algorithm, tried)
        if not found and (self._look is not None or self._may_ask()):
            await self._look_again()
            found = self._untried(kid, algorithm, tried)
        return found

    def _untried(self, kid: str, algorithm: str, tried: Collection[PublicKey]) -> list[PublicKey]:
        return [key for key in fitting(self._keys, kid, algorithm) if key not in tried]

    def still_has(self, thumbprint: bytes) -> bool:
        """Whether a key that checked a token before still may. Waits for nothing; keys that are due are asked for."""
        now = self._clock()
        if now >= self._fresh_until and self._may_ask():
            self._begin()
        return now < self._stale_until and thumbprint in self._thumbprints

    async def close(self) -> None:
        if self._look is not None:
            self._look.cancel()
            await asyncio.wait([self._look])

    async def _freshen(self) -> None:
        """Keys that may be used, or Unavailable. Nobody waits for a server that failed last time, if there are keys."""
        now = self._clock()
        if now < self._fresh_until:
            return
        may_ask = self._look is not None or self._may_ask()
        if now < self._stale_until and self._failing:
            if may_ask:
                self._begin()
            return
        if may_ask:
            await self._look_again()
        if self._clock() >= self._stale_until:
            raise Unavailable("The identity provider's keys cannot be had.", retry_after=PAUSE_WITHOUT)

    def _may_ask(self) -> bool:
        now = self._clock()
        return now - self._asked >= (PAUSE if now < self._stale_until else PAUSE_WITHOUT)

    def _begin(self) -> asyncio.Task[None]:
        """One look for all who want it."""
        if self._look is None:
            self._asked = self._clock()
            self._look = asyncio.get_running_loop().create_task(self._try())
            self._look.add_done_callback(self._seen)
        return self._look

    def _seen(self, _: asyncio.Task[None]) -> None:
        self._look = None

    async def _look_again(self) -> None:
        await asyncio.wait([self._begin()])  # a caller that leaves does not take the look from the others

    async def _try(self) -> None:
        try:
            async with asyncio.timeout(TIMEOUT):
                await self._ask()
        except (ServerFailed, ValueError, TimeoutError) as error:
            level = logging.DEBUG if self._failing else logging.WARNING
            log.log(level, "the keys of %s cannot be had: %s", self._issuer.issuer, str(error) or "no answer in time")
            self._failing, self._found_at = True, self._found_at if self._issuer.jwks_uri else float("-inf")
        except Exception:
            self._failing = True
            log.exception("the keys of %s cannot be read", self._issuer.issuer)

    async def _ask(self) -> None:
        if self._clock() - self._found_at > _REDISCOVER:
            self._uri, self._found_at = await self._discover(), self._clock()
        answer = await self._client.get(self._uri)
        _require_ok(answer)
        keys = await asyncio.to_thread(read_keys, answer.body, self._issuer.algorithms)  # a hundred take 10 ms
        if not keys:
            raise ValueError("there is none among them that checks a signature accepted here")
        self._take(keys, lifetime(answer.headers))

    def _take(self, keys: tuple[PublicKey, ...], seconds: float) -> None:
        if self._failing:
            log.info("the keys of %s can be had again", self._issuer.issuer)
        self._keys, self._failing = keys, False
        self._thumbprints = frozenset(key.thumbprint for key in keys)
        self._fresh_until = self._clock() + seconds
        self._stale_until = self._fresh_until + STALE

    async def _discover(self) -> str:
        """Where the keys are. Raises ServerFailed, ValueError."""
        failure: Exception = ServerFailed("says nothing of itself")
        for url in places(self._issuer.issuer):
            answer = await self._client.get(url)
            if answer.status == 200:
                return _keys_url(read_object(answer.body), self._issuer.issuer)
            failure = ServerFailed(f"answered {answer.status} where it should say where its keys are")
        raise failure


def places(issuer: str) -> tuple[str, str]:
    """Where an issuer describes itself: OpenID Connect's place, then RFC 8414's."""
    parts = urlsplit(issuer.rstrip("/"))
    at_root = f"{parts.scheme}://{parts.netloc}/.well-known/oauth-authorization-server{parts.path}"
    return f"{issuer.rstrip('/')}/.well-known/openid-configuration", at_root


def lifetime(headers: Mapping[str, str]) -> float:
    """Seconds that an answer holds (RFC 9111 §4.2), within our bounds."""
    said = headers.get("cache-control", "")
    if not said:
        return UNSAID
    age = headers.get("age", "")
    found = _MAX_AGE.search(said)
    refused = "no-store" in said.lower() or "no-cache" in said.lower()
    seconds = float(found[1]) - (float(age) if age.isdecimal() and len(age) < 10 else 0.0) if found else UNSAID
    return min(max(0.0 if refused else seconds, SHORTEST), LONGEST)


def _keys_url(said: dict[str, object], issuer: str) -> str:
    """What an issuer says of itself holds for itself only (RFC 8414 §3.3)."""
    if said.get("issuer") != issuer:
        raise ValueError("its description is that of another issuer")
    uri = said.get("jwks_uri")
    if not isinstance(uri, str):
        raise ValueError("its description names no keys")
    return check_url(uri, loopback=is_loopback(urlsplit(issuer).hostname or ""))


def _require_ok(answer: Answer) -> None:
    if answer.status != 200:
        raise ServerFailed(f"answered {answer.status}")
