"""What a chat dialect has to give in order to be translated from and to. Pure code, no I/O."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from shin_gateway.dialects.base import Failure
from shin_gateway.dialects.parts import Part
from shin_gateway.translation.form import Answer, Chat, Event, Json
from shin_gateway.translation.losses import Losses


@dataclass(frozen=True, slots=True)
class Traits:
    """What is known of the target beyond its dialect: its row's `quirks:` in providers.yaml, and the model."""

    provider: str = ""
    """The row's name, for `origin` of files."""
    model: str = ""
    """What the provider calls the model."""
    max_output: int | None = None
    """Most output tokens of the model, where known."""
    drop: frozenset[str] = frozenset()
    """Top-level fields of the dialect's call that this server refuses or does not know."""
    rename: Mapping[str, str] = field(default_factory=dict)
    """Top-level fields that it calls otherwise: max_completion_tokens: max_tokens."""
    words: Mapping[str, str] = field(default_factory=dict)
    """Other differences, each named in the dialect's writer that honours it."""


@dataclass(frozen=True, slots=True)
class Origin:
    """The call that a reply answers, as far as writing the reply needs it."""

    call_id: str
    """Of ours; a source of ids for dialects that want one where the target gave none."""
    model: str
    """The name that the client asked for."""
    chat: Chat
    body: Json = field(default_factory=dict)
    """The client's own call, which Responses repeats in its reply."""
    created: int = 0
    """Unix seconds: when the call arrived."""
    path: str = ""
    """The client's own path and query: Gemini's say whether a stream is events or a JSON array."""


class StreamReader(Protocol):
    """Reads a stream of the dialect into events. One for each stream."""

    def feed(self, part: Part) -> Iterable[Event]:
        """What one part says. A part without meaning gives nothing; unknown events are passed over.

        Raises UpstreamFailed for one that contradicts the dialect so that nothing can be made of it.
        """
        ...

    def finish(self) -> Iterable[Event]:
        """The regular end of the bytes: `Ended` here, if no event of the dialect says so. Nothing if it was said."""
        ...


class StreamWriter(Protocol):
    """Writes events as the bytes of a stream of the dialect. One for each stream."""

    def write(self, event: Event) -> bytes:
        """The bytes that go out for this event, possibly none. `Failed` is not given to it."""
        ...


class Translator(Protocol):
    """One dialect, both ways. `name` is the dialect's."""

    name: str
    fields: Mapping[str, str]
    """What this API calls the form's fields, for a client who shall be told which of them went no further: `top_k` is
    `generationConfig.topK`. Each stands for all that begins with it; what is missing has the form's name. The form's
    own names are near to Chat Completions' (`tools.parameters.pattern`, `messages.content.image`)."""
    takes_urls: frozenset[str]
    """Kinds of `Media` that the API fetches by itself when given a URL; others are fetched and inlined before."""

    def read_call(self, body: Json, path: str, losses: Losses) -> Chat:
        """Raises Invalid that names the field (`messages[3].content[1].image_url`). What the form cannot hold is
        reported to `losses` under the client's name for it; a field that means nothing to the form is one of those."""
        ...

    def write_call(self, chat: Chat, traits: Traits, losses: Losses) -> Json:
        """The body of a call; `chat.model` is already the target's name for it. Raises Invalid where the API has no
        way to say something without which the call would mean something else. `losses`, and Invalid, are told the
        form's names."""
        ...

    def path(self, chat: Chat) -> str:
        """The dialect's canonical path of such a call, with the query that a stream needs."""
        ...

    def call_headers(self, chat: Chat) -> Mapping[str, str]:
        """Headers that the API wants with such a call, besides content-type and the key."""
        ...

    def read_reply(self, body: Any) -> Answer:
        """Raises UpstreamFailed for what is no reply of the dialect."""
        ...

    def write_reply(self, answer: Answer, origin: Origin, losses: Losses) -> Json: ...

    def read_error(self, body: Any, status: int) -> Failure:
        """The error in a whole reply of status 400 or more; `body` None where it is no JSON. Never raises."""
        ...

    def reader(self) -> StreamReader: ...

    def writer(self, origin: Origin, losses: Losses) -> StreamWriter: ...
