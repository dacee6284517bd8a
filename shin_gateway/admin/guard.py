"""Before anything else is looked at: under which name we were asked, and by whom."""

from __future__ import annotations

import hmac
import ipaddress
import logging
from collections.abc import Mapping

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from shin_gateway.admin.problems import problem
from shin_gateway.secret import SecretMissing, SecretRef

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
    """Stands around the whole application, so that its errors pass here too."""

    def __init__(self, app: ASGIApp, users: Mapping[str, SecretRef], names: frozenset[str] | None) -> None:
        """`names`: the only names, beside addresses, that Host may hold; None where any will do."""
        self._app = app
        self._users = users
        self._names = names

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        app = self._refusal(scope["path"], Headers(scope=scope)) or self._app
        await app(scope, receive, with_headers)

    def _refusal(self, path: str, headers: Headers) -> ASGIApp | None:
        if self._names is not None and not _is_ours(headers.get("host", ""), self._names):
            # A page whose name leads to 127.0.0.1 (DNS rebinding) is a stranger, however near it seems.
            return problem(421, "This server does not go by that name: ask it by its address, or as localhost.")
        if self._users and path not in OPEN and not self._knows(headers.get("authorization", "")):
            challenge = {"www-authenticate": 'Bearer realm="Shin Gateway"'}
            return problem(401, "Send `Authorization: Bearer` with the secret of a user in shin.yaml.", challenge)
        return None

    def _knows(self, authorization: str) -> bool:
        scheme, _, token = authorization.partition(" ")
        if scheme.lower() != "bearer":
            return False
        given = token.strip().encode("latin-1")  # the bytes as they came
        same = [hmac.compare_digest(secret, given) for secret in self._secrets()]  # all of them, whichever it is
        return any(same)

    def _secrets(self) -> list[bytes]:
        secrets = []
        for name, reference in self._users.items():
            try:
                secrets.append(reference.read().encode())
            except SecretMissing as error:
                log.warning("user %s cannot be let in: %s", name, error)
        return secrets


def _is_ours(host: str, names: frozenset[str]) -> bool:
    """Whether a Host header is an address or one of these names."""
    name = host[1 : host.find("]")] if host.startswith("[") else host.partition(":")[0]
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return name.lower().rstrip(".") in names
    return True
