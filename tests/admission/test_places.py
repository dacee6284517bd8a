"""Places and the queue against a real store: several workers, one counter that knows nothing of it."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from shin_gateway.admission import Admission, Claim, allowance
from shin_gateway.admission.claims import ClaimMode
from shin_gateway.admission.places import PlaceClaim
from shin_gateway.admission.reservations import BEAT, SILENCE
from shin_gateway.admission.scripts import PREFIX
from shin_gateway.call import Call
from shin_gateway.errors import Refusal, Unavailable
from shin_gateway.stores.embedded import find_server
from shin_gateway.stores.state import StateStore
from tests.admission.crowd import Someone, Upstream, left_over, place, settled, visit
from tests.ports import free_port
from tests.stores.servers import Server

KEY = "p:t:policy"


async def holding(worker: Admission, *claims: PlaceClaim) -> Someone:
    """Somebody who has his place, until `end`."""
    someone = Someone(*(claims or [place(1)]))
    await worker.enter(someone.call)
    return someone


async def waiting(state: StateStore, count: int, key: str = KEY) -> None:
    """Until so many calls stand in the queue."""
    async with asyncio.timeout(20):
        while int(await state.run("HGET", f"{PREFIX}{key}", "a") or 0) != count:
            await asyncio.sleep(0.005)


async def test_one_after_the_other_in_the_order_in_which_they_came(
    workers: list[Admission], stores: list[StateStore]
) -> None:
    upstream, first, tasks = Upstream(), await holding(workers[0]), []
    for number in range(9):
        tasks.append(asyncio.create_task(visit(workers[number % 3], upstream, 0.01, place(1), name=str(number))))
        await waiting(stores[0], number + 1)
    first.end()
    someones = await asyncio.gather(*tasks)
    assert upstream.order == [str(number) for number in range(9)]
    assert upstream.most[KEY] == 1
    assert first.outcome.timings.queued == 0
    assert someones[8].outcome.timings.queued > 0.05
    assert await settled(workers, stores[0]) == {}


async def test_random_arrivals_cancels_and_timeouts(workers: list[Admission], stores: list[StateStore]) -> None:
    dice = random.Random(4)
    upstream = Upstream()
    ended: Counter[str] = Counter()

    async def one(number: int) -> None:
        await asyncio.sleep(dice.random() * 1.5)
        name = dice.choice(["critical", "normal", "batch"])
        claims = [
            place(
                3, tenant=f"user {number % 5}", name=name, max_wait=dice.choice([0.05, 9]), idle_only=name == "batch"
            ),
            place(2, id="u", subject=f"user {number % 5}"),
        ]
        task = asyncio.create_task(visit(workers[number % 3], upstream, dice.random() * 0.08, *claims))
        if number % 7 == 0:
            await asyncio.sleep(dice.random() * 0.2)
            task.cancel()
        try:
            await task
            ended["through"] += 1
        except Refusal as refusal:
            ended[refusal.code] += 1
        except asyncio.CancelledError:
            ended["cancelled"] += 1

    async with asyncio.timeout(20):
        await asyncio.gather(*(one(number) for number in range(210)))
    assert upstream.most[KEY] == 3
    assert all(upstream.most[f"p:u:user {who}"] <= 2 for who in range(5))
    assert ended["through"] > 50 and ended["queue_timeout"] > 0 and sum(ended.values()) == 210
    assert await settled(workers, stores[0]) == {}


async def test_a_place_and_another_are_never_waited_for_crosswise(
    workers: list[Admission], stores: list[StateStore]
) -> None:
    upstream = Upstream()

    def both(turned: bool) -> list:
        claims = [place(1, id="one"), place(1, id="two")]
        return claims[::-1] if turned else claims

    async with asyncio.timeout(20):
        await asyncio.gather(*(visit(workers[n % 3], upstream, 0.005, *both(n % 2 == 0)) for n in range(60)))
    assert set(upstream.most.values()) == {1}
    assert await settled(workers, stores[0]) == {}


async def test_classes_get_their_shares_and_callers_take_turns(
    workers: list[Admission], stores: list[StateStore]
) -> None:
    upstream = Upstream()
    first = await holding(workers[0])
    tasks: list[asyncio.Task[Someone]] = []
    for number in range(40):
        for name in ("high", "normal", "low"):
            who = f"user {number >= 10}"  # the first is there with all of his before the other comes
            label = f"{name} {who}"
            claim = place(1, tenant=who, name=name, queue=200)
            tasks.append(asyncio.create_task(visit(workers[number % 3], upstream, 0.001, claim, name=label)))
            await waiting(stores[0], len(tasks))
    first.end()
    await asyncio.gather(*tasks)
    early = Counter(label.split()[0] for label in upstream.order[:35])
    assert abs(early["high"] - 20) <= 1 and abs(early["normal"] - 10) <= 1 and abs(early["low"] - 5) <= 1
    turns = [label for label in upstream.order if label.startswith("high")][:16]
    assert Counter(turns) == {"high user False": 8, "high user True": 8}
    assert await settled(workers, stores[0]) == {}


async def test_batch_waits_until_nobody_else_does(workers: list[Admission], stores: list[StateStore]) -> None:
    upstream = Upstream()
    first = await holding(workers[0])
    batch = [
        asyncio.create_task(visit(workers[1], upstream, 0.01, place(1, name="batch", idle_only=True), name="batch"))
        for _ in range(3)
    ]
    await waiting(stores[0], 3)
    rest = [asyncio.create_task(visit(workers[2], upstream, 0.01, place(1, name="low"), name="low")) for _ in range(5)]
    await waiting(stores[0], 8)
    first.end()
    await asyncio.gather(*batch, *rest)
    assert upstream.order == ["low"] * 5 + ["batch"] * 3
    assert await settled(workers, stores[0]) == {}


async def test_a_share_of_the_places_stays_free_of_batch(workers: list[Admission], stores: list[StateStore]) -> None:
    upstream = Upstream()
    claims = [place(4, name="batch", idle_only=True, most=2, id="s") for _ in range(4)]
    held = [await holding(workers[0], claim) for claim in claims[:2]]
    tasks = [asyncio.create_task(visit(workers[0], upstream, 0, claim)) for claim in claims[2:]]
    await waiting(stores[0], 2, "p:s:policy")
    quick = await visit(workers[1], upstream, 0, place(4, id="s"))
    assert quick.outcome.timings.queued == 0
    assert not any(task.done() for task in tasks)
    for someone in held:
        someone.end()
    await asyncio.gather(*tasks)


async def test_a_full_queue_and_a_wait_that_is_too_long(workers: list[Admission], stores: list[StateStore]) -> None:
    upstream, first = Upstream(), await holding(workers[0])
    second = asyncio.create_task(visit(workers[0], upstream, 0, place(1, queue=1)))
    await waiting(stores[0], 1)
    full = place(1, queue=1)
    with pytest.raises(Refusal) as caught:
        await workers[1].enter(Someone(full).call)
    assert caught.value.code == "queue_full" and full.standing is not None and full.standing.used == 2
    late = place(1, max_wait=0.05, tenant="user bob")
    with pytest.raises(Refusal) as caught:
        await workers[1].enter(Someone(late).call)
    assert caught.value.code == "queue_timeout" and late.place == 2
    first.end()
    await second


async def test_shadow_takes_no_place_that_is_not_free_and_says_so(workers: list[Admission]) -> None:
    first = await holding(workers[0])
    someone = await visit(workers[1], Upstream(), 0, place(1, mode=ClaimMode.SHADOW))
    assert "shadow.concurrency" in someone.facts and someone.outcome.timings.queued == 0
    first.end()


async def test_the_gate_gives_the_place_back_when_the_caller_leaves(
    workers: list[Admission], stores: list[StateStore]
) -> None:
    upstream = Upstream()
    first = await holding(workers[0])
    leavers = [asyncio.create_task(visit(workers[1], upstream, 0, place(1))) for _ in range(20)]
    await waiting(stores[0], 20)
    for one in leavers:
        one.cancel()
    await asyncio.gather(*leavers, return_exceptions=True)
    await waiting(stores[0], 0)
    first.end()
    assert await settled(workers, stores[0]) == {}


async def test_places_and_spots_of_a_dead_worker_come_back(stores: list[StateStore]) -> None:
    """What the others do for it: their beats find that it has been silent."""
    dead, alive = Admission(stores[0]), Admission(stores[1])
    await dead.reservations.round(set())
    held = await holding(dead)
    lost = asyncio.create_task(dead.enter(Someone(place(1)).call))
    await waiting(stores[0], 1)
    upstream = Upstream()
    alive.start()
    mine = asyncio.create_task(visit(alive, upstream, 0, place(1)))
    await waiting(stores[0], 2)
    key = "shin:{admission}:workers"
    await stores[1].run("ZADD", key, 1, dead.reservations.worker)  # as if it had been silent for long
    async with asyncio.timeout(BEAT + 2):
        await mine
    assert SILENCE + BEAT <= 13
    lost.cancel()
    await asyncio.gather(lost, return_exceptions=True)
    held.end()
    assert await settled([dead, alive], stores[1]) == {}
    await alive.close()


async def test_a_lost_word_is_found_out(workers: list[Admission], stores: list[StateStore]) -> None:
    upstream = Upstream()
    first = await holding(workers[0])
    second = asyncio.create_task(visit(workers[1], upstream, 0, place(1)))
    await waiting(stores[0], 1)
    workers[1]._waiting._call = lambda name: None  # type: ignore[method-assign]  # somebody else takes the word away
    first.end()
    await waiting(stores[0], 0)
    await asyncio.sleep(0.2)
    del workers[1]._waiting._call
    async with asyncio.timeout(20):
        await second


async def test_without_the_store_a_worker_keeps_to_the_number_by_itself(tmp_path: Path) -> None:
    server = Server(str(find_server()), tmp_path / "s", free_port()).wait()
    state = await StateStore.connect(f"unix://{server.socket}")
    worker = Admission(state)
    upstream = Upstream()
    try:
        before = asyncio.create_task(visit(worker, upstream, 0.3, place(2)))
        await asyncio.sleep(0.05)
        server.kill()
        tasks = [asyncio.create_task(visit(worker, upstream, 0.03, place(2))) for _ in range(8)]
        leaver = asyncio.create_task(visit(worker, upstream, 0.03, place(2)))
        await asyncio.sleep(0.02)
        leaver.cancel()
        await asyncio.gather(before, *tasks)
        assert upstream.most[KEY] == 2 and not worker._alone._held
        with pytest.raises(Unavailable):
            await worker.enter(Someone(place(2, on_store_error="refuse")).call)
        late = place(0, max_wait=0.01)
        with pytest.raises(Refusal, match="no"):
            await worker.enter(Someone(late).call)
        assert late.place == 1
    finally:
        server.kill()
        await state.close()


async def test_who_waits_when_the_store_dies_goes_on_by_the_workers_own_count(tmp_path: Path) -> None:
    server = Server(str(find_server()), tmp_path / "s", free_port()).wait()
    state = await StateStore.connect(f"unix://{server.socket}")
    worker = Admission(state)
    upstream = Upstream()
    try:
        tasks = [asyncio.create_task(visit(worker, upstream, 0.3, place(1))) for _ in range(3)]
        await asyncio.sleep(0.1)
        server.kill()
        async with asyncio.timeout(20):
            await asyncio.gather(*tasks)
        assert upstream.most[KEY] == 1
    finally:
        server.kill()
        await state.close()


async def test_many_wait_at_once_and_nobody_is_forgotten(workers: list[Admission], stores: list[StateStore]) -> None:
    upstream = Upstream()
    async with asyncio.timeout(20):
        visits = (visit(workers[n % 3], upstream, 0, place(8, queue=2000, tenant=f"user {n % 50}")) for n in range(900))
        await asyncio.gather(*visits)
    assert upstream.most[KEY] <= 8 and len(upstream.order) == 900
    assert await settled(workers, stores[0]) == {} and await left_over(stores[0]) == {}


async def test_a_queue_that_somebody_has_meddled_with(workers: list[Admission], stores: list[StateStore]) -> None:
    upstream = Upstream()
    first = asyncio.create_task(visit(workers[0], upstream, 0.1, place(1)))
    await asyncio.sleep(0.03)
    second = asyncio.create_task(visit(workers[1], upstream, 0, place(1)))
    await asyncio.sleep(0.03)
    await stores[0].run("DEL", "shin:{admission}:ptnormal:t:policy", "shin:{admission}:pqnormal:8:user ann:t:policy")
    await first
    async with asyncio.timeout(20):  # found out by the check
        await second
    assert await settled(workers, stores[0]) == {}


async def test_how_long_to_wait_goes_by_the_pace_of_late(workers: list[Admission], stores: list[StateStore]) -> None:
    began, upstream, first = time.monotonic(), Upstream(), await holding(workers[0])
    visits = [asyncio.create_task(visit(workers[0], upstream, 0.1, place(1))) for _ in range(3)]
    await waiting(stores[0], 3)
    last = [Someone(place(1)) for _ in range(3)]
    entering = [asyncio.create_task(workers[0].enter(someone.call)) for someone in last]
    await waiting(stores[0], 6)
    await asyncio.sleep(0.1)
    first.end()
    await asyncio.gather(*visits, entering[0])
    took = time.monotonic() - began
    full = place(1, queue=1)
    with pytest.raises(Refusal):
        await workers[1].enter(Someone(full).call)
    assert full.standing is not None and full.standing.used == 3, "one is there, two wait"
    assert 0.08 * 3 < full.standing.reset < took * 3
    for someone, entered in zip(last, entering, strict=True):
        await entered
        someone.end()


async def test_who_waits_keeps_what_else_was_reserved_and_gives_it_back(workers: list[Admission]) -> None:
    limit = allowance("tokens", 100, time.time() + 3600)

    def tokens(amount: int) -> Claim:
        return Claim("budget", limit, "user ann", amount, refuse_budget, lambda *_: amount)

    async def used() -> int:
        claim = tokens(0)
        claim.mode = ClaimMode.SHADOW
        someone = Someone(claim)
        await workers[2].enter(someone.call)
        someone.end()
        assert claim.standing is not None
        return claim.standing.used

    first = Someone(place(1))
    await workers[0].enter(first.call)
    late = asyncio.create_task(workers[1].enter(Someone(tokens(60), place(1, max_wait=1)).call))
    await becomes(used, 60)
    over = Someone(tokens(60), place(1))
    with pytest.raises(Refusal, match="budget"):  # and it stands in no queue
        await workers[2].enter(over.call)
    with pytest.raises(Refusal):
        await late
    await becomes(used, 0)
    first.end()

    async def queued() -> float:
        return (await visit(workers[2], Upstream(), 0, place(1))).outcome.timings.queued

    await becomes(queued, 0)


async def becomes(what: Callable[[], Awaitable[float]], value: float) -> None:
    async with asyncio.timeout(20):
        while await what() != value:
            await asyncio.sleep(0.02)


def refuse_budget(call: Call, claim: Claim) -> Refusal:
    return Refusal("budget", code="over_budget")
