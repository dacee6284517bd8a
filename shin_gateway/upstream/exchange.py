"""One attempt: the upstream's answer, from its head to its last byte.

The head of a reply is held until its first real part is there, so that whoever stands further out can still retry or
fall back. Everything that goes wrong is a Refusal before that and Broken after.
"""

from __future__ import annotations

import time
from collections import deque
from typing import Protocol

import aiohttp
from multidict import CIMultiDict

from shin_gateway import encodings
from shin_gateway.call import Call
from shin_gateway.dialects.base import Dialect
from shin_gateway.dialects.parts import Framer, Part
from shin_gateway.errors import SHUTTING_DOWN, Invalid, Refusal, TooLarge, UpstreamFailed
from shin_gateway.outcome import Outcome
from shin_gateway.policy.paths import GENERATING
from shin_gateway.reply import Reply
from shin_gateway.stream import MAX_DECODED_STREAM, Broken
from shin_gateway.upstream.patience import Patience
from shin_gateway.upstream.sending import HOP_BY_HOP

WHOLE_LIMIT = 64 * 1024 * 1024
"""Bytes of a whole reply that are gathered before they are sent on; a longer one is passed on as it arrives."""

SILENCE = 15.0
"""Seconds without a part after which the client may be sent a sign of life."""


class Attempt(Protocol):
    """Something under way that a shutdown ends."""

    def cut(self) -> None: ...


class Exchange:
    """One attempt: owns the upstream's answer until it was read to its end or nobody wants it any more."""

    def __init__(self, call: Call, exchanges: set[Attempt]) -> None:
        timeouts = call.policy.timeouts
        exchanges.add(self)
        self._exchanges = exchanges
        self.patience = Patience()
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
        assert self.answer is not None
        started = time.perf_counter()
        wait = 0 if self.is_cut else min(SILENCE, self._idle, self._deadline - started)
        try:
            with self.patience.lasting(wait):
                chunk = await self.answer.content.readany()
        except TimeoutError:
            chunk = None
        except (aiohttp.ClientError, OSError):
            raise Broken("upstream_cut") from None
        finally:
            now = time.perf_counter()
            self._timings.upstream += now - started
        if chunk is None:
            self._break_if_over(now)
        else:
            self._heard = now
        return chunk

    def _break_if_over(self, now: float) -> None:
        """Whether a stream that was waited for in vain may be waited for again. Raises Broken."""
        if self.is_cut:
            raise Broken(SHUTTING_DOWN)
        if now >= self._deadline:
            raise Broken("total_timeout")
        if now - self._heard > self._idle:
            raise Broken("upstream_idle")

    async def read_ahead(self) -> bytes:
        """The next bytes, kept for `read`. Raises aiohttp's errors, which are refusals before the first part."""
        assert self.answer is not None
        chunk = await self.answer.content.readany()
        self._timings.first_part_at = self._timings.first_part_at or time.perf_counter()
        self.ready.append(chunk)
        return chunk

    def cut(self) -> None:
        self.is_cut = True
        self.patience.end()

    def close(self) -> None:
        self._exchanges.discard(self)
        self.patience.close()
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


def framer_of(call: Call, answer: aiohttp.ClientResponse) -> Framer | None:
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


async def whole(call: Call, exchange: Exchange) -> Reply:
    """Gather the reply. One that is too long for that, or cannot be understood, is passed on as it arrives."""
    answer = exchange.answer
    assert answer is not None
    gathered = 0
    while gathered <= WHOLE_LIMIT and not _is_raw(call, answer):
        chunk = await exchange.read_ahead()
        gathered += len(chunk)
        if not chunk:
            return exchange.reply(call, body=_something(call, answer, b"".join(exchange.ready)))
    return exchange.reply(call)


def _something(call: Call, answer: aiohttp.ClientResponse, body: bytes) -> bytes:
    """A whole body. Raises UpstreamFailed for nothing where a stream was asked for: clients take it for its end."""
    if not body and answer.status == 200 and call.kind in GENERATING and _wants_stream(call):
        raise UpstreamFailed("The upstream's reply is empty.", code="upstream_empty")
    return body


def _wants_stream(call: Call) -> bool:
    try:
        return call.stream
    except Refusal:  # the call is malformed, and was sent on all the same
        return False


def _is_raw(call: Call, answer: aiohttp.ClientResponse) -> bool:
    if not call.dialect.gathers(answer.headers.get("content-type", "")):
        return True
    return answer.status < 400 and _is_stream(call, answer)


async def streamed(call: Call, exchange: Exchange, framer: Framer) -> Reply:
    """Hold the head until the first real part is there; comments and pings are none."""
    answer = exchange.answer
    assert answer is not None
    ahead = framer_of(call, answer)
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
    """The upstream's headers as they came, less what concerned its connection to us, and what only we may say."""
    named = answer.headers.get("connection", "").lower().replace(" ", "").split(",")
    headers: CIMultiDict[str] = CIMultiDict()
    for raw_name, raw_value in answer.raw_headers:
        name = raw_name.decode("utf-8", "surrogateescape")
        lower = name.lower()
        if lower not in HOP_BY_HOP and lower not in named and not lower.startswith("x-shin-"):
            headers.add(name, raw_value.decode("utf-8", "surrogateescape"))
    return headers
