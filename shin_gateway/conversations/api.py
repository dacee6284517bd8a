"""What clients ask about kept conversations and replies, and are answered without any provider.

https://platform.openai.com/docs/api-reference/conversations, …/responses
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

import msgspec

from shin_gateway.conversations import body, items, talk
from shin_gateway.conversations.entries import Entry
from shin_gateway.conversations.kinds import RESPONSES
from shin_gateway.conversations.vault import About, Context, Elsewhere, Gone, OtherDialect, Overfull, Vault
from shin_gateway.errors import Invalid, NotFound

Answer = dict[str, Any] | body.Fields
_KINDS = ("conversations", "responses")
_PARTS = {"conversations": ("items",), "responses": ("input_items", "cancel")}
_PAIRS, _KEY, _VALUE = 16, 64, 512
"""Of metadata: https://platform.openai.com/docs/api-reference/conversations/create"""


@dataclass(frozen=True, slots=True)
class Place:
    """What a path is about: `/v1/conversations/NAME/items/ITEM`, as far as it goes."""

    kind: str
    name: str = ""
    part: str = ""
    item: str = ""

    @property
    def missing(self) -> NotFound:
        return talk.no_conversation(self.name) if self.kind == "conversations" else talk.no_reply(self.name)


def place_of(path: str) -> Place | None:
    """`path` without query, unquoted and in its plainest form."""
    steps = path.strip("/").split("/")
    at = next((at for at, step in enumerate(steps) if step.lower() in _KINDS), None)
    if at is None:
        return None
    kind, name, part, item, *more = [*steps[at:], "", "", ""]
    kind, part = kind.lower(), part.lower()
    if any(more) or (part and part not in _PARTS[kind]):
        return None
    return Place(kind, name, part, item)


@dataclass(frozen=True, slots=True)
class Ask:
    """One question, and where the answer is."""

    vault: Vault
    place: Place
    query: dict[str, str]
    body: bytes
    most: int
    """Bytes that a conversation may have."""

    @property
    def name(self) -> str:
        return self.place.name


async def answer(
    vault: Vault, method: str, place: Place, query: str, sent: bytes, most: int
) -> Answer | Elsewhere | None:
    """None where the tenant has kept nothing of this name, or nothing can be asked so. Raises Invalid, NotFound,
    TooLarge."""
    shape = (method, place.kind, bool(place.name), place.part, bool(place.item))
    serve = _SERVED.get(shape)
    if serve is None:
        return None
    try:
        return await serve(Ask(vault, place, dict(parse_qsl(query)), sent, most))
    except Overfull as error:
        raise talk.overfull(error) from None
    except OtherDialect:
        raise talk.other_dialect(place.name) from None
    except Gone:
        return None


# Conversations


def _metadata(fields: body.Fields) -> msgspec.Raw:
    found = body.value(fields, "metadata")
    found = {} if found is None else found
    if not isinstance(found, dict) or len(found) > _PAIRS:
        raise Invalid(f"metadata: should be an object of at most {_PAIRS} texts.", param="metadata")
    for name, one in found.items():
        if not isinstance(one, str) or len(one) > _VALUE or len(name) > _KEY:
            where = f"metadata.{name[:_KEY]}"
            words = f"{where}: should be a text of at most {_VALUE} characters, its name of {_KEY}."
            raise Invalid(words, param=where)
    return body.raw(found)


def _conversation(name: str, about: About) -> Answer:
    return {"id": name, "object": "conversation", "created_at": about.created, "metadata": about.metadata}


def _new_items(ask: Ask, fields: body.Fields) -> list[Entry]:
    found = body.maybe_items(fields.get("items")) if bytes(fields.get("items", b"null")) != b"null" else []
    if found is None:
        raise Invalid("items: should be a list.", param="items")
    new = items.entries(body.objects(found, "items"))
    talk.check_room(new, ask.most)
    return new


async def _create(ask: Ask) -> Answer:
    fields = body.read(ask.body or b"{}")
    about, name = About(int(time.time()), _metadata(fields)), f"conv_{secrets.token_hex(24)}"
    await ask.vault.append(name, _new_items(ask, fields), RESPONSES.dialect, about=about)
    return _conversation(name, about)


async def _about(ask: Ask) -> tuple[About, Context] | Elsewhere | None:
    return await ask.vault.about(ask.name)


async def _retrieve(ask: Ask) -> Answer | Elsewhere | None:
    found = await _about(ask)
    return _conversation(ask.name, found[0]) if isinstance(found, tuple) else found


async def _update(ask: Ask) -> Answer | Elsewhere | None:
    found = await _about(ask)
    if not isinstance(found, tuple):
        return found
    about = About(found[0].created, _metadata(body.read(ask.body or b"{}")))
    return _conversation(ask.name, about) if await ask.vault.update(ask.name, about, found[1].era) else None


async def _delete(ask: Ask) -> Answer | Elsewhere | None:
    found = await _about(ask)
    if not isinstance(found, tuple):
        return found
    gone = await ask.vault.delete(ask.name)
    return {"id": ask.name, "object": "conversation.deleted", "deleted": True} if gone else None


async def _list_items(ask: Ask) -> Answer | Elsewhere | None:
    found = await _about(ask)
    return items.page(await ask.vault.all_items(ask.name), ask.query) if isinstance(found, tuple) else found


async def _create_items(ask: Ask) -> Answer | Elsewhere | None:
    found = await _about(ask)
    if not isinstance(found, tuple):
        return found
    new = _new_items(ask, body.read(ask.body or b"{}"))
    if not new:
        raise Invalid("items: should hold one item or more.", param="items")
    await ask.vault.append(ask.name, new, RESPONSES.dialect, seen=found[1].era)
    return items.listed(new)


async def _retrieve_item(ask: Ask) -> Answer | Elsewhere | None:
    found = await _about(ask)
    if not isinstance(found, tuple):
        return found
    kept = await ask.vault.all_items(ask.name)
    entry = next((one for one in kept if one.id == ask.place.item), None)
    if entry is None:
        raise talk.no_item(ask.place.item)
    return body.read(bytes(items.shown(entry)))


async def _delete_item(ask: Ask) -> Answer | Elsewhere | None:
    found = await _about(ask)
    if not isinstance(found, tuple):
        return found
    if not await ask.vault.delete_item(ask.name, ask.place.item):
        raise talk.no_item(ask.place.item)
    return _conversation(ask.name, found[0])


# Replies


async def _retrieve_reply(ask: Ask) -> Answer | Elsewhere | None:
    found = await ask.vault.reply(ask.name)
    if isinstance(found, dict) and ask.query.get("stream", "").lower() == "true":
        raise Invalid("stream: a reply that is kept is given whole.", param="stream")
    return found


async def _delete_reply(ask: Ask) -> Answer | Elsewhere | None:
    found = await ask.vault.reply(ask.name)
    if not isinstance(found, dict):
        return found
    await ask.vault.delete_reply(ask.name)
    return {"id": ask.name, "object": "response.deleted", "deleted": True}


async def _cancel_reply(ask: Ask) -> Answer | Elsewhere | None:
    found = await ask.vault.reply(ask.name)
    if isinstance(found, dict):
        raise Invalid("Only a reply in the background can be cancelled; this one has ended.")
    return found


async def _input_items(ask: Ask) -> Answer | Elsewhere | None:
    found = await ask.vault.chain(ask.name)
    if not isinstance(found, Context) or found.own is None:
        return found if isinstance(found, Elsewhere) else None
    entries = found.entries
    return items.page(entries[: len(entries) - len(found.own.output)], ask.query)


_SERVED: dict[tuple[str, str, bool, str, bool], Callable[[Ask], Awaitable[Answer | Elsewhere | None]]] = {
    ("POST", "conversations", False, "", False): _create,
    ("GET", "conversations", True, "", False): _retrieve,
    ("POST", "conversations", True, "", False): _update,
    ("DELETE", "conversations", True, "", False): _delete,
    ("GET", "conversations", True, "items", False): _list_items,
    ("POST", "conversations", True, "items", False): _create_items,
    ("GET", "conversations", True, "items", True): _retrieve_item,
    ("DELETE", "conversations", True, "items", True): _delete_item,
    ("GET", "responses", True, "", False): _retrieve_reply,
    ("DELETE", "responses", True, "", False): _delete_reply,
    ("POST", "responses", True, "cancel", False): _cancel_reply,
    ("GET", "responses", True, "input_items", False): _input_items,
}
