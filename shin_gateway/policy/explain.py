"""`shin explain HOST`: the chain that a call to a host goes through, and which line of which file says so."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from shin_gateway.policy.files import AddonLine
from shin_gateway.policy.match import GATEWAY, HostPattern, parse_pattern
from shin_gateway.policy.resolve import Policy, PolicySet
from shin_gateway.providers import Providers


def explain(policies: PolicySet, providers: Providers, host: str) -> str:
    """Text for people; `host` may carry a port. Raises ValueError when it is not a host."""
    pattern = parse_pattern(host)
    if pattern == HostPattern(GATEWAY):
        return (
            _told(policies.gateway, "our own gateway listener", "by the model's name")
            if policies.gateway
            else "gateway: no policy names it"
        )
    matches = list(policies.table.matches(pattern.name, pattern.port))
    if not matches:
        return f"{pattern}: tunnelled, not decrypted: no policy names it"
    (won, policy), *beaten = matches
    beats = "".join(f"\n  beats      {one} of {other.name} ({other.file})" for one, other in beaten)
    row = providers.for_host(pattern.name, pattern.port)
    provider = f"{row.name}  (this host is named in its row)" if row else ""
    return _told(policy, f"{pattern} matches {won}", provider) + beats


def _told(policy: Policy, why: str, provider: str) -> str:
    head = [f"{policy.name} ({policy.file})", f"  host       {why}"]
    return "\n".join([*head, *_keys(policy, provider), *_chain(policy)])


def _keys(policy: Policy, provider: str) -> Iterator[str]:
    """`provider` where it is not the policy that says it."""
    said = {"connect", "first_part", "idle", "total"} | policy.timeouts.model_fields_set  # `socket` is about few calls
    times = ", ".join(f"{name} {_seconds(value)}" for name, value in policy.timeouts if name in said)
    yield _row("timeouts", times, policy)
    yield _row("limits", f"body {policy.limits.body:,} bytes", policy)
    yield _row("websocket", policy.websocket, policy)
    yield _row("proxy_auth", policy.proxy_auth, policy)
    if policy.cors:
        yield _row("cors", ", ".join(policy.cors.origins), policy)
    yield f"  provider   {provider}" if provider else _row("provider", policy.provider, policy)
    if policy.paths.rows:
        yield _row("paths", f"{len(policy.paths.rows)} of its own", policy)


def _row(key: str, value: str, policy: Policy) -> str:
    return f"  {key:<11}{value}  ({policy.origins.get(key, 'default')})"


def _chain(policy: Policy) -> Iterator[str]:
    yield "  chain, outermost first:" if policy.addons else "  chain: empty"
    for line in policy.addons:
        shadow = "  shadow" if line.mode == "shadow" else ""
        yield f"    {line.cls.stage.name.lower():<9} {line.name:<16}{_settings(line)}{shadow}  ({line.origin})"
    for off in policy.off:
        yield f"    {'off':<9} {off.name:<16}  ({off.origin})"


def _settings(line: AddonLine) -> str:
    return _flow(line.settings.model_dump())


_NOTHING: tuple[object, ...] = (None, "")


def _flow(value: Any) -> str:
    """A value as YAML writes it on one line; what is not set is left out."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {_flow(one)}" for key, one in value.items() if one not in _NOTHING) + "}"
    if isinstance(value, set | frozenset):
        return "[" + ", ".join(sorted(map(_flow, value))) + "]"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_flow, value)) + "]"
    if isinstance(value, bool):
        return json.dumps(value)
    return str(value)


def _seconds(value: float) -> str:
    return f"{value:g}s"
