"""Budgets in use: looked at, raised and lowered, wiped."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated, Any, Literal

from fastapi import APIRouter, HTTPException, Query
from pydantic import BaseModel, ConfigDict, Field

from shin_gateway import actions
from shin_gateway.admin.parts import Parts
from shin_gateway.admin.permissions import Who, needs
from shin_gateway.admin.problems import Problem
from shin_gateway.admission.alerts import shown
from shin_gateway.admission.ledger import Account, Ledger
from shin_gateway.units import BILLION, parse_amount, parse_money

Name = Annotated[str, Field(min_length=1, max_length=400)]


class _Asked(BaseModel):
    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)


class _Shown(BaseModel):
    model_config = ConfigDict(use_attribute_docstrings=True)


class BudgetShown(_Shown):
    """One budget of one subject, in the period that runs. Amounts are text, since a float would round them."""

    budget: str
    subject: str
    """For whom it counts: `user alice`, `team red`, `everyone`."""
    unit: Literal["dollars", "tokens"]
    spent: str
    """Of a rolling budget with what is held for calls under way."""
    reserved: str
    """Held for calls under way."""
    limit: str
    policy_limit: str
    """What the policy says, where an administrator has set another limit."""
    rolling: bool
    resets: datetime
    """The end of the period; of a rolling budget when all that is used now has gone out of it."""


class BudgetsShown(_Shown):
    budgets: list[BudgetShown]


class BudgetsWanted(_Asked):
    budget: Annotated[str, Field(max_length=100)] = ""
    subject: Annotated[str, Field(max_length=400)] = ""


class OneWanted(_Asked):
    """Which one."""

    budget: Name
    subject: Name


class LimitWanted(OneWanted):
    limit: Annotated[str, Field(max_length=40)] | None
    """`$30` or `3M tokens`; null: what the policy says again."""


class AlertShown(_Shown):
    at: datetime
    budget: str
    subject: str
    level: int
    """Per cent of the limit that were reached: 50, 75, 90 or 100."""
    message: str


class AlertsShown(_Shown):
    """The newest first."""

    alerts: list[AlertShown]


_NO_SUCH: dict[int | str, dict[str, Any]] = {404: {"model": Problem, "description": "No such budget is in use"}}


def router(parts: Parts) -> APIRouter:
    routes = APIRouter(prefix="/api/v1/budgets", tags=["budgets"])
    ledger = Ledger(parts.state)
    _add_reads(routes, ledger)
    _add_writes(routes, ledger, parts)
    return routes


def _add_reads(routes: APIRouter, ledger: Ledger) -> None:
    @routes.get("", dependencies=[needs("budgets.read")])
    async def budgets(wanted: Annotated[BudgetsWanted, Query()]) -> BudgetsShown:
        """Budgets of which something was used in the period that runs."""
        found = await ledger.accounts(wanted.budget, wanted.subject)
        return BudgetsShown(budgets=[_shown(one) for one in found])

    @routes.get("/alerts", dependencies=[needs("budgets.read")])
    async def alerts(limit: Annotated[int, Query(ge=1, le=1000)] = 100) -> AlertsShown:
        """That a budget reached 50, 75, 90 and 100 % of its limit, each told once in a period."""
        found = await ledger.alerts(limit)
        return AlertsShown(
            alerts=[
                AlertShown(
                    at=datetime.fromtimestamp(at, UTC),
                    budget=one.budget,
                    subject=one.subject,
                    level=one.level,
                    message=str(one),
                )
                for at, one in found
            ]
        )


def _add_writes(routes: APIRouter, ledger: Ledger, parts: Parts) -> None:
    @routes.put("/limit", dependencies=[needs("budgets.write")], responses=_NO_SUCH)
    async def set_limit(wanted: LimitWanted, who: Who) -> BudgetShown:
        """Give one subject another limit than the policy does. It holds at once, and in later periods too."""
        before = await _find(ledger, wanted)
        await ledger.set_limit(before, _amount(wanted.limit, before))
        after = await _find(ledger, wanted)
        changed = {"limit": _words(before.limit, before)}, {"limit": _words(after.limit, after)}
        await actions.record(parts.state, who.name, "budget set", *changed, subject=before.known_as)
        return _shown(after)

    @routes.post("/reset", dependencies=[needs("budgets.write")], responses=_NO_SUCH)
    async def reset(wanted: OneWanted, who: Who) -> BudgetShown:
        """Forget what was spent in the period that runs. What is held for calls under way stays held."""
        before = await _find(ledger, wanted)
        await ledger.reset(before)
        after = await _find(ledger, wanted)
        changed = {"spent": _words(before.spent, before)}, {"spent": _words(after.spent, after)}
        await actions.record(parts.state, who.name, "budget reset", *changed, subject=before.known_as)
        return _shown(after)


async def _find(ledger: Ledger, wanted: OneWanted) -> Account:
    found = await ledger.accounts(wanted.budget, wanted.subject)
    if not found:
        raise HTTPException(404, f'No budget "{wanted.budget}" of {wanted.subject} is in use in the period that runs.')
    return found[0]


def _amount(text: str | None, account: Account) -> int | None:
    if text is None:
        return None
    try:
        if account.money:
            return parse_money(text)
        return parse_amount(text.removesuffix("tokens").strip(), "a number of tokens, like 2M tokens")
    except ValueError as error:
        raise HTTPException(422, f"limit: {error}.") from None


def _words(amount: int, account: Account) -> str:
    return shown(amount, account.money)


def _shown(account: Account) -> BudgetShown:
    def text(amount: int) -> str:
        return f"{Decimal(amount) / BILLION:f}" if account.money else str(amount)

    return BudgetShown(
        budget=account.budget,
        subject=account.subject,
        unit="dollars" if account.money else "tokens",
        spent=text(account.spent),
        reserved=text(account.reserved),
        limit=text(account.limit),
        policy_limit=text(account.policy_limit),
        rolling=account.rolling,
        resets=datetime.fromtimestamp(account.ends, UTC),
    )
