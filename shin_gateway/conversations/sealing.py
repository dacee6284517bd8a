"""What is kept of conversations is sealed: who reads the store, or a copy of it, reads nothing.

AES-256-GCM (NIST SP 800-38D) with a key for each tenant, derived from one master key (HKDF, RFC 5869). The place where
something is kept is sealed with it, so that nothing can be moved to another place or tenant. Names that clients give,
and ids of replies, are kept as keyed digests (HMAC, RFC 2104).
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import os
import secrets
from pathlib import Path

import zstandard
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from shin_gateway.secret import SecretMissing

log = logging.getLogger(__name__)

MASTER_KEY = "SHIN_MASTER_KEY"
"""The environment variable with a secret that all workers and replicas share."""
SHORTEST = 32
"""Characters of it at least: `openssl rand -hex 32` makes 64."""
_FILE = "conversations.key"
_FLEETING = secrets.token_bytes(32)
"""Where there is neither a secret nor a home: what is kept ends with the process."""
_PLAIN, _PACKED = b"\x01", b"\x02"
_SMALL = 1024
"""Bytes below which packing costs more than it saves."""
_NONCE = 12
_MAX_OPENED = 256 * 1024 * 1024


class Unusable(SecretMissing):
    """There is no master key that one could rely on. The message is for whoever runs the gateway."""


class Master:
    """The key from which every tenant's are derived."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    def sealer(self, tenant: str) -> Sealer:
        return Sealer(self._derived(b"tenant " + tenant.encode("utf-8", "surrogatepass"), 96))

    @property
    def fingerprint(self) -> str:
        """Tells two keys apart, and nothing about either."""
        return self._derived(b"fingerprint", 16).hex()

    def _derived(self, info: bytes, length: int) -> bytes:
        return HKDF(algorithm=SHA256(), length=length, salt=None, info=b"shin conversations " + info).derive(
            self._secret
        )


class Sealer:
    """Seals and opens for one tenant. `keys`: 96 bytes."""

    def __init__(self, keys: bytes) -> None:
        self._aead = AESGCM(keys[:32])
        self._names = keys[32:64]
        self.tag = keys[64:80].hex()
        """Names the tenant in the store's keys."""

    def digest(self, name: str) -> str:
        """A name as the store knows it: 32 hexadecimal digits."""
        return hmac.new(self._names, name.encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()[:32]

    def seal(self, place: str, plain: bytes) -> bytes:
        nonce = secrets.token_bytes(_NONCE)
        packed = len(plain) > _SMALL
        head = _PACKED if packed else _PLAIN
        data = zstandard.ZstdCompressor(level=1).compress(plain) if packed else plain
        return head + nonce + self._aead.encrypt(nonce, data, head + place.encode())

    def open(self, place: str, sealed: bytes) -> bytes | None:
        """None for what was not sealed at this place with this key."""
        head, nonce, rest = sealed[:1], sealed[1 : 1 + _NONCE], sealed[1 + _NONCE :]
        try:
            data = self._aead.decrypt(nonce, rest, head + place.encode())
            return zstandard.ZstdDecompressor().decompress(data, _MAX_OPENED) if head == _PACKED else data
        except (InvalidTag, ValueError, zstandard.ZstdError):
            return None


def master_key(home: Path | None) -> Master:
    """From the secret in the environment, else from the one kept under `home`, made when there is none. Reads files.

    Raises Unusable.
    """
    given = os.environ.get(MASTER_KEY, "").strip()
    if given and len(given) < SHORTEST:
        raise Unusable(f"{MASTER_KEY} should have {SHORTEST} characters or more, as `openssl rand -hex 32` makes")
    if given:
        return Master(given.encode("utf-8", "surrogateescape"))
    if home is not None:
        return Master(_kept(home / _FILE))
    log.warning("conversations are sealed with a key that ends with this process; set %s", MASTER_KEY)
    return Master(_FLEETING)


def _kept(path: Path) -> bytes:
    try:
        if not path.exists():
            _make(path)
        if path.stat().st_mode & 0o077:
            raise Unusable(f"{path} can be read by others: chmod 600 it")
        key = path.read_bytes()
    except OSError as error:
        raise Unusable(f"{path} cannot be read or made: {error.strerror}") from None
    if len(key) < SHORTEST:
        raise Unusable(f"{path} is not whole; delete it to begin with another key, or put it back")
    return key


def _make(path: Path) -> None:
    """Workers start together: the first to link its file into place has made the key for all of them."""
    mine = path.with_name(f"{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    descriptor = os.open(mine, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(secrets.token_bytes(32))
            file.flush()
            os.fsync(file.fileno())
        os.link(mine, path)
    except FileExistsError:
        pass
    finally:
        mine.unlink()
