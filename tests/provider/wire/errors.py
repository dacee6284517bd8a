"""Error bodies as each provider writes them."""

from __future__ import annotations

from collections.abc import Mapping

from tests.provider.wire.said import compact, pretty

# status: (OpenAI type, OpenAI code, Anthropic type, Gemini status, message)
ROWS: Mapping[int, tuple[str, str | None, str, str, str]] = {
    400: ("invalid_request_error", None, "invalid_request_error", "INVALID_ARGUMENT", "Could not parse the body."),
    401: ("invalid_request_error", "invalid_api_key", "authentication_error", "UNAUTHENTICATED", "Invalid API key."),
    403: ("invalid_request_error", None, "permission_error", "PERMISSION_DENIED", "Not allowed."),
    404: ("invalid_request_error", "model_not_found", "not_found_error", "NOT_FOUND", "No such model."),
    408: ("server_error", None, "timeout_error", "DEADLINE_EXCEEDED", "Timed out."),
    413: ("invalid_request_error", None, "request_too_large", "INVALID_ARGUMENT", "Too large."),
    429: ("requests", "rate_limit_exceeded", "rate_limit_error", "RESOURCE_EXHAUSTED", "Rate limit reached."),
    500: ("server_error", None, "api_error", "INTERNAL", "The server had an error."),
    503: ("server_error", None, "api_error", "UNAVAILABLE", "The model is overloaded."),
    529: ("server_error", None, "overloaded_error", "UNAVAILABLE", "Overloaded"),
}


def error_body(dialect: str, status: int, message: str = "") -> bytes:
    kind, code, anthropic, gemini, text = ROWS.get(status, ROWS[500 if status >= 500 else 400])
    text = message or text
    if dialect == "anthropic":
        error = {"type": anthropic, "message": text, "details": None}
        return compact({"type": "error", "error": error, "request_id": "req_fake0001"}).encode()
    if dialect == "gemini":
        return pretty({"error": {"code": status, "message": text, "status": gemini}}).encode()
    return pretty({"error": {"message": text, "type": kind, "param": None, "code": code}}).encode()
