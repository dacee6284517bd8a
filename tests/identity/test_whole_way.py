"""The whole way: a client with a token of an identity provider, the gateway and the proxy, and a model's provider."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass

import httpx2
import pytest
import pytest_asyncio

from tests.e2e.serving import CHAT, MESSAGES, Serving, serve, write_config
from tests.provider import FakeProvider
from tests.provider.idp import INTROSPECT, KEYS, Idp, make_key

pytestmark = pytest.mark.asyncio(loop_scope="module")

OURS = "sk-of-the-gateway"
AUTH = """
upstream: {{ca: {ca!r}}}
auth:
  issuers:
    - issuer: {idp.issuer}
      audience: shin
      claims: {{roles: groups, team: team}}
      role_names: {{llm: user}}
  introspection: {{url: '{introspect}', client_id: shin, client_secret: env:IDP_SECRET}}
"""


@dataclass
class Place:
    serving: Serving
    provider: FakeProvider
    idp: Idp

    async def call(self, token: str, http: httpx2.AsyncClient, **headers: str) -> httpx2.Response:
        said = {"authorization": f"Bearer {token}"} | headers
        return await http.post(f"{self.serving.gateway}/v1/chat/completions", json=CHAT, headers=said)

    def leaked(self, *secrets: str) -> bool:
        return any(secret in f"{one.target} {one.headers}" for one in self.provider.seen for secret in secrets)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def place(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Place]:
    folder = tmp_path_factory.mktemp("tokens")
    with pytest.MonkeyPatch.context() as patch:
        async with FakeProvider(tls=True, host="127.0.0.1") as provider, Idp() as idp:
            patch.setenv("SHIN_TEST_KEY", OURS)
            patch.setenv("IDP_SECRET", idp.client[1])
            url = f"https://localhost:{provider.port}"
            more = AUTH.format(ca=str(provider.ca_file), idp=idp, introspect=idp.url(INTROSPECT))
            config = write_config(folder, {"openai": f"{url}/v1", "anthropic": url}, more)
            async with serve(folder / "home", config, folder / "policies") as one:
                for name, host in (("gateway", "gateway"), ("local", f"localhost:{provider.port}")):
                    one.policy(name, f"hosts: ['{host}']\naddons:\n  log: on\n  translate: on\n  auth: on\n")
                await one.worker.reload()
                yield Place(one, provider, idp)


async def test_at_the_gateway(place: Place) -> None:
    token = place.idp.token(groups=["llm", "other"], team="red")
    async with httpx2.AsyncClient(trust_env=False) as http:
        for _ in range(3):
            assert (await place.call(token, http)).status_code == 200
        assert place.idp.seen[KEYS] == 1
        place.idp.fault = "refuse"
        assert (await place.call(token, http)).status_code == 200
        place.idp.fault = ""
    assert place.provider.seen[-1].header("authorization") == f"Bearer {OURS}"
    row = (await place.serving.rows(4))[-1]
    assert row.caller == "ann"
    assert not place.leaked(token)


async def test_through_the_proxy(place: Place) -> None:
    token = place.idp.token(sub="bob", groups=["llm"])
    async with place.serving.client(login=f"any:{token}@") as http:
        url = f"https://localhost:{place.provider.port}/v1/messages"
        assert (await http.post(url, json=MESSAGES, headers={"x-api-key": "sk-ant-own"})).status_code == 200
    assert place.provider.seen[-1].header("x-api-key") == "sk-ant-own"  # the token says who, his own key is his own
    assert "bob" in [row.caller for row in await place.serving.rows(5)]
    expired = place.idp.token(exp=int(time.time()) - 100)
    async with place.serving.client(login=f"any:{expired}@") as http:
        with pytest.raises(httpx2.ProxyError, match="407"):
            await http.post(url, json=MESSAGES)
    assert not place.leaked(token, expired)


async def test_a_token_that_our_issuer_gave_for_a_provider(place: Place) -> None:
    """A company's one identity provider: its token for the provider goes through the proxy as any other key does."""
    login, theirs = place.idp.token(groups=["llm"]), place.idp.token(aud="https://cognitiveservices.azure.com")
    async with place.serving.client(login=f"any:{login}@") as http:
        url, said = f"https://localhost:{place.provider.port}/v1/chat/completions", f"Bearer {theirs}"
        assert (await http.post(url, json=CHAT, headers={"authorization": said})).status_code == 200
    assert place.provider.seen[-1].header("authorization") == said
    async with httpx2.AsyncClient(trust_env=False) as http:
        assert (await place.call(theirs, http)).status_code == 401


async def test_forged_tokens_are_refused_in_the_dialect(place: Place) -> None:
    idp = place.idp
    forged = {
        idp.token(exp=1): "expired",
        idp.token(aud="other"): "somebody else",
        idp.token(key=make_key("RS256"), header={"kid": idp.keys[0].kid}): "signature",
        idp.token().rpartition(".")[0] + ".": "malformed",
    }
    async with httpx2.AsyncClient(trust_env=False) as http:
        for token, message in forged.items():
            refused = await place.call(token, http)
            assert refused.status_code == 401 and message in refused.json()["error"]["message"]
            headers = {"x-api-key": token}
            refused = await http.post(f"{place.serving.gateway}/v1/messages", json=MESSAGES, headers=headers)
            assert refused.status_code == 401 and refused.json()["type"] == "error"
            assert token not in refused.text
    assert not place.leaked(*forged)


async def test_tokens_that_are_introspected(place: Place) -> None:
    idp = place.idp
    token, other = idp.opaque(sub="cem", groups=["llm"]), "sk-proj-somebodys-own-key"
    async with httpx2.AsyncClient(trust_env=False) as http:
        assert (await place.call(token, http)).status_code == 200
        assert (await place.call("x" * 40, http)).status_code == 401
        asked = idp.seen[INTROSPECT]
        assert (await place.call(other, http)).status_code == 401
        assert idp.seen[INTROSPECT] == asked
        idp.fault = "error"
        down = await place.call("y" * 40, http)
        idp.fault = ""
        assert down.status_code == 503 and down.headers["retry-after"]
        assert json.loads(down.text)["error"]["message"] == "The token cannot be checked now."
    assert not place.leaked(token, other)
