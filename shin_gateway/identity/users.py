"""The users of shin.yaml: a name and a secret each."""

from __future__ import annotations

import hmac
import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING

from shin_gateway.caller import Caller
from shin_gateway.secret import SecretMissing

if TYPE_CHECKING:
    from shin_gateway.config import User
    from shin_gateway.identity.logins import Login

log = logging.getLogger(__name__)


class Users:
    """Secrets are read where they are each time, so that a file may change."""

    def __init__(self, users: Mapping[str, User]) -> None:
        self._users = users

    def __bool__(self) -> bool:
        return bool(self._users)

    def look(self) -> None:
        """Say of whom the secret cannot be read: at the start, and not only when he comes."""
        for name, user in self._users.items():
            _secret(name, user)

    def of_login(self, login: Login) -> Caller | None:
        """Who has this name and this secret."""
        user = self._users.get(login.user)
        return _caller(login.user, user) if user and _matches(login.user, user, login.secret) else None

    async def caller_of(self, secret: str) -> Caller | None:
        """Who has this secret."""
        return self.of_secret(secret)

    def of_secret(self, secret: str) -> Caller | None:
        """As `caller_of`; all secrets are compared, whichever it is."""
        if not self._users:
            return None
        found = [_caller(name, user) for name, user in self._users.items() if _matches(name, user, secret)]
        return found[0] if found else None


def _caller(name: str, user: User) -> Caller:
    return Caller(name, "user", user=name, team=user.team, project=user.project, roles=user.roles)


def _matches(name: str, user: User, secret: str) -> bool:
    own = _secret(name, user)
    return own is not None and hmac.compare_digest(own.encode(), secret.encode("utf-8", "surrogateescape"))


def _secret(name: str, user: User) -> str | None:
    try:
        return user.secret.read()
    except SecretMissing as error:
        log.warning("user %s cannot be let in: %s", name, error)
        return None
