"""Who is calling, and what his own key grants him."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping

Kind = Literal["user", "virtual_key", "token", "key", "anonymous"]
"""user: one of shin.yaml's, or a name in the proxy's URL that nobody checked. virtual_key: a key of ours. token: a JWT
or a token that its issuer was asked about. key: whoever holds a provider's key, by its hash. anonymous: unknown."""

NO_SECRET = "-"
"""The password of who has none: Node's proxy client sends no credentials at all when it is empty."""


@dataclass(frozen=True, slots=True)
class Grant:
    """What a virtual key itself permits and limits. Empty: everything that its owner's roles permit."""

    models: tuple[str, ...] = ()
    """Patterns of models, by the name that is asked for or by `provider/model`."""
    hosts: tuple[str, ...] = ()
    """Patterns of hosts; `gateway` is our own listener."""
    limits: Mapping[str, Any] = field(default_factory=dict)
    """Settings as those of the addon `rate_limit`, as JSON holds them."""
    budget: Mapping[str, Any] = field(default_factory=dict)
    """Settings as those of the addon `budget`, as JSON holds them."""


NO_GRANT = Grant()


@dataclass(frozen=True, slots=True)
class Caller:
    """Who is calling. What is empty is not known."""

    name: str = "anonymous"
    """For people: the user, `key-3f9a…` for who holds a provider's key, else a virtual key's own name."""
    kind: Kind = "anonymous"
    user: str = ""
    team: str = ""
    project: str = ""
    key: str = ""
    """A virtual key's id, or the SHA-256 of a provider's key. Never a key."""
    roles: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    grant: Grant = NO_GRANT

    @property
    def tenant(self) -> str:
        """Whose data it is that this caller makes and sees: a person's, whichever key he comes with, else a key's."""
        if self.user:
            return f"user {self.user}"
        return f"key {self.key}" if self.key else f"{self.kind} {self.name}"


ANONYMOUS = Caller()
