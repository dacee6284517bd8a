"""Embeddings asked in one dialect and made in another, in as many calls as the provider's limit wants."""

from __future__ import annotations

from decimal import Decimal

from shin_gateway.addon import Forward
from shin_gateway.call import Call
from shin_gateway.crossing import errors
from shin_gateway.crossing.calls import crossed
from shin_gateway.dialects import Failure
from shin_gateway.errors import UpstreamFailed
from shin_gateway.outcome import Outcome
from shin_gateway.reply import Reply
from shin_gateway.translation import bodies
from shin_gateway.translation.dialects import translator
from shin_gateway.translation.embeddings import Sending, Vectors, embedder, join
from shin_gateway.translation.losses import Losses
from shin_gateway.translation.translator import Traits

_ERRORS = {"openai.embeddings": "openai.chat"}
"""Whose errors a dialect's are like."""


async def take(call: Call, traits: Traits, losses: Losses, forward: Forward) -> Reply:
    assert call.target is not None
    client, dialect = embedder(call.dialect.name), call.target.dialect
    embed = client.read_call(bodies.call_object(call.body), call.path, losses)
    embed.model = traits.model
    sendings = embedder(dialect).write_calls(embed, traits, losses)
    found: list[Vectors] = []
    spent = _Spent(call.outcome)
    for sending in sendings:
        reply = await forward(_sent(call, dialect, sending))
        spent.add()
        if reply.status >= 400:
            return errors.put(reply, call, _failure(dialect, reply))
        found.append(_vectors(dialect, reply))
    vectors = join(found, sendings)
    reply.body = bodies.encoded(client.write_reply(vectors, embed, call.asked_model or call.model))
    reply.dialect = call.dialect
    reply.headers["content-type"] = "application/json"
    return reply


def _sent(call: Call, dialect: str, sending: Sending) -> Call:
    return crossed(call, dialect, "embed", sending.path, bodies.encoded(sending.body), {})


def _failure(dialect: str, reply: Reply) -> Failure:
    body = bodies.any_object(reply.body or b"")
    return translator(_ERRORS.get(dialect, dialect)).read_error(body, reply.status)


def _vectors(dialect: str, reply: Reply) -> Vectors:
    if reply.body is None:
        reply.close()
        raise UpstreamFailed("The upstream streams where a whole reply was asked for.", code="upstream_malformed")
    return embedder(dialect).read_reply(bodies.reply_object(reply.body))


class _Spent:
    """The meter notes each reply; one call of the client's may take several."""

    def __init__(self, outcome: Outcome) -> None:
        self._outcome = outcome
        self._input = 0
        self._cost: Decimal | None = Decimal(0)

    def add(self) -> None:
        outcome = self._outcome
        if outcome.usage is None:
            return
        self._input += outcome.usage.input
        outcome.usage.input = self._input
        known = self._cost is not None and outcome.cost is not None
        self._cost = outcome.cost = self._cost + outcome.cost if known else None  # type: ignore[operator]
