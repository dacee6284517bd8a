"""Upgrades to a WebSocket that a provider refuses: what it says, kept, where aiohttp tells no more than the status."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import aiohttp
from multidict import CIMultiDict

KEPT = 65_536
"""Bytes of such an answer."""
PATIENCE = 5.0
"""Seconds for them to come."""


class HandshakeRefused(Exception):
    """The upstream answered an upgrade with something else."""

    def __init__(self, status: int, headers: CIMultiDict[str], body: bytes) -> None:
        super().__init__(status)
        self.status = status
        self.headers = headers
        self.body = body


async def keep_refusal(request: aiohttp.ClientRequest, send: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
    """For a session that does nothing but upgrades. Raises HandshakeRefused."""
    answer = await send(request)
    if answer.status == 101:
        return answer
    body = bytearray()
    with suppress(TimeoutError, aiohttp.ClientError):
        async with asyncio.timeout(PATIENCE):
            while len(body) < KEPT and (chunk := await answer.content.read(KEPT - len(body))):
                body += chunk
    answer.close()
    raise HandshakeRefused(answer.status, CIMultiDict(answer.headers), bytes(body))
