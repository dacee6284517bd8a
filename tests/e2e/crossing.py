"""A gateway whose models speak all four chat dialects, for a whole module's tests; and what their provider was told."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.serving import Serving, serve, write_config
from tests.provider import FakeProvider

MODELS = {"chat": "chatty-1", "responses": "answers-1", "messages": "claude-sonnet-4-5", "gemini": "gemini-2.5-pro"}
"""A model for each dialect that a target speaks, and speaks alone: OpenAI's own would be asked untranslated."""
WAYS = [(client, target) for client in MODELS for target in MODELS if client != target]
ROW = "{base_url: '%s/v1', api_key: env:SHIN_TEST_KEY, models: ['%s-*'], dialects: {%s}}"
ROWS = {"chatty": "openai.chat: /chat/completions", "answers": "openai.responses: /responses"}
POLICY = "hosts: [gateway]\nextends: observe\naddons: {translate: on}\n"

Json = dict[str, Any]
Told = list[tuple[str, Json, str]]


@dataclass
class Behind:
    """A gateway and the provider behind it."""

    serving: Serving
    provider: FakeProvider

    def forget(self) -> None:
        self.provider.seen.clear()
        self.provider.unscript()

    @property
    def sent(self) -> Any:
        """The last call that the provider saw."""
        return self.provider.seen[-1].json()


@contextlib.asynccontextmanager
async def behind(folder: Path) -> AsyncIterator[Behind]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SHIN_TEST_KEY", "sk-of-the-gateway")
        async with FakeProvider() as provider:
            config = write_config(folder, {"anthropic": provider.url, "gemini": provider.url})
            with config.open("a") as more:  # still inside `providers`
                more.writelines(f"  {name}: {ROW % (provider.url, name, row)}\n" for name, row in ROWS.items())
            policies = folder / "policies"
            policies.mkdir()
            (policies / "gateway.yaml").write_text(POLICY)
            async with serve(folder / "home", config, policies) as serving:
                yield Behind(serving, provider)


def told(target: str, body: Json) -> Told:
    """Name, arguments and result of each tool call in a call's history, joined by their ids."""
    uses, results = zip(*_TURNS[target](body), strict=True) if body else ((), ())
    made = [use for use in uses if use]
    given = dict(result for result in results if result)
    assert len({use[0] for use in made}) == len(made), "ids are not unique"
    assert len(given) == len(made), "not one result a call"
    return [(name, arguments, given[id]) for id, name, arguments in made]


Step = tuple[tuple[str, str, Json] | None, tuple[str, str] | None]


def _chat(body: Json) -> Iterator[Step]:
    for message in body["messages"]:
        for use in message.get("tool_calls") or ():
            function = use["function"]
            yield (use["id"], function["name"], json.loads(function["arguments"])), None
        if message["role"] == "tool":
            yield None, (message["tool_call_id"], _text(message["content"]))


def _responses(body: Json) -> Iterator[Step]:
    for item in body["input"]:
        if item.get("type") == "function_call":
            yield (item["call_id"], item["name"], json.loads(item["arguments"])), None
        if item.get("type") == "function_call_output":
            yield None, (item["call_id"], _text(item["output"]))


def _messages(body: Json) -> Iterator[Step]:
    for message in body["messages"]:
        for block in message["content"] if isinstance(message["content"], list) else ():
            if block["type"] == "tool_use":
                yield (block["id"], block["name"], block["input"]), None
            if block["type"] == "tool_result":
                yield None, (block["tool_use_id"], _text(block["content"]))


def _gemini(body: Json) -> Iterator[Step]:
    """Without ids the order is what joins them."""
    for content in body["contents"]:
        uses = [part["functionCall"] for part in content["parts"] if "functionCall" in part]
        given = [part["functionResponse"] for part in content["parts"] if "functionResponse" in part]
        for place, use in enumerate(uses):
            yield (use.get("id") or f"{use['name']} {place}", use["name"], use.get("args") or {}), None
        for place, one in enumerate(given):
            (text,) = one["response"].values()
            yield None, (one.get("id") or f"{one['name']} {place}", text)


def _text(content: Any) -> str:
    return content if isinstance(content, str) else "".join(part["text"] for part in content)


_TURNS = {"chat": _chat, "responses": _responses, "messages": _messages, "gemini": _gemini}
