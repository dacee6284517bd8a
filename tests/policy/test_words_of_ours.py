"""What `shin check` says of wrong settings of our own addons, where a setting may be one of several things."""

from __future__ import annotations

from pathlib import Path

import pytest

from shin_gateway.policy import check
from shin_gateway.registry import Registry
from tests.policy.conftest import Write

WORDS = [
    ("concurrency: {dead_letters: {tll: 3d}}", ['unknown key "tll"; did you mean "ttl"?']),
    (
        "concurrency: {dead_letters: soon}",
        ['"dead_letters" should be "on" or "off"', '"dead_letters" should be a mapping'],
    ),
    (
        "concurrency: {classes: {urgent: 3}}",
        ['"urgent" should be "critical", "high", "normal", "low" or "batch"'],
    ),
    (
        "budget: {limit: $5/day, unknown_price: {inptu: $5}}",
        ['missing key "input"', 'unknown key "inptu"; did you mean "input"?'],
    ),
    ("budget: {limit: $5/day}\n  meter: off", ['"budget" needs the addon "meter" as well']),
    (
        "rate_limit: {burst: 2}",
        ["a limit should have `requests`, `tokens`, `input_tokens` or `output_tokens`"],
    ),
    ("rate_limit: on", []),
]


@pytest.fixture(scope="module")
def ours() -> Registry:
    return Registry.load()


@pytest.mark.parametrize(("text", "words"), WORDS)
def test_words(text: str, words: list[str], write: Write, ours: Registry) -> None:
    write("mine/gateway.yaml", f"hosts: [gateway]\nextends: standard\naddons:\n  {text}\n")
    found = check([Path("mine")], ours)
    assert [one.message + (f"; {one.hint}" if one.hint else "") for one in found] == words


def test_what_is_needed_may_be_in_a_preset_that_was_misspelt(write: Write, ours: Registry) -> None:
    write("mine/gateway.yaml", "hosts: [gateway]\nextends: standrad\naddons:\n  budget: {limit: $5/day}\n")
    assert [one.message for one in check([Path("mine")], ours)] == ['unknown preset "standrad"']
