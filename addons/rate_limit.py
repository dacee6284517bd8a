"""How many requests and tokens in a time, for whom.

Tokens are an estimate at first, which is corrected when the call has ended."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from shin_gateway.addon import Addon, Forward, Mode, Services, Stage
from shin_gateway.admission.claims import NEVER, Claim, ClaimMode
from shin_gateway.admission.estimates import BY_TOKEN, NOTHING, Estimate, estimate
from shin_gateway.admission.headers import of_claims
from shin_gateway.admission.owned import Owned
from shin_gateway.admission.periods import in_words
from shin_gateway.admission.rates import Limits, Measure, OneLimit, RateClaim, compiled, read_limits
from shin_gateway.admission.subjects import whose
from shin_gateway.call import Call
from shin_gateway.errors import Invalid, NotAllowed, RateLimited, Refusal
from shin_gateway.reply import Reply


class RateLimitSettings(Limits):
    tiers: dict[str, Limits] = Field(default_factory=dict)
    """Other limits for callers whose role names a tier: `gold: {requests: 600/min}`. They replace those above."""
    scope: Literal["policy", "shared"] = "policy"
    """`shared`: policies that say the same limit count together."""
    on_store_error: Literal["allow", "refuse"] = "allow"
    """A call whose limits cannot be asked: `allow` it, or `refuse` it with 503."""

    @model_validator(mode="after")
    def _of_something(self) -> Self:
        """`on` is for keys with limits of their own; who says more of a limit means one."""
        said = [name for name in OneLimit.model_fields if name in self.model_fields_set]
        if said and not self.rates and not self.limits:
            raise ValueError("a limit should have `requests`, `tokens`, `input_tokens` or `output_tokens`")
        return self


class RateLimit(Addon[RateLimitSettings]):
    stage = Stage.ADMIT
    claims = True

    def __init__(self, settings: RateLimitSettings, services: Services, mode: Mode = "enforce") -> None:
        super().__init__(settings, services, mode)
        self._roles = services.roles
        apart = settings.scope == "policy"
        self._limits = compiled(settings, "", apart)
        self._tiers = {name: compiled(one, f"{name}:", apart) for name, one in settings.tiers.items()}
        self._of_keys = Owned(_own)
        self._mode = ClaimMode.SHADOW if mode == "shadow" else ClaimMode.ENFORCE

    async def handle(self, call: Call, forward: Forward) -> Reply:
        claims = self._claims(call)
        if not claims:
            return await forward(call)
        call.claims += claims
        reply = await forward(call)
        if self._mode is ClaimMode.ENFORCE:
            for claim in claims:
                claim.taken = True
            for name, value in of_claims(call.dialect.name, claims).items():
                reply.headers[name] = value
        return reply

    def _claims(self, call: Call) -> list[RateClaim]:
        limits = self._limits_for(call)
        by_token = call.kind in BY_TOKEN
        expected = estimate(call) if by_token and any(one.truth is not None for one in limits) else NOTHING
        return [self._claim(call, one, expected) for one in limits if by_token or one.truth is None]

    def _limits_for(self, call: Call) -> list[Measure]:
        limits = self._limits
        if self._tiers and self._roles is not None:
            limits = self._tiers.get(self._roles.tier_of(call.caller), limits)
        said = call.caller.grant.limits
        return [*limits, *self._of_keys.of(call.caller.key, said)] if said else limits

    def _claim(self, call: Call, measure: Measure, expected: Estimate) -> RateClaim:
        return RateClaim(
            "rate_limit",
            measure.limit,
            measure.subject(call),
            measure.count(expected),
            refuse=_refuse,
            truth=measure.truth,
            mode=self._mode,
            on_store_error=self.settings.on_store_error,
            measure=measure,
        )


def _own(key: str, said: Mapping[str, Any]) -> list[Measure]:
    """A virtual key's own limits, which hold whatever the policy says, and count together in all policies."""
    try:
        return compiled(read_limits(said), f"{key}:", apart=False)
    except ValueError as error:
        raise NotAllowed(f"The limits of this virtual key cannot be held: {error}.", code="key_limits") from None


def _refuse(call: Call, claim: Claim) -> Refusal:
    assert isinstance(claim, RateClaim) and claim.standing is not None
    refusal = _too_much(claim) if claim.standing.wait == NEVER else _too_soon(claim, claim.standing.wait)
    ours = (one for one in call.claims if isinstance(one, RateClaim))
    refusal.headers.update(of_claims(call.dialect.name, ours))
    return refusal


def _too_soon(claim: RateClaim, wait: float) -> Refusal:
    message = f"Rate limit of {whose(claim.subject)}: {claim.measure.words}. Try again in {in_words(wait)}."
    return RateLimited(message, retry_after=wait)


def _too_much(claim: RateClaim) -> Refusal:
    """No wait helps, so that no agent shall try again."""
    unit = claim.measure.unit.replace("-", " ")
    return Invalid(
        f"This call may use {claim.amount:,} {unit} by its length and the output that it allows, and "
        f"{whose(claim.subject)} may never use more than {claim.standing.limit if claim.standing else 0:,} at once.",
        code="over_limit",
    )
