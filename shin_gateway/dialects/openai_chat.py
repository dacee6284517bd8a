"""OpenAI Chat Completions, and every server that is compatible with it.

Beyond OpenAI's own fields: `reasoning_content` (DeepSeek, Qwen, Moonshot), `reasoning` and
`reasoning_details` (OpenRouter, Groq), contents as lists with `thinking` and, where tools ran at
the provider, `messages` in place of `message` (Mistral), arguments as objects (Ollama).
"""

from __future__ import annotations

import re
from typing import Any

import msgspec

from shin_gateway.dialects.base import Dialect, Ending, View
from shin_gateway.dialects.json_spans import Channel, Slot, decode, members, paths
from shin_gateway.dialects.openai import ChunkReader, OpenAI, maybe_usage
from shin_gateway.dialects.parts import Part

_MESSAGE = (
    "content",
    "content.*.text",
    "content.*.refusal",
    "content.*.thinking",
    "content.*.thinking.*.text",
    "refusal",
    "reasoning_content",
    "reasoning",
    "reasoning.text",
    "reasoning_details.*.summary",
    "reasoning_details.*.text:signed",
    "tool_calls.*.function.arguments:json",
    "tool_calls.*.function.arguments.**",
    "tool_calls.*.custom.input",
    "function_call.arguments:json",
    "audio.transcript",
)


def _under(prefix: str, rows: tuple[str, ...] = _MESSAGE) -> tuple[str, ...]:
    return tuple(f"{prefix}.{row}" for row in rows)


# Fields in which servers send the same reasoning twice in one delta.
_REASONING = ("reasoning", "reasoning_content", "reasoning_details")
_TOOL_PATH = 7
"""Steps in `choices.0.delta.tool_calls.0.function.arguments`: longer ones are values in arguments that are objects."""
_FINISHED = re.compile(rb'"finish_reason"\s*:\s*"')


class OpenAIChat(OpenAI):
    name = "openai.chat"
    call_paths = paths((*_under("messages.*"), "prediction.content", "prediction.content.*.text"))
    reply_paths = paths((*_under("choices.*.message"), *_under("choices.*.messages.*")))
    event_paths = paths((*_under("choices.*.delta"), *_under("choices.*.message")))

    def see(self, event: dict[str, Any], slots: list[Slot]) -> View:
        choices = event.get("choices")
        if not isinstance(choices, list):
            return View(slots)
        for slot in slots:
            slot.channel = _channel(choices, slot)
        return View(slots, [(index_of(choice, i),) for i, choice in enumerate(choices) if is_finished(choice)])

    def produced(self, part: Part) -> str:
        slots = [slot for slot in self.view(part).slots if slot.channel is not None and slot.text]
        kinds = {slot.channel[1] for slot in slots if slot.channel is not None}
        copies = [kind for kind in _REASONING if kind in kinds][1:]
        return "".join([slot.text for slot in slots if slot.channel is not None and slot.channel[1] not in copies])

    def ask_usage(self, body: bytes) -> bytes | None:
        return ask_usage(body)

    def is_usage_only(self, part: Part) -> bool:
        return is_usage_only(part)

    def usage_reader(self) -> ChunkReader:
        return ChunkReader()

    def ending(self) -> Ending:
        return ChoicesEnding(self)


def _channel(choices: list[Any], slot: Slot) -> Channel | None:
    position, place, kind = slot.path[1], slot.path[2], slot.path[3]
    if place != "delta" or not isinstance(position, int):
        return None
    choice = choices[position]
    group = index_of(choice, position)
    if kind == "tool_calls":
        return _tool_channel(choice["delta"]["tool_calls"], group, slot)
    if kind == "reasoning_details":
        return (group, kind, str(slot.path[-1]))
    return (group, "thinking" if "thinking" in slot.path else str(kind))


def _tool_channel(calls: list[Any], group: int, slot: Slot) -> Channel | None:
    if len(slot.path) != _TOOL_PATH:
        return None
    position = slot.path[4]
    return (group, "arguments", index_of(calls[position], position) if isinstance(position, int) else 0)


def index_of(item: Any, otherwise: int) -> int:
    """An element's own `index`: its place in the list says nothing in a stream."""
    index = item.get("index") if isinstance(item, dict) else None
    return index if isinstance(index, int) else otherwise


def is_finished(choice: Any) -> bool:
    return isinstance(choice, dict) and bool(choice.get("finish_reason"))


class _Choice(msgspec.Struct):
    index: Any = 0
    finish_reason: Any = None


class _Chunk(msgspec.Struct):
    choices: list[_Choice] | None = None
    usage: Any = None


_decode_chunk = msgspec.json.Decoder(_Chunk).decode


def _chunk_of(part: Part) -> _Chunk | None:
    data = part.data
    if data is None or data[:1] != b"{":
        return None
    try:
        return _decode_chunk(data)
    except (msgspec.MsgspecError, RecursionError, ValueError):
        return None


def _goes_on(raw: bytes) -> bool:
    """Whether it surely says no more than that the first choice goes on, as nearly every part of every stream does."""
    unfinished = raw.count(b'"finish_reason"') == 1 and b'"finish_reason":null' in raw
    return unfinished and raw.count(b'"index"') == raw.count(b'"index":0')


class ChoicesEnding(Ending):
    """`[DONE]` ends the stream; some servers send none, so a finish reason for every choice will do."""

    def __init__(self, dialect: Dialect) -> None:
        super().__init__(dialect)
        self._open: set[object] = set()
        self._finished: set[object] = set()

    def feed(self, part: Part) -> None:
        super().feed(part)
        if 0 in self._open and _goes_on(part.raw):
            return
        if not self._open and self._finished and not _FINISHED.search(part.raw):
            return
        chunk = _chunk_of(part)
        for choice in (chunk and chunk.choices) or ():
            index = choice.index if isinstance(choice.index, int) else 0
            if choice.finish_reason:
                self._finished.add(index)
                self._open.discard(index)
            elif index not in self._finished:
                self._open.add(index)

    @property
    def complete(self) -> bool:
        return super().complete or (bool(self._finished) and not self._open)


def is_usage_only(part: Part) -> bool:
    """The extra chunk: usage, and no choices."""
    if not maybe_usage(part):
        return False
    chunk = _chunk_of(part)
    return chunk is not None and isinstance(chunk.usage, dict) and chunk.choices == []


_ASK = b'"stream_options":{"include_usage":true}'


def ask_usage(body: bytes) -> bytes | None:
    """Add `stream_options.include_usage` to the call of a stream by splicing it in. Raises Invalid."""
    if b"stream_options" not in body and b"\\u" not in body:  # nor is the name written with escapes: no need to read
        end = body.rindex(b"}")
        return b"%b,%b%b" % (body[:end], _ASK, body[end:])
    text = decode(body)
    options = members(text).get("stream_options")
    if options is None:
        end = text.rindex("}")
        return f"{text[:end]},{_ASK.decode()}{text[end:]}".encode()
    if not isinstance(options.value, dict):
        return f'{text[: options.start]}{{"include_usage":true}}{text[options.end :]}'.encode()
    if options.value.get("include_usage") is True:
        return None
    include = members(text, options.start).get("include_usage")
    if include is not None:
        return f"{text[: include.start]}true{text[include.end :]}".encode()
    comma = "," if options.value else ""
    return f'{text[: options.start + 1]}"include_usage":true{comma}{text[options.start + 1 :]}'.encode()
