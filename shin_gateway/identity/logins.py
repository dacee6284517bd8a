"""What a proxy's client says of itself, and what it is told when that is not enough (RFC 9110 §11.7, RFC 7617)."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass, field

from shin_gateway.caller import NO_SECRET
from shin_gateway.errors import Unauthenticated

REALM = "Shin Gateway"


@dataclass(frozen=True, slots=True)
class Login:
    """`Proxy-Authorization: Basic`, or `Bearer` with no user's name."""

    user: str
    secret: str = field(repr=False)


def read_login(authorization: str) -> Login:
    """From `Proxy-Authorization`. Raises Unauthenticated."""
    scheme, _, said = authorization.partition(" ")
    if scheme.lower() == "bearer":
        return Login("", said.strip())
    if scheme.lower() != "basic":
        raise wants_login("The proxy wants a user name and password.")
    try:
        user, _, password = base64.b64decode(said.strip(), validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError, ValueError):
        raise wants_login("The proxy's credentials cannot be read.") from None
    return Login(user, "" if password == NO_SECRET else password)


def wants_login(message: str) -> Unauthenticated:
    """407, upon which clients say their credentials, or say them again."""
    refusal = Unauthenticated(message, status=407)
    refusal.headers["proxy-authenticate"] = f'Basic realm="{REALM}"'
    return refusal
