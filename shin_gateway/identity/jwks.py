"""The keys that an identity provider publishes (JWK Set, RFC 7517): those that can check a token's signature."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from cryptography.exceptions import UnsupportedAlgorithm
from joserfc.errors import JoseError
from joserfc.jwk import JWKRegistry, Key
from joserfc.jws import JWSRegistry

from shin_gateway.identity.strict_json import read_object

MOST_KEYS = 100
WITHOUT_KID = 8
"""Keys that are tried for a token that does not say which one signed it."""
_SHAPES: dict[str, tuple[str, str]] = {
    "RS256": ("RSA", ""), "RS384": ("RSA", ""), "RS512": ("RSA", ""),
    "PS256": ("RSA", ""), "PS384": ("RSA", ""), "PS512": ("RSA", ""),
    "ES256": ("EC", "P-256"), "ES384": ("EC", "P-384"), "ES512": ("EC", "P-521"),
    "EdDSA": ("OKP", "Ed25519"), "Ed25519": ("OKP", "Ed25519"),
}  # fmt: skip
"""What a key must be to check a signature: kty and crv."""
_ED25519 = ("EdDSA", "Ed25519")
"""Two names of one algorithm (RFC 8037, RFC 9864)."""
_MEMBERS = {"RSA": ("n", "e"), "EC": ("crv", "x", "y"), "OKP": ("crv", "x")}
"""What makes a public key. Nothing else of what a server sends is read into one: no private half, no certificate."""
_SHORTEST, _LONGEST = 342, 1366
"""Characters of an RSA modulus of 2048 bits (RFC 7518 §3.3), and of 8192, beyond which checking takes too long."""
_LONGEST_EXPONENT = 11


@dataclass(frozen=True, slots=True)
class PublicKey:
    """A key, and what it may be used for."""

    kid: str
    algorithms: frozenset[str]
    thumbprint: bytes
    """Tells keys apart whatever they are called."""
    key: Key = field(repr=False, compare=False)

    def verifies(self, algorithm: str, signed: bytes, signature: bytes) -> bool:
        """Whether `signature` is its own over `signed`. Some 50 µs."""
        model = JWSRegistry.algorithms[algorithm]
        try:
            model.check_key(self.key)
            return model.verify(signed, signature, self.key)
        except (JoseError, ValueError, TypeError, UnsupportedAlgorithm):
            return False


def read_keys(data: bytes, algorithms: Collection[str]) -> tuple[PublicKey, ...]:
    """Those of a JWK Set that can check one of `algorithms`. What cannot is left out (RFC 7517 §5).

    Raises ValueError for what is no JWK Set, or holds more keys than anybody has.
    """
    rows = read_object(data).get("keys")
    if not isinstance(rows, list):
        raise ValueError("has no list of keys")
    if len(rows) > MOST_KEYS:
        raise ValueError(f"has more than {MOST_KEYS} keys")
    return tuple(_usable(rows, algorithms))


def fitting(keys: Sequence[PublicKey], kid: str, algorithm: str) -> list[PublicKey]:
    """The keys that may have signed a token."""
    found = [one for one in keys if algorithm in one.algorithms and (not kid or one.kid == kid)]
    return found[:WITHOUT_KID]


def _usable(rows: list[Any], algorithms: Collection[str]) -> Iterator[PublicKey]:
    for row in rows:
        fit = frozenset(one for one in algorithms if _fits(row, one)) if isinstance(row, dict) else frozenset()
        key = _key(row) if fit else None
        if key is not None:
            kid = row.get("kid", "")
            thumbprint = hashlib.sha256(key.thumbprint().encode()).digest()
            yield PublicKey(kid if isinstance(kid, str) else "", fit, thumbprint, key)


def _fits(row: dict[str, Any], algorithm: str) -> bool:
    kty, curve = _SHAPES[algorithm]
    if row.get("kty") != kty or (curve and row.get("crv") != curve):
        return False
    operations = row.get("key_ops", ["verify"])
    meant = row.get("use", "sig") == "sig" and isinstance(operations, list) and "verify" in operations
    said = row.get("alg", algorithm)
    return meant and (said == algorithm or (said in _ED25519 and algorithm in _ED25519))


def _key(row: dict[str, Any]) -> Key | None:
    kty = row["kty"]
    plain = {
        name: value for name in _MEMBERS[kty] if isinstance(value := row.get(name), str) and len(value) <= _LONGEST
    }
    if len(plain) < len(_MEMBERS[kty]):
        return None
    if kty == "RSA" and (len(plain["n"]) < _SHORTEST or len(plain["e"]) > _LONGEST_EXPONENT):
        return None
    try:
        key: Key = JWKRegistry.import_key({"kty": kty, **plain})
        key.get_op_key("verify")
    except (JoseError, ValueError, TypeError, UnsupportedAlgorithm):
        return None
    return key
