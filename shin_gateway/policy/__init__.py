"""Policies: which addons, with which settings, a call to a host goes through.

`resolve` reads them, `match` finds the one for a host, `watch` keeps them fresh, `explain` and `schema` show them to
people and to editors.
"""

from shin_gateway.policy.files import AddonLine
from shin_gateway.policy.positions import PolicyError, PolicyErrors
from shin_gateway.policy.resolve import Policy, PolicySet, check, load_policies

__all__ = ["AddonLine", "Policy", "PolicyError", "PolicyErrors", "PolicySet", "check", "load_policies"]
