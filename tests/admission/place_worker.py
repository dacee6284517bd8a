"""One worker process of test_places_processes: callers that come, wait, leave early, stay a while.

python -m … STORE PORT SEED SECONDS: who has a place holds a connection to PORT.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import sys

from shin_gateway.admission import Admission, reservations
from shin_gateway.errors import Refusal
from shin_gateway.stores.state import StateStore
from tests.admission.crowd import Someone, place


async def caller(admission: Admission, port: int, dice: random.Random, ends: float) -> None:
    loop = asyncio.get_running_loop()
    while loop.time() < ends:
        someone = Someone(place(3, queue=500, tenant=f"user {dice.randrange(4)}", max_wait=dice.choice([0.2, 20])))
        with contextlib.suppress(TimeoutError, Refusal):
            async with asyncio.timeout(dice.choice([0.1, 30])):
                try:
                    await admission.enter(someone.call)
                    await hold(port, dice.random() * 0.05)
                finally:
                    someone.end()
        await asyncio.sleep(dice.random() * 0.05)


async def hold(port: int, seconds: float) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(b"x")
        assert await reader.read(1) == b"x"  # it has been counted
        await asyncio.sleep(seconds)
    finally:
        writer.write_eof()
        await reader.read()  # it has been counted out, also where nobody waits for it any more
        writer.close()


async def main(store: str, port: int, seed: int, seconds: float) -> None:
    reservations.BEAT, reservations.SILENCE = 0.3, 1.5
    state = await StateStore.connect(store)
    admission = Admission(state)
    admission.start()
    dice = random.Random(seed)
    ends = asyncio.get_running_loop().time() + seconds
    await asyncio.gather(*(caller(admission, port, dice, ends) for _ in range(8)))
    await admission.close()
    await state.close()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])))
