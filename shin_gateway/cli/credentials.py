"""`shin credential`: credentials for providers that the gateway keeps sealed."""

from __future__ import annotations

import datetime as dt
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from shin_gateway.cli.options import WIDE, Failed, HomeOption, folder
from shin_gateway.running import DEFAULT_HOME

if TYPE_CHECKING:
    from shin_gateway.cli.admin_client import AdminClient

PATH = "/api/v1/credentials"

Json = Annotated[bool, typer.Option("--json", help="For programs.")]
Name = Annotated[str, typer.Argument(metavar="NAME", help="Its name: kept:NAME in shin.yaml.")]

_COLUMNS = ("name", "end", "at", "by", "state")
_LONGEST = 65536


def register(app: typer.Typer) -> None:
    words = "Credentials for providers, kept sealed: api_key: kept:NAME in shin.yaml."
    group = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help=words)
    group.command("set")(put)
    group.command("list")(list_credentials)
    for command in (remove, reseal):
        group.command()(command)
    app.add_typer(group, name="credential")


def put(name: Name, home: HomeOption = DEFAULT_HOME) -> None:
    """Keep a credential, from standard input or typed in.

    `shin credential set openai < key.txt`. It is never shown again.
    """
    client = _client(home)
    shown = client.put(_path(name), {"value": _value(name)})
    typer.echo(f"kept:{shown['name']} is set{f', ends with {shown["end"]}' if shown['end'] else ''}")


def list_credentials(as_json: Json = False, home: HomeOption = DEFAULT_HOME) -> None:
    """List what is kept: names, when and by whom, the last four characters."""
    found = _client(home).get(PATH)["credentials"]
    if as_json:
        typer.echo(json.dumps(found, indent=2))
    else:
        _table(found)


def remove(name: Name, home: HomeOption = DEFAULT_HOME) -> None:
    """Forget a credential."""
    _client(home).delete(_path(name))
    typer.echo(f"kept:{name} is removed")


def reseal(home: HomeOption = DEFAULT_HOME) -> None:
    """Seal everything with the master key of now.

    After this nothing that is kept needs the key in SHIN_MASTER_KEY_OLD.
    """
    client = _client(home)
    names = client.post(f"{PATH}/reseal")["names"]
    typer.echo(f"sealed again: {', '.join(names)}" if names else "everything was sealed with this key already")
    left = [one["name"] for one in client.get(PATH)["credentials"] if one["state"] == "unreadable"]
    if left:
        raise Failed(f"sealed with a master key that is not known: {', '.join(left)}")


def _value(name: str) -> str:
    """What is never an argument: others see those, and the shell remembers them."""
    if sys.stdin.isatty():
        return str(typer.prompt(f"The credential for kept:{name}", hide_input=True))
    try:
        value = sys.stdin.buffer.read(_LONGEST + 1).decode().strip()
    except UnicodeDecodeError:
        raise Failed("standard input is no text", 2) from None
    if not value or len(value) > _LONGEST:
        raise Failed("standard input is empty" if not value else f"it is longer than {_LONGEST} characters", 2)
    return value


def _client(home: Path) -> AdminClient:
    from shin_gateway.cli.admin_client import AdminClient

    return AdminClient(folder(home))


def _path(name: str) -> str:
    from shin_gateway.cli.admin_client import part

    return f"{PATH}/{part(name)}"


def _table(credentials: list[dict[str, Any]]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(*_COLUMNS, box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, header_style="dim")
    table.columns[0].no_wrap = True
    for one in credentials:
        table.add_row(*(Text(_text(name, one[name])) for name in _COLUMNS))
    Console(highlight=False, width=None if sys.stdout.isatty() else WIDE).print(table)


def _text(name: str, value: str) -> str:
    """A value for a terminal; what came from outside does not move its cursor."""
    if name == "at":
        return f"{dt.datetime.fromisoformat(value).astimezone():%Y-%m-%d %H:%M}"
    if name == "end":
        value = f"…{value}" if value else "-"
    return "".join(character if character.isprintable() else "?" for character in value)
