"""Where the master key is: in the environment, else in a file under the home folder that is made when there is none.

When it changes, the one before it goes into `SHIN_MASTER_KEY_OLD`: it opens what it has sealed, and seals nothing more.
"""

from __future__ import annotations

import logging
import os
import secrets
from collections.abc import Iterable, Sequence
from pathlib import Path

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from shin_gateway.sealing.sealer import KEY_ID, KEYS, Sealer
from shin_gateway.secret import SecretMissing, SecretRef

log = logging.getLogger(__name__)

MASTER_KEY = "SHIN_MASTER_KEY"
"""The environment variable with a secret that all workers and replicas share, or `file:/path` of it."""
OLD_KEYS = "SHIN_MASTER_KEY_OLD"
"""Those before it, separated by commas, or `file:/path` of a file with one in each line."""
SHORTEST = 32
"""Characters of it at least: `openssl rand -hex 32` makes 64."""
MOST_OLD = 8

_FILE, _FORMER_FILE = "master.key", "conversations.key"
_FLEETING = secrets.token_bytes(32)
"""Where there is neither a secret nor a home: what is kept ends with the process."""


class Unusable(SecretMissing):
    """There is no master key that one could rely on. The message is for whoever runs the gateway."""


class Master:
    """The key from which all others are derived, and those before it."""

    def __init__(self, secret: bytes, older: Iterable[bytes] = ()) -> None:
        self._secret = secret
        self.all: Sequence[Master] = (self, *(Master(one) for one in dict.fromkeys(older) if one != secret))
        """This one and those before it."""
        self.id = self.derived("master key id", KEY_ID)

    @property
    def fingerprint(self) -> str:
        """Tells two keys apart, and nothing about either."""
        return self.derived("conversations fingerprint", 16).hex()

    def sealer(self, purpose: str) -> Sealer:
        """Seals with this key, and opens what it or one before it has sealed."""
        return self.sealers(purpose)[0]

    def sealers(self, purpose: str) -> list[Sealer]:
        """The same, once for each key: they differ in how they name things in the store, the newest first."""
        keys = [(one.id, one.derived(purpose, KEYS)) for one in self.all]
        return [Sealer(keys, names) for _, names in keys]

    def derived(self, purpose: str, length: int) -> bytes:
        """HKDF-SHA-256 (RFC 5869) with the purpose as its info."""
        info = b"shin " + purpose.encode("utf-8", "surrogatepass")
        return HKDF(algorithm=SHA256(), length=length, salt=None, info=info).derive(self._secret)


def master_key(home: Path | None) -> Master:
    """From the secret in the environment, else from the one kept under `home`, made when there is none. Reads files.

    A file that is there beside a secret in the environment was the key before it. Raises Unusable.
    """
    given, older = _given(MASTER_KEY, None), _old_keys()
    if len(given) > 1:
        raise Unusable(f"{MASTER_KEY} should be one key; those before it belong into {OLD_KEYS}")
    if given:
        return Master(given[0], [*older, *_left_behind(home)])
    if home is not None:
        return Master(_kept(_place(home)), older)
    log.warning("what is kept is sealed with a key that ends with this process; set %s", MASTER_KEY)
    return Master(_FLEETING, older)


def _old_keys() -> list[bytes]:
    found = _given(OLD_KEYS, ",")
    if len(found) > MOST_OLD:
        raise Unusable(f"{OLD_KEYS} has more than {MOST_OLD} keys; take out those that nothing is sealed with any more")
    return found


def _given(name: str, separator: str | None) -> list[bytes]:
    """Keys in a variable, or one in each line of the file that it names."""
    text = os.environ.get(name, "").strip()
    if text.startswith("file:"):
        text, separator = _read(name, text), "\n"
    parts = text.split(separator) if separator else [text]
    found = [one.strip().encode("utf-8", "surrogateescape") for one in parts if one.strip()]
    if any(len(one) < SHORTEST for one in found):
        comma = "; with a comma in it, it belongs into a file" if separator == "," else ""
        raise Unusable(f"{name} should have {SHORTEST} characters or more, as `openssl rand -hex 32` makes{comma}")
    return found


def _read(name: str, reference: str) -> str:
    try:
        return SecretRef(reference).read_text()
    except (ValueError, SecretMissing) as error:
        raise Unusable(f"{name}: {error}") from None


def _place(home: Path) -> Path:
    former = home / _FORMER_FILE
    return former if former.exists() else home / _FILE


def _left_behind(home: Path | None) -> list[bytes]:
    if home is None or not _place(home).exists():
        return []
    try:
        return [_kept(_place(home))]
    except Unusable as error:
        log.warning("%s; what was sealed with it stays sealed", error)
        return []


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
