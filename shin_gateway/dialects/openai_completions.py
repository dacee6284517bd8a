"""OpenAI's older Completions API: one prompt in, text out, chunks that look like whole replies."""

from __future__ import annotations

from typing import Any

import msgspec

from shin_gateway.dialects.base import Ending, View
from shin_gateway.dialects.heads import Peek, peek_as
from shin_gateway.dialects.json_spans import Slot, paths
from shin_gateway.dialects.openai import ChunkReader, OpenAI
from shin_gateway.dialects.openai_chat import ChoicesEnding, ask_usage, index_of, is_finished, is_usage_only
from shin_gateway.dialects.parts import Part


class _Head(msgspec.Struct):
    prompt: msgspec.Raw = msgspec.Raw()


class OpenAICompletions(OpenAI):
    name = "openai.completions"
    call_paths = paths(("prompt", "prompt.*", "suffix"))
    reply_paths = paths(("choices.*.text", "choices.*.reasoning"))
    event_paths = reply_paths

    def peek(self, body: bytes, path: str) -> Peek:
        """Each of several prompts is answered by itself."""
        peek, prompts = super().peek(body, path), _prompts(peek_as(body, _Head).prompt)
        return peek if prompts == 1 else msgspec.structs.replace(peek, answers=peek.answers * prompts)

    def see(self, event: dict[str, Any], slots: list[Slot]) -> View:
        choices = event.get("choices")
        if not isinstance(choices, list):
            return View(slots)
        for slot in slots:
            if isinstance(place := slot.path[1], int):
                slot.channel = (index_of(choices[place], place), str(slot.path[-1]))
        return View(slots, [(index_of(choice, i),) for i, choice in enumerate(choices) if is_finished(choice)])

    def ask_usage(self, body: bytes) -> bytes | None:
        return ask_usage(body)

    def is_usage_only(self, part: Part) -> bool:
        return is_usage_only(part)

    def usage_reader(self) -> ChunkReader:
        return ChunkReader()

    def ending(self) -> Ending:
        return ChoicesEnding(self)


def _prompts(prompt: msgspec.Raw) -> int:
    """A text is one, and so is a list of tokens; a list of either is as many."""
    text = bytes(prompt)
    if text[:1] != b"[":
        return 1
    listed = [bytes(one)[:1] for one in peek_as(text, list[msgspec.Raw])]
    return len(listed) if listed and listed[0] in (b'"', b"[") else 1
