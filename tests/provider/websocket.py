"""WebSockets on the provider's side: the Responses API's frames are answered, anything else is said back."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import wsproto
from wsproto import events
from wsproto.extensions import PerMessageDeflate

from tests.provider.answer import Answer
from tests.provider.peer import Gone, Peer
from tests.provider.routes import write
from tests.provider.seen import Seen

FOREVER = 1e6
OnCall = Callable[[Seen], Answer]


class Socket:
    """One connection after its upgrade. Each `response.create` is seen as a call whose method is WEBSOCKET."""

    def __init__(self, peer: Peer, seen: Seen, on_call: OnCall) -> None:
        self._peer = peer
        self._seen = seen
        self._on_call = on_call
        self._connection = wsproto.WSConnection(wsproto.ConnectionType.SERVER)
        self._pieces: list[str | bytes] = []
        self._known: set[str] = set()

    async def serve(self, rest: bytes) -> None:
        """Until the client closes. Raises Gone."""
        headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in self._seen.headers]
        self._connection.initiate_upgrade_connection(headers, self._seen.target)
        if rest:
            self._connection.receive_data(rest)
        while True:
            for event in self._connection.events():
                await self._hear(event)
                if isinstance(event, events.CloseConnection):
                    return
            data = await self._peer.read()
            if not data:
                raise Gone
            self._connection.receive_data(data)

    async def _hear(self, event: events.Event) -> None:
        if isinstance(event, events.Message):
            self._pieces.append(event.data)
            if event.message_finished:
                message, self._pieces = _joined(self._pieces), []
                self._seen.messages.append(message)
                await self._answer(message)
        elif isinstance(event, events.Request):
            subprotocol = event.subprotocols[0] if event.subprotocols else None
            told = [(b"x-request-id", b"req_fake0001")]
            await self._send(
                events.AcceptConnection(
                    subprotocol=subprotocol, extra_headers=told, extensions=[PerMessageDeflate()]
                )
            )
        elif isinstance(event, events.Ping | events.CloseConnection):
            await self._send(event.response())

    async def _send(self, event: events.Event) -> None:
        await self._peer.write(self._connection.send(event))

    async def _answer(self, message: str | bytes) -> None:
        call = _call(message) if self._seen.path.endswith("/responses") else None
        if call is not None:
            await self._reply(call, str(message))
        elif isinstance(message, str):
            await self._send(events.TextMessage(data=message))
        else:
            await self._send(events.BytesMessage(data=bytearray(message)))

    async def _reply(self, call: dict[str, Any], message: str) -> None:
        first = self._seen
        seen = Seen("WEBSOCKET", first.target, first.headers, message.encode(), first.sni, first.connection)
        answer = self._on_call(seen)
        said = list(self._events(call, seen, answer))
        if answer.wait_head:
            await self._peer.wait(answer.wait_head)
        stop = answer.stop
        for event in said if stop is None else said[: stop.count if stop.after == "parts" else 0]:
            if answer.pace:
                await self._peer.wait(answer.pace)
            await self._send(events.TextMessage(data=event))
        if stop is None:
            return
        if stop.how == "hang":
            await self._peer.wait(FOREVER)
        elif stop.how == "rst":
            self._peer.reset()
        raise Gone

    def _events(self, call: dict[str, Any], seen: Seen, answer: Answer) -> Iterator[str]:
        previous = call.get("previous_response_id")
        if previous is not None and previous not in self._known:
            yield _error(400, "previous_response_not_found", f"Previous response with id '{previous}' not found.")
            return
        if answer.status >= 400:
            yield _error(answer.status, "refused", "The fake provider refuses.")
            return
        body = json.dumps({**call, "stream": True}).encode()
        asked = Seen("POST", seen.target, [], body, seen.sni, seen.connection)
        silent = call.get("generate") is False
        for part in write(asked, answer).parts:
            event = json.loads(part.split(b"data: ", 1)[1])
            if "response" in event:
                if silent:
                    event["response"] |= {"id": "resp_warm0001", "output": []}
                self._known.add(event["response"]["id"])
            if not silent or event["type"] in ("response.created", "response.completed"):
                yield json.dumps(event | ({"stream_id": call["stream_id"]} if "stream_id" in call else {}))


def _error(status: int, code: str, message: str) -> str:
    error = {"type": "invalid_request_error", "code": code, "message": message, "param": None}
    return json.dumps({"type": "error", "status": status, "error": error, "headers": {"x-fake": "told"}})


def _call(message: str | bytes) -> dict[str, Any] | None:
    try:
        call = json.loads(message)
    except ValueError:
        return None
    return call if isinstance(call, dict) and call.get("type") == "response.create" else None


def _joined(pieces: list[str | bytes]) -> str | bytes:
    texts = [piece for piece in pieces if isinstance(piece, str)]
    return "".join(texts) if texts else b"".join(piece for piece in pieces if not isinstance(piece, str))
