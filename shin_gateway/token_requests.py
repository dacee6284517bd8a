"""`POST /oauth/token` at the gateway's own listener: a request that is no call."""

from __future__ import annotations

import logging
from collections.abc import Awaitable

from mitmproxy import http

from shin_gateway import flows
from shin_gateway.errors import Refusal
from shin_gateway.gateway import Gateway
from shin_gateway.identity.token_endpoint import LONGEST_BODY, PATH, TokenEndpoint
from shin_gateway.listening.bans import Bans

log = logging.getLogger(__name__)

_TOKEN = "shin_token"
"""Key in `flow.metadata` of a request for a token."""


def asks_for_token(flow: http.HTTPFlow, gateway: Gateway) -> bool:
    """Whether it wants a token for a key; the form that says which key is yet to come."""
    request = flow.request
    if request.path != PATH or request.method != "POST" or not flows.is_gateway(flow) or not gateway.gives_tokens:
        return False
    if flows.fits(request, LONGEST_BODY):
        flow.metadata[_TOKEN] = True
    else:
        flow.response = http.Response.make(413, b"The body is too large, or of unknown length.")
    return True


def answer_of(flow: http.HTTPFlow, gateway: Gateway, bans: Bans) -> Awaitable[None] | None:
    """What gives the token that was asked for; None for any other request."""
    endpoint = gateway.identity.token_endpoint
    if endpoint is None or flow.response is not None or _TOKEN not in flow.metadata:
        return None
    return _answer(flow, endpoint, bans)


async def _answer(flow: http.HTTPFlow, endpoint: TokenEndpoint, bans: Bans) -> None:
    ip = flow.client_conn.peername[0]
    try:
        bans.check(ip, PATH)
        headers = flows.headers_in(flow.request)
        status, said, body = await endpoint.answer(headers, flow.request.raw_content or b"")
        flow.response = http.Response.make(status, body, said)
        if status == 401:
            bans.note_bad_key(ip)
    except Refusal as refusal:
        flow.response = flows.refused(refusal)
    except Exception as error:
        log.error("a request for a token could not be taken", exc_info=error)
        flow.response = flows.failed()
