"""A call that is part of a conversation: what was said before it, and where what it says belongs."""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass, field

from shin_gateway.conversations import body
from shin_gateway.conversations.entries import Entry, size
from shin_gateway.conversations.kinds import Kind
from shin_gateway.conversations.vault import NOTHING, Context, Overfull, Vault
from shin_gateway.errors import Invalid, NotFound, TooLarge

HEADER = "x-shin-conversation"
NAME = re.compile(r"[A-Za-z0-9_.:-]{1,128}")
"""What a client may call a conversation."""


@dataclass(frozen=True, slots=True)
class Custody:
    """Who keeps what is said in a call."""

    provider: str = ""
    """Who will be asked, as far as that is known before the route stage; "" otherwise."""
    keeps: bool = False
    """Whether it keeps what is said itself, and is left to it."""
    looks_up: bool = False
    """Whether it looks up ids in what it keeps itself, left to it or not."""
    own_key: bool = False
    """Whether it is asked with the client's own key, so that it knows whose ids they are."""


@dataclass
class Talk:
    """One call's place in a conversation."""

    kind: Kind
    new: list[Entry] = field(default_factory=list)
    before: Context = NOTHING
    conversation: str = ""
    begins: bool = False
    """Whether the conversation may be begun by this call."""
    store: bool = False
    """Whether the reply can be asked for, and gone on from, later."""
    keep: bool = True
    """Whether there will be anything to keep."""
    left_to: str = ""
    """The provider that keeps it."""
    shown: body.Fields = field(default_factory=dict)
    """What the reply repeats of the call as the client wrote it."""
    unread: bool = False
    """Whether the store did not say what came before."""
    vault: Vault | None = None
    """Where it is kept."""
    nonce: str = field(default_factory=lambda: secrets.token_hex(8))


def named(header: str) -> str:
    """The conversation that the header names. Raises Invalid."""
    if header and not NAME.fullmatch(header):
        raise Invalid(f"{HEADER}: should be up to 128 letters, digits and any of _ . : -", param=HEADER)
    return header


def check_room(new: list[Entry], most: int) -> None:
    """Raises TooLarge for what could not be kept, before anything is spent on it."""
    if size(new) > most:
        raise overfull(Overfull("long"))


def overfull(error: Overfull) -> TooLarge:
    """A verdict, so 400."""
    if error.what == "full":
        words = "The conversation has as many items as it may have; begin another."
        return TooLarge(words, status=400, code="conversation_full")
    words = "The conversation is as long as it may be; begin another."
    return TooLarge(words, status=400, code="conversation_too_long")


def no_conversation(name: str) -> NotFound:
    words = f"Conversation with id '{name[:80]}' not found."
    return NotFound(words, code="conversation_not_found", param="conversation")


def no_reply(name: str) -> NotFound:
    return NotFound(f"Response with id '{name[:80]}' not found.", code="response_not_found")


def no_previous(name: str) -> Invalid:
    """What OpenAI says, by which its clients know that they have to send everything again."""
    words = f"Previous response with id '{name[:80]}' not found."
    return Invalid(words, code="previous_response_not_found", param="previous_response_id")


def no_item(name: str) -> NotFound:
    return NotFound(f"Item with id '{name[:80]}' not found.", code="item_not_found")


def other_dialect(name: str, dialect: str = "") -> Invalid:
    begun = f" was begun in the dialect {dialect}" if dialect else " belongs to another dialect"
    return Invalid(f"The conversation '{name[:80]}'{begun}.", code="conversation_dialect", param=HEADER)
