"""mitmproxy's modes from our configuration: where the proxy and the gateway listen, through whom they go out."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import SplitResult, unquote, urlsplit

from shin_gateway.config import Config
from shin_gateway.policy.match import GATEWAY


def gateway_mode(address: str) -> str:
    """Our own listener: a reverse proxy for a host that does not exist, which the bridge takes as its sign."""
    return f"reverse:http://{GATEWAY}@{address}"


def reverses_to_us_alone(modes: Sequence[str]) -> bool:
    """Whether our own listener is the only reverse proxy, so that no provider gets the host that its client named."""
    return all(mode.startswith(f"reverse:http://{GATEWAY}@") for mode in modes if mode.startswith("reverse:"))


def proxy_modes(said: Sequence[str], config: Config, proxy_address: str, gateway_address: str) -> list[str]:
    """Mode specifications with addresses. The first of `said` that names none listens at the proxy's.

    Raises SecretMissing when `upstream.proxy` cannot be read.
    """
    first, *others = said or [default_mode(config)]
    return [first if "@" in first else f"{first}@{proxy_address}", *others, gateway_mode(gateway_address)]


def default_mode(config: Config) -> str:
    """A forward proxy, through `upstream.proxy` where there is one. Raises SecretMissing."""
    upstream = _upstream_proxy(config)
    return "regular" if upstream is None else f"upstream:{_without_login(upstream)}"


def upstream_login(config: Config) -> str | None:
    """`user:password` of a corporate proxy whose URL carries them."""
    upstream = _upstream_proxy(config)
    if upstream is None or upstream.username is None:
        return None
    return f"{unquote(upstream.username)}:{unquote(upstream.password or '')}"


def _upstream_proxy(config: Config) -> SplitResult | None:
    return urlsplit(config.upstream.proxy.read()) if config.upstream.proxy else None


def _without_login(url: SplitResult) -> str:
    return f"{url.scheme}://{url.netloc.rpartition('@')[2]}"
