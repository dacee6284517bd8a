"""Nobody stands in the list of actions under somebody else's name."""

from __future__ import annotations

import pytest

from shin_gateway.admin.permissions import THIS_MACHINE, Asker
from shin_gateway.caller import Caller


@pytest.mark.parametrize(
    ("caller", "name"),
    [
        (Caller("ann", "token", user="ann"), "ann"),
        (Caller("ann", "virtual_key", user="ann", key="key_7PVxQ2mZ0bKc"), "ann (key_7PVxQ2mZ0bKc)"),
        (Caller("this machine", "token", user="this machine"), "user this machine"),
        (Caller("files on here", "token", user="files on here"), "user files on here"),
        (Caller("ann (key_7PVxQ2mZ0bKc)", "token"), "user ann (key_7PVxQ2mZ0bKc)"),
    ],
)
def test_who_did_it(caller: Caller, name: str) -> None:
    assert Asker(caller, lambda permission: True).name == name
    assert THIS_MACHINE.name == "this machine"
