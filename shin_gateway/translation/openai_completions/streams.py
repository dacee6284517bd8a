"""Streams for clients of the legacy API: chunks that look like whole replies."""

from __future__ import annotations

from shin_gateway.outcome import Usage
from shin_gateway.translation.form import Began, Ended, Event, Finished, Grew, Json, Logged, Opened, Text, UsageTold
from shin_gateway.translation.losses import Losses
from shin_gateway.translation.openai_chat.streams_out import DONE, encode
from shin_gateway.translation.openai_chat.usage import write_usage
from shin_gateway.translation.openai_completions.replies import note, reason_of, write_tokens
from shin_gateway.translation.translator import Origin


class StreamWriter:
    def __init__(self, origin: Origin, losses: Losses) -> None:
        self._origin = origin
        self._losses = losses
        self._usage: Usage | None = None
        self._head = self._tail = b""
        self._texts: set[tuple[int, int]] = set()
        self._lengths: dict[int, int] = {}
        self._finished: set[int] = set()

    def write(self, event: Event) -> bytes:
        match event:
            case Grew() if (event.choice, event.at) in self._texts:
                return self._text(event.choice, event.text)
            case Began():
                return self._begin(event)
            case Opened():
                return self._open(event)
            case Logged():
                start = self._lengths.get(event.choice, 0) - sum(len(str(one.get("token"))) for one in event.logprobs)
                return self._chunk(event.choice, "", encode(write_tokens(event.logprobs, max(0, start))))
            case Finished():
                self._finished.add(event.choice)
                return self._chunk(event.choice, "", reason=f'"{reason_of(event.finish)}"'.encode())
            case UsageTold():
                self._usage = event.usage
                return b""
            case Ended():
                return self._end(event)
            case _:
                return b""

    def _begin(self, event: Began) -> bytes:
        self._usage = event.usage
        head: Json = {
            "id": event.id or f"cmpl-{self._origin.call_id}",
            "object": "text_completion",
            "created": event.created or self._origin.created,
            "model": self._origin.model,
        }
        self._head = b"data: " + encode(head)[:-1] + b',"choices":['
        self._tail = b'],"usage":null}\n\n' if self._origin.chat.stream_usage else b"]}\n\n"
        return b""

    def _open(self, event: Opened) -> bytes:
        if not isinstance(event.part, Text):
            note(event.part, self._losses)
            return b""
        self._texts.add((event.choice, event.at))
        return self._text(event.choice, event.part.text) if event.part.text else b""

    def _text(self, choice: int, text: str) -> bytes:
        self._lengths[choice] = self._lengths.get(choice, 0) + len(text)
        return self._chunk(choice, text)

    def _chunk(self, index: int, text: str, logprobs: bytes = b"null", reason: bytes = b"null") -> bytes:
        choice = b'{"text":%b,"index":%d,"logprobs":%b,"finish_reason":%b}' % (encode(text), index, logprobs, reason)
        return self._head + choice + self._tail

    def _end(self, event: Ended) -> bytes:
        chunks = b"" if self._head else self._begin(Began("", ""))
        for index in sorted({0, *self._lengths} - self._finished):
            chunks += self._chunk(index, "", reason=b'"content_filter"' if event.blocked else b'"stop"')
        if self._origin.chat.stream_usage and self._usage is not None:
            chunks += self._head + b'],"usage":' + encode(write_usage(self._usage)) + b"}\n\n"
        return chunks + DONE
