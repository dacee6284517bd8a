"""The deltas of one choice of a stream, into events of the common form."""

from __future__ import annotations

from typing import Any

from shin_gateway.translation.form import (
    AnyPart,
    Citation,
    Cited,
    Closed,
    Event,
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
)
from shin_gateway.translation.openai_chat.reasoning import (
    OPAQUE,
    ORIGIN,
    details_of,
    opaque_in,
    read_detail,
    seal_of,
    text_of,
)
from shin_gateway.translation.openai_chat.replies_in import (
    read_entry,
    read_images,
    read_message,
)
from shin_gateway.translation.openai_chat.tool_calls_in import ToolCalls
from shin_gateway.translation.openai_chat.usage import read_citation, read_finish, read_logprobs, text_in

Json = dict[str, Any]


class ChoiceReader:
    def __init__(self, index: int) -> None:
        self._index = index
        self._next = 0
        self._kind = ""
        """Of the open part that is no tool call: what it is and, of thoughts, which."""
        self._at = -1
        self._cited: list[Citation] = []
        """What came before the text that it belongs to."""
        self._tools = ToolCalls(index, self._open_call)
        self._refused = self._annotated = False
        self._reason: object = None
        self._stop_reason: object = None
        self._ended = False
        self.finished = False
        """Whether a reason to finish has come."""

    def read(self, choice: Json, out: list[Event]) -> None:
        if self._ended:
            return
        delta = choice.get("delta")
        if isinstance(delta, dict):
            self._delta(delta, out)
        elif isinstance(message := choice.get("message"), dict) and not self._next:
            self._whole(message, out)
        elif isinstance(text := choice.get("text"), str) and text:  # the legacy API
            self._grow("text", Text(text=""), text, out)
        if choice.get("logprobs") and (tokens := read_logprobs(choice)):
            out.append(Logged(self._index, tokens))
        if reason := choice.get("finish_reason"):
            self._reason, self._stop_reason, self.finished = reason, choice.get("stop_reason"), True

    def end(self, out: list[Event], sources: list[Citation]) -> None:
        """No more comes. Not before: some servers give a reason with every chunk, or with each call of a tool.

        A server that gave none had none but the regular one. `sources` are those of the whole answer.
        """
        if self._ended:
            return
        self._ended = True
        if self._kind == "text" and not self._annotated:
            out += [Cited(self._index, self._at, source) for source in sources]
        self._close(out)
        self._tools.end(out)
        finish, sequence = read_finish(self._reason, bool(self._tools), self._stop_reason, self._refused)
        out.append(Finished(self._index, finish, sequence))

    # Parts

    def _open(self, part: AnyPart, out: list[Event]) -> int:
        at = self._next
        self._next += 1
        out.append(Opened(self._index, at, part))
        return at

    def _open_call(self, part: ToolUse, out: list[Event]) -> int:
        self._close(out)
        self._tools.settle(out)
        return self._open(part, out)

    def _close(self, out: list[Event]) -> None:
        if self._kind:
            out.append(Closed(self._index, self._at))
            self._kind = ""

    def _begin(self, kind: str, part: AnyPart, out: list[Event]) -> None:
        if self._kind == kind:
            return
        self._close(out)
        self._tools.settle(out)
        self._kind, self._at = kind, self._open(part, out)

    def _grow(self, kind: str, part: AnyPart, text: str, out: list[Event]) -> None:
        if self._kind != kind:
            self._begin(kind, part, out)
            if self._cited and kind == "text":
                out += [Cited(self._index, self._at, citation) for citation in self._cited]
                self._cited.clear()
        out.append(Grew(self._index, self._at, text))

    def _put(self, part: AnyPart, out: list[Event]) -> None:
        """A part that is complete."""
        self._close(out)
        self._tools.settle(out)
        out.append(Closed(self._index, self._open(part, out)))

    # What a delta holds

    def _delta(self, delta: Json, out: list[Event]) -> None:
        if len(delta) > 1 or "content" not in delta:
            self._think(delta, out)
        content = delta.get("content")
        if isinstance(content, str):
            if content:
                self._grow("text", Text(text=""), content, out)
        elif isinstance(content, list):
            self._entries(content, out)
        if len(delta) > 1 or content is None:
            self._others(delta, out)

    def _others(self, delta: Json, out: list[Event]) -> None:
        if refusal := text_in(delta, "refusal"):
            self._refused = True
            self._grow("refusal", Refused(text=""), refusal, out)
        if isinstance(annotations := delta.get("annotations"), list):
            self._cite(annotations, out)
        if isinstance(audio := delta.get("audio"), dict):
            self._speak(audio, out)
        for image in read_images(delta):
            self._put(image, out)
        if calls := delta.get("tool_calls"):
            self._tools.read(calls if isinstance(calls, list) else [calls], out)  # older TGI has one and no list
        if isinstance(legacy := delta.get("function_call"), dict):
            self._tools.read([{"index": 0, "function": legacy}], out)

    def _whole(self, message: Json, out: list[Event]) -> None:
        """Some servers send a whole message in place of deltas."""
        for part in read_message(message):
            self._refused = self._refused or isinstance(part, Refused)
            if isinstance(part, ToolUse):
                self._tools.add_whole(part.id)
            self._put(part, out)

    def _entries(self, content: list[Any], out: list[Event]) -> None:
        for item in content:
            part = read_entry(item)
            if isinstance(part, Reasoning):
                self._grow("reasoning", Reasoning(origin=ORIGIN), part.text, out)
            elif isinstance(part, Text):
                self._grow("text", Text(text=""), part.text, out)
            elif part is not None:
                self._put(part, out)

    def _think(self, delta: Json, out: list[Event]) -> None:
        details = details_of(delta) if "reasoning_details" in delta else []
        told = False
        for detail in details:
            told = self._detail(detail, out) or told
        if not told and (text := text_of(delta)):
            self._grow("reasoning", Reasoning(origin=ORIGIN), text, out)
        for seal in opaque_in(delta) if OPAQUE in delta else ():
            if self._kind != "reasoning":
                self._begin("reasoning", Reasoning(origin=ORIGIN), out)
            self._seal(seal, out)

    def _detail(self, detail: Json, out: list[Event]) -> bool:
        """Whether the entry had text, of which the plain field is then a copy."""
        part = read_detail(detail)
        key = f"reasoning {detail.get('index')} {detail.get('type')}"
        # Another of our gateways sends the text again with the seal.
        text = "" if detail.get("format") == "shin-v1" else part.text
        if text:
            self._grow(key, Reasoning(summary=part.summary, origin=ORIGIN), text, out)
        if part.seal:
            if not text and not (self._kind == key or part.text):
                self._begin(key, Reasoning(origin=ORIGIN), out)
            if self._kind.startswith("reasoning"):
                self._seal(detail, out)
        return bool(text)

    def _seal(self, detail: Json, out: list[Event]) -> None:
        out.append(Sealed(self._index, self._at, seal_of(detail)))
        self._close(out)

    def _cite(self, annotations: list[Any], out: list[Event]) -> None:
        found = [citation for one in annotations if (citation := read_citation(one)) is not None]
        self._annotated = self._annotated or bool(found)
        if self._kind == "text":
            out += [Cited(self._index, self._at, citation) for citation in found]
        else:
            self._cited += found

    def _speak(self, audio: Json, out: list[Event]) -> None:
        id, data, text = (text_in(audio, name) for name in ("id", "data", "transcript"))
        if not (id or data or text):
            return
        self._begin("audio", Media(kind="audio", id=id, origin=ORIGIN), out)
        if data:
            out.append(Grew(self._index, self._at, data))
        if text:
            out.append(Transcribed(self._index, self._at, text))
