"""Two workers on one store: what they know, how soon they know better, and what they do when the store is away."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Awaitable, Callable

import pytest

from shin_gateway.errors import Unauthenticated
from shin_gateway.keys import KeyRing, Registrar, memory
from shin_gateway.keys.memory import Entry, Memory, Unknown
from shin_gateway.keys.minting import digest_of, make_secret
from shin_gateway.keys.records import Held, KeyRecord
from shin_gateway.stores.errors import StoreError
from tests.keys.conftest import MakeRing
from tests.stores.servers import Server


async def until(done: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not done():
            await asyncio.sleep(0.01)


async def listening(ring: KeyRing) -> KeyRing:
    await until(lambda: ring._listener.trusted)
    return ring


async def works(ring: KeyRing, secret: str) -> bool:
    try:
        return await ring.caller_of(secret) is not None
    except (Unauthenticated, StoreError):
        return False


async def is_refused(ring: KeyRing, secret: str) -> bool:
    """As a wrong key, and not because nobody can say."""
    try:
        return await ring.caller_of(secret) is None
    except StoreError:
        return False
    except Unauthenticated:
        return True


async def soon(done: Callable[[], Awaitable[bool]]) -> None:
    """Because somebody said so, as a rule within a second; by itself a key is looked up again in a minute."""
    async with asyncio.timeout(20):
        while not await done():
            await asyncio.sleep(0.005)


async def test_a_key_seen_lately_costs_no_round_trip_of_its_own(
    plain: Server, make_ring: MakeRing, registrar: Registrar
) -> None:
    ring = await listening(await make_ring(plain))
    _, secret = await registrar.create(user="ann")
    await asyncio.sleep(0.1)  # the change has been heard
    assert await works(ring, secret)
    before = ring.round_trips
    for _ in range(13):
        assert all(await asyncio.gather(*(works(ring, secret) for _ in range(50))))
        await asyncio.sleep(0.1)  # over a second, while others listen and are trusted
    assert ring.round_trips - before <= 13  # none, but where the machine stood still, and the ring knew that


async def test_many_who_ask_for_one_key_share_a_look_up(
    plain: Server, make_ring: MakeRing, registrar: Registrar
) -> None:
    ring = await make_ring(plain)
    _, secret = await registrar.create()
    first = asyncio.ensure_future(ring.caller_of(secret))
    rest = [asyncio.ensure_future(works(ring, secret)) for _ in range(200)]
    await asyncio.sleep(0)
    first.cancel()  # who leaves takes nothing from the others
    assert all(await asyncio.gather(*rest))
    assert ring.round_trips == 1


@pytest.mark.parametrize("how", ["revoke", "disable", "rotate", "expire"])
async def test_soon_everywhere(plain: Server, make_ring: MakeRing, registrar: Registrar, how: str) -> None:
    rings = [await listening(await make_ring(plain)) for _ in range(2)]
    record, secret = await registrar.create()
    for ring in rings:
        assert await works(ring, secret)
    change = {
        "revoke": lambda: registrar.revoke(record.id),
        "disable": lambda: registrar.update(record.id, disabled=True),
        "rotate": lambda: registrar.rotate(record.id, grace=0),
        "expire": lambda: registrar.update(record.id, expires=time.time() - 1),
    }[how]
    await change()

    async def refused_by_both() -> bool:
        return not any([await works(ring, secret) for ring in rings])

    await soon(refused_by_both)
    if how == "disable":
        await registrar.update(record.id, disabled=False)
        await soon(lambda: works(rings[0], secret))


async def test_who_guesses_learns_nothing(plain: Server, make_ring: MakeRing, registrar: Registrar) -> None:
    ring = await listening(await make_ring(plain))
    disabled, secret = await registrar.create(disabled=True)
    revoked, gone = await registrar.create()
    await registrar.revoke(revoked.id)
    _, expired = await registrar.create(expires=time.time() - 1)
    wrong = [secret, gone, expired, make_secret(), "sk-shin-", "sk-shin-x", secret + "x", "sk-shin-" + "é" * 43]
    said = set()
    for one in wrong:
        with pytest.raises(Unauthenticated) as caught:
            await ring.caller_of(one)
        said.add((caught.value.status, caught.value.code, caught.value.message))
        assert one[8:] not in repr(caught.value) or len(one) < 12
    assert len(said) == 1
    for id in (disabled.id, revoked.id, "key_zzzzzzzzzzzz", "nonsense", ""):
        with pytest.raises(Unauthenticated):
            await ring.caller_by_id(id)
    assert await ring.caller_of("sk-ant-api03-x") is None


async def test_guessing_again_asks_nobody(plain: Server, make_ring: MakeRing) -> None:
    ring = await listening(await make_ring(plain))
    guess = make_secret()
    for _ in range(100):
        assert not await works(ring, guess)
        assert not await works(ring, "sk-shin-too-short")
    assert ring.round_trips == 1


async def test_a_frozen_store(plain: Server, make_ring: MakeRing, registrar: Registrar) -> None:
    """Known keys work on, others are refused as what cannot be known, and what changed meanwhile holds after it."""
    ring = await listening(await make_ring(plain))
    kept, secret = await registrar.create(user="ann")
    ended, other = await registrar.create(user="bob")
    assert await works(ring, secret) and await works(ring, other)
    os.kill(plain.process.pid, signal.SIGSTOP)
    try:
        for _ in range(20):
            assert await works(ring, secret)
            await asyncio.sleep(0.05)
        assert await ring.caller_by_id(kept.id)
        with pytest.raises(StoreError):
            await ring.caller_of(make_secret())
    finally:
        os.kill(plain.process.pid, signal.SIGCONT)
    await registrar.revoke(ended.id)

    async def refused() -> bool:
        return not await works(ring, other)

    await soon(refused)
    assert await works(ring, secret)

    await soon(lambda: is_refused(ring, other))
    await listening(ring)
    assert await works(ring, secret)
    before = ring.round_trips
    assert await works(ring, secret)
    assert ring.round_trips == before


async def test_a_store_that_is_gone_is_believed_for_a_while(
    plain: Server, make_ring: MakeRing, registrar: Registrar
) -> None:
    ring = await listening(await make_ring(plain, grace=0.8))
    _, secret = await registrar.create(user="ann")
    assert await works(ring, secret)
    plain.kill()
    assert await works(ring, secret)
    await asyncio.sleep(1.5)
    with pytest.raises(StoreError):
        await ring.caller_of(secret)
    plain.start()  # and has forgotten everything
    await soon(lambda: is_refused(ring, secret))


async def test_a_change_that_was_missed_is_not_missed(plain: Server, make_ring: MakeRing, registrar: Registrar) -> None:
    """A worker whose listening is cut off knows that it knows nothing."""
    ring = await listening(await make_ring(plain))
    record, secret = await registrar.create(user="ann")
    assert await works(ring, secret)
    await ring._listener.close()
    await registrar.revoke(record.id)

    async def refused() -> bool:
        return not await works(ring, secret)

    await soon(refused)
    ring.start()
    assert not await works(await listening(ring), secret)


async def test_a_secret_of_before_a_rotation_works_for_its_grace(
    plain: Server, make_ring: MakeRing, registrar: Registrar
) -> None:
    ring = await listening(await make_ring(plain))
    record, old = await registrar.create()
    assert await works(ring, old)
    _, new = await registrar.rotate(record.id, grace=1)
    assert await works(ring, old) and await works(ring, new)
    await asyncio.sleep(1.1)
    assert not await works(ring, old) and await works(ring, new)


def entry(number: int, *secrets: str) -> Entry:
    record = KeyRecord(id=f"key_{number}", created=0, secrets=tuple(Held(digest_of(one)) for one in secrets))
    return Entry(record, record.caller, 0, 0)


def test_memory_is_bounded() -> None:
    known = Memory(most=3)
    for number in range(5):
        known.keep(entry(number, f"a{number}", f"b{number}"))
    assert len(known) == 3 and len(known._ids) == 6
    assert known.find("key_1") is None and known.find(digest_of("a1")) is None
    assert known.find(digest_of("b2"))  # and was used now
    known.keep(entry(5))
    assert known.find("key_2") and not known.find("key_3")
    known.forget(digest_of("a2"))
    assert not known.find(digest_of("b2"))


def test_so_is_what_is_no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "UNKNOWN", 3)
    unknown = Unknown()
    for number in range(10):
        unknown.add(str(number), 0)
    assert len(unknown) == 3
    assert unknown.holds("9", 1) and not unknown.holds("1", 1) and not unknown.holds("9", 4)
