"""The innermost layer: one pooled client for all callers, byte-faithful in both directions.

The head of a reply is held until its first real part is there, so that whoever stands further out
can still retry or fall back. Everything that goes wrong is a Refusal before that and Broken after.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections import deque
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

import aiohttp
import certifi
from multidict import CIMultiDict
from yarl import URL

from shin_gateway import encodings
from shin_gateway.call import Call
from shin_gateway.dialects import multipart
from shin_gateway.dialects.base import Dialect
from shin_gateway.dialects.parts import MAX_PART, Framer, Part
from shin_gateway.errors import Invalid, Refusal, TooLarge, Unavailable, Unsupported, UpstreamFailed, UpstreamTimeout
from shin_gateway.outcome import Outcome, Timings
from shin_gateway.reply import MAX_DECODED_STREAM, Broken, Reply
from shin_gateway.websockets.handshakes import keep_refusal

HOP_BY_HOP = frozenset(
    ["connection", "keep-alive", "proxy-connection", "proxy-authenticate", "proxy-authorization", "te", "trailer",
     "transfer-encoding", "upgrade", "expect"]
)  # fmt: skip
"""Headers that concern one connection only (RFC 9110 §7.6.1)."""

WHOLE_LIMIT = 64 * 1024 * 1024
"""Bytes of a whole reply that are gathered before they are sent on; a longer one is passed on as it arrives."""


SHUTTING_DOWN = "shutting_down"
"""Code and cause of calls that `cut` ends."""

SILENCE = 15.0
"""Seconds without a part after which the client may be sent a sign of life."""


@dataclass(frozen=True)
class UpstreamOptions:
    """How to reach upstreams: mitmproxy's options of the same names, which hold for our client too."""

    insecure: bool = False
    trusted_ca: str | None = None
    trusted_confdir: str | None = None
    client_certs: str | None = None
    proxy: str | None = None
    """URL of a proxy that everything goes through, without credentials."""
    proxy_auth: str | None = None
    """`user:password` for that proxy."""


class Attempt(Protocol):
    """Something under way that a shutdown ends."""

    def cut(self) -> None: ...


class Upstream:
    """The pooled client. `forward` is the innermost layer of every chain."""

    def __init__(self, options: UpstreamOptions) -> None:
        self.options = options
        self._contexts: dict[str, ssl.SSLContext] = {}
        self._session: aiohttp.ClientSession | None = None
        self._sockets: aiohttp.ClientSession | None = None
        """On the same connections; for WebSockets."""
        self._exchanges: set[Attempt] = set()
        self.declines: dict[str, float] = {}
        """Base URLs that take no WebSocket, and when they may be asked again (monotonic)."""
        user, colon, password = (options.proxy_auth or "").partition(":")
        self._proxy_auth = aiohttp.BasicAuth(user, password, "utf-8") if colon else None

    async def start(self) -> None:
        connector = _Connector(limit=0, keepalive_timeout=30, ttl_dns_cache=30)
        self._session = _session(connector)
        self._sockets = _session(connector, connector_owner=False, middlewares=(keep_refusal,))

    async def close(self) -> None:
        for session in (self._sockets, self._session):
            if session is not None:
                await session.close()

    def cut(self) -> None:
        """Break off whatever is under way: clients are told that the gateway is shutting down."""
        for exchange in list(self._exchanges):
            exchange.cut()

    async def forward(self, call: Call) -> Reply:
        """Ask the call's target once. Raises UpstreamFailed, UpstreamTimeout, Unavailable, and Unsupported for a call
        that should have been translated and was not."""
        if call.target is not None and call.target.dialect not in ("", call.dialect.name):
            raise Unsupported(
                f"The model speaks {call.target.dialect}: the policy lacks the addon translate.", code="untranslated"
            )
        if call.detour is not None and (reply := await call.detour(call)) is not None:
            return reply
        call.outcome.attempts += 1
        exchange = _Exchange(call, self._exchanges)
        call.on_end(exchange.call_ended)
        started = time.perf_counter()
        try:
            return await self._ask(call, exchange)
        except BaseException as error:
            exchange.close()
            if exchange.is_cut and isinstance(error, UpstreamTimeout):
                raise Unavailable("The gateway is shutting down.", code=SHUTTING_DOWN) from None
            raise
        finally:
            call.outcome.timings.upstream += time.perf_counter() - started

    async def _ask(self, call: Call, exchange: _Exchange) -> Reply:
        timeouts = call.policy.timeouts
        with as_refusals():
            async with asyncio.timeout(min(timeouts.first_part, timeouts.total)) as exchange.timer:
                answer = exchange.answer = await self._send(call)
                framer = _framer(call, answer)
                return await (_streamed(call, exchange, framer) if framer else _whole(call, exchange))

    async def _send(self, call: Call) -> aiohttp.ClientResponse:
        assert self._session is not None and call.target is not None
        url = URL(call.target.url(call.path), encoded=True)
        _CURRENT.set(call.outcome.timings)
        return await self._session.request(
            call.method,
            url,
            headers=_headers(call),
            data=_data(call),
            allow_redirects=False,
            proxy=self.options.proxy,
            proxy_auth=self._proxy_auth,
            ssl=self._context(url.host or "") if url.scheme == "https" else True,
            timeout=_timeout(call.policy.timeouts.connect),
        )

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
            proxy_auth=self._proxy_auth,
            ssl=self._context(where.host or "") if where.scheme == "https" else True,
        )

    def watch(self, attempt: Attempt) -> None:
        """Have `cut` break it off too."""
        self._exchanges.add(attempt)

    def unwatch(self, attempt: Attempt) -> None:
        self._exchanges.discard(attempt)

    def _context(self, host: str) -> ssl.SSLContext:
        certificate = _client_certificate(self.options.client_certs, host)
        key = str(certificate or "")
        if key not in self._contexts:
            self._contexts[key] = _make_context(self.options, certificate)
        return self._contexts[key]


def _session(connector: aiohttp.BaseConnector, **more: Any) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        connector=connector,
        timeout=aiohttp.ClientTimeout(total=None),
        auto_decompress=False,
        cookie_jar=aiohttp.DummyCookieJar(),
        skip_auto_headers=["User-Agent", "Accept", "Accept-Encoding", "Content-Type"],
        trust_env=False,
        max_line_size=65536,
        max_field_size=65536,
        **more,
    )


def _client_certificate(client_certs: str | None, host: str) -> Path | None:
    """mitmproxy's rule: one file for all hosts, or a folder with one HOST.pem each."""
    if not client_certs:
        return None
    path = Path(client_certs).expanduser()
    path = path / f"{host}.pem" if path.is_dir() else path
    return path if path.is_file() else None


def _make_context(options: UpstreamOptions, certificate: Path | None) -> ssl.SSLContext:
    if options.trusted_ca or options.trusted_confdir:
        context = ssl.create_default_context(cafile=options.trusted_ca, capath=options.trusted_confdir)
    else:
        context = ssl.create_default_context(cafile=certifi.where())
    if options.insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if certificate is not None:
        context.load_cert_chain(certificate)
    return context


def _data(call: Call) -> bytes | AsyncIterator[memoryview | bytes] | None:
    """The body; a large one, or one with a change in it, piece by piece, so that no copy of it is made."""
    if call.patch is None and len(call.raw_body) <= multipart.PIECE:
        return call.raw_body or None
    return _pieces(call)


async def _pieces(call: Call) -> AsyncIterator[memoryview | bytes]:
    for piece in multipart.pieces(call.raw_body, call.patch):
        yield piece


def _headers(call: Call) -> CIMultiDict[str]:
    """The call's headers as they came, less what concerns our own connections, with the target's credential."""
    assert call.target is not None
    named = call.headers.get("connection", "").lower().replace(" ", "").split(",")
    out: CIMultiDict[str] = CIMultiDict()
    for name, value in call.headers.items():
        lower = name.lower()
        if lower in HOP_BY_HOP or lower in named or lower == "host" or lower.startswith("x-shin-"):
            continue
        if lower == "cookie" and not call.target.own_key:  # of our own address, which other programs share
            continue
        out.add(name, str(call.size) if lower == "content-length" else value)
    if call.raw_body and "content-length" not in out:
        out["content-length"] = str(call.size)
    call.target.authorize(out, call.path)
    return out


def _framer(call: Call, answer: aiohttp.ClientResponse) -> Framer | None:
    """What splits the answer into parts; None when it is to be had whole."""
    if answer.status >= 400 or not _is_stream(call, answer) or not _is_legible(answer):
        return None
    return call.dialect.framer(answer.headers.get("content-type", ""))


def _is_stream(call: Call, answer: aiohttp.ClientResponse) -> bool:
    return call.arrival.stream or answer.headers.get("content-type", "").lower().startswith("text/event-stream")


def _is_legible(answer: aiohttp.ClientResponse) -> bool:
    """Whether we know the encodings of the body (RFC 9110 §8.4)."""
    codings = answer.headers.get("content-encoding", "").lower().split(",")
    return all(coding.strip() in encodings.NAMES for coding in codings if coding.strip())


class _Exchange:
    """One attempt: owns the upstream's answer until it was read to its end or nobody wants it any more."""

    def __init__(self, call: Call, exchanges: set[Attempt]) -> None:
        timeouts = call.policy.timeouts
        exchanges.add(self)
        self._exchanges = exchanges
        self.timer: asyncio.Timeout | None = None
        """What bounds the wait at hand."""
        self.is_cut = False
        self.answer: aiohttp.ClientResponse | None = None
        self.ready: deque[bytes] = deque()
        """What was read ahead to see the first part."""
        self._timings = call.outcome.timings
        self._idle = timeouts.idle
        self._heard = time.perf_counter()
        self._deadline = self._heard + timeouts.total

    async def read(self) -> bytes | None:
        """The next bytes as they arrive, None after SILENCE without any. Raises Broken."""
        if self.ready:
            return self.ready.popleft()
        started = time.perf_counter()
        try:
            chunk = await self._receive()
        finally:
            now = time.perf_counter()
            self._timings.upstream += now - started
        if chunk is None and now - self._heard > self._idle:
            raise Broken("upstream_idle")
        self._heard = self._heard if chunk is None else now
        return chunk

    async def _receive(self) -> bytes | None:
        assert self.answer is not None
        patience = min(SILENCE, self._idle, self._deadline - time.perf_counter())
        try:
            async with asyncio.timeout(0 if self.is_cut else patience) as self.timer:
                return await self.answer.content.readany()
        except TimeoutError:
            if self.is_cut:
                raise Broken(SHUTTING_DOWN) from None
            if time.perf_counter() >= self._deadline:
                raise Broken("total_timeout") from None
            return None
        except (aiohttp.ClientError, OSError):
            raise Broken("upstream_cut") from None

    async def read_ahead(self) -> bytes:
        """The next bytes, kept for `read`. Raises aiohttp's errors, which are refusals before the first part."""
        assert self.answer is not None
        chunk = await self.answer.content.readany()
        self._timings.first_part_at = self._timings.first_part_at or time.perf_counter()
        self.ready.append(chunk)
        return chunk

    def cut(self) -> None:
        self.is_cut = True
        with suppress(RuntimeError):  # nobody waits at the moment
            if self.timer is not None:
                self.timer.reschedule(0)

    def close(self) -> None:
        self._exchanges.discard(self)
        if self.answer is not None:
            self.answer.close()

    def call_ended(self, _: Call, __: Outcome) -> None:
        self.close()

    def reply(self, call: Call, *, body: bytes | None = None, framer: Framer | None = None) -> Reply:
        answer = self.answer
        assert answer is not None
        return Reply(
            answer.status,
            _reply_headers(answer),
            call.dialect,
            body=body,
            source=None if body is not None else self,
            framer=framer,
            reason=answer.reason or "",
        )


async def _whole(call: Call, exchange: _Exchange) -> Reply:
    """Gather the reply. One that is too long for that, or cannot be understood, is passed on as it arrives."""
    answer = exchange.answer
    assert answer is not None
    gathered = 0
    while gathered <= WHOLE_LIMIT and not _is_raw(call, answer):
        chunk = await exchange.read_ahead()
        gathered += len(chunk)
        if not chunk:
            return exchange.reply(call, body=b"".join(exchange.ready))
    return exchange.reply(call)


def _is_raw(call: Call, answer: aiohttp.ClientResponse) -> bool:
    if not call.dialect.gathers(answer.headers.get("content-type", "")):
        return True
    return answer.status < 400 and _is_stream(call, answer)


async def _streamed(call: Call, exchange: _Exchange, framer: Framer) -> Reply:
    """Hold the head until the first real part is there; comments and pings are none."""
    answer = exchange.answer
    assert answer is not None
    ahead = _framer(call, answer)
    assert ahead is not None
    coding = answer.headers.get("content-encoding", "")
    decoder = encodings.Decoder(coding, MAX_DECODED_STREAM) if coding else None
    while chunk := await exchange.read_ahead():
        try:
            plain = decoder.feed(chunk) if decoder else chunk
        except (Invalid, TooLarge) as error:  # the upstream's fault, not the client's
            raise UpstreamFailed("The upstream's reply cannot be decompressed.", code="upstream_encoding") from error
        first = _first_real(call.dialect, ahead.feed(plain))
        if first is not None:
            reply = exchange.reply(call, framer=framer)
            reply.failure = call.dialect.failure(first)
            return reply
    raise UpstreamFailed("The upstream's stream ended before its first part.", code="upstream_empty")


def _first_real(dialect: Dialect, parts: list[Part]) -> Part | None:
    return next((part for part in parts if dialect.is_real(part)), None)


def _reply_headers(answer: aiohttp.ClientResponse) -> CIMultiDict[str]:
    """The upstream's headers as they came, less what concerned its connection to us."""
    named = answer.headers.get("connection", "").lower().replace(" ", "").split(",")
    headers: CIMultiDict[str] = CIMultiDict()
    for raw_name, raw_value in answer.raw_headers:
        name = raw_name.decode("utf-8", "surrogateescape")
        if name.lower() not in HOP_BY_HOP and name.lower() not in named:
            headers.add(name, raw_value.decode("utf-8", "surrogateescape"))
    return headers


@contextmanager
def as_refusals() -> Iterator[None]:
    """What aiohttp raises before the first part, in our words. No message of its own reaches the client."""
    try:
        yield
    except Refusal:
        raise
    except aiohttp.ConnectionTimeoutError as error:
        raise UpstreamTimeout("The upstream did not accept the connection in time.", code="connect_timeout") from error
    except TimeoutError as error:
        raise UpstreamTimeout("The upstream did not begin to reply in time.", code="first_part_timeout") from error
    except (aiohttp.ClientConnectorCertificateError, aiohttp.ClientConnectorSSLError) as error:
        message = "The upstream's certificate could not be verified."
        refusal = UpstreamFailed(message, code="upstream_unverified")
        refusal.retryable = False
        raise refusal from error
    except aiohttp.ClientHttpProxyError as error:
        raise _proxy_refused(error.status) from error
    except (aiohttp.ClientConnectorError, aiohttp.ClientProxyConnectionError) as error:
        raise UpstreamFailed("The upstream could not be reached.", code="upstream_unreachable") from error
    except (aiohttp.ClientError, OSError) as error:
        raise UpstreamFailed("The upstream broke off before its first part.", code="upstream_cut") from error
    except (ValueError, UnicodeError) as error:
        raise Invalid("The call's path or headers cannot be sent on.", code="invalid_request") from error


def _proxy_refused(status: int) -> UpstreamFailed:
    if status != 407:
        return UpstreamFailed("The upstream proxy refused the connection.", code="upstream_proxy_refused")
    message = "The upstream proxy does not accept the gateway's credentials."
    refusal = UpstreamFailed(message, code="upstream_proxy_refused")
    refusal.retryable = False  # they will be no better the next time
    return refusal


class _Connector(aiohttp.TCPConnector):
    """Notes how long a new connection took. aiohttp's tracing would cost something for every call."""

    async def _create_connection(
        self, req: aiohttp.ClientRequest, traces: list[Any], timeout: aiohttp.ClientTimeout
    ) -> Any:
        began = time.perf_counter()
        try:
            return await super()._create_connection(req, traces, timeout)
        finally:
            _CURRENT.get(_NOBODY).connect += time.perf_counter() - began


_CURRENT: ContextVar[Timings] = ContextVar("timings")
"""Those of the call that the running task serves."""
_NOBODY = Timings()
"""Of connections that no call alone is asked on."""


@lru_cache(maxsize=256)
def _timeout(connect: float) -> aiohttp.ClientTimeout:
    return aiohttp.ClientTimeout(total=None, connect=connect, sock_connect=connect)
