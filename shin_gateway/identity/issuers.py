"""Tokens of identity providers (JWT, RFC 7519; access tokens, RFC 9068): checked once, then known until they expire."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from shin_gateway.auth_settings import Issuer
from shin_gateway.caller import Caller
from shin_gateway.identity import jwt
from shin_gateway.identity.claims import caller_from
from shin_gateway.identity.jwks import PublicKey
from shin_gateway.identity.published import Asks, PublishedKeys
from shin_gateway.identity.remembered import Remembered, digest_of


@dataclass(frozen=True, slots=True)
class _Issued:
    """A token that was found good."""

    caller: Caller
    holds: tuple[float, float]
    keys: PublishedKeys
    thumbprint: bytes
    """Of the key that signed it."""


class Issuers:
    """All identity providers of shin.yaml. `clock` is the time of day, in seconds since 1970."""

    def __init__(self, issuers: Iterable[Issuer], client: Asks, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._known = {one.issuer: (one, PublishedKeys(one, client)) for one in issuers}
        self._remembered: Remembered[_Issued] = Remembered()

    async def caller_of(self, secret: str) -> Caller | None:
        """Whose token it is; None for what is none, or of no issuer of ours.

        Raises ForOthers for one of an issuer of ours that is not meant for us, Unauthenticated for one that is wrong or
        expired; Unavailable where it cannot be checked.
        """
        if not self._known or not jwt.looks_like_one(secret):
            return None
        digest = digest_of(secret)
        found = self._remembered.get(digest)
        if found is not None and found.keys.still_has(found.thumbprint):
            jwt.check_now(found.holds, self._clock())
            return found.caller
        found = await self._check(secret)
        if found is None:
            return None
        self._remembered.put(digest, found)
        return found.caller

    async def close(self) -> None:
        for _, keys in self._known.values():
            await keys.close()

    async def _check(self, secret: str) -> _Issued | None:
        try:
            token = jwt.parse(secret)
        except jwt.Malformed:
            if jwt.mentions(secret, self._known):
                raise jwt.malformed() from None
            return None
        name = token.claims.get("iss")
        issuer, keys = self._known.get(name, (None, None)) if isinstance(name, str) else (None, None)
        if issuer is None or keys is None:
            return None
        jwt.check_audience(token.claims, issuer.audience)  # first: what is wrong with others' tokens is no matter
        jwt.check_header(token, issuer.algorithms)
        holds = jwt.check_times(token.claims, self._clock(), issuer.leeway)
        key = await _signer(token, keys)
        return _Issued(caller_from(token.claims, issuer), holds, keys, key.thumbprint)


async def _signer(token: jwt.Jwt, keys: PublishedKeys) -> PublicKey:
    """The key that signed a token. Raises Unauthenticated, Unavailable."""
    algorithm, tried = token.header["alg"], list[PublicKey]()
    for _ in range(2):  # the keys that are known, then those that have come since
        for key in await keys.fitting(token.kid, algorithm, tried):
            if key.verifies(algorithm, token.signed, token.signature):
                return key
            tried.append(key)
    if not tried:
        raise jwt.wrong("The token is signed with a key that its issuer does not publish.")
    raise jwt.wrong("The token's signature is wrong.")
