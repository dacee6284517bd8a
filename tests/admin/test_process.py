from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from shin_gateway.admin import server
from shin_gateway.admin.parts import all_shipped
from shin_gateway.assembly import Places
from shin_gateway.policy.positions import PolicyErrors
from shin_gateway.registry import RegistryError
from shin_gateway.secret import SecretMissing
from shin_gateway.stores.analytics import CallFilter, open_analytics
from shin_gateway.stores.embedded import EmbeddedState
from shin_gateway.stores.errors import StoreError
from shin_gateway.stores.row_queue import STREAM
from shin_gateway.stores.shipper import Shipper
from shin_gateway.stores.state import StateStore
from tests.admin.conftest import Process, fetch, keep
from tests.admin.test_calls import row
from tests.ports import free_port
from tests.stores.servers import until


async def kept(places: Places) -> list[str]:
    """What analytics holds, once nobody else has it open."""
    analytics = await open_analytics(places.home / "analytics.duckdb")
    try:
        return sorted(call["id"] for call in await analytics.calls(CallFilter(limit=1000)))
    finally:
        await analytics.close()


def started(places: Places, processes: list[Process], **options: str) -> Process:
    process = Process(places, **options)
    assert process.start() == b"ready\n", process.said
    processes.append(process)
    return process


async def test_it_answers_once_it_says_that_it_is_ready(
    places: Places, embedded: EmbeddedState, processes: list[Process]
) -> None:
    process = started(places, processes)
    assert process.get("/health/live").json == {"status": "live"}
    assert process.end() == 0
    assert "ERROR" not in process.said and "Traceback" not in process.said, process.said


async def test_sigterm_ships_what_is_left(places: Places, state: StateStore, processes: list[Process]) -> None:
    process = started(places, processes)
    await keep(state, *(row(number) for number in range(900)))
    assert process.end() == 0, process.said
    assert await kept(places) == [f"c{number:03}" for number in range(900)]
    assert await all_shipped(state)


async def test_rows_at_which_no_shipper_has_looked_are_not_shipped(state: StateStore) -> None:
    assert await all_shipped(state)
    await keep(state, row(1))
    assert not await all_shipped(state)


async def test_sigint_too(places: Places, embedded: EmbeddedState, processes: list[Process]) -> None:
    assert started(places, processes).end(signal.SIGINT) == 0


async def test_kill_loses_no_row_and_counts_none_twice(
    places: Places, state: StateStore, processes: list[Process]
) -> None:
    expected = []
    for turn in range(3):
        process = started(places, processes)
        rows = [row(number) for number in range(turn * 200, turn * 200 + 200)]
        expected += [one.id for one in rows]
        await keep(state, *rows)
        time.sleep(0.15 * turn)
        process.end(signal.SIGKILL)
    process = started(places, processes)
    process.shows(len(expected))
    days = process.get("/api/v1/usage").json["days"]
    assert sum(day["calls"] for day in days) == len(expected)
    assert process.end() == 0
    assert await kept(places) == expected


async def test_a_state_store_that_is_busy_for_a_moment_is_waited_for(
    places: Places, state: StateStore, processes: list[Process]
) -> None:
    process = started(places, processes)
    store = int(re.findall(r"process_id:(\d+)", (await state.run("INFO", "server")).decode())[0])
    await keep(state, row(0))
    while not await all_shipped(state):
        await asyncio.sleep(0.01)
    await keep(state, *(row(number) for number in range(1, 300)))  # while it waits for more to come
    os.kill(store, signal.SIGSTOP)
    try:
        process.child.send_signal(signal.SIGTERM)
        await asyncio.sleep(1)
    finally:
        os.kill(store, signal.SIGCONT)
    assert process.child.wait(30) == 0, process.said
    assert await kept(places) == [f"c{number:03}" for number in range(300)]


async def test_a_state_store_that_is_gone_does_not_hold_the_end(
    places: Places, embedded: EmbeddedState, processes: list[Process]
) -> None:
    process = started(places, processes)
    await embedded.stop()
    assert process.end() == 0


async def test_an_analytics_server_that_never_answers_holds_nothing(
    places: Places, state: StateStore, tmp_path: Path, processes: list[Process]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        config = tmp_path / "shin.yaml"
        config.write_text(f"stores: {{analytics: 'clickhouse://127.0.0.1:{silent.getsockname()[1]}/shin'}}\n")
        process = started(Places(places.home, config, places.policies, places.addons), processes)
        await keep(state, row(1))
        calls = process.get("/api/v1/calls")
        assert (calls.status, calls.kind) == (503, "application/problem+json")
        assert process.get("/health/ready").json["parts"]["analytics"]["ready"] is False
        assert process.get("/health/live").status == 200
        assert process.end() == 0
    assert await state.run("XLEN", STREAM) == 1
    assert not await all_shipped(state)


async def test_a_shipper_that_ends_ends_the_process(
    places: Places, embedded: EmbeddedState, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A defect of ours: the supervisor starts it again, instead of rows that wait unseen."""

    async def broken(_: Shipper) -> bool:
        raise RuntimeError("a defect")

    monkeypatch.setattr(Shipper, "_ship", broken)
    with pytest.raises(RuntimeError, match="a defect"):
        await server.run(places, places.read(), None, 0)


async def test_it_goes_when_its_parent_is_killed(places: Places, embedded: EmbeddedState) -> None:
    port, marker = free_port(), places.home / "ready"
    options = json.dumps({"home": str(places.home), "addons": [str(one) for one in places.addons], "port": port})
    parent = f"""
import os, subprocess, sys, time
reading, writing = os.pipe()
child = subprocess.Popen([sys.executable, "-m", "shin_gateway.admin", {options!r}, str(writing)], pass_fds=[writing])
os.read(reading, 10)
open({str(marker)!r}, "w").write(str(child.pid))
time.sleep(60)
"""
    with subprocess.Popen([sys.executable, "-c", parent]) as running:
        try:
            until(lambda: marker.exists() and marker.read_text(), 60)
            assert fetch(port, "/health/live").status == 200
        finally:
            running.kill()
    until(lambda: not Path(f"/proc/{marker.read_text()}").exists())


async def test_a_port_in_use(places: Places, embedded: EmbeddedState) -> None:
    process = Process(places)
    with socket.create_server(("127.0.0.1", process.port)):
        assert process.start() == b""
        assert process.child.wait() == 1
    assert process.said == (
        f"shin admin: cannot listen on 127.0.0.1:{process.port}: Address already in use; "
        "another program has it? Try --admin-port\n"
    )


async def test_analytics_that_another_process_has_open(places: Places, embedded: EmbeddedState) -> None:
    analytics = await open_analytics(places.home / "analytics.duckdb")
    process = Process(places)
    assert process.start() == b""
    assert process.child.wait() == 1
    await analytics.close()
    assert process.said == (
        f"shin admin: cannot open the analytics store {places.home}/analytics.duckdb: another process has it open\n"
    )


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ("stores: {analytics: 'clickhouse://host/x?nonsense=1'}", "unknown option 'nonsense' in the analytics URL"),
        ("stores: {analytics: 'mysql://host/x'}", "the analytics store's URL begins with 'mysql'"),
        ("stores: {analytics: env:NOT_SET}", "env:NOT_SET is not set"),
        ("policies: [nowhere]", "no such folder of policies"),
        ("addons: [nowhere]", "no such folder of addons"),
        ("listen: {host: 192.0.2.1}\nusers: {ann: env:ANN}", "cannot listen on 192.0.2.1"),
        ("listen: {host: 0.0.0.0}", "listening on 0.0.0.0 lets others in: name users"),
    ],
)
async def test_what_keeps_it_from_starting(
    places: Places, embedded: EmbeddedState, tmp_path: Path, config: str, said: str
) -> None:
    (tmp_path / "shin.yaml").write_text(config)
    wrong = Places(places.home, tmp_path / "shin.yaml", places.policies, places.addons)
    with pytest.raises((StoreError, SecretMissing, PolicyErrors, RegistryError, OSError), match=re.escape(said)):
        await server.run(wrong, wrong.read(), None, 0)


async def test_a_wrong_configuration_is_said_in_one_line(
    places: Places, embedded: EmbeddedState, tmp_path: Path
) -> None:
    (tmp_path / "shin.yaml").write_text("lisen: {}")
    process = Process(Places(places.home, tmp_path / "shin.yaml", places.policies, places.addons))
    assert process.start() == b""
    assert process.child.wait() == 1
    assert process.said.startswith("shin admin: ")
    assert ':1:1: unknown key "lisen"' in process.said
    assert process.said.count("\n") == 1


def test_alone_it_starts_a_state_store_of_its_own(places: Places) -> None:
    """`shin admin`."""
    code = f"""
import sys
from pathlib import Path
from shin_gateway.supervisor import RunOptions, run_admin
sys.exit(run_admin(RunOptions(Path({str(places.home)!r}), addons=[Path({str(places.addons[0])!r})], admin_port=0)))
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as alone:
        assert alone.stdout is not None
        line = alone.stdout.readline()
        port = int(line.partition("127.0.0.1:")[2].split()[0])
        assert fetch(port, "/health/ready").json["parts"]["state"] == {"ready": True}
        assert os.path.exists(places.home / "analytics.duckdb")
        alone.send_signal(signal.SIGTERM)
        assert alone.wait(20) == 0
    assert not EmbeddedState(places.home).socket.exists()
