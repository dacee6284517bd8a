"""The scripts that the state store runs in one step each. Every key is under one hash tag, so that they may meet."""

from __future__ import annotations

from importlib.resources import files

PREFIX = "shin:{admission}:"

_KINDS = ("bucket", "alerts", "window", "allowance", "places", "spare", "nothing")


def load(name: str) -> str:
    """The script lua/`name`.lua with all that it stands on."""
    folder = files("shin_gateway.admission").joinpath("lua")
    return "\n".join(folder.joinpath(f"{part}.lua").read_text("utf-8") for part in ("common", *_KINDS, name))
