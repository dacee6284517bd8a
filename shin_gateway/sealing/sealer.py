"""What is kept is sealed: who reads the store, or a copy of it, reads nothing.

AES-256-GCM (NIST SP 800-38D). The place where something is kept is sealed with it, so that nothing can be moved to
another place. The id of the key stands in front, so that after a change of keys the right one opens it at once.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Iterable, Sequence

import zstandard
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

KEYS = 96
"""Bytes that a sealer is made of: 32 seal, 32 make digests of names, 16 name the purpose."""
KEY_ID = 8

_PLAIN, _PACKED = b"\x03", b"\x04"
_NAMELESS = {b"\x01": _PLAIN, b"\x02": _PACKED}
"""How things were sealed before the id of the key stood in them."""
_SMALL = 1024
"""Bytes below which packing costs more than it saves."""
_NONCE = 12
_MAX_OPENED = 256 * 1024 * 1024


class Sealer:
    """Seals for one purpose with the first of some keys, and opens what any of them has sealed."""

    def __init__(self, keys: Sequence[tuple[bytes, bytes]], names: bytes) -> None:
        """`keys`: ids, and `KEYS` bytes each; `names`: the bytes by which names are known, of any of them."""
        self._id = keys[0][0]
        self._aeads = {id: AESGCM(key[:32]) for id, key in keys}
        self._names = names[32:64]
        self.tag = names[64:80].hex()
        """Names the purpose in the store's keys."""

    def digest(self, name: str) -> str:
        """A name as the store knows it (HMAC, RFC 2104): 32 hexadecimal digits."""
        return hmac.new(self._names, name.encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()[:32]

    def seal(self, place: str, plain: bytes) -> bytes:
        nonce = secrets.token_bytes(_NONCE)
        packed = len(plain) > _SMALL
        head = (_PACKED if packed else _PLAIN) + self._id
        data = zstandard.ZstdCompressor(level=1).compress(plain) if packed else plain
        return head + nonce + self._aeads[self._id].encrypt(nonce, data, head + place.encode())

    def open(self, place: str, sealed: bytes) -> bytes | None:
        """None for what was not sealed at this place with one of these keys."""
        if sealed[:1] in _NAMELESS:
            return self._open(place, sealed, 1, self._aeads.values())
        aead = self._aeads.get(sealed[1 : 1 + KEY_ID])
        return self._open(place, sealed, 1 + KEY_ID, [aead] if aead else [])

    def is_current(self, sealed: bytes) -> bool:
        """Whether it is sealed with the key that seals now."""
        return sealed[1 : 1 + KEY_ID] == self._id and sealed[:1] not in _NAMELESS

    def _open(self, place: str, sealed: bytes, length: int, aeads: Iterable[AESGCM]) -> bytes | None:
        head, nonce, rest = sealed[:length], sealed[length : length + _NONCE], sealed[length + _NONCE :]
        kind = _NAMELESS.get(head[:1], head[:1])
        for aead in aeads:
            try:
                data = aead.decrypt(nonce, rest, head + place.encode())
                return zstandard.ZstdDecompressor().decompress(data, _MAX_OPENED) if kind == _PACKED else data
            except (InvalidTag, ValueError, zstandard.ZstdError):
                continue
        return None
