"""What one client may hold on to at the admin server: connections, slow requests, bodies, tries of keys."""

from __future__ import annotations

import asyncio
from typing import Any

import h11
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from shin_gateway.admin.guard import HEADERS
from shin_gateway.admin.problems import problem
from shin_gateway.errors import whole_seconds
from shin_gateway.listening.bans import SAID, Bans
from shin_gateway.listening.crowd import Crowd
from shin_gateway.listening.limits import ListenLimits

BODY = 4_000_000
"""Bytes of a request's body."""


class Bounds:
    """Stands around the whole application, its guard included."""

    def __init__(self, app: ASGIApp, limits: ListenLimits) -> None:
        self._app = app
        self._bans = Bans(limits.ban)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        ip, headers = (scope.get("client") or ("", 0))[0], Headers(scope=scope)
        key, length = headers.get("authorization", ""), headers.get("content-length", "0")
        if key and self._bans.is_banned(ip, key):
            wait = {"retry-after": whole_seconds(self._bans.wait(ip))}
            await problem(429, SAID, HEADERS | wait)(scope, receive, send)
        elif not length.isdecimal() or len(length) > 9 or int(length) > BODY:
            await problem(413, f"A body has at most {BODY} bytes.", HEADERS)(scope, receive, send)
        else:
            await self._app(scope, _counted(receive), self._heard(ip, key, send))

    def _heard(self, ip: str, key: str, send: Send) -> Send:
        """Learns from the reply whether the key was right."""

        async def listening(message: Message) -> None:
            if key and message["type"] == "http.response.start":
                if message["status"] == 401:
                    self._bans.note_bad_key(ip)
                elif message["status"] < 400:
                    self._bans.note_good_key(ip, key)
            await send(message)

        return listening


def _counted(receive: Receive) -> Receive:
    total = 0

    async def counting() -> Message:
        nonlocal total
        message = await receive()
        total += len(message.get("body", b""))
        if total > BODY:
            raise HTTPException(413, f"A body has at most {BODY} bytes.")
        return message

    return counting


def bounded_protocol(limits: ListenLimits) -> type[asyncio.Protocol]:
    """uvicorn's HTTP/1.1, with times for a request's head and body; it has one between two requests alone."""
    crowd = Crowd(limits)

    class Bounded(H11Protocol):
        _ip = ""
        _timer: asyncio.TimerHandle | None = None

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            self._ip = self.client[0] if self.client else ""
            self._arm(limits.head_timeout)
            if crowd.enter(self._ip):
                transport.abort()

        def connection_lost(self, exc: Exception | None) -> None:
            crowd.leave(self._ip)
            self._disarm()
            super().connection_lost(exc)

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            state: Any = self.conn.their_state
            if state is h11.SEND_BODY:
                self._disarm()
                self._arm(limits.body_timeout)
            elif state is not h11.IDLE or not self.conn.trailing_data[0]:
                self._disarm()
            elif self._timer is None:
                self._arm(limits.head_timeout)

        def _arm(self, seconds: float) -> None:
            self._timer = self.loop.call_later(seconds, self.transport.abort)

        def _disarm(self) -> None:
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None

    return Bounded
