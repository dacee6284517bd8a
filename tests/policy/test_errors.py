"""The wording of every error, as a person reads it in a terminal."""

# ruff: noqa: E501 - tables read best with one case a line

from __future__ import annotations

from pathlib import Path

import pytest

from shin_gateway.policy import PolicyErrors, check, load_policies
from shin_gateway.registry import Registry
from tests.policy.conftest import Write

ONE_FILE = [
    ("addons:\n  rate_limt: on", '2:3: unknown addon "rate_limt"; did you mean "rate_limit"?'),
    ("addons:\n  zzz: on", '2:3: unknown addon "zzz"; known: cache, log, meter, rate_limit, retry, translate'),
    ("addons:\n  rate_limt: off", '2:3: unknown addon "rate_limt"; did you mean "rate_limit"?'),
    ("addons:\n  cache: {tll: 1h}", '2:11: unknown key "tll"; did you mean "ttl"?'),
    ("addons:\n  cache:\n    ttl: soon", "3:10: write a number and a unit, like 30s, not 'soon'"),
    ("addons:\n  cache: {ttl: 1 fortnight}", "2:16: unknown unit 'fortnight'; use one of ms, s, m, min, h, d"),
    ("addons:\n  cache: {words: [a]}", '2:18: "words" should be a mapping'),
    ("addons:\n  cache: {words: {a: [1]}}", '2:22: "a" should be a valid string'),
    ("addons:\n  cache: true", '2:10: "cache" should be settings, on or off; write "cache: on" or "cache: off"'),
    ("addons:\n  cache: yes", '2:10: "cache" should be settings, on or off'),
    ("addons:\n  cache: {mode: shadwo}", '2:17: "mode" should be "enforce" or "shadow"; did you mean "shadow"?'),
    ("addons: [cache]", '1:9: "addons" should be a mapping'),
    ("extends: standrad", '1:10: unknown preset "standrad"; did you mean "standard"?'),
    ("extends: [observe, x]", '1:20: unknown preset "x"; known: mine, observe, standard'),
    ("websocket: refuse", '1:12: "websocket" should be "carry", "decline" or "pass"'),
    ("timeouts: {firstpart: 5s}", '1:12: unknown key "firstpart"; did you mean "first_part"?'),
    ("timeouts: {connect: 5}", "1:21: write a number and a unit, like 30s, not 5"),
    ("limits:\n  body: 5 MiBs", "2:9: unknown unit 'MiBs'; use one of b, kb, mb, gb, kib, mib, gib"),
    ("addon: {}", '1:1: unknown key "addon"; did you mean "addons"?'),
    ("paths: [{match: '(', kind: chat, dialect: x}]", "1:17: is not a regular expression: missing ), unterminated subpattern at position 0"),
    ("paths: [{match: '/x', kind: chat}]", "1:9: a path class needs a dialect, except `kind: other`, which has none"),
    ("addons: {cache: on, cache: off}", '1:21: duplicate key "cache"'),
    ("addons: {cache: on", "1:19: is not YAML: expected ',' or '}', but got '<stream end>'"),
    ("addons:\n\tcache: on", "2:1: is not YAML: found character '\\t' that cannot start any token; indent with spaces, not tabs"),
    ("addons: *base", "1:9: is not YAML: found undefined alias 'base'"),
    ("addons: {<<: {cache: on}}", "1:10: merge keys (<<) are not supported"),
    ("addons: !new {}", "1:9: unknown tag !new"),
    ("addons: &a {cache: *a}", "1:9: contains itself"),
    ("? [a, b]\n: c", "1:3: a key should be one word"),
    ("addons:\n  a: \x01", "2:6: is not YAML: a character that YAML does not allow"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "error"), ONE_FILE, ids=[error for _, error in ONE_FILE])
def test_wording(text: str, error: str, write: Write, base: Path, registry: Registry) -> None:
    write("policies/presets/mine.yaml", text)
    found = check([Path("policies")], registry, base)
    assert [str(one) for one in found] == [f"policies/presets/mine.yaml:{error}"]


HOSTS = [
    ("[https://api.openai.com/v1]", '1:9: write the host alone, "api.openai.com", without scheme and path'),
    ("[api.openai.com:https]", '1:9: "https" is no port; write a number from 1 to 65535 after the colon'),
    ("[api.*.com]", '1:9: "api.*.com" has its * in the wrong place; a wildcard stands for whole leading labels, like "*.example.com"'),
    ("[a b]", '1:9: "a b" is not a host name, address or wildcard'),
    ("[api..com]", '1:9: "api..com" is not a host name, address or wildcard'),
    ("api.openai.com", '1:8: "hosts" should be a list'),
]  # fmt: skip


@pytest.mark.parametrize(("hosts", "error"), HOSTS, ids=[hosts for hosts, _ in HOSTS])
def test_hosts(hosts: str, error: str, write: Write, base: Path, registry: Registry) -> None:
    write("policies/mine.yaml", f"hosts: {hosts}")
    assert [str(one) for one in check([Path("policies")], registry, base)] == [f"policies/mine.yaml:{error}"]


def test_a_policy_needs_hosts_and_a_preset_has_none(write: Write, base: Path, registry: Registry) -> None:
    write("policies/a.yaml", "extends: observe\n")
    write("policies/presets/b.yaml", "hosts: [x.example]\n")
    assert [str(one) for one in check([Path("policies")], registry, base)] == [
        'policies/a.yaml:1:1: missing key "hosts"',
        'policies/presets/b.yaml:1:1: unknown key "hosts"; known: addons, cors, extends, limits, paths, '
        "provider, proxy_auth, timeouts, websocket",
    ]


def test_all_errors_of_all_files_are_reported_in_order(write: Write, base: Path, registry: Registry) -> None:
    write("policies/b.yaml", "hosts: [b.example]\nextends: nope\nwebsockt: pass\naddons:\n  retri: on\n  cache: 3\n")
    write("policies/a.yaml", "hosts: [a.example]\na: 1\na: 2\nb: 1\nb: 2\n")
    with pytest.raises(PolicyErrors) as caught:
        load_policies([Path("policies")], registry, base)
    assert str(caught.value).splitlines() == [
        'policies/a.yaml:3:1: duplicate key "a"',
        'policies/a.yaml:5:1: duplicate key "b"',
        'policies/b.yaml:3:1: unknown key "websockt"; did you mean "websocket"?',
        'policies/b.yaml:5:3: unknown addon "retri"; did you mean "retry"?',
        'policies/b.yaml:6:10: "cache" should be settings, on or off',
    ]


def test_who_extends_a_broken_preset_is_not_blamed(write: Write, base: Path, registry: Registry) -> None:
    write("policies/presets/strict.yaml", "addons: {nope: on}\n")
    write("policies/a.yaml", "hosts: [a.example]\nextends: strict\n")
    assert [str(one) for one in check([Path("policies")], registry, base)] == [
        'policies/presets/strict.yaml:1:10: unknown addon "nope"; known: cache, log, meter, rate_limit, retry, translate'
    ]


def test_a_cycle_is_named_once(write: Write, base: Path, registry: Registry) -> None:
    write("policies/presets/a.yaml", "extends: b\n")
    write("policies/presets/b.yaml", "extends: [observe, a]\n")
    write("policies/x.yaml", "hosts: [x.example]\nextends: a\n")
    assert [str(one) for one in check([Path("policies")], registry, base)] == [
        'policies/presets/b.yaml:1:20: preset "a" extends itself: a → b → a'
    ]


def test_two_files_of_one_rank_claim_one_host(write: Write, base: Path, registry: Registry) -> None:
    write("policies/a.yaml", "hosts: [x.example]\n")
    write("policies/b.yaml", "hosts:\n  - y.example\n  - X.Example.\n")
    assert [str(one) for one in check([Path("policies")], registry, base)] == [
        'policies/b.yaml:3:5: host "x.example" is already claimed by policies/a.yaml'
    ]


def test_two_folders_of_one_rank_hold_one_name(write: Write, base: Path, registry: Registry) -> None:
    write("one/a.yaml", "hosts: [x.example]\n")
    write("two/a.yaml", "hosts: [y.example]\n")
    assert [str(one) for one in check([Path("one"), Path("two")], registry, base)] == [
        "two/a.yaml: has the same name as one/a.yaml"
    ]


def test_a_folder_that_is_not_there(write: Write, base: Path, registry: Registry) -> None:
    assert [str(one) for one in check([Path("polices")], registry, base)] == ["polices: no such folder of policies"]


def test_a_file_in_place_of_its_folder(write: Write, base: Path, registry: Registry) -> None:
    write("policies/a.yaml", "hosts: [x.example]\n")
    assert [str(one) for one in check([Path("policies/a.yaml")], registry, base)] == [
        "policies/a.yaml: is a file: name the folder that it is in"
    ]


def test_bytes_that_are_not_text(write: Write, base: Path, registry: Registry) -> None:
    write("policies/a.yaml", "").write_bytes(b"hosts: [\xff]")
    write("policies/b.yaml", "").unlink()
    Path("policies/b.yaml").mkdir()
    assert [str(one) for one in check([Path("policies")], registry, base)] == [
        "policies/a.yaml: is not UTF-8",
        "policies/b.yaml: cannot be read: Is a directory",
    ]


def test_warnings_keep_nothing_from_loading(write: Write, base: Path, registry: Registry) -> None:
    write("policies/a.yaml", "hosts: []\n")
    write("policies/b.yaml", 'hosts: ["*.com", "*.example.com"]\n')
    found = check([Path("policies")], registry, base)
    assert [str(one) for one in found] == [
        "policies/a.yaml:1:8: warning: names no host, so no call comes here",
        'policies/b.yaml:1:9: warning: "*.com" catches hosts that have nothing to do with models, and decrypts them; '
        "name the domain",
    ]
    assert all(one.warning for one in found)
    assert load_policies([Path("policies")], registry, base).named("b")


def test_a_policy_cannot_name_every_host(write: Write, base: Path, registry: Registry) -> None:
    write("policies/a.yaml", 'hosts: ["*"]\n')
    (error,) = check([Path("policies")], registry, base)
    assert str(error) == (
        'policies/a.yaml:1:9: "*" names every host, and our CA signs only for hosts that a policy names; name the domains'
    )


def test_deep_nesting_is_an_error_and_no_crash(write: Write, base: Path, registry: Registry) -> None:
    write("policies/a.yaml", "hosts: " + "[" * 100_000)
    (error,) = check([Path("policies")], registry, base)
    assert str(error) == "policies/a.yaml: is nested too deeply"
