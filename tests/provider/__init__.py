"""A provider that lives in the test's own event loop and speaks the real wire formats, faults included.

async with FakeProvider(tls=True) as provider:
    provider.script(Answer(text="one"), RATE_LIMITED, Answer(stop=Stop("rst", after="parts", count=3)))
    ...
    assert provider.seen[0].json()["model"] == "gpt-4o"
"""

from __future__ import annotations

from tests.provider.answer import (
    BAD_GATEWAY_PAGE,
    BROKEN_SSE,
    ENDLESS_LINE,
    OVERLOADED,
    RATE_LIMITED,
    UNAVAILABLE,
    Answer,
    Stop,
    Tokens,
    ToolCall,
)
from tests.provider.seen import Seen
from tests.provider.server import FakeProvider

__all__ = [
    "BAD_GATEWAY_PAGE",
    "BROKEN_SSE",
    "ENDLESS_LINE",
    "OVERLOADED",
    "RATE_LIMITED",
    "UNAVAILABLE",
    "Answer",
    "FakeProvider",
    "Seen",
    "Stop",
    "Tokens",
    "ToolCall",
]
