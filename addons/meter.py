"""Tokens and cost of every call: from the provider's usage, or counted where it gives none.

Streams are asked for their usage where a provider tells it only then, and the client does not see
the extra event unless it asked itself. What is counted is an estimate: the texts and the tools of a
call, the texts of its reply; no images.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import astuple, dataclass, replace
from decimal import Decimal
from operator import add

import msgspec

from shin_gateway import tokens
from shin_gateway.addon import Addon, Forward, Mode, Services, Settings, Stage
from shin_gateway.admission.estimates import learn
from shin_gateway.call import Call
from shin_gateway.dialects import Dialect
from shin_gateway.dialects.json_spans import Slot
from shin_gateway.dialects.parts import Part
from shin_gateway.dialects.realtime import Ledger, Realtime
from shin_gateway.errors import Refusal
from shin_gateway.outcome import Outcome, Usage, UsageSource
from shin_gateway.policy.paths import GENERATING
from shin_gateway.pricing import Prices
from shin_gateway.reply import Reply

COUNTED = GENERATING | {"embed"}
"""Kinds of calls that are paid by token. Lists of models and counts of tokens cost nothing."""
REPORTED = frozenset({"image", "speech", "transcript", "moderation"})
"""Kinds of calls whose providers report what they used, or nobody can tell."""
METERED = COUNTED | REPORTED

KEPT = 2_000_000
"""Bytes of a stream that are kept to count what it produced; beyond them the rest is taken to be like them."""
AT_ONCE = 1_000_000
"""Bytes of a whole reply that are read on the event loop, in 1 ms; a longer one is read in a thread."""


class MeterSettings(Settings):
    count_missing: bool = True
    """Count tokens where the provider reports none, as in streams that the client broke off."""


class Meter(Addon[MeterSettings]):
    stage = Stage.WIRE
    observer = True

    def __init__(self, settings: MeterSettings, services: Services, mode: Mode = "enforce") -> None:
        super().__init__(settings, services, mode)
        self._prices = services.prices

    async def start(self) -> None:
        await asyncio.to_thread(Prices.load)

    async def handle(self, call: Call, forward: Forward) -> Reply:
        if isinstance(call.dialect, Realtime):
            return await self._tally(call, call.dialect, forward)
        if call.kind not in METERED:
            return await forward(call)
        asking = _asking(call)
        reply = await (forward(call) if asking is None else _forward_as(asking, call, forward))
        if reply.status >= 400 or reply.failure is not None:
            return reply
        if reply.streamed:
            self._watch(call, reply, asking is not None)
        elif body := _legible(reply):
            await self._read_whole(call, body)
        return reply

    async def _tally(self, call: Call, dialect: Realtime, forward: Forward) -> Reply:
        reply = await forward(call)
        if reply.streamed:
            reply.tee(_Tally(call, dialect.ledger(), self._cost))
        return reply

    async def _read_whole(self, call: Call, body: bytes) -> None:
        dialect = call.dialect
        account = dialect.account
        usage, model = account(body) if len(body) <= AT_ONCE else await asyncio.to_thread(account, body)
        if usage is not None:
            self._note(call, usage, "provider", model)
        elif self.settings.count_missing and call.kind in COUNTED:
            said, attempt = _Said(lambda: _texts(dialect.reply_slots(body))), call.outcome.attempts
            call.on_end(lambda call, outcome: self._end_of_whole(call, outcome, attempt, said, model))

    def _end_of_whole(
        self, call: Call, outcome: Outcome, attempt: int, said: _Said, model: str | None
    ) -> Awaitable[None] | None:
        return self._count(call, said, Usage(), model) if _is_last(outcome, attempt) else None

    def _watch(self, call: Call, reply: Reply, asked: bool) -> None:
        watch = _Watch(call.dialect)
        reply.tee(watch)
        if asked:
            reply.filter(_UsageHider(call.dialect))
        attempt = call.outcome.attempts
        call.on_end(lambda call, outcome: self._end_of_stream(call, outcome, attempt, watch))

    def _end_of_stream(self, call: Call, outcome: Outcome, attempt: int, watch: _Watch) -> Awaitable[None] | None:
        usage, model = watch.reader.usage, watch.reader.model
        if not _is_last(outcome, attempt):
            return None
        if self.settings.count_missing and call.kind in COUNTED and (usage is None or not watch.complete):
            return self._count(call, watch.said, usage or Usage(), model)
        if usage is not None:
            self._note(call, usage, "provider", model)
        return None

    async def _count(self, call: Call, said: _Said, known: Usage, model: str | None) -> None:
        """Count what `known` lacks. Runs after the end, so the reply does not wait for it."""
        name = model or _asked_model(call)
        asked, made = await asyncio.to_thread(lambda: ([] if known.input else _texts_of_call(call), said.texts()))
        given = known.input or await tokens.count(asked, name)
        produced = round(await tokens.count(made, name) * said.scale)
        if not produced and not known.output and call.outcome.end == "failed":
            return  # a stream that brought an error and nothing else is billed by nobody
        usage = replace(known, input=given, output=max(known.output, produced))
        self._note(call, usage, "counted", model)

    def _note(self, call: Call, usage: Usage, source: UsageSource, model: str | None) -> None:
        outcome = call.outcome
        outcome.usage, outcome.usage_source = usage, source
        if usage.input_seconds:
            call.note(audio_seconds=f"{usage.input_seconds:g}")
        if source == "provider":
            learn(call, _asked_model(call), usage)
        outcome.cost = self._cost(call, usage, model or "", _asked_model(call))

    def _cost(self, call: Call, usage: Usage, *models: str) -> Decimal | None:
        """By the first of these names that has a price."""
        provider = call.target.prices if call.target else ""
        for model in filter(None, models):
            if (cost := self._prices.cost(provider, model, usage)) is not None:
                return cost
        return None


def _is_last(outcome: Outcome, attempt: int) -> bool:
    """Whether no later attempt was made, or has told what was used: what a failed one brought is nobody's.

    One call may be several at the provider, and is one attempt all the same (`crossing.embeddings`).
    """
    return outcome.usage_source != "provider" and attempt >= outcome.attempts


def _legible(reply: Reply) -> bytes | None:
    try:
        return reply.body
    except Refusal:  # a compression that is broken or unknown is the client's to see
        return None


def _asking(call: Call) -> Call | None:
    """The call with a request for usage in it, for one attempt; None where it needs none."""
    place = call.target or call.arrival.row
    if place is None or place.stream_usage != "ask":
        return None
    try:
        body = call.dialect.ask_usage(call.body) if call.stream else None
    except Refusal:  # what is wrong with the call, the provider shall say
        return None
    if body is None:
        return None
    asking = call.shadow()
    asking.body = body
    return asking


async def _forward_as(asking: Call, call: Call, forward: Forward) -> Reply:
    """Retry and log go by the call as it came, so the request for usage stays in a copy."""
    try:
        return await forward(asking)
    finally:
        call.target = asking.target


def _asked_model(call: Call) -> str:
    try:
        return (call.target.model if call.target else "") or call.model
    except Refusal:
        return ""


def _texts(slots: Iterable[Slot]) -> list[str]:
    return [slot.text for slot in slots]


class _Tools(msgspec.Struct):
    tools: msgspec.Raw = msgspec.Raw()
    functions: msgspec.Raw = msgspec.Raw()
    request: msgspec.Raw = msgspec.Raw()


def _texts_of_call(call: Call) -> list[str]:
    """Prompt and tools, which in an agent's call are often the greater part. Nothing for a call that is malformed."""
    try:
        texts = _texts(call.dialect.call_slots(call.body))
        found = msgspec.json.decode(call.body, type=_Tools)
        if found.request:
            found = msgspec.json.decode(found.request, type=_Tools)
    except (Refusal, msgspec.MsgspecError, RecursionError, ValueError):
        return []
    return [*texts, *(bytes(part).decode("utf-8", "replace") for part in (found.tools, found.functions) if part)]


@dataclass(frozen=True, slots=True)
class _Said:
    """The texts of a reply, to be gathered when they are needed, and how much more than those there was."""

    texts: Callable[[], list[str]]
    scale: float = 1.0


class _Watch:
    """Reads a stream's usage as it passes, and keeps its parts in case that it gives none."""

    def __init__(self, dialect: Dialect) -> None:
        self.reader = dialect.usage_reader()
        self.complete = False
        self._dialect = dialect
        self._kept: list[Part] = []
        self._last: Part | None = None
        self._kept_bytes = 0
        self._bytes = 0

    def feed(self, part: Part) -> None:
        self.reader.feed(part)
        self._last = part
        self._bytes += len(part.raw)
        if self._bytes <= KEPT:
            self._kept.append(part)
            self._kept_bytes = self._bytes

    def finish(self, complete: bool) -> None:
        """A stream that was cut after its last event has said everything."""
        self.complete = complete or (self._last is not None and self._dialect.ends(self._last))
        if self.complete and self.reader.usage is not None:
            self._kept = []

    @property
    def said(self) -> _Said:
        scale = self._bytes / self._kept_bytes if self._kept_bytes else 1.0
        return _Said(lambda: ["".join([self._dialect.produced(part) for part in self._kept])], scale)


CostOf = Callable[..., Decimal | None]


class _Tally:
    """Adds up what a connection uses, message by message: each reply on it has a price of its own."""

    def __init__(self, call: Call, ledger: Ledger, cost_of: CostOf) -> None:
        self._call = call
        self._ledger = ledger
        self._cost_of = cost_of
        self._cost: Decimal | None = Decimal(0)
        self._count = 0

    def feed(self, part: Part) -> None:
        spent = self._ledger.read(part)
        if spent is None:
            return
        outcome = self._call.outcome
        models = [spent.model] if spent.model else [self._ledger.model, _asked_model(self._call)]
        cost = self._cost_of(self._call, spent.usage, *models)
        self._cost = None if cost is None or self._cost is None else self._cost + cost
        self._count += not spent.model
        outcome.usage = _sum(outcome.usage or Usage(), spent.usage)
        outcome.usage_source, outcome.cost = "provider", self._cost

    def finish(self, complete: bool) -> None:
        self._call.note(replies=self._count)


def _sum(one: Usage, other: Usage) -> Usage:
    return Usage(*map(add, astuple(one), astuple(other)))


class _UsageHider:
    """Takes the event out of a stream that only our request brought into it."""

    def __init__(self, dialect: Dialect) -> None:
        self._is_usage_only = dialect.is_usage_only

    def feed(self, part: Part) -> tuple[Part, ...]:
        return () if self._is_usage_only(part) else (part,)

    def finish(self) -> tuple[Part, ...]:
        return ()
