"""Where mitmproxy's own way does not go on a client's word."""

from __future__ import annotations

import asyncio
import functools
import ipaddress
import socket


@functools.lru_cache(maxsize=1024)
def is_address(host: str) -> bool:
    """Whether it is an address and no name."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def is_link_local(host: str) -> bool:
    """Whether it is an address of those where clouds keep credentials; a name is none before it is looked up."""
    return is_address(host) and _address(host).is_link_local


async def is_forbidden(host: str, port: int, for_others: bool) -> bool:
    """Link-local addresses, where clouds keep credentials; this machine's own, where the proxy is for others too."""
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError:
        return False  # connecting will say so
    addresses = [_address(str(entry[4][0])) for entry in found]
    return any(one.is_link_local or (for_others and (one.is_loopback or one.is_unspecified)) for one in addresses)


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """Without its scope; the IPv4 address that the system connects to where one is mapped into IPv6."""
    address = ipaddress.ip_address(text.partition("%")[0])
    return getattr(address, "ipv4_mapped", None) or address
