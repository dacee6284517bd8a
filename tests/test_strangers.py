"""What may listen beyond this machine."""

from __future__ import annotations

from pathlib import Path

import pytest

from shin_gateway.config import Config
from shin_gateway.policy.resolve import PolicySet, load_policies
from shin_gateway.registry import Registry
from shin_gateway.strangers import lets_in

STRICT = {"listen": {"proxy_auth": "required"}}


def policies(tmp_path: Path, addons: str) -> PolicySet:
    (tmp_path / "gateway.yaml").write_text(f"hosts: [gateway]\naddons: {{{addons}}}\n")
    return load_policies([tmp_path], Registry.load())


@pytest.mark.parametrize(
    ("addons", "config", "good"),
    [
        ("", {}, False),
        ("", {"users": {"ann": "env:ANN"}}, True),
        ("auth: on", {}, False),
        ("", STRICT, False),
        ("auth: on", STRICT, True),
        ("auth: {keys: hybrid}", STRICT, False),
        ("auth: {keys: client}", STRICT, False),
        ("auth: {guests: allow}", STRICT, False),
        ("auth: {on_store_error: allow}", STRICT, False),
        ("auth: {mode: shadow}", STRICT, False),
    ],
)
def test_beyond_loopback(tmp_path: Path, addons: str, config: dict[str, object], good: bool) -> None:
    found = policies(tmp_path, addons)
    for host in ("0.0.0.0", "::", "192.0.2.1", "gateway.example.com", ""):
        assert (lets_in(host, Config.model_validate(config), found) == "") is good
    for host in ("127.0.0.1", "127.9.9.9", "::1", "localhost"):
        assert lets_in(host, Config(), found) == ""


def test_it_says_what_is_missing(tmp_path: Path) -> None:
    said = lets_in("0.0.0.0", Config(), policies(tmp_path, "auth: on"))
    assert "`listen: {proxy_auth: required}` in shin.yaml" in said
    assert "`auth: on`" not in said
