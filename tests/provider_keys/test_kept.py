"""Kept credentials: sealed in a real store, known to every worker, held while the store is away."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from shin_gateway.provider_keys import kept
from shin_gateway.provider_keys.keeping import Keeping, NotKept
from shin_gateway.provider_keys.kept import Kept
from shin_gateway.provider_keys.shelf import CHANGES, RECORDS
from shin_gateway.sealing import MASTER_KEY, OLD_KEYS, Unusable, master_key
from shin_gateway.secret import SecretMissing
from shin_gateway.stores.state import StateStore
from tests.stores.servers import Server

VALUE = "sk-plain-as-day-0123456789"
SECOND = "the second master key, long enough for all"


@pytest.fixture
def keeping(state: StateStore) -> Keeping:
    return Keeping(state, master_key(None))


@pytest.fixture
async def worker(state: StateStore) -> AsyncIterator[Kept]:
    one = Kept(state, None)
    yield one
    await one.close()


async def until(ready: Callable[[], object], patience: float = 20.0) -> None:
    async with asyncio.timeout(patience):
        while not ready():
            await asyncio.sleep(0.01)


def value(worker: Kept, name: str = "openai") -> str | None:
    try:
        return worker.value(name)
    except SecretMissing:
        return None


async def test_what_is_set_is_known_at_the_start_and_every_change_soon(keeping: Keeping, worker: Kept) -> None:
    await keeping.put("openai", f"  {VALUE}\n", "ann")
    await worker.start()
    assert worker.value("openai") == VALUE
    await keeping.put("openai", "sk-another", "ann")
    await until(lambda: value(worker) == "sk-another")
    await keeping.put("azure", "sk-azure", "ann")
    await until(lambda: value(worker, "azure") == "sk-azure")
    await keeping.remove("openai")
    await until(lambda: value(worker) is None)
    with pytest.raises(SecretMissing, match=r"kept:openai is not set; `shin credential set openai` does"):
        worker.value("openai")


async def test_a_worker_that_started_with_nothing_hears_of_the_first(keeping: Keeping, worker: Kept) -> None:
    await worker.start()
    await keeping.put("openai", VALUE, "ann")
    await until(lambda: value(worker) == VALUE)


async def test_what_is_shown(keeping: Keeping, state: StateStore) -> None:
    await keeping.put("openai", VALUE, "ann")
    await keeping.put("short", "sk-7", "bob (key_1)")
    await keeping.put("vertex", '{\n "private_key": "hush hush hush"\n}', "ann")
    shown = await keeping.listed()
    assert [(one.name, one.by, one.end, one.state) for one in shown] == [
        ("openai", "ann", "6789", "good"),
        ("short", "bob (key_1)", "", "good"),
        ("vertex", "ann", "", "good"),
    ]
    assert all(one.at > 1_700_000_000 for one in shown)
    assert await keeping.remove("nothing") is None
    assert (await keeping.remove("short")).name == "short"  # type: ignore[union-attr]


async def test_no_plain_credential_is_in_the_store_or_its_files(keeping: Keeping, folder: Path) -> None:
    for number in range(20):
        await keeping.put(f"name-{number}", VALUE, "ann")
    await keeping.put("json", '{"private_key": "hush"}', "ann")
    await asyncio.sleep(0.1)
    files = [one for one in folder.rglob("*") if one.is_file()]
    written = b"".join(one.read_bytes() for one in files)
    assert b"name-7" in written  # it is the right file
    for secret in (VALUE.encode(), VALUE.encode()[4:], b"hush", VALUE.encode().hex().encode()):
        assert secret not in written


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("Open AI", VALUE, "a name has"),
        ("", VALUE, "a name has"),
        ("a" * 65, VALUE, "a name has"),
        ("openai", " \n", "is empty"),
        ("openai", "x" * 70_000, "longer than"),
        ("openai", "sk-hush\nsk-hush", "one line"),
        ("openai", "sk-hush\0", "one line"),
    ],
)
async def test_what_is_not_kept(keeping: Keeping, name: str, value: str, words: str) -> None:
    with pytest.raises(NotKept, match=words) as raised:
        await keeping.put(name, value, "ann")
    assert "hush" not in str(raised.value)
    assert await keeping.listed() == []


async def test_there_is_a_bound(keeping: Keeping, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shin_gateway.provider_keys.shelf.MOST", 2)
    await keeping.put("one", VALUE, "ann")
    await keeping.put("two", VALUE, "ann")
    with pytest.raises(NotKept, match="already"):
        await keeping.put("three", VALUE, "ann")
    await keeping.put("two", "sk-again", "ann")


# The store goes


async def test_the_last_known_value_goes_on_while_the_store_is_gone_or_frozen(
    keeping: Keeping, worker: Kept, store: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kept, "BLOCK", 0.2)
    monkeypatch.setattr(kept, "TIMEOUT", 0.3)
    monkeypatch.setattr(kept, "PAUSE", 0.1)
    await keeping.put("openai", VALUE, "ann")
    await worker.start()
    os.kill(store.process.pid, signal.SIGSTOP)
    await asyncio.sleep(0.8)
    assert worker.value("openai") == VALUE
    os.kill(store.process.pid, signal.SIGCONT)
    store.kill()
    await asyncio.sleep(0.3)
    assert worker.value("openai") == VALUE
    store.start()
    store.wait()
    await keeping.put("openai", "sk-after-the-storm", "ann")
    await until(lambda: value(worker) == "sk-after-the-storm")


async def test_what_is_no_record_harms_nothing_else(keeping: Keeping, worker: Kept, state: StateStore) -> None:
    await keeping.put("openai", VALUE, "ann")
    for number, junk in enumerate([b"", b"[", b'{"sealed": "AAAA", "at": 1, "by": "x"}', b"\xff\xfe", b"[" * 5000]):
        await state.run("HSET", RECORDS, f"junk{number}", junk)
    await state.run("XADD", CHANGES, "*", "name", "junk0")
    await worker.start()
    assert worker.value("openai") == VALUE
    with pytest.raises(SecretMissing, match="another master key"):
        worker.value("junk2")
    assert {one.state for one in await keeping.listed() if one.name.startswith("junk")} == {"unreadable"}
    assert await keeping.reseal() == []


async def test_a_record_is_of_no_use_under_another_name(keeping: Keeping, worker: Kept, state: StateStore) -> None:
    await keeping.put("openai", VALUE, "ann")
    await state.run("HSET", RECORDS, "mine", await state.run("HGET", RECORDS, "openai"))
    await worker.start()
    assert value(worker, "mine") is None


# The master key changes


async def test_a_change_of_the_master_key(
    keeping: Keeping, state: StateStore, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    await keeping.put("openai", VALUE, "ann")
    await keeping.put("azure", "sk-azure-and-some-more", "bob")
    first = os.environ[MASTER_KEY]

    async def read() -> list[str | None]:
        worker = Kept(state, None)  # as after a restart
        await worker.start()
        await worker.close()
        return [value(worker, name) for name in ("openai", "azure", "new")]

    monkeypatch.setenv(MASTER_KEY, SECOND)
    assert await read() == [None, None, None]
    assert "sealed with another master key" in caplog.text and VALUE not in caplog.text
    assert all(one.levelname == "WARNING" for one in caplog.records)  # an error would end a worker that starts

    monkeypatch.setenv(OLD_KEYS, first)
    assert await read() == [VALUE, "sk-azure-and-some-more", None]
    rotated = Keeping(state, master_key(None))
    await rotated.put("new", "sk-sealed-with-the-new-one", "ann")
    assert [one.state for one in await rotated.listed()] == ["old key", "good", "old key"]
    assert await rotated.reseal() == ["azure", "openai"]
    assert [(one.state, one.by) for one in await rotated.listed()] == [
        ("good", "bob"),
        ("good", "ann"),
        ("good", "ann"),
    ]
    assert await rotated.reseal() == []

    monkeypatch.delenv(OLD_KEYS)
    assert await read() == [VALUE, "sk-azure-and-some-more", "sk-sealed-with-the-new-one"]


async def test_a_master_key_that_is_none_keeps_a_gateway_from_starting_where_it_is_needed(
    keeping: Keeping, worker: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(MASTER_KEY, "sesame")
    await worker.start()  # nothing is kept
    await worker.close()
    await keeping.put("openai", VALUE, "ann")
    with pytest.raises(Unusable, match="SHIN_MASTER_KEY should have 32 characters"):
        await worker.start()


async def test_resealing_does_not_put_an_old_value_over_a_new_one(
    keeping: Keeping, state: StateStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    await keeping.put("openai", VALUE, "ann")
    first = os.environ[MASTER_KEY]
    monkeypatch.setenv(MASTER_KEY, SECOND)
    monkeypatch.setenv(OLD_KEYS, first)
    rotated = Keeping(state, master_key(None))
    found = await rotated._shelf.everything()
    await rotated.put("openai", "sk-set-meanwhile", "bob")
    assert not await rotated._resealed("openai", found["openai"])
    worker = Kept(state, None)
    await worker.start()
    assert worker.value("openai") == "sk-set-meanwhile"
    await worker.close()
