"""One row per call for analytics, `shin tail` and the dashboard.

Headers are never written, so no credential is. Bodies are written only when the policy says so: the
call as it was when it ended, with what other addons masked in it; the reply as the client got it.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Literal

from shin_gateway.addon import Addon, Forward, Settings, Stage
from shin_gateway.call import Call
from shin_gateway.dialects.parts import Part
from shin_gateway.errors import Refusal
from shin_gateway.outcome import Outcome, Usage
from shin_gateway.reply import Reply
from shin_gateway.stores.rows import CallRow
from shin_gateway.units import Size

MAX_FACTS = 32
MAX_FACT = 256
"""Characters of a fact's value, and of any name that a caller may choose."""
_NO_USAGE = Usage()


class LogSettings(Settings):
    bodies: Literal["off", "errors", "all"] = "off"
    """Whose bodies are kept: nobody's, those of calls that did not end well, everybody's."""
    body_limit: Size = 64_000
    """How much of a body is kept."""


class Log(Addon[LogSettings]):
    stage = Stage.OBSERVE
    observer = True

    async def handle(self, call: Call, forward: Forward) -> Reply:
        entry = _Entry(self, call)
        call.on_end(entry.write)
        reply = await forward(call)
        entry.see(reply)
        return reply


class _Entry:
    """What is remembered of a call until it ends."""

    __slots__ = ("_call_bytes", "_log", "_model", "_reply", "_stream", "_tape")

    def __init__(self, log: Log, call: Call) -> None:
        self._log = log
        self._call_bytes = len(call.raw_body)
        self._model, self._stream = _asked(call)
        self._reply: Reply | None = None
        self._tape: _Tape | None = None

    def see(self, reply: Reply) -> None:
        settings = self._log.settings
        self._reply = reply
        if reply.streamed and settings.bodies != "off":
            self._tape = _Tape(settings.body_limit)
            reply.tee(self._tape)

    def write(self, call: Call, outcome: Outcome) -> None:
        row = self._row(call, outcome)
        bodies = self._log.settings.bodies
        if bodies == "all" or (bodies == "errors" and (outcome.end != "completed" or outcome.status >= 400)):
            row.call_body, row.reply_body = self._text_of_call(call), self._text_of_reply()
        self._log.services.state.rows.put(row)

    def _row(self, call: Call, outcome: Outcome) -> CallRow:
        usage, timings, target, caller = outcome.usage or _NO_USAGE, outcome.timings, call.target, call.caller
        provider = target.provider if target else call.arrival.row.name if call.arrival.row else ""
        return CallRow(
            id=call.id,
            at=datetime.fromtimestamp(call.arrived, UTC),
            caller=caller.name[:MAX_FACT],
            caller_kind=caller.kind,
            policy=call.policy.name,
            host=call.host[:MAX_FACT],
            dialect=call.dialect.name,
            kind=call.kind,
            model=self._model,
            target=target.name[:MAX_FACT] if target else "",
            provider=provider,
            stream=self._stream,
            status=outcome.status,
            end=outcome.end,
            cause=outcome.cause[:MAX_FACT],
            addon=outcome.addon,
            usage_source=outcome.usage_source,
            input_tokens=usage.input,
            cached_tokens=usage.cached,
            cache_write_tokens=usage.cache_write,
            output_tokens=usage.output,
            reasoning_tokens=usage.reasoning,
            cost=outcome.cost,
            queue_ms=timings.queued * 1000,
            connect_ms=timings.connect * 1000,
            first_part_ms=timings.first_part * 1000,
            total_ms=timings.total * 1000,
            overhead_ms=timings.overhead * 1000,
            attempts=outcome.attempts,
            call_bytes=self._call_bytes,
            reply_bytes=outcome.reply_bytes or (len(self._reply.raw_body) if self._reply else 0),
            facts=_bounded(call.facts) if call.facts else {},
        )

    def _text_of_call(self, call: Call) -> str:
        try:
            return _text(call.body, self._log.settings.body_limit)
        except Refusal:  # it cannot be decompressed, or is too large for that
            return ""

    def _text_of_reply(self) -> str:
        if self._tape is not None:
            return _text(self._tape.data, self._log.settings.body_limit)
        try:
            return _text(self._reply.body or b"", self._log.settings.body_limit) if self._reply else ""
        except Refusal:
            return ""


class _Tape:
    """Keeps the beginning of a stream."""

    def __init__(self, limit: int) -> None:
        self.data = bytearray()
        self._limit = limit

    def feed(self, part: Part) -> None:
        if len(self.data) < self._limit:
            self.data += part.raw[: self._limit - len(self.data)]

    def finish(self, complete: bool) -> None:
        pass


def _asked(call: Call) -> tuple[str, bool]:
    """Model and stream as the client asked, before a route changes them; of a malformed call what the path says."""
    try:
        return call.model[:MAX_FACT], call.stream
    except Refusal:
        return (call.arrival.model or "")[:MAX_FACT], call.arrival.stream


def _bounded(facts: dict[str, str]) -> dict[str, str]:
    return {name[:MAX_FACT]: value[:MAX_FACT] for name, value in list(facts.items())[:MAX_FACTS]}


def _text(body: bytes | bytearray, limit: int) -> str:
    return body[:limit].decode("utf-8", "replace")
