"""What a call cost: the rates of genai-prices, which come with the package and are never fetched.

A model is looked up once; after that a price is a few multiplications. Prices may begin on a day
or hold for some hours of it, so which of a model's prices holds is asked for every call.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Annotated, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema

if TYPE_CHECKING:
    from genai_prices.types import ModelInfo, ModelPrice, Provider

    from shin_gateway.outcome import Usage

_LONGEST_NAME = 200
_KNOWN = 4096
"""Models that are remembered, unknown ones included: their names come from callers."""
_MILLION = Decimal(1_000_000)
_FREE = Decimal(0)
_HOUR = Decimal(3600)


@dataclass(frozen=True, slots=True)
class Rates:
    """US dollars for one token. `input` and `output` may be unknown (None); the others fall back on them."""

    input: Decimal | None
    output: Decimal | None
    cached: Decimal | None = None
    cache_write: Decimal | None = None
    cache_write_1h: Decimal | None = None
    reasoning: Decimal | None = None
    input_audio: Decimal | None = None
    output_audio: Decimal | None = None
    call: Decimal = _FREE
    """US dollars for the call itself."""
    input_image: Decimal | None = None
    output_image: Decimal | None = None
    input_second: Decimal | None = None
    """US dollars for a second of a recording."""

    def cost(self, usage: Usage) -> Decimal | None:
        """US dollars; None when there are tokens of a kind whose price is unknown."""
        whole = _either(self.cache_write, self.input)
        amounts = zip(_amounts(usage), (
            self.input,
            _either(self.cached, self.input),
            whole,
            _either(self.cache_write_1h, whole),
            _either(self.input_audio, self.input),
            _either(self.input_image, self.input),
            self.output,
            _either(self.reasoning, self.output),
            _either(self.output_audio, self.output),
            _either(self.output_image, self.output),
        ), strict=True)  # fmt: skip
        cost = self.call
        if usage.input_seconds and self.input_second is not None:  # the recording is paid for, and nothing else
            return cost + Decimal(str(usage.input_seconds)) * self.input_second
        if usage.input_seconds and not usage.input:
            return None
        for tokens, rate in amounts:
            if tokens:
                if rate is None:
                    return None
                cost += tokens * rate
        return cost


def _dollars(value: object) -> object:
    return value.removeprefix("$") if isinstance(value, str) else value


Dollars = Annotated[
    Decimal,
    BeforeValidator(_dollars),
    Field(ge=0, le=1_000_000),
    WithJsonSchema({"type": ["string", "number"], "examples": ["$2.50"]}),
]


class PriceSettings(BaseModel):
    """US dollars for a million tokens. What is left out costs as much as other input or output."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True, validate_default=True)

    input: Dollars
    """Input."""
    output: Dollars = Decimal(0)
    """Output, reasoning included."""
    cached: Dollars | None = None
    """Input that the provider read from its prompt cache."""
    cache_write: Dollars | None = None
    """Input that the provider wrote to its prompt cache."""
    cache_write_1h: Dollars | None = None
    """Input that the provider wrote to its prompt cache for an hour."""

    def rates(self) -> Rates:
        return Rates(
            input=self.input / _MILLION,
            output=self.output / _MILLION,
            cached=_for_one(self.cached),
            cache_write=_for_one(self.cache_write),
            cache_write_1h=_for_one(self.cache_write_1h),
        )


def _for_one(price: Decimal | None) -> Decimal | None:
    return None if price is None else price / _MILLION


class Prices:
    """Prices by the provider's name in the price table and the model's name.

    `overrides` come first: rates by `provider/model` or by the model alone. They are how the price of
    a deployment whose name says nothing, or of one's own server, becomes known.
    """

    def __init__(self, overrides: Mapping[str, Rates] | None = None) -> None:
        self._overrides = overrides or {}

    @classmethod
    def of(cls, settings: Mapping[str, PriceSettings]) -> Self:
        """With `prices:` of shin.yaml before the table's."""
        return cls({name: price.rates() for name, price in settings.items()})

    @staticmethod
    def load() -> None:
        """Read the table: some tenths of a second, once in a process. Call it off the event loop."""
        _providers()

    def cost(self, provider: str, model: str, usage: Usage, at: datetime | None = None) -> Decimal | None:
        """US dollars for `usage` at the time `at` (now); None, never 0, when the price is unknown."""
        rates = self.rates(provider, model, usage.input, at)
        return None if rates is None else rates.cost(usage)

    def rates(self, provider: str, model: str, given: int = 0, at: datetime | None = None) -> Rates | None:
        """What `given` tokens of input and their output cost each; None when the price is unknown."""
        if self._overrides:
            rates = self._overrides.get(f"{provider}/{model}") or self._overrides.get(model)
            if rates is not None:
                return rates
        if not provider or not model or len(model) > _LONGEST_NAME:
            return None
        tariff = _find(provider, model)
        return None if tariff is None else tariff.rates(given, at)


class _Tariff:
    """The rates of one model: by date and time of day, and by how long the input is."""

    def __init__(self, model: ModelInfo) -> None:
        self._model = model
        self._brackets: dict[int, list[tuple[int, Rates]]] = {}
        """By the identity of one of the model's prices, which live as long as the model."""

    def rates(self, given: int, at: datetime | None) -> Rates:
        price = self._model.get_prices(at or datetime.now(UTC))
        brackets = self._brackets.get(id(price))
        if brackets is None:
            brackets = self._brackets[id(price)] = _read_brackets(price)
        for start, rates in brackets:
            if given > start:  # a long input is dearer as a whole, not just beyond the limit
                return rates
        return brackets[-1][1]


@lru_cache(maxsize=_KNOWN)
def _find(provider: str, model: str) -> _Tariff | None:
    table = _providers()
    row = next((one for one in table if one.id == provider), None)
    if row is None:
        return None
    for name in _names(model):
        found = row.find_model(name, all_providers=table)
        # A model without any price is free if it says so; else nobody knows what it costs.
        if found is not None and (_is_priced(found) or found.id.endswith(":free")):
            return _Tariff(found)
    return None


def _names(model: str) -> Iterable[str]:
    """What the table may call a model: its whole name, and the last part of `models/NAME` or `vendor/NAME`."""
    yield model
    _, slash, last = model.rpartition("/")
    if slash and last:
        yield last


@cache
def _providers() -> list[Provider]:
    from genai_prices.data_snapshot import get_snapshot  # half a second, which no command but the proxy needs

    return get_snapshot().providers


def _is_priced(model: ModelInfo) -> bool:
    prices = model.prices if isinstance(model.prices, list) else [model.prices]
    return any(vars(getattr(one, "prices", one)) for one in prices)


def _read_brackets(price: ModelPrice) -> list[tuple[int, Rates]]:
    """Rates from how many tokens of input on, the highest first; the last holds for everything else."""
    values = [value for value in vars(price).values() if not isinstance(value, Decimal) and value is not None]
    starts = {tier.start for value in values for tier in value.tiers}
    return [(start, _read_rates(price, start)) for start in sorted(starts | {-1}, reverse=True)]


def _read_rates(price: ModelPrice, start: int) -> Rates:
    if not vars(price):
        return Rates(_FREE, _FREE)

    def rate(key: str, per: Decimal = _MILLION) -> Decimal | None:
        value = getattr(price, key, None)  # older tables know fewer kinds
        if value is None or isinstance(value, Decimal):
            return None if value is None else value / per
        fitting = [tier.price for tier in value.tiers if tier.start <= start]
        return (fitting[-1] if fitting else value.base) / per

    return Rates(
        input=rate("input_mtok"),
        output=rate("output_mtok"),
        cached=rate("cache_read_mtok"),
        cache_write=_either(rate("cache_write_5m_mtok"), rate("cache_write_mtok")),
        cache_write_1h=rate("cache_write_1h_mtok"),
        reasoning=rate("output_reasoning_mtok"),
        input_audio=rate("input_audio_mtok"),
        output_audio=rate("output_audio_mtok"),
        call=rate("requests_kcount", Decimal(1000)) or _FREE,
        input_image=rate("input_image_mtok"),
        output_image=rate("output_image_mtok"),
        input_second=_either(rate("input_audio_hours", _HOUR), rate("audio_hours", _HOUR)),
    )


def _either(rate: Decimal | None, otherwise: Decimal | None) -> Decimal | None:
    return otherwise if rate is None else rate


def _amounts(usage: Usage) -> tuple[int, ...]:
    """Tokens that are each billed once: input, cached, cache writes, audio, images; output, reasoning, audio, images.

    What a provider reports may not add up, so no part is more than what is left of the whole. Audio is taken
    for fresh input: no provider tells how much of it came from the cache.
    """
    cached = min(usage.cached, usage.input)
    written = min(usage.cache_write, usage.input - cached)
    written_1h = min(usage.cache_write_1h, written)
    heard = min(usage.input_audio, usage.input - cached - written)
    shown = min(usage.input_image, usage.input - cached - written - heard)
    thought = min(usage.reasoning, usage.output)
    spoken = min(usage.output_audio, usage.output - thought)
    drawn = min(usage.output_image, usage.output - thought - spoken)
    return (
        usage.input - cached - written - heard - shown,
        cached,
        written - written_1h,
        written_1h,
        heard,
        shown,
        usage.output - thought - spoken - drawn,
        thought,
        spoken,
        drawn,
    )
