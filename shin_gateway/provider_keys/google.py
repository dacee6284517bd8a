"""A service account's file, and the statement that it signs to get a token."""

from __future__ import annotations

import base64
import time
from dataclasses import dataclass, field
from typing import Any

import msgspec
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from shin_gateway.provider_keys.settings import token_url
from shin_gateway.secret import SecretMissing, SecretRef

LIFE = 3600
"""Seconds that a statement is good for; Google allows no more."""
_SHORTEST_KEY = 2048
"""Bits: RFC 7518 §3.3."""


class _File(msgspec.Struct):
    client_email: str
    private_key: str
    type: str = ""
    private_key_id: str = ""
    token_uri: str = "https://oauth2.googleapis.com/token"


@dataclass(frozen=True)
class Account:
    """A service account that can sign."""

    email: str
    token_url: str
    key_id: str
    key: RSAPrivateKey = field(repr=False)

    def assertion(self, scope: str) -> str:
        """A JWT in which it says who it is (RFC 7523 §3), signed with RS256."""
        now = int(time.time())
        header = {"alg": "RS256", "typ": "JWT"} | ({"kid": self.key_id} if self.key_id else {})
        claims = {"iss": self.email, "scope": scope, "aud": self.token_url, "iat": now, "exp": now + LIFE}
        said = b"%b.%b" % (_part(header), _part(claims))
        return (said + b"." + _encoded(self.key.sign(said, PKCS1v15(), SHA256()))).decode()


def read(secret: SecretRef) -> Account:
    """Reads a file and a key, which takes a moment. Raises SecretMissing, with nothing of the file in it."""
    try:
        file = msgspec.json.decode(secret.read_text(), type=_File)
        key = load_pem_private_key(file.private_key.encode(), None)
        place = token_url(file.token_uri)
    except (ValueError, TypeError, UnsupportedAlgorithm, RecursionError):
        raise _wrong(secret) from None
    if file.type not in ("", "service_account") or not isinstance(key, RSAPrivateKey) or key.key_size < _SHORTEST_KEY:
        raise _wrong(secret)
    return Account(file.client_email, place, file.private_key_id, key)


def _wrong(secret: SecretRef) -> SecretMissing:
    return SecretMissing(f"{secret} is not the JSON file of a service account")


def _part(value: dict[str, Any]) -> bytes:
    return _encoded(msgspec.json.encode(value))


def _encoded(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")
