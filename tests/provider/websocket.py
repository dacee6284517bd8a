"""A WebSocket on the provider's side: it says back what it hears."""

from __future__ import annotations

import wsproto
from wsproto import events

from tests.provider.peer import Gone, Peer
from tests.provider.seen import Seen


async def echo_messages(peer: Peer, seen: Seen, rest: bytes) -> None:
    """Accept the upgrade and echo each message until the client closes."""
    connection = wsproto.WSConnection(wsproto.ConnectionType.SERVER)
    headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in seen.headers]
    connection.initiate_upgrade_connection(headers, seen.target)
    if rest:
        connection.receive_data(rest)
    pieces: list[str | bytes] = []
    while True:
        for event in connection.events():
            if isinstance(event, events.Message):
                pieces.append(event.data)
                if event.message_finished:
                    seen.messages.append(_joined(pieces))
                    pieces = []
            reply = _answer(event, seen)
            if reply is not None:
                await peer.write(connection.send(reply))
            if isinstance(event, events.CloseConnection):
                return
        data = await peer.read()
        if not data:
            raise Gone
        connection.receive_data(data)


def _answer(event: events.Event, seen: Seen) -> events.Event | None:
    if isinstance(event, events.Request):
        subprotocol = event.subprotocols[0] if event.subprotocols else None
        return events.AcceptConnection(subprotocol=subprotocol, extra_headers=[(b"x-request-id", b"req_fake0001")])
    if isinstance(event, events.Message) and event.message_finished:
        last = seen.messages[-1]
        return events.TextMessage(data=last) if isinstance(last, str) else events.BytesMessage(data=bytearray(last))
    if isinstance(event, events.Ping | events.CloseConnection):
        return event.response()
    return None


def _joined(pieces: list[str | bytes]) -> str | bytes:
    texts = [piece for piece in pieces if isinstance(piece, str)]
    return "".join(texts) if texts else b"".join(piece for piece in pieces if not isinstance(piece, str))
