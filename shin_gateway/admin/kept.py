"""Credentials for providers that the gateway keeps: set, listed, removed, sealed again. Never shown."""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, HTTPException
from pydantic import BaseModel, ConfigDict, Field

from shin_gateway import actions
from shin_gateway.admin.parts import Parts
from shin_gateway.admin.permissions import Who, needs
from shin_gateway.admin.problems import Problem
from shin_gateway.provider_keys.keeping import Keeping, NotKept, Shown
from shin_gateway.sealing import Unusable, master_key
from shin_gateway.secret import LONGEST


class CredentialWanted(BaseModel):
    model_config = ConfigDict(use_attribute_docstrings=True, extra="forbid", hide_input_in_errors=True)

    value: Annotated[str, Field(min_length=1, max_length=LONGEST, repr=False)]
    """The credential itself: one line, or the JSON file of a service account."""


class CredentialShown(BaseModel):
    """A kept credential. The credential itself is shown to nobody."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    name: str
    """`kept:NAME` in shin.yaml."""
    at: datetime
    """When it was set."""
    by: str
    end: str
    """Its last four characters; empty where it is short, or cannot be opened."""
    state: Literal["good", "old key", "unreadable"]
    """`old key`: sealed with a master key that is no longer the first. `unreadable`: with one that is not known."""


class CredentialsShown(BaseModel):
    credentials: list[CredentialShown]


class Resealed(BaseModel):
    names: list[str]


_NO_SUCH: dict[int | str, dict[str, Any]] = {404: {"model": Problem, "description": "None is kept under this name"}}


def router(parts: Parts) -> APIRouter:
    routes = APIRouter(prefix="/api/v1/credentials", tags=["credentials"])
    keeper = _Keeper(parts)

    @routes.get("", dependencies=[needs("credentials.read")])
    async def credentials() -> CredentialsShown:
        """What is kept, by name."""
        found = await (await keeper.keeping()).listed()
        return CredentialsShown(credentials=[_shown(one) for one in found])

    @routes.put("/{name}", dependencies=[needs("credentials.write")])
    async def put(name: str, wanted: CredentialWanted, who: Who) -> CredentialShown:
        """Keep a credential, in the place of what was there. Workers use it within a second."""
        keeping = await keeper.keeping()
        before = await keeping.one(name)
        try:
            after = await keeping.put(name, wanted.value, who.name)
        except NotKept as error:
            raise HTTPException(422, str(error)) from None
        await actions.record(parts.state, who.name, "credential set", _told(before), _told(after), subject=name)
        return _shown(after)

    @routes.delete("/{name}", dependencies=[needs("credentials.write")], responses=_NO_SUCH)
    async def remove(name: str, who: Who) -> CredentialShown:
        """Forget a credential, everywhere within a second."""
        before = await (await keeper.keeping()).remove(name)
        if before is None:
            raise HTTPException(404, "No credential is kept under this name.")
        await actions.record(parts.state, who.name, "credential removed", _told(before), None, subject=name)
        return _shown(before)

    @routes.post("/reseal", dependencies=[needs("credentials.write")])
    async def reseal(who: Who) -> Resealed:
        """Seal with the master key of now what an older one has sealed."""
        names = await (await keeper.keeping()).reseal()
        if names:
            await actions.record(parts.state, who.name, "credentials resealed", None, {"names": names})
        return Resealed(names=names)

    return routes


class _Keeper:
    """The master key is read when somebody needs it first."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._keeping: Keeping | None = None

    async def keeping(self) -> Keeping:
        """Raises HTTPException where there is no master key."""
        if self._keeping is None:
            try:
                master = await asyncio.to_thread(master_key, self._parts.home)
            except Unusable as error:
                raise HTTPException(503, str(error)) from None
            self._keeping = Keeping(self._parts.state, master)
        return self._keeping


def _shown(one: Shown) -> CredentialShown:
    return CredentialShown(**asdict(one) | {"at": datetime.fromtimestamp(one.at, UTC)})


def _told(one: Shown | None) -> dict[str, Any] | None:
    """For the list of actions: nothing of the credential itself, not even its end."""
    return None if one is None else {"at": one.at, "by": one.by}
