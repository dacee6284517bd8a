"""Read a JSON Web Token (RFC 7519) that came from anywhere, and check what it says of itself (RFC 8725).

Nothing here checks a signature. Errors say in general words what is wrong, and never what stands in the token.
"""

from __future__ import annotations

import base64
import math
import re
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

from joserfc.util import urlsafe_b64decode

from shin_gateway.errors import Unauthenticated
from shin_gateway.identity.strict_json import read_object

LONGEST = 16 * 1024
"""Characters of a token. With all the groups of a large company they have 8,000."""
LATEST = 253_402_300_799
"""The end of the year 9999: no time in a token is later."""
_NO_BASE64 = re.compile(r"[^A-Za-z0-9_-]")
_LONGEST_KID = 512
_TYPES = frozenset(["jwt", "at+jwt", "application/jwt", "application/at+jwt"])
"""RFC 7519 §5.1, RFC 9068 §2.1. Tokens of other types (`logout+jwt`, `dpop+jwt`) are meant for something else."""


class ForOthers(Unauthenticated):
    """A token of an issuer of ours that is not meant for us: through the proxy, a provider's."""


class Malformed(ValueError):
    """It is no token that can be read."""


@dataclass(frozen=True, slots=True)
class Jwt:
    """A token as it came; believed no more than whoever sent it until its signature has been checked."""

    header: dict[str, Any] = field(repr=False)
    claims: dict[str, Any] = field(repr=False)
    signed: bytes = field(repr=False)
    """What the signature is of."""
    signature: bytes = field(repr=False)

    @property
    def kid(self) -> str:
        """Which of its issuer's keys signed it, "" where it does not say. Raises Unauthenticated."""
        kid = self.header.get("kid", "")
        if not isinstance(kid, str) or len(kid) > _LONGEST_KID:
            raise malformed()
        return kid


def looks_like_one(secret: str) -> bool:
    """Whether it begins as a base64url of a JSON object does, and has parts. Cheap."""
    return secret[:2] in ("ey", "ew") and "." in secret


def parse(secret: str) -> Jwt:
    """Raises Malformed."""
    if len(secret) > LONGEST or not secret.isascii():
        raise Malformed
    parts = secret.encode().split(b".")
    if len(parts) != 3 or not all(parts):
        raise Malformed
    try:
        header, claims, signature = map(urlsafe_b64decode, parts)
        return Jwt(read_object(header), read_object(claims), b".".join(parts[:2]), signature)
    except ValueError:
        raise Malformed from None


def mentions(secret: str, names: Collection[str]) -> bool:
    """Whether one of `names` stands in the claims of what cannot be read as a whole."""
    piece = _NO_BASE64.sub("", secret.split(".", 2)[1][:LONGEST])
    claims = base64.urlsafe_b64decode(piece[: len(piece) // 4 * 4]).replace(b"\\/", b"/")
    return any(name.encode() in claims for name in names)


def check_header(token: Jwt, algorithms: Collection[str]) -> None:
    """That it is a token of a kind that we understand to the end. Raises Unauthenticated."""
    kind = token.header.get("typ", "jwt")
    if not isinstance(kind, str) or kind.lower() not in _TYPES:
        raise wrong("The token is of another type than an access token.")
    if "crit" in token.header or "b64" in token.header:  # RFC 7515 §4.1.11, RFC 7797: we know no extension
        raise wrong("The token makes demands that the gateway does not understand.")
    algorithm = token.header.get("alg")
    if not isinstance(algorithm, str) or algorithm not in algorithms:
        raise wrong("The token is signed in a way that is not accepted here.")


def check_times(claims: dict[str, Any], now: float, leeway: float) -> tuple[float, float]:
    """From when until when it holds, leeway included, in seconds since 1970. Raises Unauthenticated."""
    start, end = time_in(claims, "nbf"), time_in(claims, "exp")
    if end is None:
        raise wrong("The token does not say when it expires.")
    holds = (0.0 if start is None else start - leeway), end + leeway
    check_now(holds, now)
    return holds


def check_now(holds: tuple[float, float], now: float) -> None:
    """Raises Unauthenticated."""
    if now >= holds[1]:
        raise Unauthenticated("The token has expired.", code="token_expired")
    if now < holds[0]:
        raise wrong("The token is not valid yet.")


def check_audience(claims: dict[str, Any], accepted: Collection[str]) -> None:
    """Raises ForOthers."""
    audience = claims.get("aud")
    named = audience if isinstance(audience, list) else [audience]
    if not any(isinstance(one, str) and one in accepted for one in named):
        raise ForOthers("The token is meant for somebody else.", code="invalid_token")


def time_in(claims: dict[str, Any], name: str) -> float | None:
    """A NumericDate (RFC 7519 §2), None where there is none. Raises Unauthenticated."""
    value = claims.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise malformed()
    if not -LATEST <= value <= LATEST or math.isnan(value):
        raise malformed()
    return float(value)


def wrong(message: str) -> Unauthenticated:
    return Unauthenticated(message, code="invalid_token")


def malformed() -> Unauthenticated:
    return wrong("The token is malformed.")
