"""A chat asked in one dialect and answered in another."""

from __future__ import annotations

from dataclasses import dataclass

from multidict import CIMultiDict

from shin_gateway.addon import Forward
from shin_gateway.call import Call
from shin_gateway.crossing import errors, ids
from shin_gateway.crossing.calls import crossed
from shin_gateway.crossing.off_loop import off_loop
from shin_gateway.crossing.stream import StreamTranslation, needs_framer
from shin_gateway.dialects import Failure
from shin_gateway.errors import Invalid, Unsupported, UpstreamFailed
from shin_gateway.fetching import Fetcher
from shin_gateway.reply import Reply
from shin_gateway.translation import bodies, media, replay
from shin_gateway.translation.custom_tools import restored, restoring
from shin_gateway.translation.dialects import translator
from shin_gateway.translation.form import Answer, Chat, Json
from shin_gateway.translation.losses import Losses
from shin_gateway.translation.malformed import settled, settling
from shin_gateway.translation.translator import Origin, Traits, Translator

STREAM_TYPE = "text/event-stream"


@dataclass(frozen=True, slots=True)
class Crossing:
    """One call's way there and back."""

    call: Call
    client: Translator
    target: Translator
    traits: Traits
    losses: Losses
    fetcher: Fetcher | None
    """None: nothing is fetched."""

    async def take(self, forward: Forward) -> Reply:
        size = len(self.call.body)
        body, chat = await off_loop(size, self._read)
        fetched = await self._inline(chat, body)
        out = await off_loop(size + fetched, lambda: self._write(chat))
        path, headers = self.target.path(chat), self.target.call_headers(chat)
        reply = await forward(crossed(self.call, self.target.name, "chat", path, out, headers))
        return await self._back(reply, chat, body)

    def _read(self) -> tuple[Json, Chat]:
        call = self.call
        if call.path.partition("?")[0].endswith("/compact"):
            raise Unsupported("Compaction cannot be translated; ask a model of OpenAI's.")
        body = bodies.call_object(call.body)
        chat = self.client.read_call(body, call.path, self.losses)
        chat.stream = call.stream
        chat.model = self.traits.model
        return body, chat

    def _write(self, chat: Chat) -> bytes:
        losses = self.losses.told_to(self.client.fields)
        try:
            return bodies.encoded(self.target.write_call(chat, self.traits, losses))
        except Invalid as wrong:
            raise losses.worded(wrong) from None

    async def _inline(self, chat: Chat, body: Json) -> int:
        """Put what the target cannot fetch by itself into the call. Gives the characters of that."""
        takes = frozenset[str]() if self.traits.words.get("urls") == "no" else self.target.takes_urls
        wanted = media.urls_to_inline(chat, takes)
        if not wanted:
            return 0
        if self.fetcher is None:
            place = media.place_of(body, wanted[0].url)
            why = f"{place}: the model takes no URLs; put the file itself into the call."
            raise Invalid(why, code="invalid_media", param=place)
        await self.fetcher.inline(wanted, body, self.call.caller.tenant)
        return sum(len(one.data) + len(one.text) for one in wanted)

    async def _back(self, reply: Reply, chat: Chat, body: Json) -> Reply:
        ids.name(reply, self.call)
        if reply.failure is not None:
            return errors.put(reply, self.call, reply.failure)
        if reply.status >= 400:
            return errors.put(reply, self.call, self._failure(reply))
        call = self.call
        origin = Origin(call.id, call.asked_model or call.model, chat, body, int(call.arrived), call.path)
        if reply.streamed:
            return self._stream(reply, origin)
        answer = settled(restored(await self._whole(reply), chat), self.client.name)
        if chat.stream:
            return self._replayed(reply, answer, origin)
        size = max(len(reply.raw_body), len(call.body))  # some repeat much of the call
        write = self.client.write_reply
        reply.body = await off_loop(size, lambda: bodies.encoded(write(answer, origin, self.losses)))
        reply.dialect = call.dialect
        reply.headers["content-type"] = "application/json"
        return reply

    def _failure(self, reply: Reply) -> Failure:
        body = bodies.any_object(reply.body or b"")
        return self.target.read_error(body, reply.status)

    async def _whole(self, reply: Reply) -> Answer:
        body = reply.body or b""

        def read() -> Answer:
            return self.target.read_reply(bodies.reply_object(body))

        return await off_loop(len(body), read)

    def _stream(self, reply: Reply, origin: Origin) -> Reply:
        if not origin.chat.stream:
            reply.close()
            raise UpstreamFailed("The upstream streams where a whole reply was asked for.", code="upstream_malformed")
        content_type = self._stream_type()
        framer = needs_framer(self.call.dialect.framer(content_type))
        writer = self.client.writer(origin, self.losses)
        reader = settling(restoring(self.target.reader(), origin.chat), self.client.name)

        def failed(failure: Failure) -> bytes:
            reply.failure = reply.failure or failure  # for the log
            return self._failed(failure)

        filter = StreamTranslation(reader, writer, framer, failed, lambda: reply.complete)
        reply.translate(self.call.dialect, filter)
        reply.headers["content-type"] = content_type
        return reply

    def _replayed(self, reply: Reply, answer: Answer, origin: Origin) -> Reply:
        """The client asked for a stream and the target answered whole."""
        writer = self.client.writer(origin, self.losses)
        data = b"".join(writer.write(event) for event in replay.events(answer))
        headers = CIMultiDict(reply.headers)
        content_type = headers["content-type"] = self._stream_type()
        for name in ("content-length", "content-encoding"):
            headers.popall(name, None)
        framer = self.call.dialect.framer(content_type)
        return Reply(reply.status, headers, self.call.dialect, source=_AtOnce(data), framer=framer)

    def _stream_type(self) -> str:
        """Gemini's clients get a JSON array where they do not ask for events (`alt=sse`)."""
        query = self.call.path.partition("?")[2]
        is_array = self.call.dialect.name == "gemini.generate" and "alt=sse" not in query
        return "application/json" if is_array else STREAM_TYPE

    def _failed(self, failure: Failure) -> bytes:
        call = self.call
        refusal = errors.refusal_of(failure, call.own_key)
        return call.dialect.error_part(refusal, call.id, self._stream_type())


class _AtOnce:
    """A source whose bytes are all there."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    async def read(self) -> bytes:
        data, self._data = self._data, b""
        return data

    def close(self) -> None:
        self._data = b""


def crossing(call: Call, traits: Traits, losses: Losses, fetcher: Fetcher | None) -> Crossing:
    """The crossing of a chat to its target, whose dialect is another than its own."""
    assert call.target is not None
    return Crossing(call, translator(call.dialect.name), translator(call.target.dialect), traits, losses, fetcher)
