"""The innermost layer: one pooled client for all callers, byte-faithful in both directions."""

from __future__ import annotations

import ssl
import time
from collections.abc import Sequence
from functools import lru_cache
from urllib.parse import urlencode

import aiohttp
from multidict import CIMultiDict
from yarl import URL

from shin_gateway.call import Call
from shin_gateway.call_keys import unmentioned
from shin_gateway.dialects.parts import MAX_PART
from shin_gateway.errors import TooLarge, Unsupported, UpstreamTimeout, shutting_down
from shin_gateway.provider_keys.grants import Form
from shin_gateway.reply import Reply
from shin_gateway.upstream.connector import CURRENT, Connector, open_pooled
from shin_gateway.upstream.exchange import Attempt, Exchange, framer_of, streamed, whole
from shin_gateway.upstream.failures import AsRefusals, who_is_asked
from shin_gateway.upstream.handshakes import keep_refusal
from shin_gateway.upstream.options import UpstreamOptions
from shin_gateway.upstream.sending import data_of, headers_of
from shin_gateway.upstream.tls import client_certificate, make_context

LONGEST_FORM_REPLY = 65536
_FORM_HEADERS = {
    "accept": "application/json",
    "accept-encoding": "identity",
    "content-type": "application/x-www-form-urlencoded",
    "user-agent": "shin-gateway",
}


class Upstream:
    """The pooled client. `forward` is the innermost layer of every chain."""

    def __init__(self, options: UpstreamOptions) -> None:
        self.options = options
        self._contexts: dict[str, ssl.SSLContext] = {}
        self._session: aiohttp.ClientSession | None = None
        self._sockets: aiohttp.ClientSession | None = None
        """On the same connections; for WebSockets."""
        self._exchanges: set[Attempt] = set()
        self._is_cut = False
        self.declines: dict[str, float] = {}
        """Base URLs that take no WebSocket, and when they may be asked again (monotonic)."""

    async def start(self) -> None:
        connector = Connector(limit=0, keepalive_timeout=30, ttl_dns_cache=30)
        self._session = open_pooled(connector)
        self._sockets = open_pooled(connector, connector_owner=False, middlewares=(keep_refusal,))

    async def close(self) -> None:
        for session in (self._sockets, self._session):
            if session is not None:
                await session.close()

    def cut(self) -> None:
        """Break off whatever is under way, and begin nothing: clients are told that the gateway is shutting down."""
        self._is_cut = True
        for exchange in list(self._exchanges):
            exchange.cut()

    async def forward(self, call: Call) -> Reply:
        """Ask the call's target once. Raises UpstreamFailed, UpstreamTimeout, Unavailable, and Unsupported for a call
        that should have been translated and was not."""
        if call.target is not None and call.target.dialect not in ("", call.dialect.name):
            raise Unsupported(
                f"The model speaks {call.target.dialect}: the policy lacks the addon translate.", code="untranslated"
            )
        if self._is_cut:
            raise shutting_down()
        if call.detour is not None and (reply := await call.detour(call)) is not None:
            return reply
        call.outcome.attempts += 1
        exchange = Exchange(call, self._exchanges)
        call.on_end(exchange.call_ended)
        started = time.perf_counter()
        try:
            return await self._ask(call, exchange)
        except BaseException as error:
            exchange.close()
            if exchange.is_cut and isinstance(error, UpstreamTimeout):
                raise shutting_down() from None
            raise
        finally:
            call.outcome.timings.upstream += time.perf_counter() - started

    async def _ask(self, call: Call, exchange: Exchange) -> Reply:
        timeouts = call.policy.timeouts
        patience = exchange.patience.lasting(min(timeouts.first_part, timeouts.total))
        with AsRefusals(who_is_asked(call)), patience:
            answer = exchange.answer = await self._send(call)
            framer = framer_of(call, answer)
            return await (streamed(call, exchange, framer) if framer else whole(call, exchange))

    async def _send(self, call: Call) -> aiohttp.ClientResponse:
        assert self._session is not None and call.target is not None
        url = URL(call.target.url(unmentioned(call.path)), encoded=True)
        if call.target.fetches:
            await call.target.ready()
        CURRENT.set(call.outcome.timings)
        answer = await self._session.request(
            call.method,
            url,
            headers=headers_of(call),
            data=data_of(call),
            allow_redirects=False,
            proxy=self.options.proxy,
            proxy_auth=self.options.login,
            ssl=self._context(url.host or "") if url.scheme == "https" else True,
            timeout=_timeout(call.policy.timeouts.connect),
        )
        if answer.status == 401:
            call.target.answered(401)
        return answer

    async def post_form(self, form: Form) -> tuple[int, bytes]:
        """Ask a token server, on the way that calls take; gives status and body. The caller bounds the wait.

        Raises UpstreamFailed, UpstreamTimeout, and TooLarge for a body of more than `LONGEST_FORM_REPLY`.
        """
        assert self._session is not None
        url = URL(form.url, encoded=True)
        with AsRefusals(url.host or ""):
            async with self._session.post(
                url,
                headers={**_FORM_HEADERS, **form.headers},
                data=urlencode(form.fields).encode(),
                allow_redirects=False,
                proxy=self.options.proxy,
                proxy_auth=self.options.login,
                ssl=self._context(url.host or "") if url.scheme == "https" else True,
            ) as answer:
                return answer.status, await _bounded(answer)

    async def open_socket(
        self,
        url: str,
        headers: CIMultiDict[str],
        heartbeat: float,
        *,
        protocols: Sequence[str] = (),
        compress: bool = True,
    ) -> aiohttp.ClientWebSocketResponse:
        """A WebSocket of the caller's own, on the way that calls take.

        Raises HandshakeRefused, and aiohttp's errors, OSError, ValueError.
        """
        assert self._sockets is not None
        where = URL(url, encoded=True)
        return await self._sockets.ws_connect(
            where,
            headers=headers,
            protocols=protocols,
            heartbeat=heartbeat,
            compress=15 if compress else 0,
            max_msg_size=MAX_PART,
            proxy=self.options.proxy,
            proxy_auth=self.options.login,
            ssl=self._context(where.host or "") if where.scheme == "https" else True,
        )

    def watch(self, attempt: Attempt) -> None:
        """Have `cut` break it off too."""
        self._exchanges.add(attempt)

    def unwatch(self, attempt: Attempt) -> None:
        self._exchanges.discard(attempt)

    def _context(self, host: str) -> ssl.SSLContext:
        certificate = client_certificate(self.options.client_certs, host)
        key = str(certificate or "")
        if key not in self._contexts:
            self._contexts[key] = make_context(self.options, certificate)
        return self._contexts[key]


async def _bounded(answer: aiohttp.ClientResponse) -> bytes:
    body = b""
    while chunk := await answer.content.readany():
        body += chunk
        if len(body) > LONGEST_FORM_REPLY:
            raise TooLarge("The answer to a form is too long.")
    return body


@lru_cache(maxsize=256)
def _timeout(connect: float) -> aiohttp.ClientTimeout:
    return aiohttp.ClientTimeout(total=None, connect=connect, sock_connect=connect)
