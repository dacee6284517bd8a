"""A virtual key for a short-lived token, and that for the next one: with a real store, real keys and rings."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shin_gateway.auth_settings import TokenSettings
from shin_gateway.caller import Caller
from shin_gateway.errors import Unauthenticated
from shin_gateway.identity import families
from shin_gateway.identity.own_tokens import ISSUER, OwnTokens, RefreshTokens
from shin_gateway.identity.token_endpoint import LONGEST_BODY, TokenEndpoint
from shin_gateway.keys import KeyRecord, KeyRing, Registrar
from shin_gateway.sealing import Master, signing_key
from shin_gateway.stores.embedded import find_server
from shin_gateway.stores.state import StateStore
from tests.identity.conftest import Clock
from tests.ports import free_port
from tests.provider.idp import sign
from tests.stores.servers import Server, start

__all__ = ["start"]

MASTER = Master(b"m" * 32)
FORM = {"content-type": "application/x-www-form-urlencoded"}
Said = tuple[int, dict[str, Any]]


@dataclass
class Setting:
    """One key, and all that serves it."""

    state: StateStore
    registrar: Registrar
    ring: KeyRing
    clock: Clock = field(default_factory=lambda: Clock(time.time()))

    async def make_key(self, **fields: Any) -> None:
        self.record: KeyRecord
        self.record, self.secret = await self.registrar.create(**{"name": "ci", "user": "ann"} | fields)

    def endpoint(self, master: Master = MASTER, **settings: Any) -> TokenEndpoint:
        return TokenEndpoint(TokenSettings.model_validate(settings), master, self.ring, self.state, self.clock)

    @property
    def grant(self) -> dict[str, str]:
        return {"grant_type": "client_credentials", "client_id": self.record.id, "client_secret": self.secret}


@asynccontextmanager
async def setting(server: Server) -> AsyncIterator[Setting]:
    state = await StateStore.connect(f"unix://{server.socket}?timeout=2")
    ring = KeyRing(state)
    ring.start()
    one = Setting(state, Registrar(state), ring)
    await one.make_key()
    try:
        yield one
    finally:
        await ring.close()
        await state.close()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    one = Server(str(find_server()), tmp_path_factory.mktemp("store"), free_port()).wait()
    yield one
    one.kill()


@pytest.fixture
async def at(server: Server) -> AsyncIterator[Setting]:
    async with setting(server) as one:
        yield one


async def post(endpoint: TokenEndpoint, form: Any, **headers: str) -> Said:
    body = form if isinstance(form, bytes) else urlencode(form).encode()
    status, sent, said = await endpoint.answer(FORM | headers, body)
    assert sent["cache-control"] == "no-store" and sent["content-type"] == "application/json"
    assert ("www-authenticate" in sent) == (status == 401)
    return status, json.loads(said)


def basic(id: str, secret: str) -> str:
    return "Basic " + base64.b64encode(f"{id}:{secret}".encode()).decode()


def renewal(token: str, **more: str) -> dict[str, str]:
    return {"grant_type": "refresh_token", "refresh_token": token, **more}


async def works(endpoint: TokenEndpoint, token: str) -> bool:
    try:
        return await endpoint.tokens.caller_of(token) is not None
    except Unauthenticated:
        return False


async def refused(endpoint: TokenEndpoint, token: str) -> str:
    with pytest.raises(Unauthenticated) as caught:
        await endpoint.tokens.caller_of(token)
    return caught.value.message


# ── a key for a token ────────────────────────────────────────────────────────────────────────────


async def test_a_key_is_exchanged_for_a_token(at: Setting) -> None:
    endpoint = at.endpoint(ttl="10m")
    status, said = await post(endpoint, at.grant)
    assert status == 200
    assert (said["token_type"], said["expires_in"]) == ("Bearer", 600)
    assert await endpoint.tokens.caller_of(said["access_token"]) == await at.ring.caller_of(at.secret)
    assert at.secret not in json.dumps(said)
    at.clock.now += 606
    assert "expired" in await refused(endpoint, said["access_token"])


@pytest.mark.parametrize("client_id", ["", "ci", "anybody at all", "a+b:c"])
async def test_who_the_client_is_by_basic(at: Setting, client_id: str) -> None:
    """Any name will do, as in the proxy's URL; but an id has to be the key's."""
    form = {"grant_type": "client_credentials", "scope": ""}
    login = basic(client_id or at.record.id, at.secret) if ":" not in client_id else basic("a%2Bb%3Ac", at.secret)
    status, _ = await post(at.endpoint(), form, Authorization=login)
    assert status == 200
    assert (await post(at.endpoint(), form, authorization=basic("key_000000000000", at.secret)))[0] == 401


async def test_a_token_works_on_another_replica_and_after_the_master_key_changed(at: Setting) -> None:
    token = (await post(at.endpoint(), at.grant))[1]["access_token"]
    assert await at.endpoint().tokens.caller_of(token)
    assert await at.endpoint(Master(b"n" * 32, [b"m" * 32])).tokens.caller_of(token)
    assert "signature" in await refused(at.endpoint(Master(b"n" * 32)), token)


@pytest.mark.parametrize("end", ["revoke", "disable", "expire"])
async def test_a_token_ends_soon_after_its_key(at: Setting, end: str) -> None:
    endpoint = at.endpoint()
    said = (await post(endpoint, at.grant))[1]
    token, refresh = said["access_token"], said["refresh_token"]
    assert await endpoint.tokens.caller_of(token)
    if end == "revoke":
        await at.registrar.revoke(at.record.id)
    else:
        changes = {"disabled": True} if end == "disable" else {"expires": time.time() + 0.2}
        await at.registrar.update(at.record.id, **changes)
    async with asyncio.timeout(20):
        while await works(endpoint, token):
            await asyncio.sleep(0.02)
    assert "unknown, expired or disabled" in await refused(endpoint, token)
    assert (await post(endpoint, renewal(refresh)))[1]["error"] == "invalid_grant"
    assert (await post(endpoint, at.grant))[1]["error"] == "invalid_client"


# ── what is wrong with it ────────────────────────────────────────────────────────────────────────

GRANT = b"grant_type=client_credentials"
WRONG: dict[str, tuple[bytes, int, str]] = {
    "nothing": (b"", 400, "invalid_request"),
    "no grant": (b"client_id=x&client_secret=y", 400, "invalid_request"),
    "an empty grant": (b"grant_type=", 400, "invalid_request"),
    "another grant": (b"grant_type=password&username=a&password=b", 400, "unsupported_grant_type"),
    "no client": (GRANT, 401, "invalid_client"),
    "no secret": (GRANT + b"&client_id=x", 401, "invalid_client"),
    "no id": (GRANT + b"&client_secret=x", 400, "invalid_request"),
    "a wrong key": (GRANT + b"&client_id=x&client_secret=sk-shin-" + b"A" * 43, 401, "invalid_client"),
    "half a key": (GRANT + b"&client_id=x&client_secret=sk-shin-abc", 401, "invalid_client"),
    "a provider's key": (GRANT + b"&client_id=x&client_secret=sk-proj-abc", 401, "invalid_client"),
    "a scope": (GRANT + b"&scope=all", 400, "invalid_scope"),
    "a field twice": (GRANT + b"&" + GRANT, 400, "invalid_request"),
    "no UTF-8": (b"grant_type=\xff", 400, "invalid_request"),
    "no UTF-8, escaped": (b"grant_type=%ff", 400, "invalid_request"),
    "many fields": (b"&".join(b"a%d=1" % at for at in range(50)), 400, "invalid_request"),
    "too large": (b"a=" + b"x" * LONGEST_BODY, 413, "invalid_request"),
    "JSON": (b'{"grant_type": "client_credentials"}', 400, "invalid_request"),
    "no refresh token": (b"grant_type=refresh_token", 400, "invalid_request"),
    "a wrong refresh token": (b"grant_type=refresh_token&refresh_token=shin-refresh-AAAA", 400, "invalid_grant"),
    "an access token": (b"grant_type=refresh_token&refresh_token=eyJ.eyJ.x", 400, "invalid_grant"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
async def test_what_is_wrong_is_said_in_the_words_of_the_rfc(at: Setting, name: str) -> None:
    body, status, error = WRONG[name]
    assert (await post(at.endpoint(), body))[0] == status
    said = (await post(at.endpoint(), body))[1]
    assert said["error"] == error
    assert all(32 <= ord(one) < 127 and one not in '"\\' for one in said["error_description"])


async def test_headers_that_are_wrong(at: Setting) -> None:
    endpoint, form = at.endpoint(), {"grant_type": "client_credentials"}
    assert (await post(endpoint, at.grant, **{"content-type": "application/json"}))[0] == 400
    assert (await post(endpoint, at.grant, **{"content-type": "application/x-www-form-urlencoded; charset=UTF-8"}))[
        0
    ] == 200
    assert (await post(endpoint, at.grant, authorization=basic(at.record.id, at.secret)))[0] == 400  # twice
    for login in (
        f"Bearer {at.secret}",
        "Basic",
        "Basic !",
        "Basic " + base64.b64encode(b"\xff\xff").decode(),
        basic("x", ""),
    ):
        assert (await post(endpoint, form, authorization=login))[0] == 401
    assert (await post(endpoint, form, authorization=basic("x", at.secret), Authorization="Basic x"))[0] == 400


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    body=st.binary(max_size=60)
    | st.dictionaries(
        st.sampled_from(["grant_type", "client_id", "client_secret", "refresh_token", "scope"]),
        st.sampled_from(["client_credentials", "refresh_token"]) | st.text(max_size=30),
    ).map(lambda form: urlencode(form, errors="replace").encode()),
    login=st.none() | st.text(max_size=30),
)
def test_nothing_that_comes_breaks_it(body: bytes, login: str | None) -> None:
    class NoKeys:
        async def caller_of(self, secret: str) -> Caller | None:
            return None

        async def caller_by_id(self, key_id: str) -> Caller:
            raise AssertionError

    async def run() -> None:
        endpoint = TokenEndpoint(TokenSettings(), MASTER, NoKeys(), StateStore.__new__(StateStore))
        headers = {} if login is None else {"authorization": login}
        status, said = await post(endpoint, body, **headers)
        assert status in (400, 401) and said["error"]

    asyncio.run(run())


def test_how_long_tokens_may_hold() -> None:
    for wrong in ({"ttl": "0s"}, {"ttl": "2d"}, {"refresh_ttl": "91d"}, {"ttl": 5}, {"ttl": "-1s"}):
        with pytest.raises(ValueError):
            TokenSettings.model_validate(wrong)


# ── a token for the next ─────────────────────────────────────────────────────────────────────────


async def test_a_token_is_refreshed_without_the_key(at: Setting) -> None:
    endpoint = at.endpoint(refresh_ttl="1h")
    refresh = (await post(endpoint, at.grant))[1]["refresh_token"]
    for _ in range(3):
        status, said = await post(at.endpoint(), renewal(refresh))  # on any replica
        assert status == 200 and said["refresh_token"] != refresh
        assert await endpoint.tokens.caller_of(said["access_token"])
        refresh = said["refresh_token"]
    at.clock.now += 3601  # the life of all together, not of each
    assert (await post(endpoint, renewal(refresh)))[1]["error"] == "invalid_grant"


async def test_a_client_that_says_who_it_is_must_be_who_it_was(at: Setting) -> None:
    endpoint = at.endpoint()
    refresh = (await post(endpoint, at.grant))[1]["refresh_token"]
    _, other = await at.registrar.create(name="other")
    assert (await post(endpoint, renewal(refresh), authorization=basic("x", other)))[1]["error"] == "invalid_grant"
    assert (await post(endpoint, renewal(refresh, client_id="x", client_secret="sk-shin-no")))[1][
        "error"
    ] == "invalid_client"
    assert (await post(endpoint, renewal(refresh), authorization=basic("x", at.secret)))[0] == 200


async def test_a_refresh_token_that_was_used_ends_its_family(at: Setting, caplog: pytest.LogCaptureFixture) -> None:
    endpoint = at.endpoint()
    first = (await post(endpoint, at.grant))[1]["refresh_token"]
    apart = (await post(endpoint, at.grant))[1]["refresh_token"]
    second = (await post(endpoint, renewal(first)))[1]["refresh_token"]
    for stolen in (first, second, second):
        assert (await post(endpoint, renewal(stolen)))[1]["error"] == "invalid_grant"
    assert "used twice" in caplog.text and at.record.id in caplog.text and at.secret not in caplog.text
    assert (await post(endpoint, renewal(apart)))[0] == 200


async def test_of_many_who_come_with_the_same_one_gets_a_token(at: Setting) -> None:
    endpoint = at.endpoint()
    refresh = (await post(endpoint, at.grant))[1]["refresh_token"]
    answers = await asyncio.gather(*(post(endpoint, renewal(refresh)) for _ in range(20)))
    assert sorted(status for status, _ in answers) == [200] + [400] * 19


async def test_a_refresh_token_ends_with_the_secret_it_was_given_for(at: Setting) -> None:
    """It works through the grace of a rotation, and no longer: else whoever stole a key could keep it."""
    endpoint = at.endpoint()
    refresh = (await post(endpoint, at.grant))[1]["refresh_token"]
    await at.registrar.rotate(at.record.id, grace=1.2)
    await asyncio.sleep(0.3)
    refresh = (await post(endpoint, renewal(refresh)))[1]["refresh_token"]
    await asyncio.sleep(1.2)
    assert (await post(endpoint, renewal(refresh)))[1]["error"] == "invalid_grant"


async def test_no_refresh_tokens_where_none_are_wanted(at: Setting) -> None:
    assert "refresh_token" not in (await post(at.endpoint(refresh_ttl="0s"), at.grant))[1]


async def test_families_are_bounded(at: Setting, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(families, "MOST", 3)
    endpoint = at.endpoint(refresh_ttl="1h")
    tokens = []
    for _ in range(5):
        tokens.append((await post(endpoint, at.grant))[1]["refresh_token"])
        at.clock.now += 1
    assert [(await post(endpoint, renewal(token)))[0] for token in tokens] == [400, 400, 200, 200, 200]
    places = families._places(at.record.id)
    assert [await at.state.run("HLEN", places[0]), await at.state.run("ZCARD", places[1])] == [3, 3]
    assert all([0 < await at.state.run("TTL", place) <= 3605 for place in places])
    at.clock.now += 3600
    await post(endpoint, at.grant)
    assert [await at.state.run("HLEN", places[0]), await at.state.run("ZCARD", places[1])] == [1, 1]


async def test_a_store_that_is_gone(start: Callable[..., Server]) -> None:
    """A key that is known still gets its token, which works; refreshing waits."""
    server = start().wait()
    async with setting(server) as at:
        endpoint = at.endpoint()
        said = (await post(endpoint, at.grant))[1]
        server.kill()
        again = await post(endpoint, at.grant)
        assert again[0] == 200 and "refresh_token" not in again[1]
        assert await endpoint.tokens.caller_of(again[1]["access_token"])
        status, error = await post(endpoint, renewal(said["refresh_token"]))
        assert (status, error["error"]) == (503, "temporarily_unavailable")
        unknown = await post(endpoint, at.grant | {"client_secret": "sk-shin-" + "A" * 43})
        assert unknown[0] == 503


# ── forgeries of ours ────────────────────────────────────────────────────────────────────────────


class OneKey:
    """A ring that knows everybody."""

    async def caller_of(self, secret: str) -> Caller | None:
        return None

    async def caller_by_id(self, key_id: str) -> Caller:
        return Caller(key_id, "virtual_key", key=key_id)


def ours(**claims: Any) -> dict[str, Any]:
    now = int(time.time())
    said = {"iss": ISSUER, "aud": ISSUER, "sub": "key_A", "iat": now, "exp": now + 60} | claims
    return {name: value for name, value in said.items() if value is not None}


HEADER = {"alg": "HS256", "typ": "at+jwt"}
KEY = signing_key(MASTER)


@pytest.mark.parametrize(
    ("token", "message"),
    [
        (sign(HEADER, ours(), b"another key"), "signature"),
        (sign({**HEADER, "alg": "none"}, ours(), None, "none") + "AA", "not accepted"),
        (sign({**HEADER, "alg": "HS512"}, ours(), KEY), "not accepted"),
        (sign({**HEADER, "crit": ["x"]}, ours(), KEY), "demands"),
        (sign(HEADER, ours(exp=1), KEY), "expired"),
        (sign(HEADER, ours(exp=None), KEY), "when it expires"),
        (sign(HEADER, ours(aud="x"), KEY), "somebody else"),
        (sign(HEADER, ours(), KEY)[:-4], "signature|malformed"),
        (sign(HEADER, ours(), KEY).rpartition(".")[0], "malformed"),
        (sign(HEADER, ours(more="x" * 20_000), KEY), "malformed"),
    ],
)
async def test_forged_tokens_of_ours(token: str, message: str) -> None:
    tokens = OwnTokens(MASTER, OneKey())
    assert await tokens.caller_of(sign(HEADER, ours(), KEY)) == Caller("key_A", "virtual_key", key="key_A")
    with pytest.raises(Unauthenticated) as caught:
        await tokens.caller_of(token)
    assert any(part in caught.value.message for part in message.split("|"))


@pytest.mark.parametrize(
    "secret",
    ["", "sk-shin-abc", "ey.ey.ey", sign(HEADER, ours(iss="https://x"), KEY), sign(HEADER, ours(iss=None), KEY)],
)
async def test_what_is_no_token_of_ours(secret: str) -> None:
    assert await OwnTokens(MASTER, OneKey()).caller_of(secret) is None


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_a_refresh_token_opens_as_it_was_or_not_at_all(data: st.DataObject) -> None:
    refreshes = RefreshTokens(MASTER)
    one = refreshes.begin("sk-shin-secret", 2_000_000_000)
    token = refreshes.seal(one)
    assert refreshes.open(token) == one
    assert "secret" not in token and "sk-shin-secret" not in repr(one)
    at = data.draw(st.integers(0, len(token) - 1))
    changed = token[:at] + data.draw(st.text(max_size=2)) + token[at + 1 :]
    assert refreshes.open(changed) == (one if changed == token else None)
    assert refreshes.open(data.draw(st.text())) is None
