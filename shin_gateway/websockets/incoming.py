"""What a provider says on a connection that passes, as the source of a reply."""

from __future__ import annotations

import time

from shin_gateway.call import Call
from shin_gateway.errors import SHUTTING_DOWN
from shin_gateway.stream import Broken
from shin_gateway.upstream import SILENCE
from shin_gateway.upstream.patience import Patience
from shin_gateway.websockets.carriage import GOING_AWAY, INTERNAL, NORMAL
from shin_gateway.websockets.provider_socket import NO_CODE, Closed, ProviderSocket

SENDABLE = frozenset({1000, 1001, 1002, 1003, *range(1007, 1015), *range(3000, 5000)})
"""Codes that may be written into a close frame (RFC 6455 §7.4.2)."""
_CLOSING = {
    SHUTTING_DOWN: (GOING_AWAY, "The gateway is shutting down."),
    "total_timeout": (GOING_AWAY, "The connection has been open for too long."),
}


class Incoming:
    """The provider's messages, as the source of a reply."""

    def __init__(self, provider: ProviderSocket, call: Call) -> None:
        timeouts = call.policy.timeouts
        self.binary = False
        """Whether the message that was read last is bytes."""
        self.messages = 0
        self.heard = time.perf_counter()
        """When one of the two said something."""
        self.patience = timeouts.idle
        """Seconds that the provider may take to take a message."""
        self.closing = (NORMAL, "")
        """What the client's connection is to be closed with."""
        self._provider = provider
        self._outcome = call.outcome
        self._quiet = timeouts.socket
        self._deadline = self.heard + timeouts.total
        self._waiting = Patience()
        self._stopped = False
        self._trouble = ""

    async def read(self) -> bytes | None:
        started = time.perf_counter()
        wait = 0.0 if self._stopped or self._trouble else min(SILENCE, self._quiet, self._deadline - started)
        try:
            with self._waiting.lasting(wait):
                return self._take(await self._provider.receive())
        except TimeoutError:
            return self._give_up(time.perf_counter())
        except Closed as closed:
            self._note_closing(closed)
            return b""
        except Broken:
            self.closing = (INTERNAL, "The provider broke off.")
            raise
        finally:
            self._outcome.timings.upstream += time.perf_counter() - started

    def _take(self, message: str | bytes) -> bytes | None:
        timings = self._outcome.timings
        self.heard = time.perf_counter()
        timings.first_part_at = timings.first_part_at or self.heard
        self.messages += 1
        self.binary = isinstance(message, bytes)
        data = message.encode("utf-8", "replace") if isinstance(message, str) else message
        return data or None  # b"" would be the end

    def _give_up(self, now: float) -> bytes | None:
        """Why the wait is over: the client has left (the end), or something that breaks the connection."""
        if self._stopped:
            return b""
        if not self._trouble and now - self.heard >= self._quiet:
            self.closing = (NORMAL, "Nobody said anything for too long.")
            self._outcome.cause, self._outcome.end = "idle", "completed"
            return b""
        if not self._trouble and now >= self._deadline:
            self._trouble = "total_timeout"
        if not self._trouble:
            return None
        self.binary = False
        self.closing = _CLOSING.get(self._trouble, (INTERNAL, "The provider broke off."))
        raise Broken(self._trouble)

    def _note_closing(self, closed: Closed) -> None:
        code = closed.code if closed.code in SENDABLE else (NORMAL if closed.code == NO_CODE else INTERNAL)
        self.closing = (code, closed.reason)
        if code not in (NORMAL, GOING_AWAY):
            self._outcome.cause, self._outcome.end = f"upstream_closed_{code}", "failed"

    def stop(self) -> None:
        """The client has closed: there is nobody to read for."""
        self._stopped = True
        self._waiting.end()

    def fail(self, cause: str) -> None:
        self._trouble = self._trouble or cause
        self._waiting.end()

    def cut(self) -> None:
        """The gateway is shutting down."""
        self.fail(SHUTTING_DOWN)

    def close(self) -> None:
        self._waiting.close()
        self._provider.drop()
