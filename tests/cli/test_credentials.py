"""`shin credential` in processes of its own, against a real admin server."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import pty
import select
import sys
from pathlib import Path

import pytest

from shin_gateway.assembly import Places
from shin_gateway.sealing import MASTER_KEY, OLD_KEYS
from tests.admin.conftest import Running, admin, embedded, places

__all__ = ["admin", "embedded", "places"]

COMMAND = (sys.executable, "-m", "shin_gateway.cli", "credential")
VALUE = "sk-plain-as-day-0123456789"


@pytest.fixture
async def home(places: Places, monkeypatch: pytest.MonkeyPatch, admin: Running) -> Path:
    monkeypatch.delenv(MASTER_KEY, raising=False)
    monkeypatch.delenv(OLD_KEYS, raising=False)
    address = f"127.0.0.1:{admin.port}"
    (places.home / "run.json").write_text(json.dumps({"pid": os.getpid(), "proxy": address, "admin": address}))
    return places.home


def environment(home: Path) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.getcwd(), "SHIN_HOME": str(home), "COLUMNS": "120", "TZ": "UTC"}


async def shin(home: Path, *arguments: str, given: str | bytes = "") -> tuple[int, str, str]:
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        *COMMAND, *arguments, env=environment(home), stdin=pipe, stdout=pipe, stderr=pipe
    )
    said = given.encode() if isinstance(given, str) else given
    out, err = await asyncio.wait_for(process.communicate(said), 60)
    return process.returncode or 0, out.decode(), err.decode()


async def test_from_standard_input_to_the_list(home: Path) -> None:
    code, out, err = await shin(home, "set", "openai", given=f"{VALUE}\n")
    assert (code, out, err) == (0, "kept:openai is set, ends with 6789\n", "")
    account = '{\n  "type": "service_account",\n  "private_key": "hush hush hush"\n}\n'
    assert (await shin(home, "set", "vertex", given=account))[1] == "kept:vertex is set\n"
    code, out, _ = await shin(home, "list")
    assert code == 0
    assert [line.split()[0] for line in out.splitlines() if "machine" in line] == ["openai", "vertex"]
    assert "…6789" in out and VALUE not in out and "hush" not in out
    (openai, _) = json.loads((await shin(home, "list", "--json"))[1])
    assert openai.keys() == {"name", "end", "at", "by", "state"}
    assert (await shin(home, "reseal"))[1] == "everything was sealed with this key already\n"
    assert (await shin(home, "remove", "openai"))[:2] == (0, "kept:openai is removed\n")
    code, _, err = await shin(home, "remove", "openai")
    assert (code, err) == (1, "shin: No credential is kept under this name.\n")


async def test_what_is_wrong_is_said_in_one_line(home: Path) -> None:
    wrong: list[tuple[str, str | bytes, str]] = [
        ("openai", "", "standard input is empty"),
        ("openai", b"\xff\xfe\x00", "standard input is no text"),
        ("openai", "sk-hush\nsk-hush", "a credential is one line of printable characters, or a JSON file"),
        ("Open AI", "sk-hush", "a name has up to 64 of a-z, 0-9, _ . and -, and begins with a letter or a digit"),
    ]
    for name, given, words in wrong:
        code, out, err = await shin(home, "set", name, given=given)
        assert (code != 0, out, err) == (True, "", f"shin: {words}\n")
    code, _, err = await shin(home, "set", "openai", VALUE)  # never an argument
    assert code == 2
    code, out, _ = await shin(home, "list")
    assert (code, out.split()[:-1]) == (0, ["name", "end", "at", "by", "state"])  # and the line below them


async def test_on_a_terminal_it_is_asked_for_and_not_echoed(home: Path) -> None:
    theirs, ours = pty.openpty()
    process = await asyncio.create_subprocess_exec(
        *COMMAND, "set", "openai", env=environment(home), stdin=ours, stdout=ours, stderr=ours, start_new_session=True
    )
    os.close(ours)

    def talk() -> str:
        """What is typed before the prompt has its last blank is thrown away: only then the terminal is silent."""
        said, prompt = "", "kept:openai: "
        with contextlib.suppress(OSError):  # EIO: the other end is closed
            while select.select([theirs], [], [], 20)[0] and (piece := os.read(theirs, 4096).decode()):
                asked, said = prompt in said, said + piece
                if not asked and prompt in said:
                    os.write(theirs, f"{VALUE}\n".encode())
        return said

    said = await asyncio.wait_for(asyncio.to_thread(talk), 60)
    os.close(theirs)
    assert await asyncio.wait_for(process.wait(), 10) == 0, said
    assert "kept:openai is set, ends with 6789" in said
    assert VALUE not in said


async def test_without_a_gateway(tmp_path: Path) -> None:
    code, _, err = await shin(tmp_path, "list")
    assert code == 1
    assert "is `shin run` running" in err
