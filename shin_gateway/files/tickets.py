"""Who goes on with an upload: clients send no key to the URL that they were told, so it says whose it is.

A ticket is a part of the query, signed with the provider's key, which every worker has and no client, together with all
else that is in the URL. It is good for this one upload and taken off before the provider sees it.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import time

import msgspec

from shin_gateway.call import Call
from shin_gateway.caller import Caller, Kind
from shin_gateway.secret import Secret, SecretMissing

LIFE = 86_400
"""Seconds."""

_NAME = "shin_ticket"
_SAID = ("name", "kind", "user", "team", "project", "key", "roles", "tags")
"""What a ticket says of the caller. What a virtual key grants beside concerns models and other calls."""
_Said = tuple[str, Kind, str, str, str, str, tuple[str, ...], tuple[str, ...]]


def with_ticket(url: str, caller: Caller, secret: Secret) -> str:
    """`url`, a path with its query, with a ticket for this caller at its end. Raises SecretMissing."""
    whose = base64.urlsafe_b64encode(msgspec.json.encode([getattr(caller, name) for name in _SAID])).decode()
    said = f"{int(time.time()) + LIFE}.{whose.rstrip('=')}"
    return f"{url}{'&' if '?' in url else '?'}{_NAME}={said}.{_signature(url, said, secret)}"


def holder(call: Call) -> Caller | None:
    """Whose upload a call goes on with, its ticket taken off; None where it has no ticket that is good."""
    url, mark, ticket = call.path.partition(f"{_NAME}=")
    row = call.arrival.row
    if not mark or row is None or call.kind != "file":
        return None
    url = url[:-1]
    said, _, signature = ticket.rpartition(".")
    if not any(_is_signed(url, said, signature, secret) for secret in row.api_key):
        return None
    caller = _read(said)
    if caller is not None:
        call.path = url
    return caller


def _signature(url: str, said: str, secret: Secret) -> str:
    key = hashlib.sha256(b"shin upload\0" + secret.lasting().encode()).digest()
    return hmac.new(key, f"{said}\0{url}".encode("utf-8", "surrogateescape"), hashlib.sha256).hexdigest()


def _is_signed(url: str, said: str, signature: str, secret: Secret) -> bool:
    try:
        right = _signature(url, said, secret)
    except SecretMissing:
        return False
    return hmac.compare_digest(right.encode(), signature.encode("utf-8", "surrogateescape"))


def _read(said: str) -> Caller | None:
    """What a signed ticket says; None for one whose time is over."""
    until, _, whose = said.partition(".")
    try:
        told = msgspec.json.decode(base64.urlsafe_b64decode(whose + "=" * (-len(whose) % 4)), type=_Said)
        good = int(until) > time.time()
    except (ValueError, binascii.Error, msgspec.MsgspecError):
        return None
    return Caller(**dict(zip(_SAID, told, strict=True))) if good else None
