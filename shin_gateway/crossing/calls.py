"""The call that goes out in place of the client's: another dialect, path, body and headers; one call in the log."""

from __future__ import annotations

from collections.abc import Mapping

from multidict import CIMultiDict

from shin_gateway import dialects
from shin_gateway.arrivals import Arrival
from shin_gateway.call import Call

_KEPT = (
    "accept-language", "user-agent", "request-id", "x-request-id", "traceparent", "tracestate", "baggage",
    "idempotency-key",
)  # fmt: skip
"""Headers that mean the same to every provider. All others belong to the API that the client thinks it talks to."""


def crossed(call: Call, dialect: str, kind: str, path: str, body: bytes, headers: Mapping[str, str]) -> Call:
    """A copy of `call` that shares its outcome, facts and end. Retries and the log go by the call as it came."""
    copy = call.shadow()
    copy.dialect = dialects.get(dialect)
    copy.kind = kind
    copy.path = path
    copy.arrival = Arrival(kind, copy.dialect, path, stream=":stream" in path)
    copy.headers = _headers(call.headers, headers)
    copy.body = body
    return copy


def _headers(came: CIMultiDict[str], wanted: Mapping[str, str]) -> CIMultiDict[str]:
    headers = CIMultiDict((name, value) for name, value in came.items() if name.lower() in _KEPT)
    headers["content-type"] = "application/json"
    headers["accept"] = "*/*"
    headers.update(wanted)
    return headers
