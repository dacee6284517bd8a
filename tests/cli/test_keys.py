"""`shin key` in processes of its own, against a real admin server."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import json
import os
import pty
import sys
from pathlib import Path
from typing import Any

import pytest

from shin_gateway.assembly import Places
from shin_gateway.cli.admin_client import AdminClient
from shin_gateway.cli.keys import _moment, _settings
from shin_gateway.cli.options import Failed
from tests.admin.conftest import Running, admin, embedded, places

__all__ = ["admin", "embedded", "places"]


@pytest.fixture
async def home(admin: Running, places: Places) -> Path:
    address = f"127.0.0.1:{admin.port}"
    said = {"pid": os.getpid(), "proxy": address, "admin": address}
    (places.home / "run.json").write_text(json.dumps(said))
    return places.home


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "shin_gateway.cli", *arguments]


def environment(home: Path) -> dict[str, str]:
    proxies = {"HTTP_PROXY": "http://127.0.0.1:1", "http_proxy": "http://127.0.0.1:1"}
    return {**os.environ, **proxies, "PYTHONPATH": os.getcwd(), "SHIN_HOME": str(home), "COLUMNS": "160", "TZ": "UTC"}


async def shin(home: Path, *arguments: str) -> tuple[int, str, str]:
    process = await asyncio.create_subprocess_exec(
        *command(*arguments), env=environment(home), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    out, err = await asyncio.wait_for(process.communicate(), 60)
    return process.returncode or 0, out.decode(), err.decode()


async def test_a_script_gets_the_key_alone(home: Path, admin: Running) -> None:
    options = ("--name", "ci", "--user", "ann", "--tag", "a", "--tag", "b", "--model", "openai/*", "--expires", "30d")
    limits = ("--limit", "requests=60/min", "--limit", "burst=1.5", "--budget", "limit=$5/day")
    code, out, err = await shin(home, "key", "create", *options, *limits)
    assert (code, err) == (0, "")
    secret = out.removesuffix("\n")
    assert secret.startswith("sk-shin-") and len(secret) == 51
    caller = await admin.parts.identity.of_secret(secret)
    assert caller is not None
    assert (caller.user, caller.tags, caller.grant.models) == ("ann", ("a", "b"), ("openai/*",))
    assert caller.grant.limits == {"requests": "60/min", "burst": 1.5}
    assert caller.grant.budget == {"limit": "$5/day"}

    code, out, err = await shin(home, "key", "rotate", caller.key, "--grace", "0s", "--json")
    assert (code, err) == (0, "")
    assert json.loads(out)["id"] == caller.key and json.loads(out)["secret"] != secret

    code, out, err = await shin(home, "key", "list")
    head, _, *lines = out.splitlines()
    assert head.split() == ["id", "name", "user", "team", "project", "roles", "status", "expires"]
    assert lines[0].split()[:5] == [caller.key, "ci", "ann", "user", "active"]
    for words, status in ((("disable",), "disabled"), (("enable",), "active"), (("revoke",), "revoked")):
        code, out, err = await shin(home, "key", *words, caller.key, "--json")
        assert (code, json.loads(out)["status"]) == (0, status), err
    code, out, err = await shin(home, "key", "show", caller.key)
    assert "status            revoked" in out and "requests=60/min" in out
    assert (await shin(home, "key", "enable", caller.key))[::2] == (1, f"shin: the key {caller.key} is revoked\n")


async def test_a_person_sees_it_once_with_what_it_may(home: Path) -> None:
    reading, writing = pty.openpty()
    create = command("key", "create", "--name", "ci", "--team", "red")
    process = await asyncio.create_subprocess_exec(*create, env=environment(home), stdout=writing, stderr=writing)
    os.close(writing)
    text = await asyncio.to_thread(_all_of, reading)
    assert await process.wait() == 0, text
    lines = text.split("\r\n")
    assert "team              red" in lines and "roles             user" in lines
    assert sum(line.startswith("sk-shin-") for line in lines) == 1
    assert "Keep it now: it is not shown again." in lines


def _all_of(terminal: int) -> str:
    pieces = []
    with contextlib.suppress(OSError):  # how Linux says that nobody writes any more
        while piece := os.read(terminal, 4096):
            pieces.append(piece)
    os.close(terminal)
    return b"".join(pieces).decode()


async def test_what_goes_wrong_is_said_in_a_line(home: Path, tmp_path: Path) -> None:
    for arguments, code, said in (
        (("create", "--role", "emperor"), 1, 'shin: roles: there is no role "emperor"'),
        (("create", "--limit", "60"), 2, "shin: --limit takes KEY=VALUE"),
        (("create", "--expires", "soon"), 2, "shin: --expires: write 30d, 12h, or a date like 2027-01-31"),
        (("show", "key_zzzzzzzzzzzz"), 1, "shin: there is no key key_zzzzzzzzzzzz"),
        (("revoke", "sk-shin-x"), 2, "shin: that is a key itself"),
    ):
        got, out, err = await shin(home, "key", *arguments)
        assert (got, out) == (code, "")
        assert err.startswith(said) and err.count("\n") == 1
    nowhere = tmp_path / "nowhere"
    assert await shin(nowhere, "key", "list") == (
        1,
        "",
        f"shin: nothing to ask: is `shin run` running, with --home {nowhere}?\n",
    )


async def test_the_client_without_a_token(home: Path) -> None:
    (home / "admin.token").unlink()
    client = AdminClient(home)
    assert (await asyncio.to_thread(client.get, "/api/v1/policies"))["policies"]  # which is open here
    with pytest.raises(Failed, match="does not take the token"):
        await asyncio.to_thread(client.post, "/api/v1/keys", {})


@pytest.mark.parametrize(
    ("pairs", "settings"),
    [
        (["a=1", "b=x=y", "c=[1]"], {"a": 1, "b": "x=y", "c": [1]}),
        (["tokens=200k/day", "burst= 2"], {"tokens": "200k/day", "burst": 2}),
    ],
)
def test_settings(pairs: list[str], settings: dict[str, Any]) -> None:
    assert _settings("--limit", pairs) == settings


def test_moments() -> None:
    assert _moment("2099-01-02").startswith("2099-01-02T00:00:00")
    assert dt.datetime.fromisoformat(_moment("2099-01-02T03:04+02:00")) == dt.datetime(2099, 1, 2, 1, 4, tzinfo=dt.UTC)
    for wrong in ("", "1", "99999999999d", "-1d"):
        with pytest.raises(Failed):
            _moment(wrong)
