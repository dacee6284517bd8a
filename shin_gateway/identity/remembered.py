"""What was found out about secrets lately, by their digests, so that the next call need not ask again."""

from __future__ import annotations

import hashlib
from collections import OrderedDict

MOST = 10_000


def digest_of(secret: str) -> bytes:
    """The SHA-256 by which a secret is known here: the secret itself is not kept."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest()


class Remembered[T]:
    """A bounded memory; what was not used for longest goes first. Whether something still holds is for who asks."""

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._kept: OrderedDict[bytes, T] = OrderedDict()

    def get(self, digest: bytes) -> T | None:
        found = self._kept.get(digest)
        if found is not None:
            self._kept.move_to_end(digest)
        return found

    def put(self, digest: bytes, found: T) -> None:
        self._kept[digest] = found
        self._kept.move_to_end(digest)
        while len(self._kept) > self._most:
            self._kept.popitem(last=False)

    def forget(self, digest: bytes) -> None:
        self._kept.pop(digest, None)

    def __len__(self) -> int:
        return len(self._kept)
