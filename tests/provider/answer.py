"""What the fake provider says to one call, and how it goes wrong: data only."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

How = Literal["hang", "fin", "rst", "flood", "end"]
After = Literal["call", "head", "parts", "bytes"]
Encoding = Literal["", "gzip", "deflate", "br", "zstd"]
Framing = Literal["", "chunked", "length", "close"]


@dataclass(frozen=True, slots=True)
class Tokens:
    """Usage. `input` includes cached and cache_write, `output` includes reasoning; each wire format converts."""

    input: int = 11
    output: int = 7
    cached: int = 0
    cache_write: int = 0
    reasoning: int = 0


@dataclass(frozen=True, slots=True)
class ToolCall:
    """One tool call of the model. A string argument "{echo}" becomes the prompt's last text."""

    name: str
    arguments: Mapping[str, Any]
    id: str = "call_fake0001"


@dataclass(frozen=True, slots=True)
class Stop:
    """Where the reply stops, and how.

    how: hang = say nothing more, connection open; fin = close; rst = reset; flood = bytes without a line end, for
    ever; end = a clean end at the HTTP level, so that only the stream's own last events are missing.
    after: call = nothing sent yet; head = status and headers sent; parts, bytes = `count` of the body's parts or bytes.
    """

    how: How
    after: After = "head"
    count: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """One reply. The default is a whole or streamed success, as the call asks, in the path's dialect."""

    text: str = "Hello from the fake provider."
    echo: bool = False
    """Say the prompt's last text instead of `text`."""
    pieces: tuple[str, ...] | int = 0
    """How a stream cuts the text: 0 = into words, n = into n characters, a tuple = exactly so."""
    thinking: str = ""
    tools: tuple[ToolCall, ...] = ()
    tokens: Tokens | None = field(default_factory=Tokens)
    """None: no usage, whole or streamed."""
    ending: bool = True
    """False: a chat stream without [DONE], Anthropic without message_stop, Responses without response.completed."""
    error_after: int | None = None
    """An error event of the dialect after so many text pieces of a stream, then the end."""

    status: int = 200
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes | None = None
    """Exactly this body, instead of what the dialect says. An error status without it gets the dialect's error body."""
    body_type: str = "application/json"
    without: tuple[str, ...] = ()
    """Names of our own default headers to leave out (content-type, x-request-id, ...)."""

    encoding: Encoding = ""
    framing: Framing = ""
    """"" = chunked for a stream, content-length for a whole reply; close = neither, the connection's end is the end."""
    length_off: int = 0
    """Content-length is wrong by so many bytes (with framing length)."""
    inject: Mapping[int, bytes] = field(default_factory=dict)
    """Raw bytes sent as a part of their own before part n."""

    wait_head: float = 0
    """Seconds before the head."""
    wait_first: float = 0
    """Seconds between the head and the first part."""
    pace: float = 0
    """Seconds between two parts (between two writes with `drip`)."""
    drip: int = 0
    """The body goes out in writes of so many bytes, whatever its parts."""
    gate: asyncio.Semaphore | None = None
    """Each part waits for one release: proves that nothing is buffered without a clock."""
    stop: Stop | None = None


RATE_LIMITED = Answer(status=429, headers=(("retry-after", "1"), ("retry-after-ms", "20")))
UNAVAILABLE = Answer(status=503, headers=(("retry-after", "0"),))
OVERLOADED = Answer(status=529)
BAD_GATEWAY_PAGE = Answer(
    status=502, body=b"<html><body><h1>502 Bad Gateway</h1></body></html>\n", body_type="text/html"
)
BROKEN_SSE: Mapping[str, Answer] = {
    "garbage": Answer(inject={2: b"\x00\x01}{ not an event\n\n"}),
    "bad json": Answer(inject={2: b'data: {"id": "x", \n\n'}),
    "bad utf-8": Answer(inject={2: b'data: {"choices":[{"index":0,"delta":{"content":"\xff\xfe"}}]}\n\n'}),
    "half an event": Answer(inject={2: b"data: {"}, stop=Stop("end", after="parts", count=3)),
}
ENDLESS_LINE = Answer(stop=Stop("flood", after="parts", count=2))
