"""What the gateway answers when it does not answer with a reply: typed refusals.

An addon or the library raises one of these; `dialects` alone turn it into the body that the
client's own SDK understands, and `bridge` adds the headers. Messages are safe to show to the
caller: they never hold a secret, an upstream address or a stack.
"""

from __future__ import annotations

import math


class Refusal(Exception):
    """A call that ends without an upstream's reply.

    `status` is the HTTP status, `code` a stable word for logs and clients, `retryable` whether
    the same call may succeed later, `retry_after` seconds to wait before that (None: unknown).
    """

    status = 500
    code = "internal_error"
    retryable = False

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        code: str | None = None,
        retry_after: float | None = None,
        param: str | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.status = status or type(self).status
        self.code = code or type(self).code
        self.retry_after = retry_after
        self.param = param
        """Name of the field of the call that is at fault, if one is."""
        self.headers: dict[str, str] = {}
        """Headers beside those that every refusal has: `x-ratelimit-*`."""
        self.addon: str | None = None
        """The addon that refused, filled in by the chain; "" where none did."""


def whole_seconds(wait: float) -> str:
    """`Retry-After` (RFC 9110 §10.2.3). Rounded up: who comes a moment too early is refused again."""
    return str(max(1, math.ceil(wait)))


class Invalid(Refusal):
    """The call itself is wrong: malformed JSON, a missing model, a field of the wrong type."""

    status = 400
    code = "invalid_request"


class Unauthenticated(Refusal):
    """A key of ours is missing or wrong. Never used for a provider's own 401."""

    status = 401
    code = "unauthenticated"


class NotAllowed(Refusal):
    """The caller may not do this. A verdict, so 400: agents retry 403 (interception.md §3)."""

    status = 400
    code = "not_allowed"


class Blocked(Refusal):
    """A guard refused the content. A verdict, so 400."""

    status = 400
    code = "blocked"


class OverBudget(Refusal):
    """The budget is spent. A verdict, so 400 and not 429, which agents storm on."""

    status = 400
    code = "over_budget"


class NotFound(Refusal):
    """No such path, model or provider."""

    status = 404
    code = "not_found"


class TooLarge(Refusal):
    """The body is over the policy's limit, compressed or decoded."""

    status = 413
    code = "too_large"


class RateLimited(Refusal):
    """Too many for now; passes by waiting `retry_after` seconds."""

    status = 429
    code = "rate_limited"
    retryable = True


class Unsupported(Refusal):
    """The gateway cannot do this, and says so rather than guess."""

    status = 501
    code = "unsupported"


class UpstreamFailed(Refusal):
    """The upstream refused the connection, broke off or spoke nonsense before the first part."""

    status = 502
    code = "upstream_failed"
    retryable = True


class Unavailable(Refusal):
    """The gateway itself cannot serve this now: a store is down, it is shutting down."""

    status = 503
    code = "unavailable"
    retryable = True


SHUTTING_DOWN = "shutting_down"
"""Code and cause of calls that a shutdown ends."""


def shutting_down() -> Unavailable:
    return Unavailable("The gateway is shutting down.", code=SHUTTING_DOWN)


class UpstreamTimeout(Refusal):
    """The upstream did not connect, or its first part did not come, within the policy's time."""

    status = 504
    code = "upstream_timeout"
    retryable = True
