"""The policies that come with the gateway."""

from __future__ import annotations

from pathlib import Path

import pytest

from shin_gateway.policy import PolicySet, check, load_policies
from shin_gateway.providers import Providers
from shin_gateway.registry import Registry, bundled

READY = [
    ("api.openai.com", "openai", "openai"),
    ("eu.api.openai.com", "openai", "openai"),
    ("acme.openai.azure.com", "azure_openai", "azure_openai"),
    ("acme.services.ai.azure.com", "azure_openai", "azure_openai"),
    ("api.anthropic.com", "anthropic", "anthropic"),
    ("generativelanguage.googleapis.com", "gemini", "gemini"),
    ("aiplatform.googleapis.com", "vertex", "vertex"),
    ("us-central1-aiplatform.googleapis.com", "vertex", "vertex"),
    ("aiplatform.us.rep.googleapis.com", "vertex", "vertex"),
    ("openrouter.ai", "openrouter", "openrouter"),
    ("api.mistral.ai", "mistral", "mistral"),
    ("codestral.mistral.ai", "mistral", "mistral"),
    ("api.groq.com", "groq", "groq"),
    ("api.deepseek.com", "deepseek", "deepseek"),
    ("api.x.ai", "xai", "xai"),
    ("us-east-1.api.x.ai", "xai", "xai"),
    ("api.individual.githubcopilot.com", "github_copilot", "github_copilot"),
    ("api.githubcopilot.com", "github_copilot", "github_copilot"),
    ("chatgpt.com", "chatgpt", "chatgpt"),
    ("cloudcode-pa.googleapis.com", "code_assist", "code_assist"),
]

NEVER = [
    "storage.googleapis.com", "oauth2.googleapis.com", "www.googleapis.com", "play.googleapis.com", "auth.openai.com",
    "ab.chatgpt.com", "claude.ai", "platform.claude.com", "downloads.claude.ai", "statsig.anthropic.com",
    "mcp-proxy.anthropic.com", "telemetry.individual.githubcopilot.com", "api.github.com", "github.com",
    "models.opencode.ai", "raw.githubusercontent.com", "api2.cursor.sh", "sentry.io", "gateway", "localhost",
]  # fmt: skip


@pytest.fixture(scope="module")
def policies(tmp_path_factory: pytest.TempPathFactory) -> PolicySet:
    """With addons of the right names, so that this does not depend on what the real ones can be set to."""
    from shin_gateway.registry import _in_folder
    from tests.policy.conftest import ADDONS, addon

    folder: Path = tmp_path_factory.mktemp("addons")
    for name, line in ADDONS.items():
        (folder / f"{name}.py").write_text(addon(line))
    return load_policies([], Registry(_in_folder(folder)))


@pytest.mark.parametrize(("host", "policy", "provider"), READY)
def test_known_hosts(host: str, policy: str, provider: str, policies: PolicySet) -> None:
    found = policies.find(host, 443)
    assert found is not None
    assert found.name == policy
    assert Providers.load().serving(host, 443, found.provider).name == provider
    assert [line.name for line in found.addons] == ["log", "meter"]


@pytest.mark.parametrize("host", NEVER)
def test_hosts_that_are_tunnelled(host: str, policies: PolicySet) -> None:
    assert policies.find(host, 443) is None


def test_ollama_is_named_with_its_port_only(policies: PolicySet) -> None:
    for host in ("localhost", "127.0.0.1", "::1"):
        assert policies.find(host, 11434).name == "ollama"
        assert policies.find(host, 8000) is None


def test_the_gateway_has_the_standard_preset(policies: PolicySet) -> None:
    assert [line.name for line in policies.gateway.addons] == ["log", "retry", "translate", "meter"]


def test_no_ready_policy_is_broad(policies: PolicySet) -> None:
    assert not [str(pattern) for policy in policies for pattern in policy.hosts if pattern.broad]


def test_every_provider_that_a_policy_names_exists(policies: PolicySet) -> None:
    providers = Providers.load()
    assert [policy.name for policy in policies if providers.get(policy.provider) is None] == []


def test_every_host_of_a_row_has_a_policy(policies: PolicySet) -> None:
    claimed = {str(pattern) for policy in policies for pattern in policy.hosts}
    assert [str(host) for row in Providers.load() for host in row.hosts if str(host) not in claimed] == []


def test_they_load_with_the_real_addons() -> None:
    registry = Registry.load()
    if not {"meter", "log", "retry"} <= set(registry):
        pytest.skip("built without meter, log and retry")
    assert check([], registry) == []


def test_every_file_names_its_schema() -> None:
    for path in bundled("policies").rglob("*.yaml"):
        assert path.read_text().startswith("# yaml-language-server: $schema=../"), path
