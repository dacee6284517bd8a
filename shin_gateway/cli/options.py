"""What several commands take, and how they fail."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Annotated

import typer

HomeOption = Annotated[
    Path, typer.Option("--home", envvar="SHIN_HOME", help="Where state, logs and the CA live.", show_default="~/.shin")
]
PoliciesOption = Annotated[
    list[Path] | None,
    typer.Option("--policies", help="A folder of policies, over those that come with Shin. May be repeated."),
]
AddonsOption = Annotated[
    list[Path] | None, typer.Option("--addons", help="A folder of addons beside Shin's own. May be repeated.")
]
ConfigOption = Annotated[Path | None, typer.Option("--config", help="shin.yaml: listeners, stores, providers, users.")]
UserOption = Annotated[
    str | None,
    typer.Option(
        "--user",
        envvar="SHIN_USER",
        help="Who calls: NAME, or NAME:SECRET where the proxy wants one (better in SHIN_USER).",
        show_default="you",
    ),
]

WIDE = 200
"""Columns of a table that goes into a pipe, where nothing says how wide it may be."""


class Failed(Exception):
    """A command that cannot do what it was asked; `code` is the exit code."""

    def __init__(self, message: str, code: int = 1) -> None:
        super().__init__(message)
        self.code = code


def folder(home: Path) -> Path:
    """`--home` as a path that also other processes understand."""
    try:
        return home.expanduser().absolute()
    except RuntimeError as error:
        raise Failed(f"--home {home}: {error}") from None


def quoted(text: str) -> str:
    """An amount as it was typed. Raises Failed where a shell has put the value of `$5` or `$20` in its place."""
    if re.match(r"\d*/", text):
        raise Failed(f"{text!r} lacks its $: write it between single quotes, so that the shell leaves it alone", 2)
    return text


def warn(text: str) -> None:
    """One line for people, where it does not get into what a program reads."""
    print(f"shin: {text}", file=sys.stderr)
