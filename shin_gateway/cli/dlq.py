"""`shin dlq`: calls that failed for good, where a policy keeps them."""

from __future__ import annotations

import datetime as dt
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from shin_gateway.cli.options import WIDE, Failed, HomeOption, folder, warn
from shin_gateway.running import DEFAULT_HOME

if TYPE_CHECKING:
    from shin_gateway.cli.admin_client import AdminClient

PATH = "/api/v1/dlq"
_PATIENCE = 920.0
"""Seconds: the admin server waits for the model's whole reply."""

Json = Annotated[bool, typer.Option("--json", help="For programs.")]
Id = Annotated[str, typer.Argument(metavar="ID", help="The call's id.")]
_COLUMNS = ("id", "at", "caller", "model", "status", "cause", "again")


def register(app: typer.Typer) -> None:
    group = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Dead letters: calls that failed for good.")
    group.command("list")(list_letters)
    for command in (show, replay, drop):
        group.command()(command)
    app.add_typer(group, name="dlq")


def list_letters(
    count: Annotated[int, typer.Option("-n", "--lines", min=1, help="The newest so many.")] = 50,
    as_json: Json = False,
    home: HomeOption = DEFAULT_HOME,
) -> None:
    """List dead letters, the newest first, and why one cannot be sent again."""
    found = _all(_client(home), count)
    if as_json:
        typer.echo(json.dumps(found, indent=2))
    else:
        _table(found)


def show(id: Id, as_json: Json = False, home: HomeOption = DEFAULT_HOME) -> None:
    """Show one with its body."""
    letter = _client(home).get(_path(id))
    if as_json:
        typer.echo(json.dumps(letter, indent=2))
        return
    for name, value in letter.items():
        if name not in ("headers", "body") and value != "":
            typer.echo(f"{name:<10}{_plain(str(value))}")
    for name, value in letter["headers"].items():
        typer.echo(f"{name}: {_plain(value)}")
    typer.echo("\n" + _plain(letter["body"]))


def replay(
    id: Annotated[str | None, typer.Argument(metavar="ID", help="The call's id.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="All that can be sent again, the oldest first.")] = False,
    key: Annotated[str | None, typer.Option(help="A key for the gateway, by reference: env:NAME or file:PATH.")] = None,
    keep: Annotated[bool, typer.Option("--keep", help="Keep the letter although it goes through.")] = False,
    as_json: Json = False,
    home: HomeOption = DEFAULT_HOME,
) -> None:
    """Send one to the gateway again, as a call of your own.

    It is dropped when it goes through.
    """
    if (id is None) is not everything:
        raise Failed("name one letter by its id, or say --all", 2)
    client = _client(home, _PATIENCE)
    body: dict[str, Any] = {"keep": keep} | ({"key": _secret(key)} if key else {})
    wanted = [id] if id else [one["id"] for one in reversed(_all(client, 100_000)) if not one["unsent"]]
    failed = 0
    for one in wanted:
        result = client.post(_path(one, "replay"), body)
        failed += not 200 <= result["status"] < 300
        typer.echo(json.dumps(result) if as_json else _line(result))
    if failed:
        raise Failed(f"{failed} of {len(wanted)} failed again")


def drop(
    id: Annotated[str | None, typer.Argument(metavar="ID", help="The call's id.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="All of them.")] = False,
    home: HomeOption = DEFAULT_HOME,
) -> None:
    """Throw one away."""
    if (id is None) is not everything:
        raise Failed("name one letter by its id, or say --all", 2)
    client = _client(home)
    for one in [id] if id else [one["id"] for one in _all(client, 100_000)]:
        client.delete(_path(one))
        typer.echo(f"{one} dropped")


def _all(client: AdminClient, count: int) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    before: str | None = None
    while len(found) < count:
        page = client.get(PATH, limit=min(500, count - len(found)), before=before)
        found += page["letters"]
        before = page["next"]
        if before is None:
            return found
    warn(f"there may be more: these are the newest {count}")
    return found


def _client(home: Path, patience: float | None = None) -> AdminClient:
    from shin_gateway.cli.admin_client import TIMEOUT, AdminClient

    return AdminClient(folder(home), patience or TIMEOUT)


def _path(id: str, *more: str) -> str:
    from shin_gateway.cli.admin_client import part

    if not set(id) <= set("0123456789abcdef"):
        raise Failed(f"there is no dead letter {_plain(id)}: `shin dlq list` shows the ids", 2)
    return "/".join((PATH, part(id), *more))


def _secret(reference: str) -> str:
    """A key typed as it is would stand in the shell's history. Raises Failed, SecretMissing."""
    from shin_gateway.secret import SecretRef

    try:
        return SecretRef(reference).read()
    except ValueError:
        raise Failed("--key takes a reference: env:NAME or file:PATH", 2) from None


def _line(result: dict[str, Any]) -> str:
    state = "kept" if result["kept"] else "dropped"
    said = f": {_plain(result['said'])[:300]}" if result["said"] else ""
    return f"{result['id']} → {result['call'] or 'no call'}  {result['status'] or 'no reply'}  {state}{said}"


def _table(letters: list[dict[str, Any]]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(*_COLUMNS, box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, header_style="dim")
    table.padding = (0, 1, 0, 0)  # an id is long
    for column in table.columns[:2]:
        column.no_wrap = True
    for one in letters:
        at = f"{dt.datetime.fromisoformat(one['at']).astimezone():%m-%d %H:%M}"
        values = [one["id"], at, *(str(one[name]) for name in _COLUMNS[2:-1])]
        again = f"no: {one['unsent']}" if one["unsent"] else "yes"
        table.add_row(*(Text(_plain(value)) for value in [*values, again]), style="dim" if one["unsent"] else "")
    Console(highlight=False, width=None if sys.stdout.isatty() else WIDE).print(table)


def _plain(text: str) -> str:
    """What came from outside does not move the cursor of the terminal that shows it."""
    return "".join(one if one.isprintable() or one == "\n" else "?" for one in text)
