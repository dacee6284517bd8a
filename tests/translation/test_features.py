"""Every feature of every client has a known fate with every target, and docs/dialects.md tells it."""

from __future__ import annotations

import pytest

from shin_gateway.translation.dialects import CHATS
from tests.translation.features import FEATURES, PAGE, Feature, fate, page
from tests.translation.reply_features import REPLY_FEATURES, ReplyFeature, reply_fate

CASES = [
    (feature, client, target)
    for feature in FEATURES
    for client in CHATS
    for target in CHATS
    if client in feature.said and client != target
]

ALWAYS = {
    "system prompt", "several turns", "image, inline", "tools", "tool choice: required", "tool calls of earlier turns",
    "tool results", "structured output: schema", "output limit", "temperature", "top_p",
}  # fmt: skip
"""What every API has, so that it always arrives."""


def test_the_page_is_fresh() -> None:
    assert PAGE.read_text() == page(), "python -m tests.translation.features > docs/dialects.md"


@pytest.mark.parametrize(("feature", "client", "target"), CASES, ids=[f"{one.name}, {a} to {b}" for one, a, b in CASES])
def test_what_every_api_has_arrives(feature: Feature, client: str, target: str) -> None:
    found = fate(feature, client, target)
    if feature.name in ALWAYS:
        assert found in ("carried", "mapped")
    assert found != "refused"


TOLD = [
    (feature, client, target)
    for feature in REPLY_FEATURES
    for client in CHATS
    for target in feature.said
    if client != target
]
ALWAYS_TOLD = {
    "text", "several tool calls", "reasoning", "sealed reasoning, for the next turn", "sources of the text",
    "cut at the output limit", "withheld by a filter", "tokens: input and output", "tokens: cached", "refusal",
}  # fmt: skip
"""What every API has a place for."""


@pytest.mark.parametrize(("feature", "client", "target"), TOLD, ids=[f"{one.name}, {b} to {a}" for one, a, b in TOLD])
def test_what_every_api_has_a_place_for_is_told(feature: ReplyFeature, client: str, target: str) -> None:
    found = reply_fate(feature, client, target)
    if feature.name in ALWAYS_TOLD:
        assert found in ("carried", "mapped")
