"""The facade: which method a secret goes to, and what comes of it."""

from __future__ import annotations

import base64

import pytest

from shin_gateway.caller import Caller
from shin_gateway.config import Config
from shin_gateway.errors import Unauthenticated
from shin_gateway.identity import METHODS, Identity
from shin_gateway.identity.logins import Login, read_login
from shin_gateway.identity.own_tokens import OwnTokens
from shin_gateway.identity.users import Users
from shin_gateway.sealing import Master
from shin_gateway.stores.errors import StoreError


class Asked:
    """A method that knows one secret and remembers what it was asked."""

    def __init__(self, good: str, wrong: str = "") -> None:
        self._good, self._wrong = good, wrong
        self.asked: list[str] = []

    async def caller_of(self, secret: str) -> Caller | None:
        self.asked.append(secret)
        if secret == self._wrong:
            raise Unauthenticated("The token has expired.", code="token_expired")
        return Caller("ann", "token", user="ann") if secret == self._good else None


@pytest.fixture
def users(monkeypatch: pytest.MonkeyPatch) -> Users:
    monkeypatch.setenv("SHIN_TEST_ANN", "of-ann")
    monkeypatch.setenv("SHIN_TEST_BOB", "sk-shin-of-bob")
    bob = {"secret": "env:SHIN_TEST_BOB", "roles": ["user"], "team": "red"}
    written = {"ann": "env:SHIN_TEST_ANN", "bob": bob, "carl": "env:SHIN_TEST_NOT_SET"}
    return Users(Config.model_validate({"users": written}).users)


async def test_by_the_look_of_it(users: Users) -> None:
    keys, tokens, others = Asked("sk-shin-k"), Asked("a.b.c", "x.y.z"), Asked("opaque")
    identity = Identity(users, {"virtual_keys": keys, "tokens": tokens, "introspection": others})
    for secret in ("sk-shin-k", "a.b.c", "opaque"):
        found = await identity.of_secret(secret)
        assert found
        assert found.user == "ann"
    assert (keys.asked, tokens.asked, others.asked) == (["sk-shin-k"], ["a.b.c"], ["opaque"])
    assert await identity.of_secret("something") is None
    with pytest.raises(Unauthenticated, match="expired") as caught:
        await identity.of_secret("x.y.z")
    assert caught.value.code == "token_expired"
    with pytest.raises(Unauthenticated):
        await identity.of_secret("sk-shin-other")


async def test_users(users: Users) -> None:
    identity = Identity(users)
    ann, bob = await identity.of_secret("of-ann"), await identity.of_secret("sk-shin-of-bob")
    assert ann == Caller("ann", "user", user="ann", roles=("admin",))
    assert bob == Caller("bob", "user", user="bob", roles=("user",), team="red"), "whatever it looks like"
    assert await identity.of_secret("") is None
    assert (await identity.of_login(Login("bob", "sk-shin-of-bob"))).team == "red"
    for login in (Login("ann", "sk-shin-of-bob"), Login("ann", ""), Login("carl", ""), Login("", "")):
        with pytest.raises(Unauthenticated) as caught:
            await identity.of_login(login)
        assert caught.value.status == 407
        assert caught.value.headers["proxy-authenticate"] == 'Basic realm="Shin Gateway"'


async def test_methods_that_are_not_asked(users: Users) -> None:
    others = Asked("opaque")
    identity = Identity(users, {"introspection": others, "virtual_keys": Asked("sk-shin-k")})
    assert await identity.of_secret("opaque", METHODS - {"introspection"}) is None
    assert await identity.of_secret("of-ann", METHODS - {"users"}) is None
    with pytest.raises(Unauthenticated, match="not taken"):
        await identity.of_secret("sk-shin-k", METHODS - {"virtual_keys"})
    assert "sk-ant-oat" not in others.asked


async def test_what_is_longer_than_any_key() -> None:
    keys = Asked("")
    with pytest.raises(Unauthenticated):
        await Identity(Users({}), {"virtual_keys": keys}).of_secret("sk-shin-" + "x" * 100_000)
    assert not keys.asked


async def test_a_store_that_is_away_is_no_wrong_key() -> None:
    class Away:
        async def caller_of(self, secret: str) -> Caller | None:
            raise StoreError("away")

    with pytest.raises(StoreError):
        await Identity(Users({}), {"virtual_keys": Away()}).of_login(Login("x", "sk-shin-x"))


@pytest.mark.parametrize(
    ("said", "user", "secret"),
    [
        (base64.b64encode(b"ann:a:b").decode(), "ann", "a:b"),
        (base64.b64encode(b"ann").decode(), "ann", ""),
        (base64.b64encode("änn:ü".encode()).decode(), "änn", "ü"),
    ],
)
def test_logins(said: str, user: str, secret: str) -> None:
    login = read_login(f"basic {said}")
    assert (login.user, login.secret) == (user, secret)
    assert not secret or secret not in repr(login)
    assert read_login("Bearer t.o.k").secret == "t.o.k"


@pytest.mark.parametrize("said", ["", "Basic ?", "Basic /w==", "Digest x", "Negotiate", "Basic é"])
def test_logins_that_cannot_be_read(said: str) -> None:
    with pytest.raises(Unauthenticated) as caught:
        read_login(said)
    assert caught.value.status == 407


def test_a_login_that_says_nothing() -> None:
    assert read_login("Basic") == Login("", "")


def test_what_no_provider_may_see(users: Users) -> None:
    identity = Identity(users)
    own = OwnTokens(Master(b"m" * 32), Asked("")).make("key_x", 60)  # type: ignore[arg-type]
    for secret in ("sk-shin-x", "shin-refresh-x", "of-ann", own):
        assert identity.is_ours(secret)
    for secret in ("", "sk-ant-x", "a.b.c", "eyJhbGciOiJub25lIn0.eyJpc3MiOiJ4In0.", "é.é.é", "." * 40_000):
        assert not identity.is_ours(secret)
