"""Real coding agents with models of another API than theirs: they call a tool of theirs, and answer."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.e2e.corporate import CorporateProxy
from tests.e2e.crossing import POLICY, ROW, ROWS
from tests.e2e.programs import Ran, program, run, through
from tests.e2e.serving import Serving, serve, write_config
from tests.provider import Answer, FakeProvider, Seen, ToolCall

HOST = "models.example"
DONE = "All done."
MARK = "marker-42"
COMMAND = "printf marker-%s 42"
REFUSING = POLICY.replace("translate: on", "translate: {unsupported: refuse}")
"""What agents say in every call is worth no refusal."""
BASH = ToolCall("Bash", {"command": COMMAND, "description": "Say it"})
EXEC = ToolCall("exec_command", {"cmd": COMMAND})


@dataclass
class Stand:
    """A gateway, and a provider that stands for the whole internet: the models' host and whatever else agents ask."""

    worker: Serving
    provider: FakeProvider
    folder: Path

    async def run(self, name: str, *arguments: str, **variables: str) -> Ran:
        environ = through(self.worker, self.provider.ca_file)
        return await run(self.folder, program(name), *arguments, environ=environ, **variables)

    def answer(self, use: ToolCall) -> None:
        """The model calls the tool, and is done once it has seen what the tool gave."""

        def rule(seen: Seen) -> Answer | None:
            if seen.sni != HOST:
                return None
            if MARK.encode() in seen.decoded():
                return Answer(text=DONE)
            has_tool = f'"{use.name}"'.encode() in seen.decoded()
            return Answer(thinking="Let me see.", tools=(use,)) if has_tool else None

        self.provider.rule = rule

    def told(self, path: str) -> str:
        """The last call that the models' provider got there."""
        return json.dumps([seen.json() for seen in self.provider.seen if seen.path.endswith(path)][-1])


@pytest.fixture
async def stand(tmp_path: Path, secure: FakeProvider) -> AsyncIterator[Stand]:
    url = f"https://{HOST}"
    config = write_config(tmp_path, {"anthropic": url, "gemini": url})
    with config.open("a") as more:
        more.writelines(f"  {name}: {ROW % (url, name, row)}\n" for name, row in ROWS.items())
        more.write(f"upstream: {{ca: {str(secure.ca_file)!r}}}\n")
    policies = tmp_path / "policies"
    policies.mkdir()
    (policies / "gateway.yaml").write_text(REFUSING)
    async with (
        CorporateProxy(secure) as office,
        serve(tmp_path / "home", config, policies, modes=[f"upstream:{office.url}"]) as worker,
    ):
        yield Stand(worker, secure, tmp_path)


@pytest.mark.parametrize(
    ("model", "path"), [("chatty-1", "/chat/completions"), ("gemini-2.5-pro", ":streamGenerateContent")]
)
async def test_claude_code(stand: Stand, model: str, path: str) -> None:
    stand.answer(BASH)
    ran = await stand.run(
        "claude", "-p", "run it", "--model", model, "--allowedTools", "Bash",
        ANTHROPIC_API_KEY="sk-ant-api03-dummy-key-for-tests", ANTHROPIC_BASE_URL=stand.worker.gateway,
    )  # fmt: skip
    assert (ran.code, DONE in ran.out) == (0, True), ran
    assert MARK in stand.told(path)


@pytest.mark.parametrize(
    ("model", "path", "websocket"),
    [("claude-sonnet-4-5", "/messages", False), ("claude-sonnet-4-5", "/messages", True)],
    ids=["over https", "over a websocket"],
)
async def test_codex(stand: Stand, model: str, path: str, websocket: bool) -> None:
    stand.answer(EXEC)
    base = f'base_url="{stand.worker.gateway}/v1", env_key="CODEX_API_KEY", wire_api="responses"'
    row = f'{{name="gateway", {base}, supports_websockets={str(websocket).lower()}}}'
    ran = await stand.run(
        "codex", "exec", "--skip-git-repo-check", "-s", "danger-full-access", "-m", model,
        "-c", "model_provider=gateway", "-c", f"model_providers.gateway={row}", "run it",
        CODEX_API_KEY="sk-dummy-key-for-tests",
    )  # fmt: skip
    assert (ran.code, DONE in ran.out) == (0, True), ran
    assert MARK in stand.told(path)
