"""Streams of Chat Completions into events of the common form. Lenient: servers that are compatible differ.

Met in the wild: whole tool calls in one delta, without `index`, all with index 0, with ids that are repeated, empty or
made anew for every piece (Gemini's, Ollama, older vLLM); usage beside a choice, after it, in every chunk or in
`x_groq`; Azure's first chunk without choices; thoughts under two names at once; no finish reason, or no `[DONE]`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import msgspec

from shin_gateway.dialects.base import Failure
from shin_gateway.dialects.openai import failure_from, failure_of, usage_of
from shin_gateway.dialects.parts import Part
from shin_gateway.errors import UpstreamFailed
from shin_gateway.translation.form import Began, Ended, Event, Failed, UsageTold
from shin_gateway.translation.openai_chat.choice_in import ChoiceReader
from shin_gateway.translation.openai_chat.replies_in import created_in
from shin_gateway.translation.openai_chat.usage import BROKEN, read_sources, text_in

Json = dict[str, Any]

_MOST_CHOICES = 128
_decode = msgspec.json.Decoder().decode


class StreamReader:
    def __init__(self) -> None:
        self._choices: dict[int, ChoiceReader] = {}
        self._began = False
        self._over = False
        self._leaning: Json = {}
        """The last chunk that names sources of the answer: some have them in every one."""

    def feed(self, part: Part) -> Iterable[Event]:
        data = part.data
        if not data or self._over:
            return ()
        if data[:6] == b"[DONE]":
            return self._done()
        event = decode(data)
        if event is None:
            return ()
        if (failure := failure_in(event, part)) is not None:
            self._over = True
            return [Failed(failure)]
        return self._read(event)

    def finish(self) -> Iterable[Event]:
        if self._over or not self._choices or not all(choice.finished for choice in self._choices.values()):
            return ()
        return self._done()

    def _done(self) -> list[Event]:
        self._over = True
        out: list[Event] = []
        if not self._began:
            out.append(Began("", ""))
        for choice in self._choices.values():
            choice.end(out, read_sources(self._leaning))
        out.append(Ended())
        return out

    def _read(self, event: Json) -> list[Event]:
        out: list[Event] = []
        choices = event.get("choices")
        usage = _usage(event)
        if "search_results" in event or "citations" in event:
            self._leaning = event
        if isinstance(choices, list) and choices:
            if not self._began:
                self._begin(event, out)
            for place, choice in enumerate(choices):
                if isinstance(choice, dict) and self._choice(choice, place, out):
                    return out
                usage = usage or (choice.get("usage") if isinstance(choice, dict) else None)
        elif choices == []:  # the extra chunk with usage: choices are complete
            self._end_finished(out)
        if usage and (told := usage_of(usage)) is not None:
            if not self._began:
                self._begin(event, out)
            out.append(UsageTold(told))
        return out

    def _end_finished(self, out: list[Event]) -> None:
        for choice in self._choices.values():
            if choice.finished:
                choice.end(out, read_sources(self._leaning))

    def _begin(self, event: Json, out: list[Event]) -> None:
        self._began = True
        tier = text_in(event, "service_tier")
        out.append(Began(text_in(event, "id"), text_in(event, "model"), created_in(event), service_tier=tier))

    def _choice(self, choice: Json, place: int, out: list[Event]) -> bool:
        """Whether the stream ends here, in an error of this choice."""
        reason = choice.get("finish_reason")
        if reason and (failure := _broken(choice, reason)) is not None:
            self._over = True
            out.append(Failed(failure))
            return True
        index = choice.get("index")
        if type(index) is not int or not 0 <= index < _MOST_CHOICES:
            index = min(place, _MOST_CHOICES - 1)
        reader = self._choices.get(index)
        if reader is None:
            reader = self._choices[index] = ChoiceReader(index)
        reader.read(choice, out)
        return False


def decode(data: bytes) -> Json | None:
    """One chunk; None for what is JSON but no object. Raises UpstreamFailed for anything else."""
    try:
        event = _decode(data)
    except (msgspec.MsgspecError, RecursionError, ValueError):
        event = _decode_slowly(data)
    return event if isinstance(event, dict) else None


def _decode_slowly(data: bytes) -> Any:
    """Half of a pair of surrogates, and numbers without end, are JSON to some."""
    try:
        text = data.decode("utf-8", "replace").strip()
        return json.loads(text) if text else None
    except (ValueError, RecursionError):
        raise UpstreamFailed("The provider sent an event that is not JSON.") from None


def failure_in(event: Json, part: Part) -> Failure | None:
    if "error" in event or event.get("object") == "error":
        return failure_of(event)
    if part.event == "error":
        return failure_from(event)
    return None


def _broken(choice: Json, reason: object) -> Failure | None:
    error = choice.get("error")
    if isinstance(error, dict) and error:
        return failure_from(error)
    if isinstance(reason, str) and reason in BROKEN:
        return Failure(502, "server_error", "The provider broke off its reply.", True)
    return None


def _usage(event: Json) -> Any:
    usage = event.get("usage")
    if usage is None and isinstance(groq := event.get("x_groq"), dict):
        return groq.get("usage")
    return usage
