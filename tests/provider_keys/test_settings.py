"""What shin.yaml may say of a provider's keys."""

from __future__ import annotations

from pathlib import Path

import pytest

from shin_gateway.config import load_config
from shin_gateway.policy.positions import PolicyErrors
from shin_gateway.provider_keys.fetched import FetchedToken
from shin_gateway.providers import ProviderRow, Providers
from shin_gateway.secret import KeyRef

AZURE = """
providers:
  azure_openai:
    base_url: https://lab.openai.azure.com/openai/v1
    oauth:
      token_url: https://login.microsoftonline.com/TENANT/oauth2/v2.0/token
      client_id: 00000000-0000-0000-0000-000000000000
      client_secret: env:AZURE_SECRET
      scope: https://cognitiveservices.azure.com/.default
  vertex:
    base_url: https://europe-west4-aiplatform.googleapis.com/v1/projects/lab/locations/europe-west4
    oauth: {service_account: file:/run/secrets/vertex.json}
  gemini:
    oauth: {service_account: kept:gemini, scope: https://www.googleapis.com/auth/generative-language}
  like_vertex: {like: vertex, base_url: http://127.0.0.1:1/v1}
  openai: {api_key: kept:openai}
"""


def rows(tmp_path: Path, text: str) -> dict[str, ProviderRow]:
    file = tmp_path / "shin.yaml"
    file.write_text(text)
    return {row.name: row for row in Providers.load(load_config(file))}


def test_oauth_takes_the_place_of_the_key_and_of_its_header(tmp_path: Path) -> None:
    found = rows(tmp_path, AZURE)
    for name in ("azure_openai", "vertex", "gemini"):
        row = found[name]
        assert (row.auth_header, row.auth_scheme, row.auth_below) == ("authorization", "Bearer", {})
        (secret,) = row.api_key
        assert isinstance(secret, FetchedToken)
    assert str(found["vertex"].api_key[0]) == "oauth with file:/run/secrets/vertex.json"
    assert found["like_vertex"].api_key == ()
    assert found["openai"].api_key == (KeyRef("kept:openai"),)


WRONG = [
    ("{api_key: env:A, oauth: {service_account: file:/a}}", "either api_key or oauth"),
    ("{oauth: {service_account: sk-hush}}", "write where the secret is"),
    ("{oauth: {service_account: file:/a, client_id: x}}", "client_id"),
    ("{oauth: {token_url: 'http://example.com/t', client_id: a, client_secret: env:A}}", "https URL"),
    ("{oauth: {token_url: 'https://me:hush@example.com/t', client_id: a, client_secret: env:A}}", "no credentials"),
    ("{oauth: {token_url: 'https://e.com/t', client_id: a}}", "client_secret"),
    ("{oauth: {token_url: 'https://e.com/t', client_id: a, client_secret: hush}}", "write where the secret is"),
    ("{oauth: {token_url: 'https://e.com/t', client_id: a, client_secret: env:A, scopes: b}}", 'did you mean "scope"'),
    ("{oauth: {token_url: 'https://e.com/t', client_id: a, client_secret: env:A, scope: ['a b']}}", "one word"),
    ("{oauth: env:TOKEN}", "should be a mapping: {token_url, client_id, client_secret}, or {service_account}"),
]


@pytest.mark.parametrize(("row", "words"), WRONG, ids=range(len(WRONG)))
def test_wording(tmp_path: Path, row: str, words: str) -> None:
    with pytest.raises(PolicyErrors) as raised:
        rows(tmp_path, f"providers: {{lab: {row}}}")
    said = str(raised.value)
    assert words in said
    assert "hush" not in said
    assert said.startswith("shin.yaml:1:") or ":1:" in said
