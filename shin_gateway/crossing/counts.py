"""A count of tokens asked in one dialect: of the target's provider where its API counts, else counted here."""

from __future__ import annotations

from multidict import CIMultiDict

from shin_gateway.addon import Forward
from shin_gateway.call import Call
from shin_gateway.crossing import errors
from shin_gateway.crossing.calls import crossed
from shin_gateway.reply import Reply
from shin_gateway.translation import bodies, counting
from shin_gateway.translation.counting import Counted
from shin_gateway.translation.dialects import translator
from shin_gateway.translation.form import Chat
from shin_gateway.translation.losses import Losses
from shin_gateway.translation.translator import Traits

_NO_SUCH_API = (404, 405, 501)
"""Statuses of a server that speaks the dialect and does not count."""


async def take(call: Call, traits: Traits, losses: Losses, forward: Forward) -> Reply:
    assert call.target is not None
    client, dialect = translator(call.dialect.name), call.target.dialect
    chat = counting.read_call(client, bodies.call_object(call.body), call.path, losses)
    chat.model = traits.model
    if not counting.counts(dialect):
        return _counted(call, await counting.count_here(chat))
    reply = await forward(_asked(call, chat, dialect, traits, losses))
    if reply.status in _NO_SUCH_API:
        return _counted(call, await counting.count_here(chat))
    body = bodies.any_object(reply.body or b"")
    if reply.status >= 400:
        return errors.put(reply, call, translator(dialect).read_error(body, reply.status))
    return _counted(call, counting.read_reply(dialect, body))


def _asked(call: Call, chat: Chat, dialect: str, traits: Traits, losses: Losses) -> Call:
    target = translator(dialect)
    path, body = counting.write_call(target, chat, traits, losses)
    return crossed(call, dialect, "count", path, bodies.encoded(body), target.call_headers(chat))


def _counted(call: Call, counted: Counted) -> Reply:
    body = bodies.encoded(counting.write_reply(call.dialect.name, counted))
    return Reply(200, CIMultiDict({"content-type": "application/json"}), call.dialect, body=body)
