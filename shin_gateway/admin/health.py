"""Is it alive, is it ready: two questions. Who is not ready is waited for, who is not alive is ended."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable
from typing import Any, Literal

from fastapi import APIRouter
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict

from shin_gateway.admin.parts import Parts
from shin_gateway.admin.problems import Problem, problem
from shin_gateway.stores import heartbeats
from shin_gateway.stores.errors import StoreError

log = logging.getLogger(__name__)

PATIENCE = 2.0
"""Seconds that each part has to answer."""


class Live(BaseModel):
    status: Literal["live"] = "live"


class Part(BaseModel):
    """One part that serving needs."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    ready: bool
    why: str | None = None
    """What is wrong, when it is not ready."""


class Ready(BaseModel):
    status: Literal["ready"] = "ready"
    parts: dict[str, Part]
    """`state`, `analytics`, `workers`."""
    workers: int
    """Workers that are alive, on all machines that share the state store."""


class NotReady(Problem):
    """Which part is down."""

    parts: dict[str, Part]


def router(parts: Parts) -> APIRouter:
    routes = APIRouter(prefix="/health", tags=["health"])

    @routes.get("/live")
    async def live() -> Live:
        """This process answers. Says nothing of what it stands on; needs no credentials."""
        return Live()

    looks = [_Look("state"), _Look("analytics"), _Look("workers")]

    @routes.get("/ready", response_model=Ready, responses={503: {"model": NotReady, "description": "A part is down"}})
    async def ready() -> Ready | JSONResponse:
        """Both stores answer and at least one worker is alive; else 503 says which part is down."""
        asked = [parts.state.ping(), parts.analytics.ping(), heartbeats.alive(parts.state)]
        answers = await asyncio.gather(*(look(one) for look, one in zip(looks, asked, strict=True)))
        (state, _), (analytics, _), (workers, count) = answers
        if count == 0:
            workers = Part(ready=False, why="none is alive")
        found = {"state": state, "analytics": analytics, "workers": workers}
        down = [f"{name}: {part.why}" for name, part in found.items() if not part.ready]
        if down:
            shown = {name: part.model_dump(exclude_none=True) for name, part in found.items()}
            return problem(503, "; ".join(down), parts=shown)
        return Ready(parts=found, workers=count)

    return routes


class _Look:
    """Looks at one part. The reason goes to the log, once for as long as it stays: it may hold names and SQL."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._reason = ""

    async def __call__(self, ping: Awaitable[Any]) -> tuple[Part, Any]:
        """What is told of the part, and what it answered."""
        try:
            async with asyncio.timeout(PATIENCE):
                answer = await ping
        except TimeoutError:
            return self._down(f"no answer in {PATIENCE:g} s", ""), None
        except StoreError as error:
            return self._down("down; the log of the admin process says why", str(error)), None
        self._reason = ""
        return Part(ready=True), answer

    def _down(self, why: str, reason: str) -> Part:
        if (reason or why) != self._reason:
            self._reason = reason or why
            log.warning("not ready: %s: %s", self._name, self._reason)
        return Part(ready=False, why=why)
