"""Virtual keys: made, looked at, changed, ended."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated, Any

from fastapi import APIRouter, HTTPException, Query

from shin_gateway import actions
from shin_gateway.admin.key_forms import (
    KeyMade,
    KeyShown,
    KeysShown,
    KeysWanted,
    KeyWanted,
    Rotation,
    recorded,
    shown,
)
from shin_gateway.admin.parts import Parts
from shin_gateway.admin.permissions import Asker, Who, needs
from shin_gateway.admin.problems import Problem
from shin_gateway.keys import KeyGone, KeyRecord, KeyUnknown
from shin_gateway.keys.registrar import Busy, Changed, TooManyKeys

_NO_SUCH: dict[int | str, dict[str, Any]] = {
    404: {"model": Problem, "description": "There is no such key"},
    409: {"model": Problem, "description": "It is revoked, or others change it too"},
}


def router(parts: Parts) -> APIRouter:
    routes = APIRouter(prefix="/api/v1/keys", tags=["keys"])
    _add_reads(routes, parts)
    _add_writes(routes, parts)
    _add_switches(routes, parts)
    return routes


def _add_reads(routes: APIRouter, parts: Parts) -> None:
    @routes.get("", dependencies=[needs("keys.read")])
    async def keys(wanted: Annotated[KeysWanted, Query()]) -> KeysShown:
        """Virtual keys, the newest first."""
        with _refused("query.before"):
            found = await parts.registrar.list(wanted.fits, wanted.before, wanted.limit)
        return KeysShown(keys=[shown(one) for one in found], next=found[-1].id if len(found) == wanted.limit else None)

    @routes.get("/{id}", dependencies=[needs("keys.read")], responses={404: _NO_SUCH[404]})
    async def key(id: str) -> KeyShown:
        """One virtual key."""
        with _refused():
            return shown(await parts.registrar.show(id))


def _add_writes(routes: APIRouter, parts: Parts) -> None:
    @routes.post("", status_code=201, dependencies=[needs("keys.write")], responses={409: _NO_SUCH[409]})
    async def create(wanted: KeyWanted, who: Who) -> KeyMade:
        """Make a virtual key. The answer holds its secret, which is shown this once."""
        fields = {"roles": ("user",)} | wanted.fields()
        _check_roles(fields["roles"], who, parts)
        with _refused():
            record, secret = await parts.registrar.create(**fields)
        await actions.record(parts.state, who.name, "key created", None, recorded(record), subject=record.id)
        return KeyMade(**shown(record).model_dump(), secret=secret)

    @routes.patch("/{id}", dependencies=[needs("keys.write")], responses=_NO_SUCH)
    async def change(id: str, wanted: KeyWanted, who: Who) -> KeyShown:
        """Change what a key may. It holds everywhere within a second."""
        fields = wanted.fields()
        if "roles" in fields:
            _check_roles(fields["roles"], who, parts)
        with _refused():
            changed = await parts.registrar.update(id, _permit(who, parts), **fields)
        return await _told("key changed", changed, who, parts)

    @routes.delete("/{id}", dependencies=[needs("keys.write")], responses=_NO_SUCH)
    async def revoke(id: str, who: Who) -> KeyShown:
        """End a key for good, everywhere within a second."""
        with _refused():
            changed = await parts.registrar.revoke(id, _permit(who, parts))
        return await _told("key revoked", changed, who, parts)

    @routes.post("/{id}/rotate", dependencies=[needs("keys.write")], responses=_NO_SUCH)
    async def rotate(id: str, who: Who, wanted: Rotation | None = None) -> KeyMade:
        """Give a key a new secret, which is shown this once. The old one works for `grace` seconds more."""
        with _refused():
            changed, secret = await parts.registrar.rotate(id, (wanted or Rotation()).grace, _permit(who, parts))
        told = await _told("key rotated", changed, who, parts)
        return KeyMade(**told.model_dump(), secret=secret)


def _add_switches(routes: APIRouter, parts: Parts) -> None:
    @routes.post("/{id}/disable", dependencies=[needs("keys.write")], responses=_NO_SUCH)
    async def disable(id: str, who: Who) -> KeyShown:
        """Let nobody in with a key until it is enabled again; everywhere within a second."""
        with _refused():
            changed = await parts.registrar.update(id, _permit(who, parts), disabled=True)
        return await _told("key disabled", changed, who, parts)

    @routes.post("/{id}/enable", dependencies=[needs("keys.write")], responses=_NO_SUCH)
    async def enable(id: str, who: Who) -> KeyShown:
        """Let a disabled key work again."""
        with _refused():
            changed = await parts.registrar.update(id, _permit(who, parts), disabled=False)
        return await _told("key enabled", changed, who, parts)


def _check_roles(names: tuple[str, ...], who: Asker, parts: Parts) -> None:
    """Roles that there are, and that permit nothing which who gives them may not do himself. Raises HTTPException."""
    for name in names:
        if name not in parts.roles:
            raise HTTPException(422, f'body.roles: there is no role "{name}"; there are {", ".join(parts.roles.names)}')
        if not who.may_give(parts.roles, (name,)):
            raise HTTPException(403, f'The role "{name}" may do more than you: you cannot give it to a key.')


def _permit(who: Asker, parts: Parts) -> Callable[[KeyRecord], None]:
    """Keeps a key that may do more than who asks out of his hands: its new secret would be his."""

    def check(record: KeyRecord) -> None:
        if not who.may_give(parts.roles, record.roles):
            raise HTTPException(403, "This key may do more than you: you cannot change it.")

    return check


async def _told(what: str, changed: Changed, who: Asker, parts: Parts) -> KeyShown:
    """Record what was done, if anything was."""
    if changed.before != changed.after:
        before, after = actions.difference(recorded(changed.before), recorded(changed.after))
        await actions.record(parts.state, who.name, what, before, after, subject=changed.after.id)
    return shown(changed.after)


@contextmanager
def _refused(where: str = "") -> Iterator[None]:
    """Turns what the registrar says into HTTPException; `where` is the filter that names a key, if one does."""
    try:
        yield
    except KeyUnknown as error:
        raise HTTPException(422 if where else 404, f"{where}: {error}" if where else str(error)) from None
    except (KeyGone, Busy, TooManyKeys) as error:
        raise HTTPException(409, str(error)) from None
