"""Keep conversations, so that a client sends only what is new, to a model whose provider keeps nothing.

`previous_response_id`, `store` and `conversation` of the Responses API work on any target; clients of the other chat
APIs name a conversation in the header `x-shin-conversation`. What was said before is written into the call further
out than any guard, so that guards see all of it. Kept is what the client sent and what it got.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable
from typing import Annotated, Literal
from urllib.parse import quote

import msgspec
from multidict import CIMultiDict
from pydantic import Field

from shin_gateway.addon import Addon, Forward, Settings, Stage
from shin_gateway.call import Call
from shin_gateway.conversations import api, body, keeping, named, responses, talk
from shin_gateway.conversations.kinds import KINDS, RESPONSES, Kind
from shin_gateway.conversations.sealing import sealers
from shin_gateway.conversations.speech import Said
from shin_gateway.conversations.talk import HEADER, Custody, Talk
from shin_gateway.conversations.vault import Elsewhere, Limits, Overfull, Vault
from shin_gateway.errors import Refusal, Unavailable
from shin_gateway.policy.paths import plain
from shin_gateway.reply import Reply
from shin_gateway.sealing import Master, master_key
from shin_gateway.stores.errors import StoreError
from shin_gateway.units import Duration, Size

log = logging.getLogger(__name__)

KEEPERS = frozenset({"openai", "azure_openai"})
"""Providers that keep state themselves."""
LOST = "x-shin-conversation-lost"
"""Says, on a reply, that this turn is not part of the conversation, and why."""
_TENANTS = 1024
"""Tenants whose keys are held ready."""
_FINGERPRINT, _REMEMBERED = "shin:conversations:key", 7 * 86400
_TAKEN_UP = frozenset({"chat", "respond", "count"})

Taken = tuple[Talk, bytes]


class ConversationSettings(Settings):
    ttl: Duration = 30 * 86400.0
    """How long a conversation is kept after it was last used."""
    limit: Size = 8_000_000
    """The longest history that is sent with a call. A call with a longer one is refused."""
    items: Annotated[int, Field(ge=1, le=20_000)] = 10_000
    """Items in one conversation at most."""
    own: Literal["when_needed", "always"] = "when_needed"
    """`when_needed`: OpenAI and Azure keep what is said to them in their own API. `always`: they are told to keep
    nothing."""
    on_store_error: Literal["refuse", "allow"] = "refuse"
    """A call whose history cannot be read is refused, or goes on with what is new alone. A reply that cannot be kept
    reaches the client either way."""


class Conversation(Addon[ConversationSettings]):
    stage = Stage.SHAPE
    order = -10  # what shapes the call sees all of it
    changes_calls = True

    _master: Master

    async def start(self) -> None:
        self._master = await asyncio.to_thread(master_key, self.services.home)
        self._vaults: dict[str, list[Vault]] = {}
        await self._compare_keys()

    async def _compare_keys(self) -> None:
        """Replicas that share a store and no key would not find each other's conversations."""
        mine, *before = [master.fingerprint.encode() for master in self._master.all]
        run = self.services.state.run
        try:
            found = await run("SET", _FINGERPRINT, mine, "NX", "GET", "EX", _REMEMBERED)
            if found in before:
                await run("SET", _FINGERPRINT, mine, "EX", _REMEMBERED)
        except StoreError:
            return
        if found not in (None, mine, *before):
            log.warning("conversations in the state store are sealed with another key: set one SHIN_MASTER_KEY for all")

    async def handle(self, call: Call, forward: Forward) -> Reply:
        if call.kind == "stored":
            return await self._answer(call, forward)
        kind = KINDS.get(call.dialect.name)
        header = call.headers.get(HEADER, "")
        if kind is None or call.kind not in _TAKEN_UP or not (header or kind is RESPONSES):
            return await forward(call)
        taken = await self._taken_up(call, kind, talk.named(header))
        if taken is None:
            return await forward(call)
        one, call.body = taken
        if one.left_to:
            return await self._mark(call, "r", one.left_to, await forward(call))
        call.note(conversation="unread" if one.unread else one.conversation or "chain")
        return await self._watched(call, one, await forward(call))

    # Whose conversations

    def _all_vaults(self, call: Call) -> list[Vault]:
        """The one for what is new, and one for each older master key."""
        tenant = call.caller.tenant
        vaults = self._vaults.get(tenant)
        if vaults is None:
            if len(self._vaults) >= _TENANTS:
                self._vaults.clear()
            limits = Limits(self.settings.ttl, self.settings.limit, self.settings.items)
            made = [Vault(self.services.state, sealer, limits) for sealer in sealers(self._master, tenant)]
            vaults = self._vaults[tenant] = made
        return vaults

    async def _vault(self, call: Call, kind: str = "", name: str = "") -> Vault:
        """Where a conversation (`c`) or a reply (`r`) of this name is, or where it is to be. Raises StoreError."""
        vaults = self._all_vaults(call)
        if len(vaults) == 1 or not name:
            return vaults[0]
        held = await asyncio.gather(*(vault.holds(kind, name) for vault in vaults))
        return next((vault for vault, holds in zip(vaults, held, strict=True) if holds), vaults[0])

    def _custody(self, call: Call) -> Custody:
        try:
            target = call.target or self.services.target_of(call)
        except Refusal:  # it will be refused again where it is due
            return Custody()
        if target is None:
            return Custody()
        looks_up = target.provider in KEEPERS and target.dialect in ("", RESPONSES.dialect)
        keeps = looks_up and self.settings.own == "when_needed"
        return Custody(target.provider, keeps, looks_up, target.own_key)

    # What was said before

    async def _taken_up(self, call: Call, kind: Kind, header: str) -> Taken | None:
        most = self.settings.limit
        if kind is not RESPONSES:
            keep = call.kind == "chat"
            try:
                vault = await self._read(self._vault(call, "c", header))
                taken = await self._read(named.take_up(call.body, kind, header, vault, keep=keep, most=most))
            except _Unread:
                return named.unread(call.body, kind, most)
            taken[0].vault = vault
            return taken
        return await self._taken_up_reply(call, header)

    async def _taken_up_reply(self, call: Call, header: str) -> Taken | None:
        custody = self._custody(call)
        asked = responses.Asked(call.body, call.model, header, custody, _makes_reply(call), self.settings.limit)
        where = responses.refers_to(asked) if len(self._all_vaults(call)) > 1 else ("", "")
        try:
            vault = await self._read(self._vault(call, *where), custody.keeps)
            taken = await self._read(responses.take_up(asked, vault), custody.keeps)
        except _Unread:
            return responses.unread(asked)
        if taken is not None:
            taken[0].vault = vault
        return taken

    async def _read[T](self, work: Awaitable[T], strict: bool = False) -> T:
        """`strict`: whose the history is has to be known. Raises _Unread."""
        try:
            return await work
        except Overfull as error:
            raise talk.overfull(error) from None
        except StoreError as error:
            if strict or self.settings.on_store_error == "refuse":
                raise _down() from error
            raise _Unread from None

    # What was answered

    async def _watched(self, call: Call, one: Talk, reply: Reply) -> Reply:
        if reply.status >= 400 or reply.failure is not None:
            return reply
        if one.unread:
            reply.headers[LOST] = "unread"
        if reply.streamed:
            self._watch(call, one, reply)
            return reply
        said = one.kind.whole(keeping.whole_body(reply))
        if one.shown and said is not None and said.reply is not None:
            said.reply.update(one.shown)
            reply.body = body.write(said.reply)
        task = asyncio.ensure_future(self._keep(call, one, said))
        call.on_end(lambda *_: _until(task))
        await asyncio.wait([task], timeout=keeping.HELD)
        if lost := call.facts.get("conversation_lost"):
            reply.headers[LOST] = lost
        return reply

    def _watch(self, call: Call, one: Talk, reply: Reply) -> None:
        if one.shown:
            reply.filter(keeping.Echo(one.shown))
        if self.mode == "shadow":
            return
        watch = keeping.Watch(reply, one.kind, self.settings.limit, lambda said: self._keep(call, one, said))
        reply.tee(watch)
        reply.hold(watch.due)
        call.on_end(lambda *_: watch.ended())

    async def _keep(self, call: Call, one: Talk, said: Said | None) -> None:
        if self.mode == "shadow" or not one.keep or one.vault is None:
            return
        lost = "no_answer"
        if said is not None:
            lost = await keeping.keep(one.vault, one, said, int(call.arrived), self.settings.limit)
        if lost:
            call.note(conversation_lost=lost)

    async def _mark(self, call: Call, kind: str, provider: str, reply: Reply) -> Reply:
        """Remember whose reply or conversation it is that a provider keeps under a key of ours."""
        if reply.status >= 400 or self.mode == "shadow":
            return reply
        vault = self._all_vaults(call)[0]
        if reply.streamed:
            reply.tee(keeping.IdWatch(lambda name: _later(call, vault.mark(kind, name, provider))))
            return reply
        fields = body.maybe(keeping.whole_body(reply), body.Fields) or {}
        if name := body.maybe_text(fields, "id"):
            await asyncio.wait([_later(call, vault.mark(kind, name, provider))], timeout=keeping.HELD)
        return reply

    # What is asked about what is kept

    async def _answer(self, call: Call, forward: Forward) -> Reply:
        path, _, query = call.path.partition("?")
        place, arrival = api.place_of(plain(path)), call.arrival
        own_key, provider = arrival.origin is not None and call.own_key, arrival.row.name if arrival.row else ""
        keeps = provider in KEEPERS and self.settings.own == "when_needed"
        if self.mode == "shadow" or place is None or (keeps and own_key):
            return await forward(call)
        if keeps and not place.name:  # begun where it will be kept
            return await self._mark(call, "c", provider, await forward(call))
        try:
            vault = await self._vault(call, place.kind[0], place.name)
            found = await api.answer(vault, call.method, place, query, call.body, self.settings.limit)
        except StoreError as error:
            raise _down() from error
        if isinstance(found, Elsewhere):
            call.target, call.path = self.services.keeper(call, found.provider), _below(place, query)
            found = None if call.target is None else found
        if isinstance(found, Elsewhere):
            return await forward(call)
        if found is None and own_key:
            return await forward(call)
        if found is None:
            raise place.missing
        call.note(conversation="answered")
        headers = CIMultiDict({"content-type": "application/json"})
        return Reply(200, headers, call.dialect, body=msgspec.json.encode(found))


class _Unread(Exception):
    """The store did not say what came before, and the policy goes on without it."""


def _makes_reply(call: Call) -> bool:
    return call.kind == "respond" and not call.path.partition("?")[0].rstrip("/").endswith("/compact")


def _below(place: api.Place, query: str) -> str:
    steps = [quote(step, safe="") for step in (place.kind, place.name, place.part, place.item) if step]
    return "/v1/" + "/".join(steps) + (f"?{query}" if query else "")


def _later(call: Call, work: Awaitable[None]) -> asyncio.Future[None]:
    """What the call's end waits for."""
    task = asyncio.ensure_future(_noted(call, work))
    call.on_end(lambda *_: _until(task))
    return task


async def _noted(call: Call, work: Awaitable[None]) -> None:
    try:
        await work
    except StoreError:
        call.note(conversation_lost="store_unavailable")


async def _until(task: asyncio.Future[None]) -> None:
    await asyncio.wait([task])


def _down() -> Refusal:
    return Unavailable("The conversation cannot be read now.", code="store_unavailable", retry_after=1.0)
