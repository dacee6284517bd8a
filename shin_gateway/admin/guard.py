"""Before anything else is looked at: under which name we were asked, and by whom."""

from __future__ import annotations

import ipaddress
import logging
from collections.abc import Callable

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from shin_gateway.admin.credentials import Credentials
from shin_gateway.admin.permissions import CHALLENGE, NOBODY, UNKNOWN, Asker
from shin_gateway.admin.problems import problem
from shin_gateway.errors import Unauthenticated, Unavailable
from shin_gateway.stores.errors import StoreError

log = logging.getLogger(__name__)

OPEN = frozenset({"/health/live"})
"""Paths that everybody may ask: what starts and ends processes holds no secret."""

HEADERS = {
    "cache-control": "no-store",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}
"""On every answer that does not say otherwise."""


class Guard:
    """Stands around the whole application, so that its errors pass here too.

    Routes find who asks as `request.state.asker`, and look themselves whether he may: `permissions.needs`.
    """

    def __init__(
        self, app: ASGIApp, credentials: Credentials, closed: Callable[[], bool], names: frozenset[str] | None
    ) -> None:
        """`closed`: whether everybody has to say who he is. `names`: the only names, beside addresses, that Host may
        hold; None where any will do."""
        self._app = app
        self._credentials = credentials
        self._closed = closed
        self._names = names

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        found = await self._look(scope["path"], Headers(scope=scope))
        if isinstance(found, Asker):
            scope.setdefault("state", {})["asker"] = found
            await self._app(scope, receive, with_headers)
        else:
            await found(scope, receive, with_headers)

    async def _look(self, path: str, headers: Headers) -> Asker | ASGIApp:
        """Who asks, or why he gets no answer."""
        if self._names is not None and not _is_ours(headers.get("host", ""), self._names):
            # A page whose name leads to 127.0.0.1 (DNS rebinding) is a stranger, however near it seems.
            return problem(421, "This server does not go by that name: ask it by its address, or as localhost.")
        if path in OPEN:
            return NOBODY
        authorization = headers.get("authorization", "")
        if not authorization and not self._closed():
            return NOBODY
        try:
            asker = await self._credentials.asker_of(_bearer(authorization))
        except Unauthenticated as refusal:
            return problem(401, refusal.message, CHALLENGE)
        except (StoreError, Unavailable) as error:
            log.warning("who asks could not be looked up: %s", error)
            return problem(503, "Who you are cannot be looked up now.", {"retry-after": "5"})
        return asker or problem(401, UNKNOWN, CHALLENGE)


def _bearer(authorization: str) -> str:
    """The token as it came, "" where it is none of this scheme (RFC 6750)."""
    scheme, _, token = authorization.partition(" ")
    # A header's bytes, which Starlette reads as latin-1.
    return token.strip().encode("latin-1").decode("utf-8", "surrogateescape") if scheme.lower() == "bearer" else ""


def _is_ours(host: str, names: frozenset[str]) -> bool:
    """Whether a Host header is an address or one of these names."""
    name = host[1 : host.find("]")] if host.startswith("[") else host.partition(":")[0]
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return name.lower().rstrip(".") in names
    return True
