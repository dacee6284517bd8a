"""Kept credentials over the admin API: who may, what is recorded, and that they are never shown again."""

from __future__ import annotations

import json
import logging

import pytest

from shin_gateway.sealing import MASTER_KEY, OLD_KEYS
from tests.admin.conftest import Running

PATH = "/api/v1/credentials"
VALUE = "sk-plain-as-day-0123456789"


@pytest.fixture(autouse=True)
def _no_master(monkeypatch: pytest.MonkeyPatch) -> None:
    """The one under home is made when it is needed."""
    monkeypatch.delenv(MASTER_KEY, raising=False)
    monkeypatch.delenv(OLD_KEYS, raising=False)


async def test_set_list_remove(admin: Running, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    assert (await admin.ask("GET", PATH)).json == {"credentials": []}
    made = await admin.ask("PUT", f"{PATH}/openai", {"value": f"{VALUE}\n"})
    assert made.status == 200
    assert (made.json["name"], made.json["end"], made.json["state"]) == ("openai", "6789", "good")
    listed = (await admin.ask("GET", PATH)).json
    assert listed == {"credentials": [made.json]}
    assert (await admin.ask("PUT", f"{PATH}/openai", {"value": "sk-7"})).json["end"] == ""
    assert (await admin.ask("POST", f"{PATH}/reseal")).json == {"names": []}
    assert (await admin.ask("DELETE", f"{PATH}/openai")).status == 200
    assert (await admin.ask("DELETE", f"{PATH}/openai")).status == 404
    done = (await admin.ask("GET", "/api/v1/actions")).json["actions"]
    assert [(one["what"], one["subject"], one["who"]) for one in done if "credential" in one["what"]] == [
        ("credential removed", "openai", "this machine"),
        ("credential set", "openai", "this machine"),
        ("credential set", "openai", "this machine"),
    ]
    assert VALUE not in f"{json.dumps(done)}{json.dumps(listed)}{caplog.text}"
    assert "6789" not in json.dumps(done)


async def test_nobody_else_may(admin: Running) -> None:
    for method, path, body in [
        ("GET", PATH, None),
        ("PUT", f"{PATH}/openai", {"value": VALUE}),
        ("DELETE", f"{PATH}/openai", None),
        ("POST", f"{PATH}/reseal", None),
    ]:
        assert (await admin.ask(method, path, body, bearer="")).status == 401
        assert (await admin.ask(method, path, body, bearer="wrong")).status == 401


@pytest.mark.parametrize(
    ("name", "body"),
    [
        ("openai", {"value": ""}),
        ("openai", {"value": "sk-hush\nsk-hush"}),
        ("openai", {"value": "sk-hush" * 20_000}),
        ("openai", {"value": ["sk-hush"]}),
        ("openai", {"value": "sk-hush", "name": "x"}),
        ("openai", {}),
        ("Open%20AI", {"value": "sk-hush"}),
        ("a" * 65, {"value": "sk-hush"}),
    ],
)
async def test_what_is_wrong_is_said_and_not_repeated(admin: Running, name: str, body: object) -> None:
    answer = await admin.ask("PUT", f"{PATH}/{name}", body)
    assert (answer.status, answer.kind) == (422, "application/problem+json")
    assert b"hush" not in answer.body
    assert (await admin.ask("GET", PATH)).json == {"credentials": []}


async def test_without_a_master_key_that_can_be_relied_on(admin: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(MASTER_KEY, "sesame")
    answer = await admin.ask("PUT", f"{PATH}/openai", {"value": VALUE})
    assert answer.status == 503
    assert "SHIN_MASTER_KEY should have 32 characters" in answer.json["detail"]
    assert b"sesame" not in answer.body
