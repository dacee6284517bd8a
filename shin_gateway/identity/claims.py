"""From what an identity provider says of a caller to who he is here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from shin_gateway.caller import Caller
from shin_gateway.identity.jwt import wrong

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from shin_gateway.auth_settings import IntrospectionSettings, Issuer

LONGEST = 200
"""Characters of a name."""
MOST_ROLES = 200
_WORDS = ("scope", "scp")
"""Claims whose text is a list of words (RFC 8693 §4.2)."""


def caller_from(claims: Mapping[str, Any], settings: Issuer | IntrospectionSettings) -> Caller:
    """Raises Unauthenticated for claims that lack what `settings` wants."""
    for path, values in settings.required_claims.items():
        if not _holds(find(claims, path), values):
            raise wrong(f"The token lacks what is required of its claim {path}.")
    names = settings.claims
    user = _name(find(claims, names.user))
    if not user:
        raise wrong(f"The token does not say who calls: its claim {names.user} is missing or no name.")
    user = f"{settings.prefix or ''}{user}"
    return Caller(
        name=user,
        kind="token",
        user=user,
        team=_name(find(claims, names.team)),
        project=_name(find(claims, names.project)),
        roles=tuple(_roles(claims, names.roles, settings.role_names)),
    )


def find(claims: object, path: str) -> object:
    """What stands at `realm_access.roles`, None where nothing does. A name that has dots itself is found too."""
    if not isinstance(claims, dict) or not path:
        return None
    if path in claims:
        return claims[path]
    for dot in (at for at, character in enumerate(path) if character == "."):
        if path[:dot] in claims:
            found = find(claims[path[:dot]], path[dot + 1 :])
            if found is not None:
                return found
    return None


def _holds(found: object, values: tuple[str | int | bool, ...]) -> bool:
    """Whether a claim, or something in it where it is a list, is one of `values`. True is not 1."""
    held = found if isinstance(found, list) else [found]
    return any(type(one) is type(value) and one == value for one in held for value in values)


def _name(found: object) -> str:
    """A text that can stand in a log and a label; "" for any other."""
    if isinstance(found, list):
        found = found[0] if found else None
    if isinstance(found, int) and not isinstance(found, bool):
        found = str(found) if abs(found) < 1 << 64 else None
    if not isinstance(found, str) or len(found) > LONGEST or not found.isprintable():
        return ""
    return found.strip()


def _roles(claims: Mapping[str, Any], path: str, ours: Mapping[str, str]) -> Iterator[str]:
    found = find(claims, path)
    if isinstance(found, str):
        found = found.split() if path.rpartition(".")[2] in _WORDS else [found]
    named = found[:MOST_ROLES] if isinstance(found, list) else []
    roles = (_name(one) for one in named if isinstance(one, str))
    known = ((ours.get(role, "") if ours else role) for role in roles)
    yield from dict.fromkeys(role for role in known if role)
