"""What a call will probably cost and what it came to, in billionths of a US dollar: whole numbers, rounded up."""

from __future__ import annotations

from decimal import ROUND_CEILING, Decimal
from typing import TYPE_CHECKING

from shin_gateway.admission.claims import MOST
from shin_gateway.admission.estimates import NOTHING_USED, Estimate, came_to
from shin_gateway.errors import Refusal
from shin_gateway.pricing import Prices, Rates
from shin_gateway.units import BILLION

if TYPE_CHECKING:
    from collections.abc import Callable

    from shin_gateway.call import Call
    from shin_gateway.outcome import Outcome
    from shin_gateway.targets import Target

_BYTES_A_SECOND = 4000
"""Of a recording, where its length is paid for: 32 kbit/s, which is little."""
_BILLION = Decimal(BILLION)
_REMEMBERED = 1000


class Costs:
    """Prices of calls. `otherwise`: the rates of models whose price is unknown; None: they stay unknown."""

    def __init__(self, prices: Prices, target_of: Callable[[Call], Target | None], otherwise: Rates | None) -> None:
        self._prices = prices
        self._target_of = target_of
        self._otherwise = otherwise
        self._known: dict[tuple[str, ...], tuple[str, str]] = {}

    def expected(self, call: Call, used: Estimate) -> int | None:
        """What `used` would cost at the target that the call is for; None where nobody knows. Raises Refusal for a call
        that has no target, and goes nowhere."""
        provider, model = self._sold_as(call)
        rates = self._prices.rates(provider, model, used.input) or self._otherwise
        return None if rates is None else cost(rates, used, call)

    def _sold_as(self, call: Call) -> tuple[str, str]:
        """The provider in the price table and the model there. Where a model's name leads never changes."""
        arrival, name = call.arrival, call.model
        key = (name, call.dialect.name, call.kind, arrival.row.name if arrival.row else "", arrival.origin or "")
        known = self._known.get(key)
        if known is None:
            known = _priced(call, self._target_of(call))
            if name and len(self._known) < _REMEMBERED:
                self._known[key] = known
        return known

    def came_to(self, call: Call, outcome: Outcome) -> int:
        """What the call cost: by the meter; where that knows no price, by the rates of such models."""
        came = came_to(call, outcome)
        if came is NOTHING_USED:
            return 0
        if came.sure and outcome.cost is not None:
            return billionths(outcome.cost)
        try:
            rates = self._prices.rates(*_priced(call, call.target), came.tokens.input) or self._otherwise
        except Refusal:
            rates = self._otherwise
        return 0 if rates is None else cost(rates, came.tokens, call) or 0


def _priced(call: Call, target: Target | None) -> tuple[str, str]:
    """Raises Refusal."""
    return ("", call.model) if target is None else (target.prices, target.model or call.model)


def cost(rates: Rates, used: Estimate, call: Call) -> int | None:
    """`used` at the dearest rate that may hold for it: a prompt may be written to the provider's cache."""
    if rates.input_second is not None and call.kind == "transcript":
        return billionths(rates.call + rates.input_second * -(-call.size // _BYTES_A_SECOND))
    given = _dearest(rates.input, rates.cache_write, rates.input_audio if call.kind == "realtime" else None)
    made = _dearest(rates.output, rates.reasoning, _made_of(rates, call.kind))
    if (given is None and used.input) or (made is None and used.output):
        return billionths(rates.call) if rates.call else None
    return billionths(rates.call + (given or 0) * used.input + (made or 0) * used.output)


def _made_of(rates: Rates, kind: str) -> Decimal | None:
    if kind == "image":
        return rates.output_image
    return rates.output_audio if kind in ("speech", "realtime") else None


def _dearest(*rates: Decimal | None) -> Decimal | None:
    return max((rate for rate in rates if rate is not None), default=None)


def billionths(amount: Decimal) -> int:
    return min(MOST, int((amount * _BILLION).to_integral_value(ROUND_CEILING)))
