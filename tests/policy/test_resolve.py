"""From files to policies."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from shin_gateway.addon import Stage
from shin_gateway.policy import Policy, PolicySet, load_policies
from shin_gateway.policy.match import GATEWAY
from shin_gateway.policy.model import Limits, Timeouts
from shin_gateway.registry import Registry, _in_folder
from tests.policy.conftest import Write, addon


@pytest.fixture
def load(base: Path, registry: Registry, write: Write):
    def loaded(*dirs: str) -> PolicySet:
        return load_policies([Path(name) for name in dirs or ["policies"]], registry, base)

    return loaded


def chain(policy: Policy | None) -> list[str]:
    assert policy is not None
    return [line.name for line in policy.addons]


def test_without_folders_there_is_what_comes_with_the_gateway(base: Path, registry: Registry) -> None:
    policies = load_policies([], registry, base)
    assert chain(policies.find("api.openai.com", 443)) == ["log", "meter"]
    assert chain(policies.find(GATEWAY)) == chain(policies.gateway) == ["log", "retry", "meter"]
    assert policies.find("example.com", 443) is None
    assert [policy.name for policy in policies] == ["gateway", "openai"]


def test_a_machine_named_gateway_is_not_our_listener(base: Path, registry: Registry) -> None:
    policies = load_policies([], registry, base)
    assert policies.find("gateway", 443) is None
    assert policies.hosts == ["*.api.openai.com", "api.openai.com"]


def test_stages_order_the_chain_and_lines_do_not(write: Write, load) -> None:
    write("policies/a.yaml", "hosts: [a.example]\naddons: {meter: on, retry: on, cache: on, rate_limit: on, log: on}\n")
    write("policies/b.yaml", "hosts: [b.example]\naddons: {log: on, rate_limit: on, cache: on, retry: on, meter: on}\n")
    expected = ["log", "rate_limit", "cache", "retry", "meter"]
    assert chain(load().find("a.example")) == chain(load().find("b.example")) == expected


def test_among_one_stage_the_lower_order_is_further_out_then_the_name(tmp_path: Path, base: Path, write: Write) -> None:
    stage = "stage = Stage.GUARD"
    for name, order in {"b": 0, "a": 0, "c": -1, "d": 5}.items():
        write(f"guards/{name}.py", addon(stage, f"order = {order}"))
    for name in ("meter", "log", "retry"):
        write(f"guards/{name}.py", addon("stage = Stage.WIRE"))
    write("policies/x.yaml", "hosts: [x.example]\naddons: {d: on, c: on, b: on, a: on}\n")
    registry = Registry(_in_folder(tmp_path / "guards"))
    assert chain(load_policies([Path("policies")], registry, base).find("x.example")) == ["c", "a", "b", "d"]


def test_settings_replace_addon_by_addon_and_are_not_merged(write: Write, load) -> None:
    write(
        "policies/presets/mine.yaml", "extends: standard\naddons: {cache: {ttl: 5m, words: {a: b}}, retry: {ttl: 1s}}\n"
    )
    write("policies/a.yaml", "hosts: [a.example]\nextends: mine\naddons: {cache: {words: {c: d}}}\n")
    policy = load().find("a.example")
    assert chain(policy) == ["log", "cache", "retry", "meter"]
    cache, retry = policy.addons[1:3]
    assert (cache.settings.ttl, cache.settings.words) == (3600.0, {"c": "d"})
    assert retry.settings.ttl == 1.0


def test_off_removes_and_is_remembered(write: Write, load) -> None:
    write("policies/a.yaml", "hosts: [a.example]\nextends: standard\naddons:\n  retry: off\n  cache: off\n")
    policy = load().find("a.example")
    assert chain(policy) == ["log", "meter"]
    assert [(one.name, one.origin) for one in policy.off] == [("retry", "a.yaml:4:3"), ("cache", "a.yaml:5:3")]


def test_the_later_of_two_presets_wins_and_its_off_too(write: Write, load) -> None:
    write("policies/presets/one.yaml", "addons: {cache: {ttl: 1s}, retry: on}\n")
    write("policies/presets/two.yaml", "addons: {cache: {ttl: 2s}, retry: off}\n")
    write("policies/a.yaml", "hosts: [a.example]\nextends: [one, two]\n")
    write("policies/b.yaml", "hosts: [b.example]\nextends: [two, one]\n")
    first, second = load().find("a.example"), load().find("b.example")
    assert chain(first) == ["cache"]
    assert first.addons[0].settings.ttl == 2.0
    assert chain(second) == ["cache", "retry"]
    assert second.addons[0].settings.ttl == 1.0


def test_mode_is_taken_off_before_the_settings(write: Write, load) -> None:
    write(
        "policies/a.yaml",
        "hosts: [a.example]\naddons: {cache: {mode: shadow, ttl: 1s}, retry: {mode: enforce}, log: {}, meter: }\n",
    )
    assert [(line.name, line.mode) for line in load().find("a.example").addons] == [
        ("log", "enforce"), ("cache", "shadow"), ("retry", "enforce"), ("meter", "enforce"),
    ]  # fmt: skip


def test_single_keys_are_replaced_whole_and_say_where_they_come_from(write: Write, load) -> None:
    write("policies/presets/slow.yaml", "timeouts: {connect: 1s, total: 2h}\nlimits: {body: 1MB}\nwebsocket: pass\n")
    write(
        "policies/a.yaml",
        "hosts: [a.example]\nextends: slow\ntimeouts: {idle: 5s}\nproxy_auth: required\nprovider: lab\n",
    )
    policy = load().find("a.example")
    assert policy.timeouts == Timeouts(idle=5.0)
    assert policy.limits == Limits(body=1_000_000)
    assert (policy.websocket, policy.proxy_auth, policy.provider) == ("pass", "required", "lab")
    assert policy.origins == {
        "timeouts": "a.yaml:3:1", "limits": "presets/slow.yaml:2:1", "websocket": "presets/slow.yaml:3:1",
        "proxy_auth": "a.yaml:4:1", "provider": "a.yaml:5:1",
    }  # fmt: skip


def test_origins_of_lines(write: Write, load) -> None:
    write("policies/a.yaml", "hosts: [a.example]\nextends: standard\naddons:\n  cache:\n    ttl: 1s\n")
    assert {line.name: line.origin for line in load().find("a.example").addons} == {
        "log": "presets/observe.yaml:3:3", "cache": "a.yaml:4:3", "retry": "presets/standard.yaml:3:3",
        "meter": "presets/observe.yaml:2:3",
    }  # fmt: skip


def test_a_file_takes_over_hosts_of_what_comes_with_the_gateway(write: Write, load) -> None:
    write("policies/mine.yaml", "hosts: [api.openai.com]\naddons: {cache: on}\n")
    policies = load()
    assert policies.find("api.openai.com").name == "mine"
    assert policies.find("eu.api.openai.com").name == "openai"
    assert [str(pattern) for pattern in policies.named("openai").hosts] == ["*.api.openai.com"]


def test_a_file_of_the_same_name_replaces_all_of_the_other(write: Write, load) -> None:
    write("policies/openai.yaml", "hosts: []\n")
    policies = load()
    assert policies.find("api.openai.com") is None
    assert policies.find("eu.api.openai.com") is None
    assert policies.hosts == []


def test_a_preset_of_the_same_name_replaces_the_other(write: Write, load) -> None:
    write("policies/presets/observe.yaml", "addons: {log: {ttl: 1s}}\n")
    assert chain(load().find("api.openai.com")) == ["log"]
    assert chain(load().gateway) == ["log", "retry"]


def test_one_folder_named_twice_is_one_folder(base: Path, write: Write, load) -> None:
    write("policies/a.yaml", "hosts: [a.example]\n")
    assert load("policies", "policies").find("a.example")
    assert load(str(base)).find("api.openai.com")


def test_hidden_files_and_other_files_are_no_policies(write: Write, load) -> None:
    write("policies/.#a.yaml", "{{{")
    write("policies/a.yaml~", "{{{")
    write("policies/notes.txt", "{{{")
    write("policies/b.yml", "hosts: [b.example]\n")
    assert load().find("b.example").name == "b"


def test_paths_of_a_policy(write: Write, load) -> None:
    write("policies/a.yaml", "hosts: [a.example]\npaths: [{match: '/llm', kind: chat, dialect: openai.chat}]\n")
    found = load().find("a.example").paths.find("POST", "/llm?x=1")
    assert (found.kind, found.dialect) == ("chat", "openai.chat")


def test_a_digest_tells_a_change_from_a_touch(write: Write, load) -> None:
    write("policies/a.yaml", "hosts: [a.example]\naddons: {cache: {ttl: 1s}}\n")
    write("policies/b.yaml", "hosts: [b.example]\n")
    before = load()
    write("policies/a.yaml", "# new words\naddons: {cache: {ttl: 1000ms}}\nhosts: [A.example]\n")
    assert load().digest == before.digest
    write("policies/a.yaml", "hosts: [a.example]\naddons: {cache: {ttl: 2s}}\n")
    after = load()
    assert after.digest != before.digest
    assert after.named("a").digest != before.named("a").digest
    assert after.named("b").digest == before.named("b").digest


def test_lines_know_their_class(write: Write, load) -> None:
    assert load_line(load, write).cls.stage is Stage.CACHE


def load_line(load, write: Write):
    write("policies/a.yaml", "hosts: [a.example]\naddons: {cache: on}\n")
    return load().find("a.example").addons[0]


DIGEST = """
from pathlib import Path
from shin_gateway.policy import load_policies
from shin_gateway.registry import Registry, _in_folder
registry = Registry(_in_folder(Path("addons")))
print(load_policies([Path("policies")], registry, Path("base")).digest)
"""


def test_workers_agree_on_the_digest(tmp_path: Path, base: Path, registry: Registry, write: Write) -> None:
    (tmp_path / "addons/cache.py").write_text(
        addon("stage = Stage.CACHE").replace("words: dict[str, str] = {}", "words: frozenset[str] = frozenset()")
    )
    write("policies/a.yaml", "hosts: [a.example]\naddons: {cache: {words: [one, two, three, four, five]}}\n")
    root = str(Path(__file__).parents[2])
    environments = [{"PYTHONPATH": root, "PYTHONHASHSEED": seed} for seed in ("1", "2", "3")]
    command = [sys.executable, "-c", DIGEST]
    assert (
        len({subprocess.run(command, env=env, stdout=subprocess.PIPE, check=True).stdout for env in environments}) == 1
    )
