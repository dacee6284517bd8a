"""`shin check`, `shin explain` and `shin schema`: policies as they would load."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from shin_gateway.cli.options import AddonsOption, ConfigOption, Failed, PoliciesOption

if TYPE_CHECKING:
    from shin_gateway.config import Config
    from shin_gateway.registry import Registry


def register(app: typer.Typer) -> None:
    for command in (check, explain, schema):
        app.command()(command)


def check(
    folders: Annotated[
        list[Path] | None, typer.Argument(metavar="[DIR]...", help="Folders of policies, over those of Shin.")
    ] = None,
    config: ConfigOption = None,
    addons: AddonsOption = None,
) -> None:
    """Say what is wrong with policies, and where.

    With --config also what is wrong with shin.yaml, and with the policies that it names.
    """
    from shin_gateway.policy.resolve import check as problems
    from shin_gateway.policy.resolve import load_policies

    where, registry, _ = _named(config, folders, addons)
    found = problems(where, registry)
    for problem in found:
        typer.echo(problem, err=True)
    errors = [problem for problem in found if not problem.warning]
    if errors:
        raise typer.Exit(1)
    policies = load_policies(where, registry)
    typer.echo(f"{len(policies.policies)} policies for {len(policies.hosts)} hosts: no errors")


def explain(
    host: Annotated[str, typer.Argument(help="A host, with or without a port, or `gateway`.")],
    policies: PoliciesOption = None,
    config: ConfigOption = None,
    addons: AddonsOption = None,
) -> None:
    """Show the chain for a host.

    With the file and line that each part of it comes from.
    """
    from shin_gateway.policy.explain import explain as explanation
    from shin_gateway.policy.resolve import load_policies
    from shin_gateway.providers import Providers

    where, registry, read = _named(config, policies, addons)
    try:
        text = explanation(load_policies(where, registry), Providers.load(read), host)
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


def _named(
    config: Path | None, policies: list[Path] | None, addons: list[Path] | None
) -> tuple[list[Path], Registry, Config]:
    """Folders of policies, and the addons there are: those of shin.yaml, where it is given, and these."""
    from shin_gateway.assembly import Places

    places = Places(Path(), config, policies or [], addons or [])
    read = places.read()
    return places.policy_dirs(read), places.registry(read), read
