"""`shin check`, `shin explain` and `shin schema`: policies as they would load."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from shin_gateway.cli.options import AddonsOption, Failed, PoliciesOption


def register(app: typer.Typer) -> None:
    for command in (check, explain, schema):
        app.command()(command)


def check(
    folders: Annotated[
        list[Path] | None, typer.Argument(metavar="[DIR]...", help="Folders of policies, over those of Shin.")
    ] = None,
    addons: AddonsOption = None,
) -> None:
    """Say what is wrong with policies, and where."""
    from shin_gateway.policy.resolve import check as problems
    from shin_gateway.policy.resolve import load_policies
    from shin_gateway.registry import Registry

    registry = Registry.load(addons or [])
    found = problems(folders or [], registry)
    for problem in found:
        typer.echo(problem, err=True)
    errors = [problem for problem in found if not problem.warning]
    if errors:
        raise typer.Exit(1)
    policies = load_policies(folders or [], registry)
    typer.echo(f"{len(policies.policies)} policies for {len(policies.hosts)} hosts: no errors")


def explain(
    host: Annotated[str, typer.Argument(help="A host, with or without a port, or `gateway`.")],
    policies: PoliciesOption = None,
    addons: AddonsOption = None,
) -> None:
    """Show the chain for a host.

    With the file and line that each part of it comes from.
    """
    from shin_gateway.policy.explain import explain as explanation
    from shin_gateway.policy.resolve import load_policies
    from shin_gateway.registry import Registry

    try:
        text = explanation(load_policies(policies or [], Registry.load(addons or [])), host)
    except ValueError as error:
        raise Failed(str(error), 2) from None
    typer.echo(text)


def schema(addons: AddonsOption = None) -> None:
    """Print the JSON schema of a policy.

    For editors; with every addon that is installed.
    """
    from shin_gateway.policy.schema import text
    from shin_gateway.registry import Registry

    typer.echo(text(Registry.load(addons or [])), nl=False)
