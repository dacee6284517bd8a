"""Tokens that say nothing themselves: asked about once in a while, and nobody gets in while nobody can be asked."""

from __future__ import annotations

import asyncio
import gc
import logging
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from shin_gateway.auth_settings import IntrospectionSettings
from shin_gateway.errors import Unauthenticated, Unavailable
from shin_gateway.fetching.servers import ServerClient
from shin_gateway.identity import introspection
from shin_gateway.identity.introspection import Introspection
from tests.identity.conftest import Clock
from tests.provider.idp import FAULTS, INTROSPECT, Idp

Make = Callable[..., Introspection]


@pytest.fixture
async def ask(idp: Idp, client: ServerClient, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Make]:
    """ask(clock=…, cache=…, …): an introspection at `idp`, with settings over plain ones."""
    monkeypatch.setenv("IDP_SECRET", idp.client[1])
    made: list[Introspection] = []

    def begin(clock: Any = time.time, **settings: Any) -> Introspection:
        plain = {"url": idp.url(INTROSPECT), "client_id": idp.client[0], "client_secret": "env:IDP_SECRET"}
        made.append(Introspection(IntrospectionSettings.model_validate(plain | settings), client, clock))
        return made[-1]

    yield begin
    for one in made:
        await one.close()


async def refused(one: Introspection, token: str) -> str:
    with pytest.raises(Unauthenticated) as caught:
        await one.caller_of(token)
    assert token not in caught.value.message
    return caught.value.message


async def test_a_token_that_is_active(idp: Idp, ask: Make) -> None:
    one = ask(claims={"user": "username", "roles": "scope", "team": "team"}, role_names={"chat": "user"}, prefix="x:")
    caller = await one.caller_of(idp.opaque(username="ann", scope="chat other", team="red"))
    assert caller is not None
    assert (caller.kind, caller.user, caller.team, caller.roles) == ("token", "x:ann", "red", ("user",))


@pytest.mark.parametrize(
    ("settings", "claims", "message"),
    [
        ({}, {"active": False}, "unknown, expired or revoked"),
        ({}, {"exp": 1}, "expired"),
        ({}, {"nbf": 9_999_999_999}, "not valid yet"),
        ({}, {"exp": "soon"}, "malformed"),
        ({}, {"sub": None}, "who calls"),
        ({"audience": "shin"}, {"aud": "other"}, "somebody else"),
        ({"required_claims": {"client_id": "app"}}, {"client_id": "other"}, "client_id"),
    ],
)
async def test_a_token_that_is_not_good(
    idp: Idp, ask: Make, settings: dict[str, Any], claims: dict[str, Any], message: str
) -> None:
    assert message in await refused(ask(**settings), idp.opaque(**claims))


async def test_a_token_without_times(idp: Idp, ask: Make) -> None:
    assert await ask().caller_of(idp.opaque(exp=None, nbf=None, aud=None))


async def test_answers_are_kept_for_a_while(idp: Idp, ask: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    one, token = ask(cache="1s"), idp.opaque()
    for _ in range(5):
        assert await one.caller_of(token)
    assert idp.seen[INTROSPECT] == 1
    idp.introspected.pop(token)
    await asyncio.sleep(1.05)
    monkeypatch.setattr(introspection, "REFUSED_FOR", 1.0)
    for _ in range(5):
        await refused(one, token)
    assert idp.seen[INTROSPECT] == 2
    await asyncio.sleep(1.05)
    await refused(one, token)
    assert idp.seen[INTROSPECT] == 3


async def test_a_kept_answer_does_not_outlive_its_token(idp: Idp, ask: Make) -> None:
    clock = Clock(time.time())
    one, token = ask(clock, cache="10m"), idp.opaque(exp=int(clock.now) + 60)
    assert await one.caller_of(token)
    clock.now += 61
    assert "expired" in await refused(one, token)


async def test_all_who_bring_the_same_token_share_one_question(idp: Idp, ask: Make) -> None:
    idp.slow = 0.1
    one, token = ask(), idp.opaque()
    first = asyncio.create_task(one.caller_of(token))
    others = [asyncio.create_task(one.caller_of(token)) for _ in range(30)]
    await asyncio.sleep(0.02)
    first.cancel()
    assert all(await asyncio.gather(*others))
    assert idp.seen[INTROSPECT] == 1


async def test_nobody_waits_for_what_fails(idp: Idp, ask: Make, caplog: pytest.LogCaptureFixture) -> None:
    idp.slow, idp.fault = 0.1, "error"
    task = asyncio.create_task(ask().caller_of(idp.opaque()))
    await asyncio.sleep(0.02)
    task.cancel()
    await asyncio.sleep(0.15)
    gc.collect()
    assert "never retrieved" not in caplog.text


@pytest.mark.parametrize(
    "secret",
    [
        "sk-proj-abcdefghijklmnop",
        "sk-ant-oat01-abcdefghijklmnop",
        "AIzaSyA-abcdefghijklmnop",
        "ya29.abcdefghijklmnop",
        "gsk_abcdefghijklmnop",
        "ghp_abcdefghijklmnop",
        "gho_abcdefghijklmnop",
        "github_pat_abcdefghijklmnop",
        "eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJ4In0.abc",
        "eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJ4In0",
        "",
        "short",
        "with a space in it",
        "with\nanother line",
        "with-\udcff-surrogates",
        "x" * 20_000,
    ],
)
async def test_what_is_not_asked_about(idp: Idp, ask: Make, secret: str) -> None:
    """Least of all keys of providers: the server would have them then."""
    assert await ask().caller_of(secret) is None
    assert not idp.seen


async def test_other_patterns(idp: Idp, ask: Make) -> None:
    assert await ask(skip=["*"]).caller_of(idp.opaque()) is None
    await refused(ask(skip=[]), "sk-proj-abcdefghijklmnop")


@pytest.mark.parametrize("fault", FAULTS)
async def test_nobody_gets_in_while_it_cannot_be_asked(
    idp: Idp, ask: Make, fault: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    one, tokens = ask(), [idp.opaque() for _ in range(10)]
    idp.fault = fault
    results = await asyncio.gather(*(one.caller_of(token) for token in tokens), return_exceptions=True)
    assert all(isinstance(result, Unavailable) and result.status == 503 for result in results)
    asked = idp.seen[INTROSPECT]
    with pytest.raises(Unavailable):  # it is left alone for a while
        await one.caller_of(tokens[0])
    assert idp.seen[INTROSPECT] == asked
    told = caplog.text
    assert not [token for token in tokens if token in told] and idp.client[1] not in told


async def test_a_known_token_works_while_it_is_down(idp: Idp, ask: Make) -> None:
    one, token = ask(), idp.opaque()
    assert await one.caller_of(token)
    idp.fault = "hang"
    assert await one.caller_of(token)


async def test_it_comes_back(idp: Idp, ask: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(introspection, "PAUSE", 0.1)
    one = ask()
    idp.fault = "error"
    for _ in range(5):
        with pytest.raises(Unavailable):
            await one.caller_of(idp.opaque())
    assert idp.seen[INTROSPECT] == introspection.FAILURES
    idp.fault = ""
    await asyncio.sleep(0.15)
    assert await one.caller_of(idp.opaque())


async def test_only_so_many_at_once(idp: Idp, ask: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(introspection, "AT_ONCE", 5)
    idp.slow = 0.2
    one = ask()
    results = await asyncio.gather(*(one.caller_of(idp.opaque()) for _ in range(20)), return_exceptions=True)
    assert sum(isinstance(result, Unavailable) for result in results) == 15


@pytest.mark.parametrize("secret", ["wrong", ""])
async def test_we_are_not_let_in_ourselves(idp: Idp, ask: Make, secret: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """That is no fault of the caller's."""
    monkeypatch.setenv("IDP_SECRET", secret)
    with pytest.raises(Unavailable):
        await ask().caller_of(idp.opaque())


@pytest.mark.parametrize("said", [{}, {"active": "true"}, {"active": 1}, {"active": None}, []])
async def test_an_answer_that_says_nothing(idp: Idp, ask: Make, said: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    token = idp.opaque()
    idp.introspected[token] = said
    with pytest.raises(Unavailable):
        await ask().caller_of(token)
