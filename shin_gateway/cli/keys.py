"""`shin key`: virtual keys of the gateway that runs."""

from __future__ import annotations

import datetime as dt
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from shin_gateway.cli.options import WIDE, Failed, HomeOption, folder, quoted, warn
from shin_gateway.running import DEFAULT_HOME

if TYPE_CHECKING:
    from shin_gateway.cli.admin_client import AdminClient

PATH = "/api/v1/keys"

Json = Annotated[bool, typer.Option("--json", help="For programs.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print the key alone.")]
Id = Annotated[str, typer.Argument(metavar="ID", help="The key's id, key_….")]
Repeated = list[str] | None

_COLUMNS = ("id", "name", "user", "team", "project", "roles", "status", "expires")


def register(app: typer.Typer) -> None:
    group = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Virtual keys: who may call, with what.")
    group.command("list")(list_keys)
    for command in (create, show, rotate, disable, enable, revoke):
        group.command()(command)
    app.add_typer(group, name="key")


def create(
    name: Annotated[str, typer.Option(help="A name for people.")] = "",
    user: Annotated[str, typer.Option(help="Whose key it is.")] = "",
    team: Annotated[str, typer.Option(help="The team it counts for.")] = "",
    project: Annotated[str, typer.Option(help="The project it counts for.")] = "",
    tag: Annotated[Repeated, typer.Option(help="A label. May be repeated.")] = None,
    role: Annotated[Repeated, typer.Option(help="What it may. May be repeated.", show_default="user")] = None,
    model: Annotated[Repeated, typer.Option(help="A pattern of models, like openai/*. May be repeated.")] = None,
    host: Annotated[Repeated, typer.Option(help="A pattern of hosts, or gateway. May be repeated.")] = None,
    expires: Annotated[str | None, typer.Option(help="30d, 12h, or a date.", show_default="never")] = None,
    limit: Annotated[
        Repeated, typer.Option(help="A limit of its own: 'requests=60/min', a setting of rate_limit. May be repeated.")
    ] = None,
    budget: Annotated[
        Repeated, typer.Option(help="A budget of its own: 'limit=$5/day', a setting of budget. May be repeated.")
    ] = None,
    quiet: Quiet = False,
    as_json: Json = False,
    home: HomeOption = DEFAULT_HOME,
) -> None:
    """Make a virtual key.

    It is shown this once: only its hash is kept.
    """
    texts = {"name": name, "user": user, "team": team, "project": project}
    lists = {"tags": tag, "roles": role, "models": model, "hosts": host}
    wanted: dict[str, Any] = {name: value for name, value in {**texts, **lists}.items() if value}
    wanted |= {"limits": _settings("--limit", limit)} if limit else {}
    wanted |= {"budget": _settings("--budget", [*map(_in_quotes, budget)])} if budget else {}
    wanted |= {"expires": _moment(expires)} if expires is not None else {}
    _tell_secret(_client(home).post(PATH, wanted), quiet, as_json)


def list_keys(
    user: Annotated[str | None, typer.Option(help="Keys of this user.")] = None,
    team: Annotated[str | None, typer.Option(help="Keys of this team.")] = None,
    project: Annotated[str | None, typer.Option(help="Keys of this project.")] = None,
    tag: Annotated[str | None, typer.Option(help="Keys with this label.")] = None,
    status: Annotated[str | None, typer.Option(help="active, disabled, expired or revoked.")] = None,
    count: Annotated[int, typer.Option("-n", "--lines", min=1, help="The newest so many.")] = 100,
    as_json: Json = False,
    home: HomeOption = DEFAULT_HOME,
) -> None:
    """List virtual keys, the newest first."""
    client = _client(home)
    wanted = {"user": user, "team": team, "project": project, "tag": tag, "status": status}
    found: list[dict[str, Any]] = []
    before: str | None = None
    while len(found) < count:
        page = client.get(PATH, limit=min(500, count - len(found)), before=before, **wanted)
        found += page["keys"]
        before = page["next"]
        if before is None:
            break
    if as_json:
        typer.echo(json.dumps(found, indent=2))
    else:
        _table(found)
        if before is not None:
            warn(f"there may be more: these are the newest {count}")


def show(id: Id, as_json: Json = False, home: HomeOption = DEFAULT_HOME) -> None:
    """Show one virtual key, without its secret."""
    _tell(_client(home).get(_path(id)), as_json)


def rotate(
    id: Id,
    grace: Annotated[
        str | None, typer.Option(help="How long the old key works on; 0s: it stops at once.", show_default="1h")
    ] = None,
    quiet: Quiet = False,
    as_json: Json = False,
    home: HomeOption = DEFAULT_HOME,
) -> None:
    """Make a new secret for a key.

    The old one works for a while. The new one is shown this once.
    """
    body = {} if grace is None else {"grace": _seconds("--grace", grace)}
    _tell_secret(_client(home).post(_path(id, "rotate"), body), quiet, as_json)


def disable(id: Id, as_json: Json = False, home: HomeOption = DEFAULT_HOME) -> None:
    """Let nobody in with a key until it is enabled."""
    _tell(_client(home).post(_path(id, "disable")), as_json)


def enable(id: Id, as_json: Json = False, home: HomeOption = DEFAULT_HOME) -> None:
    """Let a disabled key work again."""
    _tell(_client(home).post(_path(id, "enable")), as_json)


def revoke(id: Id, as_json: Json = False, home: HomeOption = DEFAULT_HOME) -> None:
    """End a key for good."""
    _tell(_client(home).delete(_path(id)), as_json)


def _client(home: Path) -> AdminClient:
    from shin_gateway.cli.admin_client import AdminClient

    return AdminClient(folder(home))


def _path(id: str, *more: str) -> str:
    from shin_gateway.cli.admin_client import part

    if id.startswith("sk-"):
        raise Failed("that is a key itself: name it by its id, key_…, as `shin key list` shows it", 2)
    return "/".join((PATH, part(id), *more))


# ── what is typed ────────────────────────────────────────────────────────────────────────────────


def _settings(option: str, pairs: list[str]) -> dict[str, Any]:
    """`requests=60/min` and the like as a mapping; a value that is JSON is taken as that."""
    settings: dict[str, Any] = {}
    for pair in pairs:
        name, separator, value = pair.partition("=")
        if not separator or not name.strip():
            raise Failed(f"{option} takes KEY=VALUE, like {option} requests=60/min", 2)
        settings[name.strip()] = _value(value.strip())
    return settings


def _in_quotes(pair: str) -> str:
    quoted(pair.partition("=")[2])
    return pair


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _later(option: str, text: str) -> float:
    try:
        return _seconds(option, text)
    except Failed:
        raise Failed(f"{option}: write 30d, 12h, or a date like 2027-01-31, not {text!r}", 2) from None


def _seconds(option: str, text: str) -> float:
    from shin_gateway.units import parse_duration

    try:
        return 0.0 if text == "0" else parse_duration(text)
    except ValueError as error:
        raise Failed(f"{option}: {error}", 2) from None


def _moment(text: str) -> str:
    """`30d` from now, or a date or time of this machine's time zone."""
    try:
        return dt.datetime.fromisoformat(text).astimezone().isoformat()
    except ValueError:
        pass
    try:
        return (dt.datetime.now(dt.UTC) + dt.timedelta(seconds=_later("--expires", text))).isoformat()
    except OverflowError:
        raise Failed("--expires: too far ahead", 2) from None


# ── what is shown ────────────────────────────────────────────────────────────────────────────────


def _tell_secret(key: dict[str, Any], quiet: bool, as_json: bool) -> None:
    """To a program the secret alone, so that a script can keep it and nobody else sees it."""
    if as_json:
        typer.echo(json.dumps(key, indent=2))
    elif quiet or not sys.stdout.isatty():
        typer.echo(key["secret"])
    else:
        _tell(key, as_json=False)
        typer.echo(f"\n{key['secret']}\n\nKeep it now: it is not shown again.")


def _tell(key: dict[str, Any], as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(key, indent=2))
        return
    for name, value in key.items():
        if name != "secret" and value not in (None, "", [], {}):
            typer.echo(f"{name.replace('_', ' '):<18}{_text(name, value)}")


def _table(keys: list[dict[str, Any]]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(*_COLUMNS, box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, header_style="dim")
    for column in table.columns:
        column.no_wrap = column.header in ("id", "status", "expires")
    for key in keys:
        style = "" if key["status"] == "active" else "dim"
        table.add_row(*(Text(_text(name, key[name])) for name in _COLUMNS), style=style)
    Console(highlight=False, width=None if sys.stdout.isatty() else WIDE).print(table)


def _text(name: str, value: Any) -> str:
    """A value for a terminal; what came from outside does not move its cursor."""
    if value is None:
        return "never" if name == "expires" else "-"
    if name in ("created", "expires", "rotated", "old_secret_until", "revoked"):
        return f"{dt.datetime.fromisoformat(value).astimezone():%Y-%m-%d %H:%M}"
    if isinstance(value, dict):
        value = " ".join(f"{key}={one if isinstance(one, str) else json.dumps(one)}" for key, one in value.items())
    text = ", ".join(value) if isinstance(value, list) else str(value)
    return "".join(character if character.isprintable() else "?" for character in text)
