"""What may be spent: reserved before a call at what it may cost at most, settled when it has ended."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

from shin_gateway.addon import Addon, Forward, Mode, Services, Stage
from shin_gateway.admission.alerts import shown
from shin_gateway.admission.budgets import Budget, BudgetClaim, Budgets, read_budget
from shin_gateway.admission.claims import Claim, ClaimMode
from shin_gateway.admission.costs import Costs
from shin_gateway.admission.estimates import BY_TOKEN, Estimate, came_to, estimate
from shin_gateway.admission.owned import Owned
from shin_gateway.admission.periods import in_words, rfc3339
from shin_gateway.admission.subjects import whose
from shin_gateway.call import Call
from shin_gateway.errors import NotAllowed, OverBudget, RateLimited, Refusal
from shin_gateway.outcome import Outcome
from shin_gateway.policy.paths import GENERATING
from shin_gateway.pricing import Prices, PriceSettings
from shin_gateway.reply import Reply

SPENDING = BY_TOKEN - {"moderation"}
"""Kinds of calls that are paid for. Moderations are free; files and batches are not metered."""


class BudgetSettings(Budgets):
    unknown_price: Literal["allow", "refuse"] | PriceSettings = "refuse"
    """A call to a model whose price is unknown: `refuse` it, `allow` it for nothing, or take these US dollars for a
    million tokens: `{input: $5, output: $15}`. Budgets of tokens let it through."""
    scope: Literal["policy", "shared"] = "shared"
    """`policy`: budgets of the same name count apart in each policy."""
    on_store_error: Literal["allow", "refuse"] = "refuse"
    """A call whose budget cannot be asked: `refuse` it with 503, or `allow` it."""


class BudgetAddon(Addon[BudgetSettings]):
    stage = Stage.ADMIT
    claims = True
    needs = ("meter",)

    def __init__(self, settings: BudgetSettings, services: Services, mode: Mode = "enforce") -> None:
        super().__init__(settings, services, mode)
        unknown = settings.unknown_price
        otherwise = unknown.rates() if isinstance(unknown, PriceSettings) else None
        self._costs = Costs(services.prices, services.target_of, otherwise)
        self._budgets = [Budget(one, apart=settings.scope == "policy") for one in settings.all]
        self._of_keys = Owned(_own)
        self._mode = ClaimMode.SHADOW if mode == "shadow" else ClaimMode.ENFORCE

    async def start(self) -> None:
        await asyncio.to_thread(Prices.load)

    async def handle(self, call: Call, forward: Forward) -> Reply:
        budgets = self._budgets_for(call) if call.kind in SPENDING else []
        if budgets:
            call.claims += self._claims(call, budgets)
        return await forward(call)

    def _budgets_for(self, call: Call) -> list[Budget]:
        said = call.caller.grant.budget
        return [*self._budgets, *self._of_keys.of(call.caller.key, said)] if said else self._budgets

    def _claims(self, call: Call, budgets: Iterable[Budget], over: Sequence[Budget] = ()) -> list[BudgetClaim]:
        """`over`: those that only count, since they are spent already."""
        budgets, expected = list(budgets), estimate(call)
        cost = self._cost(call, expected) if any(budget.allowed.money for budget in budgets) else 0
        return [
            BudgetClaim(
                "budget",
                budget.limit_at(call.arrived),
                budget.subject_of(call),
                cost if budget.allowed.money else expected.tokens,
                refuse=_refuse,
                truth=self._costs.came_to if budget.allowed.money else _tokens,
                otherwise=None if budget.action == "block" else self._otherwise,
                mode=ClaimMode.COUNT if budget in over else self._mode,
                on_store_error=self.settings.on_store_error,
                budget=budget,
            )
            for budget in budgets
        ]

    def _cost(self, call: Call, expected: Estimate) -> int:
        """Raises OverBudget where the price is unknown and has to be known."""
        try:
            cost = self._costs.expected(call, expected)
        except Refusal:  # it has no target, and will hear so
            return 0
        if cost is None and self.settings.unknown_price == "refuse":
            self._refuse_unpriced(call)
        return cost or 0

    def _refuse_unpriced(self, call: Call) -> None:
        if self._mode is ClaimMode.SHADOW:
            call.note(**{"shadow.budget": "unknown_price"})
            return
        raise OverBudget(
            f'The price of the model "{call.model[:100]}" is unknown, so that no budget can be held. It can be set '
            "under `prices:` in shin.yaml.",
            code="unknown_price",
        )

    # Beyond the budget

    def _otherwise(self, call: Call, refused: Claim) -> list[Claim] | None:
        """What to claim instead: the same, counted only, at a slower pace or for a cheaper model."""
        mine = [claim for claim in call.claims if isinstance(claim, BudgetClaim)]
        over = [claim.budget for claim in mine if claim.mode is ClaimMode.COUNT or not _passes(claim)]
        if any(budget.action == "block" for budget in over):
            return None
        cheaper = next((budget.downgrade for budget in over if budget.downgrade), "")
        if cheaper and not _ask_instead(call, cheaper):
            return None
        if not cheaper:
            call.note(budget="throttled")
        claims = self._claims(call, [claim.budget for claim in mine], over)
        return [*claims, *(self._slower(call, budget) for budget in over if budget.throttle is not None)]

    def _slower(self, call: Call, budget: Budget) -> Claim:
        assert budget.throttle is not None
        return Claim(
            "budget",
            budget.throttle,
            budget.subject_of(call),
            1,
            refuse=_too_fast,
            on_store_error=self.settings.on_store_error,
        )


def _own(_: str, said: Mapping[str, Any]) -> list[Budget]:
    """A virtual key's own budgets, which hold whatever the policy says."""
    try:
        return [Budget(one, prefix="own ") for one in read_budget(said).all]
    except ValueError as error:
        raise NotAllowed(f"The budget of this virtual key cannot be held: {error}.", code="key_budget") from None


def _passes(claim: BudgetClaim) -> bool:
    return claim.standing is not None and claim.standing.passes


def _ask_instead(call: Call, model: str) -> bool:
    """Rename the call's model; whether it could be. The client goes on seeing the name that it asked for."""
    if call.kind not in GENERATING:
        return False
    if call.model != model:
        call.asked_model = call.asked_model or call.model
        call.rename_model(model)
    call.note(budget="downgraded")
    return True


def _tokens(call: Call, outcome: Outcome) -> int:
    return came_to(call, outcome).tokens.tokens


def _refuse(call: Call, claim: Claim) -> Refusal:
    assert isinstance(claim, BudgetClaim) and claim.standing is not None
    budget, standing, money = claim.budget, claim.standing, claim.budget.allowed.money
    used, limit = shown(standing.used, money), shown(standing.limit, money)
    message = f'The budget "{budget.name}" of {whose(claim.subject)}: {used} of {limit} are spent or held'
    if standing.used < standing.limit:
        message += f", and this call may need {shown(claim.amount, money)}"
    if standing.wait > 0 and claim.amount <= standing.limit:
        again = "resets at" if claim.limit.kind == "allowance" else "has room again at"
        message += f". It {again} {rfc3339(call.arrived + standing.wait, budget.zone)}, in {in_words(standing.wait)}"
    return OverBudget(f"{message}.")


def _too_fast(call: Call, claim: Claim) -> Refusal:
    assert claim.standing is not None
    wait, who = claim.standing.wait, whose(claim.subject)
    message = f"The budget of {who} is spent, and calls are slowed down. Try again in {in_words(wait)}."
    return RateLimited(message, code="over_budget", retry_after=wait)
