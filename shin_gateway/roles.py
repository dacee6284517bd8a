"""Roles: what whoever has one may do, as patterns. Three are built in; `roles:` in shin.yaml overrides them, or adds.

A call is permitted when one role of its caller's permits its host, its kind and its model together: what one role
says of hosts never widens what another says of models.
"""

from __future__ import annotations

import fnmatch
import functools
import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Annotated, get_args

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from shin_gateway.policy.paths import Kind

if TYPE_CHECKING:
    from shin_gateway.caller import Caller
    from shin_gateway.config import Config

KINDS: tuple[str, ...] = get_args(Kind)
"""Kinds of calls, by which roles name endpoints."""
OF_USERS = tuple(kind for kind in KINDS if kind != "other")
"""All kinds but a provider's raw API under /{provider}/…, where our key may do whatever the provider lets it do."""

PERMISSIONS = (
    "keys.read", "keys.write", "budgets.read", "budgets.write", "credentials.read", "credentials.write", "calls.read",
    "policies.read", "policies.write", "dlq.read", "dlq.write", "actions.read",
)  # fmt: skip
"""What routes of the admin API ask for."""

_LONGEST = 200


def fits(patterns: tuple[str, ...], *names: str) -> bool:
    """Whether one of `patterns` (`*`, `openai/*`, `gpt-4?`) fits one of `names`, upper and lower case told apart."""
    if "*" in patterns:
        return True
    compiled = _compiled(patterns)
    return any(compiled.match(name) is not None for name in names if name)


@functools.lru_cache(maxsize=1024)
def _compiled(patterns: tuple[str, ...]) -> re.Pattern[str]:
    """One expression for all of them; without any, one that fits nothing."""
    return re.compile("|".join(map(fnmatch.translate, patterns)) or r"(?!)")


def _listed(value: object) -> object:
    return [value] if isinstance(value, str) else value


def _among(known: tuple[str, ...], what: str) -> AfterValidator:
    def check(patterns: tuple[str, ...]) -> tuple[str, ...]:
        for pattern in patterns:
            if not fnmatch.filter(known, pattern):
                raise ValueError(f'"{pattern}" fits no {what}; there are {", ".join(known)}')
        return patterns

    return AfterValidator(check)


_Pattern = Annotated[str, Field(min_length=1, max_length=_LONGEST, strict=True)]
_Patterns = Annotated[tuple[_Pattern, ...], Field(max_length=1000), BeforeValidator(_listed)]


class Role(BaseModel):
    """What a role permits. What it leaves out is as in the role `user`."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True, validate_default=True)

    models: _Patterns = ("*",)
    """Patterns of models, by the name that is asked for, aliases included, or by `provider/model`."""
    endpoints: Annotated[_Patterns, _among(KINDS, "kind of call")] = OF_USERS
    """Kinds of calls: chat, respond, embed, models, … `other` is a provider's raw API under /{provider}/…, which
    the gateway asks with its own key."""
    hosts: _Patterns = ("*",)
    """Patterns of hosts that may be called through the proxy; `gateway` is our own listener."""
    admin: Annotated[_Patterns, _among(PERMISSIONS, "permission of the admin API")] = ()
    """Permissions in the admin API: keys.read, keys.*, *."""
    tier: Annotated[str, Field(max_length=64, strict=True)] = ""
    """Which of a policy's limit tiers holds for whoever has this role."""

    def permits_model(self, *names: str) -> bool:
        """`names`: as asked for, as an alias led to it, and `provider/model`; one of them has to fit."""
        return fits(self.models, *names)

    def permits_endpoint(self, kind: str) -> bool:
        return fits(self.endpoints, kind)

    def permits_host(self, host: str) -> bool:
        return fits(self.hosts, host.lower())

    def permits_admin(self, permission: str) -> bool:
        return fits(self.admin, permission)


DEFAULTS: Mapping[str, Role] = {
    "admin": Role(endpoints=("*",), admin=("*",)),
    "user": Role(),
    "guest": Role(endpoints=("models",)),
}


class Roles:
    """All roles by name. A name that nobody has described permits nothing."""

    def __init__(self, written: Mapping[str, Role] | None = None) -> None:
        """A role of `written` replaces the built-in one of its name as a whole."""
        self._roles = {**DEFAULTS, **(written or {})}

    @classmethod
    def load(cls, config: Config) -> Roles:
        return cls(config.roles)

    def __contains__(self, name: str) -> bool:
        return name in self._roles

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self._roles)

    def of(self, names: Iterable[str]) -> tuple[Role, ...]:
        """Those of these names that there are."""
        return tuple(self._roles[name] for name in names if name in self._roles)

    def permits_admin(self, caller: Caller, permission: str) -> bool:
        return any(role.permits_admin(permission) for role in self.of(caller.roles))

    def tier_of(self, caller: Caller) -> str:
        """The limit tier of the first of the caller's roles that names one; "" where none does."""
        return next((role.tier for role in self.of(caller.roles) if role.tier), "")
