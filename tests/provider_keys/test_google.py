"""A Google service account: what it signs is what Google's own library would take."""

from __future__ import annotations

import base64
import json
import time
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from joserfc import jwt
from joserfc.jwk import RSAKey

from shin_gateway.errors import Unavailable
from shin_gateway.provider_keys import ServiceAccount
from shin_gateway.provider_keys.fetched import FetchedToken
from shin_gateway.provider_keys.grants import JWT_BEARER, grant_for, secret_of
from shin_gateway.upstream import Upstream
from tests.provider.token_server import TokenServer

KEY = rsa.generate_private_key(65537, 2048)


def pem(key: Any = KEY) -> str:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def account(url: str, **more: Any) -> dict[str, Any]:
    """As the console of Google Cloud hands it out."""
    return {
        "type": "service_account", "project_id": "lab", "private_key_id": "key-7", "private_key": pem(),
        "client_email": "gateway@lab.iam.gserviceaccount.com", "client_id": "1", "token_uri": url,
        "auth_uri": "https://accounts.google.com/o/oauth2/auth", "universe_domain": "googleapis.com", **more,
    }  # fmt: skip


def make(upstream: Upstream, file: Path, **more: Any) -> FetchedToken:
    settings = ServiceAccount.model_validate({"service_account": f"file:{file}", **more})
    return FetchedToken("vertex", grant_for(settings, secret_of(settings)), upstream.post_form)


async def test_the_assertion(upstream: Upstream, server: TokenServer, tmp_path: Path) -> None:
    file = tmp_path / "sa.json"
    file.write_text(json.dumps(account(server.url), indent=2))
    token = make(upstream, file)
    assert token.present()
    await token.ready()
    assert token.read() == "token-number-1"
    (asked,) = server.asked
    assert asked.fields.keys() == {"grant_type", "assertion"}
    assert asked.fields["grant_type"] == JWT_BEARER
    said = jwt.decode(asked.fields["assertion"], RSAKey.import_key(pem()), algorithms=["RS256"])
    assert said.header == {"alg": "RS256", "typ": "JWT", "kid": "key-7"}
    claims = said.claims
    assert (claims["iss"], claims["aud"]) == ("gateway@lab.iam.gserviceaccount.com", server.url)
    assert claims["scope"] == "https://www.googleapis.com/auth/cloud-platform"
    assert abs(claims["iat"] - time.time()) < 10
    assert claims["exp"] - claims["iat"] == 3600
    token.close()


async def test_a_file_that_is_rotated(upstream: Upstream, server: TokenServer, tmp_path: Path) -> None:
    file = tmp_path / "sa.json"
    file.write_text(json.dumps(account(server.url)))
    token = make(upstream, file, scope="https://www.googleapis.com/auth/generative-language")
    await token.ready()
    other = rsa.generate_private_key(65537, 2048)
    new = file.with_suffix(".new")
    new.write_text(json.dumps(account(server.url, private_key=pem(other), private_key_id="key-8")))
    new.replace(file)
    token.refused()
    await token.ready()
    said = jwt.decode(server.asked[1].fields["assertion"], RSAKey.import_key(pem(other)), algorithms=["RS256"])
    assert said.header["kid"] == "key-8"
    assert said.claims["scope"] == "https://www.googleapis.com/auth/generative-language"
    token.close()


SHORT = pem(rsa.generate_private_key(65537, 1024))
WRONG = {
    "no JSON": "hush-not-json",
    "a list": "[]",
    "deep": "[" * 50_000,
    "a user's": json.dumps(account("http://127.0.0.1:1/", type="authorized_user")),
    "no key": json.dumps(account("http://127.0.0.1:1/") | {"private_key": "hush"}),
    "half a key": json.dumps(account("http://127.0.0.1:1/") | {"private_key": pem()[:700]}),
    "not RSA": json.dumps(
        account("http://127.0.0.1:1/") | {"private_key": pem(ec.generate_private_key(ec.SECP256R1()))}
    ),
    "short": json.dumps(account("http://127.0.0.1:1/") | {"private_key": SHORT}),
    "in the clear": json.dumps(account("http://169.254.169.254/token")),
    "elsewhere": json.dumps(account("file:///etc/passwd")),
}


@pytest.mark.parametrize("text", WRONG.values(), ids=WRONG)
async def test_a_file_that_is_none(
    upstream: Upstream, tmp_path: Path, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "sa.json"
    file.write_text(text)
    token = make(upstream, file)
    with pytest.raises(Unavailable) as raised:
        await token.ready()
    assert raised.value.message == (
        f"The gateway has no token for the provider vertex: file:{file} is not the JSON file of a service account."
    )
    assert (raised.value.status, raised.value.code) == (400, "no_credential")
    assert "hush" not in caplog.text
    assert base64.b64encode(b"hush").decode() not in caplog.text
    token.close()
