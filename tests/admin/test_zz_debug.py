import asyncio, time
from tests.admin.test_health import *
from tests.admin.conftest import *
from tests.admin.test_health import _relay, _with_analytics
from tests.admin.test_calls import row
async def test_x(places, state, tmp_path, clickhouse, monkeypatch):
    port = free_port()
    url = clickhouse.url().replace(f":{clickhouse.port}/", f":{port}/")
    await keep(state, *(row(number) for number in range(5)))
    async with running(_with_analytics(places, tmp_path, url, monkeypatch)) as admin:
        relay = await asyncio.start_server(_relay(clickhouse.port), "127.0.0.1", port)
        t=time.monotonic()
        async with relay:
            while admin.parts.shipper.shipped<5:
                print(f"{time.monotonic()-t:.1f}", repr(admin.parts.shipper.trouble)[:150], admin.parts.analytics._store, flush=True)
                if 3 < time.monotonic()-t < 4.2:
                    for task in asyncio.all_tasks():
                        if task.get_name()=="shipper": task.print_stack()
                await asyncio.sleep(1)
            print("done", time.monotonic()-t)
            t=time.monotonic(); r=await admin.get("/api/v1/calls"); print(r.status, time.monotonic()-t)
        print("relay closed", time.monotonic()-t)
    print("closed", time.monotonic()-t)
