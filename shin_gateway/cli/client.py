"""`shin exec` and `shin env`: programs that shall use the proxy."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from shin_gateway.cli.options import (
    AddonsOption,
    ConfigOption,
    Failed,
    HomeOption,
    PoliciesOption,
    UserOption,
    folder,
    warn,
)
from shin_gateway.running import DEFAULT_HOME

if TYPE_CHECKING:
    from shin_gateway.launch import Environment
    from shin_gateway.running import Running


def register(app: typer.Typer) -> None:
    app.command("exec", context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})(execute)
    app.command("env")(print_environment)


def execute(
    command: Annotated[list[str], typer.Argument(metavar="COMMAND", help="The program and its arguments.")],
    user: UserOption = None,
    home: HomeOption = DEFAULT_HOME,
    config: ConfigOption = None,
    policies: PoliciesOption = None,
    addons: AddonsOption = None,
) -> None:
    """Run a program through the proxy.

    When no proxy is running, one is started for the life of the program.
    """
    from shin_gateway import launch, running

    place = folder(home)
    try:
        launch.find(command[0])  # before a proxy is started for nothing
        with running.lease(place, _arguments(config, policies, addons)) as proxy:
            environment = _environment(place, proxy, user)
            for text in environment.warnings:
                warn(text)
            code = launch.execute(command, environment.applied(os.environ))
    except launch.CannotRun as error:
        raise Failed(str(error), error.code) from None
    raise typer.Exit(code)


def print_environment(
    shell: Annotated[
        str | None, typer.Option(help="bash, zsh, sh, fish or powershell.", show_default="from $SHELL")
    ] = None,
    user: UserOption = None,
    home: HomeOption = DEFAULT_HOME,
) -> None:
    """Print the variables for a shell.

    eval "$(shin env)"
    """
    from shin_gateway import launch, running

    if shell is not None and shell not in launch.SHELLS:
        raise Failed(f"unknown shell {shell!r}: use one of {', '.join(launch.SHELLS)}", 2)
    place = folder(home)
    proxy = running.find(place)
    if proxy is None:
        warn(f"no proxy is running: start it with `shin run`; these lines are for its default, {running.DEFAULT_PROXY}")
    environment = _environment(place, proxy or running.Running(0, running.DEFAULT_PROXY), user)
    for text in environment.warnings:
        warn(text)
    typer.echo("\n".join(launch.shell_lines(environment, shell or launch.shell_of())))


def _arguments(config: Path | None, policies: list[Path] | None, addons: list[Path] | None) -> list[str]:
    given = [("--config", config), *(("--policies", one) for one in policies or [])]
    given += [("--addons", one) for one in addons or []]
    return [item for name, path in given if path is not None for item in (name, str(path.absolute()))]


def _environment(home: Path, proxy: Running, user: str | None) -> Environment:
    from shin_gateway import launch
    from shin_gateway.ca import Authority

    authority = Authority(home)
    if not authority.exists:
        authority.ensure(_known_hosts())
    return launch.environment(authority.trust(os.environ), proxy.proxy, user or _login(), rewrites=proxy.rewrites)


def _known_hosts() -> list[str]:
    """The hosts of the policies that come with Shin: `shin run` adds those of other policies."""
    from shin_gateway.policy.resolve import load_policies
    from shin_gateway.registry import Registry

    return load_policies([], Registry.load()).hosts


def _login() -> str | None:
    import getpass

    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a user id without a name, as in many containers
        return None
