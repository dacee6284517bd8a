"""The policies as they are in force."""

from __future__ import annotations

from typing import Any, Literal

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict

from shin_gateway.admin.parts import Parts
from shin_gateway.admin.permissions import needs
from shin_gateway.policy.files import AddonLine
from shin_gateway.policy.model import Limits, Timeouts
from shin_gateway.policy.resolve import Policy


class _Shown(BaseModel):
    model_config = ConfigDict(use_attribute_docstrings=True)


class AddonShown(_Shown):
    """One layer of the chain."""

    name: str
    stage: str
    mode: Literal["enforce", "shadow"]
    settings: dict[str, Any]
    """Defaults included. A secret is shown as the reference to it."""
    origin: str
    """The line that says so: `presets/standard.yaml:4:3`."""


class OffShown(_Shown):
    """An addon that a line takes out."""

    name: str
    origin: str


class PolicyShown(_Shown):
    """What a call to some hosts goes through."""

    name: str
    file: str
    hosts: list[str]
    websocket: Literal["carry", "decline", "pass"]
    proxy_auth: Literal["optional", "required"]
    provider: str
    timeouts: Timeouts
    """Seconds."""
    limits: Limits
    """Bytes."""
    addons: list[AddonShown]
    """The chain, outermost first."""
    off: list[OffShown]
    origins: dict[str, str]
    """The line that sets each single key; those at their defaults are not here."""


class PoliciesShown(_Shown):
    digest: str
    """Changes with any change in force."""
    policies: list[PolicyShown]


def router(parts: Parts) -> APIRouter:
    routes = APIRouter(prefix="/api/v1", tags=["policies"])

    @routes.get("/policies", dependencies=[needs("policies.read")])
    async def policies() -> PoliciesShown:
        """Every policy with its hosts and its chain, as the files say now; a wrong file leaves the last good ones."""
        current = parts.policies
        return PoliciesShown(digest=current.digest, policies=[_policy(one) for one in current])

    return routes


def _policy(policy: Policy) -> PolicyShown:
    return PolicyShown(
        name=policy.name,
        file=policy.file,
        hosts=[str(host) for host in policy.hosts],
        websocket=policy.websocket,
        proxy_auth=policy.proxy_auth,
        provider=policy.provider,
        timeouts=policy.timeouts,
        limits=policy.limits,
        addons=[_addon(line) for line in policy.addons],
        off=[OffShown(name=one.name, origin=one.origin) for one in policy.off],
        origins=dict(policy.origins),
    )


def _addon(line: AddonLine) -> AddonShown:
    return AddonShown(
        name=line.name,
        stage=line.cls.stage.name.lower(),
        mode=line.mode,
        # What JSON cannot hold is shown by its type alone: its text may be anything.
        settings=line.settings.model_dump(mode="json", fallback=lambda value: f"<{type(value).__name__}>"),
        origin=line.origin,
    )
