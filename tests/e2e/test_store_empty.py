"""The state store dies and comes back without its data, while calls go on."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

from tests.e2e.test_store_down import PLACES, WORKERS, make_key, nothing_held, world
from tests.stores.servers import Start, start

__all__ = ["start"]


async def test_all_is_forgotten_and_can_be_made_anew(tmp_path: Path, start: Start) -> None:
    async with world(tmp_path, start) as here:
        crowd = here.crowd
        async with crowd.at_work():
            await asyncio.sleep(0.5)
            here.server.kill()
            shutil.rmtree(here.server.socket.parent / "appendonlydir")
            here.server.start()
            here.server.wait()
            await crowd.hears(plain=(401, "unauthenticated"), spender=(401, "unauthenticated"))
            for kind, own in (("plain", {}), ("spender", {"budget": {"limit": "$100/day"}})):
                crowd.keys[kind] = (await make_key(here.running, user=kind, **own))["secret"]
            await crowd.hears(plain=(200, ""), spender=(200, ""))
        await nothing_held(here.url)
        assert here.upstream.most <= (WORKERS + 1) * PLACES
        assert {one.status for one in crowd.calls} <= {200, 401, 503}
        assert not crowd.broken
        assert "Traceback" not in here.running.err
