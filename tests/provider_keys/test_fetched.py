"""Access tokens: when they are fetched, how often, and what is said when there is none."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shin_gateway.errors import Unavailable
from shin_gateway.provider_keys import ClientCredentials, answers, fetched
from shin_gateway.provider_keys.answers import NoToken, granted
from shin_gateway.provider_keys.fetched import FetchedToken
from shin_gateway.provider_keys.grants import grant_for, secret_of
from shin_gateway.secret import SecretMissing
from shin_gateway.upstream import Upstream, UpstreamOptions
from tests.provider import Answer, FakeProvider
from tests.provider.token_server import TokenServer, Told, nobody

SECRET = "hush client secret/+&"


@pytest.fixture(autouse=True)
def _secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLIENT_SECRET", SECRET)


def make(upstream: Upstream, url: str, **more: Any) -> FetchedToken:
    said = {"token_url": url, "client_id": "me & mine", "client_secret": "env:CLIENT_SECRET", **more}
    settings = ClientCredentials.model_validate(said)
    return FetchedToken("lab", grant_for(settings, secret_of(settings)), upstream.post_form)


@pytest.fixture
async def token(upstream: Upstream, server: TokenServer) -> AsyncIterator[FetchedToken]:
    one = make(upstream, server.url)
    yield one
    one.close()


async def read(token: FetchedToken) -> str:
    await token.ready()
    return token.read()


async def until(ready: Any, patience: float = 20.0) -> None:
    async with asyncio.timeout(patience):
        while not ready():
            await asyncio.sleep(0.01)


# What it asks for


async def test_the_form_of_azure(upstream: Upstream, server: TokenServer) -> None:
    scope = "https://cognitiveservices.azure.com/.default"
    token = make(upstream, server.url, scope=scope)
    assert await read(token) == "token-number-1"
    (asked,) = server.asked
    assert asked.path == "/oauth2/token?tenant=hush-query"
    assert asked.headers["content-type"] == "application/x-www-form-urlencoded"
    assert asked.fields == {
        "grant_type": "client_credentials", "client_id": "me & mine", "client_secret": SECRET, "scope": scope,
    }  # fmt: skip
    token.close()


async def test_a_client_that_says_who_it_is_in_the_header(upstream: Upstream, server: TokenServer) -> None:
    token = make(upstream, server.url, client_auth="header", scope=["a", "b"], resource="urn:r", audience="them")
    await token.ready()
    (asked,) = server.asked
    assert asked.fields == {"grant_type": "client_credentials", "scope": "a b", "resource": "urn:r", "audience": "them"}
    pair = base64.b64decode(asked.headers["authorization"].removeprefix("Basic ")).decode()
    assert pair == "me+%26+mine:hush+client+secret%2F%2B%26"
    token.close()


# When


async def test_calls_at_the_same_time_share_one(server: TokenServer, token: FetchedToken) -> None:
    server.answer = Told(delay=0.1)
    assert set(await asyncio.gather(*(read(token) for _ in range(100)))) == {"token-number-1"}
    assert [await read(token) for _ in range(10)] == ["token-number-1"] * 10
    assert len(server.asked) == 1


async def test_a_call_that_leaves_takes_nothing_from_the_others(server: TokenServer, token: FetchedToken) -> None:
    server.answer = Told(delay=0.15)
    first, second = asyncio.create_task(read(token)), asyncio.create_task(read(token))
    await asyncio.sleep(0.05)
    first.cancel()
    assert await second == "token-number-1"
    assert len(server.asked) == 1


async def test_it_is_fetched_again_before_it_ends_while_it_is_used(server: TokenServer, token: FetchedToken) -> None:
    server.answer = Told(life=1)
    seen = set()
    for _ in range(60):
        await token.ready()
        seen.add(token.read())
        await asyncio.sleep(0.03)
    assert {"token-number-1", "token-number-2", "token-number-3"} <= seen
    assert len(server.asked) <= 4


async def test_without_calls_it_is_left_to_run_out(server: TokenServer, token: FetchedToken) -> None:
    server.answer = Told(life=0.3)
    await token.ready()
    await asyncio.sleep(0.6)
    assert len(server.asked) == 1
    with pytest.raises(SecretMissing):
        token.read()
    assert await read(token) == "token-number-2"


async def test_the_token_at_hand_is_good_while_the_server_is_not(
    server: TokenServer, token: FetchedToken, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(fetched, "PAUSES", (0.1, 0.2))
    monkeypatch.setattr(fetched, "RENEWED", (0.2, 0.2))
    server.answer = Told(life=2)
    assert [await read(token), await read(token)] == ["token-number-1"] * 2
    server.answer = Told(500, more={"error": "server_error"})
    await until(lambda: len(server.asked) > 2)
    assert await read(token) == "token-number-1"
    await until(lambda: not token._is_good)
    with pytest.raises(Unavailable) as raised:
        await token.ready()
    words = "the token server answered 500 (server_error)"
    assert raised.value.message == f"The gateway has no token for the provider lab: {words}."
    assert (raised.value.status, raised.value.code, raised.value.retryable) == (503, "no_token", True)
    server.answer = Told()
    await asyncio.sleep(0.3)
    assert await read(token) == "token-number-2"
    assert SECRET not in caplog.text and "hush" not in caplog.text and "token-number" not in caplog.text


# A token that the provider refuses


async def test_a_refused_token_is_fetched_anew_but_not_again_and_again(
    server: TokenServer, token: FetchedToken, monkeypatch: pytest.MonkeyPatch
) -> None:
    await token.ready()
    server.answer = Told(delay=0.05)
    token.refused()
    assert await read(token) == "token-number-2"  # the next call waits for it
    for _ in range(20):
        token.refused()
        assert await read(token) == "token-number-2"
    assert len(server.asked) == 2
    monkeypatch.setattr(fetched, "DOUBTED", 0.0)
    token.refused()
    assert await read(token) == "token-number-3"


async def test_a_refused_token_goes_on_where_there_is_no_other(server: TokenServer, token: FetchedToken) -> None:
    await token.ready()
    await server.down()
    token.refused()
    assert await read(token) == "token-number-1"


# A server that is down, slow, lies, or says too much

HUGE = b'{"access_token": "' + b"x" * 1_000_000 + b'"}'
WRONG = [
    (Told(401, more={"error": "invalid_client", "error_description": "hush"}), "answered 401 (invalid_client)", 400),
    (Told(400, more={"error": "<script>hush"}), "answered 400", 400),
    (Told(302), "answered 302", 400),
    (Told(429), "answered 429", 503),
    (Told(503, body=b"<html>"), "answered 503", 503),
    (Told(body=b""), "answered without a token", 503),
    (Told(body=b"[1, 2]"), "answered without a token", 503),
    (Told(body=b"[" * 60000), "answered without a token", 503),
    (Told(body=b'{"access_token": 7}'), "answered without a token", 503),
    (Told(body=HUGE), "answered with more than a token", 503),
    (Told(more={"access_token": ""}), "gave a token that cannot be used", 503),
    (Told(more={"access_token": "two words"}), "gave a token that cannot be used", 503),
    (Told(more={"access_token": "line\r\nx-evil: 1"}), "gave a token that cannot be used", 503),
    (Told(more={"access_token": "x" * 20000}), "gave a token that cannot be used", 503),
    (Told(more={"token_type": "mac"}), "gave a token that cannot be used", 503),
    (Told(life=0), "gave a token that has expired", 503),
    (Told(life=-5), "gave a token that has expired", 503),
    (Told(life="soon"), "gave a token that has expired", 503),
    (Told(hang=True), "did not answer in time", 503),
]


@pytest.mark.parametrize(("told", "words", "status"), WRONG, ids=[words for _, words, _ in WRONG])
async def test_there_is_none(
    server: TokenServer, token: FetchedToken, told: Told, words: str, status: int, monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    monkeypatch.setattr(fetched, "PATIENCE", 0.3)
    server.answer = told
    with pytest.raises(Unavailable) as raised:
        await token.ready()
    assert raised.value.message == f"The gateway has no token for the provider lab: the token server {words}."
    assert (raised.value.status, raised.value.retryable) == (status, status == 503)
    asked = len(server.asked)
    with pytest.raises(Unavailable):
        await token.ready()
    assert len(server.asked) == asked == 1  # it is left in peace for a while
    assert "hush" not in raised.value.message + caplog.text


async def test_a_server_that_is_not_there(upstream: Upstream) -> None:
    token = make(upstream, nobody())
    with pytest.raises(Unavailable, match="the token server could not be reached"):
        await token.ready()
    token.close()


async def test_a_secret_that_is_not_there(
    upstream: Upstream, server: TokenServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CLIENT_SECRET")
    token = make(upstream, server.url)
    assert not token.present()
    with pytest.raises(Unavailable, match="env:CLIENT_SECRET is not set") as raised:
        await token.ready()
    assert raised.value.status == 400
    token.close()


async def test_a_secret_that_was_put_right_is_tried_at_once(
    upstream: Upstream, server: TokenServer, tmp_path: Path
) -> None:
    file = tmp_path / "secret"
    file.write_text("wrong")
    token = make(upstream, server.url, client_secret=f"file:{file}")
    server.answer = Told(401, more={"error": "invalid_client"})
    for _ in range(3):
        with pytest.raises(Unavailable):
            await token.ready()
    assert len(server.asked) == 1
    server.answer = Told()
    file.write_text("right")
    assert await read(token) == "token-number-1"
    assert server.asked[1].fields["client_secret"] == "right"
    token.close()


# The way there


async def test_its_certificate_is_verified_and_a_company_s_root_trusted() -> None:
    body = json.dumps({"access_token": "t", "expires_in": 60}).encode()
    async with FakeProvider(tls=True, default=Answer(body=body)) as server:
        for options, good in ((UpstreamOptions(), False), (UpstreamOptions(trusted_ca=str(server.ca_file)), True)):
            upstream = Upstream(options)
            await upstream.start()
            token = make(upstream, f"{server.url}/token")
            if good:
                assert await read(token) == "t"
            else:
                with pytest.raises(Unavailable, match="certificate could not be verified") as raised:
                    await token.ready()
                assert raised.value.status == 400
            token.close()
            await upstream.close()


async def test_through_the_upstream_proxy() -> None:
    body = json.dumps({"access_token": "t", "expires_in": 60}).encode()
    async with FakeProvider(default=Answer(body=body)) as proxy:
        upstream = Upstream(UpstreamOptions(proxy=proxy.url, proxy_auth="me:pass"))
        await upstream.start()
        token = make(upstream, "http://127.0.0.1:1/token")
        assert await read(token) == "t"
        assert proxy.seen[0].target == "http://127.0.0.1:1/token"
        assert proxy.seen[0].header("proxy-authorization").startswith("Basic ")
        token.close()
        await upstream.close()


async def test_what_may_be_printed(server: TokenServer, token: FetchedToken) -> None:
    await token.ready()
    said = f"{token!r} {token} {token._grant!r} {token._token!r} {await token._grant.form()!r}"
    assert SECRET not in said and "token-number" not in said


NAMES = st.sampled_from(["access_token", "expires_in", "token_type", "error"])
VALUES = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=20), st.just([1, {}]))
BODIES = st.dictionaries(NAMES, VALUES).map(lambda said: json.dumps(said).encode())


@given(st.integers(100, 599), st.one_of(st.binary(max_size=200), BODIES))
def test_whatever_is_answered_is_a_usable_token_or_none(status: int, body: bytes) -> None:
    try:
        answer = granted(status, body)
    except NoToken:
        return
    assert status == 200
    assert 0 < answer.life <= answers.LONGEST_LIFE
    assert answer.token.isascii() and answer.token.isprintable() and " " not in answer.token


@pytest.mark.parametrize(("said", "life"), [(None, 300), ("3599", 3599), (1.5, 1.5), (10**12, 86400), (1e300, 86400)])
def test_how_long_it_lives(said: Any, life: float) -> None:
    body = msgspec.json.encode({"access_token": "t", "expires_in": said})
    assert granted(200, body).life == life


async def test_nothing_is_logged_when_all_is_well(
    server: TokenServer, token: FetchedToken, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG, "shin_gateway"):
        await token.ready()
    assert not caplog.records


async def test_a_secret_that_comes_later(upstream: Upstream, server: TokenServer, tmp_path: Path) -> None:
    """As where a file is deleted and written again: a fetch that fails at once is no fetch under way."""
    secret = tmp_path / "secret"
    token = make(upstream, server.url, client_secret=f"file:{secret}")
    with pytest.raises(Unavailable):
        await token.ready()
    secret.write_text(SECRET)
    await token.ready()
    assert token.read()
    token.close()
