"""Our rates against genai-prices' own arithmetic, and what it does not know."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal

import genai_prices
import pytest
from genai_prices.data_snapshot import get_snapshot
from genai_prices.types import ModelInfo, Provider

from shin_gateway import pricing
from shin_gateway.outcome import Usage
from shin_gateway.pricing import Prices, Rates

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
USED = ("anthropic", "openai", "google", "azure", "openrouter", "mistral", "groq", "deepseek", "x-ai", "github-copilot")
USAGES = [
    Usage(input=1000, output=500),
    Usage(input=10_000, output=500, cached=6000, cache_write=1000),
    Usage(input=300_000, output=5000, cached=250_000, cache_write=20_000, cache_write_1h=5000, reasoning=4000),
]
PRICES = Prices()


def models() -> Iterator[tuple[Provider, ModelInfo]]:
    for provider in get_snapshot().providers:
        if provider.id in USED:
            for model in provider.models:
                if provider.find_model(model.id) is model:
                    yield provider, model


def theirs(usage: Usage) -> genai_prices.Usage:
    return genai_prices.Usage(
        input_tokens=usage.input,
        output_tokens=usage.output,
        cache_read_tokens=usage.cached,
        cache_write_tokens=usage.cache_write,
        cache_write_1h_tokens=usage.cache_write_1h,
        output_reasoning_tokens=usage.reasoning,
    )


@pytest.mark.parametrize("usage", USAGES, ids=["plain", "cached", "long"])
def test_every_model_costs_what_genai_prices_says(usage: Usage) -> None:
    compared = 0
    for provider, model in models():
        cost = PRICES.cost(provider.id, model.id, usage, NOW)
        if cost is None:
            continue
        price = model.calc_price(theirs(usage), provider, genai_request_timestamp=NOW)
        assert cost == price.total_price, (provider.id, model.id)
        compared += 1
    assert compared > 500


@pytest.mark.parametrize(
    ("provider", "model", "found"),
    [
        ("openai", "gpt-4o-2024-08-06", "gpt-4o"),
        ("openai", "gpt-5.2-20251211", "gpt-5.2"),
        ("anthropic", "claude-sonnet-4-5-20250929", "claude-sonnet-4-5"),
        ("google", "models/gemini-2.5-pro", "gemini-2.5-pro"),
        ("google", "google/gemini-2.5-pro", "gemini-2.5-pro"),
        ("google", "claude-sonnet-4-5@20250929", "claude-sonnet-4-5"),
        ("openrouter", "anthropic/claude-4.5-sonnet-20250929", "anthropic/claude-sonnet-4.5"),
    ],
)
def test_names_that_mean_the_same_model(provider: str, model: str, found: str) -> None:
    cost = PRICES.cost(provider, model, USAGES[0])
    assert cost is not None
    assert cost == PRICES.cost(provider, found, USAGES[0])


@pytest.mark.parametrize(
    ("provider", "model"),
    [
        ("openai", "no-such-model"),
        ("nobody", "gpt-4o"),
        ("", "gpt-4o"),
        ("openai", ""),
        ("azure", "our-deployment"),
        ("openai", "x" * 10_000),
        ("openai", "whisper-1"),  # paid by the hour
        ("openai", "tts-1"),  # paid by the character
    ],
)
def test_an_unknown_price_is_none_and_not_zero(provider: str, model: str) -> None:
    assert PRICES.cost(provider, model, USAGES[0]) is None


def test_what_says_that_it_is_free_costs_nothing() -> None:
    assert PRICES.cost("openrouter", "deepseek/deepseek-r1:free", USAGES[0]) == 0


def test_an_embedding_has_no_output() -> None:
    assert PRICES.cost("openai", "text-embedding-3-small", Usage(input=1_000_000)) == Decimal("0.02")


def test_a_long_input_is_dearer_as_a_whole() -> None:
    assert PRICES.cost("google", "gemini-2.5-pro", Usage(input=200_000)) == Decimal("0.25")
    assert PRICES.cost("google", "gemini-2.5-pro", Usage(input=200_001)) == Decimal("0.5000025")


def test_prices_follow_the_date() -> None:
    before = PRICES.cost("openai", "o3", USAGES[0], datetime(2025, 6, 1, tzinfo=UTC))
    after = PRICES.cost("openai", "o3", USAGES[0], datetime(2025, 7, 1, tzinfo=UTC))
    assert before is not None
    assert after is not None
    assert before > after


def test_cache_writes_for_an_hour_have_a_price_of_their_own() -> None:
    written = Usage(input=1000, cache_write=1000)
    for_an_hour = Usage(input=1000, cache_write=1000, cache_write_1h=1000)
    assert PRICES.cost("anthropic", "claude-opus-4-5", written) == Decimal("0.00625")
    assert PRICES.cost("anthropic", "claude-opus-4-5", for_an_hour) == Decimal("0.01")


def test_audio_is_dearer_than_text() -> None:
    heard = Usage(input=1000, output=1000, input_audio=400, output_audio=600)
    assert PRICES.cost("openai", "gpt-realtime", heard) == Decimal("0.0600")  # .6 x 4 + .4 x 32 + .4 x 16 + .6 x 64


def test_usage_that_does_not_add_up_is_never_billed_twice() -> None:
    rates = Rates(Decimal(1), Decimal(1))
    odd = Usage(input=10, output=10, cached=50, cache_write=50, cache_write_1h=90, input_audio=9, reasoning=70)
    assert rates.cost(odd) == 20


def test_the_operators_prices_come_first() -> None:
    rates = Rates(input=Decimal("0.000001"), output=Decimal("0.000002"))
    prices = Prices({"our-deployment": rates, "openai/gpt-4o": rates})
    assert prices.cost("azure", "our-deployment", USAGES[0]) == Decimal("0.002")
    assert prices.cost("", "our-deployment", USAGES[0]) == Decimal("0.002")
    assert prices.cost("openai", "gpt-4o", USAGES[0]) == Decimal("0.002")
    assert prices.cost("azure", "gpt-4o", USAGES[0]) == PRICES.cost("azure", "gpt-4o", USAGES[0])


def test_names_from_callers_fill_no_memory() -> None:
    for number in range(5000):
        PRICES.cost("groq", f"made-up-{number}", USAGES[0])
    assert pricing._find.cache_info().currsize <= 4096
    assert len(get_snapshot()._lookup_cache) < 100
    assert len(get_snapshot()._provider_misses) < 100


def test_a_recording_is_paid_by_its_length() -> None:
    prices = Prices()
    assert prices.cost("openai", "whisper-1", Usage(input_seconds=60)) == Decimal("0.36") / 60
    assert prices.cost("mistral", "voxtral-mini-transcribe-3-0", Usage(input=4, output=6, input_seconds=60)) == (
        Decimal("0.21") / 60
    )
    assert prices.cost("openai", "gpt-4o", Usage(input_seconds=60)) is None


def test_images_have_prices_of_their_own() -> None:
    drawn = Usage(input=100, input_image=60, output=1000, output_image=900)
    cost = Prices().cost("openai", "gpt-image-1.5", drawn)
    assert cost == (40 * Decimal(5) + 60 * Decimal(8) + 100 * Decimal(10) + 900 * Decimal(32)) / 1_000_000
