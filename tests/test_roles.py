"""What roles permit, by pattern."""

from __future__ import annotations

from fnmatch import fnmatchcase
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shin_gateway.caller import Caller
from shin_gateway.config import Config, load_config
from shin_gateway.policy.positions import PolicyErrors
from shin_gateway.roles import KINDS, PERMISSIONS, Role, Roles, fits


def roles_of(text: str, tmp_path: Path) -> Roles:
    file = tmp_path / "shin.yaml"
    file.write_text(f"roles:\n{text}")
    return Roles.load(load_config(file))


def caller(*roles: str) -> Caller:
    return Caller("ann", roles=roles)


def permits_model(roles: Roles, caller: Caller, *names: str) -> bool:
    return any(role.permits_model(*names) for role in roles.of(caller.roles))


def permits_endpoint(roles: Roles, caller: Caller, kind: str) -> bool:
    return any(role.permits_endpoint(kind) for role in roles.of(caller.roles))


def permits_host(roles: Roles, caller: Caller, host: str) -> bool:
    return any(role.permits_host(host) for role in roles.of(caller.roles))


def test_the_three_that_are_always_there() -> None:
    roles = Roles.load(Config())
    assert set(roles.names) == {"admin", "user", "guest"}
    assert all(permits_endpoint(roles, caller("admin"), kind) for kind in KINDS)
    assert all(roles.permits_admin(caller("admin"), one) for one in PERMISSIONS)
    assert [kind for kind in KINDS if not permits_endpoint(roles, caller("user"), kind)] == ["other"]
    assert [kind for kind in KINDS if permits_endpoint(roles, caller("guest"), kind)] == ["models"]
    assert not any(roles.permits_admin(caller("user", "guest"), one) for one in PERMISSIONS)


def test_who_has_no_role_or_one_that_nobody_described_may_nothing() -> None:
    roles = Roles()
    for names in ((), ("usr",), ("Admin",)):
        assert not permits_endpoint(roles, caller(*names), "chat")
        assert not permits_model(roles, caller(*names), "gpt-4o")
        assert not permits_host(roles, caller(*names), "gateway")
        assert not roles.permits_admin(caller(*names), "keys.read")
        assert roles.tier_of(caller(*names)) == ""


def test_a_file_adds_roles_and_replaces_them_as_a_whole(tmp_path: Path) -> None:
    text = "  dev: {models: [openai/gpt-4o*, fast], hosts: gateway, admin: 'calls.*', tier: gold}\n  guest: {}\n"
    roles = roles_of(text, tmp_path)
    dev = caller("dev")
    assert permits_model(roles, dev, "gpt-4o-mini", "openai/gpt-4o-mini")
    assert permits_model(roles, dev, "fast", "anthropic/claude-haiku")
    assert not permits_model(roles, dev, "claude-haiku", "anthropic/claude-haiku")
    assert not permits_model(roles, dev)
    assert (permits_host(roles, dev, "GATEWAY"), permits_host(roles, dev, "api.openai.com")) == (True, False)
    assert (roles.permits_admin(dev, "calls.read"), roles.permits_admin(dev, "keys.read")) == (True, False)
    assert permits_endpoint(roles, caller("guest"), "chat"), "what a role leaves out is as in `user`"
    assert roles.tier_of(caller("user", "dev")) == "gold"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("  a: {models: 1}", "models"),
        ("  a: {endpoints: [chatt]}", '"chatt" fits no kind of call'),
        ("  a: {admin: [key.read]}", '"key.read" fits no permission of the admin API'),
        ("  a: {endpoint: [chat]}", 'unknown key "endpoint"; did you mean "endpoints"?'),
        ("  a: {models: ['']}", "should have at least 1 character"),
        ("  a: {tier: 1}", "tier"),
    ],
)
def test_what_is_wrong_with_a_role(text: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(PolicyErrors, match=said.replace("?", r"\?").replace("(", r"\(")):
        roles_of(text, tmp_path)


def test_a_role_without_models_permits_none() -> None:
    role = Role(models=())
    assert not role.permits_model("")
    assert not role.permits_model("gpt-4o")


names = st.text(st.sampled_from("aA/-*?[]!.\n"), max_size=12)


@given(st.lists(names.filter(bool), max_size=4), st.lists(names, max_size=3))
def test_patterns_fit_as_fnmatch_has_it(patterns: list[str], asked: list[str]) -> None:
    wanted = any(fnmatchcase(name, pattern) for name in asked if name for pattern in patterns)
    assert fits(tuple(patterns), *asked) == (wanted or "*" in patterns)


@given(st.text(max_size=300), st.text(max_size=300))
def test_no_pattern_and_no_name_does_harm(pattern: str, name: str) -> None:
    assert fits((pattern,), name) in (True, False)
