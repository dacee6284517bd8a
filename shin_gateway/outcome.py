"""How a call ended: usage, cost, timings. Known when the stream ends or breaks or the client leaves."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Literal

End = Literal["completed", "refused", "failed", "broken", "cancelled"]
"""completed: the whole reply was sent, whatever its status. refused: an addon or the gateway said no.
failed: no reply could be had. broken: the stream stopped before its regular end. cancelled: the client left."""

UsageSource = Literal["provider", "counted", ""]


@dataclass(slots=True)
class Usage:
    """Tokens of one call. `input` includes cached ones and cache writes, `output` includes reasoning."""

    input: int = 0
    output: int = 0
    cached: int = 0
    """Input read from the provider's prompt cache."""
    cache_write: int = 0
    """Input written to the provider's prompt cache, all lifetimes together."""
    cache_write_1h: int = 0
    """The part of `cache_write` that is kept for an hour and has a price of its own."""
    reasoning: int = 0
    input_audio: int = 0
    output_audio: int = 0
    input_image: int = 0
    output_image: int = 0
    input_seconds: float = 0.0
    """Length of a recording, where that is what is paid for."""


@dataclass(slots=True)
class Timings:
    """Seconds on the monotonic clock; durations unless the name ends in `_at`."""

    started_at: float = field(default_factory=time.perf_counter)
    queued: float = 0.0
    """Waited for a place before going upstream."""
    connect: float = 0.0
    """Until a connection stood: 0 when one was at hand."""
    first_part_at: float = 0.0
    """When the first part of the reply was there; 0 if none came."""
    ended_at: float = 0.0
    upstream: float = 0.0
    """Time spent waiting for the upstream; what is left of the total is our own."""

    @property
    def first_part(self) -> float:
        return self.first_part_at - self.started_at if self.first_part_at else 0.0

    @property
    def total(self) -> float:
        return (self.ended_at or time.perf_counter()) - self.started_at

    @property
    def overhead(self) -> float:
        """Our own share of the total so far."""
        return max(0.0, self.total - self.upstream - self.queued)


@dataclass(slots=True)
class Outcome:
    """What became of a call; filled in by whoever knows, complete when `Call.on_end` callbacks run."""

    status: int = 0
    end: End = "failed"
    cause: str = ""
    """A short stable word for anything but a regular end: `upstream_timeout`, `client_left`, `blocked`."""
    addon: str = ""
    """The addon that refused or failed."""
    usage: Usage | None = None
    usage_source: UsageSource = ""
    cost: Decimal | None = None
    """US dollars; None when the price or the usage is unknown, which is not 0."""
    attempts: int = 0
    reply_bytes: int = 0
    timings: Timings = field(default_factory=Timings)
