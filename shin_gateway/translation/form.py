"""The common form: a chat with typed parts, which every chat dialect is read into and written from.

Used only where the client's dialect is not the target's. Field by field it says what *any* of the dialects can
express; a writer maps what its API has and reports the rest to `Losses`. Nothing here knows a dialect.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from shin_gateway.dialects.base import Failure
from shin_gateway.outcome import Usage

Json = dict[str, Any]

# `gc=False`: nothing here ever refers to what holds it, so the garbage collector need not look at thousands of parts.

# ── parts of a message ──────────────────────────────────────────────────────────────────────────


class Part(msgspec.Struct, kw_only=True, gc=False):
    """What a message is made of."""

    cache: Literal["", "5m", "1h"] = ""
    """The caller marks the end of a prefix to be cached, for so long."""


class Citation(msgspec.Struct, kw_only=True, gc=False):
    """Where a stretch of text comes from. Places are characters of the text, -1 where not said."""

    url: str = ""
    title: str = ""
    quote: str = ""
    """The cited words of the source."""
    start: int = -1
    end: int = -1
    file_id: str = ""
    raw: Json = {}
    """As the dialect `origin` wrote it, for a way back without loss."""
    origin: str = ""


class Text(Part):
    text: str
    citations: list[Citation] = []


class Refused(Part):
    """The model says that it will not."""

    text: str


class Media(Part):
    """An image, a document, sound or video: exactly one of `data`, `url`, `file_id` is set."""

    kind: Literal["image", "document", "audio", "video"]
    mime: str = ""
    """`image/png`; empty where the caller did not say."""
    data: str = ""
    """Base64."""
    url: str = ""
    file_id: str = ""
    """A file kept at the provider `origin`."""
    name: str = ""
    detail: str = ""
    """OpenAI's `low`, `high`, `auto`."""
    text: str = ""
    """A document that is plain text, in place of `data`; of sound that the model made, its transcript."""
    id: str = ""
    """Sound that the model made, as it may be named on the next turn."""
    citations: bool = False
    """Whether the caller wants this document cited."""
    origin: str = ""


class Reasoning(Part):
    """The model's thoughts. `text` may be empty where only the sealed form came."""

    text: str = ""
    summary: bool = False
    """Whether `text` is a summary and not the thoughts themselves."""
    seal: str = ""
    """Signature or encrypted content, opaque, to be returned on the next turn to the one who made it."""
    redacted: bool = False
    """Anthropic's `redacted_thinking`: `seal` is all there is."""
    id: str = ""
    origin: str = ""
    """The dialect of the provider that made it: only there `seal` and `id` mean something."""


class ToolUse(Part):
    """The model calls a tool of the client's."""

    id: str
    name: str
    arguments: str = ""
    """JSON text as the model wrote it (it may be broken); plain text where `custom`."""
    custom: bool = False
    """OpenAI's free-form tool, whose input is text."""
    seal: str = ""
    """Gemini's thought signature."""
    origin: str = ""


class ToolResult(Part):
    """What a tool of the client's gave. Stands in a message of the user's."""

    id: str
    parts: list[Text | Media] = []
    is_error: bool = False
    name: str = ""
    """The tool's name, where the dialect gives it; see `Chat.tool_name`."""
    custom: bool = False


class Builtin(Part):
    """A step of a tool that runs at the provider: web search, code execution, MCP. Only `origin` understands it."""

    kind: str
    """`web_search`, `code_execution`, …: the common name where there is one, else the dialect's own."""
    raw: list[Json]
    """Items or blocks as `origin` wrote them."""
    text: str = ""
    """What other dialects may show of it: a query, an output."""
    origin: str = ""


AnyPart = Text | Refused | Media | Reasoning | ToolUse | ToolResult | Builtin


class Message(msgspec.Struct, kw_only=True, gc=False):
    role: Literal["system", "developer", "user", "assistant"]
    parts: list[AnyPart]
    name: str = ""


# ── what is asked ───────────────────────────────────────────────────────────────────────────────


class Tool(msgspec.Struct, kw_only=True, gc=False):
    """A tool that the client runs."""

    name: str
    description: str = ""
    schema: Json | None = None
    """JSON Schema of the arguments; None where it takes none."""
    strict: bool | None = None
    custom: bool = False
    format: Json | None = None
    """A custom tool's grammar, as OpenAI writes it."""
    cache: Literal["", "5m", "1h"] = ""


class BuiltinTool(msgspec.Struct, kw_only=True, gc=False):
    """A tool that the provider runs."""

    kind: str
    """`web_search`, `code_execution`, `file_search`, `url_context`, `mcp`, …, else the dialect's own type."""
    raw: Json
    """As `origin` wrote it."""
    origin: str
    max_uses: int | None = None
    allowed_domains: list[str] = []
    blocked_domains: list[str] = []
    location: Json | None = None
    """`{city, region, country, timezone}`, each may be missing."""
    context_size: str = ""


class ToolChoice(msgspec.Struct, kw_only=True, gc=False):
    mode: Literal["auto", "none", "required", "named"] = "auto"
    name: str = ""
    """The tool, where `named`."""
    allowed: list[str] = []
    """The only tools that may be called; empty: all."""


class OutputFormat(msgspec.Struct, kw_only=True, gc=False):
    kind: Literal["text", "json", "schema"] = "text"
    name: str = ""
    description: str = ""
    schema: Json | None = None
    strict: bool | None = None


Effort = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"]


class ReasoningWish(msgspec.Struct, kw_only=True, gc=False):
    """How much the model shall think. `effort` or `budget` may say it; `effort.py` leads from one to the other."""

    effort: Effort | None = None
    budget: int | None = None
    """Tokens; 0: none at all; -1: as the model sees fit."""
    show: bool | None = None
    """Whether thoughts, or their summary, shall be in the reply."""
    summary: str = ""
    """OpenAI's `auto`, `concise`, `detailed`."""
    sealed: bool = False
    """Whether encrypted thoughts shall be in the reply, for a client that keeps the state itself."""


class Chat(msgspec.Struct, kw_only=True, gc=False):
    """One call. None and empty: the client said nothing."""

    model: str = ""
    messages: list[Message] = []
    tools: list[Tool] = []
    builtin_tools: list[BuiltinTool] = []
    tool_choice: ToolChoice | None = None
    parallel_tools: bool | None = None
    max_tokens: int | None = None
    """Output, reasoning included."""
    temperature: float | None = None
    """0 to 2, as OpenAI and Gemini have it; Anthropic's ends at 1."""
    top_p: float | None = None
    top_k: int | None = None
    stop: list[str] = []
    n: int | None = None
    seed: int | None = None
    logprobs: int | None = None
    """How many alternatives for each token; 0: only the chosen one's; None: not wanted."""
    logit_bias: dict[str, float] = {}
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    output: OutputFormat | None = None
    verbosity: str = ""
    modalities: list[str] = []
    """`text`, `audio`, `image` in lower case; empty: text."""
    audio: Json | None = None
    """`{voice, format}` of spoken output."""
    reasoning: ReasoningWish | None = None
    user: str = ""
    metadata: dict[str, str] = {}
    service_tier: str = ""
    """`auto`, `default`, `flex`, `priority`."""
    store: bool | None = None
    cache_key: str = ""
    prediction: Any = None
    safety_identifier: str = ""
    safety_settings: list[Json] = []
    """Gemini's."""
    stream: bool = False
    stream_usage: bool = False
    """Whether the client asked for usage in the stream (`stream_options.include_usage`)."""

    def tool_name(self, id: str) -> str:
        """The name of the tool that the call `id` called, or empty."""
        for message in reversed(self.messages):
            for part in message.parts:
                if isinstance(part, ToolUse) and part.id == id:
                    return part.name
        return ""


# ── what is answered ────────────────────────────────────────────────────────────────────────────

Finish = Literal[
    "stop", "stop_sequence", "length", "context", "tools", "filtered", "refused", "paused", "malformed_tool"
]  # fmt: skip
"""stop: the model had done; stop_sequence: one of the caller's; length: `max_tokens`; context: the model's window;
tools: it waits for results of tools; filtered: the provider withheld it; refused: the model would not; paused: a long
turn that goes on when sent again; malformed_tool: the model's tool call could not be read."""


class Choice(msgspec.Struct, kw_only=True, gc=False):
    parts: list[AnyPart] = []
    finish: Finish | None = None
    stop_sequence: str = ""
    logprobs: list[Json] | None = None
    """OpenAI's token objects: `{token, logprob, bytes, top_logprobs: [{token, logprob, bytes}]}`."""


class Answer(msgspec.Struct, kw_only=True, gc=False):
    """One whole reply."""

    id: str = ""
    model: str = ""
    created: int = 0
    """Unix seconds; 0: not said."""
    choices: list[Choice] = []
    usage: Usage | None = None
    service_tier: str = ""
    blocked: str = ""
    """The prompt itself was refused by the provider: why, in its word. There are no choices then."""


# ── what is streamed ────────────────────────────────────────────────────────────────────────────
# Opened, its pieces and Closed belong together by `choice` and `at`. A reader gives each part of a choice the next
# `at`, from 0, and closes it before the choice ends; several tool calls may be open at once. A reader whose API does
# not say when a part ends closes it when the next begins or the choice finishes.


class Began(msgspec.Struct, gc=False):
    """The first event, once."""

    id: str
    model: str
    created: int = 0
    usage: Usage | None = None
    """What is known at the start: Anthropic's clients want the input tokens in the first event."""
    service_tier: str = ""


class Opened(msgspec.Struct, gc=False):
    """A part begins. Its text, reasoning or arguments are empty, or all that there will be; ids and names are set."""

    choice: int
    at: int
    part: AnyPart


class Grew(msgspec.Struct, gc=False):
    """More of the open part's text, reasoning, arguments, or of a sound's base64 (`data`)."""

    choice: int
    at: int
    text: str


class Sealed(msgspec.Struct, gc=False):
    """The signature or encrypted content of the open reasoning or tool use; all of it, or more of it."""

    choice: int
    at: int
    seal: str


class Cited(msgspec.Struct, gc=False):
    choice: int
    at: int
    citation: Citation


class Transcribed(msgspec.Struct, gc=False):
    """More of the transcript of the open sound."""

    choice: int
    at: int
    text: str


class Logged(msgspec.Struct, gc=False):
    """Log probabilities of the tokens that came with the last piece."""

    choice: int
    logprobs: list[Json]


class Closed(msgspec.Struct, gc=False):
    choice: int
    at: int


class Finished(msgspec.Struct, gc=False):
    """A choice is complete."""

    choice: int
    finish: Finish
    stop_sequence: str = ""


class UsageTold(msgspec.Struct, gc=False):
    """Usage so far; the last one counts."""

    usage: Usage


class Failed(msgspec.Struct, gc=False):
    """The provider reported an error in its stream. Nothing follows."""

    failure: Failure


class Ended(msgspec.Struct, gc=False):
    """The regular end. Nothing follows. A stream without it was cut."""

    blocked: str = ""


Event = Began | Opened | Grew | Sealed | Cited | Transcribed | Logged | Closed | Finished | UsageTold | Failed | Ended
