"""Why nothing was fetched, named by the field of the client's call."""

from __future__ import annotations

import aiohttp

from shin_gateway.addresses import NotPermitted
from shin_gateway.errors import Invalid, TooLarge


def refused(place: str, why: str, code: str = "invalid_url") -> Invalid:
    return Invalid(f"{place}: {why}.", code=code, param=place)


def not_permitted(place: str) -> Invalid:
    return refused(place, "the address is not allowed", "address_not_allowed")


def too_large(place: str, limit: int) -> TooLarge:
    return TooLarge(f"{place}: has more than {limit} bytes.", param=place)


def as_refusal(error: Exception, place: str) -> Invalid:
    """Nothing that the client library says reaches the caller: it may hold addresses."""
    cause = getattr(error, "os_error", error)
    if isinstance(cause, NotPermitted):
        return not_permitted(place)
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return refused(place, "the host was not found", "fetch_failed")
    if isinstance(error, aiohttp.ClientConnectorCertificateError | aiohttp.ClientConnectorSSLError):
        return refused(place, "the server's certificate could not be verified", "fetch_failed")
    if isinstance(error, aiohttp.InvalidURL | ValueError):
        return refused(place, "is not a URL that can be read")
    return refused(place, "could not be fetched", "fetch_failed")
