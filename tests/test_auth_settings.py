"""`auth:` of shin.yaml: what is wrong with it is said where it stands."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from shin_gateway.auth_settings import AuthSettings, Issuer
from shin_gateway.config import load_config
from shin_gateway.policy.positions import PolicyErrors

WHOLE = """
auth:
  issuers:
    - issuer: https://login.example.com/tenant/
      audience: [shin, api://shin]
      algorithms: [RS256, EdDSA]
      leeway: 10s
      jwks_uri: https://keys.example.com/keys?v=1
      claims: {user: email, team: org.team, project: project, roles: groups}
      role_names: {llm-admins: admin}
      required_claims: {tid: t1, email_verified: true, groups: [a, b]}
      prefix: "corp:"
  introspection:
    url: http://127.0.0.1:9000/introspect
    client_id: shin
    client_secret: env:IDP_SECRET
    audience: shin
    cache: 1m
  tokens: {ttl: 5m, refresh_ttl: 0s}
"""


def load(folder: Path, text: str) -> AuthSettings:
    path = folder / "shin.yaml"
    path.write_text(text)
    return load_config(path).auth


def wrong(folder: Path, text: str) -> str:
    with pytest.raises(PolicyErrors) as caught:
        load(folder, text)
    return str(caught.value)


def test_all_of_it(tmp_path: Path) -> None:
    auth = load(tmp_path, WHOLE)
    (issuer,) = auth.issuers
    assert issuer.audience == ("shin", "api://shin") and issuer.leeway == 10.0
    assert issuer.required_claims == {"tid": ("t1",), "email_verified": (True,), "groups": ("a", "b")}
    assert auth.introspection is not None and auth.introspection.audience == ("shin",)
    assert (auth.tokens.ttl, auth.tokens.refresh_ttl) == (300.0, 0.0)


def test_nothing_of_it() -> None:
    auth = load_config().auth
    assert not auth.issuers and auth.introspection is None and auth.tokens.ttl == 900


@pytest.mark.parametrize(
    ("issuer", "message"),
    [
        ("http://idp.example.com", "https://"),
        ("ftp://idp.example.com", "https://"),
        ("idp.example.com", "not a URL"),
        ("https://", "not a URL"),
        ("https://idp.example.com:99999", "not a URL"),
        ("https://[::1", "not a URL"),
        ("https://user:pw@idp.example.com", "no user name"),
        ("https://idp.example.com/#x", "fragment"),
        ("https://idp.example.com/?a=b", "no query"),
        ("https://169.254.169.254/", "never asked"),
        ("https://100.100.100.200/", "never asked"),
        ("https://[fe80::1]/", "never asked"),
        ("https://0.0.0.0/", "never asked"),
        ("https://exämple.com", "not a URL"),
    ],
)
def test_urls_of_issuers(tmp_path: Path, issuer: str, message: str) -> None:
    said = wrong(tmp_path, f"auth:\n  issuers:\n    - issuer: '{issuer}'\n      audience: shin\n")
    assert message in said and "shin.yaml:3:" in said


@pytest.mark.parametrize("issuer", ["http://localhost:8080/realms/x", "http://127.0.0.1:1", "https://10.0.0.7/idp"])
def test_issuers_within(issuer: str) -> None:
    assert Issuer.model_validate({"issuer": issuer, "audience": "x"}).issuer == issuer


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"audience": []}, "audience"),
        ({"audience": ""}, "audience"),
        ({"algorithms": []}, "algorithms"),
        ({"algorithms": ["HS256"]}, "algorithms"),
        ({"leeway": "1h"}, "leeway"),
        ({"leeway": 30}, "leeway"),
        ({"claims": {"user": ""}}, "user"),
        ({"claims": {"email": "x"}}, "email"),
        ({"required_claims": {"a": []}}, "required_claims"),
        ({"required_claims": {"a": {"b": 1}}}, "required_claims"),
        ({"jwks_uri": "http://keys.example.com"}, "https"),
    ],
)
def test_settings_of_issuers(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Issuer.model_validate({"issuer": "https://idp.example.com", "audience": "x"} | changes)


def test_several_issuers_say_how_their_users_are_told_apart() -> None:
    one, two = ({"issuer": f"https://{name}.example.com", "audience": "x"} for name in "ab")
    with pytest.raises(ValueError, match="prefix"):
        AuthSettings.model_validate({"issuers": [one, two]})
    with pytest.raises(ValueError, match="twice"):
        AuthSettings.model_validate({"issuers": [one, one]})
    assert AuthSettings.model_validate({"issuers": [{**one, "prefix": ""}, {**two, "prefix": "b:"}]})


def test_a_secret_is_not_written_down(tmp_path: Path) -> None:
    said = wrong(tmp_path, WHOLE.replace("env:IDP_SECRET", "hunter2"))
    assert "env:NAME" in said and "hunter2" not in said
