"""The keys of an identity provider: found, kept as long as they may be, and not asked for too often."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from typing import Any

import pytest
from joserfc.jwk import ECKey, OctKey, RSAKey
from multidict import CIMultiDict

from shin_gateway.auth_settings import Issuer
from shin_gateway.errors import Unauthenticated, Unavailable
from shin_gateway.fetching.servers import ServerClient
from shin_gateway.identity import published
from shin_gateway.identity.issuers import Issuers
from shin_gateway.identity.jwks import MOST_KEYS, fitting, read_keys
from shin_gateway.identity.published import PublishedKeys, lifetime, places
from tests.identity.conftest import Clock, MakeIssuers
from tests.provider.idp import DISCOVERY, FAULTS, KEYS, Idp, make_key

ALGORITHMS = ("RS256", "ES256", "EdDSA")


@pytest.fixture
def clock() -> Clock:
    return Clock(1000.0)


@pytest.fixture
async def keys(idp: Idp, client: ServerClient, clock: Clock) -> AsyncIterator[PublishedKeys]:
    one = PublishedKeys(Issuer(issuer=idp.issuer, audience=("shin",)), client, clock)
    yield one
    await one.close()


async def known(keys: PublishedKeys, idp: Idp, which: int = -1) -> bool:
    return bool(await keys.fitting(idp.keys[which].kid or "", "RS256"))


# ── the whole way ────────────────────────────────────────────────────────────────────────────────


async def test_from_discovery_to_a_server_that_is_gone(
    idp: Idp, client: ServerClient, make: MakeIssuers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client gets its token from the provider; the provider rotates its keys, goes down, and comes back."""
    monkeypatch.setattr(published, "PAUSE", 0.2)
    issuers = make()

    async def log_in() -> str:
        form = {"grant_type": "client_credentials", "client_id": idp.client[0], "client_secret": idp.client[1]}
        token: str = json.loads((await client.post(idp.url("/token"), form)).body)["access_token"]
        return token

    first = await log_in()
    caller = await issuers.caller_of(first)
    assert caller is not None and caller.user == "shin"
    idp.rotate()
    await asyncio.sleep(0.2)
    second = await log_in()
    assert await issuers.caller_of(second)
    await asyncio.sleep(0.2)
    await idp.down()
    assert await issuers.caller_of(first) and await issuers.caller_of(second)
    assert await issuers.caller_of(idp.token(sub="new", key=idp.keys[0]))  # the keys are known
    with pytest.raises(Unauthenticated, match="does not publish"):
        await issuers.caller_of(idp.token(key=make_key("RS256")))
    await idp.up()
    idp.rotate(keep=False)
    await asyncio.sleep(0.2)
    assert await issuers.caller_of(idp.token())
    with pytest.raises(Unauthenticated, match="does not publish"):  # what was signed with keys that are gone is gone
        await issuers.caller_of(first)


async def test_keys_are_asked_for_when_they_are_due(idp: Idp, keys: PublishedKeys, clock: Clock) -> None:
    idp.cache_control = "max-age=120"
    assert await known(keys, idp)
    clock.now += 119
    assert await known(keys, idp)
    assert idp.seen[KEYS] == 1
    clock.now += 2
    assert await known(keys, idp)
    assert idp.seen == {KEYS: 2, DISCOVERY: 1}
    clock.now += 86401
    assert await known(keys, idp)
    assert idp.seen == {KEYS: 3, DISCOVERY: 2}


async def test_jwks_uri_needs_no_discovery(idp: Idp, client: ServerClient, clock: Clock) -> None:
    keys = PublishedKeys(
        Issuer(issuer="https://idp.example.com", audience=("x",), jwks_uri=idp.url(KEYS)), client, clock
    )
    assert await known(keys, idp)
    clock.now += 100_000
    assert await known(keys, idp)
    assert idp.seen == {KEYS: 2}


async def test_rfc_8414_where_there_is_no_openid(client: ServerClient, clock: Clock) -> None:
    async with Idp(path="/tenant") as idp:
        keys = PublishedKeys(Issuer(issuer=idp.issuer, audience=("x",)), client, clock)
        assert places(idp.issuer) == (
            f"{idp.issuer}{DISCOVERY}",
            idp.url("/.well-known/oauth-authorization-server/tenant"),
        )
        assert await known(keys, idp)


# ── how often ────────────────────────────────────────────────────────────────────────────────────


async def test_all_who_wait_share_one_look(idp: Idp, make: MakeIssuers) -> None:
    idp.slow = 0.05
    issuers = make()
    callers = await asyncio.gather(*(issuers.caller_of(idp.token(sub=f"u{at}")) for at in range(50)))
    assert {caller.user for caller in callers if caller} == {f"u{at}" for at in range(50)}
    assert idp.seen == {DISCOVERY: 1, KEYS: 1}


async def test_one_who_leaves_takes_nothing_from_the_others(idp: Idp, make: MakeIssuers) -> None:
    idp.slow = 0.1
    issuers = make()
    first = asyncio.create_task(issuers.caller_of(idp.token()))
    second = asyncio.create_task(issuers.caller_of(idp.token(sub="bob")))
    await asyncio.sleep(0.02)
    first.cancel()
    assert await second
    assert idp.seen == {DISCOVERY: 1, KEYS: 1}


async def test_unknown_keys_make_us_look_once_in_a_while(idp: Idp, keys: PublishedKeys, clock: Clock) -> None:
    assert await known(keys, idp)
    for at in range(100):
        assert not await keys.fitting(f"made-up-{at}", "RS256")
    assert idp.seen[KEYS] == 1  # we had just looked
    clock.now += published.PAUSE
    await asyncio.gather(*(keys.fitting(f"made-up-{at}", "RS256") for at in range(100)))
    assert idp.seen[KEYS] == 2
    idp.rotate()
    clock.now += published.PAUSE
    assert await known(keys, idp)
    assert idp.seen[KEYS] == 3


@pytest.mark.parametrize("kid", [None, "the-same"])
async def test_keys_that_change_under_the_same_name(
    idp: Idp, make: MakeIssuers, kid: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(published, "PAUSE", 0.1)
    issuers = make()
    for at in range(2):
        public = {**idp.keys[0].as_dict(private=False), "kid": kid}
        idp.published = {"keys": [{name: value for name, value in public.items() if value}]}
        assert await issuers.caller_of(idp.token(sub=f"u{at}", header={"kid": kid}))
        idp.rotate(keep=False)
        await asyncio.sleep(0.15)
    assert idp.seen[KEYS] == 2


# ── a server that is down, slow, or lies ─────────────────────────────────────────────────────────


@pytest.mark.parametrize("fault", FAULTS)
async def test_without_keys_nobody_gets_in(
    idp: Idp, make: MakeIssuers, fault: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(published, "TIMEOUT", 0.4)
    idp.fault = fault
    issuers = make()
    results = await asyncio.gather(*(issuers.caller_of(idp.token()) for _ in range(20)), return_exceptions=True)
    assert all(isinstance(one, Unavailable) and one.status == 503 and one.retry_after for one in results)
    with pytest.raises(Unavailable):  # it is not asked again at once
        await issuers.caller_of(idp.token())
    assert sum(idp.seen.values()) <= 2 and "/latest/meta-data/" not in idp.seen
    assert len(caplog.records) == 1 and idp.token()[:20] not in caplog.text


@pytest.mark.parametrize("fault", FAULTS)
async def test_keys_outlive_their_server_for_a_while(
    idp: Idp, keys: PublishedKeys, clock: Clock, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(published, "TIMEOUT", 0.3)
    idp.cache_control = "max-age=100"
    assert await known(keys, idp)
    (thumbprint,) = (key.thumbprint for key in await keys.fitting("", "RS256"))
    idp.fault = fault
    clock.now += 101
    assert await known(keys, idp)  # waits for the server, once
    clock.now += 11
    asked = idp.seen[KEYS]
    assert await known(keys, idp) and keys.still_has(thumbprint)  # and no more
    assert idp.seen[KEYS] == asked
    await keys.close()
    clock.now += published.STALE - 13
    assert await known(keys, idp)
    await keys.close()
    clock.now += 2
    assert not keys.still_has(thumbprint)
    with pytest.raises(Unavailable):
        await known(keys, idp)
    idp.fault = ""
    await keys.close()
    clock.now += published.PAUSE_WITHOUT
    assert await known(keys, idp)


async def test_a_server_that_is_back_is_noticed(
    idp: Idp, keys: PublishedKeys, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    idp.cache_control = "max-age=100"
    assert await known(keys, idp)
    idp.fault = "error"
    for _ in range(3):
        clock.now += 101
        assert await known(keys, idp)
        await asyncio.sleep(0.05)
    assert [record.levelname for record in caplog.records if record.name == published.__name__] == ["WARNING"]
    idp.fault = ""
    idp.rotate(keep=False)
    clock.now += 11
    await known(keys, idp)
    await asyncio.sleep(0.1)
    assert await known(keys, idp)
    assert "can be had again" in caplog.text


@pytest.mark.parametrize(
    "said",
    [
        {"issuer": "https://other.example.com"},
        {"issuer": None},
        {"jwks_uri": None},
        {"jwks_uri": 7},
        {"jwks_uri": "ftp://127.0.0.1/keys"},
        {"jwks_uri": "file:///etc/passwd"},
        {"jwks_uri": "http://idp.example.com/keys"},
        {"jwks_uri": "https://169.254.169.254/keys"},
        {"jwks_uri": "https://[::ffff:a9fe:a9fe]/keys"},
        {"jwks_uri": "https://0xa9fea9fe/keys"},
        {"jwks_uri": "https://user:pass@127.0.0.1/keys"},
        {"jwks_uri": "https://127.0.0.1:99999/keys"},
        {"jwks_uri": "//"},
    ],
)
async def test_a_lying_description(idp: Idp, make: MakeIssuers, said: dict[str, Any]) -> None:
    idp.description = said
    with pytest.raises(Unavailable):
        await make().caller_of(idp.token())
    assert not idp.seen[KEYS]


def test_a_server_elsewhere_does_not_send_us_to_this_machine() -> None:
    for uri in ("https://127.0.0.1/keys", "http://localhost:6379/", "https://[::1]/keys", "https://x.localhost/"):
        with pytest.raises(ValueError, match="never asked"):
            published._keys_url({"issuer": "https://idp.example.com", "jwks_uri": uri}, "https://idp.example.com")
    said = {"issuer": "https://idp.example.com", "jwks_uri": "https://keys.example.net/x?v=3"}
    assert published._keys_url(said, "https://idp.example.com") == "https://keys.example.net/x?v=3"


# ── what is taken for a key ──────────────────────────────────────────────────────────────────────

RSA = RSAKey.generate_key(2048).as_dict(private=False)
PRIVATE = RSAKey.generate_key(2048).as_dict(private=True)
EC = ECKey.generate_key("P-256").as_dict(private=False)
USELESS: dict[str, Any] = {
    "for encryption": {**RSA, "use": "enc"},
    "for signing only": {**RSA, "key_ops": ["sign"]},
    "operations of a type": {**RSA, "key_ops": "verify"},
    "for another algorithm": {**RSA, "alg": "RSA-OAEP"},
    "for an algorithm of a type": {**RSA, "alg": ["RS256"]},
    "for an algorithm not accepted": {**RSA, "alg": "RS512"},
    "a shared secret": OctKey.generate_key(256).as_dict(),
    "short": {**RSA, "n": RSA["n"][:171]},
    "enormous": {**RSA, "n": "A" * 3000},
    "with a great exponent": {**RSA, "e": "A" * 100},
    "with an even exponent": {**RSA, "e": "Ag"},
    "half": {"kty": "RSA", "n": RSA["n"]},
    "numbers": {"kty": "RSA", "n": 5, "e": 3},
    "no base64": {**RSA, "n": "*" * 342},
    "not on the curve": {**EC, "x": "A" * 43},
    "of an unknown curve": {**EC, "crv": "secp256k1"},
    "of another curve": ECKey.generate_key("P-521").as_dict(private=False),
    "of an unknown type": {"kty": "AKP", "alg": "ML-DSA-44", "pub": "x"},
    "of a type of a type": {"kty": ["RSA"]},
    "no object": "key",
    "nothing": None,
}


@pytest.mark.parametrize("name", USELESS)
def test_what_cannot_check_a_signature_is_left_out(name: str) -> None:
    good = {**RSA, "kid": "good"}
    (key,) = read_keys(json.dumps({"keys": [USELESS[name], good]}).encode(), ALGORITHMS)
    assert key.kid == "good"


def test_a_private_key_is_taken_as_its_public_half() -> None:
    (key,) = read_keys(json.dumps({"keys": [PRIVATE]}).encode(), ALGORITHMS)
    assert not key.key.is_private


def test_keys_of_one_name_and_keys_without_one() -> None:
    rows = [{**RSA, "kid": "a"}, {**EC, "kid": "a"}, {**EC, "kid": 7}]
    keys = read_keys(json.dumps({"keys": rows}).encode(), ALGORITHMS)
    assert len(fitting(keys, "a", "RS256")) == 1 and len(fitting(keys, "", "ES256")) == 2
    assert not fitting(keys, "7", "ES256")


TOO_MANY = json.dumps({"keys": [1] * (MOST_KEYS + 1)}).encode()


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"keys": {}}', b'{"keys": [], "keys": []}', b"\xff", TOO_MANY])
def test_what_is_no_set_of_keys(body: bytes) -> None:
    with pytest.raises(ValueError):
        read_keys(body, ALGORITHMS)


async def test_a_set_without_a_key_for_us_changes_nothing(idp: Idp, keys: PublishedKeys, clock: Clock) -> None:
    assert await known(keys, idp)
    idp.published = {"keys": [OctKey.generate_key(256).as_dict()]}
    clock.now += 4000
    assert await known(keys, idp)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, 600),
        ({"cache-control": "max-age=7200"}, 7200),
        ({"cache-control": "public, max-age=7200", "age": "7000"}, 200),
        ({"cache-control": 'MAX-AGE = "300"'}, 300),
        ({"cache-control": "max-age=1"}, 60),
        ({"cache-control": "max-age=999999999"}, 86400),
        ({"cache-control": "max-age=99999999999999999999"}, 86400),
        ({"cache-control": "no-store"}, 60),
        ({"cache-control": "max-age=0, no-cache"}, 60),
        ({"cache-control": "max-age=-5"}, 600),
        ({"cache-control": "max-age=7200", "age": "²"}, 7200),
        ({"cache-control": "public"}, 600),
    ],
)
def test_how_long_keys_hold(headers: dict[str, str], seconds: float) -> None:
    assert lifetime(CIMultiDict(headers)) == seconds


async def test_issuers_that_are_many_stay_apart(client: ServerClient) -> None:
    """A token of one, signed by the other."""
    async with Idp() as one, Idp() as other:
        other.rotate(keep=False)
        rows = [
            Issuer(issuer=idp.issuer, audience=("shin",), prefix=name) for idp, name in ((one, "1:"), (other, "2:"))
        ]
        issuers = Issuers(rows, client)
        first, second = await issuers.caller_of(one.token()), await issuers.caller_of(other.token())
        assert first and second and (first.tenant, second.tenant) == ("user 1:ann", "user 2:ann")
        with pytest.raises(Unauthenticated):
            await issuers.caller_of(other.token(iss=one.issuer))
        with pytest.raises(Unauthenticated):
            await issuers.caller_of(other.token(iss=one.issuer, header={"kid": one.keys[0].kid}))
        await issuers.close()
