"""WebSockets on the provider's side: the Responses API's frames and realtime ones are answered, others said back."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import parse_qs

import wsproto
from wsproto import events
from wsproto.extensions import PerMessageDeflate

from tests.provider.answer import Answer, Stop
from tests.provider.peer import Gone, Peer
from tests.provider.routes import write
from tests.provider.seen import Seen
from tests.provider.wire import realtime

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
                    self._seen.closed_with = (event.code, event.reason or "")
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
                events.AcceptConnection(subprotocol=subprotocol, extra_headers=told, extensions=[PerMessageDeflate()])
            )
            if self._model.startswith("gpt-realtime"):
                await self._say(realtime.greeting(self._model))
        elif isinstance(event, events.Ping | events.CloseConnection):
            await self._send(event.response())

    @property
    def _model(self) -> str:
        return parse_qs(self._seen.target.partition("?")[2]).get("model", [""])[0]

    async def _say(self, text: str) -> None:
        await self._send(events.TextMessage(data=text))

    async def _send(self, event: events.Event) -> None:
        data = self._connection.send(event)
        self._seen.sent += len(data)
        await self._peer.write(data)

    async def _answer(self, message: str | bytes) -> None:
        call, path = _call(message), self._seen.path
        if call is not None and path.endswith("/responses"):
            await self._reply(call, str(message))
        elif call is not None and path.endswith("/realtime"):
            await self._speak(str(message), realtime.openai_events)
        elif path.endswith("/realtime") and (known := _KNOWN.get(_type(message))):
            await self._say(known(json.loads(message)))
        elif path.endswith("BidiGenerateContent"):
            await self._live(message)
        elif isinstance(message, str):
            await self._send(events.TextMessage(data=message))
        else:
            await self._send(events.BytesMessage(data=bytearray(message)))

    async def _live(self, message: str | bytes) -> None:
        """Gemini, whose server says its JSON in binary messages."""
        said = json.loads(message)
        if "setup" in said:
            await self._send(events.BytesMessage(data=bytearray(b'{"setupComplete":{}}')))
        else:
            await self._speak(str(message), realtime.gemini_messages, binary=True)

    async def _speak(self, message: str, write: Callable[[Answer], Iterator[str]], binary: bool = False) -> None:
        """One reply on a realtime connection. A status from 3000 on closes it with that code."""
        answer = self._ask(message)
        stop, said = answer.stop, list(write(answer))
        for text in said[: stop.count] if stop else said:
            if answer.pace:
                await self._peer.wait(answer.pace)
            await self._send(
                events.BytesMessage(data=bytearray(text.encode())) if binary else events.TextMessage(data=text)
            )
        if answer.status >= 3000:
            await self._send(events.CloseConnection(code=answer.status, reason="refused"))
        if stop is not None:
            await self._leave(stop)

    def _ask(self, message: str) -> Answer:
        """What answers a call on this connection, which is seen as one of its own."""
        first = self._seen
        return self._on_call(
            Seen("WEBSOCKET", first.target, first.headers, message.encode(), first.sni, first.connection)
        )

    async def _leave(self, stop: Stop) -> None:
        if stop.how == "hang":
            await self._peer.wait(FOREVER)
        elif stop.how == "rst":
            self._peer.reset()
        raise Gone

    async def _reply(self, call: dict[str, Any], message: str) -> None:
        answer = self._ask(message)
        said = list(self._events(call, answer))
        if answer.wait_head:
            await self._peer.wait(answer.wait_head)
        stop = answer.stop
        for event in said if stop is None else said[: stop.count if stop.after == "parts" else 0]:
            if answer.pace:
                await self._peer.wait(answer.pace)
            await self._send(events.TextMessage(data=event))
        if stop is not None:
            await self._leave(stop)

    def _events(self, call: dict[str, Any], answer: Answer) -> Iterator[str]:
        previous = call.get("previous_response_id")
        if previous is not None and previous not in self._known:
            yield _error(400, "previous_response_not_found", f"Previous response with id '{previous}' not found.")
            return
        if answer.status >= 400:
            yield _error(answer.status, "refused", "The fake provider refuses.")
            return
        body = json.dumps({**call, "stream": True}).encode()
        asked = Seen("POST", self._seen.target, [], body, self._seen.sni, self._seen.connection)
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


_KNOWN: dict[str, Callable[[dict[str, Any]], str]] = {
    "session.update": realtime.session_updated,
    "input_audio_buffer.commit": lambda said: realtime.transcribed(said.get("seconds", 0.0)),
}


def _type(message: str | bytes) -> str:
    try:
        said = json.loads(message)
    except ValueError:
        return ""
    return str(said.get("type", "")) if isinstance(said, dict) else ""


def _joined(pieces: list[str | bytes]) -> str | bytes:
    texts = [piece for piece in pieces if isinstance(piece, str)]
    return "".join(texts) if texts else b"".join(piece for piece in pieces if not isinstance(piece, str))
