"""Dead letters in the admin API: who may, what is shown, and what is sent to the gateway."""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from shin_gateway import actions
from shin_gateway.letters import Content, Letter, Shelf
from shin_gateway.sealing import Master, master_key
from shin_gateway.stores.state import StateStore
from tests.admin.conftest import Running
from tests.provider import UNAVAILABLE, FakeProvider

PATH = "/api/v1/dlq"
BODY = b'{"model": "gpt-4o", "messages": [{"role": "user", "content": "hi"}]}'


def letter(number: int, **more: object) -> Letter:
    plain = {
        "id": f"{number:028x}", "at": 1.8e9 + number, "caller": "ann", "tenant": "user ann", "policy": "gateway",
        "host": "gateway", "method": "POST", "path": "/v1/chat/completions", "kind": "chat", "model": "gpt-4o",
        "target": "openai/gpt-4o", "status": 503, "end": "failed", "cause": "status_503", "attempts": 3,
        "size": len(BODY),
    }  # fmt: skip
    return Letter(**(plain | more))  # type: ignore[arg-type]


@pytest.fixture
async def shelf(admin: Running, state: StateStore) -> Shelf:
    home = admin.parts.home
    assert home is not None
    shelf = Shelf(state, master_key(home))
    for number in range(3):
        one = letter(number, unsent="it came with the client's own key, which is not kept" if number == 1 else "")
        await shelf.put(one, shelf.sealed(one.id, Content({"content-type": "application/json"}, BODY)), 60, 10, 10**6)
    return shelf


@pytest.fixture
async def gateway(admin: Running) -> AsyncIterator[FakeProvider]:
    """What run.json says is the gateway."""
    async with FakeProvider() as provider:
        address = provider.url.removeprefix("http://")
        said = {"pid": os.getpid(), "proxy": address, "gateway": address}
        (Path(str(admin.parts.home)) / "run.json").write_text(json.dumps(said))
        yield provider


async def test_who_may(admin: Running, shelf: Shelf) -> None:
    for method, path in (("GET", PATH), ("GET", f"{PATH}/{0:028x}"), ("DELETE", f"{PATH}/{0:028x}")):
        assert (await admin.ask(method, path, bearer="")).status == 401
    assert (await admin.ask("POST", f"{PATH}/{0:028x}/replay", bearer="")).status == 401
    assert len(await shelf.latest(10)) == 3


async def test_list_and_show(admin: Running, shelf: Shelf) -> None:
    page = (await admin.ask("GET", f"{PATH}?limit=2")).json
    assert [one["id"] for one in page["letters"]] == [f"{2:028x}", f"{1:028x}"] and page["next"] == f"{1:028x}"
    rest = (await admin.ask("GET", f"{PATH}?before={page['next']}")).json
    assert [one["id"] for one in rest["letters"]] == [f"{0:028x}"] and rest["next"] is None
    shown = (await admin.ask("GET", f"{PATH}/{0:028x}")).json
    assert (shown["body"], shown["headers"]) == (BODY.decode(), {"content-type": "application/json"})
    assert (await admin.ask("GET", f"{PATH}/{9:028x}")).status == 404
    assert (await admin.ask("GET", f"{PATH}/no-id")).status == 422
    assert (await admin.ask("GET", f"{PATH}?before=x")).status == 422


async def test_replay(admin: Running, shelf: Shelf, gateway: FakeProvider, state: StateStore) -> None:
    gateway.script(UNAVAILABLE)
    first = (await admin.ask("POST", f"{PATH}/{0:028x}/replay")).json
    assert (first["status"], first["kept"]) == (503, True)
    second = (await admin.ask("POST", f"{PATH}/{0:028x}/replay", {"key": "sk-shin-mine"})).json
    assert (second["status"], second["kept"]) == (200, False)
    assert [seen.body for seen in gateway.seen] == [BODY, BODY]
    assert [seen.header("authorization") for seen in gateway.seen] == ["", "Bearer sk-shin-mine"]
    assert {seen.header("x-shin-replay") for seen in gateway.seen} == {f"{0:028x}"}
    assert (await admin.ask("GET", f"{PATH}/{0:028x}")).status == 404
    kept = await admin.ask("POST", f"{PATH}/{2:028x}/replay", {"keep": True})
    assert kept.json["kept"] is True and (await admin.ask("GET", f"{PATH}/{2:028x}")).status == 200
    done = await actions.latest(state, 10)
    assert [one.what for one in done if one.what.startswith("dead")] == ["dead letter replayed"] * 3
    assert "mine" not in str(done)


async def test_what_cannot_be_sent_again(admin: Running, shelf: Shelf) -> None:
    own = await admin.ask("POST", f"{PATH}/{1:028x}/replay")
    assert own.status == 409 and "own key" in own.json["detail"]
    nowhere = await admin.ask("POST", f"{PATH}/{0:028x}/replay")
    assert nowhere.status == 409 and "No gateway runs" in nowhere.json["detail"]
    assert (await admin.ask("POST", f"{PATH}/{9:028x}/replay")).status == 404


async def test_drop(admin: Running, shelf: Shelf) -> None:
    assert (await admin.ask("DELETE", f"{PATH}/{0:028x}")).status == 204
    assert (await admin.ask("DELETE", f"{PATH}/{0:028x}")).status == 404
    assert len(await shelf.latest(10)) == 2


async def test_another_master_key_opens_nothing(admin: Running, shelf: Shelf, state: StateStore) -> None:
    other = Shelf(state, Master(b"x" * 32))
    one = letter(5)
    await other.put(one, other.sealed(one.id, Content({}, BODY)), 60, 10, 10**6)
    answer = await admin.ask("GET", f"{PATH}/{5:028x}")
    assert answer.status == 409 and "another master key" in answer.json["detail"]
