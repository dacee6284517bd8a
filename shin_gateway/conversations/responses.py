"""A call of the Responses API that refers to what was said before, written out for a provider that keeps nothing.

https://platform.openai.com/docs/guides/conversation-state
"""

from __future__ import annotations

import operator
from dataclasses import dataclass

import msgspec

from shin_gateway.conversations import body, items, talk
from shin_gateway.conversations.box import off_loop
from shin_gateway.conversations.kinds import RESPONSES
from shin_gateway.conversations.talk import Custody, Talk
from shin_gateway.conversations.vault import NOTHING, Context, Elsewhere, Vault
from shin_gateway.errors import Invalid
from shin_gateway.translation.openai_models import model_of

_SEALED = "reasoning.encrypted_content"


@dataclass
class Asked:
    """A call, and who would keep it."""

    body: bytes
    model: str
    header: str
    """The conversation that the header names, or ""."""
    custody: Custody
    makes_reply: bool
    """False for counts of tokens and compactions."""
    most: int
    """Bytes that one turn may have."""


async def take_up(asked: Asked, vault: Vault) -> tuple[Talk, bytes] | None:
    """The call's place, and its body with all that was said before; None where nothing is to be done.

    Raises Invalid, NotFound, TooLarge, Overfull, and what the vault raises.
    """
    fields = body.read(asked.body)
    previous, conversation = body.text(fields, "previous_response_id"), _conversation_of(fields)
    if previous and (conversation or asked.header):
        message = "previous_response_id and a conversation cannot be used together."
        raise Invalid(message, param="previous_response_id")
    custody, refers = asked.custody, bool(previous or conversation or asked.header)
    store = body.value(fields, "store") is not False
    if custody.keeps and not asked.header and (custody.own_key or not refers):
        return (Talk(RESPONSES, left_to=custody.provider), asked.body) if store and not custody.own_key else None
    if not (store or refers):
        return None
    found = await _before(asked, vault, previous, conversation)
    if isinstance(found, Elsewhere):
        return Talk(RESPONSES, left_to=found.provider if store else ""), asked.body
    if found is None:
        return None
    one = Talk(
        RESPONSES, before=found, conversation=conversation or asked.header, begins=bool(asked.header), store=store,
        keep=asked.makes_reply, shown=_shown(previous, conversation or asked.header, store),
    )  # fmt: skip
    return await off_loop(len(asked.body) + found.bytes, lambda: _written(asked, fields, one))


def refers_to(asked: Asked) -> tuple[str, str]:
    """What was said before: a conversation (`c`) or a reply (`r`), and its name; neither in a call that begins
    something. Raises Invalid."""
    fields = body.read(asked.body)
    conversation = asked.header or _conversation_of(fields)
    if conversation:
        return "c", conversation
    return "r", body.text(fields, "previous_response_id") or ""


def unread(asked: Asked) -> tuple[Talk, bytes]:
    """The call alone, where nobody knows what came before it: what follows it could not be gone on from either."""
    fields = body.read(asked.body)
    return _written(asked, fields, Talk(RESPONSES, keep=False, unread=True))


async def _before(
    asked: Asked, vault: Vault, previous: str | None, conversation: str | None
) -> Context | Elsewhere | None:
    """None for what only the provider can know. Raises NotFound."""
    name = conversation or asked.header
    if name:
        found = await vault.conversation(name)
    elif previous:
        found = await vault.chain(previous)
    else:
        return NOTHING
    custody = asked.custody
    if isinstance(found, Context):
        if found.dialect not in ("", RESPONSES.dialect):
            raise talk.other_dialect(name, found.dialect)
        return found
    if found is not None and custody.keeps and found.provider == custody.provider:
        return found
    if found is None and asked.header:
        return NOTHING
    if custody.own_key and (found is None or custody.keeps):
        return None
    raise talk.no_conversation(name) if name else talk.no_previous(previous or "")


def _conversation_of(fields: body.Fields) -> str | None:
    found = body.value(fields, "conversation")
    name = found.get("id") if isinstance(found, dict) else found
    if found is not None and not (isinstance(name, str) and name):
        raise Invalid('conversation: should be an id, or an object with "id".', param="conversation")
    return name


def _shown(previous: str | None, conversation: str, store: bool) -> body.Fields:
    shown = {"previous_response_id": body.raw(previous), "store": body.raw(store)}
    return shown | ({"conversation": body.raw({"id": conversation})} if conversation else {})


def _written(asked: Asked, fields: body.Fields, one: Talk) -> tuple[Talk, bytes]:
    """The call with all of the context, and nothing in it that its provider would have to know."""
    came = dict(fields)
    new = items.read_input(fields.get("input"))
    one.new = items.entries(new)
    talk.check_room(one.new, asked.most)
    for name in ("previous_response_id", "conversation"):
        fields.pop(name, None)
    _say_who_keeps(asked, fields)
    before = one.before.entries
    found = items.resolved(new, before)
    context = [*(entry.item for entry in before), *found]
    if asked.custody.looks_up:
        context = items.for_a_keeper(context)
    if len(context) != len(new) or any(map(operator.is_not, context, new)):
        fields["input"] = body.listed(context)
    untouched = fields.keys() == came.keys() and all(fields[name] is came[name] for name in fields)
    return one, asked.body if untouched else body.write(fields)


def _say_who_keeps(asked: Asked, fields: body.Fields) -> None:
    custody = asked.custody
    if custody.keeps:
        return
    if not custody.looks_up:
        if body.value(fields, "store") is not False:
            fields.pop("store", None)
        return
    if body.value(fields, "background"):
        message = "background: is for replies that the provider keeps, and the policy says that it keeps none."
        raise Invalid(message, param="background")
    if not asked.makes_reply:
        return
    fields["store"] = msgspec.Raw(b"false")
    if model_of(asked.model).reasons is True:  # others refuse to be asked for it
        _ask_sealed_reasoning(fields)


def _ask_sealed_reasoning(fields: body.Fields) -> None:
    """A provider that keeps nothing takes its reasoning back only if it gave it away sealed."""
    wanted = body.value(fields, "include")
    found = list(wanted) if isinstance(wanted, list) else []
    if _SEALED not in found:
        fields["include"] = body.raw([*found, _SEALED])
