"""Items of a stream's output that are still being written."""

from __future__ import annotations

from typing import Protocol

import msgspec

from shin_gateway.translation.form import Citation, Json, Media, Reasoning, ToolUse
from shin_gateway.translation.losses import Losses
from shin_gateway.translation.openai_responses import items
from shin_gateway.translation.openai_responses.names import ORIGIN
from shin_gateway.translation.openai_responses.sealing import sealed


class Sink(Protocol):
    """Where events go."""

    def send(self, kind: str, fields: Json) -> None: ...

    def place(self) -> int: ...

    def settled(self, index: int, item: Json) -> None: ...

    def id(self, prefix: str, index: int) -> str: ...


class OpenItem:
    """What every open item can be told; what means nothing to it, it ignores."""

    def grow(self, text: str) -> None: ...

    def seal(self, seal: str) -> None: ...

    def cite(self, citation: Citation) -> None: ...

    def close(self) -> None: ...


class OpenMessage:
    """A message and its contents, which may follow one another or grow side by side."""

    def __init__(self, sink: Sink) -> None:
        self.sink = sink
        self.index = sink.place()
        self.id = sink.id("msg", self.index)
        self._contents: list[Content] = []
        self._unsettled: list[Content] = []
        self._status = ""
        item = items.message(self.id, [], "in_progress")
        sink.send("response.output_item.added", {"output_index": self.index, "item": item})

    def content(self, refusal: bool, logprobs: bool, losses: Losses) -> Content:
        self._settle()
        content = Content(self, len(self._contents), refusal, logprobs, losses)
        self._contents.append(content)
        self._unsettled.append(content)
        return content

    def log(self, logprobs: list[Json]) -> None:
        if self._contents:
            self._contents[-1].log(logprobs)

    def _settle(self) -> None:
        for content in self._unsettled:
            if content.closed:
                content.settle()
        self._unsettled = [content for content in self._unsettled if not content.closed]

    def end(self, status: str) -> None:
        """Ends it as soon as all contents are closed."""
        self._status = self._status or status
        self._settle()
        if all(content.closed for content in self._contents):
            done = [content.done for content in self._contents]
            self.sink.settled(self.index, items.message(self.id, done, self._status))


class Content(OpenItem):
    """A text or a refusal of a message."""

    def __init__(self, message: OpenMessage, index: int, refusal: bool, logprobs: bool, losses: Losses) -> None:
        self.message = message
        self.closed = False
        self.done: Json = {}
        self._sink = message.sink
        self._where: Json = {"item_id": message.id, "output_index": message.index, "content_index": index}
        self._refusal = refusal
        self._losses = losses
        self._pieces: list[str] = []
        self._length = 0
        self._waits = logprobs and not refusal
        """Whether a piece waits for its log probabilities, which come after it."""
        self._waiting = ""
        self._logprobs: list[Json] = []
        self._notes: list[Json] = []
        self._unplaced: list[Citation] = []
        part = items.refusal("") if refusal else items.output_text("", [], [])
        self._sink.send("response.content_part.added", {**self._where, "part": part})

    def grow(self, text: str) -> None:
        if not text:
            return
        self._pieces.append(text)
        self._length += len(text)
        if self._refusal:
            self._sink.send("response.refusal.delta", {**self._where, "delta": text})
        elif self._waits:
            self._flush([])
            self._waiting = text
        else:
            self._delta(text, [])

    def log(self, logprobs: list[Json]) -> None:
        self._logprobs += logprobs
        self._flush(items.brief(logprobs))

    def _flush(self, logprobs: list[Json]) -> None:
        if self._waiting:
            text, self._waiting = self._waiting, ""
            self._delta(text, logprobs)

    def _delta(self, text: str, logprobs: list[Json]) -> None:
        self._sink.send("response.output_text.delta", {**self._where, "delta": text, "logprobs": logprobs})

    def cite(self, citation: Citation) -> None:
        if citation.end >= 0 or citation.origin == ORIGIN:
            self._note(citation)
        else:  # of all of the text, whose length is known when it ends
            self._unplaced.append(citation)

    def _note(self, citation: Citation) -> None:
        self._flush([])
        note = items.annotation(citation, self._length, self._losses)
        if note is None:
            return
        fields = {**self._where, "annotation_index": len(self._notes), "annotation": note}
        self._notes.append(note)
        self._sink.send("response.output_text.annotation.added", fields)

    def close(self) -> None:
        self.closed = True

    def settle(self) -> None:
        """Its last events. Not when it closes: its log probabilities may come after."""
        if self.done:
            return
        self._flush([])
        for citation in self._unplaced:
            self._note(citation)
        text = "".join(self._pieces)
        if self._refusal:
            self.done = items.refusal(text)
            self._sink.send("response.refusal.done", {**self._where, "refusal": text})
        else:
            self.done = items.output_text(text, self._notes, self._logprobs)
            told = {"text": text, "logprobs": items.brief(self._logprobs)}
            self._sink.send("response.output_text.done", {**self._where, **told})
        self._sink.send("response.content_part.done", {**self._where, "part": self.done})


class OpenReasoning(OpenItem):
    """Thoughts: a summary of one part, or the thoughts themselves where a Responses server gave them."""

    def __init__(self, sink: Sink, part: Reasoning) -> None:
        self._sink = sink
        self._part = part
        self._raw = part.origin == ORIGIN and not part.summary
        self._index = sink.place()
        self._id = part.id if part.origin == ORIGIN and part.id else sink.id("rs", self._index)
        self._where: Json = {"item_id": self._id, "output_index": self._index}
        self._where |= {"content_index": 0} if self._raw else {"summary_index": 0}
        self._pieces: list[str] = []
        self._seals: list[str] = [part.seal]
        item = items.reasoning(self._id, "")
        sink.send("response.output_item.added", {"output_index": self._index, "item": item})
        self.grow(part.text)

    def grow(self, text: str) -> None:
        if not text:
            return
        if not self._pieces:
            part = {"type": "reasoning_text" if self._raw else "summary_text", "text": ""}
            kind = "content_part" if self._raw else "reasoning_summary_part"
            self._sink.send(f"response.{kind}.added", {**self._where, "part": part})
        self._pieces.append(text)
        self._sink.send(f"response.{self._kind}.delta", {**self._where, "delta": text})

    @property
    def _kind(self) -> str:
        return "reasoning_text" if self._raw else "reasoning_summary_text"

    def seal(self, seal: str) -> None:
        self._seals.append(seal)

    def close(self) -> None:
        text = "".join(self._pieces)
        if text:
            part = {"type": "reasoning_text" if self._raw else "summary_text", "text": text}
            self._sink.send(f"response.{self._kind}.done", {**self._where, "text": text})
            kind = "content_part" if self._raw else "reasoning_summary_part"
            self._sink.send(f"response.{kind}.done", {**self._where, "part": part})
        summary, content = ("", text) if self._raw else (text, "")
        encrypted = sealed(msgspec.structs.replace(self._part, seal="".join(self._seals)))
        self._sink.settled(self._index, items.reasoning(self._id, summary, content, encrypted))


class OpenCall(OpenItem):
    """A call of one of the client's tools."""

    def __init__(self, sink: Sink, part: ToolUse, spaces: dict[str, tuple[str, str]]) -> None:
        self.part = part
        self._sink = sink
        self._spaces = spaces
        self._index = sink.place()
        self._id = sink.id("ctc" if part.custom else "fc", self._index)
        self._where: Json = {"item_id": self._id, "output_index": self._index}
        self._kind = "custom_tool_call_input" if part.custom else "function_call_arguments"
        self._pieces: list[str] = []
        item = items.call(self._id, part, spaces, "", "in_progress")
        sink.send("response.output_item.added", {"output_index": self._index, "item": item})
        self.grow(part.arguments)

    def grow(self, text: str) -> None:
        if text:
            self._pieces.append(text)
            self._sink.send(f"response.{self._kind}.delta", {**self._where, "delta": text})

    def seal(self, seal: str) -> None:
        self.part.seal += seal

    def close(self) -> None:
        # A call without arguments is an empty object; clients parse it.
        whole = "".join(self._pieces) or ("" if self.part.custom else "{}")
        field = "input" if self.part.custom else "arguments"
        self._sink.send(f"response.{self._kind}.done", {**self._where, field: whole})
        self._sink.settled(self._index, items.call(self._id, self.part, self._spaces, whole, "completed"))


class OpenImage(OpenItem):
    """An image that the model made."""

    def __init__(self, sink: Sink, part: Media) -> None:
        self._sink = sink
        self._part = part
        self._index = sink.place()
        self._id = part.id or sink.id("ig", self._index)
        self._pieces = [part.data]
        item = items.image(self._id, "", part.mime, "in_progress")
        sink.send("response.output_item.added", {"output_index": self._index, "item": item})
        for state in ("in_progress", "generating"):
            self._tell(state)

    def _tell(self, state: str) -> None:
        fields = {"item_id": self._id, "output_index": self._index}
        self._sink.send(f"response.image_generation_call.{state}", fields)

    def grow(self, text: str) -> None:
        self._pieces.append(text)

    def close(self) -> None:
        self._tell("completed")
        item = items.image(self._id, "".join(self._pieces), self._part.mime, "completed")
        self._sink.settled(self._index, item)
