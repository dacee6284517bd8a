"""Which card a model's name finds."""

from __future__ import annotations

import pytest

from shin_gateway.translation.anthropic_messages.cards import Card, amended, card_of

SAME = [
    (
        "claude-opus-4-5",
        ["claude-opus-4-5-20251101", "claude-opus-4.5", "claude-4-5-opus", "anthropic/claude-4.5-opus"],
    ),
    (
        "claude-opus-4",
        ["claude-opus-4-0", "claude-opus-4-20250514", "claude-opus-4@20250514", "claude-4-opus-20250514"],
    ),
    (
        "claude-3-7-sonnet",
        ["claude-3-7-sonnet-latest", "claude-3.7-sonnet", "us.anthropic.claude-3-7-sonnet-20250219-v1:0"],
    ),
    ("claude-opus-5", ["claude-opus-5@20260701", "claude-opus-5-20260701", "claude-opus-5-latest"]),
    ("claude-haiku-5-5", ["claude-haiku-5.5", "claude-haiku-5-5@x"]),
]


@pytest.mark.parametrize(("name", "others"), SAME)
def test_other_ways_to_write_it(name: str, others: list[str]) -> None:
    for other in others:
        assert card_of(other) is card_of(name), other
        assert card_of(other).known


def test_newer_and_unknown_models() -> None:
    for name in ("claude-fable-5-2", "claude-mythos-5-1", "claude-opus-6", "claude-sonnet-7-1"):
        assert card_of(name).forced_tools is False
        assert card_of(name).max_output == 128000
    assert card_of("claude-mythos-preview").off == ""
    for name in ("glm-4.6", "kimi-k2", "", "claude-instant-1.2"):
        assert card_of(name) == Card()


def test_a_row_may_know_better() -> None:
    card = amended(Card(), {"thinking": "adaptive", "prefill": "no", "schemas": "yes", "other": "x"})
    assert (card.thinking, card.prefill, card.schemas) == ("adaptive", False, True)
    assert amended(card, {}) is card
