"""What is kept of a virtual key. No key: its digests."""

from __future__ import annotations

import time
from typing import Any, Literal

import msgspec

from shin_gateway.caller import Caller, Grant
from shin_gateway.stores.errors import StoreError

Status = Literal["active", "disabled", "expired", "revoked"]

OLD_SECRETS = 4
"""Secrets that may work beside the newest one, each for its grace period; of more the oldest stop at once."""


class Held(msgspec.Struct, frozen=True, array_like=True):
    """One secret of a key."""

    digest: str
    """SHA-256 of the whole key, hexadecimal."""
    until: float | None = None
    """Unix seconds until which it works; None: as long as the key does."""

    def works(self, now: float) -> bool:
        return self.until is None or now < self.until


class KeyRecord(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One virtual key. Times are Unix seconds."""

    id: str
    created: float
    secrets: tuple[Held, ...] = ()
    """The newest first; none once it is revoked."""
    name: str = ""
    user: str = ""
    team: str = ""
    project: str = ""
    tags: tuple[str, ...] = ()
    roles: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()
    limits: dict[str, Any] = {}
    budget: dict[str, Any] = {}
    expires: float | None = None
    disabled: bool = False
    rotated: float | None = None
    """When it got its newest secret, unless that was its first."""
    revoked: float | None = None

    def status(self, now: float) -> Status:
        if self.revoked is not None:
            return "revoked"
        if self.disabled:
            return "disabled"
        return "expired" if self.expires is not None and now >= self.expires else "active"

    def opens(self, digest: str, now: float) -> bool:
        """Whether a secret with this digest is one of the key's that works now."""
        return self.status(now) == "active" and any(one.digest == digest and one.works(now) for one in self.secrets)

    def rotate(self, digest: str, now: float, grace: float) -> KeyRecord:
        """The key with a new secret; those it has work for `grace` seconds at most."""
        end = now + grace
        old = [Held(one.digest, min(end, one.until or end)) for one in self.secrets]
        kept = [one for one in old if one.works(now)][:OLD_SECRETS]
        return msgspec.structs.replace(self, secrets=(Held(digest), *kept), rotated=now)

    def revoke(self) -> KeyRecord:
        return msgspec.structs.replace(self, secrets=(), revoked=time.time())

    @property
    def digests(self) -> frozenset[str]:
        return frozenset(one.digest for one in self.secrets)

    @property
    def caller(self) -> Caller:
        """Who calls with it."""
        return Caller(
            name=self.user or self.name or self.id,
            kind="virtual_key",
            user=self.user,
            team=self.team,
            project=self.project,
            key=self.id,
            roles=self.roles,
            tags=self.tags,
            grant=Grant(self.models, self.hosts, self.limits, self.budget),
        )

    def encode(self) -> bytes:
        return msgspec.json.encode(self)


_decoder = msgspec.json.Decoder(KeyRecord)


def decode(data: bytes) -> KeyRecord:
    """Raises StoreError for what is no record of a key."""
    try:
        return _decoder.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise StoreError("state store: the record of a virtual key cannot be read") from None
