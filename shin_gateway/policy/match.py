"""Which pattern a host fits: exact before wildcard, longer wildcard before shorter, with a port before without."""

from __future__ import annotations

import functools
import ipaddress
import re
from collections.abc import Iterator
from dataclasses import dataclass

import idna

GATEWAY = "gateway"
"""In a policy's `hosts`: our own gateway listener, not a machine of that name."""

_NAME = re.compile(r"(?:\*|[a-z0-9_](?:[a-z0-9_-]*[a-z0-9_])?)(?:\.[a-z0-9_](?:[a-z0-9_-]*[a-z0-9_])?)*")


@dataclass(frozen=True)
class HostPattern:
    """`api.openai.com`, `*.openai.azure.com`, `localhost:11434`, `[::1]:11434`, `10.0.0.5`, `gateway`."""

    name: str
    """Normalised; `*.x` for a wildcard, without brackets for IPv6."""
    port: int | None = None

    @property
    def wildcard(self) -> bool:
        return self.name.startswith("*")

    @property
    def broad(self) -> bool:
        """Whether it catches whole top-level domains: `*`, `*.com`."""
        return self.wildcard and self.name.count(".") < 2

    def __str__(self) -> str:
        name = f"[{self.name}]" if ":" in self.name else self.name
        return f"{name}:{self.port}" if self.port else name


def parse_pattern(text: str) -> HostPattern:
    """A pattern from how people write it. Raises ValueError with what to write instead."""
    if "://" in text or "/" in text:
        raise ValueError(f'write the host alone, "{_host_of(text)}", without scheme and path')
    name, port = _split_port(text.strip())
    name = normalise(name)
    if not _is_ip(name) and not _NAME.fullmatch(name):
        raise ValueError(_complaint(text))
    return HostPattern(name, port)


def normalise(host: str) -> str:
    """Lower case, no trailing dot, no brackets, A-labels, canonical IP; nonsense comes back as it is, in lower case."""
    host = host.lower().rstrip(".").removeprefix("[").removesuffix("]")
    if not host.isascii():
        return _a_labels(host)
    if ":" in host or host.replace(".", "").isdigit():
        return _canonical_ip(host)
    return host


class HostTable[V]:
    """Values by host pattern."""

    def __init__(self) -> None:
        self._values: dict[HostPattern, V] = {}
        self.find = functools.lru_cache(maxsize=4096)(self._find)

    def put(self, pattern: HostPattern, value: V) -> None:
        self._values[pattern] = value
        self.find.cache_clear()

    def get(self, pattern: HostPattern) -> V | None:
        return self._values.get(pattern)

    def items(self) -> Iterator[tuple[HostPattern, V]]:
        return iter(self._values.items())

    def matches(self, host: str, port: int | None = None) -> Iterator[tuple[HostPattern, V]]:
        """Every pattern that fits, the most specific first."""
        for name in _widening(normalise(host)):
            for pattern in (HostPattern(name, port), HostPattern(name)) if port else (HostPattern(name),):
                if pattern in self._values:
                    yield pattern, self._values[pattern]

    def _find(self, host: str, port: int | None = None) -> V | None:
        return next((value for _, value in self.matches(host, port)), None)


def _widening(name: str) -> Iterator[str]:
    """a.b.c, *.b.c, *.c, *: an address has no wildcard but `*`."""
    yield name
    if not _is_ip(name):
        labels = name.split(".")
        yield from ("*." + ".".join(labels[start:]) for start in range(1, len(labels)))
    yield "*"


def _split_port(text: str) -> tuple[str, int | None]:
    name, colon, digits = text.rpartition(":")
    if not colon or (":" in name and not name.endswith("]")):
        return text, None
    if not digits.isdigit() or not 0 < int(digits) < 65536:
        raise ValueError(f'"{digits}" is no port; write a number from 1 to 65535 after the colon')
    return name, int(digits)


def _is_ip(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _canonical_ip(host: str) -> str:
    try:
        return str(ipaddress.ip_address(host))
    except ValueError:
        return host


def _a_labels(host: str) -> str:
    prefix = "*." if host.startswith("*.") else ""
    try:
        return prefix + idna.encode(host.removeprefix("*."), uts46=True).decode()
    except idna.IDNAError:
        return host


def _host_of(text: str) -> str:
    return text.partition("://")[2].partition("/")[0] or text.partition("/")[0]


def _complaint(text: str) -> str:
    if "*" in text:
        return (
            f'"{text}" has its * in the wrong place; a wildcard stands for whole leading labels, like "*.example.com"'
        )
    return f'"{text}" is not a host name, address or wildcard'
