"""The JSON schema for editors."""

from __future__ import annotations

from pathlib import Path

import pytest

from shin_gateway.policy.schema import schema, text
from shin_gateway.registry import Registry

CHECKED_IN = Path(__file__).parents[2] / "docs" / "policy.schema.json"


def test_addons_are_in_it_with_their_words(registry: Registry) -> None:
    made = schema(registry)
    addons = made["properties"]["addons"]
    assert sorted(addons["properties"]) == ["cache", "log", "meter", "rate_limit", "retry", "translate"]
    assert addons["additionalProperties"] is False
    cache = addons["properties"]["cache"]
    assert cache["description"] == "Does one thing."
    switch, null, mapping = cache["anyOf"]
    assert (switch, null) == ({"enum": ["on", "off"]}, {"type": "null"})
    assert mapping["properties"]["ttl"]["description"] == "How long."
    assert mapping["properties"]["mode"]["enum"] == ["enforce", "shadow"]
    assert mapping["additionalProperties"] is False


def test_policies_and_presets_share_it(registry: Registry) -> None:
    made = schema(registry)
    assert made["required"] == []
    assert made["additionalProperties"] is False
    assert {"hosts", "extends", "timeouts", "limits", "paths"} <= made["properties"].keys()
    assert made["properties"]["extends"]["anyOf"][0] == {"type": "string"}


def test_every_reference_leads_somewhere(registry: Registry) -> None:
    made = schema(registry)

    def references(part: object) -> list[str]:
        if isinstance(part, dict):
            own = [part["$ref"]] if isinstance(part.get("$ref"), str) else []
            return own + [one for value in part.values() for one in references(value)]
        return [one for value in part for one in references(value)] if isinstance(part, list) else []

    assert {one.removeprefix("#/$defs/") for one in references(made)} == set(made["$defs"])


def test_what_is_checked_in_is_fresh() -> None:
    if not CHECKED_IN.is_file():
        pytest.skip("no docs in this tree")
    made = text(Registry.load())
    assert CHECKED_IN.read_text() == made, "run: python -m shin_gateway.policy.schema > docs/policy.schema.json"


def test_defaults_are_written_as_people_write_them(registry: Registry) -> None:
    made = schema(registry)
    timeouts, limits = made["$defs"]["Timeouts"]["properties"], made["$defs"]["Limits"]["properties"]
    assert (timeouts["connect"]["default"], limits["body"]["default"]) == ("10s", "64000000B")
