"""Dead letters: calls that failed for good, looked at, sent again, thrown away."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, HTTPException, Query, Request
from pydantic import BaseModel, ConfigDict, Field, SecretStr

from shin_gateway import actions, running
from shin_gateway.admin.parts import Parts
from shin_gateway.admin.permissions import THIS_MACHINE, Asker, Who, needs
from shin_gateway.admin.problems import Problem
from shin_gateway.letters import Content, Letter, Shelf
from shin_gateway.letters.replaying import replay
from shin_gateway.sealing import Unusable, master_key

Id = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[0-9a-f]+$")]


class _Shown(BaseModel):
    model_config = ConfigDict(use_attribute_docstrings=True)


class LetterShown(_Shown):
    """One call that failed."""

    id: str
    """The call's."""
    at: datetime
    caller: str
    policy: str
    host: str
    method: str
    path: str
    kind: str
    model: str
    target: str
    status: int
    end: str
    cause: str
    attempts: int
    size: int
    """Bytes of the body."""
    unsent: str
    """Why it cannot be sent again; empty: it can."""


class LetterOpened(LetterShown):
    headers: dict[str, str]
    """Those that are kept; never a credential."""
    body: str


class LettersShown(_Shown):
    """The newest first."""

    letters: list[LetterShown]
    next: str | None
    """`before` for the page after this one; null on the last page."""


class LettersWanted(BaseModel):
    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    limit: Annotated[int, Field(ge=1, le=500)] = 100
    before: Id | None = None


class Replay(BaseModel):
    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    key: SecretStr | None = None
    """A credential for the gateway, in place of the one that you show here."""
    keep: bool = False
    """Keep the letter although it went through this time."""


class ReplayShown(_Shown):
    id: str
    status: int
    """What the gateway answered; 0: nothing, or its reply broke off."""
    call: str
    """The id of the new call."""
    said: str
    """What the gateway said against it."""
    kept: bool
    """Whether the letter is still here."""


_NO_SUCH: dict[int | str, dict[str, Any]] = {
    404: {"model": Problem, "description": "There is no such letter"},
    409: {"model": Problem, "description": "It cannot be opened, or not be sent again; the detail says why"},
}


def router(parts: Parts) -> APIRouter:
    routes = APIRouter(prefix="/api/v1/dlq", tags=["dead letters"])
    desk = _Desk(parts)
    _add_reads(routes, desk)
    _add_writes(routes, desk, parts)
    return routes


def _add_reads(routes: APIRouter, desk: _Desk) -> None:
    @routes.get("", dependencies=[needs("dlq.read")])
    async def letters(wanted: Annotated[LettersWanted, Query()]) -> LettersShown:
        """Calls that failed for good, where a policy keeps them: `concurrency: {dead_letters: on}`."""
        found = await (await desk.shelf()).latest(wanted.limit, wanted.before or "")
        next = found[-1].id if len(found) == wanted.limit else None
        return LettersShown(letters=[LetterShown(**_fields(one)) for one in found], next=next)

    @routes.get("/{id}", dependencies=[needs("dlq.read")], responses=_NO_SUCH)
    async def letter(id: Id) -> LetterOpened:
        """One of them with its body."""
        found, content = await desk.open(id)
        body = content.body.decode("utf-8", "replace")
        return LetterOpened(**_fields(found), headers=content.headers, body=body)


def _add_writes(routes: APIRouter, desk: _Desk, parts: Parts) -> None:
    @routes.post("/{id}/replay", dependencies=[needs("dlq.write")], responses=_NO_SUCH)
    async def send(id: Id, request: Request, who: Who, wanted: Replay | None = None) -> ReplayShown:
        """Send it to the gateway again, as a call of yours: your limits and budgets count. It is dropped when it
        goes through."""
        wanted = wanted or Replay()
        found, content = await desk.open(id)
        if found.unsent:
            raise HTTPException(409, f"It cannot be sent again: {found.unsent}.")
        key = wanted.key.get_secret_value() if wanted.key else _own_key(request, who)
        result = await replay(await desk.gateway(), found, content, key)
        kept = wanted.keep or not result.went_through
        if not kept:
            await (await desk.shelf()).drop([id])
        after = {"status": result.status, "call": result.call}
        await actions.record(parts.state, who.name, "dead letter replayed", None, after, subject=id)
        return ReplayShown(id=id, status=result.status, call=result.call, said=result.said, kept=kept)

    @routes.delete("/{id}", status_code=204, dependencies=[needs("dlq.write")], responses={404: _NO_SUCH[404]})
    async def drop(id: Id, who: Who) -> None:
        """Throw one away."""
        if not await (await desk.shelf()).drop([id]):
            raise HTTPException(404, "There is no such letter.")
        await actions.record(parts.state, who.name, "dead letter dropped", None, None, subject=id)


class _Desk:
    """What the routes stand on; the master key is read when it is first wanted."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._shelf: Shelf | None = None

    async def shelf(self) -> Shelf:
        if self._shelf is None:
            try:
                master = await asyncio.to_thread(master_key, self._parts.home)
            except Unusable as error:
                raise HTTPException(503, f"What is kept cannot be opened: {error}") from None
            self._shelf = Shelf(self._parts.state, master)
        return self._shelf

    async def open(self, id: str) -> tuple[Letter, Content]:
        shelf = await self.shelf()
        found = await shelf.find(id)
        if found is None:
            raise HTTPException(404, "There is no such letter.")
        content = await shelf.read(id)
        if content is None:
            raise HTTPException(409, "It was sealed with another master key, and cannot be opened.")
        return found, content

    async def gateway(self) -> str:
        home = self._parts.home
        found = await asyncio.to_thread(_running, home) if home else None
        if found is None:
            raise HTTPException(409, "No gateway runs with this home folder: letters are sent again where one does.")
        return found


def _running(home: Path) -> str | None:
    found = running.read(home / "run.json")
    return found.gateway if found and found.gateway and found.alive else None


def _own_key(request: Request, who: Asker) -> str:
    """What the asker has shown us; this machine's own token is none for the gateway."""
    if who is THIS_MACHINE:
        return ""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


def _fields(letter: Letter) -> dict[str, Any]:
    names = [name for name in LetterShown.model_fields if name != "at"]
    return {"at": datetime.fromtimestamp(letter.at, UTC), **{name: getattr(letter, name) for name in names}}
