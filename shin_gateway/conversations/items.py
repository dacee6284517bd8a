"""Items of the Responses API: as they are sent, kept, and shown to who asks for them.

https://platform.openai.com/docs/api-reference/responses, …/conversations
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from shin_gateway.conversations import body
from shin_gateway.conversations.entries import Entry
from shin_gateway.errors import Invalid

_PREFIXES = {
    "message": "msg", "function_call": "fc", "function_call_output": "fco", "reasoning": "rs",
    "custom_tool_call": "ctc", "custom_tool_call_output": "ctco", "web_search_call": "ws",
}  # fmt: skip
_REFERENCE = b"item_reference"
_NEEDLESS = frozenset({"message", "function_call", "custom_tool_call", ""})
"""Types of items that are understood without their ids."""
_WITH_STATUS = frozenset(
    {"message", "function_call", "function_call_output", "computer_call_output", "local_shell_call_output"}
)
"""Types of items that have a status when they are shown."""


class _Head(msgspec.Struct):
    type: Any = None
    id: Any = None
    encrypted_content: Any = None


def entries(items: Iterable[msgspec.Raw]) -> list[Entry]:
    """Items with ids, those of their own where they have one."""
    return [Entry(_id_of(item), item) for item in items]


def _id_of(item: msgspec.Raw) -> str:
    head = _head(item)
    if isinstance(head.id, str) and head.id and head.type != "item_reference":
        return head.id
    kind = head.type if isinstance(head.type, str) else "message"
    return f"{_PREFIXES.get(kind, 'item')}_{secrets.token_hex(24)}"


def _head(item: msgspec.Raw) -> _Head:
    try:
        return msgspec.json.decode(item, type=_Head)
    except body.UNREADABLE:
        return _Head()


def read_input(raw: msgspec.Raw | None, field: str = "input") -> list[msgspec.Raw]:
    """The items of `input`, which may be a text. Raises Invalid that names the field."""
    if raw is None or bytes(raw) == b"null":
        return []
    try:
        found = msgspec.json.decode(raw, type=str | list[msgspec.Raw])
    except body.UNREADABLE:
        raise Invalid(f"{field}: should be a string or a list.", param=field) from None
    if isinstance(found, str):
        content = [{"type": "input_text", "text": found}]
        return [body.raw({"type": "message", "role": "user", "content": content})]
    return body.objects(found, field)


def resolved(new: Sequence[msgspec.Raw], before: Sequence[Entry]) -> list[msgspec.Raw]:
    """New items, in which references to items before have become those items."""
    if not any(_REFERENCE in bytes(item) for item in new):
        return list(new)
    known = {entry.id: entry.item for entry in before}
    return [_resolved(item, known) for item in new]


def _resolved(item: msgspec.Raw, known: dict[str, msgspec.Raw]) -> msgspec.Raw:
    if _REFERENCE not in bytes(item):
        return item
    head = _head(item)
    return known.get(head.id, item) if head.type == "item_reference" and isinstance(head.id, str) else item


def for_a_keeper(context: Sequence[msgspec.Raw]) -> list[msgspec.Raw]:
    """A context for a provider that looks up ids in what it keeps, and does not find these.

    Reasoning is known to it by its encrypted content alone. What refers by its id to reasoning that is left out would
    be refused, so ids go too. https://platform.openai.com/docs/guides/reasoning#encrypted-reasoning-items
    """
    return [_without_id(item) for item in context if not _is_bare_reasoning(item)]


def _is_bare_reasoning(item: msgspec.Raw) -> bool:
    if b'"reasoning"' not in bytes(item):
        return False
    head = _head(item)
    return head.type == "reasoning" and not head.encrypted_content


def _without_id(item: msgspec.Raw) -> msgspec.Raw:
    fields = body.maybe(bytes(item), body.Fields)
    if fields is None or "id" not in fields or body.maybe_text(fields, "type") not in _NEEDLESS:
        return item
    del fields["id"]
    return msgspec.Raw(body.write(fields))


def shown(entry: Entry) -> msgspec.Raw:
    """An item as the API lists it: with id, type and status, its content in parts."""
    fields = body.maybe(bytes(entry.item), body.Fields) or {}
    fields.setdefault("type", msgspec.Raw(b'"message"'))
    fields["id"] = body.raw(entry.id)
    kind = body.maybe_text(fields, "type")
    if kind in _WITH_STATUS and bytes(fields.get("status", b"null")) == b"null":
        fields["status"] = msgspec.Raw(b'"completed"')
    if kind == "message" and bytes(fields.get("content", b""))[:1] == b'"':
        fields["content"] = _parts(fields)
    return msgspec.Raw(body.write(fields))


def _parts(fields: body.Fields) -> msgspec.Raw:
    text, answered = fields["content"], body.maybe_text(fields, "role") == "assistant"
    part = {"type": "output_text" if answered else "input_text", "text": text}
    return body.raw([part | ({"annotations": []} if answered else {})])


def page(found: Sequence[Entry], query: dict[str, str]) -> dict[str, Any]:
    """One page of a list: `limit`, `after`, `order`. Raises Invalid."""
    order, limit = query.get("order", "desc"), query.get("limit", "20")
    if order not in ("asc", "desc"):
        raise Invalid('order: should be "asc" or "desc".', param="order")
    if not (limit.isascii() and limit.isdigit() and len(limit) < 5 and 1 <= int(limit) <= 100):
        raise Invalid("limit: should be a whole number from 1 to 100.", param="limit")
    ordered = list(found) if order == "asc" else list(reversed(found))
    after = query.get("after")
    if after:
        at = next((at for at, entry in enumerate(ordered) if entry.id == after), None)
        if at is None:
            raise Invalid(f"after: there is no item {after[:80]!r}.", param="after")
        ordered = ordered[at + 1 :]
    rows = ordered[: int(limit)]
    return listed(rows) | {"has_more": len(ordered) > len(rows)}


def listed(rows: Sequence[Entry]) -> dict[str, Any]:
    ends = {"first_id": rows[0].id if rows else "", "last_id": rows[-1].id if rows else ""}
    return {"object": "list", "data": [shown(row) for row in rows], "has_more": False, **ends}
