"""mitmproxy ⇄ Call and Reply: the only mitmproxy addon of the project.

Host and path decide. A host that no policy names is tunnelled and never decrypted; on a host that
one names, a request that is no call (telemetry, login, settings) takes mitmproxy's own way.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable

from mitmproxy import connection, ctx, http, tls
from mitmproxy.addons.next_layer import NextLayer
from mitmproxy.proxy import mode_specs
from mitmproxy.proxy.layer import NextLayer as NextLayerRequest
from mitmproxy.proxy.server import ConnectionHandler
from mitmproxy.proxy.server_hooks import ServerConnectionHookData

from shin_gateway import arrivals, flows, token_requests
from shin_gateway.arrivals import Arrival
from shin_gateway.call import Call
from shin_gateway.call_stream import DELIVERY, NAMED_HOSTS, SOCKET, UPGRADE, PartReady
from shin_gateway.delivery import Delivery
from shin_gateway.destinations import is_address, is_forbidden, is_link_local
from shin_gateway.diagnostics import Diagnostics, EventName
from shin_gateway.gateway import Gateway, LivePolicy
from shin_gateway.introductions import Introductions
from shin_gateway.layers import UNDECIDED, Endless, with_calls
from shin_gateway.listening.bans import Bans
from shin_gateway.listening.crowd import Crowd
from shin_gateway.outlets import room_at, straight_to
from shin_gateway.policy.match import GATEWAY
from shin_gateway.websockets.layer import SocketLayer
from shin_gateway.websockets.passage import Passage
from shin_gateway.websockets.sockets import Sockets

log = logging.getLogger(__name__)

_DISTRUST = ("unknown ca", "bad certificate", "certificate unknown", "disconnect", "certificate verify failed")
"""What a client's alert, or its hanging up, says when it does not trust our CA."""

FORBIDDEN = "The proxy does not connect to this address for its clients."


class Bridge:
    """Hooks that mitmproxy calls. `gateway` has been started before the first connection comes in."""

    name = "shin"  # mitmproxy's addons share one namespace
    gateway: Gateway
    diagnostics: Diagnostics
    crowd: Crowd
    bans: Bans

    def __init__(self) -> None:
        self._native = NextLayer()
        self._introductions = Introductions(self)
        self._sockets = Sockets(self._introductions.introduce)

    # Which connections are ours

    def configure(self, updated: set[str]) -> None:
        self._native.configure(updated)

    def next_layer(self, request: NextLayerRequest) -> None:
        """mitmproxy's own decision, which tunnels what `allow_hosts` does not name, with our HTTP layer in it."""
        if request.layer is not None:
            return
        self._native.next_layer(request)
        if _is_endless(request):
            request.layer = Endless(request.context)
        with_calls(request.layer, self.gateway.config.listen.limits)

    def tls_clienthello(self, data: tls.ClientHelloData) -> None:
        """Where the server's name is one of ours, go to that name and nowhere else, whatever CONNECT said."""
        sni, server = data.client_hello.sni, data.context.server
        if not sni or server.address is None or server.address[0] == sni:
            return
        port = server.address[1]
        if self.gateway.find(sni, port) is None:
            return
        if server.connected:
            data.context.server = server = connection.Server(address=None)
        server.address = (sni, port)

    def tls_failed_client(self, data: tls.TlsData) -> None:
        error = data.conn.error or ""
        distrust = any(sign in error.lower() for sign in _DISTRUST)
        self._note_tls("untrusted_ca" if distrust else "tls_failed", data, error)

    def tls_failed_server(self, data: tls.TlsData) -> None:
        error = data.conn.error or ""
        self._note_tls("upstream_unverified" if "certificate" in error.lower() else "upstream_unreachable", data, error)

    def _note_tls(self, event: EventName, data: tls.TlsData, error: str) -> None:
        host = data.conn.sni or (data.context.server.address or ("",))[0]
        self.diagnostics.note(event, host=host, client=self._introductions.agent(data.context.client), detail=error)

    def client_connected(self, client: connection.Client) -> Awaitable[None] | None:
        """One connection too many is closed at once."""
        client.error = self.crowd.enter(client.peername[0]) or client.error
        return None

    def client_disconnected(self, client: connection.Client) -> None:
        """mitmproxy forgets to close a socket when it is told to while it waits to handle what came next."""
        self.crowd.leave(client.peername[0])
        handler = _handler(client)
        transport = handler.transports.get(client) if handler else None
        if transport is not None and transport.writer is not None:
            transport.writer.close()

    async def server_connect(self, data: ServerConnectionHookData) -> None:
        """On mitmproxy's own way a client names where it wants to go: some places are not for it to name."""
        host, port = (data.server.address or ("", 0))[:2]
        if not host or isinstance(data.client.proxy_mode, mode_specs.UpstreamMode) or self.gateway.find(host, port):
            return
        if await is_forbidden(host, port, for_others=self.gateway.config.for_others):
            data.server.error = FORBIDDEN

    async def http_connect(self, flow: http.HTTPFlow) -> None:
        host, port = flow.request.host, flow.request.port
        live = self.gateway.find(host, port)
        if agent := flow.request.headers.get("user-agent"):
            self._introductions.note_agent(flow.client_conn, agent)
        # The server's name in the handshake may still be one of ours where CONNECT gives an address.
        setattr(flow.client_conn, NAMED_HOSTS, live is not None or is_address(host))
        try:
            if (looking := self._introductions.identify(flow, live)) is not None:
                await looking
        except Exception:
            log.exception("a CONNECT could not be taken")
            flow.response = flows.failed()
        by_us = not isinstance(flow.client_conn.proxy_mode, mode_specs.UpstreamMode)
        if live is None and flow.response is None and by_us and is_link_local(host):
            flow.response = http.Response.make(502, FORBIDDEN)  # else it is told 200 first: we connect late
        if live is None and flow.response is None:
            self.diagnostics.note("tunnelled", host=host, client=self._introductions.agent(flow.client_conn))

    # Calls

    def requestheaders(self, flow: http.HTTPFlow) -> Awaitable[None] | None:
        if flow.response is not None or flow.error is not None:
            return None
        try:
            looking = self._receive(flow)
        except Exception as error:
            _fail(flow, error)
            return None
        return None if looking is None else self._receive_then(flow, looking)

    def _receive(self, flow: http.HTTPFlow) -> Awaitable[None] | None:
        """What is returned has to be awaited before the request is let in."""
        is_gateway = flows.is_gateway(flow)
        self._introductions.meet(flow)
        live = self.gateway.find_gateway() if is_gateway else self._policy_of(flow)
        looking = self._introductions.identify(flow, live) if flows.is_proxied(flow) else None
        flows.without_login(flow.request)
        if looking is None:
            self._let_in(flow, live)
        return looking

    async def _receive_then(self, flow: http.HTTPFlow, looking: Awaitable[None]) -> None:
        try:
            await looking
            self._let_in(flow, self._policy_of(flow))
        except Exception as error:
            _fail(flow, error)

    def _let_in(self, flow: http.HTTPFlow, live: LivePolicy | None) -> None:
        if flow.response is not None:
            return
        if flows.is_proxied(flow) and (answer := flows.wrong_port(flow, _gateway_port)) is not None:
            flow.response = answer
            return
        if token_requests.asks_for_token(flow, self.gateway):
            return
        arrival = None if live is None else self._arrive(flow, live, flows.is_gateway(flow))
        if live is None or arrival is None:
            flows.pass_by(flow, self.gateway.identity.is_ours)
        elif isinstance(arrival, http.Response):
            arrival.raw_content = b"" if flow.request.method == "HEAD" else arrival.raw_content
            flow.response = arrival
        else:
            self._take(flow, live, arrival)

    def _policy_of(self, flow: http.HTTPFlow) -> LivePolicy | None:
        request = flow.request
        live = self.gateway.find(request.host, request.port)
        if live is None and is_address(request.host) and request.scheme == "http":
            live = self.gateway.find(request.pretty_host, request.port)
            request.host = request.pretty_host if live else request.host
        return live

    def _arrive(self, flow: http.HTTPFlow, live: LivePolicy, is_gateway: bool) -> Arrival | http.Response | None:
        """What the request is: a call, answered here and now, or nothing of ours (None)."""
        request = flow.request
        if is_gateway:
            named = live.cors is not None and live.cors.permits(request.headers.get("origin"))
            if not named and not self.gateway.demands_key(live) and flows.is_foreign_page(request):
                return flows.foreign_page()
            if (answer := flows.preflight(request)) is not None:
                return answer
        if flows.asks_for_websocket(request):
            return self._upgrade(flow, live, is_gateway)
        if is_gateway:
            found = arrivals.at_gateway(self.gateway.providers, request.method, request.path, request.headers)
            return flows.no_such_path(request) if found is None else found
        arrival = arrivals.at_host(self.gateway.providers, live.policy, request.method, request)
        if arrival is not None and arrival.kind == "file" and not flows.fits(request, live.policy.limits.body):
            return arrival if self._introductions.is_unknown(flow, live) else None
        return arrival

    def _upgrade(self, flow: http.HTTPFlow, live: LivePolicy, is_gateway: bool) -> Arrival | http.Response | None:
        """The answer to who asks for a WebSocket, or the call that it is; None where it goes its own way, unread."""
        request, providers = flow.request, self.gateway.providers
        if is_gateway:
            arrival = arrivals.at_gateway(providers, "WEBSOCKET", request.path, request.headers)
            if arrival is None:
                return flows.no_such_path(request)
        else:
            arrival = arrivals.at_host(providers, live.policy, "WEBSOCKET", request)
            if arrival is None or live.policy.websocket == "pass":
                return None
        accepted = self._sockets.accept(flow, self.gateway, live, arrival)
        if accepted is None:
            return flows.no_websocket()
        if isinstance(accepted.carried, Passage):
            flow.metadata[UPGRADE] = accepted
            return arrival
        flow.metadata[SOCKET] = accepted
        return accepted.response

    def _take(self, flow: http.HTTPFlow, live: LivePolicy, arrival: Arrival) -> None:
        request = flow.request
        host = GATEWAY if arrival.origin is None else request.host
        headers = flows.headers_in(request)
        call = Call(method=request.method, headers=headers, arrival=arrival, host=host, policy=live.policy)
        delivery = flow.metadata[DELIVERY] = Delivery(call, live.take(call))
        self.gateway.watch(delivery)
        if upgrade := flow.metadata.get(UPGRADE):
            upgrade.carried.begin(delivery)
        self._introductions.introduce(call, flow.client_conn)
        length = headers.get("content-length", "")
        if length.isdigit() and int(length) > delivery.body_limit:
            delivery.too_large()

    def request(self, flow: http.HTTPFlow) -> Awaitable[None] | None:
        delivery: Delivery | None = flow.metadata.get(DELIVERY)
        if (token := token_requests.answer_of(flow, self.gateway, self.bans)) is not None:
            return token
        return None if delivery is None or flow.response is not None else self._answer_or_fail(flow, delivery)

    async def _answer_or_fail(self, flow: http.HTTPFlow, delivery: Delivery) -> None:
        """mitmproxy sends a request on when its hook fails: past the chain."""
        try:
            await self._answer(flow, delivery)
        except Exception:
            log.exception("call %s could not be answered", delivery.call.id)
            delivery.fail()
            flow.response = flows.failed()

    async def _answer(self, flow: http.HTTPFlow, delivery: Delivery) -> None:
        call = delivery.call
        call.raw_body = flow.request.raw_content or b""
        call.outcome.timings.started_at = time.perf_counter()
        reply = await delivery.answer()
        upgrade = flow.metadata.get(UPGRADE)
        if reply is not None and reply.status == 101 and upgrade is not None:
            flow.metadata[SOCKET] = upgrade
            flow.response = flows.to_switch(upgrade.response, call, reply, upgrade.carried.protocol)
        elif reply is not None:
            if self.gateway.draining and flow.request.http_version.startswith("HTTP/1"):
                reply.headers["connection"] = "close"
            flow.response = flows.to_response(flow, call, reply)
            if reply.streamed:
                delivery.begin()

    async def shin_stream(self, delivery: Delivery) -> None:
        """Send a streamed reply part by part, each once the client has taken the last one."""
        client = delivery.stream.context.client
        handler = _handler(client)
        if handler is None:  # the connection went while the head was on its way
            delivery.client_left()
            return
        room, write = room_at(handler, client, delivery.stream), straight_to(handler, delivery.stream)
        while part := await delivery.next_part(room):
            if write is not None:
                write(part)
            else:
                await handler.server_event(PartReady(delivery.stream, part))
        await handler.server_event(PartReady(delivery.stream, b""))

    async def shin_socket(self, socket: SocketLayer) -> None:
        """Carry the calls of a WebSocket."""
        client = socket.context.client
        handler = _handler(client)
        await self._sockets.run(socket, handler, room_at(handler, client) if handler else lambda: None)

    async def done(self) -> None:
        """mitmproxy stops."""
        self._sockets.close()
        await asyncio.sleep(0)  # for their last frames

    def responseheaders(self, flow: http.HTTPFlow) -> None:
        """Nothing on mitmproxy's own way is gathered."""
        if DELIVERY not in flow.metadata and flow.response and flow.response.status_code != 101:
            flow.response.stream = True
        if flows.is_gateway(flow):
            live = self.gateway.find_gateway()
            flows.dress(flow, live.cors if live else None)


def _fail(flow: http.HTTPFlow, error: Exception) -> None:
    log.error("a request could not be taken", exc_info=error)
    flow.response = flows.failed()


def _handler(client: connection.Client) -> ConnectionHandler | None:
    found: ConnectionHandler | None = ctx.master.addons.get("proxyserver").connections.get(client.id)
    return found


def _gateway_port() -> int:
    """0 while it does not listen."""
    servers = ctx.master.addons.get("proxyserver").servers
    ports = (address[1] for server in servers if flows.is_gateway_mode(server.mode) for address in server.listen_addrs)
    return next(ports, 0)


def _is_endless(request: NextLayerRequest) -> bool:
    return request.layer is None and len(request.data_client()) > UNDECIDED
