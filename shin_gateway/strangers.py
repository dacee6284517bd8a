"""Who may listen beyond this machine: only what asks everybody who he is.

Proxy and gateway, and with them the keys of providers, are for whoever shows a secret: that of a user of shin.yaml, or
with the addon auth a virtual key or a token. What takes a caller's own key for his provider lets anybody relay calls,
and reach servers that want no key; what lets guests in does too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from shin_gateway.running import is_loopback

if TYPE_CHECKING:
    from shin_gateway.config import Config
    from shin_gateway.policy.resolve import PolicySet


def lets_in(host: str, config: Config, policies: PolicySet) -> str:
    """Why nothing should listen on `host` with these policies; "" where nothing speaks against it."""
    if is_loopback(host) or config.users:
        return ""
    missing = []
    if policies.gateway is not None and not policies.gateway.demands_key:
        missing.append("`auth: on` in the policy of the gateway")
    if config.listen.proxy_auth != "required":
        missing.append("`listen: {proxy_auth: required}` in shin.yaml")
    if not missing:
        return ""
    return (
        f"listening on {host} lets others in: name users in shin.yaml, or have everybody show a key "
        f"({' and '.join(missing)}), or listen on 127.0.0.1"
    )
