"""Puts the commands together, and turns expected failures into one line and an exit code."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from shin_gateway.cli import authority, budget, client, credentials, dlq, doctor, keys, policies, serve, tail
from shin_gateway.cli.options import Failed

app = typer.Typer(
    name="shin",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for group in (serve, client, authority, policies, keys, budget, credentials, dlq, tail, doctor):
    group.register(app)

# An exception of one of these kinds can only have been raised if its module is loaded, so none is imported for it.
_EXPECTED = (
    ("shin_gateway.ca", "CAError"),
    ("shin_gateway.policy.positions", "PolicyErrors"),
    ("shin_gateway.registry", "RegistryError"),
    ("shin_gateway.running", "NotStarted"),
    ("shin_gateway.secret", "SecretMissing"),
    ("shin_gateway.stores.errors", "StoreError"),
    ("shin_gateway.supervisor", "CannotStart"),
)
_INTERRUPTED = 130


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import PackageNotFoundError, version

        try:
            typer.echo(f"shin {version('shin-gateway')}")
        except PackageNotFoundError:
            typer.echo("shin (not installed)")
        raise typer.Exit


@app.callback()
def shin(
    _version: Annotated[
        bool, typer.Option("--version", "-V", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """An LLM gateway: see what programs send to language models, and what it costs."""


def run() -> None:
    """Run the command line of this process, and exit."""
    try:
        app(prog_name="shin")
    except KeyboardInterrupt:
        sys.exit(_INTERRUPTED)
    except BrokenPipeError:
        # The reader of our output has gone, like `head`. Python would complain once more when it flushes.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except Exception as error:
        code = failure(error)
        if code is None:
            raise
        for line in str(error).splitlines():
            print(f"shin: {line}", file=sys.stderr)
        sys.exit(code)


def failure(error: Exception) -> int | None:
    """The exit code for a failure that needs no traceback; None for one that is a bug of ours."""
    if isinstance(error, Failed):
        return error.code
    kinds = [getattr(sys.modules.get(module), name, None) for module, name in _EXPECTED]
    if any(kind and isinstance(error, kind) for kind in kinds):
        return 1
    return 1 if isinstance(error, OSError) else None
