"""How upstreams are reached."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import aiohttp


@dataclass(frozen=True)
class UpstreamOptions:
    """How to reach upstreams: mitmproxy's options of the same names, which hold for our client too."""

    insecure: bool = False
    trusted_ca: str | None = None
    trusted_confdir: str | None = None
    client_certs: str | None = None
    proxy: str | None = None
    """URL of a proxy that everything goes through, without credentials."""
    proxy_auth: str | None = None
    """`user:password` for that proxy."""

    @cached_property
    def login(self) -> aiohttp.BasicAuth | None:
        user, colon, password = (self.proxy_auth or "").partition(":")
        return aiohttp.BasicAuth(user, password, "utf-8") if colon else None
