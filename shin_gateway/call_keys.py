"""Where clients put a key: headers, the query, and for programs in browsers a WebSocket's subprotocols."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
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

VIRTUAL_KEY, REFRESH_TOKEN = "sk-shin-", "shin-refresh-"
OURS = (VIRTUAL_KEY, REFRESH_TOKEN)
"""How virtual keys begin, and what they are exchanged for to have it renewed."""
_SIGN = "shin-"
"""In all of these: nearly every other text is passed over by it alone."""
_MENTION = re.compile(rf"(?:{'|'.join(OURS)})[\w=-]+", re.ASCII)
_SCHEMES = frozenset({"bearer", "basic", "token", "apikey", "key"})


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
        path = f"{where}?{rest}" if rest else where
    return unmentioned(path)


def mentions(text: str) -> bool:
    """Whether a virtual key, or what renews a token for one, stands anywhere in it."""
    return _SIGN in text and _MENTION.search(text) is not None


def unmentioned(path: str) -> str:
    """A path without the parameters of its query in which a key of ours stands, whatever they are called."""
    where, _, query = path.partition("?")
    if not query or not mentions(unquote(query)):
        return path
    rest = "&".join(one for one in query.split("&") if not mentions(unquote(one)))
    return f"{where}?{rest}" if rest else where


def without_keys(query: str) -> str:
    """A query less the keys in it, everything else as it was written."""
    if not query:
        return ""
    return "&".join(one for one in query.split("&") if unquote(one.partition("=")[0]) not in KEYS_IN_QUERY)


def _in_query(path: str) -> list[str]:
    if "?" not in path:
        return []
    return [value.strip() for name, value in parse_qsl(path.partition("?")[2]) if name in KEYS_IN_QUERY]


def _in_protocols(headers: CIMultiDict[str]) -> list[str]:
    offered = [one.strip() for value in headers.getall(PROTOCOLS, ()) for one in value.split(",")]
    return [one.removeprefix(KEY_PROTOCOL) for one in offered if one.startswith(KEY_PROTOCOL)]


def _bare(value: str) -> str:
    """A header's value without the word before the key, or words: some programs say `Bearer Bearer`. Of a user's name
    and password the password. A key of ours is found wherever it stands."""
    words = value.split()
    if len(words) < 2 or not (len(words) == 2 or _SCHEMES.issuperset(word.lower() for word in words[:-1])):
        bare = value.strip()
    else:
        bare = _password(words[-1]) if words[-2].lower() == "basic" else words[-1]
    if bare.startswith(OURS) or not (found := _MENTION.search(bare)):
        return bare
    return found[0]


def _password(encoded: str) -> str:
    """Of a name and a password the latter, unless a key of ours stands in the name's place."""
    try:
        login = base64.b64decode(encoded + "=" * (-len(encoded) % 4), validate=True).decode()
    except (binascii.Error, UnicodeDecodeError, ValueError):
        return encoded
    password = login.partition(":")[2]
    if not mentions(password) and (found := _MENTION.search(login)):
        return found[0]
    return password or encoded
