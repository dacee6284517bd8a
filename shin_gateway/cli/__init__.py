"""`shin`: one file for each group of commands. What a command needs is imported when it runs."""

from __future__ import annotations


def main() -> None:
    """The entry point of the `shin` script."""
    from shin_gateway.cli.app import run

    run()
