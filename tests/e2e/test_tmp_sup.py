from __future__ import annotations
import asyncio, os, signal, time
from tests.e2e.test_store_down import *
from tests.e2e.test_store_down import world, start
test_calls_go_on=None
async def test_sup(tmp_path, start):
    async with world(tmp_path, start) as here:
        workers = here.running.found("shin_gateway.runner")
        here.server.kill()
        os.kill(workers[0], signal.SIGKILL)
        async with here.crowd.at_work():
            t=time.monotonic()
            for _ in range(6):
                await asyncio.sleep(1)
                print(round(time.monotonic()-t,1), here.running.process.poll(), here.running.found("shin_gateway.runner"), here.crowd.answers("plain", time.monotonic()-1), len(here.crowd.broken))
            here.server.start(); here.server.wait()
            for _ in range(8):
                await asyncio.sleep(1)
                print(round(time.monotonic()-t,1), here.running.process.poll(), here.running.found("shin_gateway.runner"), here.crowd.answers("plain", time.monotonic()-1), len(here.crowd.broken))
        print(here.running.err[-6000:])
