"""The request's id, in the header where the client's SDK looks for it."""

from __future__ import annotations

from shin_gateway.call import Call
from shin_gateway.reply import Reply

_OPENAIS, _ANTHROPICS = "x-request-id", "request-id"


def name(reply: Reply, call: Call) -> None:
    """Give the reply the header, with the provider's id where it has one. Without one the bridge sees to OpenAI's."""
    headers = reply.headers
    if call.dialect.name == "anthropic.messages":
        given = headers.get(_OPENAIS) or call.headers.get(_ANTHROPICS) or call.id
        headers.setdefault(_ANTHROPICS, given)
    elif _ANTHROPICS in headers:
        headers.setdefault(_OPENAIS, headers[_ANTHROPICS])
