"""How real coding agents take what the gateway refuses: how often they ask, and what they show.

Verdicts (budget, role) are 400 and end an agent's turn; limits are waited for; a wrong key is said. Agents that are not
installed are skipped.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import pytest

from shin_gateway.keys import Registrar
from shin_gateway.stores.rows import CallRow
from tests.e2e.corporate import CorporateProxy
from tests.e2e.programs import Ran, program, run, through
from tests.e2e.serving import CHAT, Serving, serve, write_config
from tests.provider import Answer, FakeProvider, Seen

HOSTS = {
    "openai": "https://api.openai.com/v1",
    "anthropic": "https://api.anthropic.com",
    "gemini": "https://generativelanguage.googleapis.com",
}
TEXT = "Hello from the fake provider."
CALLS = ("/v1/messages", "/v1/responses", "/v1beta/")
WRONG = "sk-shin-" + "0" * 43


@dataclass(frozen=True)
class Agent:
    """How one is started, and pointed at a base URL."""

    arguments: tuple[str, ...]
    key: str
    """The variable that holds its key."""
    dummy: str
    base: Callable[[str], tuple[tuple[str, ...], dict[str, str]]]
    """Arguments before the others, and variables."""
    variables: dict[str, str] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)
    """In its home, where it is pointed at a base URL."""


def _opencode(gateway: str) -> tuple[tuple[str, ...], dict[str, str]]:
    options = {"options": {"baseURL": f"{gateway}/v1"}}
    config = {"autoupdate": False, "share": "disabled", "provider": {"anthropic": options}}
    return (), {"OPENCODE_CONFIG_CONTENT": json.dumps(config)}


AGENTS = {
    "claude": Agent(
        ("-p", "say hello"),
        "ANTHROPIC_API_KEY",
        "sk-ant-api03-dummy",
        lambda gateway: ((), {"ANTHROPIC_BASE_URL": gateway}),
    ),
    "codex": Agent(
        ("exec", "--skip-git-repo-check", "-s", "read-only", "say hello"),
        "CODEX_API_KEY",
        "sk-dummy",
        lambda gateway: (("-c", f'openai_base_url="{gateway}/v1"'), {}),
    ),
    "gemini": Agent(
        ("-p", "say hello"),
        "GEMINI_API_KEY",
        "AIzaDummy",
        lambda gateway: ((), {"GOOGLE_GEMINI_BASE_URL": gateway}),
        {"GEMINI_CLI_TRUST_WORKSPACE": "true"},
        {".gemini/settings.json": '{"security":{"auth":{"selectedType":"gemini-api-key"}}}'},
    ),
    "opencode": Agent(
        ("run", "-m", "anthropic/claude-sonnet-4-5", "say hello"), "ANTHROPIC_API_KEY", "sk-ant-dummy", _opencode
    ),
}


@dataclass
class Stand:
    """A worker between agents and a provider that stands for the whole internet."""

    worker: Serving
    provider: FakeProvider
    registrar: Registrar
    folder: Path

    async def policy(self, addons: str, more: str = "") -> None:
        """For the gateway and for the providers' hosts alike."""
        for name, hosts in (("gateway", "gateway"), *((name, url.split("/")[2]) for name, url in HOSTS.items())):
            text = f"hosts: [{hosts}]\nextends: standard\n{more}\naddons:\n  retry: off\n{addons}\n"
            self.worker.policy(name, text)
        await self.worker.worker.reload()

    async def key(self, **fields: Any) -> str:
        _, key = await self.registrar.create(**{"user": "anna", "roles": ("user",), **fields})
        return key

    async def run(
        self, name: str, *, key: str = "", login: str = "", gateway: bool = False, patience: float = 60
    ) -> Ran:
        """With `login` through the proxy; with `gateway` by base URL, `key` being its key."""
        agent = AGENTS[name]
        before, variables = agent.base(self.worker.gateway) if gateway else ((), {})
        if gateway:
            for path, text in agent.files.items():
                at = self.folder / "its-home" / path
                at.parent.mkdir(parents=True, exist_ok=True)
                at.write_text(text)
        environ = through(self.worker, self.provider.ca_file, login or None)
        more = {agent.key: key or agent.dummy, **agent.variables, **variables}
        command = (program(name), *before, *agent.arguments)
        return await run(self.folder, *command, environ=environ, **more)

    @property
    def asked(self) -> list[Seen]:
        """Calls to models that reached the provider."""
        return [
            seen for seen in self.provider.seen if seen.path.startswith(("/v1/messages", "/v1/responses", "/v1beta"))
        ]

    async def calls(self) -> list[CallRow]:
        """Those so far; the last of them is written a moment after its end."""
        await asyncio.sleep(0.3)
        return await self.worker.rows(0)


def _catalogue(seen: Seen) -> Answer | None:
    """opencode brings its own list of models, which it takes where it cannot fetch another."""
    return Answer(status=503) if seen.sni.startswith("models.") else None


@pytest.fixture
async def stand(tmp_path: Path, secure: FakeProvider) -> AsyncIterator[Stand]:
    config = write_config(tmp_path, HOSTS, f"upstream: {{ca: {str(secure.ca_file)!r}}}")
    secure.rule = _catalogue
    async with (
        CorporateProxy(secure) as office,
        serve(tmp_path / "home", config, tmp_path / "policies", modes=[f"upstream:{office.url}"]) as worker,
    ):
        yield Stand(worker, secure, Registrar(worker.worker.gateway.state), tmp_path)


EACH = pytest.mark.parametrize("name", AGENTS)
AUTH = "  auth: {keys: gateway}\n"
CALLS_OF_A_TURN = {"claude": 1, "codex": 2, "gemini": 2, "opencode": 2}
"""With a prewarm, a choice of the model, or a title beside the call itself."""


def shows(ran: Ran, text: str) -> bool:
    """Codex shows what came over its WebSocket as it came, JSON."""
    said = f"{ran.out}\n{ran.err}"
    return text in said or json.dumps(text)[1:-1] in said


@pytest.mark.parametrize("gateway", [False, True], ids=["proxy", "gateway"])
@EACH
async def test_a_spent_budget_ends_the_turn(stand: Stand, name: str, gateway: bool) -> None:
    """One try and the reason, whichever way the agent came."""
    await stand.policy(AUTH + "  budget: {limit: 10 tokens/day}")
    key = await stand.key()
    ran = await stand.run(name, key=key, login=f"anna:{key}", gateway=gateway)
    rows = await stand.calls()
    assert ran.code
    assert shows(ran, 'The budget "10 tokens/day per user" of user anna'), ran
    assert {(row.status, row.cause, row.caller) for row in rows} == {(400, "over_budget", "anna")}
    assert len(rows) <= CALLS_OF_A_TURN[name]
    assert not stand.asked


@EACH
async def test_a_model_that_the_key_may_not_use(stand: Stand, name: str) -> None:
    """Claude Code takes a 400 at a base URL for a server without its newest features, and leaves out some of them."""
    await stand.policy(AUTH + "  access: on")
    key = await stand.key(models=("groq/*",))
    ran = await stand.run(name, key=key, gateway=True)
    rows = await stand.calls()
    assert ran.code
    assert shows(ran, "Your key may not use the model"), ran
    assert {(row.status, row.cause) for row in rows} == {(400, "model_not_allowed")}
    assert len(rows) <= (6 if name == "claude" else CALLS_OF_A_TURN[name])


@EACH
async def test_a_rate_limit_is_waited_for(stand: Stand, name: str) -> None:
    """As long as is told, and the user sees the answer alone."""
    await stand.policy(AUTH + "  rate_limit: {requests: 1/4s, per: everyone, scope: shared}")
    key = await stand.key()
    async with httpx2.AsyncClient(trust_env=False) as client:
        headers = {"authorization": f"Bearer {key}"}
        first = await client.post(f"{stand.worker.gateway}/v1/chat/completions", json=CHAT, headers=headers)
    assert first.status_code == 200
    ran = await stand.run(name, key=key, gateway=True)
    statuses = [row.status for row in (await stand.calls())[1:]]
    assert (ran.code, TEXT in ran.out) == (0, True), ran
    assert set(statuses) <= {200, 429}
    assert statuses.count(429) <= 2 * statuses.count(200), "it did not wait as told"


@pytest.mark.parametrize("name", [name for name in AGENTS if name != "codex"])
async def test_a_key_that_was_revoked(stand: Stand, name: str) -> None:
    """It is shown at once; but Codex asks six times over either transport, whoever answers 401."""
    await stand.policy(AUTH)
    ran = await stand.run(name, key=WRONG, gateway=True)
    rows = await stand.calls()
    assert ran.code
    assert shows(ran, "The key is unknown, expired or disabled."), ran
    assert {(row.status, row.cause) for row in rows} == {(401, "unauthenticated")}
    assert len(rows) <= CALLS_OF_A_TURN[name]
    assert not stand.asked


@EACH
async def test_a_login_and_room_enough(stand: Stand, name: str) -> None:
    """With all that can refuse, and a login that is wanted, an agent works as without; its own key goes on."""
    addons = "  access: on\n  rate_limit: {requests: 100/min, tokens: 100M/min}\n  concurrency: {calls: 9}\n"
    budget = "  budget: {limit: $1000/day, unknown_price: {input: $5, output: $15}}\n"
    await stand.policy(AUTH + addons + budget, "proxy_auth: required")
    key = await stand.key()
    ran = await stand.run(name, login=f"anna:{key}")
    rows = await stand.calls()
    assert (ran.code, TEXT in ran.out) == (0, True), ran
    assert {(row.caller, row.caller_kind, row.status) for row in rows} == {("anna", "virtual_key", 200)}
    assert all(AGENTS[name].dummy in str(seen.headers) for seen in stand.asked if seen.method != "WEBSOCKET")
    assert not [seen for seen in stand.provider.seen if key in f"{seen.target} {seen.headers}"]
