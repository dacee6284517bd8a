"""Sends a letter to the gateway again, as whoever replays it: the first caller's key was never kept."""

from __future__ import annotations

import asyncio
import http.client
from typing import NamedTuple

from shin_gateway.letters.letter import REPLAY, Content, Letter

PATIENCE = 900.0
"""Seconds of silence after which the gateway is given up."""
AT_ONCE = 8
"""Replays under way at once."""
_CHUNK = 65_536
_SHOWN = 2000
"""Bytes of a refusal that are handed on."""


class Replayed(NamedTuple):
    """What came of it. `status` 0: the gateway could not be asked, or its reply broke off."""

    status: int
    call: str = ""
    """The id of the new call."""
    said: str = ""
    """What the gateway said against it."""

    @property
    def went_through(self) -> bool:
        return 200 <= self.status < 300


_places = asyncio.Semaphore(AT_ONCE)


async def replay(gateway: str, letter: Letter, content: Content, key: str) -> Replayed:
    """`gateway` is host:port, `key` a credential for it, "" for none. The reply is read to its end and thrown away."""
    async with _places:
        return await asyncio.to_thread(_send, gateway, letter, content, key)


def _send(gateway: str, letter: Letter, content: Content, key: str) -> Replayed:
    host, _, port = gateway.rpartition(":")
    headers = content.headers | {REPLAY: letter.id} | ({"authorization": f"Bearer {key}"} if key else {})
    # A plain connection: no proxy that the environment may name stands between us.
    connection = http.client.HTTPConnection(host.strip("[]"), int(port), timeout=PATIENCE)
    try:
        connection.request(letter.method, letter.path, content.body, headers)
        reply = connection.getresponse()
        said = reply.read(_SHOWN) if reply.status >= 400 else b""
        while reply.read(_CHUNK):
            pass
        return Replayed(reply.status, reply.headers.get("x-shin-call-id", ""), said.decode("utf-8", "replace"))
    except (OSError, http.client.HTTPException, ValueError) as error:
        return Replayed(0, said=f"the gateway at {gateway} broke off or does not answer ({type(error).__name__})")
    finally:
        connection.close()
