"""Virtual keys and the list of actions over HTTP, and who may do what with them."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from shin_gateway import actions
from shin_gateway.admin import policy_changes
from shin_gateway.assembly import Places
from shin_gateway.stores.embedded import EmbeddedState
from shin_gateway.stores.state import StateStore
from tests.admin.conftest import LAB, Running, running
from tests.provider.idp import Idp

KEYS = "/api/v1/keys"

ROLES = """
roles:
  lead: {admin: [keys.*, actions.read]}
  auditor: {admin: ["*.read"]}
"""


async def made(admin: Running, bearer: str | None = None, **wanted: object) -> dict[str, Any]:
    answer = await admin.ask("POST", KEYS, wanted, bearer)
    assert answer.status == 201, answer.body
    key: dict[str, Any] = answer.json
    return key


async def done(admin: Running) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = (await admin.ask("GET", "/api/v1/actions")).json["actions"]
    return found


@pytest.fixture
def with_roles(places: Places, tmp_path: Path) -> Places:
    config = tmp_path / "shin.yaml"
    config.write_text(ROLES)
    return Places(places.home, config, places.policies, places.addons)


async def test_the_life_of_a_key(admin: Running) -> None:
    until = datetime.now(UTC) + timedelta(days=30)
    key = await made(
        admin, name="ci", user="ann", team="red", tags=["x"], models=["openai/*"], hosts=["Gateway"],
        limits={"requests": "60/min"}, budget={"limit": "$5/day"}, expires=until.isoformat(),
    )  # fmt: skip
    secret, path = key.pop("secret"), f"{KEYS}/{key['id']}"
    assert (key["status"], key["roles"], key["limits"]) == ("active", ["user"], {"requests": "60/min"})
    assert key["hosts"] == ["gateway"]
    assert (await admin.ask("GET", path)).json == key
    assert (await admin.ask("GET", KEYS)).json == {"keys": [key], "next": None}

    changed = (await admin.ask("PATCH", path, {"team": "blue", "expires": None})).json
    assert changed == key | {"team": "blue", "expires": None}
    rotated = (await admin.ask("POST", f"{path}/rotate", {"grace": 60})).json
    assert rotated["secret"] != secret and rotated["old_secret_until"] is not None
    assert (await admin.ask("POST", f"{path}/rotate")).status == 200
    assert (await admin.ask("POST", f"{path}/disable")).json["status"] == "disabled"
    assert (await admin.ask("POST", f"{path}/disable")).json["status"] == "disabled"
    assert (await admin.ask("POST", f"{path}/enable")).json["status"] == "active"
    assert (await admin.ask("DELETE", path)).json["status"] == "revoked"
    assert (await admin.ask("DELETE", path)).status == 200
    assert (await admin.ask("PATCH", path, {"team": "red"})).status == 409
    assert (await admin.ask("GET", f"{KEYS}?status=active")).json["keys"] == []

    told = await done(admin)
    assert [one["what"].removeprefix("key ") for one in told] == [
        "revoked", "enabled", "disabled", "rotated", "rotated", "changed", "created",
    ]  # fmt: skip
    assert {(one["who"], one["subject"]) for one in told} == {("this machine", key["id"])}
    assert (told[5]["before"], told[5]["after"]) == (
        {"team": "red", "expires": key["expires"]},
        {"team": "blue", "expires": None},
    )
    assert (told[6]["before"], told[6]["after"]["user"]) == (None, "ann")
    assert secret[8:] not in json.dumps(told) and rotated["secret"][8:] not in json.dumps(told)


WRONG: list[tuple[object, str]] = [
    ({"nme": "x"}, "body.nme"),
    ({"name": "x" * 201}, "body.name"),
    ({"name": "a\x1b[2J"}, "printable"),
    ({"user": 7}, "body.user"),
    ({"tags": ["x"] * 51}, "body.tags"),
    ({"tags": [""]}, "body.tags"),
    ({"models": "openai/*"}, "body.models"),
    ({"roles": ["emperor"]}, "no role"),
    ({"limits": []}, "body.limits"),
    ({"limits": "60/min"}, "body.limits"),
    ({"budget": {"x": "y" * 4000}}, "bytes"),
    ({"limits": {"x": float("nan")}}, "plain JSON"),
    ({"limits": {"requests": "-1/min"}}, "requests"),
    ({"limits": {"burst": 2}}, "body.limits"),
    ({"limits": {"requets": "60/min"}}, "requets"),
    ({"budget": {"limit": "a lot"}}, "limit"),
    ({"budget": {"action": "block"}}, "body.budget"),
    ({"expires": "2020-01-01"}, "future"),
    ({"expires": "9999-01-01"}, "body.expires"),
    ({"expires": "soon"}, "body.expires"),
    ([], "body"),
]


async def test_what_a_key_cannot_be(admin: Running) -> None:
    for wanted, said in WRONG:
        answer = await admin.ask("POST", KEYS, wanted)
        assert (answer.status, answer.kind) == (422, "application/problem+json"), wanted
        assert said in answer.json["detail"]
    assert (await admin.ask("GET", KEYS)).json["keys"] == []


async def test_wrong_paths_and_filters(admin: Running) -> None:
    for method, path, status in (
        ("GET", "/key_zzzzzzzzzzzz", 404),
        ("GET", "/nonsense", 404),
        ("DELETE", "/..%2f..", 404),
        ("POST", "/key_zzzzzzzzzzzz/rotate", 404),
        ("POST", "/key_zzzzzzzzzzzz/explode", 404),
        ("GET", "?limit=0", 422),
        ("GET", "?limit=501", 422),
        ("GET", "?usr=ann", 422),
        ("GET", "?before=key_zzzzzzzzzzzz", 422),
    ):
        answer = await admin.ask(method, KEYS + path)
        assert (answer.status, answer.kind) == (status, "application/problem+json"), path
    key = await made(admin)
    for grace in (-1, 1e9, "1h", None):
        assert (await admin.ask("POST", f"{KEYS}/{key['id']}/rotate", {"grace": grace})).status == 422
    assert (await admin.ask("GET", "/api/v1/actions?before=0%20DEL")).status == 422


async def test_pages(admin: Running) -> None:
    ids = [(await made(admin, team="red" if number % 2 else "blue"))["id"] for number in range(5)]
    first = (await admin.ask("GET", f"{KEYS}?limit=3")).json
    rest = (await admin.ask("GET", f"{KEYS}?limit=3&before={first['next']}")).json
    assert [key["id"] for key in first["keys"] + rest["keys"]] == ids[::-1]
    assert rest["next"] is None
    red = (await admin.ask("GET", f"{KEYS}?team=red")).json["keys"]
    assert [key["id"] for key in red] == [ids[3], ids[1]]
    page = (await admin.ask("GET", "/api/v1/actions?limit=2")).json
    more = (await admin.ask("GET", f"/api/v1/actions?limit=9&before={page['next']}")).json
    assert [one["subject"] for one in page["actions"] + more["actions"]] == ids[::-1]


async def test_on_loopback_without_users_reading_is_open_and_nothing_else(admin: Running, places: Places) -> None:
    key = await made(admin)
    for path in ("/health/ready", "/docs", "/api/v1/calls", "/api/v1/usage", "/api/v1/policies"):
        assert (await admin.ask("GET", path, bearer="")).status in (200, 503), path
    for method, path in (
        ("POST", KEYS),
        ("GET", KEYS),
        ("GET", f"{KEYS}/{key['id']}"),
        ("PATCH", f"{KEYS}/{key['id']}"),
        ("DELETE", f"{KEYS}/{key['id']}"),
        ("POST", f"{KEYS}/{key['id']}/rotate"),
        ("POST", f"{KEYS}/{key['id']}/disable"),
        ("GET", "/api/v1/actions"),
    ):
        answer = await admin.ask(method, path, {} if method != "GET" else None, bearer="")
        assert answer.status == 401, path
        assert answer.headers["www-authenticate"].startswith("Bearer ")
    assert (await admin.ask("GET", KEYS, bearer="wrong")).status == 401
    assert (await admin.ask("GET", "/api/v1/calls", bearer="wrong")).status == 401
    assert (await admin.ask("GET", KEYS, bearer=key["secret"])).status == 403
    assert (places.home / "admin.token").stat().st_mode & 0o077 == 0


async def test_a_policy_that_asks_who_calls_closes_reading_too(places: Places, embedded: EmbeddedState) -> None:
    (places.policies[0] / "lab.yaml").write_text(LAB + "  auth: {}\n")
    async with running(places) as admin:
        assert (await admin.ask("GET", "/api/v1/calls", bearer="")).status == 401
        assert (await admin.ask("GET", "/health/live", bearer="")).status == 200
        assert (await admin.ask("GET", "/api/v1/calls")).status == 200


async def test_virtual_keys_may_what_their_roles_say(with_roles: Places, embedded: EmbeddedState) -> None:
    async with running(with_roles) as admin:
        chief, lead, user, auditor = [
            await made(admin, user=role, roles=[role]) for role in ("admin", "lead", "user", "auditor")
        ]
        for key, method, path, status in (
            (user, "GET", KEYS, 403),
            (user, "GET", "/api/v1/calls", 403),
            (auditor, "GET", KEYS, 200),
            (auditor, "POST", KEYS, 403),
            (lead, "GET", KEYS, 200),
            (lead, "GET", "/api/v1/calls", 403),
            (lead, "GET", "/api/v1/policies", 403),
            (chief, "GET", "/api/v1/policies", 200),
        ):
            answer = await admin.ask(method, path, {} if method == "POST" else None, key["secret"])
            assert answer.status == status, (key["user"], path)
            if status == 403:
                assert answer.kind == "application/problem+json"
                assert "needs the permission" in answer.json["detail"] and key["user"] in answer.json["detail"]
        mine = await made(admin, lead["secret"], user="bob")
        assert (await done(admin))[0]["who"] == f"lead ({lead['id']})"
        assert (await admin.ask("POST", f"{KEYS}/{mine['id']}/rotate", None, lead["secret"])).status == 200


async def test_nobody_gives_or_takes_more_than_he_has(with_roles: Places, embedded: EmbeddedState) -> None:
    """Else who may make keys could make one that may everything, or have the secret of one that does."""
    async with running(with_roles) as admin:
        chief, lead, other = [await made(admin, roles=[role]) for role in ("admin", "lead", "user")]
        path = f"{KEYS}/{chief['id']}"
        for method, where, body in (
            ("POST", KEYS, {"roles": ["admin"]}),
            ("POST", KEYS, {"roles": ["user", "auditor"]}),
            ("PATCH", f"{KEYS}/{other['id']}", {"roles": ["admin"]}),
            ("PATCH", f"{KEYS}/{lead['id']}", {"roles": ["admin"]}),
            ("PATCH", path, {"user": "mallory"}),
            ("POST", f"{path}/rotate", {"grace": 0}),
            ("POST", f"{path}/disable", None),
            ("DELETE", path, None),
        ):
            answer = await admin.ask(method, where, body, lead["secret"])
            assert answer.status == 403 and "more than you" in answer.json["detail"], (method, where)
        assert (await admin.ask("GET", path, None, chief["secret"])).json["status"] == "active"


async def test_a_key_that_ends_is_out_within_a_second(admin: Running) -> None:
    key = await made(admin, roles=["admin"])
    assert (await admin.ask("GET", KEYS, bearer=key["secret"])).status == 200
    await admin.ask("DELETE", f"{KEYS}/{key['id']}")
    await asyncio.sleep(1)
    answer = await admin.ask("GET", KEYS, bearer=key["secret"])
    assert (answer.status, answer.json["detail"]) == (401, "The key is unknown, expired or disabled.")


async def test_users_have_the_roles_that_they_are_given(
    places: Places, embedded: EmbeddedState, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANN", "ann's")
    monkeypatch.setenv("BOB", "bob's")
    config = tmp_path / "shin.yaml"
    config.write_text("users: {ann: env:ANN, bob: {secret: env:BOB, roles: [user]}}\n")
    async with running(Places(places.home, config, places.policies, places.addons)) as admin:
        await made(admin, "ann's")
        assert (await admin.ask("POST", KEYS, {}, "bob's")).status == 403
        assert (await admin.ask("GET", "/api/v1/calls", bearer="bob's")).status == 403
        assert (await done(admin))[0]["who"] == "ann"


async def test_tokens_of_an_identity_provider_too(places: Places, embedded: EmbeddedState, tmp_path: Path) -> None:
    async with Idp() as idp:
        config = tmp_path / "shin.yaml"
        config.write_text(
            ROLES + f"auth: {{issuers: [{{issuer: {idp.issuer}, audience: shin, claims: {{roles: groups}}}}]}}\n"
        )
        async with running(Places(places.home, config, places.policies, places.addons)) as admin:
            lead = idp.token(sub="ann", aud="shin", groups=["lead"])
            await made(admin, lead, user="bob")
            assert (await done(admin))[0]["who"] == "ann"
            assert (await admin.ask("GET", "/api/v1/calls", bearer=lead)).status == 403
            for wrong in (idp.token(sub="ann", aud="other", groups=["admin"]), lead[:-4] + "AAAA"):
                assert (await admin.ask("GET", KEYS, bearer=wrong)).status == 401


async def test_a_frozen_store_is_said(admin: Running, embedded: EmbeddedState) -> None:
    key = await made(admin, roles=["admin"])
    process = embedded._process
    assert process is not None
    os.kill(process.pid, signal.SIGSTOP)
    try:
        unknown = "sk-shin-" + "0" * 43
        answer = await admin.ask("GET", "/api/v1/policies", bearer=unknown)
        assert (answer.status, answer.kind) == (503, "application/problem+json")
        answer = await admin.ask("POST", f"{KEYS}/{key['id']}/disable")
        assert (answer.status, answer.kind) == (503, "application/problem+json")
    finally:
        os.kill(process.pid, signal.SIGCONT)
    assert (await admin.ask("GET", f"{KEYS}/{key['id']}")).status == 200


async def test_policies_that_change_are_recorded(places: Places, embedded: EmbeddedState) -> None:
    async with running(places) as admin:
        before = admin.parts.policies.digest
        (places.policies[0] / "lab.yaml").write_text(LAB.replace("7s", "9s"))
        async with asyncio.timeout(20):
            while not (told := await done(admin)):
                await asyncio.sleep(0.1)
        assert told[0]["what"] == "policies changed" and told[0]["who"].startswith("files on ")
        assert told[0]["before"] == {"digest": before}
        assert told[0]["after"] == {"digest": admin.parts.policies.digest, "changed": ["lab"]}
    (places.policies[0] / "lab.yaml").write_text(LAB)
    async with running(places) as admin:  # changed while nothing ran
        assert (await done(admin))[0]["after"] == {"digest": before}
        await policy_changes.note(admin.parts.state, admin.parts.policies)
        assert len(await done(admin)) == 2


async def test_an_action_is_bounded_and_holds_no_key(state: StateStore, caplog: pytest.LogCaptureFixture) -> None:
    secret = "sk-shin-" + "a" * 43
    await actions.record(state, "ann", f"tried {secret}", {"x": secret}, {"y": "z" * 9000})
    (action,) = await actions.latest(state, 10)
    assert "aaaa" not in repr(action)
    assert action.after == {"left out": "too long"}
    await state.close()
    await actions.record(state, "ann", "key created", None, {"user": "bob"})  # done is done
    assert "could not be kept" in caplog.text and '"bob"' in caplog.text
