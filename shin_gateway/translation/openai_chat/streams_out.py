"""Events of the common form as a stream of Chat Completions.

What OpenAI's own accumulators insist on: the first chunk of a choice has its role, choices begin in the order of their
index; the first piece of a tool call has `index`, `id`, `type`, `function.name` and `arguments: ""`, and each later
one `function`; entries of any list have an `index`. Source: openai-python lib/streaming/chat, openai-node
lib/ChatCompletionStream.
"""

from __future__ import annotations

import json
from typing import Any

import msgspec

from shin_gateway.outcome import Usage
from shin_gateway.translation.form import (
    Began,
    Cited,
    Closed,
    Ended,
    Event,
    Failed,
    Finished,
    Grew,
    Logged,
    Opened,
    Sealed,
    Transcribed,
    UsageTold,
)
from shin_gateway.translation.losses import Losses
from shin_gateway.translation.openai_chat.choice_out import ChoiceWriter
from shin_gateway.translation.openai_chat.replies_out import is_legacy, reply_id
from shin_gateway.translation.openai_chat.usage import TIERS, write_logprobs, write_usage
from shin_gateway.translation.sound import format_of
from shin_gateway.translation.translator import Origin

Json = dict[str, Any]

_MOST_CHOICES = 128
DONE = b"data: [DONE]\n\n"
_encode = msgspec.json.Encoder().encode


def encode(value: Any) -> bytes:
    try:
        return _encode(value)
    except (UnicodeEncodeError, OverflowError, msgspec.MsgspecError):
        # Half of a pair of surrogates, the other half of which comes with the next piece.
        return json.dumps(value, separators=(",", ":")).encode()


class StreamWriter:
    def __init__(self, origin: Origin, losses: Losses) -> None:
        self._origin = origin
        self._losses = losses
        self._legacy = is_legacy(origin)
        self._sound = format_of(origin.chat)
        self._usage: Usage | None = None
        self._choices: list[ChoiceWriter] = []
        self._finished: set[int] = set()
        self._head = self._tail = self._last_head = b""

    def write(self, event: Event) -> bytes:
        match event:
            case Grew():
                return self._grow(event)
            case Began():
                return self._begin(event)
            case UsageTold():
                self._usage = event.usage
                return b""
            case Finished():
                return self._finish(event)
            case Ended():
                return self._end(event)
            case Failed():
                return b""
            case _:
                return self._rest(event)

    def _grow(self, event: Grew) -> bytes:
        if event.choice >= len(self._choices):
            return b""
        return self._chunk(event.choice, self._choices[event.choice].grow(event.at, event.text, encode))

    def _rest(self, event: Opened | Closed | Sealed | Cited | Transcribed | Logged) -> bytes:
        if not 0 <= event.choice < _MOST_CHOICES:
            return b""
        opened = self._ensure(event.choice)
        choice = self._choices[event.choice]
        match event:
            case Opened():
                deltas = choice.open(event.at, event.part)
            case Closed():
                deltas = choice.close(event.at)
            case Sealed():
                deltas = choice.seal(event.at, event.seal)
            case Cited():
                deltas = choice.cite(event.at, event.citation)
            case Transcribed():
                deltas = [{"audio": {"transcript": event.text}}] if event.text else []
            case Logged():
                logprobs = encode(write_logprobs(event.logprobs))
                return opened + self._chunk(event.choice, b"{}", logprobs)
        return opened + b"".join([self._chunk(event.choice, encode(delta)) for delta in deltas])

    # Chunks

    def _begin(self, event: Began) -> bytes:
        self._usage = event.usage
        head: Json = {
            "id": reply_id(event.id, self._origin),
            "object": "chat.completion.chunk",
            "created": event.created or self._origin.created,
            "model": self._origin.model,
        }
        if event.service_tier in TIERS:
            head["service_tier"] = event.service_tier
        self._last_head = b"data: " + encode(head)[:-1] + b',"choices":['
        self._head = self._last_head + b'{"index":'
        # Once asked, OpenAI has the field in every chunk.
        self._tail = b'],"usage":null}\n\n' if self._origin.chat.stream_usage else b"]}\n\n"
        return self._ensure(0)

    def _chunk(self, index: int, delta: bytes, logprobs: bytes = b"null", reason: bytes = b"null") -> bytes:
        if not delta:
            return b""
        choice = b'%d,"delta":%b,"logprobs":%b,"finish_reason":%b}' % (index, delta, logprobs, reason)
        return self._head + choice + self._tail

    def _ensure(self, index: int) -> bytes:
        """The first chunks of this choice and those before it, if they have not gone out."""
        if index < len(self._choices):
            return b""
        chunks = b""
        while len(self._choices) <= index:
            self._choices.append(ChoiceWriter(self._origin.call_id, self._legacy, self._sound, self._losses))
            chunks += self._chunk(len(self._choices) - 1, b'{"role":"assistant","content":"","refusal":null}')
        return chunks

    # The end

    def _finish(self, event: Finished) -> bytes:
        if not 0 <= event.choice < _MOST_CHOICES:
            return b""
        opened = self._ensure(event.choice)
        self._finished.add(event.choice)
        choice = self._choices[event.choice]
        if last := choice.last():
            opened += self._chunk(event.choice, encode(last))
        reason = choice.reason(event.finish)
        return opened + self._chunk(event.choice, b"{}", reason=b'"' + reason.encode() + b'"')

    def _end(self, event: Ended) -> bytes:
        chunks = b"" if self._head else self._begin(Began("", ""))
        for index in range(len(self._choices)):
            if index not in self._finished:
                chunks += self._finish(Finished(index, "filtered" if event.blocked else "stop"))
        if self._origin.chat.stream_usage and self._usage is not None:
            chunks += self._last_head + b'],"usage":' + encode(write_usage(self._usage)) + b"}\n\n"
        return chunks + DONE
