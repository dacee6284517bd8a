"""Fetch an image, document or sound that a call names by URL, for a target that takes no URLs.

A URL is a client's word, and what it points at is reached from where we stand. So the address is checked when the
socket for it is made, whatever name, spelling or redirect led there: only public addresses, unless `allow` names the
host. Any port; http and https; no cookies and no credentials, neither ours nor the URL's own.
"""

from __future__ import annotations

import asyncio
import functools
import hashlib
import socket
import ssl
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple, cast

import aiohttp
import certifi
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from shin_gateway import encodings
from shin_gateway.addresses import AddressGuard, NotPermitted, literal
from shin_gateway.errors import Invalid, TooLarge
from shin_gateway.policy.match import HostTable, parse_pattern
from shin_gateway.translation.form import Media
from shin_gateway.translation.media import inline, place_of, sniff
from shin_gateway.upstream import UpstreamOptions

REDIRECTS = 3
LOOK_UPS = 16
"""Names that are looked up at the same time."""
_LONGEST = 8192
"""Characters of a URL."""
_AT_ONCE = 1_000_000
"""Bytes that are turned into base64 on the event loop, in a millisecond."""
_MOST_KEPT = 1000
_ACCEPTED: dict[str, tuple[str, ...]] = {
    "image": ("image/",),
    "audio": ("audio/", "application/ogg", "video/mp4", "video/webm", "video/ogg"),
    "video": ("video/", "application/ogg"),
    "document": (
        "application/pdf",
        "application/json",
        "application/xml",
        "application/rtf",
        "application/msword",
        "application/vnd.",
        "application/x-",
        "application/javascript",
        "text/",
    ),
}
"""How the content type of each kind of medium begins."""
_UNSAID = frozenset(["", "application/octet-stream", "binary/octet-stream", "application/x-binary"])
"""Content types by which a server says that it does not know: the bytes decide."""


@dataclass(frozen=True, slots=True)
class FetchLimits:
    """What a fetch may reach and cost."""

    max_bytes: int = 20 * 1024 * 1024
    """Of one medium, decompressed."""
    timeout: float = 20.0
    """Seconds for one medium, redirects and waiting for a place included."""
    at_once: int = 32
    """Fetches that run at the same time in this process; others wait."""
    allow: tuple[str, ...] = ()
    """Host patterns, as in a policy's `hosts`, that may be fetched from whatever their address is."""
    own: tuple[str, ...] = ()
    """Addresses or networks of ours that only others see (the public side of a NAT); our interfaces are known."""
    of_one_call: int = 100
    """URLs that one call may name."""
    bytes_of_one_call: int = 64 * 1024 * 1024
    """Of all media of one call, or `max_bytes` where that is more. Providers take 20 to 50 MB in a call."""
    remember: int = 64 * 1024 * 1024
    """Bytes that are kept of what was fetched: an agent sends its whole history, URLs included, on every turn."""
    remember_for: float = 600.0
    """Seconds that they are kept."""


class Fetched(NamedTuple):
    mime: str
    """What the bytes show, else what the server said; lower case, without parameters."""
    data: bytes
    may_keep: bool = True
    """Whether the server lets it be kept (`cache-control: no-store` does not)."""


class Fetcher:
    """Fetches what clients' calls name. One for a process; `start` and `close` frame its life."""

    def __init__(
        self, limits: FetchLimits, options: UpstreamOptions, *, resolver: Callable[[], AbstractResolver] | None = None
    ) -> None:
        """`options` are those of the upstreams: their proxy and trusted certificates hold here too. Raises ValueError
        for a pattern in `allow` or an address in `own` that is none."""
        self._limits = limits
        self._options = options
        self._make_resolver = resolver or _Resolver
        self._places = asyncio.Semaphore(limits.at_once)
        self._guard = AddressGuard(limits.own)
        self._memory = Memory(limits.remember, limits.remember_for)
        self._allowed: HostTable[bool] = HostTable()
        for pattern in limits.allow:
            self._allowed.put(parse_pattern(pattern), True)
        self._resolver: AbstractResolver | None = None
        self._checked: aiohttp.ClientSession | None = None
        self._free: aiohttp.ClientSession | None = None
        user, colon, password = (options.proxy_auth or "").partition(":")
        self._proxy_auth = aiohttp.BasicAuth(user, password, "utf-8") if colon else None

    async def start(self) -> None:
        context = _context(self._options)
        resolver = self._resolver = self._make_resolver()
        guarded = _GuardedResolver(resolver, self._guard)
        self._checked = _session(_connector(context, guarded, self._guard.socket_for))
        self._free = _session(_connector(context, resolver, None))

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
        room = _Room(most)
        found = await _all([self.fetch(url, kind, place_of(body, url) or kind, tenant, room) for url, kind in wanted])
        by_url = dict(zip(wanted, found, strict=True))
        _Room(most).take(sum(len(by_url[one.url, one.kind].data) for one in media))  # named twice, it goes out twice
        for one in media:
            mime, data, _ = by_url[one.url, one.kind]
            if len(data) > _AT_ONCE:
                await asyncio.to_thread(inline, one, mime, data)
            else:
                inline(one, mime, data)

    async def fetch(self, url: str, kind: str, place: str, tenant: str = "", room: _Room | None = None) -> Fetched:
        """What stands at `url`, which has to be of `kind` (image, document, audio, video). `room`: what is left for it.

        Raises Invalid or TooLarge that name `place`, the field of the client's call.
        """
        room = room or _Room(self._limits.max_bytes)
        key = hashlib.sha256(f"{tenant}\0{kind}\0{url}".encode("utf-8", "surrogatepass")).digest()
        known = self._memory.get(key)
        if known is not None:
            room.take(len(known.data))
            return known
        found = await self._fetch(url, kind, place, room)
        if found.may_keep:
            self._memory.put(key, found)
        return found

    async def _fetch(self, url: str, kind: str, place: str, room: _Room) -> Fetched:
        try:
            async with asyncio.timeout(self._limits.timeout), self._places:
                return await self._follow(_parse(url, place), kind, place, room)
        except TimeoutError:
            raise _refused(place, "could not be fetched in time", "fetch_timeout") from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise _as_refusal(error, place) from None  # what it says holds the URL, which may be a secret

    async def _follow(self, url: URL, kind: str, place: str, room: _Room) -> Fetched:
        for _ in range(REDIRECTS + 1):
            async with self._open(url, kind, place) as answer:
                if answer.status not in (301, 302, 303, 307, 308):
                    return await self._read(answer, kind, place, room)
                url = _parse(str(url.join(_url(answer.headers.get("location", "")))), place)
        raise _refused(place, f"redirects more than {REDIRECTS} times", "fetch_failed")

    @asynccontextmanager
    async def _open(self, url: URL, kind: str, place: str) -> AsyncIterator[aiohttp.ClientResponse]:
        host = url.raw_host or ""
        allowed = self._allowed.find(host, url.port) is not None
        session = self._free if allowed else self._checked
        assert session is not None, "not started"
        if not allowed:
            self._check_unresolved(host, place)
        accept = ", ".join(f"{start}*" if start.endswith("/") else start for start in _ACCEPTED[kind])
        async with session.get(
            url,
            headers={"accept": f"{accept}, */*;q=0.1"},
            allow_redirects=False,
            proxy=self._options.proxy,
            proxy_auth=self._proxy_auth,
        ) as answer:
            yield answer

    def _check_unresolved(self, host: str, place: str) -> None:
        """A proxy would resolve the name itself, out of our sight; and an address needs no resolving."""
        if self._options.proxy:
            raise _refused(place, "the host is not allowed: a proxy stands between, so its address cannot be checked")
        address = literal(host)
        if address is not None and not self._guard.permits(address):
            raise _not_permitted(place)

    async def _read(self, answer: aiohttp.ClientResponse, kind: str, place: str, room: _Room) -> Fetched:
        if answer.status != 200:
            raise _refused(place, f"the server answered {answer.status}", "fetch_failed")
        said = answer.headers.get("content-type", "").partition(";")[0].strip().lower()
        if said not in _UNSAID:
            _require_kind(said, kind, place)
        data = await _gather(answer, self._limits.max_bytes, place, room)
        may_keep = "no-store" not in answer.headers.get("cache-control", "").lower()
        shown = sniff(data)
        if shown and _is_kind(shown, kind):  # servers mislabel, and providers refuse what is mislabelled
            return Fetched(shown, data, may_keep)
        if said in _UNSAID:
            _require_kind(shown, kind, place)
        return Fetched(said, data, may_keep)


class _Room:
    """What is left of the bytes that all media of one call may have."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._left = most

    def take(self, size: int) -> None:
        """Raises TooLarge."""
        self._left -= size
        if self._left < 0:
            raise TooLarge(f"The files that the call names by URL have more than {self._most} bytes together.")


async def _all(fetches: Sequence[Coroutine[Any, Any, Fetched]]) -> list[Fetched]:
    """All of them, or the first error; then the others are cancelled."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one) for one in fetches]
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from None
    return [task.result() for task in tasks]


class Memory:
    """What was fetched lately, bounded in bytes and time."""

    def __init__(self, most: int, seconds: float) -> None:
        self._most = most
        self._seconds = seconds
        self._kept: OrderedDict[bytes, tuple[float, Fetched]] = OrderedDict()
        self._bytes = 0

    def get(self, key: bytes) -> Fetched | None:
        until, found = self._kept.get(key, (0.0, None))
        return found if until > time.monotonic() else None

    def put(self, key: bytes, found: Fetched) -> None:
        """Keep it, unless it alone would push out much of the rest."""
        if len(found.data) > self._most // 4:
            return
        self._drop(key)
        self._kept[key] = (time.monotonic() + self._seconds, found)
        self._bytes += len(found.data)
        while self._bytes > self._most or len(self._kept) > _MOST_KEPT:
            self._drop(next(iter(self._kept)))

    def _drop(self, key: bytes) -> None:
        _, found = self._kept.pop(key, (0.0, None))
        self._bytes -= len(found.data) if found else 0


# ── the client ──────────────────────────────────────────────────────────────────────────────────


class _Resolver(aiohttp.ThreadedResolver):
    """Asks in threads of its own: a name server that does not answer holds its thread for long, and those of the
    event loop are needed by every other call."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(LOOK_UPS, "look-up")
        super().__init__(cast(asyncio.AbstractEventLoop, _Lookups(self._threads)))

    async def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)


class _Lookups:
    """What a resolver uses of an event loop."""

    def __init__(self, threads: ThreadPoolExecutor) -> None:
        self._threads = threads

    async def getaddrinfo(self, host: str, port: int, **more: int) -> Any:
        work = functools.partial(socket.getaddrinfo, host, port, **more)
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)

    async def getnameinfo(self, address: Any, flags: int = 0) -> Any:
        work = functools.partial(socket.getnameinfo, address, flags)
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)


class _GuardedResolver(AbstractResolver):
    """Leaves out of every answer what may not be connected to. Nothing is remembered."""

    def __init__(self, resolver: AbstractResolver, guard: AddressGuard) -> None:
        self._resolver = resolver
        self._guard = guard

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        found = await self._resolver.resolve(host, port, family)
        permitted = [row for row in found if (at := literal(row["host"])) is not None and self._guard.permits(at)]
        if found and not permitted:
            raise NotPermitted
        return permitted

    async def close(self) -> None:
        await self._resolver.close()


def _connector(
    context: ssl.SSLContext, resolver: AbstractResolver, make_socket: Callable[..., socket.socket] | None
) -> aiohttp.TCPConnector:
    return aiohttp.TCPConnector(
        ssl=context,
        resolver=resolver,
        socket_factory=make_socket,
        use_dns_cache=False,
        force_close=True,  # a kept connection would outlive the check
        limit=0,
    )


def _session(connector: aiohttp.TCPConnector) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        connector=connector,
        timeout=aiohttp.ClientTimeout(total=None),
        auto_decompress=False,
        cookie_jar=aiohttp.DummyCookieJar(),
        headers={"user-agent": "shin-gateway", "accept-encoding": "identity"},
        trust_env=False,
    )


def _context(options: UpstreamOptions) -> ssl.SSLContext:
    if options.trusted_ca or options.trusted_confdir:
        context = ssl.create_default_context(cafile=options.trusted_ca, capath=options.trusted_confdir)
    else:
        context = ssl.create_default_context(cafile=certifi.where())
    if options.insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _parse(url: str, place: str) -> URL:
    """A URL that may be asked for, escapes as they were: signatures in it depend on them."""
    if len(url) > _LONGEST:
        raise _refused(place, f"the URL is longer than {_LONGEST} characters")
    try:
        parsed = _url(url).with_fragment(None)
        host, _ = parsed.host, parsed.port
    except ValueError:
        raise _refused(place, "is not a URL that can be read") from None
    if parsed.scheme.lower() not in ("http", "https") or not host:
        raise _refused(place, "only http and https URLs can be fetched")
    if parsed.raw_user is not None or parsed.raw_password is not None:
        raise _refused(place, "the URL may not hold a user name or password")
    return parsed


def _url(text: str) -> URL:
    return URL(text, encoded=text.isascii() and text.isprintable() and " " not in text)


async def _gather(answer: aiohttp.ClientResponse, limit: int, place: str, room: _Room) -> bytes:
    """The body, decompressed. Raises TooLarge as soon as there is more than `limit`, or no more `room`."""
    if (answer.content_length or 0) > limit:
        raise _too_large(place, limit)
    coding = answer.headers.get("content-encoding", "").strip().lower()
    gathered = bytearray()
    try:
        decoder = encodings.Decoder(coding, limit) if coding else _Plain()
        async for chunk in answer.content.iter_any():
            try:
                plain = decoder.feed(chunk)
            except TooLarge:
                raise _too_large(place, limit) from None
            gathered += plain
            if len(gathered) > limit:
                raise _too_large(place, limit)
            room.take(len(plain))
        decoder.end()
    except Invalid:
        raise _refused(place, "the server's compression cannot be read", "fetch_failed") from None
    if not gathered:
        raise _refused(place, "the server sent nothing", "fetch_failed")
    return bytes(gathered)


class _Plain:
    """In the place of a decoder where there is nothing to decode."""

    def feed(self, data: bytes) -> bytes:
        return data

    def end(self) -> None:
        pass


def _is_kind(mime: str, kind: str) -> bool:
    return mime.startswith(_ACCEPTED[kind])


def _require_kind(mime: str, kind: str, place: str) -> None:
    if not _is_kind(mime, kind):
        what = "content of no known type" if not mime else "text/html" if mime == "text/html" else "something else"
        raise _refused(place, f"the server sent {what}, not {_NAMES[kind]}", "unsupported_media")


_NAMES = {"image": "an image", "audio": "audio", "video": "a video", "document": "a document"}


# ── refusals ────────────────────────────────────────────────────────────────────────────────────


def _refused(place: str, why: str, code: str = "invalid_url") -> Invalid:
    return Invalid(f"{place}: {why}.", code=code, param=place)


def _not_permitted(place: str) -> Invalid:
    return _refused(place, "the address is not allowed", "address_not_allowed")


def _too_large(place: str, limit: int) -> TooLarge:
    return TooLarge(f"{place}: has more than {limit} bytes.", param=place)


def _as_refusal(error: Exception, place: str) -> Invalid:
    """Nothing that the client library says reaches the caller: it may hold addresses."""
    cause = getattr(error, "os_error", error)
    if isinstance(cause, NotPermitted):
        return _not_permitted(place)
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return _refused(place, "the host was not found", "fetch_failed")
    if isinstance(error, aiohttp.ClientConnectorCertificateError | aiohttp.ClientConnectorSSLError):
        return _refused(place, "the server's certificate could not be verified", "fetch_failed")
    if isinstance(error, aiohttp.InvalidURL | ValueError):
        return _refused(place, "is not a URL that can be read")
    return _refused(place, "could not be fetched", "fetch_failed")
