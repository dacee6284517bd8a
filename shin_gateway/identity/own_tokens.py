"""The short-lived tokens that we give for a virtual key, and the refresh tokens that come with them.

An access token is a JWT (RFC 7519, RFC 9068) signed with a key that all workers derive from the master key. It names
the virtual key by its id, and the key ring is asked about that each time: with the key the token ends.

A refresh token is the virtual key itself, sealed, so that it works as long as that secret of the key does: through the
grace of a rotation, and no longer. Nobody but who holds the master key can open it.
"""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from joserfc.errors import JoseError
from joserfc.jwk import OctKey
from joserfc.jws import JWSRegistry
from joserfc.util import urlsafe_b64decode, urlsafe_b64encode

from shin_gateway.call_keys import REFRESH_TOKEN
from shin_gateway.caller import Caller
from shin_gateway.identity import jwt
from shin_gateway.identity.remembered import Remembered, digest_of
from shin_gateway.sealing import Master, signing_key

ISSUER = "shin-gateway"
"""The claim `iss` of our own tokens. No URL, so no issuer of shin.yaml can be called so."""
_ALGORITHM = "HS256"
_HEADER: dict[str, object] = {"alg": _ALGORITHM, "typ": "at+jwt"}
_LEEWAY = 5.0
"""Seconds that the clocks of our own replicas may be apart."""
_PURPOSE, _PLACE = "tokens refreshing", "refresh token"
_LONGEST_REFRESH = 2048


class Keys(Protocol):
    """What is used of `keys.KeyRing`."""

    async def caller_of(self, secret: str) -> Caller | None: ...

    async def caller_by_id(self, key_id: str) -> Caller: ...


class OwnTokens:
    """Makes access tokens and believes them. `clock` is the time of day."""

    def __init__(self, master: Master, keys: Keys, clock: Callable[[], float] = time.time) -> None:
        self._signing = [OctKey.import_key(signing_key(one)) for one in master.all]
        self._keys = keys
        self._clock = clock
        self._remembered: Remembered[tuple[str, tuple[float, float]]] = Remembered()

    def make(self, key_id: str, ttl: float) -> str:
        """A token for `ttl` seconds."""
        now = int(self._clock())
        claims = {"iss": ISSUER, "aud": ISSUER, "sub": key_id, "iat": now, "exp": now + int(ttl)}
        signed = b".".join((_packed(_HEADER), _packed({**claims, "jti": secrets.token_urlsafe(12)})))
        signature = JWSRegistry.algorithms[_ALGORITHM].sign(signed, self._signing[0])
        return b".".join((signed, urlsafe_b64encode(signature))).decode()

    async def caller_of(self, secret: str) -> Caller | None:
        """Who holds the key that a token was given for; None for what is no token of ours. Raises Unauthenticated for
        one that is wrong or has expired, or whose key does not work any more; Unavailable as the key ring does."""
        if not jwt.looks_like_one(secret):
            return None
        digest = digest_of(secret)
        found = self._remembered.get(digest)
        if found is None:
            found = self._check(secret)
            if found is None:
                return None
            self._remembered.put(digest, found)
        key_id, holds = found
        jwt.check_now(holds, self._clock())
        return await self._keys.caller_by_id(key_id)

    def _check(self, secret: str) -> tuple[str, tuple[float, float]] | None:
        try:
            token = jwt.parse(secret)
        except jwt.Malformed:
            if jwt.mentions(secret, [f'"{ISSUER}"']):
                raise jwt.malformed() from None
            return None
        if token.claims.get("iss") != ISSUER:
            return None
        jwt.check_header(token, (_ALGORITHM,))
        if not any(_verifies(token, key) for key in self._signing):
            raise jwt.wrong("The token's signature is wrong.")
        jwt.check_audience(token.claims, (ISSUER,))
        return str(token.claims.get("sub", "")), jwt.check_times(token.claims, self._clock(), _LEEWAY)


@dataclass(frozen=True, slots=True)
class Refresh:
    """What a refresh token holds."""

    family: str
    """All that came from one exchange, one after the other."""
    serial: str
    """Which of them it is."""
    until: int
    """When the family ends, in seconds since 1970."""
    secret: str = field(repr=False)
    """The virtual key."""

    def next(self) -> Refresh:
        return Refresh(self.family, _chance(), self.until, self.secret)


class RefreshTokens:
    """Seals and opens them."""

    def __init__(self, master: Master) -> None:
        self._sealer = master.sealer(_PURPOSE)

    def begin(self, secret: str, until: float) -> Refresh:
        """The first of a family."""
        return Refresh(_chance(), _chance(), int(until), secret)

    def seal(self, refresh: Refresh) -> str:
        text = json.dumps([refresh.family, refresh.serial, refresh.until, refresh.secret]).encode()
        return REFRESH_TOKEN + urlsafe_b64encode(self._sealer.seal(_PLACE, text)).decode()

    def open(self, token: str) -> Refresh | None:
        """None for what is none of ours."""
        if not token.startswith(REFRESH_TOKEN) or len(token) > _LONGEST_REFRESH or not token.isascii():
            return None
        try:
            plain = self._sealer.open(_PLACE, urlsafe_b64decode(token[len(REFRESH_TOKEN) :].encode()))
        except ValueError:
            return None
        return None if plain is None else Refresh(*json.loads(plain))


def _verifies(token: jwt.Jwt, key: OctKey) -> bool:
    try:
        return JWSRegistry.algorithms[_ALGORITHM].verify(token.signed, token.signature, key)
    except (JoseError, ValueError, TypeError):
        return False


def _packed(part: dict[str, object]) -> bytes:
    return urlsafe_b64encode(json.dumps(part, separators=(",", ":")).encode())


def _chance() -> str:
    return secrets.token_hex(12)
