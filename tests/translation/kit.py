"""What the tests across dialects share: a call and a reply taken over as the gateway does it, without a connection."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from msgspec.structs import replace
from multidict import CIMultiDict

from shin_gateway import dialects
from shin_gateway.crossing.errors import refusal_of
from shin_gateway.crossing.stream import StreamTranslation, needs_framer
from shin_gateway.dialects import Failure
from shin_gateway.dialects.sse import SseFramer
from shin_gateway.errors import UpstreamFailed
from shin_gateway.reply import Reply
from shin_gateway.stream import Broken
from shin_gateway.translation import bodies
from shin_gateway.translation.custom_tools import restoring
from shin_gateway.translation.dialects import CHATS, translator
from shin_gateway.translation.form import (
    Answer,
    AnyPart,
    Began,
    Builtin,
    Chat,
    Choice,
    Cited,
    Ended,
    Event,
    Failed,
    Finished,
    Grew,
    Logged,
    Media,
    Opened,
    Reasoning,
    Refused,
    Sealed,
    Text,
    ToolUse,
    Transcribed,
    UsageTold,
)
from shin_gateway.translation.losses import Losses
from shin_gateway.translation.translator import Origin, Traits
from tests.translation.anthropic_messages import kit as messages_kit
from tests.translation.openai_chat import kit as chat_kit
from tests.translation.openai_responses import sdk as responses_kit

Json = dict[str, Any]
CHAT, RESPONSES, MESSAGES, GEMINI = CHATS
DIRECTIONS = list(itertools.permutations(CHATS, 2))
"""Client and target."""
NAMES = [f"{client} to {target}" for client, target in DIRECTIONS]
PATHS = {
    CHAT: "/v1/chat/completions",
    RESPONSES: "/v1/responses",
    MESSAGES: "/v1/messages",
    GEMINI: "/v1beta/models/gemini-2.5-pro:streamGenerateContent?alt=sse",
}
MODELS = {CHAT: "gpt-5", RESPONSES: "gpt-5", MESSAGES: "claude-sonnet-4-5", GEMINI: "gemini-2.5-pro"}
STREAM_TYPE = "text/event-stream"
CALL_ID = "call-id-of-ours"

# ── calls ───────────────────────────────────────────────────────────────────────────────────────


@dataclass
class Taken:
    """A call taken over: what was read, what goes out, what was read of that again."""

    read: Chat
    body: Json
    again: Chat
    dropped: tuple[str, ...]


def read_call(client: str, body: bytes, losses: Losses | None = None) -> Chat:
    """As a crossing reads it. Raises Invalid."""
    return translator(client).read_call(bodies.call_object(body), PATHS[client], losses or Losses())


def write_call(target: str, chat: Chat, losses: Losses | None = None) -> bytes:
    """As a crossing writes it. Raises Invalid."""
    chat = replace(chat, model=MODELS[target])
    body = translator(target).write_call(chat, Traits(model=chat.model), losses or Losses())
    return bodies.encoded(body)


def take(client: str, target: str, body: Json) -> Taken:
    losses = Losses()
    read = read_call(client, bodies.encoded(body), losses)
    out = bodies.call_object(write_call(target, read, losses))
    read = read_call(client, bodies.encoded(body))  # a writer may keep what it was given
    return Taken(read, out, translator(target).read_call(out, PATHS[target], Losses()), losses.dropped)


# ── events put together ─────────────────────────────────────────────────────────────────────────


def answer_of(events: Iterable[Event]) -> Answer:
    """What a stream's events say, and that they keep to the rules of form.py."""
    answer, choices = Answer(), dict[int, _Growing]()
    ended = False
    for number, event in enumerate(events):
        assert not ended, f"{event} after the end"
        assert isinstance(event, Began) == (number == 0), event
        match event:
            case Began():
                answer = Answer(id=event.id, model=event.model, created=event.created, usage=event.usage)
                answer.service_tier = event.service_tier
            case UsageTold():
                answer.usage = event.usage
            case Ended():
                ended, answer.blocked = True, event.blocked
            case Failed():
                raise UpstreamFailed(event.failure.message)
            case _:
                choices.setdefault(event.choice, _Growing()).feed(event)
    assert ended, "no end"
    answer.choices = [choices[number].choice for number in sorted(choices)]
    return answer


@dataclass
class _Growing:
    choice: Choice = field(default_factory=Choice)
    open: dict[int, AnyPart] = field(default_factory=dict)

    def feed(self, event: Any) -> None:
        assert self.choice.finish is None, f"{event} after the choice finished"
        match event:
            case Opened():
                assert event.at == len(self.choice.parts), event
                self.open[event.at] = _copy(event.part)
                self.choice.parts.append(self.open[event.at])
            case Finished():
                assert not self.open, "the choice finished with open parts"
                self.choice.finish, self.choice.stop_sequence = event.finish, event.stop_sequence
            case Logged():
                self.choice.logprobs = [*(self.choice.logprobs or []), *event.logprobs]
            case Grew() | Sealed() | Cited() | Transcribed():
                _grow(self.open[event.at], event)
            case _:
                del self.open[event.at]


def _copy(part: AnyPart) -> AnyPart:
    return replace(part, citations=list(part.citations)) if isinstance(part, Text) else replace(part)


def _grow(part: AnyPart, event: Grew | Sealed | Cited | Transcribed) -> None:
    match part, event:
        case ((Text() | Refused() | Reasoning()), Grew()):
            part.text += event.text
        case Media(), Transcribed():
            part.text += event.text
        case Media(), Grew():
            part.data += event.text
        case ToolUse(), Grew():
            part.arguments += event.text
        case ((Reasoning() | ToolUse()), Sealed()):
            part.seal += event.seal
        case Text(), Cited():
            part.citations.append(event.citation)
        case Builtin(), _:
            pass
        case _:
            raise AssertionError((part, event))


# ── streams ─────────────────────────────────────────────────────────────────────────────────────


@dataclass
class Carried:
    """What a client got of a stream."""

    data: bytes
    broken: str = ""
    """Why the stream broke off; the dialect's error event, which follows then, is not in `data`."""


class Bytes:
    """An upstream that sends these pieces, then ends, or breaks off."""

    def __init__(self, pieces: Iterable[bytes], cut: bool = False) -> None:
        self._pieces: Iterator[bytes] = (piece for piece in pieces if piece)
        self._cut = cut

    async def read(self) -> bytes:
        piece = next(self._pieces, b"")
        if not piece and self._cut:
            raise Broken("upstream_cut")
        return piece

    def close(self) -> None:
        pass


def asked(client: str, chat: Chat | None = None, body: Json | None = None) -> Origin:
    """What the reply answers: a call that wants thoughts and usage, if nothing else is said."""
    plain = {CHAT: {"messages": [{"role": "user", "content": "hi"}], "stream_options": {"include_usage": True}},
             RESPONSES: {"input": "hi", "reasoning": {"summary": "auto"}, "include": ["reasoning.encrypted_content"]},
             MESSAGES: {"messages": [{"role": "user", "content": "hi"}], "max_tokens": 9000,
                        "thinking": {"type": "enabled", "budget_tokens": 2048}},
             GEMINI: {"contents": [{"parts": [{"text": "hi"}]}],
                      "generationConfig": {"thinkingConfig": {"includeThoughts": True}}}}  # fmt: skip
    body = body or {"model": "fast", **plain[client]}
    chat = chat or translator(client).read_call(body, PATHS[client], Losses())
    chat.stream = True
    return Origin(CALL_ID, "fast", chat, body, 4102444800, PATHS[client])


def translated(client: str, target: str, pieces: Iterable[bytes], cut: bool = False) -> tuple[Reply, Losses]:
    """The reply that the client reads: as crossing/chat.py puts it together."""
    losses = Losses()
    headers = CIMultiDict({"content-type": STREAM_TYPE})
    theirs, ours = dialects.get(target), dialects.get(client)
    reply = Reply(200, headers, theirs, source=Bytes(pieces, cut), framer=theirs.framer(STREAM_TYPE))

    def failed(failure: Failure) -> bytes:
        return ours.error_part(refusal_of(failure, True), CALL_ID, STREAM_TYPE)

    writer = translator(client).writer(asked(client), losses)
    framer = needs_framer(ours.framer(STREAM_TYPE))
    reader = restoring(translator(target).reader(), asked(client).chat)
    filter = StreamTranslation(reader, writer, framer, failed, lambda: reply.complete)
    reply.translate(ours, filter)
    return reply, losses


def carry(client: str, target: str, pieces: Iterable[bytes], cut: bool = False) -> Carried:
    """Read to the end, as delivery.py does."""
    reply, _ = translated(client, target, pieces, cut)
    out = []
    try:
        while data := now(reply.read()):
            out.append(data)
    except Broken as broken:
        return Carried(b"".join(out), broken.cause)
    finally:
        reply.close()
    return Carried(b"".join(out))


def now(coroutine: Any) -> Any:
    """The result of a coroutine that waits for nothing."""
    try:
        coroutine.send(None)
    except StopIteration as done:
        return done.value
    raise AssertionError("it waits")


def events_of(dialect: str, stream: bytes) -> list[Event]:
    """A whole stream of this dialect, read."""
    framer, reader = needs_framer(dialects.get(dialect).framer(STREAM_TYPE)), translator(dialect).reader()
    parts = [*framer.feed(stream), *framer.end()]
    return [event for part in parts for event in reader.feed(part)] + list(reader.finish())


def written(client: str, events: Iterable[Event], origin: Origin | None = None) -> bytes:
    writer = translator(client).writer(origin or asked(client), Losses())
    return b"".join([writer.write(event) for event in events])


def accumulated(client: str, data: bytes) -> Answer:
    """What the official client puts together of a stream; of Gemini's, whose client does not, what we read."""
    if client == GEMINI:
        return answer_of(events_of(client, data))
    return translator(client).read_reply(_ACCUMULATORS[client](data))


def _accumulate_chat(data: bytes) -> Json:
    found: Json = chat_kit.accumulated(data).to_dict()
    return found


def _accumulate_responses(data: bytes) -> Json:
    found: Json = responses_kit.accumulated(data)[0].to_dict()
    return found


def _accumulate_messages(data: bytes) -> Json:
    return messages_kit.accumulated([bodies.call_object(part.data or b"") for part in SseFramer().feed(data)])


_ACCUMULATORS = {CHAT: _accumulate_chat, RESPONSES: _accumulate_responses, MESSAGES: _accumulate_messages}


def whole(client: str, answer: Answer, origin: Origin | None = None) -> Answer:
    """The answer written as a whole reply to this client, and read again."""
    body = translator(client).write_reply(answer, origin or asked(client), Losses())
    return translator(client).read_reply(bodies.reply_object(bodies.encoded(body)))


# ── what an answer means ────────────────────────────────────────────────────────────────────────


def said(answer: Answer) -> list[Any]:
    """What a client makes of the answer: without ids that are made anew, and with neighbouring texts as one."""
    return [answer.blocked, *[(_parts(choice.parts), choice.finish, choice.stop_sequence) for choice in answer.choices]]


def _parts(parts: Sequence[AnyPart]) -> list[Any]:
    found: list[Any] = []
    for part in parts:
        row = _row(part)
        if row is None:
            continue
        if found and row[:2] == ("thought", "") and found[-1][0] == "thought" and not found[-1][2]:
            found[-1] = (*found[-1][:2], row[2])  # Gemini's signature comes in a part of its own
            continue
        if found and row[0] in ("text", "refused") and found[-1][0] == row[0]:
            found[-1] = (row[0], found[-1][1] + row[1])
        else:
            found.append(row)
    return found


def _row(part: AnyPart) -> Any:
    match part:
        case Text():
            return ("text", part.text) if part.text else None
        case Refused():
            return ("refused", part.text)
        case Reasoning():
            return ("thought", part.text, part.seal) if part.text or part.seal else None
        case ToolUse():
            return ("use", part.name, _arguments(part.arguments), part.custom)
        case Media():
            return ("media", part.kind, part.mime, part.data, part.text)
        case _:
            return (type(part).__name__, getattr(part, "kind", ""))


def _arguments(text: str) -> Any:
    found = bodies.any_object(text.encode("utf-8", "replace"))
    return text if found is None else found
