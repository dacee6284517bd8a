"""shin.yaml and secrets by reference."""

# ruff: noqa: E501 - tables read best with one case a line

from __future__ import annotations

import os
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from shin_gateway.config import Config, load_config
from shin_gateway.policy import PolicyErrors
from shin_gateway.secret import SecretMissing, SecretRef, UrlRef

FULL = """\
listen: {host: 127.0.0.1, proxy_port: 9080, gateway_port: 0}
stores:
  state: redis://10.0.0.5:6379/0
  analytics: env:CLICKHOUSE_URL
providers:
  openai: {base_url: https://api.openai.com/v1, api_key: env:OPENAI_API_KEY}
  lab:    {like: openai, base_url: http://127.0.0.1:9001/v1, models: [lab-*]}
models:
  fast: openai/gpt-4o-mini
  calm: {model: fast, temperature: 0.2, stop: END}
users:
  ann: file:/run/secrets/ann
  007: env:BOND
workers: 2
policies: [policies, /etc/shin/policies]
addons: [my-addons]
upstream: {proxy: "http://proxy.example:3128", ca: roots.pem}
log: {retention: 30d}
"""


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path / "shin.yaml"


def test_no_file_is_needed() -> None:
    config = load_config()
    assert (config.listen.host, config.listen.proxy_port, config.listen.gateway_port, config.listen.admin_port) == (
        "127.0.0.1", 8080, 4000, 4040,
    )  # fmt: skip
    assert config.stores.state is None
    assert config.log.retention == 90 * 86400
    assert config == Config()


def test_everything_that_it_may_say(file: Path) -> None:
    file.write_text(FULL)
    config = load_config(file)
    assert config.listen.proxy_port == 9080
    assert config.stores.state.read() == "redis://10.0.0.5:6379/0"
    assert str(config.stores.analytics) == "env:CLICKHOUSE_URL"
    secrets = {name: (str(user.secret), user.roles) for name, user in config.users.items()}
    assert secrets == {"ann": ("file:/run/secrets/ann", ("admin",)), "007": ("env:BOND", ("admin",))}
    assert config.policies == (file.parent / "policies", Path("/etc/shin/policies"))
    assert config.addons == (file.parent / "my-addons",)
    assert config.upstream.ca == file.parent / "roots.pem"
    assert config.log.retention == 30 * 86400
    assert config.models["fast"] == "openai/gpt-4o-mini"
    assert config.resolve("fast") == ("openai/gpt-4o-mini", {})
    assert config.resolve("calm") == ("openai/gpt-4o-mini", {"temperature": 0.2, "stop": ("END",)})


def test_an_empty_file_is_no_error(file: Path) -> None:
    file.write_text("# nothing yet\n")
    assert load_config(file) == Config()


def test_the_command_line_wins_key_by_key(file: Path) -> None:
    file.write_text(FULL)
    config = load_config(file, {"listen": {"proxy_port": 1234}, "workers": 3, "policies": [Path("here")]})
    assert (config.listen.proxy_port, config.listen.gateway_port, config.workers) == (1234, 0, 3)
    assert config.policies == (Path("here"),)
    assert config.users.keys() == {"ann", "007"}


WRONG = [
    ("listen: {proxyport: 1}", '1:10: unknown key "proxyport"; did you mean "proxy_port"?'),
    ("listen: {proxy_port: 70000}", '1:22: "proxy_port" should be less than or equal to 65535'),
    ("listen: {proxy_port: '80'}", '1:22: "proxy_port" should be a valid integer'),
    ("workers: 0", '1:10: "workers" should be greater than or equal to 1'),
    ("workers: yes", '1:10: "workers" should be a valid integer'),
    ("worker: 1", '1:1: unknown key "worker"; did you mean "workers"?'),
    ("store: {}", '1:1: unknown key "store"; did you mean "stores"?'),
    ("users: {ann: hunter2}", "1:14: write where the secret is, env:NAME or file:/path, not the secret itself"),
    ("users: {ann: 12345}", "1:14: write where the secret is, env:NAME or file:/path, not the secret itself"),
    ("users: {ann: file:here}", "1:14: write the whole path of the secret's file, like file:/etc/shin/key"),
    ("users: {ann: 'env:A B'}", "1:14: write where the secret is, env:NAME or file:/path, not the secret itself"),
    ("stores: {state: 'redis://:hunter2@h'}", "1:17: a URL with a password in it is written by reference, env:NAME or file:/path"),
    ("stores: {state: 'redis+sentinel://h/s?sentinel_password=hunter2'}", "1:17: a URL with a password in it is written by reference, env:NAME or file:/path"),
    ("stores: {state: hunter2}", "1:17: is not a URL"),
    ("providers: {openai: {api_key: sk-hunter2}}", "1:31: write where the secret is, env:NAME, file:/path or kept:NAME, not the secret itself"),
    ("providers: {openai: {base_url: 'https://k:hunter2@h'}}", "1:32: a URL of a provider carries no credentials; write api_key: env:NAME"),
    ("providers: {openai: {base_url: api.example}}", "1:32: should be the start of a URL, like https://api.example.com/v1"),
    ("providers: {lab: {like: opnai}}", '1:25: unknown provider "opnai"; did you mean "openai"?'),
    ("providers: {a: {like: b}, b: {like: c}, c: {like: b}}", '1:37: "b" is like itself\n1:51: "c" is like itself'),
    ("providers: {v1: {}}", '1:17: "v1" cannot be a provider\'s name: lower case, and not one of our own paths'),
    ("providers: {Lab: {}}", '1:18: "Lab" cannot be a provider\'s name: lower case, and not one of our own paths'),
    ("providers: {a: {hosts: [x.example]}, b: {hosts: [y.example, X.example]}}", '1:61: host "x.example" is already claimed by provider "a"'),
    ("providers: {a: {auth: Bearer}}", '1:23: should be a header, and a word before the key if there is one, like "authorization: Bearer"'),
    ("providers: {a: {stream_usage: maybe}}", '1:31: "stream_usage" should be "ask" or "given"'),
    ("providers: {a: {paths: [{match: /x, kind: chat}]}}", "1:25: a path class needs a dialect, except `kind: other`, which has none"),
    ("models: {fast: fast}", '1:16: "fast" should name a model, like openai/gpt-4o-mini'),
    ("models: {fast: ' '}", '1:16: "fast" should name a model, like openai/gpt-4o-mini'),
    ("models: {fast: 3}", '1:16: "fast" should be the name of a model, or a mapping with `model` in it'),
    ("models: {fast: null}", '1:16: "fast" should be the name of a model, or a mapping with `model` in it'),
    ("models: {fast: {temperature: 1}}", '1:10: missing key "model"'),
    ("models: {fast: {model: fast, temperature: 1}}", '1:24: "fast" should name a model, like openai/gpt-4o-mini'),
    ("models: {fast: {model: g, temprature: 1}}", '1:27: unknown key "temprature"; did you mean "temperature"?'),
    ("models: {fast: {model: g, temperature: '1'}}", '1:40: "temperature" should be a valid number'),
    ("models: {fast: {model: g, temperature: 3}}", '1:40: "temperature" should be less than or equal to 2'),
    ("models: {fast: {model: g, n: 0}}", '1:30: "n" should be greater than or equal to 1'),
    ("models: {fast: {model: g, max_tokens: 1.5}}", '1:39: "max_tokens" should be a valid integer'),
    ("models: {fast: {model: g, reasoning_effort: hard}}", '1:45: "reasoning_effort" should be "none", "minimal", "low", "medium", "high", "xhigh" or "max"'),
    ("models:\n  a: b\n  b: {model: c}\n  c: a", '2:6: "a" leads back to itself: a → b → c → a\n3:14: "b" leads back to itself: b → c → a → b\n4:6: "c" leads back to itself: c → a → b → c'),
    ("models: {a: b, b: c, c: b}", '1:19: "b" leads back to itself: b → c → b\n1:25: "c" leads back to itself: c → b → c'),
    ("models: {" + ", ".join(f"a{n}: a{n + 1}" for n in range(9)) + "}", '1:14: "a0" leads through more than 8 aliases'),
    ("log: {retention: 90}", "1:18: write a number and a unit, like 30s, not 90"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "errors"), WRONG, ids=[text for text, _ in WRONG])
def test_wording(text: str, errors: str, file: Path) -> None:
    file.write_text(text)
    with pytest.raises(PolicyErrors) as caught:
        load_config(file)
    assert str(caught.value) == "\n".join(f"shin.yaml:{error}" for error in errors.split("\n"))
    assert "hunter2" not in str(caught.value)


def test_roles_that_nobody_has_described(file: Path) -> None:
    file.write_text(
        "roles: {cheap: {}}\n"
        "users: {bob: {secret: env:BOB, roles: [user, cheep]}}\n"
        "auth: {issuers: [{issuer: https://idp.example, audience: a, role_names: {x: cheap, y: boss}}]}\n"
    )
    with pytest.raises(PolicyErrors) as caught:
        load_config(file)
    assert [(one.line, one.column, one.message, one.hint) for one in caught.value.errors] == [
        (2, 46, 'there is no role "cheep"', 'did you mean "cheap"?'),
        (3, 87, 'there is no role "boss"', "known: admin, cheap, guest, user"),
    ]


def test_aliases_of_aliases(file: Path) -> None:
    file.write_text(
        "models:\n"
        "  a: {model: b, temperature: 0.2, seed: null}\n"
        "  b: {model: c, temperature: 0.9, n: 2}\n"
        "  c: {model: openai/gpt-5, reasoning_effort: none, stop: [x, y]}\n"
    )
    config = load_config(file)
    assert config.resolve("a") == (
        "openai/gpt-5",
        {"temperature": 0.2, "n": 2, "reasoning_effort": "none", "stop": ("x", "y")},
    )
    assert config.resolve("openai/gpt-5") == ("openai/gpt-5", {})
    assert load_config(file, {"workers": 2}).models == config.models


def test_as_many_aliases_as_there_may_be(file: Path) -> None:
    names = [f"a{number}" for number in range(9)]
    file.write_text("models: {" + ", ".join(f"{a}: {b}" for a, b in pairwise(names)) + "}")
    assert load_config(file).resolve("a0") == ("a8", {})


def test_a_file_that_is_not_there(file: Path) -> None:
    with pytest.raises(PolicyErrors, match=r"shin\.yaml: cannot be read: No such file or directory"):
        load_config(file)


def test_a_wrong_word_on_the_command_line() -> None:
    with pytest.raises(PolicyErrors, match='"proxy_port" should be'):
        load_config(None, {"listen": {"proxy_port": -1}})


class Holder(BaseModel):
    key: SecretRef
    url: UrlRef | None = None


def test_a_secret_is_never_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEY", "hunter2")
    held = Holder.model_validate({"key": "env:KEY", "url": "env:KEY"})
    assert held.key.read() == held.url.read() == "hunter2"
    for text in (repr(held), str(held.key), repr(held.key), held.model_dump_json(), str(held.model_dump())):
        assert "hunter2" not in text
        assert "env:KEY" in text


def test_an_environment_variable_that_is_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KEY", raising=False)
    ref = SecretRef("env:KEY")
    assert not ref.present()
    with pytest.raises(SecretMissing, match="env:KEY is not set"):
        ref.read()
    monkeypatch.setenv("KEY", "now")
    assert ref.read() == "now"


def test_a_file_is_read_again_when_it_changes(tmp_path: Path) -> None:
    path = tmp_path / "key"
    ref = SecretRef(f"file:{path}")
    with pytest.raises(SecretMissing, match=rf"file:{path} cannot be read \(FileNotFoundError\)"):
        ref.read()
    path.write_text("one\n")
    assert ref.read() == "one"
    path.write_text("two")
    os.utime(path, ns=(1, 1))
    assert ref.read() == "two"
    path.write_text("")
    with pytest.raises(SecretMissing, match="is empty"):
        ref.read()
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(SecretMissing, match="UnicodeDecodeError"):
        ref.read()


def test_a_secret_of_two_lines_could_forge_a_header(tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_text("one\r\nx-evil: 1\n")
    with pytest.raises(SecretMissing, match="one line of printable characters") as caught:
        SecretRef(f"file:{path}").read()
    assert "evil" not in str(caught.value)


@given(st.text().filter(lambda text: not text.startswith(("env:", "file:"))))
def test_no_literal_is_taken_or_repeated(text: str) -> None:
    with pytest.raises(ValidationError) as caught:
        Holder.model_validate({"key": text})
    message = caught.value.errors(include_input=False, include_url=False)[0]["msg"]
    assert message == "Value error, write where the secret is, env:NAME or file:/path, not the secret itself"


def test_a_secret_is_equal_to_its_like_only() -> None:
    assert SecretRef("env:A") == SecretRef("env:A")
    assert hash(SecretRef("env:A")) == hash(SecretRef("env:A"))
    assert SecretRef("env:A") != SecretRef("env:B")
    assert SecretRef("env:A") != UrlRef("env:A")
