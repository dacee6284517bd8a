"""What who asks the admin API may do there. Each route names the permission that it wants: `needs("keys.write")`."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Depends, HTTPException, Request

from shin_gateway.caller import ANONYMOUS, Caller
from shin_gateway.roles import PERMISSIONS, Roles

CHALLENGE = {"www-authenticate": 'Bearer realm="Shin Gateway"'}
UNKNOWN = (
    "Send `Authorization: Bearer` with a user's secret, a virtual key, a token of an identity provider, "
    "or what lies in admin.token under the home folder."
)

OPEN_READS = frozenset({"calls.read", "policies.read"})
"""What every program of this machine may see where nobody has to say who he is."""


_TAKEN = re.compile(r"this machine|files on |.*\(key_", re.IGNORECASE | re.DOTALL)
"""How others stand in the list of actions; an identity provider may let people choose their names."""


@dataclass(frozen=True, slots=True)
class Asker:
    """Who asks. Behind the guard, so whoever has to say who he is has said it."""

    caller: Caller
    may: Callable[[str], bool]
    """Whether a permission is his."""

    @property
    def name(self) -> str:
        """For the list of actions: `alice`, `alice (key_3f9a…)`."""
        name = self.caller.name
        if self.caller.key:
            return f"{name} ({self.caller.key})"
        return f"user {name}" if self is not THIS_MACHINE and _TAKEN.match(name) else name

    def may_give(self, roles: Roles, names: tuple[str, ...]) -> bool:
        """Whether these roles permit nothing in the admin API that he may not do himself."""
        given = roles.of(names)
        return all(self.may(one) for one in PERMISSIONS if any(role.permits_admin(one) for role in given))


THIS_MACHINE = Asker(Caller("this machine", "user"), lambda permission: True)
"""Whoever can read the home folder could change all that there is without asking."""
NOBODY = Asker(ANONYMOUS, OPEN_READS.__contains__)


def asker(request: Request) -> Asker:
    found: Asker = request.state.asker
    return found


Who = Annotated[Asker, Depends(asker)]


def needs(permission: str) -> Any:
    """A dependency of a route. Refuses who lacks the permission, 401 where he has not said who he is."""
    if permission not in PERMISSIONS:
        raise ValueError(f"no such permission: {permission}")

    def check(who: Who) -> None:
        if who.may(permission):
            return
        if who is NOBODY:
            raise HTTPException(401, UNKNOWN, CHALLENGE)
        roles = ", ".join(who.caller.roles) or "none"
        raise HTTPException(403, f"This needs the permission {permission}, which none of your roles has ({roles}).")

    return Depends(check)
