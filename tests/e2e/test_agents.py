"""Real coding agents with the variables of `shin exec`: their calls take the chain, what else they do does not."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.addons.conftest import EXAMPLES
from tests.e2e.corporate import CorporateProxy
from tests.e2e.programs import Ran, program, run, through
from tests.e2e.serving import Serving, serve, write_config
from tests.provider import Answer, FakeProvider, Seen

TEXT = "Hello from the fake provider."
CODEX = ("exec", "--skip-git-repo-check", "-s", "read-only", "say hello")


@dataclass
class Stand:
    """A worker between an agent and a provider that stands for the whole internet."""

    worker: Serving
    provider: FakeProvider
    office: CorporateProxy
    folder: Path

    async def run(self, name: str, *arguments: str, **variables: str) -> Ran:
        environ = through(self.worker, self.provider.ca_file, "alice")
        return await run(self.folder, program(name), *arguments, environ=environ, **variables)

    def seen(self, host: str, path: str) -> list[str]:
        """Methods of the requests that reached the provider there."""
        return [one.method for one in self.provider.seen if (one.sni, one.path) == (host, path)]


@pytest.fixture
async def stand(tmp_path: Path, secure: FakeProvider) -> AsyncIterator[Stand]:
    urls = {"openai": "https://api.openai.com/v1", "anthropic": "https://api.anthropic.com"}
    config = write_config(tmp_path, urls, f"upstream: {{ca: {str(secure.ca_file)!r}}}")
    secure.default = Answer(text=TEXT)
    async with (
        CorporateProxy(secure) as office,
        serve(
            tmp_path / "home", config, tmp_path / "policies", modes=[f"upstream:{office.url}"], addons=[EXAMPLES]
        ) as worker,
    ):
        yield Stand(worker, secure, office, tmp_path)


async def check(stand: Stand, host: str, path: str, dialect: str) -> None:
    """Every call has a row, and nothing else has one."""
    calls = stand.seen(host, path)
    assert calls, "nothing reached the provider"
    rows = await stand.worker.rows(len(calls))
    assert len(rows) == len(calls)
    for row in rows:
        assert (row.host, row.dialect, row.caller, row.status) == (host, dialect, "alice", 200)
        assert row.end in ("completed", "cancelled")
        assert row.model and row.call_bytes > 1000
    assert any((row.end, row.stream, row.output_tokens) == ("completed", True, 7) for row in rows)


async def test_claude_code_answers(stand: Stand) -> None:
    ran = await stand.run("claude", "-p", "say hello", ANTHROPIC_API_KEY="sk-ant-api03-dummy-key-for-tests")
    assert (ran.code, TEXT in ran.out) == (0, True), ran
    await check(stand, "api.anthropic.com", "/v1/messages", "anthropic.messages")
    others = {seen.path for seen in stand.provider.seen if seen.sni == "api.anthropic.com"} - {"/v1/messages"}
    assert any(path.startswith("/api/") for path in others), "no telemetry and no settings: the agent has changed"


async def test_codex_over_its_websocket(stand: Stand) -> None:
    """Its prewarm, and the calls that refer to it, go on as they came."""
    ran = await stand.run("codex", *CODEX, CODEX_API_KEY="sk-dummy-key-for-tests")
    assert (ran.code, TEXT in ran.out) == (0, True), ran
    frames = [seen for seen in stand.provider.seen if seen.method == "WEBSOCKET"]
    assert {(seen.sni, seen.path) for seen in frames} == {("api.openai.com", "/v1/responses")}
    assert not [seen for seen in stand.provider.seen if seen.method == "POST" and seen.path == "/v1/responses"]
    rows = await stand.worker.rows(len(frames))
    assert all((row.caller, row.status, row.facts["carrier"]) == ("alice", 200, "websocket") for row in rows)
    (row,) = [row for row in rows if "prewarm" not in row.facts]
    assert (row.end, row.output_tokens) == ("completed", 7)


@pytest.mark.parametrize("upgrade", [200, 426], ids=["WebSocket", "HTTPS"])
async def test_codex_gets_its_own_words_back(stand: Stand, upgrade: int) -> None:
    stand.worker.policy(
        "openai", "hosts: [api.openai.com]\nextends: observe\naddons: {swap_words: {words: {hello: moin}}}"
    )
    await stand.worker.worker.reload()
    stand.provider.default = Answer(text="You said moin.")
    stand.provider.rule = lambda seen: Answer(status=upgrade) if seen.method == "GET" and upgrade > 200 else None
    ran = await stand.run("codex", *CODEX, CODEX_API_KEY="sk-dummy-key-for-tests")
    assert (ran.code, "You said hello." in ran.out) == (0, True), ran
    asked = [
        seen.body.decode() for seen in stand.provider.seen if seen.path == "/v1/responses" and seen.method != "GET"
    ]
    assert any("say moin" in body for body in asked)
    assert not any("say hello" in body for body in asked)


async def test_codex_falls_back_to_https(stand: Stand) -> None:
    stand.worker.policy("openai", "hosts: [api.openai.com]\nextends: observe\nwebsocket: decline\n")
    await stand.worker.worker.reload()
    ran = await stand.run("codex", *CODEX, CODEX_API_KEY="sk-dummy-key-for-tests")
    assert (ran.code, TEXT in ran.out) == (0, True), ran
    await check(stand, "api.openai.com", "/v1/responses", "openai.responses")
    assert stand.seen("api.openai.com", "/v1/responses").count("GET") == 0


async def test_codex_with_a_chatgpt_login(stand: Stand) -> None:
    """Over HTTPS its bodies are zstd; its telemetry goes to the host of its calls."""
    stand.worker.policy("chatgpt", "hosts: [chatgpt.com]\nextends: observe\nwebsocket: decline\n")
    await stand.worker.worker.reload()
    _log_in(stand.folder / "its-home" / ".codex")
    stand.provider.rule = _workspace
    ran = await stand.run("codex", *CODEX)
    assert (ran.code, TEXT in ran.out) == (0, True), ran
    await check(stand, "chatgpt.com", "/backend-api/codex/responses", "openai.responses")
    (call, *_) = [seen for seen in stand.provider.seen if seen.path == "/backend-api/codex/responses"]
    assert call.header("content-encoding") == "zstd"
    assert "say hello" in call.decoded().decode()
    assert call.header("authorization").startswith("Bearer ")


async def test_codex_with_a_chatgpt_login_over_its_websocket(stand: Stand) -> None:
    _log_in(stand.folder / "its-home" / ".codex")
    stand.provider.rule = _workspace
    ran = await stand.run("codex", *CODEX)
    assert (ran.code, TEXT in ran.out) == (0, True), ran
    frames = [seen for seen in stand.provider.seen if seen.method == "WEBSOCKET"]
    assert {(seen.sni, seen.path) for seen in frames} == {("chatgpt.com", "/backend-api/codex/responses")}
    rows = await stand.worker.rows(len(frames))
    assert any((row.end, row.output_tokens, row.facts["carrier"]) == ("completed", 7, "websocket") for row in rows)


async def test_codex_keeps_its_websocket_where_a_policy_says_pass(stand: Stand) -> None:
    stand.worker.policy("openai", "hosts: [api.openai.com]\nextends: observe\nwebsocket: pass\n")
    await stand.worker.worker.reload()
    ran = await stand.run("codex", *CODEX, CODEX_API_KEY="sk-dummy-key-for-tests")
    assert (ran.code, TEXT in ran.out) == (0, True), ran
    assert any('"response.create"' in one for one in _frames(stand.provider))


async def test_by_base_url_through_the_gateway(stand: Stand) -> None:
    """Here too Codex asks for a WebSocket first; its calls go on over HTTPS."""
    gateway = stand.worker.gateway
    codex = await stand.run("codex", "-c", f'openai_base_url="{gateway}/v1"', *CODEX, CODEX_API_KEY="sk-dummy")
    claude = await stand.run("claude", "-p", "say hello", ANTHROPIC_API_KEY="sk-ant-dummy", ANTHROPIC_BASE_URL=gateway)
    for ran in (codex, claude):
        assert (ran.code, TEXT in ran.out) == (0, True), ran
    rows = await stand.worker.rows(2)
    assert {(row.host, row.provider) for row in rows} == {("gateway", "openai"), ("gateway", "anthropic")}
    assert {row.facts.get("carrier") for row in rows} == {"websocket", None}
    (call, *_) = [seen for seen in stand.provider.seen if seen.path == "/v1/responses"]
    assert call.header("authorization") == "Bearer sk-of-the-gateway"


async def test_codex_on_a_model_of_anthropic(stand: Stand) -> None:
    """Over its WebSocket to the gateway, translated from there."""
    gateway = stand.worker.gateway
    settings = ("-c", f'openai_base_url="{gateway}/v1"', "-m", "claude-sonnet-4-5")
    ran = await stand.run("codex", *settings, *CODEX, CODEX_API_KEY="sk-dummy")
    assert (ran.code, TEXT in ran.out) == (0, True), ran
    calls = [seen for seen in stand.provider.seen if seen.sni == "api.anthropic.com"]
    assert {seen.path for seen in calls} == {"/v1/messages"}
    assert calls[0].json()["tools"], "its tools come along"
    (row, *_) = await stand.worker.rows()
    assert (row.provider, row.end, row.output_tokens, row.facts["carrier"]) == (
        "anthropic",
        "completed",
        7,
        "websocket",
    )


def _frames(provider: FakeProvider) -> list[str]:
    return [str(message) for seen in provider.seen for message in seen.messages]


def _workspace(seen: Seen) -> Answer | None:
    """Codex asks where its workspace is before anything else."""
    if not seen.path.endswith("/wham/accounts/check"):
        return None
    where = {"workspace_backend_origin": "NO_CONSTRAINT", "account_routing_override": "NO_CONSTRAINT"}
    account = {"id": "acc-dummy", "name": None, "plan_type": "plus", "structure": "personal", **where}
    told = {"accounts": [account], "account_ordering": ["acc-dummy"], "default_account_id": "acc-dummy"}
    return Answer(body=json.dumps(told).encode())


def _log_in(folder: Path) -> None:
    account = {"chatgpt_plan_type": "plus", "chatgpt_account_id": "acc-dummy", "chatgpt_user_id": "u"}
    claims = {"email": "t@example.invalid", "exp": 4102444800, "https://api.openai.com/auth": account}
    token = f"{_part({'alg': 'none'})}.{_part(claims)}.c2ln"
    tokens = {"id_token": token, "access_token": token, "refresh_token": "dummy", "account_id": "acc-dummy"}
    login = {"auth_mode": "chatgpt", "OPENAI_API_KEY": None, "tokens": tokens, "last_refresh": "2026-11-01T00:00:00Z"}
    folder.mkdir(parents=True)
    (folder / "auth.json").write_text(json.dumps(login))


def _part(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")
