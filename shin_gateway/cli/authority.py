"""`shin ca`: show, export and renew the certificate that clients trust."""

from __future__ import annotations

import enum
import sys
from pathlib import Path
from typing import Annotated

import typer

from shin_gateway.cli.options import AddonsOption, HomeOption, PoliciesOption, folder
from shin_gateway.running import DEFAULT_HOME


class Form(enum.StrEnum):
    """How a certificate is written."""

    PEM = "pem"
    DER = "der"


def register(app: typer.Typer) -> None:
    group = typer.Typer(no_args_is_help=True, help="The certificate authority of this installation.")
    for command in (show, path, export, renew):
        group.command()(command)
    app.add_typer(group, name="ca")


def show(home: HomeOption = DEFAULT_HOME) -> None:
    """Print where the certificate is, its fingerprint, how long it lasts and what it may be used for."""
    from shin_gateway.ca import Authority

    authority = Authority(folder(home))
    cert = authority.cert
    typer.echo(f"certificate  {authority.cert_path}")
    typer.echo(f"bundle       {authority.bundle_path} (public roots and this certificate)")
    typer.echo(f"subject      {cert.subject.rfc4514_string()}")
    typer.echo(f"SHA-256      {authority.fingerprint}")
    typer.echo(f"valid        {cert.not_valid_before_utc:%Y-%m-%d} to {cert.not_valid_after_utc:%Y-%m-%d}")
    typer.echo("hosts        " + "\n             ".join(authority.hosts or ["none"]))


def path(
    bundle: Annotated[bool, typer.Option("--bundle", help="The file with public roots too.")] = False,
    home: HomeOption = DEFAULT_HOME,
) -> None:
    """Print the path of the certificate."""
    from shin_gateway.ca import Authority

    authority = Authority(folder(home))
    _ = authority.cert  # a path that leads nowhere helps nobody
    typer.echo(authority.bundle_path if bundle else authority.cert_path)


def export(
    form: Annotated[Form, typer.Option("--form", help="PEM for most programs, DER for Windows and Java.")] = Form.PEM,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="A file.", show_default="stdout")] = None,
    home: HomeOption = DEFAULT_HOME,
) -> None:
    """Write the certificate, without its key, for another machine or a container."""
    from shin_gateway.ca import Authority

    data = Authority(folder(home)).export(form)
    if output:
        output.write_bytes(data)
    else:
        sys.stdout.buffer.write(data)


def renew(policies: PoliciesOption = None, addons: AddonsOption = None, home: HomeOption = DEFAULT_HOME) -> None:
    """Make the certificate again with the same key, for a year and for exactly the hosts that policies name now."""
    from shin_gateway.ca import Authority
    from shin_gateway.policy.resolve import load_policies
    from shin_gateway.registry import Registry

    authority = Authority(folder(home))
    authority.renew(load_policies(policies or [], Registry.load(addons or [])).hosts)
    typer.echo(
        f"valid to {authority.cert.not_valid_after_utc:%Y-%m-%d}; a proxy that runs takes it when it is restarted"
    )
