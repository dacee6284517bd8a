"""`shin run` and `shin admin`: the servers."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from shin_gateway.cli.options import AddonsOption, ConfigOption, HomeOption, PoliciesOption, folder
from shin_gateway.running import DEFAULT_HOME

Port = typer.Option(min=0, max=65535, help="0 takes a free one.")


def register(app: typer.Typer) -> None:
    app.command()(run)
    app.command()(admin)


def run(
    config: ConfigOption = None,
    policies: PoliciesOption = None,
    addons: AddonsOption = None,
    home: HomeOption = DEFAULT_HOME,
    workers: Annotated[int | None, typer.Option(min=1, help="Proxy processes on the same ports.")] = None,
    host: Annotated[
        str | None, typer.Option(help="Address to listen on; beyond loopback only where everybody shows a key.")
    ] = None,
    proxy_port: Annotated[int | None, Port] = None,
    gateway_port: Annotated[int | None, Port] = None,
    admin_port: Annotated[int | None, Port] = None,
    mode: Annotated[
        list[str] | None, typer.Option(help="A mode of mitmproxy, like upstream:http://proxy:3128. May be repeated.")
    ] = None,
    option: Annotated[
        list[str] | None, typer.Option("--set", metavar="OPTION=VALUE", help="An option of mitmproxy. May be repeated.")
    ] = None,
    drain: Annotated[float, typer.Option(min=0, help="Seconds that calls get to end after SIGTERM.")] = 30.0,
    ready_file: Annotated[Path | None, typer.Option(help="Written when everything serves; holds the ports.")] = None,
) -> None:
    """Run the proxy, the gateway and the admin server."""
    from shin_gateway import supervisor

    options = supervisor.RunOptions(
        config=config,
        policies=policies or [],
        addons=addons or [],
        home=folder(home),
        workers=workers,
        host=host,
        proxy_port=proxy_port,
        gateway_port=gateway_port,
        admin_port=admin_port,
        modes=mode or [],
        set=option or [],
        drain=drain,
        ready_file=ready_file,
    )
    raise typer.Exit(supervisor.run(options) or 0)


def admin(
    config: ConfigOption = None,
    policies: PoliciesOption = None,
    addons: AddonsOption = None,
    home: HomeOption = DEFAULT_HOME,
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    admin_port: Annotated[int | None, Port] = None,
) -> None:
    """Run the admin server alone.

    Its API, and the shipping of rows to analytics.
    """
    from shin_gateway import supervisor

    options = supervisor.RunOptions(
        config=config,
        policies=policies or [],
        addons=addons or [],
        home=folder(home),
        workers=None,
        host=host,
        proxy_port=None,
        gateway_port=None,
        admin_port=admin_port,
        modes=[],
        set=[],
        ready_file=None,
    )
    raise typer.Exit(supervisor.run_admin(options) or 0)
