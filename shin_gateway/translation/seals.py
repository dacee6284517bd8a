"""What a provider sealed, on its way through a client that speaks another dialect.

A seal means something only to the provider that made it. In a field of another dialect (Anthropic's `signature`,
OpenAI's `encrypted_content`) it travels with its origin, and is unpacked when the next turn brings it back; a seal
that comes back for another provider than its own is dropped. Not a secret and not authenticated: it is the client's
own data, which the provider verifies.
"""

from __future__ import annotations

import base64
import binascii
from typing import Any

import msgspec

_MARK = "shin1."


class Parcel(msgspec.Struct, omit_defaults=True):
    """What `pack` put together."""

    origin: str
    seal: str
    id: str = ""
    text: str = ""
    """Where the dialect that carries it has no room for the text itself."""
    redacted: bool = False


def pack(parcel: Parcel) -> str:
    """In the alphabet of URL-safe base64, so that it fits every field and header."""
    try:
        packed = msgspec.msgpack.encode(parcel)
    except UnicodeEncodeError:  # half of a character, which no provider sends in earnest
        whole = {name: _whole(value) for name, value in msgspec.structs.asdict(parcel).items()}
        packed = msgspec.msgpack.encode(Parcel(**whole))
    return _MARK + base64.urlsafe_b64encode(packed).decode()


def _whole(value: object) -> Any:
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) else value


def unpack(text: str) -> Parcel | None:
    """None where `text` is not one of ours: then the client had it from its own dialect's provider."""
    if not text.startswith(_MARK):
        return None
    try:
        return msgspec.msgpack.decode(base64.urlsafe_b64decode(text[len(_MARK) :]), type=Parcel)
    except (binascii.Error, msgspec.MsgspecError, ValueError):
        return None
