"""Tokens of identity providers: the true ones are believed, all others are refused and say nothing of themselves."""

# ruff: noqa: E501 - tables read best with one case a line

from __future__ import annotations

import base64
import json
import logging
import time
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shin_gateway.auth_settings import Issuer
from shin_gateway.caller import Caller
from shin_gateway.errors import Unauthenticated
from shin_gateway.fetching.servers import ServerClient
from shin_gateway.identity.issuers import Issuers
from shin_gateway.identity.jwt import LONGEST
from shin_gateway.upstream.options import UpstreamOptions
from tests.identity.conftest import Clock, MakeIssuers
from tests.provider.idp import Idp, make_key, sign

Forge = Callable[[Idp], str]


async def refused(issuers: Issuers, token: str) -> Unauthenticated:
    with pytest.raises(Unauthenticated) as caught:
        await issuers.caller_of(token)
    assert caught.value.status == 401
    return caught.value


# ── who it is ────────────────────────────────────────────────────────────────────────────────────


async def test_a_token_says_who_calls(idp: Idp, make: MakeIssuers) -> None:
    issuers = make(
        claims={"team": "org.team", "project": "https://example.com/project", "roles": "realm_access.roles"},
        role_names={"llm-admin": "admin", "llm": "user"},
        prefix="corp:",
    )
    token = idp.token(
        **{
            "org": {"team": ["red", "blue"]},
            "https://example.com/project": 7,
            "realm_access": {"roles": ["x", "llm", "admin"]},
        }
    )
    assert await issuers.caller_of(token) == Caller(
        "corp:ann", "token", user="corp:ann", team="red", project="7", roles=("user",)
    )


@pytest.mark.parametrize(
    ("path", "claims", "roles"),
    [
        ("groups", {"groups": ["a", "b", "a", 3, None, "\ud800", "x" * 300]}, ("a", "b")),
        ("groups", {"groups": "Domain Users"}, ("Domain Users",)),
        ("scope", {"scope": "chat embed"}, ("chat", "embed")),
        ("a.b.c", {"a.b": {"c": ["x"]}}, ("x",)),
        ("groups", {}, ()),
        ("groups", {"groups": {"a": 1}}, ()),
        ("", {"groups": ["admin"]}, ()),
    ],
)
async def test_roles(idp: Idp, make: MakeIssuers, path: str, claims: dict[str, Any], roles: tuple[str, ...]) -> None:
    caller = await make(claims={"roles": path}).caller_of(idp.token(**claims))
    assert caller is not None and caller.roles == roles


@pytest.mark.parametrize("sub", [None, "", 1.5, True, ["x" * 999], "a\nb", "\ud800", {"a": 1}, "x" * 201, 10**30])
async def test_who_has_no_name_is_nobody(idp: Idp, make: MakeIssuers, sub: Any) -> None:
    assert "does not say who calls" in (await refused(make(), idp.token(sub=sub))).message


@pytest.mark.parametrize(
    ("wanted", "claims", "good"),
    [
        ({"tid": "t1"}, {"tid": "t1"}, True),
        ({"tid": ["t1", "t2"]}, {"tid": "t2"}, True),
        ({"groups": "llm"}, {"groups": ["x", "llm"]}, True),
        ({"email_verified": True}, {"email_verified": True}, True),
        ({"email_verified": True}, {"email_verified": 1}, False),
        ({"email_verified": True}, {"email_verified": "true"}, False),
        ({"tid": "t1"}, {}, False),
        ({"tid": "t1", "groups": "llm"}, {"tid": "t1"}, False),
    ],
)
async def test_required_claims(
    idp: Idp, make: MakeIssuers, wanted: dict[str, Any], claims: dict[str, Any], good: bool
) -> None:
    issuers, token = make(required_claims=wanted), idp.token(**claims)
    if good:
        assert await issuers.caller_of(token)
    else:
        assert "t1" not in (await refused(issuers, token)).message


@pytest.mark.parametrize("algorithm", ["RS256", "PS256", "ES256", "ES384", "EdDSA"])
async def test_every_algorithm_that_is_accepted(algorithm: str, client: ServerClient) -> None:
    async with Idp(algorithm=algorithm, path="/realms/x") as idp:
        issuers = Issuers([Issuer.model_validate({"issuer": idp.issuer, "audience": ["a", "shin"]})], client)
        assert await issuers.caller_of(idp.token())
        other = make_key(algorithm)
        assert "signature" in (await refused(issuers, idp.token(key=other, header={"kid": idp.keys[0].kid}))).message
        await issuers.close()


# ── what is none of ours ─────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "secret",
    [
        "",
        "sk-proj-abc",
        "sk-ant-oat01-x.y.z",
        "a.b.c",
        "ey",
        "ey.",
        "ey..",
        "eyJ.eyJ.x",
        "a" * 100_000,
        "\ud800ey.",
        "ey\udcff.ey.x",
    ],
)
async def test_what_is_no_token_is_none_of_ours(make: MakeIssuers, idp: Idp, secret: str) -> None:
    assert await make().caller_of(secret) is None
    assert not idp.seen


async def test_tokens_of_other_issuers_are_none_of_ours(make: MakeIssuers, idp: Idp) -> None:
    issuers = make()
    for iss in ("https://auth.openai.com", idp.issuer + "/", None, 7, [idp.issuer], {}):
        assert await issuers.caller_of(idp.token(iss=iss)) is None
    assert not idp.seen


# ── forgeries ────────────────────────────────────────────────────────────────────────────────────


def with_header(**header: Any) -> Forge:
    return lambda idp: idp.token(header=header)


def with_claims(**claims: Any) -> Forge:
    return lambda idp: idp.token(**claims)


def unsigned(alg: str) -> Forge:
    def forge(idp: Idp) -> str:
        token = sign({"alg": alg, "kid": idp.keys[0].kid}, idp.claims(), None, "none")
        return token if token.count(".") == 2 else token + "."

    return forge


def confused(alg: str, secret: Callable[[Idp], bytes]) -> Forge:
    """Signed with the public key as if it were a shared secret (CVE-2016-5431 and its like)."""
    return lambda idp: sign({"alg": alg, "kid": idp.keys[0].kid}, idp.claims(), secret(idp))


def pem(idp: Idp) -> bytes:
    return idp.keys[0].as_pem(private=False)


def claims_written(text: Callable[[Idp], str]) -> Forge:
    return lambda idp: sign({"alg": "RS256", "kid": idp.keys[0].kid}, text(idp).encode(), idp.keys[0])


def edited(edit: Callable[[str], str]) -> Forge:
    return lambda idp: edit(idp.token())


def swapped(token: str) -> str:
    """Other claims under the old signature."""
    head, body, signature = token.split(".")
    claims = json.loads(base64.urlsafe_b64decode(body + "=="))
    claims["sub"] = "admin"
    return f"{head}.{base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip('=')}.{signature}"


def own_key(idp: Idp) -> str:
    """A token that brings the key to check it with."""
    key = make_key("RS256")
    return idp.token(
        key=key, header={"kid": idp.keys[0].kid, "jwk": key.as_dict(private=False), "jku": "http://127.0.0.1/"}
    )


FORGED: dict[str, tuple[Forge, str]] = {
    "expired": (with_claims(exp=int(time.time()) - 31), "expired"),
    "expired long ago": (with_claims(exp=0), "expired"),
    "expired before time began": (with_claims(exp=-5), "expired"),
    "without an end": (with_claims(exp=None), "when it expires"),
    "an end that is text": (with_claims(exp="never"), "malformed"),
    "an end that is true": (with_claims(exp=True), "malformed"),
    "an end beyond all time": (with_claims(exp=10**30), "malformed"),
    "an end that is a list": (with_claims(exp=[9999999999]), "malformed"),
    "not yet": (with_claims(nbf=int(time.time()) + 86_400), "not valid yet"),
    "a beginning that is text": (with_claims(nbf="x"), "malformed"),
    "for somebody else": (with_claims(aud="other"), "somebody else"),
    "for nobody": (with_claims(aud=None), "somebody else"),
    "for an empty list": (with_claims(aud=[]), "somebody else"),
    "for an object": (with_claims(aud={"shin": 1}), "somebody else"),
    "for part of our name": (with_claims(aud="shi"), "somebody else"),
    "alg none": (unsigned("none"), "malformed|not accepted"),
    "alg None": (unsigned("None"), "malformed|not accepted"),
    "alg nOnE": (unsigned("nOnE"), "malformed|not accepted"),
    "alg missing": (lambda idp: sign({"kid": idp.keys[0].kid}, idp.claims(), idp.keys[0], "RS256"), "not accepted"),
    "alg of a type": (lambda idp: sign({"alg": ["RS256"], "kid": "x"}, idp.claims(), idp.keys[0], "RS256"), "not accepted"),
    "alg not in the list": (lambda idp: sign({"alg": "RS512", "kid": idp.keys[0].kid}, idp.claims(), idp.keys[0]), "not accepted"),
    "alg of another family": (lambda idp: sign({"alg": "ES256", "kid": idp.keys[0].kid}, idp.claims(), idp.keys[0], "RS256"), "does not publish"),
    "public key as secret": (confused("HS256", pem), "not accepted"),
    "public key as a longer secret": (confused("HS512", pem), "not accepted"),
    "modulus as secret": (confused("HS256", lambda idp: str(idp.keys[0].as_dict()["n"]).encode()), "not accepted"),
    "unknown kid": (with_header(kid="elsewhere"), "does not publish"),
    "kid that is a path": (with_header(kid="../../dev/null"), "does not publish"),
    "kid that is a number": (with_header(kid=7), "malformed"),
    "kid that is long": (with_header(kid="k" * 600), "malformed"),
    "another's key": (lambda idp: idp.token(key=make_key("RS256"), header={"kid": idp.keys[0].kid}), "signature"),
    "another's key, without kid": (lambda idp: idp.token(key=make_key("RS256"), header={"kid": None}), "signature"),
    "brings its key": (own_key, "signature"),
    "crit": (with_header(crit=["exp"], exp=9), "demands"),
    "crit that is empty": (with_header(crit=[]), "demands"),
    "unencoded payload": (with_header(b64=False), "demands"),
    "of another type": (with_header(typ="logout+jwt"), "another type"),
    "type of a type": (with_header(typ={}), "another type"),
    "other claims": (edited(swapped), "signature"),
    "signature cut": (edited(lambda token: token[:-20]), "signature|malformed"),
    "signature gone": (edited(lambda token: token.rpartition(".")[0] + "."), "malformed"),
    "two parts": (edited(lambda token: token.rpartition(".")[0]), "malformed"),
    "cut in the middle": (edited(lambda token: token[: int(len(token) * 0.4)]), "malformed"),
    "five parts": (edited(lambda token: token + ".a.b"), "malformed"),
    "padded": (edited(lambda token: token + "="), "malformed"),
    "with a space": (edited(lambda token: token.replace(".", ". ")), "malformed"),
    "with a line's end": (edited(lambda token: token + "\n"), "malformed"),
    "with another letter": (edited(lambda token: token + "é"), "malformed"),
    "oversized": (with_claims(more="x" * LONGEST), "malformed"),
    "oversized by its signature": (edited(lambda token: token + "A" * 100_000), "malformed"),
    "a name twice": (claims_written(lambda idp: json.dumps(idp.claims())[:-1] + ', "sub": "admin"}'), "malformed"),
    "an issuer twice": (claims_written(lambda idp: '{"iss": "https://x", ' + json.dumps(idp.claims())[1:]), "malformed"),
    "NaN": (claims_written(lambda idp: json.dumps(idp.claims())[:-1] + ', "exp2": NaN}'), "malformed"),
    "an end that is endless": (claims_written(lambda idp: json.dumps(idp.claims(exp=None))[:-1] + ', "exp": 1e999}'), "malformed"),
    "a number without end": (claims_written(lambda idp: json.dumps(idp.claims())[:-1] + f', "n": {"9" * 5000}}}'), "malformed"),
    "nested": (claims_written(lambda idp: json.dumps(idp.claims())[:-1] + ', "n": ' + "[" * 9000 + "]" * 1 + "}"), "malformed"),
    "nested well": (claims_written(lambda idp: json.dumps(idp.claims(exp=1))[:-1] + ', "n": ' + "[" * 4000 + "]" * 4000 + "}"), "malformed|expired"),
    "half of UTF-16": (lambda idp: sign({"alg": "RS256", "kid": idp.keys[0].kid}, json.dumps(idp.claims()).encode("utf-16-le"), idp.keys[0]), ""),
}  # fmt: skip


@pytest.mark.parametrize("name", FORGED)
async def test_a_forged_token(idp: Idp, make: MakeIssuers, name: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    forge, message = FORGED[name]
    issuers, token = make(), forge(idp)
    if not message:  # not even whose it says it is can be read
        assert await issuers.caller_of(token) is None
        return
    refusal = await refused(issuers, token)
    assert any(part in refusal.message for part in message.split("|")), refusal.message
    pieces = [piece for piece in token.split(".") if len(piece) > 8]
    told = caplog.text + refusal.message + repr(refusal)
    assert not [piece for piece in pieces if piece in told or "admin" in told]


async def test_a_token_in_a_token(idp: Idp, make: MakeIssuers) -> None:
    nested = sign({"alg": "RS256", "kid": idp.keys[0].kid, "cty": "JWT"}, idp.token().encode(), idp.keys[0])
    assert await make().caller_of(nested) is None


@pytest.mark.parametrize("algorithm", ["none", "HS256", "HS512", "dir", "rs256", ""])
def test_no_such_algorithm_can_be_allowed(algorithm: str) -> None:
    with pytest.raises(ValueError, match="algorithms"):
        Issuer.model_validate({"issuer": "https://idp.example.com", "audience": "shin", "algorithms": [algorithm]})


# ── time ─────────────────────────────────────────────────────────────────────────────────────────


async def test_a_remembered_token_ends_when_it_expires(idp: Idp, make: MakeIssuers) -> None:
    now = int(time.time())
    clock = Clock(now)
    issuers, token = make(clock, leeway="30s"), idp.token(nbf=now, exp=now + 60)
    for ahead in (0, 59, 89, -29):
        clock.now = now + ahead
        assert await issuers.caller_of(token)
    clock.now = now + 90
    assert (await refused(issuers, token)).code == "token_expired"
    clock.now = now - 31
    assert "not valid yet" in (await refused(issuers, token)).message
    clock.now = now  # a clock that was set back
    assert await issuers.caller_of(token)


async def test_a_token_is_checked_once(idp: Idp, make: MakeIssuers, monkeypatch: pytest.MonkeyPatch) -> None:
    issuers, token = make(), idp.token()
    first = await issuers.caller_of(token)
    monkeypatch.setattr("shin_gateway.identity.jwt.parse", None)
    assert await issuers.caller_of(token) is first
    assert idp.seen == {"/.well-known/openid-configuration": 1, "/keys": 1}


# ── anything at all ──────────────────────────────────────────────────────────────────────────────


async def outcome(issuers: Issuers, token: str) -> Caller | None:
    try:
        return await issuers.caller_of(token)
    except Unauthenticated:
        return None


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
TEXTS = (
    st.text()
    | st.binary().map(lambda raw: raw.decode("utf-8", "surrogateescape"))
    | st.text("ey.JA_-", max_size=60).map("eyJ".__add__)
)
EDITS = st.tuples(st.floats(0, 1), st.integers(0, 3), st.text(max_size=3))
"""Where in a token, how much of it goes, and what comes in its place."""
CLAIMS = st.dictionaries(
    st.sampled_from(["iss", "aud", "sub", "exp", "nbf", "iat", "roles", "team"]), ANYTHING, max_size=3
)
HEADERS = st.dictionaries(
    st.sampled_from(["kid", "typ", "crit", "b64", "cty", "zip", "jwk", "x5c"]), ANYTHING, max_size=2
)


def changed(token: str, edit: tuple[float, int, str]) -> str:
    at = int(edit[0] * (len(token) - 1))
    return token[:at] + edit[2] + token[at + edit[1] :]


@settings(max_examples=40, deadline=None)
@given(
    texts=st.lists(TEXTS, max_size=20),
    edits=st.lists(EDITS, max_size=20),
    odd=st.lists(st.tuples(HEADERS, CLAIMS), max_size=10),
)
async def test_nothing_that_comes_breaks_it(
    texts: list[str], edits: list[tuple[float, int, str]], odd: list[tuple[dict[str, Any], dict[str, Any]]]
) -> None:
    """Random text, a good token with something changed, and tokens signed rightly with nonsense in them."""
    async with Idp() as idp:
        settings = {"issuer": idp.issuer, "audience": "shin", "claims": {"roles": "roles", "team": "team"}}
        client = ServerClient(UpstreamOptions())
        await client.start()
        issuers, good = Issuers([Issuer.model_validate(settings)], client), idp.token()
        assert await outcome(issuers, good)
        try:
            for text in [*texts, *(one for edit in edits if (one := changed(good, edit)) != good)]:
                assert await outcome(issuers, text) is None
            for header, claims in odd:
                await outcome(issuers, idp.token(header=header, **claims))
        finally:
            await issuers.close()
            await client.close()
