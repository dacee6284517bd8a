"""One tenant's conversations and replies in the state store: see `scripts` for what is kept where."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from shin_gateway.conversations import body, scripts
from shin_gateway.conversations.box import Box
from shin_gateway.conversations.entries import Entry, Turn, size
from shin_gateway.sealing import Sealer
from shin_gateway.stores.state import Script, StateStore

BATCH = list[Entry]
_TRIES = 3


class About(msgspec.Struct):
    """What is said about a conversation."""

    created: int
    """Unix seconds."""
    metadata: msgspec.Raw = msgspec.Raw(b"{}")


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """It is kept by the provider of this name."""

    provider: str


@dataclass(frozen=True, slots=True)
class Context:
    """A history as a call finds it, and what the next turn is put behind."""

    batches: list[list[Entry]]
    bytes: int = 0
    items: int = 0
    turn: str = ""
    """The last turn of a chain of replies."""
    era: str = ""
    """Which conversation of its name: one that was deleted and begun again is another."""
    dialect: str = ""
    own: Turn | None = None
    """The last turn of a chain, which is in `batches` too."""

    @property
    def entries(self) -> list[Entry]:
        return [entry for batch in self.batches for entry in batch]


NOTHING = Context([])


@dataclass(frozen=True, slots=True)
class Limits:
    ttl: float
    """Seconds after the last use."""
    bytes: int
    items: int


class Overfull(Exception):
    """There is more than there may be: `long` in bytes, `full` in items."""

    def __init__(self, what: str) -> None:
        super().__init__(what)
        self.what = what


class Gone(Exception):
    """There is no such conversation, or no longer."""


class OtherDialect(Exception):
    """The conversation was begun in another dialect."""


class Vault:
    """Every method raises StoreError when the store does not answer."""

    def __init__(self, state: StateStore, sealer: Sealer, limits: Limits) -> None:
        self._state = state
        self._digest = sealer.digest
        self._box = Box(sealer)
        self._prefix = f"shin:{{conv:{sealer.tag}}}:"
        self._ttl = max(1, int(limits.ttl))
        self._limits = limits
        self._scripts: dict[str, Script] = {}

    def _run(self, lua: str, keys: list[str], *args: str | bytes | int) -> Any:
        script = self._scripts.get(lua)
        if script is None:
            script = self._scripts[lua] = self._state.script(lua)
        return script(keys, args)

    def _keys(self, name: str) -> tuple[str, str, str]:
        """Of a conversation: its digest, its own key and that of its batches."""
        digest = self._digest(f"c:{name}")
        return digest, f"{self._prefix}c:{digest}", f"{self._prefix}i:{digest}"

    def _reply(self, reply_id: str) -> tuple[str, str]:
        digest = self._digest(f"r:{reply_id}")
        return digest, f"{self._prefix}r:{digest}"

    async def holds(self, kind: str, name: str) -> bool:
        """Whether there is a conversation (`c`) or a reply (`r`) of this name."""
        return bool(await self._state.run("EXISTS", f"{self._prefix}{kind}:{self._digest(f'{kind}:{name}')}"))

    # Replies, and the chains that led to them

    async def chain(self, reply_id: str) -> Context | Elsewhere | None:
        """All that was said up to and with a reply; None where some of it is gone. Raises Overfull."""
        digest, key = self._reply(reply_id)
        limits = self._limits
        found = await self._run(scripts.READ_CHAIN, [key], self._prefix, self._ttl, limits.bytes, limits.items)
        if found[0] != b"chain":
            return await self._not_found(found, f"o:r:{digest}")
        _, turn, total, count, pairs, batches = found
        names, sealed = [f"t:{one.decode()}" for one in pairs[0::2]], pairs[1::2]
        turns = await self._box.opened(list(zip(names, sealed, strict=True)), Turn)
        place = f"i:{batches[-1].decode()}" if batches else ""
        before = await self._box.opened([(place, one) for one in batches[:-1]], BATCH)
        if None in turns or None in before:
            return None
        said = [one for one in reversed(turns) if one]
        batched = [*(one or [] for one in before), *(one.entries for one in said)]
        return Context(batched, int(total), int(count), turn.decode(), own=said[-1])

    async def keep_reply(self, reply: body.Fields, turn: Turn, after: Context, conversation: str = "") -> None:
        """Keep a reply of the Responses API, and its turn behind what came before it."""
        own = secrets.token_hex(12)
        (digest, key), turn_key = self._reply(body.maybe_text(reply, "id")), f"{self._prefix}t:{own}"
        rest = body.write(reply | {"output": msgspec.Raw(b"[]")})
        text, sealed = await self._box.sealed([(f"r:{digest}", rest), (f"t:{own}", msgspec.json.encode(turn))])
        rooted = conversation and after.era
        root = (self._keys(conversation)[0], after.era, len(after.batches)) if rooted else ("", "", 0)
        sums = after.bytes + size(turn.entries), after.items + max(1, len(turn.entries))
        args = (self._ttl, own, text, sealed, after.turn, *root, *sums)
        await self._run(scripts.KEEP_REPLY, [key, turn_key], *args)

    async def reply(self, reply_id: str) -> body.Fields | Elsewhere | None:
        digest, key = self._reply(reply_id)
        name, sealed, owner = await self._state.run("HMGET", key, "t", "s", "o")
        if name is None:
            return await self._owner(owner, f"o:r:{digest}")
        turn_sealed = await self._state.run("HGET", f"{self._prefix}t:{name.decode()}", "s")
        turn = await self._box.open(f"t:{name.decode()}", turn_sealed, Turn)
        fields = await self._box.open(f"r:{digest}", sealed, body.Fields)
        if turn is None or fields is None:
            return None
        return fields | {"output": body.listed(entry.item for entry in turn.output)}

    async def delete_reply(self, reply_id: str) -> None:
        """With its own turn: what came after it cannot be continued either."""
        _, key = self._reply(reply_id)
        turn = await self._state.run("HGET", key, "t")
        await self._state.run("DEL", key, *([f"{self._prefix}t:{turn.decode()}"] if turn else []))

    # Conversations

    async def conversation(self, name: str) -> Context | Elsewhere | None:
        """Everything in it. Raises Overfull."""
        digest, key, batches_key = self._keys(name)
        limits = self._limits
        found = await self._run(scripts.READ_CONVERSATION, [key, batches_key], self._ttl, limits.bytes, limits.items)
        if found[0] != b"conversation":
            return await self._not_found(found, f"o:c:{digest}")
        _, era, dialect, _, total, count, sealed = found
        batches = await self._box.opened([(f"i:{digest}", one) for one in sealed], BATCH)
        if None in batches:
            return None
        return Context(
            [one or [] for one in batches], int(total), int(count), era=era.decode(), dialect=dialect.decode()
        )

    async def about(self, name: str) -> tuple[About, Context] | Elsewhere | None:
        """What is said about a conversation, and of its context all but the items."""
        digest, key, _ = self._keys(name)
        era, dialect, sealed, total, count, owner = await self._state.run("HMGET", key, "e", "d", "a", "b", "n", "o")
        if era is None:
            return await self._owner(owner, f"o:c:{digest}")
        about = await self._box.open(f"a:{digest}", sealed, About)
        if about is None:
            return None
        return about, Context([], int(total), int(count), era=era.decode(), dialect=dialect.decode())

    async def append(
        self, name: str, entries: Sequence[Entry], dialect: str, *, seen: str = "", about: About | None = None,
        nonce: str = "", bounded: bool = True,
    ) -> None:  # fmt: skip
        """Put entries behind all others. Asked twice with one nonce, it is done once.

        `seen`: the era that the entries belong to. `about`: make the conversation where there is none. `bounded`: not
        beyond the limits. Raises Gone, Overfull, OtherDialect.
        """
        digest, key, batches = self._keys(name)
        places = [(f"i:{digest}", msgspec.json.encode(list(entries)))] if entries else []
        places += [(f"a:{digest}", msgspec.json.encode(about))] if about else []
        sealed = await self._box.sealed(places)
        most = (self._limits.bytes, self._limits.items) if bounded else (1 << 53, 1 << 53)
        said = await self._run(
            scripts.APPEND, [key, batches], self._ttl, seen, secrets.token_hex(8), dialect,
            sealed[-1] if about else b"", size(entries), len(entries), sealed[0] if entries else b"", *most,
            nonce or secrets.token_hex(8),
        )  # fmt: skip
        _raise(said)

    async def update(self, name: str, about: About, era: str) -> bool:
        """Whether it was there."""
        digest, key, batches = self._keys(name)
        (sealed,) = await self._box.sealed([(f"a:{digest}", msgspec.json.encode(about))])
        return bool(await self._run(scripts.CHANGE, [key, batches], self._ttl, era, "a", sealed) == b"ok")

    async def close(self, name: str, era: str) -> None:
        """Have nothing more said in it: a turn of it is missing."""
        _, key, batches = self._keys(name)
        await self._run(scripts.CHANGE, [key, batches], self._ttl, era, "x", "1")

    async def delete(self, name: str) -> bool:
        _, key, batches = self._keys(name)
        return bool(await self._state.run("DEL", key, batches))

    async def all_items(self, name: str) -> list[Entry]:
        """Also of a conversation that is too long to go on."""
        digest, _, key = self._keys(name)
        found = await self._state.run("LRANGE", key, 0, -1)
        batches = await self._box.opened([(f"i:{digest}", one) for one in found], BATCH)
        return [entry for batch in batches for entry in batch or ()]

    async def delete_item(self, name: str, item_id: str) -> bool:
        digest, key, batches = self._keys(name)
        for _ in range(_TRIES):
            sealed = await self._state.run("LRANGE", batches, 0, -1)
            opened = await self._box.opened([(f"i:{digest}", one) for one in sealed], BATCH)
            at = next((at for at, one in enumerate(opened) if one and _find(one, item_id) is not None), None)
            if at is None:
                return False
            left = list(opened[at] or ())
            gone = left.pop(_find(left, item_id) or 0)
            (text,) = await self._box.sealed([(f"i:{digest}", msgspec.json.encode(left))])
            done = await self._run(scripts.REPLACE_BATCH, [key, batches], at, sealed[at], text, size([gone]))
            if done == b"ok":
                return True
        raise Gone

    # What a provider keeps

    async def mark(self, kind: str, name: str, provider: str) -> None:
        """Remember that this tenant's reply (`r`) or conversation (`c`) is at a provider."""
        digest = self._digest(f"{kind}:{name}")
        key = f"{self._prefix}{kind}:{digest}"
        (sealed,) = await self._box.sealed([(f"o:{kind}:{digest}", provider.encode())])
        self._state.run("HSET", key, "o", sealed).add_done_callback(_look_away)
        await self._state.run("EXPIRE", key, self._ttl)

    async def _not_found(self, found: list[bytes], place: str) -> Elsewhere | None:
        if found[0] in (b"long", b"full"):
            raise Overfull(found[0].decode())
        return await self._owner(found[1] if found[0] == b"elsewhere" else None, place)

    async def _owner(self, sealed: bytes | None, place: str) -> Elsewhere | None:
        name = self._box.open_raw(place, sealed) if sealed else None
        return Elsewhere(name.decode()) if name else None


def _find(entries: Sequence[Entry], item_id: str) -> int | None:
    return next((at for at, entry in enumerate(entries) if entry.id == item_id), None)


_REFUSED: dict[bytes, Callable[[], Exception]] = {
    b"gone": Gone,
    b"dialect": OtherDialect,
    b"long": lambda: Overfull("long"),
    b"full": lambda: Overfull("full"),
}


def _raise(said: bytes) -> None:
    if said != b"ok":
        raise _REFUSED[said]()


def _look_away(done: Any) -> None:
    """The command after it says whether the store answers."""
    if not done.cancelled():
        done.exception()
