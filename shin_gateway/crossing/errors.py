"""A provider's error in the words of the client's API."""

from __future__ import annotations

from shin_gateway.call import Call
from shin_gateway.dialects import Failure
from shin_gateway.errors import Refusal
from shin_gateway.reply import Reply

OUR_KEY = "The provider does not accept the gateway's credential."


def refusal_of(failure: Failure, own_key: bool) -> Refusal:
    """What a provider reported, as a refusal that any dialect can write.

    That *our* key is not good is no fault of the client's, who would change a key that is fine.
    """
    if failure.status in (401, 403) and not own_key:
        refusal = Refusal(OUR_KEY, status=502, code="upstream_unauthenticated")
        refusal.retryable = False
        return refusal
    message = failure.message or "The provider reported an error."
    refusal = Refusal(message, status=failure.status, code=failure.type, retry_after=failure.retry_after)
    refusal.retryable = failure.retryable
    return refusal


def put(reply: Reply, call: Call, failure: Failure) -> Reply:
    """`reply`, whose whole body was an error of the target's, as an error of the client's dialect."""
    refusal = refusal_of(failure, call.own_key)
    body = call.dialect.error_body(refusal, call.id)
    if reply.streamed:
        reply.close()
        reply = Reply(refusal.status, reply.headers, call.dialect, body=body)
    reply.status, reply.reason, reply.dialect, reply.failure = refusal.status, "", call.dialect, None
    reply.body = body
    for name in ("content-length", "content-encoding", "transfer-encoding"):
        reply.headers.popall(name, None)
    reply.headers["content-type"] = call.dialect.content_type
    return reply
