"""What a dialect is: how one API writes calls, replies, stream events, errors and usage.

Pure code, no I/O. Texts are the conversation: prompts, messages, tool arguments and results,
reasoning. Definitions of tools are not texts, nor are ids, urls, encrypted content, token lists
(`logprobs`) and inline media.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, Protocol

from shin_gateway.dialects.heads import Peek as Peek
from shin_gateway.dialects.heads import model_in_path, rename_in_path
from shin_gateway.dialects.json_spans import (
    Channel,
    Paths,
    Slot,
    Step,
    collect,
    decode,
    members,
    paths,
    read,
    scan,
)
from shin_gateway.dialects.json_text import Edit, escape, splice
from shin_gateway.dialects.multipart import Patch
from shin_gateway.dialects.parts import Framer, Part
from shin_gateway.dialects.rewriting import Rewriter, changes, rewrite_body
from shin_gateway.dialects.sse import SseFramer
from shin_gateway.errors import Invalid, Refusal
from shin_gateway.outcome import Usage

NO_PATHS: Paths = paths(())


@dataclass(frozen=True, slots=True)
class Failure:
    """An error that a stream carries after a 200: the status it would have had, the provider's words."""

    status: int
    type: str
    message: str
    retryable: bool
    retry_after: float | None = None
    """Seconds."""


class View(NamedTuple):
    """What one event holds: its slots, and the channels that end with it (prefixes; `()` is all)."""

    slots: Sequence[Slot]
    closes: Sequence[Channel] = ()


NOTHING = View(())


class UsageReader(Protocol):
    """Reads usage from a stream as it passes. Never raises."""

    @property
    def usage(self) -> Usage | None: ...

    @property
    def model(self) -> str | None:
        """The model that the provider says it used."""
        ...

    def feed(self, part: Part) -> None: ...


class Ending:
    """Tells a stream's regular end from a cut. Feed it every part, then ask when no more come."""

    def __init__(self, dialect: Dialect) -> None:
        self._dialect = dialect
        self.failure: Failure | None = None
        """The error that the stream itself carried, if one."""
        self.ended = False
        """Whether the marker of the end has come."""

    def feed(self, part: Part) -> None:
        self.failure = self.failure or self._dialect.failure(part)
        self.ended = self.ended or self._dialect.ends(part)

    @property
    def complete(self) -> bool:
        """Whether nothing is missing if the stream stops here: it ended, or said itself why it does not."""
        return self.ended or self.failure is not None


class Dialect:
    """One API. The base class is what an API that is not understood gets: no texts, no usage."""

    name: ClassVar[str] = ""
    call_paths: ClassVar[Paths] = NO_PATHS
    reply_paths: ClassVar[Paths] = NO_PATHS
    event_paths: ClassVar[Paths] = NO_PATHS
    keepalive: ClassVar[bytes | None] = b": keep-alive\n\n"
    """May be sent between two parts; None where clients break on it."""
    content_type: ClassVar[str] = "application/json"
    """Of error bodies."""

    # Calls

    def peek(self, body: bytes, path: str) -> Peek:
        """Model, stream and output limit in one pass. Raises Invalid that names the field."""
        return Peek()

    def peek_form(self, body: bytes, mark: bytes, path: str) -> Peek:
        """`peek` of a form whose parts `mark` divides; APIs that take none see a body that is no JSON."""
        return self.peek(body, path)

    def patch_model(self, body: bytes, mark: bytes | None, model: str) -> Patch | None:
        """A change of the model's name that need not copy the body, where bodies can be large; None: `with_model`."""
        return None

    def with_model(self, body: bytes, path: str, model: str) -> tuple[bytes, str]:
        """Body and path with another model's name, every other byte as it was. Raises Invalid."""
        text = decode(body)
        span = members(text).get("model") if text.lstrip()[:1] == "{" else None
        if span is None:
            return body, rename_in_path(path, model)
        if model_in_path(path) is not None:  # Azure goes by the path, whatever the body says
            path = rename_in_path(path, model)
        return f'{text[: span.start]}"{escape(model)}"{text[span.end :]}'.encode(), path

    def call_slots(self, body: bytes) -> list[Slot]:
        """All texts of a call, in order. Raises Invalid."""
        return scan(decode(body), self.call_paths)[1]

    def rewrite_call(self, body: bytes, rewriter: Rewriter) -> bytes:
        """The call with its texts rewritten; the identical object when nothing matched. Raises Invalid."""
        return rewrite_body(body, self.call_paths, rewriter)

    def ask_usage(self, body: bytes) -> bytes | None:
        """The call of a stream with a request for usage added; None if it needs none or has one."""
        return None

    # Whole replies

    def reply_slots(self, body: bytes) -> list[Slot]:
        """All texts of a reply; none where it is not JSON."""
        return _scan_leniently(body, self.reply_paths)[2]

    def rewrite_reply(self, body: bytes, rewriter: Rewriter) -> bytes:
        """The reply with its texts rewritten; the identical object when nothing matched or it is not JSON."""
        text, _, slots = _scan_leniently(body, self.reply_paths)
        found = changes(slots, rewriter)
        return splice(text, found).encode("utf-8", "surrogateescape") if found else body

    def account(self, body: bytes) -> tuple[Usage | None, str | None]:
        """Usage of a whole reply and the model it comes from, each None where it says nothing. Never raises."""
        return None, None

    # Streams

    def gathers(self, content_type: str) -> bool:
        """Whether a whole reply of this content type is to be had at once; else it passes as it arrives."""
        return True

    def framer(self, content_type: str) -> Framer | None:
        """What cuts a body of this content type into parts; None for one that is read whole or not understood."""
        # A stream without a content-type is met in the wild.
        return SseFramer() if media_type(content_type) in ("text/event-stream", "") else None

    def view(self, part: Part) -> View:
        """The slots of one event and the channels it ends; nothing where it is not understood."""
        event = event_of(part)
        if not isinstance(event, dict):
            return NOTHING
        try:
            return self.see(event, collect(event, self.event_paths))
        except (Invalid, RecursionError):  # nested too deeply to be an event of any API
            return NOTHING

    def see(self, event: dict[str, Any], slots: list[Slot]) -> View:
        """Give the slots of a parsed event their channels."""
        return View(slots)

    def slots(self, part: Part) -> list[Slot]:
        """The slots of `view` with their places, in characters of the part's data."""
        slots = list(self.view(part).slots)
        places = self._places(part) if slots else {}
        for slot in slots:
            slot.start, slot.end = places[slot.path]
        return slots

    def splice_part(self, part: Part, edits: Sequence[tuple[Slot, Sequence[Edit]]]) -> Part:
        """The part with edits in slots that `view` gave for it."""
        places = self._places(part)
        for slot, _ in edits:
            slot.start, slot.end = places[slot.path]
        text = (part.data or b"").decode("utf-8", "surrogateescape")
        new = splice(text, sorted(edits, key=lambda edit: edit[0].start))
        return part.replace_data(new.encode("utf-8", "surrogateescape"))

    def _places(self, part: Part) -> dict[tuple[Step, ...], tuple[int, int]]:
        text = (part.data or b"").decode("utf-8", "surrogateescape")
        return {slot.path: (slot.start, slot.end) for slot in scan(text, self.event_paths)[1]}

    def produced(self, part: Part) -> str:
        """The text that a part adds to the reply, for counting tokens where no usage comes."""
        return "".join([slot.text for slot in self.view(part).slots if slot.channel is not None])

    def is_real(self, part: Part) -> bool:
        """Whether a part is an event of the reply: no comment, no ping."""
        return part.data is not None

    def ends(self, part: Part) -> bool:
        """Whether a part is the marker with which this dialect's streams end."""
        return False

    def ending(self) -> Ending:
        """What follows one stream to its end."""
        return Ending(self)

    def failure(self, part: Part) -> Failure | None:
        """The error that a part of a stream carries."""
        return None

    def is_usage_only(self, part: Part) -> bool:
        """Whether a part comes only because `ask_usage` asked for it."""
        return False

    def usage_reader(self) -> UsageReader:
        return NoUsage()

    # Errors

    def error_body(self, refusal: Refusal, call_id: str) -> bytes:
        """A refusal as this API's own error body."""
        raise NotImplementedError

    def error_part(self, refusal: Refusal, call_id: str, content_type: str = "text/event-stream") -> bytes:
        """What to send in a stream that cannot go on. The dialect's own clients raise an error on it."""
        raise NotImplementedError


class AnyEnding(Ending):
    """Where the end has no marker that we know of, every end is taken for a regular one."""

    @property
    def complete(self) -> bool:
        return True


class NoUsage:
    usage: Usage | None = None
    model: str | None = None

    def feed(self, part: Part) -> None:
        pass


def event_of(part: Part) -> Any:
    """What a part's data means; None where it is no JSON object or array."""
    data = part.data
    if not data or data[:1] not in b"{[ \t\n\r":
        return None
    try:
        return read(data.decode("utf-8", "surrogateescape"))
    except Invalid:
        return None


def _scan_leniently(data: bytes, wanted: Paths) -> tuple[str, Any, list[Slot]]:
    # Bytes that are no UTF-8 become surrogates and turn back into the same bytes later.
    text = data.decode("utf-8", "surrogateescape")
    try:
        return text, *scan(text, wanted)
    except Invalid:
        return "", None, []


def media_type(content_type: str) -> str:
    return content_type.partition(";")[0].strip().lower()


def to_json(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")


def is_retryable(status: int) -> bool:
    return status in (408, 409, 425, 429) or status >= 500
