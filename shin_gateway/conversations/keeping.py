"""Keeps what was said once the client has it, or is about to have its end."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

import msgspec

from shin_gateway.conversations import body, items
from shin_gateway.conversations.entries import Turn, size
from shin_gateway.conversations.kinds import Kind
from shin_gateway.conversations.speech import Said
from shin_gateway.conversations.talk import Talk
from shin_gateway.conversations.vault import About, Gone, OtherDialect, Overfull, Vault
from shin_gateway.dialects import Dialect
from shin_gateway.dialects.parts import Part
from shin_gateway.errors import Refusal
from shin_gateway.reply import Reply
from shin_gateway.stores.errors import StoreError

log = logging.getLogger(__name__)

HELD = 1.5
"""Seconds that a reply's end may wait until it is kept, so that the client's next call finds it."""
PAUSES = (0.05, 0.3, 1.0, 2.0)
"""Seconds between two tries to keep it, when the store does not answer."""

Note = Callable[[str], None]
"""Hears why something was not kept."""


async def keep(vault: Vault, one: Talk, said: Said, created: int, most: int) -> str:
    """Keep a turn, with several tries. Returns "", or a word for why it is not kept."""
    output = items.entries(said.items)
    if size(one.new) + size(output) > most:
        return await _again(lambda: _close(vault, one))
    return await _again(lambda: _keep(vault, one, said, Turn(one.new, output), created))


async def _again(work: Callable[[], Awaitable[str]]) -> str:
    for pause in (*PAUSES, None):
        try:
            return await work()
        except StoreError as error:
            if pause is None:
                log.error("a turn of a conversation is lost: %s", error)
                return "store_unavailable"
        await asyncio.sleep(pause)
    return ""


async def _close(vault: Vault, one: Talk) -> str:
    """What is too long to be kept must not be missing from a conversation that goes on."""
    if one.conversation and one.before.era:
        await vault.close(one.conversation, one.before.era)
    return "turn_too_long"


async def _keep(vault: Vault, one: Talk, said: Said, turn: Turn, created: int) -> str:
    try:
        if one.conversation:
            about = About(created) if one.begins and not one.before.era else None
            await vault.append(
                one.conversation, turn.entries, one.kind.dialect,
                seen=one.before.era, about=about, nonce=one.nonce, bounded=False,
            )  # fmt: skip
        if one.store and said.reply is not None:
            await vault.keep_reply(said.reply, turn, one.before, one.conversation)
    except Gone:
        return "conversation_deleted"
    except OtherDialect:
        return "conversation_dialect"
    except Overfull as error:
        return error.what
    return ""


class Watch:
    """Gathers a streamed reply. It is kept when it is whole, and its last part waits for that."""

    def __init__(self, reply: Reply, kind: Kind, most: int, keep: Callable[[Said | None], Awaitable[None]]) -> None:
        self._reply = reply
        self._dialect: Dialect = reply.dialect
        self._gatherer = kind.gatherer()
        self._room = 2 * most + 1_000_000
        self._keep = keep
        self._legible = True
        self._ended = False
        self._task: asyncio.Task[None] | None = None

    def feed(self, part: Part) -> None:
        data = part.data
        if data is None or self._ended:
            return
        self._room -= len(data)
        self._legible = self._legible and self._room > 0 and self._gatherer.feed(data)
        self._ended = self._dialect.ends(part)

    def finish(self, complete: bool) -> None:
        pass

    def due(self, complete: bool) -> Awaitable[object] | None:
        """What is next for the client waits for this."""
        if self._task is not None or not (self._ended or complete) or self._reply.error is not None:
            return None
        said = self._gatherer.said() if self._legible else None
        self._task = asyncio.ensure_future(self._keep(said))
        return asyncio.wait([self._task], timeout=HELD)

    async def ended(self) -> None:
        if self._task is not None:
            await asyncio.wait([self._task])


class Echo:
    """Has the events of a stream repeat the call as the client wrote it."""

    def __init__(self, shown: body.Fields) -> None:
        self._shown = shown

    def feed(self, part: Part) -> tuple[Part, ...]:
        data = part.data
        if data is None or b'"response"' not in data:
            return (part,)
        event = body.maybe(data, body.Fields)
        reply = body.maybe(bytes(event.get("response", b"")), body.Fields) if event else None
        if event is None or reply is None:
            return (part,)
        event["response"] = msgspec.Raw(body.write(reply | self._shown))
        return (part.replace_data(body.write(event)),)

    def finish(self) -> tuple[Part, ...]:
        return ()


class IdWatch:
    """Hears the id of a reply, or of a conversation, that a provider keeps."""

    def __init__(self, found: Callable[[str], object]) -> None:
        self._found: Callable[[str], object] | None = found

    def feed(self, part: Part) -> None:
        if self._found is None or part.data is None or b'"response"' not in part.data:
            return
        event = body.maybe(part.data, body.Fields) or {}
        name = body.maybe_text(body.maybe(bytes(event.get("response", b"")), body.Fields) or {}, "id")
        if name:
            self._found(name)
            self._found = None

    def finish(self, complete: bool) -> None:
        pass


def whole_body(reply: Reply) -> bytes | None:
    """None for one whose compression is broken, which is the client's to see."""
    try:
        return reply.body
    except Refusal:
        return None
