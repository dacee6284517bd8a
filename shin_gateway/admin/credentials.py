"""Who shows which secret to the admin API: its owner, a user of shin.yaml, whoever holds a virtual key or a token."""

from __future__ import annotations

import hmac
import logging
import os
import secrets
from functools import partial
from pathlib import Path

from shin_gateway.admin.permissions import THIS_MACHINE, Asker
from shin_gateway.identity import Identity
from shin_gateway.roles import Roles
from shin_gateway.running import ADMIN_TOKEN
from shin_gateway.secret import SecretMissing, SecretRef

log = logging.getLogger(__name__)


class Credentials:
    """`token` is that of this machine: who can read it may do everything. `identity` knows all others."""

    def __init__(self, token: SecretRef, identity: Identity, roles: Roles) -> None:
        self._token = token
        self._identity = identity
        self._roles = roles

    async def asker_of(self, secret: str) -> Asker | None:
        """None where nobody has this secret. Raises Unauthenticated for one of ours that does not work, StoreError."""
        if self._is_token(secret):
            return THIS_MACHINE
        caller = await self._identity.of_secret(secret) if secret else None
        return None if caller is None else Asker(caller, partial(self._roles.permits_admin, caller))

    def _is_token(self, secret: str) -> bool:
        try:
            return hmac.compare_digest(self._token.read().encode(), secret.encode("utf-8", "surrogateescape"))
        except SecretMissing as error:
            log.warning("this machine's own token: %s", error)
            return False


def local_token(home: Path) -> SecretRef:
    """Makes the token of this machine anew, for its owner alone: the commands of `shin` take it from there.

    Raises OSError.
    """
    token = home / ADMIN_TOKEN
    fresh = home / f"{ADMIN_TOKEN}.{os.getpid()}"
    fresh.unlink(missing_ok=True)
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(secrets.token_urlsafe(32))
    fresh.replace(token)  # never half of it
    return SecretRef(f"file:{token}")
