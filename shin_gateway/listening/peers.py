"""Who is at the other end of a connection, as far as an address tells."""

from __future__ import annotations

import functools
import ipaddress

PREFIX = 64
"""Bits of an IPv6 address that one customer has at least (RFC 6177): the rest is his to choose."""


@functools.lru_cache(maxsize=4096)
def neighbourhood(ip: str) -> str:
    """What is counted as one: an IPv4 address, an IPv6 network of /64. What is no address stands for itself."""
    address = _parsed(ip)
    if isinstance(address, ipaddress.IPv6Address):
        return str(ipaddress.IPv6Network((int(address) >> PREFIX << PREFIX, PREFIX)))
    return ip if address is None else str(address)


@functools.lru_cache(maxsize=4096)
def is_own(ip: str) -> bool:
    """Whether it is this machine's own."""
    address = _parsed(ip)
    return address is not None and address.is_loopback


def _parsed(ip: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """Without its scope; as IPv4 where it is one that came through an IPv6 socket."""
    try:
        address = ipaddress.ip_address(ip.partition("%")[0])
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address
