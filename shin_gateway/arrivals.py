"""What a request is when it arrives: a call in some dialect, or nothing of ours."""

from __future__ import annotations

import re
from collections.abc import Container
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import quote, unquote

from shin_gateway import dialects
from shin_gateway.dialects import Dialect
from shin_gateway.policy.paths import PathClass, plain
from shin_gateway.policy.resolve import Policy
from shin_gateway.providers import ProviderRow, Providers, classify
from shin_gateway.translation import models

_PREFIXED = re.compile(r"/(?!v\d|upload/)[^/]+/v\d")
"""`/nobody/v1/…`: a provider that we do not know. Without it such a call would go wherever its model's name leads."""

_AZURES = re.compile(r"/openai/(?!v\d)[^?]{1,300}\?(?:.*&)?api-version=", re.IGNORECASE | re.DOTALL)
"""How clients of Azure write `/openai`, which is no provider's name then: the model decides, as on any path."""

_AMBIGUOUS = re.compile(r"[?#\0;\\]|(?:^|/)\.{1,2}(?:/|$)")
"""What two servers read differently in a path that is decoded."""
_LEFT_ALONE = "/:@!$&'()*+,=~"

_SHARED = ("openai.files", "openai.batches")


@dataclass(frozen=True, slots=True)
class Arrival:
    """A request that is a call, before its body is known."""

    kind: str
    dialect: Dialect
    path: str
    """As it goes on: without the `/{provider}` that it may have come with."""
    row: ProviderRow | None = None
    """The provider, where the host or the path names it."""
    origin: str | None = None
    """`https://host:port` where the client wants to go by itself; None for our gateway."""
    model: str | None = None
    """The model, where the path names it."""
    stream: bool = False
    """True where the path alone asks for a stream."""


class Addressed(Protocol):
    """A request that names where it wants to go."""

    scheme: str
    host: str
    port: int
    path: str


def at_host(providers: Providers, policy: Policy, method: str, request: Addressed) -> Arrival | None:
    """A request on a provider's own host, on its way through the proxy. None: it passes untouched."""
    row = providers.serving(request.host, request.port, policy.provider)
    found = classify(method, request.path, row, policy.paths)
    if found is None:
        return None
    return _arrival(found, request.path, row, _origin(request))


def at_gateway(providers: Providers, method: str, path: str, headers: Container[str]) -> Arrival | None:
    """A request to our own listener. None: there is no such path, or no such provider."""
    first = path.partition("?")[0].removeprefix("/").partition("/")[0]
    row = None if _AZURES.match(path) else providers.get(first)
    if row is not None:
        path = path[len(first) + 1 :]
        if ".." in unquote(path.partition("?")[0]).split("/"):  # our key is for what is below the base URL
            return None
        found = classify(method, path, row)
        return _arrival(found, path, row, None) if found else Arrival("other", dialects.get("plain"), path, row)
    found = classify(method, path, providers.generic)
    if found is None or _PREFIXED.match(plain(path)):
        return None
    return _arrival(_by_client(found, path, headers), path, None, None)


def _by_client(found: PathClass, path: str, headers: Container[str]) -> PathClass:
    """`/v1/models`, `/v1/files` and `/v1/batches` are paths of several APIs."""
    if found.kind == "models":
        return PathClass("models", models.form_of(path, headers))
    if found.dialect in _SHARED and "/openai/" not in path:
        family = models.form_of(path, headers).partition(".")[0]
        return PathClass(found.kind, f"{family}.{found.dialect.partition('.')[2]}")
    return found


def _arrival(found: PathClass, path: str, row: ProviderRow | None, origin: str | None) -> Arrival:
    return Arrival(found.kind, dialects.get(found.dialect), _as_read(path), row, origin, found.model, found.stream)


def _as_read(path: str) -> str:
    """A call goes where its path led by our own reading of it, or the model that was looked at is not the one that
    answers: `/models/one:generateContent%3F/../two:generateContent`. Any other path stays as it was written."""
    where, mark, query = path.partition("?")
    if not _AMBIGUOUS.search(unquote(unquote(where))):
        return path
    return quote(plain(where), safe=_LEFT_ALONE) + mark + query


def _origin(request: Addressed) -> str:
    """RFC 6454: scheme, host and the port where it is not the usual one."""
    host = f"[{request.host}]" if ":" in request.host else request.host
    usual = {"https": 443, "http": 80}.get(request.scheme)
    return f"{request.scheme}://{host}" if request.port == usual else f"{request.scheme}://{host}:{request.port}"
