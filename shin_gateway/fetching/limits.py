"""What a fetch may reach and cost."""

from __future__ import annotations

from dataclasses import dataclass

from shin_gateway.errors import TooLarge


@dataclass(frozen=True, slots=True)
class FetchLimits:
    """What a fetch may reach and cost."""

    max_bytes: int = 20 * 1024 * 1024
    """Of one medium, decompressed."""
    timeout: float = 20.0
    """Seconds for one medium, redirects and waiting for a place included."""
    at_once: int = 32
    """Fetches that run at the same time in this process; others wait."""
    allow: tuple[str, ...] = ()
    """Host patterns, as in a policy's `hosts`, that may be fetched from whatever their address is."""
    own: tuple[str, ...] = ()
    """Addresses or networks of ours that only others see (the public side of a NAT); our interfaces are known."""
    of_one_call: int = 100
    """URLs that one call may name."""
    bytes_of_one_call: int = 64 * 1024 * 1024
    """Of all media of one call, or `max_bytes` where that is more. Providers take 20 to 50 MB in a call."""
    remember: int = 64 * 1024 * 1024
    """Bytes that are kept of what was fetched: an agent sends its whole history, URLs included, on every turn."""
    remember_for: float = 600.0
    """Seconds that they are kept."""


class Room:
    """What is left of the bytes that all media of one call may have."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._left = most

    def take(self, size: int) -> None:
        """Raises TooLarge."""
        self._left -= size
        if self._left < 0:
            raise TooLarge(f"The files that the call names by URL have more than {self._most} bytes together.")
