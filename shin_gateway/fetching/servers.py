"""Servers that shin.yaml names, asked for something small: an identity provider's keys, what a token is, a new token.

Nothing is followed, kept or believed beyond what was asked for: no redirects, no cookies, one time limit for all of
it, a bounded body. A name that leads to where clouds keep credentials is not connected to.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import aiohttp
from aiohttp.abc import AbstractResolver
from multidict import CIMultiDictProxy
from yarl import URL

from shin_gateway.addresses import NotPermitted, ServerGuard, is_loopback, literal
from shin_gateway.fetching.client import GuardedResolver, Resolver
from shin_gateway.upstream.options import UpstreamOptions
from shin_gateway.upstream.sessions import open_session
from shin_gateway.upstream.tls import make_context

AT_ONCE = 32
"""Connections to one server; what comes meanwhile waits, within its time."""
_HEADERS = {"user-agent": "shin-gateway", "accept": "application/json", "accept-encoding": "identity"}


class ServerFailed(Exception):
    """No answer that could be read. The message is for the log: it names no credential, and is not for callers."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a server said."""

    status: int
    headers: CIMultiDictProxy[str]
    body: bytes = field(repr=False)


class ServerClient:
    """One for a process; `start` and `close` frame its life."""

    def __init__(
        self,
        options: UpstreamOptions,
        *,
        timeout: float = 5.0,
        limit: int = 256 * 1024,
        resolver: Callable[[], AbstractResolver] | None = None,
    ) -> None:
        """`options`: the upstreams' proxy and trusted certificates, which hold here too; certificates are always
        checked. `timeout`: seconds for one answer, all included. `limit`: bytes of one."""
        self._options = replace(options, insecure=False)
        self._timeout = timeout
        self._limit = limit
        self._make_resolver = resolver or Resolver
        self._guard = ServerGuard()
        self._resolver: AbstractResolver | None = None
        self._session: aiohttp.ClientSession | None = None

    async def start(self) -> None:
        self._resolver = GuardedResolver(self._make_resolver(), self._guard)
        connector = aiohttp.TCPConnector(
            ssl=make_context(self._options, None),
            resolver=self._resolver,
            socket_factory=self._guard.socket_for,
            limit_per_host=AT_ONCE,
        )
        self._session = open_session(connector, headers=_HEADERS)

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
        if self._resolver is not None:
            await self._resolver.close()

    async def get(self, url: str) -> Answer:
        """Raises ServerFailed."""
        return await self._ask("GET", url)

    async def post(self, url: str, form: Mapping[str, str], headers: Mapping[str, str] | None = None) -> Answer:
        """`form` goes as application/x-www-form-urlencoded. Raises ServerFailed."""
        return await self._ask("POST", url, data=dict(form), headers=dict(headers or {}))

    async def _ask(self, method: str, url: str, **more: Any) -> Answer:
        try:
            async with asyncio.timeout(self._timeout):
                return await self._answer(method, URL(url, encoded=True), more)
        except TimeoutError:
            raise ServerFailed(f"did not answer within {self._timeout:g} s") from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise ServerFailed(_told(error)) from None

    async def _answer(self, method: str, url: URL, more: dict[str, Any]) -> Answer:
        assert self._session is not None, "not started"
        if self._guard_refuses(url):
            raise NotPermitted
        async with self._session.request(method, url, allow_redirects=False, **self._way(url), **more) as answer:
            return Answer(answer.status, answer.headers, await self._read(answer))

    def _guard_refuses(self, url: URL) -> bool:
        """A proxy would connect to an address without asking our guard."""
        address = literal(url.host or "")
        return address is not None and not self._guard.permits(address)

    def _way(self, url: URL) -> dict[str, Any]:
        if not self._options.proxy or is_loopback(url.host or ""):
            return {}
        return {"proxy": self._options.proxy, "proxy_auth": self._options.login}

    async def _read(self, answer: aiohttp.ClientResponse) -> bytes:
        if answer.headers.get("content-encoding", "identity").strip().lower() != "identity":
            raise ServerFailed("answered in an encoding that was not asked for")
        gathered = bytearray()
        async for chunk in answer.content.iter_any():
            gathered += chunk
            if len(gathered) > self._limit:
                raise ServerFailed(f"answered more than {self._limit} bytes")
        return bytes(gathered)


def _told(error: Exception) -> str:
    """Only the kind: what the client library says may hold what was asked for."""
    cause = getattr(error, "os_error", error)
    if isinstance(cause, NotPermitted):
        return "has an address that is never asked"
    return f"cannot be reached ({type(error).__name__})"
