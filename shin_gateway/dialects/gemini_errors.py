"""Gemini's errors: google.rpc codes and details, ours and the provider's."""

from __future__ import annotations

import re
from typing import Any

from shin_gateway.dialects.base import Failure, is_retryable
from shin_gateway.errors import Refusal

# google.rpc.Code, as HTTP maps it.
_CODES = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    409: "ABORTED",
    413: "INVALID_ARGUMENT",
    415: "INVALID_ARGUMENT",
    429: "RESOURCE_EXHAUSTED",
    499: "CANCELLED",
    500: "INTERNAL",
    501: "UNIMPLEMENTED",
    502: "UNAVAILABLE",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
    529: "UNAVAILABLE",
}
_STATUS_OF = {
    "INVALID_ARGUMENT": 400,
    "FAILED_PRECONDITION": 400,
    "OUT_OF_RANGE": 400,
    "UNAUTHENTICATED": 401,
    "PERMISSION_DENIED": 403,
    "NOT_FOUND": 404,
    "ABORTED": 409,
    "ALREADY_EXISTS": 409,
    "RESOURCE_EXHAUSTED": 429,
    "CANCELLED": 499,
    "INTERNAL": 500,
    "UNKNOWN": 500,
    "DATA_LOSS": 500,
    "UNIMPLEMENTED": 501,
    "UNAVAILABLE": 503,
    "DEADLINE_EXCEEDED": 504,
}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)s").fullmatch


def error_object(refusal: Refusal, call_id: str) -> dict[str, object]:
    """`{code, message, status, details}` as Google's API design guide (AIP-193) has it."""
    default = "INTERNAL" if refusal.status >= 500 else "FAILED_PRECONDITION"
    status = _CODES.get(refusal.status, default)
    error = {"code": refusal.status, "message": refusal.message, "status": status}
    return {**error, "details": _details(refusal, call_id)}


def _details(refusal: Refusal, call_id: str) -> list[dict[str, Any]]:
    kind = "type.googleapis.com/google.rpc."
    details: list[dict[str, Any]] = [
        {"@type": f"{kind}ErrorInfo", "reason": refusal.code.upper(), "domain": "shin-gateway"},
        {"@type": f"{kind}RequestInfo", "requestId": call_id},
    ]
    if refusal.param:
        violation = {"field": refusal.param, "description": refusal.message}
        details.append({"@type": f"{kind}BadRequest", "fieldViolations": [violation]})
    if refusal.retry_after is not None:
        details.append({"@type": f"{kind}RetryInfo", "retryDelay": f"{refusal.retry_after:g}s"})
    return details


def failure_of(error: dict[str, Any]) -> Failure:
    """What a provider's `{code, message, status, details}` says."""
    word, code = error.get("status"), error.get("code")
    status = code if isinstance(code, int) and 400 <= code <= 599 else _STATUS_OF.get(str(word), 500)
    message = str(error.get("message") or "The provider reported an error.")
    return Failure(
        status, str(word or _CODES.get(status, "UNKNOWN")), message, is_retryable(status), _retry_after(error)
    )


def _retry_after(error: dict[str, Any]) -> float | None:
    details = error.get("details")
    for detail in details if isinstance(details, list) else ():
        delay = detail.get("retryDelay") if isinstance(detail, dict) else None
        if isinstance(delay, str) and (found := _DURATION(delay)):
            return float(found[1])
    return None
