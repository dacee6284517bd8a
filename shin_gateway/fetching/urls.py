"""URLs that may be asked for."""

from __future__ import annotations

from yarl import URL

from shin_gateway.fetching.refusals import refused

_LONGEST = 8192
"""Characters of a URL."""


def parse(url: str, place: str) -> URL:
    """A URL that may be asked for, escapes as they were: signatures in it depend on them."""
    if len(url) > _LONGEST:
        raise refused(place, f"the URL is longer than {_LONGEST} characters")
    try:
        parsed = url_of(url).with_fragment(None)
        host, _ = parsed.host, parsed.port
    except ValueError:
        raise refused(place, "is not a URL that can be read") from None
    if parsed.scheme.lower() not in ("http", "https") or not host:
        raise refused(place, "only http and https URLs can be fetched")
    if parsed.raw_user is not None or parsed.raw_password is not None:
        raise refused(place, "the URL may not hold a user name or password")
    return parsed


def url_of(text: str) -> URL:
    return URL(text, encoded=text.isascii() and text.isprintable() and " " not in text)
