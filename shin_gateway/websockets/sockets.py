"""WebSockets whose calls the gateway carries, and those that it passes on: from the upgrade to the last frame."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress

from mitmproxy import connection, http
from mitmproxy.proxy.server import ConnectionHandler
from multidict import CIMultiDict

from shin_gateway import flows
from shin_gateway.arrivals import Arrival
from shin_gateway.call import Call
from shin_gateway.delivery import Room
from shin_gateway.gateway import Gateway, LivePolicy
from shin_gateway.policy.match import GATEWAY
from shin_gateway.websockets.carriage import GOING_AWAY, INTERNAL, Carriage
from shin_gateway.websockets.layer import ClientSocket, SocketLayer, Upgrade, upgrade
from shin_gateway.websockets.passage import Passage
from shin_gateway.websockets.upstream import UpstreamSocket

log = logging.getLogger(__name__)

CARRIED = ("respond", "openai.responses")
"""Kind and dialect of the calls whose frames we know."""
BETA = "responses_websockets="
"""What `openai-beta` says of the carrier, and not of the call."""
GOODBYE = 3.0
"""Seconds that a client has to answer our closing, before the connection is cut."""


class Sockets:
    """The WebSockets that are open."""

    def __init__(self, introduce: Callable[[Call, connection.Client], None]) -> None:
        self._introduce = introduce
        """Says on a call whom it is from."""
        self._open: set[Carriage | Passage] = set()

    def accept(self, flow: http.HTTPFlow, gateway: Gateway, live: LivePolicy, arrival: Arrival) -> Upgrade | None:
        """The upgrade of a request whose calls can be carried, or that is one; None for any other."""
        if live.policy.websocket != "carry":
            return None
        if arrival.kind == "realtime":
            return upgrade(flow.request, _passage(flow.request, gateway, live))
        if (arrival.kind, arrival.dialect.name) != CARRIED:
            return None
        return upgrade(flow.request, self._carriage(flow, gateway, live, arrival))

    def _carriage(self, flow: http.HTTPFlow, gateway: Gateway, live: LivePolicy, arrival: Arrival) -> Carriage:
        host, port, client = flow.request.host, flow.request.port, flow.client_conn
        headers = _headers(flow.request)

        def find() -> LivePolicy | None:
            return gateway.find_gateway() if arrival.origin is None else gateway.find(host, port)

        def make_call(live: LivePolicy, body: bytes) -> Call:
            name = GATEWAY if arrival.origin is None else host
            call = Call(
                method="POST", headers=headers.copy(), arrival=arrival, host=name, policy=live.policy, raw_body=body
            )
            self._introduce(call, client)
            return call

        origin, wanted = arrival.origin, flows.headers_in(flow.request)

        def upward() -> UpstreamSocket:
            return UpstreamSocket(gateway.upstream, origin, wanted)

        return Carriage(find, make_call, live.policy.limits.body, draining=lambda: gateway.draining, upward=upward)

    async def run(self, socket: SocketLayer, handler: ConnectionHandler | None, room: Room) -> None:
        """Serve what is carried until the connection is over."""
        carried = socket.carried
        assert isinstance(carried, Carriage | Passage)
        if handler is None:  # the connection went while the upgrade was answered
            carried.client_left()
            return
        client = ClientSocket(socket, handler, room)
        self._open.add(carried)
        try:
            await carried.serve(client)
        except Exception:
            log.exception("a WebSocket could not be carried")
            await client.close(INTERNAL, "")
        finally:
            self._open.discard(carried)
        await _part(socket, client)

    def close(self) -> None:
        """The gateway goes."""
        for carried in list(self._open):
            carried.close(GOING_AWAY, "The gateway is shutting down.")


def _passage(request: http.Request, gateway: Gateway, live: LivePolicy) -> Passage:
    protocols = [one.strip() for one in request.headers.get("sec-websocket-protocol", "").split(",") if one.strip()]
    compress = "permessage-deflate" in request.headers.get("sec-websocket-extensions", "")
    return Passage(gateway.upstream, live.policy.limits.body, protocols, compress)


async def _part(socket: SocketLayer, client: ClientSocket) -> None:
    """Let the client have our last frame before the connection is cut: a reset would overtake it."""
    with suppress(TimeoutError):
        async with asyncio.timeout(GOODBYE if socket.legible else GOODBYE / 10):
            await socket.left.wait()
    await client.hang_up()


def _headers(request: http.Request) -> CIMultiDict[str]:
    """Those that the calls would have had over HTTPS."""
    headers = flows.headers_in(request)
    for name in list(headers):
        if name.lower().startswith("sec-websocket-") or name.lower() in ("upgrade", "connection", "accept-encoding"):
            headers.popall(name, None)
    beta = headers.popall("openai-beta", [])
    for value in beta:
        others = [one.strip() for one in value.split(",") if not one.strip().startswith(BETA)]
        if others:
            headers.add("openai-beta", ", ".join(others))
    headers["content-type"] = "application/json"
    headers["accept"] = "text/event-stream"
    return headers
