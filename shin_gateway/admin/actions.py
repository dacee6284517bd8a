"""What administrators did."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field

from shin_gateway import actions as kept
from shin_gateway.admin.parts import Parts
from shin_gateway.admin.permissions import needs


class ActionsWanted(BaseModel):
    model_config = ConfigDict(use_attribute_docstrings=True, extra="forbid")

    limit: Annotated[int, Field(ge=1, le=1000)] = 100
    before: Annotated[str, Field(pattern=r"^\d{1,20}-\d{1,20}$")] | None = None
    """The `next` of the page before."""


class ActionShown(BaseModel):
    """One thing that was done."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    id: str
    at: datetime
    """UTC."""
    who: str
    """A user, a key with its id, `this machine` for the commands of its owner, or `files on …`."""
    what: str
    subject: str
    """What it was done to, a key's id for example."""
    before: dict[str, Any] | None
    """What was otherwise before; null where there was nothing."""
    after: dict[str, Any] | None


class ActionsShown(BaseModel):
    """The newest first; about the last 20,000 are kept."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    actions: list[ActionShown]
    next: str | None
    """`before` for the page after this one; null on the last page."""


def router(parts: Parts) -> APIRouter:
    routes = APIRouter(prefix="/api/v1", tags=["actions"])

    @routes.get("/actions", dependencies=[needs("actions.read")])
    async def actions(wanted: Annotated[ActionsWanted, Query()]) -> ActionsShown:
        """Administrative actions: keys made and changed, policies changed, budgets raised. No secret is among them."""
        found = await kept.latest(parts.state, wanted.limit, wanted.before)
        shown = [_shown(one) for one in found]
        return ActionsShown(actions=shown, next=shown[-1].id if len(shown) == wanted.limit else None)

    return routes


def _shown(action: kept.Action) -> ActionShown:
    return ActionShown(
        id=action.id,
        at=datetime.fromtimestamp(action.at, UTC),
        who=action.who,
        what=action.what,
        subject=action.subject,
        before=action.before,
        after=action.after,
    )
