"""How a virtual key looks: `sk-shin-` and 256 bits of chance. And what is kept of it: its SHA-256.

A fast hash will do where the secret is chance and not somebody's word: nobody guesses 256 bits, whatever one guess
costs. It is also why a key may be looked up by its digest, in a dict or in the store: how long that takes tells
something of the digest of what was guessed, which leads to no key.
"""

from __future__ import annotations

import hashlib
import re
import secrets
import string

from shin_gateway.call_keys import VIRTUAL_KEY

_ALPHABET = string.digits + string.ascii_uppercase + string.ascii_lowercase
_LETTERS = 43
"""Base62 digits of 32 bytes."""
_WHOLE = re.compile(rf"{VIRTUAL_KEY}[0-9A-Za-z]{{{_LETTERS}}}")
_ID = re.compile(r"key_[0-9A-Za-z]{12}")


def make_secret() -> str:
    """A new key. Shown once, to whom it is made for."""
    return VIRTUAL_KEY + _base62(int.from_bytes(secrets.token_bytes(32)), _LETTERS)


def make_id() -> str:
    """By which people and logs name a key. No secret."""
    return "key_" + "".join(secrets.choice(_ALPHABET) for _ in range(12))


def is_whole(secret: str) -> bool:
    """Whether this may be one of our keys at all."""
    return _WHOLE.fullmatch(secret) is not None


def is_id(text: str) -> bool:
    return _ID.fullmatch(text) is not None


def digest_of(secret: str) -> str:
    """SHA-256 in hexadecimal."""
    return hashlib.sha256(secret.encode()).hexdigest()


def _base62(number: int, letters: int) -> str:
    digits = []
    for _ in range(letters):
        number, digit = divmod(number, 62)
        digits.append(_ALPHABET[digit])
    return "".join(reversed(digits))
