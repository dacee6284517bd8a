from __future__ import annotations

import asyncio
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shin_gateway.keys import KeyGone, KeyRing, KeyUnknown, Registrar, shelf
from shin_gateway.keys.minting import _base62, digest_of, is_id, is_whole, make_id, make_secret
from shin_gateway.keys.records import OLD_SECRETS, Held, KeyRecord, decode
from shin_gateway.keys.registrar import TooManyKeys
from shin_gateway.stores.errors import StoreError
from shin_gateway.stores.state import StateStore
from tests.stores.servers import Start
from tests.stores.test_links import cluster, cluster_url  # noqa: F401


def test_how_a_key_looks() -> None:
    secret = make_secret()
    assert re.fullmatch(r"sk-shin-[0-9A-Za-z]{43}", secret) and is_whole(secret)
    assert is_id(make_id()) and not is_id(secret)
    assert len({make_secret() for _ in range(100)}) == 100
    for wrong in ("", "sk-shin-", secret[:-1], secret + "x", secret + "\n", secret[:-1] + "é", secret.upper()):
        assert not is_whole(wrong)


@given(st.integers(min_value=0, max_value=2**256 - 1))
def test_base62_holds_32_bytes(number: int) -> None:
    text = _base62(number, 43)
    digits = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
    value = 0
    for digit in text:
        value = value * 62 + digits.index(digit)
    assert value == number


@given(
    st.lists(st.tuples(st.floats(0, 1e6), st.floats(0, 1e5)), max_size=8).map(
        lambda all: sorted(all, key=lambda t: t[0])
    ),
    st.floats(0, 2e6),
)
def test_rotation_lets_nothing_work_for_longer_than_it_was_given(
    rotations: list[tuple[float, float]], later: float
) -> None:
    record = KeyRecord(id="key_a", created=0, secrets=(Held("0"),))
    ends = {"0": float("inf")}
    for number, (at, grace) in enumerate(rotations, 1):
        ends = {digest: min(end, at + grace) for digest, end in ends.items()} | {str(number): float("inf")}
        record = record.rotate(str(number), at, grace)
    assert len(record.secrets) <= OLD_SECRETS + 1
    last = rotations[-1][0] if rotations else 0
    now = last + later
    assert record.opens(str(len(rotations)), now)
    for digest, end in ends.items():
        assert not record.opens(digest, now) or now < end


def test_a_record_without_its_secret_survives_the_store() -> None:
    record = KeyRecord(id="key_a", created=1.5, name="é", tags=("a",), limits={"requests": "60/min"}, expires=2.5)
    assert decode(record.encode()) == record
    for wrong in (b"", b"{}", b"[]", b'{"id":1,"created":2}', b"\xff", b"null"):
        with pytest.raises(StoreError, match="cannot be read"):
            decode(wrong)


async def test_the_life_of_a_key(state: StateStore) -> None:
    registrar, ring = Registrar(state), KeyRing(state)
    record, secret = await registrar.create(name="ci", user="ann", team="red", roles=("user",), limits={"n": 1})
    caller = await ring.caller_of(secret)
    assert caller is not None
    assert (caller.name, caller.kind, caller.user, caller.team, caller.key) == (
        "ann", "virtual_key", "ann", "red", record.id,
    )  # fmt: skip
    assert (caller.roles, caller.grant.limits, caller.tenant) == (("user",), {"n": 1}, "user ann")
    assert await ring.caller_by_id(record.id) == caller
    assert await registrar.show(record.id) == record

    changed = await registrar.update(record.id, team="blue")
    assert (changed.before.team, changed.after.team) == ("red", "blue")
    _, second = await registrar.rotate(record.id, 100)
    for one in (secret, second):
        assert (await ring.caller_of(one)).team == "blue"  # type: ignore[union-attr]
    assert (await registrar.revoke(record.id)).after.status(0) == "revoked"
    assert (await registrar.revoke(record.id)).after.status(0) == "revoked"
    with pytest.raises(KeyGone):
        await registrar.rotate(record.id)
    assert await state.run("HLEN", shelf.DIGESTS) == 0
    await ring.close()


async def test_nothing_in_the_store_opens_anything(state: StateStore) -> None:
    registrar = Registrar(state)
    record, secret = await registrar.create(name="ci")
    _, second = await registrar.rotate(record.id)
    dump = b""
    for key in await state.run("KEYS", "*"):
        kind = await state.run("TYPE", key)
        reading = {b"hash": ("HGETALL",), b"zset": ("ZRANGE", 0, -1), b"stream": ("XRANGE", "-", "+")}.get(kind)
        dump += repr(
            await state.run(reading[0], key, *reading[1:]) if reading else await state.run("GET", key)
        ).encode()
    assert digest_of(secret).encode() in dump and digest_of(second).encode() in dump
    assert secret[8:].encode() not in dump and second[8:].encode() not in dump


async def test_pages_of_a_list(state: StateStore) -> None:
    registrar = Registrar(state)
    made = [(await registrar.create(name=str(number), team="odd" if number % 2 else "even"))[0] for number in range(9)]
    newest = [one.id for one in reversed(made)]
    first = await registrar.list(lambda _: True, None, 4)
    await registrar.create(name="meanwhile")
    second = await registrar.list(lambda _: True, first[-1].id, 4)
    last = await registrar.list(lambda _: True, second[-1].id, 4)
    assert [one.id for one in [*first, *second, *last]] == newest
    odd = await registrar.list(lambda one: one.team == "odd", None, 100)
    assert [one.name for one in odd] == ["7", "5", "3", "1"]
    with pytest.raises(KeyUnknown):
        await registrar.list(lambda _: True, "key_zzzzzzzzzzzz", 4)


async def test_changes_at_the_same_time_lose_nothing(state: StateStore) -> None:
    registrar = Registrar(state)
    record, _ = await registrar.create()
    names = ("name", "user", "team", "project")
    await asyncio.gather(*(registrar.update(record.id, **{name: name}) for name in names))
    after = await registrar.show(record.id)
    assert [getattr(after, name) for name in names] == list(names)


async def test_what_is_revoked_makes_room(state: StateStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shelf, "MOST", 2)
    monkeypatch.setattr(shelf, "TOMBSTONES", 2)
    registrar = Registrar(state)
    first, _ = await registrar.create()
    for _ in range(4):
        record, _ = await registrar.create()
        with pytest.raises(TooManyKeys):
            await registrar.create()
        await registrar.revoke(record.id)
    assert len(await registrar.list(lambda _: True, None, 100)) == 3  # the first, and two tombstones
    assert (await registrar.show(first.id)).revoked is None
    assert await state.run("HLEN", shelf.RECORDS) == 3


@pytest.mark.parametrize("id", ["", "key_", "key_../../..", "key_zzzzzzzzzzzz", "sk-shin-x", "shin:{keys}:records"])
async def test_ids_that_are_none(local: StateStore, id: str) -> None:
    with pytest.raises(KeyUnknown):
        await Registrar(local).show(id)


async def test_on_a_cluster(cluster: list[Start]) -> None:  # noqa: F811
    store = await StateStore.connect(cluster_url(cluster))  # type: ignore[arg-type]
    registrar, ring = Registrar(store), KeyRing(store)
    ring.start()
    record, secret = await registrar.create(user="ann")
    assert (await ring.caller_of(secret)).user == "ann"  # type: ignore[union-attr]
    await registrar.revoke(record.id)
    assert len(await registrar.list(lambda _: True, None, 5)) == 1
    await ring.close()
    await store.close()
