"""A real store, and what happens to one conversation when several want it."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from shin_gateway.conversations.body import Fields, raw
from shin_gateway.conversations.entries import Entry, Turn
from shin_gateway.conversations.sealing import sealers
from shin_gateway.conversations.vault import (
    NOTHING,
    About,
    Context,
    Elsewhere,
    Gone,
    Limits,
    OtherDialect,
    Overfull,
    Vault,
)
from shin_gateway.stores.state import StateStore
from tests.conversations.conftest import MASTER

ABOUT = About(1)
DIALECT = "openai.responses"


def entry(text: str) -> Entry:
    return Entry(f"msg_{text}", raw({"role": "user", "content": text}))


def texts(context: Context | Elsewhere | None) -> list[str]:
    assert isinstance(context, Context)
    return [one.id.removeprefix("msg_") for one in context.entries]


def reply(name: str) -> Fields:
    return {"id": raw(name), "output": msgspec.Raw(b"[]")}


async def begun(vault: Vault, *said: str) -> Context:
    await vault.append("c", [entry(one) for one in said], DIALECT, about=ABOUT)
    found = await vault.conversation("c")
    assert isinstance(found, Context)
    return found


async def chained(vault: Vault, length: int) -> None:
    before: Context | Elsewhere | None = NOTHING
    for number in range(length):
        assert isinstance(before, Context)
        turn = Turn([entry(f"q{number}")], [entry(f"a{number}")])
        await vault.keep_reply(reply(f"resp_{number}"), turn, before)
        before = await vault.chain(f"resp_{number}")


async def test_calls_at_once_lose_nothing(vault: Vault) -> None:
    """Each says its turn as a whole, also those that begin the conversation together."""
    turns = [[entry(f"q{number}"), entry(f"a{number}")] for number in range(40)]
    await asyncio.gather(*(vault.append("c", turn, DIALECT, about=ABOUT, bounded=False) for turn in turns))
    found = texts(await vault.conversation("c"))
    assert sorted(found) == sorted(one.id.removeprefix("msg_") for turn in turns for one in turn)
    assert [one[1:] for one in found[0::2]] == [one[1:] for one in found[1::2]]


async def test_what_is_asked_twice_is_done_once(vault: Vault) -> None:
    """A try that timed out may have been heard."""
    for _ in range(3):
        await vault.append("c", [entry("x")], DIALECT, about=ABOUT, nonce="0123456789abcdef")
    assert texts(await vault.conversation("c")) == ["x"]


async def test_deleted_while_a_call_is_under_way(vault: Vault) -> None:
    seen = await begun(vault, "x")
    assert await vault.delete("c")
    with pytest.raises(Gone):
        await vault.append("c", [entry("late")], DIALECT, seen=seen.era)
    await begun(vault, "of another")
    with pytest.raises(Gone):
        await vault.append("c", [entry("late")], DIALECT, seen=seen.era)
    assert texts(await vault.conversation("c")) == ["of another"]


async def test_a_reply_said_in_a_conversation_that_was_begun_again(vault: Vault) -> None:
    seen = await begun(vault, "x")
    await vault.keep_reply(reply("resp_1"), Turn([entry("q")], []), seen, "c")
    await vault.append("c", [entry("later")], DIALECT, seen=seen.era)
    assert texts(await vault.chain("resp_1")) == ["x", "q"]
    await vault.delete("c")
    assert await vault.chain("resp_1") is None
    await begun(vault, "of another")
    assert await vault.chain("resp_1") is None


async def test_an_item_is_deleted_while_others_are_added(vault: Vault) -> None:
    seen = await begun(vault, "a", "b", "c")
    await vault.keep_reply(reply("resp_1"), Turn([entry("q")], []), seen, "c")
    await asyncio.gather(
        vault.delete_item("c", "msg_b"), *(vault.append("c", [entry(f"n{n}")], DIALECT) for n in range(5))
    )
    assert sorted(texts(await vault.conversation("c"))) == ["a", "c", "n0", "n1", "n2", "n3", "n4"]
    assert texts(await vault.chain("resp_1")) == ["a", "c", "q"], "what was deleted is not sent again"
    assert not await vault.delete_item("c", "msg_b")
    gone = await asyncio.gather(*(vault.delete_item("c", f"msg_n{n}") for n in range(3)), return_exceptions=True)
    assert all(one is True or isinstance(one, Gone) for one in gone)


async def test_limits(state: StateStore) -> None:
    vault = Vault(state, sealers(MASTER, "user ann")[0], Limits(100, 1000, 4))
    await begun(vault, "a", "b", "c")
    for said, what in (([entry("x" * 990)], "long"), ([entry("d"), entry("e")], "full")):
        with pytest.raises(Overfull, match=what):
            await vault.append("c", said, DIALECT)
    await vault.append("c", [entry("x" * 990)], DIALECT, bounded=False)  # a turn that was said already
    with pytest.raises(Overfull, match="long"):
        await vault.conversation("c")
    assert len(await vault.all_items("c")) == 4, "it can still be looked at"
    await chained(vault, 2)
    with pytest.raises(Overfull, match="full"):
        await chained(vault, 4)


async def test_a_conversation_that_lacks_a_turn_is_closed(vault: Vault) -> None:
    seen = await begun(vault, "x")
    await vault.close("c", "an earlier one of this name")
    assert texts(await vault.conversation("c")) == ["x"]
    await vault.close("c", seen.era)
    with pytest.raises(Overfull):
        await vault.conversation("c")


async def test_it_stays_in_its_dialect(vault: Vault) -> None:
    await begun(vault, "x")
    with pytest.raises(OtherDialect):
        await vault.append("c", [entry("y")], "openai.chat")


async def test_a_long_chain_is_read_in_order_and_cut_by_a_deletion(vault: Vault) -> None:
    await chained(vault, 100)
    assert texts(await vault.chain("resp_99")) == [f"{one}{number}" for number in range(100) for one in "qa"]
    await vault.delete_reply("resp_50")
    assert await vault.chain("resp_99") is None and await vault.reply("resp_50") is None
    assert len(texts(await vault.chain("resp_49"))) == 100
    assert await vault.reply("resp_99") is not None


async def test_a_store_that_throws_things_away_loses_nothing_in_silence(vault: Vault, state: StateStore) -> None:
    """`maxmemory-policy allkeys-lru`: whatever is gone, what is left is not taken for the whole."""
    seen = await begun(vault, "x")
    await chained(vault, 3)
    await vault.keep_reply(reply("resp_c"), Turn([entry("q")], []), seen, "c")
    for key in await state.run("KEYS", "shin:{conv:*"):
        if b":i:" in key or b":t:" in key:
            await state.run("DEL", key)
    assert await vault.conversation("c") is None
    assert await vault.chain("resp_2") is None and await vault.chain("resp_c") is None


async def test_another_tenant(vault: Vault, state: StateStore) -> None:
    await begun(vault, "x")
    await chained(vault, 1)
    await vault.mark("r", "resp_theirs", "openai")
    assert await vault.chain("resp_theirs") == Elsewhere("openai")
    other = Vault(state, sealers(MASTER, "user bob")[0], Limits(100, 100_000, 300))
    for name in ("c", "resp_0", "resp_theirs"):
        assert await other.chain(name) is None and await other.reply(name) is None
        assert await other.conversation(name) is None and await other.about(name) is None
        assert await other.all_items(name) == [] and not await other.delete(name)
    assert texts(await vault.conversation("c")) == ["x"]


async def test_what_is_used_is_kept_longer(vault: Vault, state: StateStore) -> None:
    await begun(vault, "x")
    await chained(vault, 2)
    keys = [key for key in await state.run("KEYS", "shin:{conv:*") if b"resp_0" not in key]
    for key in keys:
        await state.run("EXPIRE", key, 5)
    await vault.conversation("c")
    await vault.chain("resp_1")
    kept = sorted([await state.run("TTL", key) for key in keys])
    assert kept == [5, *[100] * (len(keys) - 1)], "all but the first reply, whose turn is used"
