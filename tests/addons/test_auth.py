"""Who is calling, at the gateway's own listener: keys of ours, keys of providers, guests, and a store that is away."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from shin_gateway.call_keys import digest
from shin_gateway.caller import ANONYMOUS, Caller
from shin_gateway.identity import Identity
from shin_gateway.identity.logins import Login
from shin_gateway.identity.users import Users
from shin_gateway.keys import Registrar
from shin_gateway.stores.errors import StoreError
from tests.addons.stand import CHAT, GEMINI, MESSAGES, Asked, Stand, asking, chat

FOREIGN = "sk-proj-of-somebody"


@pytest.fixture
async def registrar(stand: Stand) -> Registrar:
    return Registrar(stand.state)


async def ask(stand: Stand, headers: dict[str, str], path: str = CHAT, login: Login | None = None) -> Asked:
    where, body = asking(path.partition("?")[0], "hi", stream=False)
    delivery = stand.call(body, path if "?" in path else where, headers=headers)
    delivery.call.caller, delivery.call.login = ANONYMOUS, login
    reply = await delivery.answer()
    assert reply is not None
    return await Asked(delivery.call, delivery, reply).read()


def bearer(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


async def test_a_virtual_key_says_who_calls_and_the_provider_gets_ours(stand: Stand, registrar: Registrar) -> None:
    await stand.start("auth: on")
    record, key = await registrar.create(user="ann", team="red", project="p", roles=("user",), tags=("t",))
    asked = await ask(stand, bearer(key))
    assert asked.status == 200
    caller = asked.call.caller
    assert (caller.kind, caller.user, caller.team, caller.key) == ("virtual_key", "ann", "red", record.id)
    assert caller.tenant == "user ann"
    assert stand.provider.seen[0].header("authorization") == "Bearer test-key"


@pytest.mark.parametrize(
    ("path", "header"),
    [
        (CHAT, "authorization: Bearer {}"),
        (CHAT, "authorization: bearer   {}"),
        (CHAT, "authorization: {}"),
        (CHAT, "api-key: {}"),
        (MESSAGES, "x-api-key: {}"),
        (MESSAGES, "authorization: Bearer {}"),
        (GEMINI, "x-goog-api-key: {}"),
        (f"{GEMINI}?key={{}}", ""),
        (f"{GEMINI}?alt=json&key={{}}", "user-agent: x"),
    ],
)
async def test_wherever_a_client_puts_it(stand: Stand, registrar: Registrar, path: str, header: str) -> None:
    await stand.start("auth: on\ntranslate: on")
    _, key = await registrar.create(user="ann")
    name, _, value = header.format(key).partition(": ")
    asked = await ask(stand, {name: value} if name else {}, path.format(key))
    assert (asked.status, asked.call.caller.user) == (200, "ann")
    seen = stand.provider.seen[0]
    assert key not in seen.target
    assert key not in str(seen.headers)


@pytest.mark.parametrize("path", [CHAT, MESSAGES, GEMINI])
@pytest.mark.parametrize("headers", [{}, bearer("nonsense"), bearer("sk-shin-short"), bearer("sk-shin-" + "a" * 43)])
async def test_no_key_and_wrong_keys_are_refused_in_the_dialect(
    stand: Stand, path: str, headers: dict[str, str]
) -> None:
    await stand.start("auth: on")
    asked = await ask(stand, headers, path)
    assert asked.status == 401
    error = asked.json()["error"]
    assert error["message"]
    assert (asked.outcome.cause, asked.outcome.addon) == ("unauthenticated", "auth")
    assert not stand.provider.seen
    assert headers.get("authorization", "nothing") not in asked.body.decode()


async def test_disabled_expired_and_revoked_keys(stand: Stand, registrar: Registrar) -> None:
    await stand.start("auth: on")
    one, key = await registrar.create(user="ann")
    _, old = await registrar.create(user="ann", expires=1.0)
    assert (await ask(stand, bearer(key))).status == 200
    assert (await ask(stand, bearer(old))).status == 401
    await registrar.revoke(one.id)
    await until_refused(stand, key)


async def until_refused(stand: Stand, key: str) -> None:
    async with asyncio.timeout(20):
        while (await ask(stand, bearer(key))).status != 401:
            await asyncio.sleep(0.01)


async def test_the_clients_own_key_goes_on(stand: Stand) -> None:
    await stand.start("auth: {keys: client}\ntranslate: on")
    asked = await ask(stand, bearer(FOREIGN))
    assert asked.status == 200
    assert asked.call.caller.key == digest(FOREIGN)
    assert asked.call.caller.kind == "key"
    assert stand.provider.seen[0].header("authorization") == f"Bearer {FOREIGN}"
    asked = await ask(stand, bearer(FOREIGN), MESSAGES)
    assert stand.provider.seen[1].header("x-api-key") == FOREIGN, "in the header that the provider wants"
    assert "authorization" not in stand.provider.seen[1].header_names()


async def test_the_clients_own_key_goes_on_across_dialects(stand: Stand) -> None:
    await stand.start("auth: {keys: client}\ntranslate: on")
    body = chat(model="anthropic/claude-sonnet-4-5")
    delivery = stand.call(body, headers=bearer(FOREIGN))
    delivery.call.caller = ANONYMOUS
    await delivery.answer()
    delivery.sent()
    assert stand.provider.seen[0].path == "/v1/messages"
    assert stand.provider.seen[0].header("x-api-key") == FOREIGN


async def test_client_takes_no_key_of_ours(stand: Stand, registrar: Registrar) -> None:
    await stand.start("auth: {keys: client}")
    _, key = await registrar.create(user="ann")
    assert (await ask(stand, bearer(key))).status == 401
    assert (await ask(stand, {})).status == 401
    assert not stand.provider.seen


async def test_hybrid_takes_either(stand: Stand, registrar: Registrar) -> None:
    await stand.start("auth: {keys: hybrid}")
    _, key = await registrar.create(user="ann")
    assert (await ask(stand, bearer(key))).call.caller.user == "ann"
    assert (await ask(stand, bearer(FOREIGN))).call.caller.kind == "key"
    assert (await ask(stand, {})).status == 401
    assert [seen.header("authorization") for seen in stand.provider.seen] == ["Bearer test-key", f"Bearer {FOREIGN}"]


async def test_beside_a_key_of_ours_no_other_goes_on(stand: Stand, registrar: Registrar) -> None:
    await stand.start("auth: {keys: hybrid}")
    _, key = await registrar.create(user="ann")
    asked = await ask(stand, {"x-api-key": key, **bearer(FOREIGN)})
    assert (asked.status, asked.call.caller.user) == (200, "ann")
    assert stand.provider.seen[0].header("authorization") == "Bearer test-key"
    assert "x-api-key" not in stand.provider.seen[0].header_names()


async def test_a_wrong_key_of_ours_is_not_saved_by_another(stand: Stand) -> None:
    await stand.start("auth: {keys: hybrid}")
    assert (await ask(stand, {"x-api-key": "sk-shin-" + "b" * 43, **bearer(FOREIGN)})).status == 401


async def test_guests(stand: Stand) -> None:
    await stand.start("auth: {guests: allow}")
    asked = await ask(stand, {})
    assert (asked.status, asked.call.caller.roles) == (200, ("guest",))
    assert (await ask(stand, bearer("nonsense"))).status == 401, "a wrong key makes no guest"


async def test_methods_that_are_not_taken(stand: Stand, registrar: Registrar) -> None:
    await stand.start("auth: {methods: [users]}")
    _, key = await registrar.create(user="ann")
    assert (await ask(stand, bearer(key))).status == 401


async def test_the_login_of_the_connection_wins(stand: Stand, registrar: Registrar) -> None:
    await stand.start("auth: on")
    _, ann = await registrar.create(user="ann")
    _, bob = await registrar.create(user="bob")
    assert (await ask(stand, bearer(bob), login=Login("x", ann))).call.caller.user == "ann"
    wrong = await ask(stand, bearer(bob), login=Login("x", "sk-shin-" + "c" * 43))
    assert wrong.status == 407
    assert "Basic" in wrong.reply.headers["proxy-authenticate"]
    assert (await ask(stand, {}, login=Login("ann", ""))).status == 401, "a name alone is nobody's"


@pytest.mark.parametrize(("setting", "status"), [("refuse", 503), ("allow", 200)])
async def test_the_store_is_away(
    stand: Stand, registrar: Registrar, monkeypatch: pytest.MonkeyPatch, setting: str, status: int
) -> None:
    _, seen = await registrar.create(user="ann")
    _, new = await registrar.create(user="bob")
    await stand.start(f"auth: {{on_store_error: {setting}}}")  # who is told later that a key is new looks it up anew
    assert (await ask(stand, bearer(seen))).status == 200

    async def away(*_: Any) -> Any:
        raise StoreError("away")

    monkeypatch.setattr("shin_gateway.keys.shelf.Shelf.find", away)
    assert (await ask(stand, bearer(seen))).call.caller.user == "ann", "seen lately"
    asked = await ask(stand, bearer(new))
    assert asked.status == status
    if status == 200:
        assert asked.call.caller.roles == ("guest",)
        assert asked.facts["auth"] == "unchecked"
    else:
        assert asked.reply.headers["retry-after"] == "1"


async def test_shadow_says_what_it_would_have_done(stand: Stand) -> None:
    await stand.start("auth: {mode: shadow}\nlog: on")
    asked = await ask(stand, bearer("nonsense"))
    assert asked.status == 200
    assert asked.facts["shadow.auth"] == "unauthenticated"


async def test_more_keys_than_a_call_can_need(stand: Stand) -> None:
    await stand.start("auth: {keys: hybrid}")
    many = "&".join(f"key={number}" for number in range(20))
    assert (await ask(stand, {}, f"{GEMINI}?{many}")).status == 401


async def test_an_upload_goes_on_for_who_began_it(stand: Stand) -> None:
    await stand.start("auth: on")
    delivery = stand.call(chat())
    delivery.call.caller = Caller("ann", "user", user="ann")  # as a ticket says
    reply = await delivery.answer()
    assert reply is not None
    delivery.sent()
    assert reply.status == 200
    assert delivery.call.caller.user == "ann"


async def test_names_of_callers_that_nobody_has_are_wrong() -> None:
    identity = Identity(Users({}))
    assert await identity.of_secret("a.b.c") is None
    assert await identity.of_secret("x" * 100_000) is None
    assert identity.owns("sk-shin-x")
