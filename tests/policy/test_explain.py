"""What `shin explain HOST` prints."""

from __future__ import annotations

from pathlib import Path
from textwrap import dedent

import pytest

from shin_gateway.policy import PolicySet, load_policies
from shin_gateway.policy.explain import explain
from shin_gateway.providers import Providers
from shin_gateway.registry import Registry
from tests.policy.conftest import Write

PROVIDERS = Providers.load()


@pytest.fixture
def policies(write: Write, base: Path, registry: Registry) -> PolicySet:
    write(
        "policies/eu.yaml",
        """\
        hosts: [eu.api.openai.com]
        extends: standard
        timeouts: {connect: 500ms}
        paths: [{match: '/llm', kind: chat, dialect: openai.chat}]
        addons:
          cache: {mode: shadow, ttl: 5m}
          meter: off
        """,
    )
    return load_policies([Path("policies")], registry, base)


def test_a_host(policies: PolicySet) -> None:
    assert explain(policies, PROVIDERS, "EU.api.openai.com:443") == dedent(
        """\
        eu (policies/eu.yaml)
          host       eu.api.openai.com:443 matches eu.api.openai.com
          timeouts   connect 0.5s, first_part 600s, idle 300s, total 3600s  (eu.yaml:3:1)
          limits     body 64,000,000 bytes  (default)
          websocket  carry  (default)
          proxy_auth optional  (default)
          provider   openai  (this host is named in its row)
          paths      1 of its own  (eu.yaml:4:1)
          chain, outermost first:
            observe   log             {ttl: 3600.0, words: {}}  (presets/observe.yaml:3:3)
            cache     cache           {ttl: 300.0, words: {}}  shadow  (eu.yaml:6:3)
            route     retry           {ttl: 3600.0, words: {}}  (presets/standard.yaml:3:3)
            off       meter             (eu.yaml:7:3)
          beats      *.api.openai.com of openai (base/openai.yaml)"""
    )


def test_the_gateway(policies: PolicySet) -> None:
    text = explain(policies, PROVIDERS, "gateway")
    assert text.startswith("gateway (base/gateway.yaml)\n  host       our own gateway listener\n")


def test_whose_host_it_is(write: Write, base: Path, registry: Registry) -> None:
    write("policies/lab.yaml", "hosts: [lab.example, api.openai.com]\nprovider: mistral\n")
    policies = load_policies([Path("policies")], registry, base)
    assert "\n  provider   mistral  (lab.yaml:2:1)\n" in explain(policies, PROVIDERS, "lab.example")
    assert "\n  provider   openai  (this host is named in its row)\n" in explain(policies, PROVIDERS, "api.openai.com")
    assert "\n  provider   by the model's name\n" in explain(policies, PROVIDERS, "gateway")


def test_a_host_that_no_policy_names(policies: PolicySet) -> None:
    assert explain(policies, PROVIDERS, "example.com") == "example.com: tunnelled, not decrypted: no policy names it"


def test_what_is_no_host(policies: PolicySet) -> None:
    with pytest.raises(ValueError, match="write the host alone"):
        explain(policies, PROVIDERS, "https://example.com/")


def test_settings_that_are_not_set_are_left_out(tmp_path: Path) -> None:
    (tmp_path / "gateway.yaml").write_text("hosts: [gateway]\naddons: {parameters: {caps: {n: 1}}}\n")
    told = explain(load_policies([tmp_path], Registry.load()), PROVIDERS, "gateway")
    assert " {defaults: {}, caps: {n: 1}, over_cap: lower}  (gateway.yaml:" in told
