"""Several small embedding calls become one: those of a caller that come within a moment and differ in their texts.

The provider sees one call; each caller gets its own vectors, and its share of the tokens and of the cost. What goes
wrong with the one goes wrong with all of them.
"""

from __future__ import annotations

import asyncio
import contextlib
import copy
import logging
from dataclasses import dataclass, field
from typing import Annotated

from multidict import CIMultiDict
from pydantic import Field

from shin_gateway.addon import Addon, Forward, Mode, Services, Settings, Stage
from shin_gateway.call import Call
from shin_gateway.call_keys import CREDENTIAL_HEADERS, without_keys
from shin_gateway.crossing import gathering
from shin_gateway.crossing.gathering import Asked
from shin_gateway.crossing.off_loop import off_loop
from shin_gateway.errors import Refusal, UpstreamFailed
from shin_gateway.outcome import Outcome
from shin_gateway.reply import Reply
from shin_gateway.targets import Target
from shin_gateway.units import Duration

log = logging.getLogger(__name__)

_DIALECT = "openai.embeddings"
_LARGEST = 256_000
"""Bytes of a body that waits for others; a larger one has enough in it."""
_CHARACTERS = 600_000
"""Of a joined call: OpenAI takes 300,000 tokens at once, and none is shorter than a character for half of them."""
_COUNTING = 2.0
"""Seconds that counting tokens may take where the provider tells none."""
_OWN = frozenset(
    (*CREDENTIAL_HEADERS, "content-length", "content-encoding", "transfer-encoding", "cookie", "date", "x-request-id",
     "request-id", "traceparent", "tracestate", "baggage", "idempotency-key", "x-stainless-retry-count")
)  # fmt: skip
"""Headers in which calls that are joined may differ. The joined call has the first one's."""


class GatherSettings(Settings):
    calls: Annotated[int, Field(ge=2, le=256, strict=True)] = 10
    """Calls that become one at most."""
    wait: Annotated[Duration, Field(gt=0, le=10)] = 1.0
    """The longest that the first of them waits for the others."""
    inputs: Annotated[int, Field(ge=1, le=2048, strict=True)] = 2048
    """Texts in one call at most; less where the provider takes less (`embed_batch` in its row)."""


@dataclass(eq=False, slots=True)
class _Member:
    call: Call
    asked: Asked
    reply: asyncio.Future[Reply | None]
    """None: it goes alone."""


@dataclass(eq=False, slots=True)
class _Batch:
    """Calls that wait for each other."""

    most: int
    members: list[_Member] = field(default_factory=list)
    full: asyncio.Event = field(default_factory=asyncio.Event)
    task: asyncio.Task[None] | None = None

    def takes(self, asked: Asked) -> bool:
        inputs = sum(len(one.asked.inputs) for one in self.members)
        weight = sum(one.asked.weight for one in self.members)
        return not self.full.is_set() and (
            inputs + len(asked.inputs) <= self.most and weight + asked.weight <= _CHARACTERS
        )

    @property
    def staying(self) -> list[_Member]:
        return [one for one in self.members if not one.reply.cancelled()]


class Gather(Addon[GatherSettings]):
    stage = Stage.ROUTE
    order = -10

    def __init__(self, settings: GatherSettings, services: Services, mode: Mode = "enforce") -> None:
        super().__init__(settings, services, mode)
        self._open: dict[object, _Batch] = {}

    async def handle(self, call: Call, forward: Forward) -> Reply:
        target = self._target(call)
        asked = gathering.read(call.body) if target is not None else None
        if target is None or asked is None or self.mode == "shadow":
            return await forward(call)
        member = _Member(call, asked, asyncio.get_running_loop().create_future())
        batch = self._join(_key(call, target, asked), target, member, forward)
        try:
            reply = await member.reply
        except asyncio.CancelledError:
            if not batch.staying and batch.task is not None:
                batch.full.set()  # so that nobody joins what ends here
                batch.task.cancel()
            raise
        return await forward(call) if reply is None else reply

    def _target(self, call: Call) -> Target | None:
        """Of a call that may be gathered; None for any other."""
        if call.dialect.name != _DIALECT or call.own_key or call.arrival.origin is not None or call.size > _LARGEST:
            return None
        try:
            return call.target or self.services.target_of(call)
        except Refusal:  # what is wrong with the call is said further in
            return None

    def _join(self, key: object, target: Target, member: _Member, forward: Forward) -> _Batch:
        batch = self._open.get(key)
        if batch is None or not batch.takes(member.asked):
            if batch is not None:
                batch.full.set()
            batch = self._open[key] = _Batch(_most(target, self.settings.inputs))
            batch.task = asyncio.create_task(self._send(key, batch, forward), name="gather")
        batch.members.append(member)
        if len(batch.members) >= self.settings.calls:
            batch.full.set()
        return batch

    async def _send(self, key: object, batch: _Batch, forward: Forward) -> None:
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self.settings.wait):
                    await batch.full.wait()
        finally:
            batch.full.set()
            if self._open.get(key) is batch:
                del self._open[key]
        members = batch.staying
        if len(members) == 1:
            members[0].reply.set_result(None)
        elif members:
            await _answer(members, forward)


async def _answer(members: list[_Member], forward: Forward) -> None:
    """One call for all of them. Whatever it ends with, each gets it."""
    one = _joined(members)
    counted = asyncio.Event()
    one.on_end(lambda *_: counted.set())  # the first to be registered is the last to be called
    try:
        replies = await _replies(one, members, forward)
        one.outcome.end = "completed"
    except Refusal as refusal:
        _fail(members, refusal)
        return
    except Exception:
        log.exception("call %s, made of %d, failed", one.id, len(members))
        _fail(members, Refusal("The gateway failed to handle this call."))
        return
    finally:
        one.end(lambda error: log.error("at the end of call %s", one.id, exc_info=error))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_COUNTING):
                await counted.wait()
        _share_out(one, members)
    for member, reply in zip(members, replies, strict=True):
        if not member.reply.done():
            member.reply.set_result(reply)


async def _replies(one: Call, members: list[_Member], forward: Forward) -> list[Reply]:
    reply = await forward(one)
    body = reply.body
    if body is None:
        reply.close()
        raise UpstreamFailed("The upstream streams where a whole reply was asked for.", code="upstream_malformed")
    asked = [member.asked for member in members]
    if reply.status >= 400:
        bodies = [body] * len(members)
    else:
        bodies = await off_loop(len(body), lambda: gathering.split(body, asked))
    return [_reply(reply, text, member.call) for text, member in zip(bodies, members, strict=True)]


def _joined(members: list[_Member]) -> Call:
    """A call of its own: it goes on when the first of those that it is made of leaves."""
    first = members[0].call
    headers = CIMultiDict((name, value) for name, value in first.headers.items() if name.lower() not in _OWN)
    one = Call(
        method=first.method,
        headers=headers,
        arrival=first.arrival,
        host=first.host,
        policy=first.policy,
        raw_body=gathering.joined([member.asked for member in members]),
        caller=first.caller,
    )
    one.path, one.target, one.asked_model = first.path, first.target, first.asked_model
    one.own_key, one.may_use, one.login, one.ip = first.own_key, first.may_use, first.login, first.ip
    return one


def _reply(reply: Reply, body: bytes, call: Call) -> Reply:
    mine = Reply(reply.status, reply.headers.copy(), call.dialect, body=reply.raw_body, reason=reply.reason)
    mine.body = body
    return mine


def _share_out(one: Call, members: list[_Member]) -> None:
    """What the one call came to, to those that it was made of: the sum stays what it is."""
    weights = [member.asked.weight for member in members]
    outcome = one.outcome
    usages = gathering.shares_of_usage(outcome.usage, weights) if outcome.usage is not None else None
    costs = gathering.shares_of_cost(outcome.cost, weights) if outcome.cost is not None else None
    for at, member in enumerate(members):
        mine: Outcome = member.call.outcome
        if member.reply.cancelled():
            continue
        mine.usage = usages[at] if usages else None
        mine.usage_source = outcome.usage_source
        mine.cost = costs[at] if costs else None
        mine.attempts = outcome.attempts
        mine.timings.upstream, mine.timings.connect = outcome.timings.upstream, outcome.timings.connect
        mine.timings.first_part_at = outcome.timings.first_part_at
        member.call.target, member.call.asked_model = one.target, one.asked_model
        member.call.facts.update(one.facts)
        member.call.note(gathered=len(members), gathered_as=one.id)


def _fail(members: list[_Member], refusal: Refusal) -> None:
    for member in members:
        if not member.reply.done():
            member.reply.set_exception(copy.copy(refusal))


def _key(call: Call, target: Target, asked: Asked) -> object:
    """Calls with the same one may be joined."""
    path, _, query = call.path.partition("?")
    headers = tuple(sorted((name.lower(), value) for name, value in call.headers.items() if name.lower() not in _OWN))
    return (call.caller.tenant, call.caller.key, target.name, path, without_keys(query), headers, asked.rest)


def _most(target: Target, inputs: int) -> int:
    word = target.quirks.words.get("embed_batch", "")
    return min(inputs, int(word)) if word.isdecimal() and 0 < len(word) < 7 and int(word) > 0 else inputs
