"""aiohttp's connections and requests, as the pooled client has them: nothing of their own, nothing in vain."""

from __future__ import annotations

import time
from contextvars import ContextVar
from functools import partial
from typing import Any

import aiohttp
from aiohttp.client_proto import ResponseHandler
from multidict import CIMultiDict

from shin_gateway.outcome import Timings
from shin_gateway.upstream.sessions import open_session

CURRENT: ContextVar[Timings] = ContextVar("timings")
"""Those of the call that the running task serves."""
_NOBODY = Timings()
"""Of connections that no call alone is asked on."""


def open_pooled(connector: Connector, **more: Any) -> aiohttp.ClientSession:
    """A session on the pool's connections, for heads as long as providers send them."""
    return open_session(
        connector,
        request_class=_AsGiven,
        max_line_size=65536,
        max_field_size=65536,
        **more,
    )


class Connector(aiohttp.TCPConnector):
    """Notes how long a new connection took. aiohttp's tracing would cost something for every call."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._factory = partial(_Connection, loop=self._loop)  # type: ignore[assignment]

    async def _create_connection(
        self, req: aiohttp.ClientRequest, traces: list[Any], timeout: aiohttp.ClientTimeout
    ) -> Any:
        began = time.perf_counter()
        try:
            return await super()._create_connection(req, traces, timeout)
        finally:
            CURRENT.get(_NOBODY).connect += time.perf_counter() - began


class _Connection(ResponseHandler):
    """Goes on reading only where it had stopped: the original does, and parses, once more after each read."""

    def resume_reading(self, resume_parser: bool = True) -> None:
        if self._reading_paused:
            super().resume_reading(resume_parser)


class _AsGiven(aiohttp.ClientRequest):
    """A request with the headers that it is given, and none of aiohttp's own."""

    _NONE: CIMultiDict[None] = CIMultiDict(
        (name, None) for name in ("User-Agent", "Accept", "Accept-Encoding", "Content-Type")
    )

    def update_auto_headers(self, _: object) -> None:
        self._skip_auto_headers = self._NONE
