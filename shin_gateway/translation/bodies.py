"""Bodies as JSON objects, with the errors that a client understands."""

from __future__ import annotations

from typing import Any

import msgspec

from shin_gateway.errors import Invalid, UpstreamFailed
from shin_gateway.translation.form import Json

_decode = msgspec.json.Decoder().decode


def call_object(body: bytes) -> Json:
    """A call's body. Raises Invalid for anything but a JSON object."""
    try:
        found = _decode(body)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        raise Invalid("The body is not valid JSON.", code="invalid_json") from None
    if not isinstance(found, dict):
        raise Invalid("The body should be a JSON object.", code="invalid_json")
    return found


def reply_object(body: bytes) -> Json:
    """A successful reply's body. Raises UpstreamFailed for anything but a JSON object: HTML, nothing at all."""
    found = any_object(body)
    if not isinstance(found, dict):
        raise UpstreamFailed("The upstream's reply is not what its API gives.", code="upstream_malformed")
    return found


def any_object(body: bytes) -> Any:
    """What a body means; None where it is no JSON."""
    try:
        return _decode(body)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None


def encoded(value: object) -> bytes:
    """Compact JSON in UTF-8. Raises Invalid for a lone surrogate, which JSON can write and UTF-8 cannot."""
    try:
        return msgspec.json.encode(value)
    except (UnicodeEncodeError, msgspec.MsgspecError, RecursionError, OverflowError):
        raise Invalid("The body holds text that is no valid Unicode.", code="invalid_unicode") from None
