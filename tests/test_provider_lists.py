"""Where each provider's list of models is."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from shin_gateway import provider_lists
from shin_gateway.config import Config
from shin_gateway.errors import Unavailable
from shin_gateway.outcome import Outcome
from shin_gateway.provider_lists import ProviderLists, _place
from shin_gateway.providers import Providers
from shin_gateway.targets import lister

URLS = {
    "openai": "https://api.openai.com/v1/models",
    "anthropic": "https://api.anthropic.com/v1/models",
    "gemini": "https://generativelanguage.googleapis.com/v1beta/models",
    "openrouter": "https://openrouter.ai/api/v1/models",
    "mistral": "https://api.mistral.ai/v1/models",
    "groq": "https://api.groq.com/openai/v1/models",
    "deepseek": "https://api.deepseek.com/models",
    "xai": "https://api.x.ai/v1/models",
    "github_copilot": "https://api.githubcopilot.com/models",
    "ollama": "http://127.0.0.1:11434/v1/models",
}
"""By the providers' references; the others have none, or none that says what they serve."""


@pytest.fixture(autouse=True)
def _keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for row in Providers.load():
        for key in row.api_key:
            monkeypatch.setenv(str(key).removeprefix("env:"), "sk")


def test_our_rows() -> None:
    found = {}
    for row in Providers.load():
        place = _place(row)
        if place is not None and row.base_url:
            found[row.name] = lister(row, place[0]).url(place[1])
    assert found == URLS


@pytest.mark.parametrize(
    ("settings", "place"),
    [
        ({"like": "openai"}, ("openai.chat", "/models")),
        ({"like": "openai", "lists": "/catalogue"}, ("openai.chat", "/catalogue")),
        ({"like": "openai", "lists": ""}, None),
        ({"dialects": {"anthropic.messages": "/messages"}}, ("anthropic.messages", "/models")),
        ({"dialects": {"openai.responses": "/responses"}}, ("openai.responses", "/models")),
        ({"dialects": {"openai.chat": "/a", "gemini.generate": "/m/{model}"}}, ("gemini.generate", "/m")),
        ({"dialects": {"openai.chat": "/talk"}}, None),
        ({}, None),
    ],
)  # fmt: skip
def test_rows_of_ones_own(settings: dict[str, object], place: tuple[str, str] | None) -> None:
    written = {"providers": {"lab": {"base_url": "http://127.0.0.1:9/x", **settings}}}
    row = Providers.load(Config.model_validate(written)).get("lab")
    assert row is not None
    assert _place(row) == place


async def test_a_provider_that_refuses_at_once_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """As one whose key could not be fetched: a question that ended before it waited is none that is under way."""
    monkeypatch.setattr(provider_lists, "AGAIN", 0.05)
    asked: list[Any] = []

    async def refuse(call: Any) -> Any:
        asked.append(call)
        raise Unavailable("no key")

    row = Providers.load(Config.model_validate({"providers": {"lab": {"like": "ollama"}}})).get("lab")
    assert row is not None
    call: Any = SimpleNamespace(policy=SimpleNamespace(limits=SimpleNamespace(body=1)), outcome=Outcome())
    lists = ProviderLists(refuse)
    assert await lists.ask_all([row], call) == ["lab"]
    await asyncio.sleep(0.1)
    assert await lists.ask_all([row], call) == ["lab"]
    assert len(asked) == 2
