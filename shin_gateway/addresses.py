"""Which addresses a client may send us to: public ones that are not our own."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Collection
from typing import Any

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_CLOSED: tuple[Network, ...] = tuple(
    ipaddress.ip_network(text)
    for text in (
        "0.0.0.0/8",  # this network (RFC 791)
        "10.0.0.0/8",  # private (RFC 1918)
        "100.64.0.0/10",  # carriers' NAT (RFC 6598); Alibaba's metadata
        "127.0.0.0/8",  # loopback
        "168.63.129.16/32",  # Azure's platform, on a public address
        "169.254.0.0/16",  # link-local; everybody's metadata
        "172.16.0.0/12",
        "192.0.0.0/24",  # protocol assignments; Oracle's metadata
        "192.0.2.0/24",  # documentation (RFC 5737)
        "192.31.196.0/24",  # AS112 (RFC 7535)
        "192.52.193.0/24",  # AMT (RFC 7450)
        "192.88.99.0/24",  # 6to4 relays (RFC 7526)
        "192.168.0.0/16",
        "192.175.48.0/24",  # AS112 (RFC 7534)
        "198.18.0.0/15",  # benchmarks (RFC 2544)
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, broadcast
        "2001::/23",  # protocol assignments; Teredo, ORCHID
        "2001:db8::/32",  # documentation
        "2002::/16",  # 6to4, which has an IPv4 address in it
        "2620:4f:8000::/48",  # AS112
        "3fff::/20",  # documentation (RFC 9637)
    )
)
"""IANA's special-purpose registries (RFC 6890) and what clouds added."""
_PUBLIC_V6 = ipaddress.IPv6Network("2000::/3")
"""All that is handed out (RFC 4291 §2.4). Outside it: loopback, mapped and compatible IPv4, NAT64 (64:ff9b::/96,
64:ff9b:1::/48), unique local, link-local, site-local, multicast."""
_ISATAP = frozenset([0x0000_5EFE, 0x0200_5EFE])
"""Upper half of an interface's identifier that has an IPv4 address below it (RFC 5214)."""


_OF_CLOUDS: tuple[Network, ...] = tuple(
    ipaddress.ip_network(text)
    for text in (
        "100.100.100.200/32",  # Alibaba
        "168.63.129.16/32",  # Azure's platform
        "169.254.0.0/16",  # link-local; everybody's
        "192.0.0.192/32",  # Oracle
        "fd00:ec2::/32",  # Amazon
        "fd20:ce::/32",  # Google
        "fe80::/10",
    )
)
"""Where clouds keep the credentials of their machines. No server of anybody's is there."""
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")


class NotPermitted(OSError):
    """The address is none that a client may send us to. An OSError, so that aiohttp treats it as one."""


class AddressGuard:
    """Which addresses a client may send us to: public ones that are not our own."""

    def __init__(self, own: Collection[str] = ()) -> None:
        self._closed = _CLOSED + tuple(ipaddress.ip_network(text, strict=False) for text in own)

    def permits(self, address: Address) -> bool:
        if isinstance(address, ipaddress.IPv6Address) and not _is_plain_v6(address):
            return False
        if any(address in network for network in self._closed):
            return False
        return address.is_global and not address.is_multicast and not _is_on_this_machine(address)

    def socket_for(self, info: tuple[Any, ...]) -> socket.socket:
        """The socket that aiohttp will connect to the address of `info`. Raises NotPermitted."""
        family, kind, protocol, _, where = info
        address = literal(str(where[0]))
        if address is None or not self.permits(address):
            raise NotPermitted
        return socket.socket(family, kind, protocol)


class ServerGuard(AddressGuard):
    """Which addresses a server that shin.yaml names may have: all but those where clouds keep credentials."""

    def permits(self, address: Address) -> bool:
        address = _embedded(address)
        return not (address.is_unspecified or address.is_multicast or any(address in one for one in _OF_CLOUDS))


def is_loopback(host: str) -> bool:
    """Whether a URL's host is this machine by what it is called; nothing is looked up."""
    address = literal(host)
    name = host.rstrip(".").lower()
    return address.is_loopback if address is not None else name == "localhost" or name.endswith(".localhost")


def _embedded(address: Address) -> Address:
    """The IPv4 address that is reached by way of an IPv6 one: mapped, 6to4, NAT64."""
    if isinstance(address, ipaddress.IPv4Address):
        return address
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF)
    return address.ipv4_mapped or address.sixtofour or address


def _is_plain_v6(address: ipaddress.IPv6Address) -> bool:
    embeds = (int(address) >> 32) & 0xFFFF_FFFF in _ISATAP
    return address in _PUBLIC_V6 and address.scope_id is None and not embeds


def _is_on_this_machine(address: Address) -> bool:
    """Only an address of our own can be bound, unless the kernel lets any be (`ip_nonlocal_bind`)."""
    return _can_bind(str(address)) and not _can_bind(_NOBODYS[address.version])


def _can_bind(address: str) -> bool:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.bind((address, 0))
    except OSError:
        return False
    return True


_NOBODYS = {4: "192.0.2.1", 6: "2001:db8::1"}
"""Addresses of documentation, which no machine has."""


def literal(host: str) -> Address | None:
    """The address that `host` is, in any spelling that the C library takes: `0x7f.1`, `2130706433`; None for a name."""
    host = host.strip("[]").rstrip(".")
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        pass
    try:
        return ipaddress.IPv4Address(socket.inet_aton(host))
    except (OSError, ValueError):
        return None
