"""Fetch an image, document or sound that a call names by URL, for a target that takes no URLs.

A URL is a client's word, and what it points at is reached from where we stand. So the address is checked when the
socket for it is made, whatever name, spelling or redirect led there: only public addresses, unless `allow` names the
host. Any port; http and https; no cookies and no credentials, neither ours nor the URL's own.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
from aiohttp.abc import AbstractResolver
from yarl import URL

from shin_gateway.addresses import AddressGuard, literal
from shin_gateway.errors import Invalid
from shin_gateway.fetching.client import GuardedResolver, Resolver, connector_for, session_on
from shin_gateway.fetching.content import accept, read
from shin_gateway.fetching.limits import FetchLimits, Room
from shin_gateway.fetching.memory import Fetched, Memory
from shin_gateway.fetching.refusals import as_refusal, not_permitted, refused
from shin_gateway.fetching.urls import parse, url_of
from shin_gateway.policy.match import HostTable, parse_pattern
from shin_gateway.translation.form import Media
from shin_gateway.translation.media import inline, places_of
from shin_gateway.upstream import UpstreamOptions
from shin_gateway.upstream.tls import make_context

REDIRECTS = 3
_AT_ONCE = 1_000_000
"""Bytes that are turned into base64 on the event loop, in a millisecond."""


class Fetcher:
    """Fetches what clients' calls name. One for a process; `start` and `close` frame its life."""

    def __init__(
        self, limits: FetchLimits, options: UpstreamOptions, *, resolver: Callable[[], AbstractResolver] | None = None
    ) -> None:
        """`options` are those of the upstreams: their proxy and trusted certificates hold here too. Raises ValueError
        for a pattern in `allow` or an address in `own` that is none."""
        self._limits = limits
        self._options = options
        self._make_resolver = resolver or Resolver
        self._places = asyncio.Semaphore(limits.at_once)
        self._guard = AddressGuard(limits.own)
        self._memory = Memory(limits.remember, limits.remember_for)
        self._allowed: HostTable[bool] = HostTable()
        for pattern in limits.allow:
            self._allowed.put(parse_pattern(pattern), True)
        self._resolver: AbstractResolver | None = None
        self._checked: aiohttp.ClientSession | None = None
        self._free: aiohttp.ClientSession | None = None

    async def start(self) -> None:
        context = make_context(self._options, None)
        resolver = self._resolver = self._make_resolver()
        guarded = GuardedResolver(resolver, self._guard)
        self._checked = session_on(connector_for(context, guarded, self._guard.socket_for))
        self._free = session_on(connector_for(context, resolver, None))

    async def close(self) -> None:
        for session in (self._checked, self._free):
            if session is not None:
                await session.close()
        if self._resolver is not None:
            await self._resolver.close()

    async def inline(self, media: Sequence[Media], body: object, tenant: str) -> None:
        """Fetch the URLs of `media`, each once, and put what came in their place. `body` is the client's call, in
        which errors name the field; `tenant` whoever may share what was fetched before. Raises as `fetch` does."""
        if len(media) > self._limits.of_one_call:
            raise Invalid(f"The call names more than {self._limits.of_one_call} URLs.", code="too_many_urls")
        wanted = list({(one.url, one.kind): None for one in media})
        most = max(self._limits.bytes_of_one_call, self._limits.max_bytes)
        room = Room(most)
        places = places_of(body, [url for url, _ in wanted])
        found = await _all([self.fetch(url, kind, places.get(url) or kind, tenant, room) for url, kind in wanted])
        by_url = dict(zip(wanted, found, strict=True))
        Room(most).take(sum(len(by_url[one.url, one.kind].data) for one in media))  # named twice, it goes out twice
        for one in media:
            mime, data, _ = by_url[one.url, one.kind]
            if len(data) > _AT_ONCE:
                await asyncio.to_thread(inline, one, mime, data)
            else:
                inline(one, mime, data)

    async def fetch(self, url: str, kind: str, place: str, tenant: str = "", room: Room | None = None) -> Fetched:
        """What stands at `url`, which has to be of `kind` (image, document, audio, video). `room`: what is left for it.

        Raises Invalid or TooLarge that name `place`, the field of the client's call.
        """
        await asyncio.sleep(0)  # see _all
        room = room or Room(self._limits.max_bytes)
        key = hashlib.sha256(f"{tenant}\0{kind}\0{url}".encode("utf-8", "surrogatepass")).digest()
        known = self._memory.get(key)
        if known is not None:
            room.take(len(known.data))
            return known
        found = await self._fetch(url, kind, place, room)
        if found.may_keep:
            self._memory.put(key, found)
        return found

    async def _fetch(self, url: str, kind: str, place: str, room: Room) -> Fetched:
        try:
            async with asyncio.timeout(self._limits.timeout), self._places:
                return await self._follow(parse(url, place), kind, place, room)
        except TimeoutError:
            raise refused(place, "could not be fetched in time", "fetch_timeout") from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise as_refusal(error, place) from None  # what it says holds the URL, which may be a secret

    async def _follow(self, url: URL, kind: str, place: str, room: Room) -> Fetched:
        for _ in range(REDIRECTS + 1):
            async with self._open(url, kind, place) as answer:
                if answer.status not in (301, 302, 303, 307, 308):
                    return await read(answer, kind, place, self._limits.max_bytes, room)
                url = parse(str(url.join(url_of(answer.headers.get("location", "")))), place)
        raise refused(place, f"redirects more than {REDIRECTS} times", "fetch_failed")

    @asynccontextmanager
    async def _open(self, url: URL, kind: str, place: str) -> AsyncIterator[aiohttp.ClientResponse]:
        host = url.raw_host or ""
        allowed = self._allowed.find(host, url.port) is not None
        session = self._free if allowed else self._checked
        assert session is not None, "not started"
        if not allowed:
            self._check_unresolved(host, place)
        async with session.get(
            url,
            headers={"accept": accept(kind)},
            allow_redirects=False,
            proxy=self._options.proxy,
            proxy_auth=self._options.login,
        ) as answer:
            yield answer

    def _check_unresolved(self, host: str, place: str) -> None:
        """A proxy would resolve the name itself, out of our sight; and an address needs no resolving."""
        if self._options.proxy:
            raise refused(place, "the host is not allowed: a proxy stands between, so its address cannot be checked")
        address = literal(host)
        if address is not None and not self._guard.permits(address):
            raise not_permitted(place)


async def _all(fetches: Sequence[Coroutine[Any, Any, Fetched]]) -> list[Fetched]:
    """All of them, or the first error; then the others are cancelled. None may fail before it has waited for anything:
    tasks are eager, and Python 3.12 then cancels who waits for the group, later on."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one) for one in fetches]
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from None
    return [task.result() for task in tasks]
