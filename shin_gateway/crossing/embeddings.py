"""Embeddings asked in one dialect and made in another, in as many calls as the provider's limit wants."""

from __future__ import annotations

import asyncio
import time
from decimal import Decimal

from shin_gateway import tokens
from shin_gateway.addon import Forward
from shin_gateway.call import Call
from shin_gateway.crossing import errors
from shin_gateway.crossing.calls import crossed
from shin_gateway.crossing.off_loop import off_loop
from shin_gateway.dialects import Failure
from shin_gateway.errors import Invalid, UpstreamFailed
from shin_gateway.outcome import Outcome, Usage
from shin_gateway.reply import Reply
from shin_gateway.translation import bodies
from shin_gateway.translation.dialects import translator
from shin_gateway.translation.embeddings import Embed, Sending, Vectors, embedder, join
from shin_gateway.translation.losses import Losses
from shin_gateway.translation.translator import Traits

AT_A_TIME = 4
"""Calls to the provider that one call of a client's may have under way."""

MOST_INPUTS = 2048
"""Of one call of a client's: OpenAI's limit, the highest of the APIs'."""

_FIELDS = {"batch": "requests", "predict": "instances"}
_ERRORS = {"openai.embeddings": "openai.chat"}
"""Whose errors a dialect's are like."""


class _Refused(Exception):
    """The provider refused one of the calls; the others are given up."""

    def __init__(self, reply: Reply) -> None:
        super().__init__()
        self.reply = reply


async def take(call: Call, traits: Traits, losses: Losses, forward: Forward) -> Reply:
    """The vectors of a call whose target speaks another dialect. Raises Invalid, UpstreamFailed."""
    assert call.target is not None
    client, dialect = embedder(call.dialect.name), call.target.dialect
    embed, sendings = await off_loop(len(call.body), lambda: _read(call, dialect, traits, losses))
    spent = _Spent(call.outcome)
    try:
        replies, found = await _all(call, dialect, sendings, forward, spent)
    except _Refused as refused:
        return errors.put(refused.reply, call, _failure(dialect, refused.reply))
    vectors = join(found, sendings)
    if vectors.tokens is None:
        vectors.tokens = await _counted(call.outcome, embed)
    size = sum(len(one.raw_body) for one in replies)
    reply = replies[0]
    model = call.asked_model or call.model
    reply.body = await off_loop(size, lambda: bodies.encoded(client.write_reply(vectors, embed, model)))
    reply.dialect = call.dialect
    reply.headers["content-type"] = "application/json"
    return reply


def _read(call: Call, dialect: str, traits: Traits, losses: Losses) -> tuple[Embed, list[Sending]]:
    embed = embedder(call.dialect.name).read_call(bodies.call_object(call.body), call.path, losses)
    embed.model = traits.model
    if len(embed.inputs) > MOST_INPUTS:
        field = _FIELDS.get(embed.form, "input")
        raise Invalid(f"{field}: at most {MOST_INPUTS} inputs are taken at once.", param=field)
    return embed, embedder(dialect).write_calls(embed, traits, losses)


async def _all(
    call: Call, dialect: str, sendings: list[Sending], forward: Forward, spent: _Spent
) -> tuple[list[Reply], list[Vectors]]:
    """What each sending brings, in their order. The first that goes wrong ends the others, and so does a client that
    leaves. Raises _Refused, Refusal."""
    places = asyncio.Semaphore(AT_A_TIME)

    async def one(sending: Sending) -> tuple[Reply, Vectors]:
        await asyncio.sleep(0)  # Python 3.12 cancels who waits for a group if one fails before it has waited
        async with places:
            reply = await forward(await _sent(call, dialect, sending))
            spent.add()
        if reply.status >= 400:
            raise _Refused(reply)
        return reply, await _vectors(dialect, reply)

    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one(sending)) for sending in sendings]
    except* Exception as failed:
        raise failed.exceptions[0] from None
    finally:
        spent.close()
    done = [task.result() for task in tasks]
    return [reply for reply, _ in done], [vectors for _, vectors in done]


async def _sent(call: Call, dialect: str, sending: Sending) -> Call:
    size = len(call.body)
    return crossed(call, dialect, "embed", sending.path, await off_loop(size, lambda: bodies.encoded(sending.body)), {})


def _failure(dialect: str, reply: Reply) -> Failure:
    body = bodies.any_object(reply.body or b"")
    return translator(_ERRORS.get(dialect, dialect)).read_error(body, reply.status)


async def _vectors(dialect: str, reply: Reply) -> Vectors:
    body = reply.body
    if body is None:
        reply.close()
        raise UpstreamFailed("The upstream streams where a whole reply was asked for.", code="upstream_malformed")
    return await off_loop(len(body), lambda: _read_reply(dialect, body))


def _read_reply(dialect: str, body: bytes) -> Vectors:
    return embedder(dialect).read_reply(bodies.reply_object(body))


async def _counted(outcome: Outcome, embed: Embed) -> int:
    """Gemini does not tell how many tokens the texts had."""
    told = sum(len(one) for one in embed.inputs if isinstance(one, list))
    found = told + await tokens.count([one for one in embed.inputs if isinstance(one, str)], embed.model)
    if outcome.usage is None:
        outcome.usage, outcome.usage_source = Usage(input=found), "counted"
    return found


class _Spent:
    """The meter notes each reply, and the upstream each attempt; one call of the client's may take several."""

    def __init__(self, outcome: Outcome) -> None:
        self._outcome = outcome
        self._input = 0
        self._cost: Decimal | None = Decimal(0)
        self._attempts = outcome.attempts
        self._upstream = outcome.timings.upstream
        self._started = time.perf_counter()

    def add(self) -> None:
        outcome = self._outcome
        if outcome.usage is None:
            return
        self._input += outcome.usage.input
        outcome.usage.input = self._input
        known = self._cost is not None and outcome.cost is not None
        self._cost = outcome.cost = self._cost + outcome.cost if known else None  # type: ignore[operator]

    def close(self) -> None:
        """A call in several pieces is one attempt, and waits as long as all of them together."""
        self._outcome.attempts = self._attempts + min(1, self._outcome.attempts - self._attempts)
        self._outcome.timings.upstream = self._upstream + time.perf_counter() - self._started
