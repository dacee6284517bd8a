"""`shin doctor`: what an agent's silence means."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from shin_gateway.cli.options import HomeOption, folder
from shin_gateway.running import DEFAULT_HOME

if TYPE_CHECKING:
    from shin_gateway.cli.checks import Finding

_MARKS = {"ok": ("ok  ", "green"), "note": ("note", "yellow"), "problem": ("bad ", "red")}


def register(app: typer.Typer) -> None:
    app.command()(doctor)


def doctor(
    hours: Annotated[float, typer.Option(min=0.01, help="How far back to look for failures.")] = 1.0,
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
    home: HomeOption = DEFAULT_HOME,
) -> None:
    """Say why an agent is not seen, and what to do.

    Exits with 1 when something is wrong.
    """
    import datetime as dt

    from shin_gateway.cli import checks

    findings = list(checks.examine(checks.here(folder(home), dt.timedelta(hours=hours))))
    if as_json:
        typer.echo(json.dumps([asdict(finding) for finding in findings], indent=2))
    else:
        _print(findings)
    raise typer.Exit(1 if any(finding.level == "problem" for finding in findings) else 0)


def _print(findings: list[Finding]) -> None:
    from rich.console import Console
    from rich.padding import Padding
    from rich.text import Text

    console = Console(highlight=False)
    for finding in findings:
        mark, colour = _MARKS[finding.level]
        console.print(Text.assemble((mark, colour), "  ", finding.what), soft_wrap=True)
        for word, text in (("why", finding.why), ("do", finding.do)):
            if text:
                console.print(Padding(Text.assemble((f"{word:<4}", "dim"), text), (0, 0, 0, 6), expand=False))
