"""What a translation costs in itself: no network, one thread, each direction by itself.

python -m bench.translation

- *call*: a chat of 5 kB read, written in the target's dialect and encoded.
- *back*: the whole reply to it, likewise.
- *part*: one piece of a streamed reply: framed, read, written, and framed again for what stands further out.
- *untranslated*: the same piece where both speak one dialect, so that it is only framed.
- *1 MB*: a call with a history of that size, read and written; in the gateway this happens in a thread.
"""

from __future__ import annotations

import gc
import itertools
import statistics
import time
from collections.abc import Callable
from typing import Any

from bench import conversations
from bench.report import translation as table
from shin_gateway import dialects
from shin_gateway.crossing.stream import StreamTranslation, needs_framer
from shin_gateway.dialects import Failure
from shin_gateway.translation import bodies
from shin_gateway.translation.custom_tools import restored, restoring
from shin_gateway.translation.dialects import CHATS, translator
from shin_gateway.translation.losses import Losses
from shin_gateway.translation.translator import Origin, Traits

Row = dict[str, Any]

PATHS = {
    "openai.chat": "/v1/chat/completions",
    "openai.responses": "/v1/responses",
    "anthropic.messages": "/v1/messages",
    "gemini.generate": "/v1beta/models/gemini-2.5-pro:streamGenerateContent?alt=sse",
}
MODELS = {
    "openai.chat": "gpt-4o",
    "openai.responses": "gpt-4o",
    "anthropic.messages": "claude-sonnet-4-5",
    "gemini.generate": "gemini-2.5-pro",
}
STREAM_TYPE = "text/event-stream"
SMALL, LARGE = 5_000, 1_000_000
"""Bytes of a call."""
AGENTS = 10
"""Sentences of an answer in a history of 1 MB: what agents send, 600 messages of 1 to 2 kB."""
PARTS = 400


def crossed(client: str, target: str, body: bytes) -> bytes:
    """A call on its way out."""
    losses = Losses()
    chat = translator(client).read_call(bodies.call_object(body), PATHS[client], losses)
    chat.model = MODELS[target]
    return bodies.encoded(translator(target).write_call(chat, Traits(model=chat.model), losses))


def answered(client: str, target: str, reply: bytes, origin: Origin) -> bytes:
    """A whole reply on its way back."""
    answer = restored(translator(target).read_reply(bodies.reply_object(reply)), origin.chat)
    return bodies.encoded(translator(client).write_reply(answer, origin, Losses()))


def streamed(client: str, target: str, chunks: list[bytes], origin: Origin) -> int:
    """A streamed reply on its way back; the bytes that came out."""
    theirs, ours = (needs_framer(dialects.get(name).framer(STREAM_TYPE)) for name in (target, client))
    reader, writer = restoring(translator(target).reader(), origin.chat), translator(client).writer(origin, Losses())
    stream = StreamTranslation(reader, writer, ours, _failed, lambda: True)
    size = 0
    for chunk in chunks:
        for part in theirs.feed(chunk):
            size += sum([len(out.raw) for out in stream.feed(part)])
    return size + sum([len(out.raw) for out in stream.finish()])


def _failed(failure: Failure) -> bytes:
    raise AssertionError(failure)


def framed(dialect: str, chunks: list[bytes]) -> None:
    """The same stream where nothing is translated."""
    framer = needs_framer(dialects.get(dialect).framer(STREAM_TYPE))
    for chunk in chunks:
        for part in framer.feed(chunk):
            len(part.raw)


def origin_of(client: str) -> Origin:
    body = bodies.call_object(conversations.call(client, SMALL, stream=True))
    chat = translator(client).read_call(body, PATHS[client], Losses())
    chat.stream = True
    return Origin("bench", "fast", chat, body, 1780000000, PATHS[client])


def seconds(work: Callable[[], object], least: float) -> float:
    """Processor time: the median of several runs that take `least` seconds together."""
    work()
    taken: list[float] = []
    ends = time.perf_counter() + least
    while len(taken) < 5 or time.perf_counter() < ends:
        began = time.thread_time()
        work()
        taken.append(time.thread_time() - began)
    return statistics.median(taken)


def measure(client: str, target: str, least: float) -> Row:
    """One direction, in seconds."""
    small, large = conversations.call(client, SMALL), conversations.call(client, LARGE, sentences=AGENTS)
    reply, origin = conversations.REPLIES[target], origin_of(client)
    chunks = _chunks(conversations.stream(target, PARTS))
    return {
        "client": client,
        "target": target,
        "call": seconds(lambda: crossed(client, target, small), least),
        "back": seconds(lambda: answered(client, target, reply, origin), least),
        "part": seconds(lambda: streamed(client, target, chunks, origin), least) / len(chunks),
        "untranslated": seconds(lambda: framed(target, chunks), least) / len(chunks),
        "large": seconds(lambda: crossed(client, target, large), least),
    }


def _chunks(stream: bytes) -> list[bytes]:
    """As most providers send: an event, a chunk."""
    end = b"\r\n\r\n" if b"\r\n\r\n" in stream else b"\n\n"
    return [event + end for event in stream.split(end) if event]


def rows(least: float = 0.3) -> list[Row]:
    gc.collect()
    gc.disable()
    try:
        return [measure(client, target, least) for client, target in itertools.permutations(CHATS, 2)]
    finally:
        gc.enable()


if __name__ == "__main__":
    print(table(rows()))
