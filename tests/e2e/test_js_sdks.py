"""The official Node clients of three providers, by base URL through the gateway and unchanged through the proxy."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.corporate import CorporateProxy
from tests.e2e.programs import FOLDER, program, run, through
from tests.e2e.serving import Serving, serve, write_config
from tests.provider import RATE_LIMITED, Answer, FakeProvider, ToolCall

SCRIPT = Path(__file__).with_name("sdks.mjs")
PACKAGES = {"openai": "openai", "anthropic": "@anthropic-ai/sdk", "genai": "@google/genai"}
TEXT = "Hello from the fake provider."
ANSWERS = (Answer(), Answer(), Answer(tools=(ToolCall("weather", {"city": "Zürich"}),)), RATE_LIMITED)
LIMITED = {"openai": "RateLimitError", "anthropic": "RateLimitError", "genai": "ApiError"}
UNKNOWN = {"openai": "NotFoundError", "anthropic": "NotFoundError", "genai": "ApiError"}


def node(sdk: str) -> Path:
    if not (FOLDER / "node_modules" / PACKAGES[sdk]).is_dir():
        pytest.skip(f"no {PACKAGES[sdk]} in {FOLDER}; scripts/install-agents installs it where npm can")
    return program("node")


def check(told: dict[str, Any], sdk: str) -> None:
    assert told["whole"] == told["stream"] == TEXT
    assert json.loads(told["tools"]) == {"city": "Zürich"}
    assert told["respond"] == ("11" if sdk == "genai" else TEXT)
    assert (told["limited"]["error"], told["limited"]["status"]) == (LIMITED[sdk], 429)
    assert "Rate limit reached." in told["limited"]["message"]


@pytest.mark.parametrize("sdk", PACKAGES)
async def test_by_base_url_through_the_gateway(
    serving: Serving, provider: FakeProvider, tmp_path: Path, sdk: str
) -> None:
    serving.policy("gateway", "hosts: [gateway]\nextends: observe\n")
    await serving.worker.reload()
    provider.script(*ANSWERS)
    ran = await run(tmp_path, node(sdk), SCRIPT, FOLDER, sdk, serving.gateway)
    assert ran.code == 0, ran.err
    told = json.loads(ran.out)
    check(told, sdk)
    assert (told["unknown"]["error"], told["unknown"]["status"]) == (UNKNOWN[sdk], 404)
    assert "my-own-model" in told["unknown"]["message"]
    rows = await serving.rows(6)
    assert [row.status for row in rows] == [200, 200, 200, 429, 404, 200]
    assert [row.stream for row in rows] == [False, True, False, False, False, sdk == "anthropic"]


@pytest.mark.parametrize("sdk", PACKAGES)
async def test_unchanged_through_the_proxy(secure: FakeProvider, tmp_path: Path, sdk: str) -> None:
    """With the variables of `shin exec`; the real hosts are behind a company's proxy."""
    executable = node(sdk)
    config = write_config(tmp_path, {}, f"upstream: {{ca: {str(secure.ca_file)!r}}}")
    secure.script(*ANSWERS)
    async with (
        CorporateProxy(secure) as office,
        serve(tmp_path / "home", config, tmp_path / "policies", modes=[f"upstream:{office.url}"]) as worker,
    ):
        ran = await run(
            tmp_path, executable, SCRIPT, FOLDER, sdk, environ=through(worker, secure.ca_file, "alice")
        )  # fmt: skip
        assert ran.code == 0, ran.err
        check(json.loads(ran.out), sdk)
        rows = await worker.rows(6)
    assert {row.caller for row in rows} == {"alice"}
    assert {row.provider for row in rows} == {"gemini" if sdk == "genai" else sdk}
    assert [row.status for row in rows] == [200, 200, 200, 429, 200, 200]
    assert {seen.sni for seen in secure.seen} == {rows[0].host}
