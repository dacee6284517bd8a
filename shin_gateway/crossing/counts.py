"""A count of tokens asked in one dialect: of the target's provider where its API counts, else counted here."""

from __future__ import annotations

from multidict import CIMultiDict

from shin_gateway.addon import Forward
from shin_gateway.call import Call
from shin_gateway.crossing import errors
from shin_gateway.crossing.calls import crossed
from shin_gateway.crossing.off_loop import off_loop
from shin_gateway.dialects import Failure
from shin_gateway.errors import Invalid
from shin_gateway.reply import Reply
from shin_gateway.translation import bodies, counting
from shin_gateway.translation.counting import Counted
from shin_gateway.translation.dialects import translator
from shin_gateway.translation.form import Chat
from shin_gateway.translation.losses import Losses
from shin_gateway.translation.translator import Traits

_NO_SUCH_API = (405, 501)
"""Statuses of a server that speaks the dialect and does not count; and 404, unless it is about the model."""


async def take(call: Call, traits: Traits, losses: Losses, forward: Forward) -> Reply:
    """The count of a call whose target speaks another dialect. Raises Invalid, UpstreamFailed."""
    assert call.target is not None
    dialect = call.target.dialect
    chat = await off_loop(len(call.body), lambda: _chat(call, traits, losses))
    if traits.words.get("count") == "no" or not counting.counts(dialect):
        return await _counted_here(call, chat)
    reply = await forward(await off_loop(len(call.body), lambda: _asked(call, chat, dialect, traits, losses)))
    if _has_no_api(reply, dialect, traits):
        return await _counted_here(call, chat)
    if reply.status >= 400:
        return errors.put(reply, call, _failure(reply, dialect))
    counted = counting.read_reply(dialect, bodies.any_object(reply.body or b""))
    return _written(call, counted)


async def native(call: Call, traits: Traits, forward: Forward) -> Reply:
    """The count of a call whose target speaks its dialect, but perhaps only as far as chats go."""
    if traits.words.get("count") == "no" and counting.counts(call.dialect.name):
        return await _counted_here(call, await off_loop(len(call.body), lambda: _chat(call, traits, Losses())))
    reply = await forward(call)
    if not counting.counts(call.dialect.name) or not _has_no_api(reply, call.dialect.name, traits):
        return reply
    try:
        chat = await off_loop(len(call.body), lambda: _chat(call, traits, Losses()))
    except Invalid:  # the provider's error is as good as ours
        return reply
    reply.close()
    return await _counted_here(call, chat)


def _chat(call: Call, traits: Traits, losses: Losses) -> Chat:
    chat = counting.read_call(translator(call.dialect.name), bodies.call_object(call.body), call.path, losses)
    chat.model = traits.model
    return chat


def _asked(call: Call, chat: Chat, dialect: str, traits: Traits, losses: Losses) -> Call:
    target = translator(dialect)
    told = losses.told_to(translator(call.dialect.name).fields)
    try:
        path, body = counting.write_call(target, chat, traits, told)
    except Invalid as wrong:
        raise told.worded(wrong) from None
    return crossed(call, dialect, "count", path, bodies.encoded(body), target.call_headers(chat))


def _has_no_api(reply: Reply, dialect: str, traits: Traits) -> bool:
    """Whether the server does not count. A 404 may also say that there is no such model: then it names it."""
    if reply.status in _NO_SUCH_API:
        return True
    return reply.status == 404 and traits.model not in _failure(reply, dialect).message


def _failure(reply: Reply, dialect: str) -> Failure:
    return translator(dialect).read_error(bodies.any_object(reply.body or b""), reply.status)


async def _counted_here(call: Call, chat: Chat) -> Reply:
    call.note(counted="here")
    return _written(call, await counting.count_here(chat))


def _written(call: Call, counted: Counted) -> Reply:
    body = bodies.encoded(counting.write_reply(call.dialect.name, counted))
    return Reply(200, CIMultiDict({"content-type": "application/json"}), call.dialect, body=body)
