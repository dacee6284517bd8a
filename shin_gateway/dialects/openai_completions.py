"""OpenAI's older Completions API: one prompt in, text out, chunks that look like whole replies."""

from __future__ import annotations

from typing import Any

from shin_gateway.dialects.base import Ending, View
from shin_gateway.dialects.json_spans import Slot, paths
from shin_gateway.dialects.openai import ChunkReader, OpenAI
from shin_gateway.dialects.openai_chat import ChoicesEnding, ask_usage, index_of, is_finished, is_usage_only
from shin_gateway.dialects.parts import Part


class OpenAICompletions(OpenAI):
    name = "openai.completions"
    call_paths = paths(("prompt", "prompt.*", "suffix"))
    reply_paths = paths(("choices.*.text", "choices.*.reasoning"))
    event_paths = reply_paths

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
