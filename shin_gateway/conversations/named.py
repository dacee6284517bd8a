"""A call whose conversation its header names, in a dialect whose history is a list of messages."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from shin_gateway.conversations import body, items, talk
from shin_gateway.conversations.box import off_loop
from shin_gateway.conversations.kinds import Kind
from shin_gateway.conversations.talk import Talk
from shin_gateway.conversations.vault import NOTHING, Context, Vault


async def take_up(
    call_body: bytes, kind: Kind, name: str, vault: Vault, *, keep: bool, most: int
) -> tuple[Talk, bytes]:
    """The call's place, and its body with all that was said before. Raises Invalid, TooLarge, and what the vault
    raises."""
    found = await vault.conversation(name)
    before = found if isinstance(found, Context) else NOTHING
    if before.dialect not in ("", kind.dialect):
        raise talk.other_dialect(name, before.dialect)
    one = Talk(kind, before=before, conversation=name, begins=True, keep=keep)
    return await off_loop(len(call_body) + before.bytes, lambda: _written(call_body, one, most))


def unread(call_body: bytes, kind: Kind, most: int) -> tuple[Talk, bytes]:
    """The call alone, where nobody knows what came before it."""
    return _written(call_body, Talk(kind, keep=False, unread=True), most)


def _written(call_body: bytes, one: Talk, most: int) -> tuple[Talk, bytes]:
    fields = body.read(call_body)
    envelope = body.maybe(bytes(fields["request"]), body.Fields) if "request" in fields else None
    inner = fields if envelope is None else envelope
    new = body.items(inner, one.kind.field, lone=one.kind.field == "contents")
    one.new = items.entries([_unmarked(item) for item in new])
    talk.check_room(one.new, most)
    if not one.before.batches:
        return one, call_body
    inner[one.kind.field] = body.listed(_whole(one, new))
    if envelope is not None:
        fields["request"] = msgspec.Raw(body.write(envelope))
    return one, body.write(fields)


def _whole(one: Talk, new: Sequence[msgspec.Raw]) -> list[msgspec.Raw]:
    """All messages, in front those that hold for all of it: of these the newest only, as they may change."""
    heads = one.kind.heads
    batches = [[entry.item for entry in batch] for batch in one.before.batches] + [list(new)]
    if not heads:
        return [item for batch in batches for item in batch]
    first: list[msgspec.Raw] = []
    rest: list[msgspec.Raw] = []
    for batch in batches:
        found = [item for item in batch if _role(item) in heads]
        first = found or first
        rest += [item for item in batch if _role(item) not in heads]
    return [*first, *rest]


_MARK = b'"cache_control"'


def _unmarked(item: msgspec.Raw) -> msgspec.Raw:
    """A message without its cache marks: a call may have four, and those of all earlier calls would add up.

    https://platform.claude.com/docs/en/build-with-claude/prompt-caching
    """
    fields = body.maybe(bytes(item), body.Fields) if _MARK in bytes(item) else None
    blocks = body.maybe(bytes(fields.get("content", b"")), list[body.Fields]) if fields else None
    if fields is None or blocks is None:
        return item
    for block in blocks:
        block.pop("cache_control", None)
        if _MARK in bytes(block.get("content", b"")):
            block["content"] = _unmarked_list(block["content"])
    return msgspec.Raw(body.write(fields | {"content": body.raw(blocks)}))


def _unmarked_list(raw: msgspec.Raw) -> msgspec.Raw:
    """What a tool gave, which may be marked too."""
    blocks = body.maybe(bytes(raw), list[body.Fields])
    if blocks is None:
        return raw
    return body.raw([{name: one for name, one in block.items() if name != "cache_control"} for block in blocks])


class _Role(msgspec.Struct):
    role: Any = None


_decode_role = msgspec.json.Decoder(_Role).decode


def _role(item: msgspec.Raw) -> Any:
    try:
        return _decode_role(item).role
    except body.UNREADABLE:
        return None
