"""Where clients put a key: headers, the query, and for programs in browsers a WebSocket's subprotocols."""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Callable
from urllib.parse import parse_qsl, unquote

from multidict import CIMultiDict

CREDENTIAL_HEADERS = ("authorization", "x-api-key", "api-key", "x-goog-api-key")
"""Where clients put a key. On the way from the gateway these hold a key of ours, which no provider may see."""

KEYS_IN_QUERY = ("key", "api-key")
"""Where programs in browsers put it: Google's and Azure's."""

PROTOCOLS = "sec-websocket-protocol"
KEY_PROTOCOL = "openai-insecure-api-key."
"""A subprotocol by which programs in browsers, which cannot set headers, say their key."""


def credentials(headers: CIMultiDict[str], path: str) -> list[str]:
    """Every key that comes with a call, each once."""
    found = [_bare(value) for name in CREDENTIAL_HEADERS if name in headers for value in headers.getall(name)]
    found += _in_query(path)
    found += _in_protocols(headers)
    return [one for one in dict.fromkeys(found) if one]


def credential(headers: CIMultiDict[str], path: str) -> str:
    """The first of them, "" when there is none."""
    return next(iter(credentials(headers, path)), "")


def digest(secret: str) -> str:
    """By what a key is known: SHA-256, in hexadecimal digits."""
    return hashlib.sha256(secret.encode("utf-8", "surrogateescape")).hexdigest()


def purge(headers: CIMultiDict[str], path: str, is_ours: Callable[[str], bool]) -> str:
    """Take keys of ours out of `headers`; the path without any key where there is one of ours in it."""
    for name in CREDENTIAL_HEADERS:
        if any(is_ours(_bare(value)) for value in headers.getall(name, ())):
            headers.popall(name)
    if any(is_ours(one) for one in _in_protocols(headers)):
        headers.popall(PROTOCOLS)
    if any(is_ours(one) for one in _in_query(path)):
        where, _, query = path.partition("?")
        rest = without_keys(query)
        return f"{where}?{rest}" if rest else where
    return path


def without_keys(query: str) -> str:
    """A query less the keys in it, everything else as it was written."""
    if not query:
        return ""
    return "&".join(one for one in query.split("&") if unquote(one.partition("=")[0]) not in KEYS_IN_QUERY)


def _in_query(path: str) -> list[str]:
    if "?" not in path:
        return []
    return [value for name, value in parse_qsl(path.partition("?")[2]) if name in KEYS_IN_QUERY]


def _in_protocols(headers: CIMultiDict[str]) -> list[str]:
    offered = [one.strip() for value in headers.getall(PROTOCOLS, ()) for one in value.split(",")]
    return [one.removeprefix(KEY_PROTOCOL) for one in offered if one.startswith(KEY_PROTOCOL)]


def _bare(value: str) -> str:
    """A header's value without the word before the key; of a user's name and password the password."""
    scheme, _, rest = value.strip().partition(" ")
    rest = rest.strip()
    if not rest or " " in rest:
        return value.strip()
    return _password(rest) if scheme.lower() == "basic" else rest


def _password(encoded: str) -> str:
    try:
        return base64.b64decode(encoded, validate=True).decode().partition(":")[2] or encoded
    except (binascii.Error, UnicodeDecodeError, ValueError):
        return encoded
