"""Who is calling: users named in the proxy's URL, or whoever holds a credential."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import parse_qs

from multidict import CIMultiDict

from shin_gateway.call import Call
from shin_gateway.caller import ANONYMOUS, Caller
from shin_gateway.errors import Unauthenticated
from shin_gateway.secret import SecretMissing, SecretRef
from shin_gateway.targets import CREDENTIAL_HEADERS, KEYS_IN_QUERY

log = logging.getLogger(__name__)

REALM = "Shin Gateway"


@dataclass(frozen=True, slots=True)
class Login:
    """What a proxy's client said of itself: `Proxy-Authorization: Basic` (RFC 7617)."""

    user: str
    secret: str = field(repr=False)


class Callers:
    """The users of `shin.yaml`. Without any, a name in the proxy's URL is taken at its word: loopback only."""

    def __init__(self, users: Mapping[str, SecretRef]) -> None:
        self._users = users

    @property
    def required(self) -> bool:
        """Whether everybody has to say who he is."""
        return bool(self._users)

    def by_login(self, authorization: str) -> Caller:
        """From `Proxy-Authorization: Basic …` (RFC 7617). Raises Unauthenticated."""
        user, password = _parse_basic(authorization)
        if self._users and not self._matches(user, password):
            raise Unauthenticated("The proxy's user name or password is wrong.")
        return Caller(user, "user") if user else ANONYMOUS

    def by_credential(self, call: Call) -> Caller:
        """From the key that came with the call: a user's own, or any, by its hash. Raises Unauthenticated."""
        secret = credential(call.headers, call.path)
        if not self._users:
            return Caller(f"key-{hashlib.sha256(_bytes(secret)).hexdigest()[:12]}", "key") if secret else ANONYMOUS
        for user in self._users:
            if self._matches(user, secret):
                return Caller(user, "user")
        raise Unauthenticated("The key is missing or wrong.")

    def _matches(self, user: str, secret: str) -> bool:
        known = self._users.get(user)
        try:
            return known is not None and hmac.compare_digest(known.read().encode(), _bytes(secret))
        except SecretMissing as error:
            log.warning("user %s cannot be let in: %s", user, error)
            return False


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def credential(headers: CIMultiDict[str], path: str) -> str:
    """The key in a call's headers or its `?key=`, "" when there is none."""
    for name in CREDENTIAL_HEADERS:
        value = headers.get(name, "")
        if value:
            scheme, _, token = value.partition(" ")
            return token.strip() if scheme.lower() == "bearer" else value
    query = parse_qs(path.partition("?")[2])
    return next((query[name][0] for name in KEYS_IN_QUERY if name in query), "")


def _parse_basic(authorization: str) -> tuple[str, str]:
    scheme, _, encoded = authorization.partition(" ")
    if scheme.lower() != "basic":
        raise Unauthenticated("The proxy wants a user name and password.")
    try:
        user, _, password = base64.b64decode(encoded.strip(), validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        raise Unauthenticated("The proxy's credentials cannot be read.") from None
    return user, password
