"""How the admin process reaches identity providers: as workers reach upstreams, without mitmproxy's options."""

from __future__ import annotations

from pathlib import Path

import certifi

from shin_gateway.config import Config
from shin_gateway.modes import default_mode, upstream_login
from shin_gateway.upstream import UpstreamOptions

_ROOTS = "admin-roots.pem"


def options(config: Config, home: Path) -> UpstreamOptions:
    """Raises SecretMissing where `upstream.proxy` cannot be read, OSError where `upstream.ca` cannot."""
    proxy = default_mode(config).removeprefix("upstream:") if config.upstream.proxy else None
    return UpstreamOptions(trusted_ca=_roots(config, home), proxy=proxy, proxy_auth=upstream_login(config))


def _roots(config: Config, home: Path) -> str | None:
    """`upstream.ca` beside the public roots, in one file."""
    if config.upstream.ca is None:
        return None
    bundle = home / _ROOTS
    bundle.write_bytes(Path(certifi.where()).read_bytes() + b"\n" + config.upstream.ca.read_bytes())
    return str(bundle)
