"""A connection that passes, message by message, between a client and its provider: one call from end to end.

The chain sees the connection before it stands, and may refuse it, and sees the provider's messages as the parts of
its reply. What the client says goes past the chain. Knows nothing of mitmproxy.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Sequence
from typing import Protocol

from shin_gateway.call import Call
from shin_gateway.call_keys import CREDENTIAL_HEADERS, KEY_PROTOCOL
from shin_gateway.delivery import Delivery
from shin_gateway.dialects.realtime import Messages
from shin_gateway.errors import UpstreamFailed
from shin_gateway.outcome import Outcome
from shin_gateway.reply import Reply
from shin_gateway.stream import Broken
from shin_gateway.targets import Target
from shin_gateway.upstream import AsRefusals, Upstream, who_is_asked
from shin_gateway.upstream.handshakes import HandshakeRefused
from shin_gateway.websockets.carriage import GONE, NORMAL, PING, POLICY, Client
from shin_gateway.websockets.incoming import SENDABLE, Incoming
from shin_gateway.websockets.provider_socket import ProviderSocket, connect, handshake_headers, headers_for

UNSENT = 1_000_000
"""Bytes of a client's messages that may wait for the provider before we read no more of them."""
FLUSH = 2.0
"""Seconds that a client's last words have to get to the provider."""


class Listener(Client, Protocol):
    """The client's end of the connection."""

    async def send_bytes(self, message: bytes) -> None: ...

    def hold(self, on: bool) -> None:
        """Read nothing more from it, or go on."""


class Passage:
    """One connection. `open` asks the provider, `serve` runs until one of the two has had enough."""

    def __init__(self, upstream: Upstream, limit: int, protocols: Sequence[str], compress: bool) -> None:
        """`protocols`: the subprotocols that the client offers; `compress`: whether it offers permessage-deflate."""
        self.limit = limit
        """Bytes of one message of the client."""
        self.delivery: Delivery | None = None
        """The connection's call; `begin` sets it."""
        self._upstream = upstream
        self._protocols = protocols
        self._key = next((one.removeprefix(KEY_PROTOCOL) for one in protocols if one.startswith(KEY_PROTOCOL)), "")
        self._compress = compress
        self._provider: ProviderSocket | None = None
        self._incoming: Incoming | None = None
        self._client: Listener | None = None
        self._unsent: deque[tuple[str | bytes, int]] = deque()
        self._unsent_bytes = 0
        self._more = asyncio.Event()
        self._held = False
        self._over = False
        self._sent_messages = self._sent_bytes = 0
        self._goodbye = (NORMAL, "")
        """What the client said when it closed, for the provider."""

    @property
    def protocol(self) -> str | None:
        """The subprotocol that the provider chose."""
        return self._provider.protocol if self._provider else None

    # Before the client has its answer

    def begin(self, delivery: Delivery) -> None:
        """The connection is this delivery's call."""
        self.delivery = delivery
        headers = delivery.call.headers
        headers.popall("accept-encoding", None)
        said = delivery.call.arrival.origin is not None or any(name in headers for name in CREDENTIAL_HEADERS)
        if self._key and not said:
            headers["authorization"] = f"Bearer {self._key}"
        delivery.call.detour = self.open

    async def open(self, call: Call) -> Reply:
        """Ask the call's target. Its refusal comes as it would over HTTPS. Raises UpstreamFailed, UpstreamTimeout."""
        assert call.target is not None
        headers = await headers_for(call.target, handshake_headers(call.headers))
        call.outcome.attempts += 1
        started = time.perf_counter()
        try:
            with AsRefusals(who_is_asked(call)):
                offer = self._offer(call.target)
                self._provider = await connect(self._upstream, call, headers, protocols=offer, compress=self._compress)
        except HandshakeRefused as refused:
            return _refused(refused, call)
        finally:
            call.outcome.timings.upstream += time.perf_counter() - started
        return self._reply(self._provider, call)

    def _offer(self, target: Target) -> list[str]:
        """The subprotocols for the provider: a key among them is for us, where the provider gets one of ours."""
        return [one for one in self._protocols if target.own_key or not one.startswith(KEY_PROTOCOL)]

    def _reply(self, provider: ProviderSocket, call: Call) -> Reply:
        self._incoming = Incoming(provider, call)
        self._upstream.watch(self._incoming)
        call.on_end(self._call_ended)
        return Reply(101, provider.headers, call.dialect, source=self._incoming, framer=Messages())

    def _call_ended(self, call: Call, _: Outcome) -> None:
        incoming = self._incoming
        assert incoming is not None
        self._upstream.unwatch(incoming)
        incoming.close()
        call.note(
            carrier="websocket",
            client_messages=self._sent_messages,
            client_bytes=self._sent_bytes,
            provider_messages=incoming.messages,
        )

    # What the client says

    def receive(self, message: str | bytes) -> None:
        """A whole message of the client."""
        if self._over or not message:
            return
        size = _size(message)
        self._sent_messages += 1
        self._sent_bytes += size
        self._unsent.append((message, size))
        self._unsent_bytes += size
        self._more.set()
        if self._incoming is not None:
            self._incoming.heard = time.perf_counter()
        if self._unsent_bytes > UNSENT:
            self._hold(True)

    def client_left(self, code: int | None = None, reason: str = "") -> None:
        """The client has closed with `code`; None where it is gone without a word."""
        if self._over:
            return
        self._over = True
        self._more.set()
        if code is None and self.delivery is not None:
            self.delivery.client_left()
        if code is not None:
            self._goodbye = (code if code in SENDABLE else NORMAL, reason)
        if self._incoming is not None:
            self._incoming.stop()

    def close(self, code: int, reason: str) -> None:
        """The gateway goes."""
        if self._incoming is not None:
            self._incoming.cut()

    def _hold(self, on: bool) -> None:
        if on is not self._held and self._client is not None:
            self._held = on
            self._client.hold(on)

    # What runs

    async def serve(self, client: Listener) -> None:
        """Pass messages until the client or the provider leaves, or nobody says anything for too long."""
        assert self.delivery is not None and self._incoming is not None and self._provider is not None
        self._client = client
        sending = asyncio.create_task(self._send(self._provider, self._incoming))
        pinging = asyncio.create_task(self._ping(client))
        try:
            await self._relay(client, self.delivery, self._incoming)
            if self._over:
                await asyncio.wait([sending], timeout=FLUSH)
                await self._provider.close(*self._goodbye)
            stalled = self.delivery.cut
            self.delivery.sent()
            await client.close(*(_STALLED if stalled else self._incoming.closing))
        except Exception:
            self.delivery.fail()
            raise
        finally:
            self._over = True
            self._hold(False)  # its answer to our closing has to come through
            for task in (sending, pinging):
                task.cancel()
            await asyncio.gather(sending, pinging, return_exceptions=True)
            self._provider.drop()

    async def _relay(self, client: Listener, delivery: Delivery, incoming: Incoming) -> None:
        while message := await delivery.next_part(client.room):
            if incoming.binary:
                await client.send_bytes(message)
            else:
                await client.send([message])

    async def _send(self, provider: ProviderSocket, incoming: Incoming) -> None:
        while self._unsent or not self._over:
            if not self._unsent:
                self._more.clear()
                await self._more.wait()
                continue
            message, size = self._unsent.popleft()
            try:
                async with asyncio.timeout(incoming.patience):
                    await provider.send(message)
            except (Broken, TimeoutError):
                incoming.fail("upstream_cut")
                return
            self._unsent_bytes -= size
            if self._unsent_bytes < UNSENT / 2:
                self._hold(False)

    async def _ping(self, client: Listener) -> None:
        while True:
            await asyncio.sleep(PING)
            if client.silence > GONE and not self._held:
                self.client_left()
            await client.ping()


_STALLED = (POLICY, "The client does not read.")


def _size(message: str | bytes) -> int:
    """Bytes on the wire."""
    if isinstance(message, bytes) or message.isascii():
        return len(message)
    return len(message.encode("utf-8", "replace"))


def _refused(refused: HandshakeRefused, call: Call) -> Reply:
    if refused.status < 400:
        raise UpstreamFailed("The upstream did not open a WebSocket.", code="upstream_no_websocket")
    return Reply(refused.status, handshake_headers(refused.headers), call.dialect, body=refused.body)
