"""`shin budget`: what was spent of which budget, by whom; other limits for one; beginning anew."""

from __future__ import annotations

import datetime as dt
import json
import sys
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from shin_gateway.cli.options import WIDE, HomeOption, folder, quoted
from shin_gateway.running import DEFAULT_HOME

if TYPE_CHECKING:
    from shin_gateway.cli.admin_client import AdminClient

PATH = "/api/v1/budgets"
_COLUMNS = ("budget", "of", "spent", "held", "limit", "left", "resets")

Json = Annotated[bool, typer.Option("--json", help="For programs.")]
Budget = Annotated[str, typer.Argument(metavar="BUDGET", help="Its name, as `show` has it: '$20/day per user'.")]
Subject = Annotated[str, typer.Argument(metavar="OF", help="For whom it counts, as `show` has it: 'user alice'.")]


def register(app: typer.Typer) -> None:
    group = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Budgets in use: who spent how much.")
    group.command("show")(show)
    group.command("set")(set_limit)
    group.command("reset")(reset)
    group.command("alerts")(alerts)
    app.add_typer(group, name="budget")


def show(
    budget: Annotated[str, typer.Option(help="Only the budget of this name.")] = "",
    subject: Annotated[str, typer.Option("--of", help='Only those of "user alice", "team red".')] = "",
    as_json: Json = False,
    home: HomeOption = DEFAULT_HOME,
) -> None:
    """Show budgets of which something was used in the period that runs."""
    found = _client(home).get(PATH, budget=budget or None, subject=subject or None)["budgets"]
    _print(found, as_json)


def set_limit(
    budget: Budget,
    subject: Subject,
    limit: Annotated[str, typer.Argument(metavar="LIMIT", help="'$30', '3M tokens', or `policy`: as the policy says.")],
    as_json: Json = False,
    home: HomeOption = DEFAULT_HOME,
) -> None:
    """Give one user, team or key another limit, in later periods too."""
    wanted = {"budget": quoted(budget), "subject": subject, "limit": None if limit == "policy" else limit}
    _print([_client(home).put(f"{PATH}/limit", wanted)], as_json)


def reset(budget: Budget, subject: Subject, as_json: Json = False, home: HomeOption = DEFAULT_HOME) -> None:
    """Forget what was spent in the period that runs."""
    _print([_client(home).post(f"{PATH}/reset", {"budget": quoted(budget), "subject": subject})], as_json)


def alerts(
    count: Annotated[int, typer.Option("-n", "--lines", min=1, max=1000, help="The newest so many.")] = 50,
    as_json: Json = False,
    home: HomeOption = DEFAULT_HOME,
) -> None:
    """Show when budgets reached 50, 75, 90 and 100 %."""
    found = _client(home).get(f"{PATH}/alerts", limit=count)["alerts"]
    if as_json:
        typer.echo(json.dumps(found, indent=2))
        return
    for one in found:
        typer.echo(f"{_time(one['at'])}  {_plain(one['message'])}")


def _client(home: Path) -> AdminClient:
    from shin_gateway.cli.admin_client import AdminClient

    return AdminClient(folder(home))


def _print(budgets: list[dict[str, Any]], as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(budgets, indent=2))
        return
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(*_COLUMNS, box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, header_style="dim")
    for column in table.columns[2:]:
        column.no_wrap = True
    for one in budgets:
        spent, held, limit = (Decimal(one[name]) for name in ("spent", "reserved", "limit"))
        share = (spent + held) / limit if limit else 1
        left = max(Decimal(0), limit - spent - held)
        resets = "rolling" if one["rolling"] else _time(one["resets"])
        used = [_amount(amount, one) for amount in (spent, held)]
        limits = [_amount(limit, one) + _by_hand(one), _amount(left, one)]
        values = [one["budget"], one["subject"], *used, *limits, resets]
        style = "red" if share >= 1 else "yellow" if share >= 0.75 else ""
        table.add_row(*(Text(_plain(value)) for value in values), style=style)
    Console(highlight=False, width=None if sys.stdout.isatty() else WIDE).print(table)


def _by_hand(budget: dict[str, Any]) -> str:
    """A word for a limit that is not the policy's, since it stays until it is taken back."""
    return " (set)" if Decimal(budget["policy_limit"]) != Decimal(budget["limit"]) else ""


def _amount(amount: Decimal, budget: dict[str, Any]) -> str:
    if budget["unit"] == "tokens":
        return f"{amount:,.0f}"
    return f"${amount:,.2f}" if amount >= 1 or not amount else f"${amount:.6f}"


def _time(text: str) -> str:
    return f"{dt.datetime.fromisoformat(text).astimezone():%Y-%m-%d %H:%M}"


def _plain(text: str) -> str:
    """What came from outside does not move the cursor of the terminal that shows it."""
    return "".join(one if one.isprintable() else "?" for one in text)
