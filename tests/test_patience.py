"""One timer for many waits: each ends in its own time, and nobody else's cancelling is taken for it."""

from __future__ import annotations

import asyncio
import time

import pytest

from shin_gateway.upstream.patience import Patience


async def test_waits_that_end_in_time_leave_the_timer_as_it_is() -> None:
    patience = Patience()
    for _ in range(5):
        with patience.lasting(30):
            await asyncio.sleep(0.001)
    timer = patience._timer
    with patience.lasting(30):
        await asyncio.sleep(0)
    assert patience._timer is timer
    patience.close()
    assert timer is not None and timer.cancelled()


@pytest.mark.parametrize("earlier", [0.0, 0.02, 0.2, 30.0])
async def test_a_wait_ends_when_its_own_time_is_over_whatever_was_waited_for_before(earlier: float) -> None:
    patience = Patience()
    with patience.lasting(earlier or 1):
        await asyncio.sleep(0)
    began = time.monotonic()
    with pytest.raises(TimeoutError), patience.lasting(0.1):
        await asyncio.sleep(30)
    assert time.monotonic() - began >= 0.09
    with patience.lasting(30):  # and the next one is none the worse
        await asyncio.sleep(0.01)


async def test_a_wait_without_time_ends_but_what_is_there_already_is_had() -> None:
    patience = Patience()
    with patience.lasting(0):
        found = 1
    with pytest.raises(TimeoutError), patience.lasting(-1):
        await asyncio.sleep(30)
    assert found


async def test_a_wait_can_be_ended_and_only_the_one_at_hand() -> None:
    patience = Patience()
    patience.end()
    asyncio.get_running_loop().call_later(0.02, patience.end)
    with pytest.raises(TimeoutError), patience.lasting(30):
        await asyncio.sleep(30)
    with patience.lasting(30):
        await asyncio.sleep(0.01)


@pytest.mark.parametrize("over", [False, True], ids=["in time", "when the time is over"])
async def test_who_is_cancelled_by_another_is_cancelled(over: bool) -> None:
    patience = Patience()

    async def wait() -> None:
        with patience.lasting(30):
            await asyncio.sleep(30)

    task = asyncio.create_task(wait())
    await asyncio.sleep(0)
    if over:
        patience.end()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert task.cancelled()


async def test_what_the_wait_itself_raises_is_raised() -> None:
    patience = Patience()
    with pytest.raises(ValueError, match="its own"), patience.lasting(30):
        raise ValueError("its own")
    patience.close()
