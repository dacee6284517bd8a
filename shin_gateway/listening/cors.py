"""Which web pages may ask the gateway listener: CORS by policy (WHATWG Fetch, §3.3 "CORS protocol")."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, model_validator

from shin_gateway.units import Duration

Field = tuple[bytes, bytes]

PREFIX = b"access-control-"
"""How the names of all headers of CORS begin."""

READABLE = (
    "retry-after", "retry-after-ms", "x-request-id", "request-id", "x-should-retry", "x-shin-call-id", "x-shin-cost",
    "x-shin-target", "x-shin-attempts", "x-shin-overhead-ms", "x-ratelimit-limit-requests",
    "x-ratelimit-remaining-requests", "x-ratelimit-reset-requests", "x-ratelimit-limit-tokens",
    "x-ratelimit-remaining-tokens", "x-ratelimit-reset-tokens",
)  # fmt: skip
"""What SDKs read, and what we add."""

_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")


def _listed(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


def _origin(text: str) -> str:
    """As browsers write an origin: scheme, host and a port that is not the scheme's own."""
    if text in ("*", "null"):
        return text
    parts = urlsplit(text)
    host = (parts.hostname or "").rstrip("]")
    if not parts.scheme or not host or text.lower() != f"{parts.scheme}://{parts.netloc}".lower() or "@" in text:
        raise ValueError(f'"{text}" is no origin; write it like https://app.example.com')
    if "*" in text:
        raise ValueError(f'"{text}": name each origin; only "*" by itself stands for all')
    own = {"http": ":80", "https": ":443"}.get(parts.scheme, ":")
    return f"{parts.scheme}://{parts.netloc}".lower().removesuffix(own)


def _token(text: str) -> str:
    if not _TOKEN.fullmatch(text):
        raise ValueError(f'"{text}" is no name of a header or method')
    return text


Names = Annotated[tuple[Annotated[str, AfterValidator(_token)], ...], BeforeValidator(_listed)]


class Cors(BaseModel):
    """Pages of these origins may ask, and read the answers. Without this, no page of another site may."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True, validate_default=True)

    origins: Annotated[tuple[Annotated[str, AfterValidator(_origin)], ...], BeforeValidator(_listed)]
    """Whole origins like `https://app.example.com`; `"*"` is every page there is; `"null"` is pages without one, which
    anybody can make."""
    headers: Names = ("*",)
    """Request headers that pages may set; `*`: whichever they ask for."""
    methods: Names = ("GET", "POST", "DELETE")
    expose: Names = READABLE
    """Reply headers that pages may read."""
    credentials: bool = False
    """Whether cookies and logins that the browser keeps may come along. Keys in headers need no such leave."""
    max_age: Duration = 600.0
    """How long browsers remember what is allowed."""

    @model_validator(mode="after")
    def _strangers_have_no_credentials(self) -> Self:
        if self.credentials and not {"*", "null"}.isdisjoint(self.origins):
            raise ValueError('with `credentials: true`, name the origins: not "*", not "null"')
        return self

    def permits(self, origin: str | None) -> bool:
        return origin is not None and (origin in self.origins or "*" in self.origins)


class Rules:
    """The same, ready for replies."""

    def __init__(self, cors: Cors) -> None:
        self._cors = cors
        self._any = "*" in cors.origins
        self._expose = ", ".join(name for name in cors.expose if name != "*" or not cors.credentials).encode()

    def permits(self, origin: str | None) -> bool:
        return self._cors.permits(origin)

    def fields(self, origin: str | None) -> list[Field]:
        """For a reply to a page of `origin`. Replies to others only say that they depend on it (caches)."""
        fields = [] if self._any else [(b"vary", b"origin")]
        if origin is None or not self._cors.permits(origin):
            return fields
        fields.append((b"access-control-allow-origin", b"*" if self._any else origin.encode("latin-1", "replace")))
        if self._cors.credentials:
            fields.append((b"access-control-allow-credentials", b"true"))
        if self._expose:
            fields.append((b"access-control-expose-headers", self._expose))
        return fields

    def preflight(self, headers: Mapping[str, str]) -> list[Field]:
        """For the answer to a preflight: what the page may do, nothing where its origin is none of these."""
        if not self._cors.permits(headers.get("origin")):
            return []
        wanted = headers.get("access-control-request-headers", "")
        allowed = _named(wanted) if "*" in self._cors.headers else self._cors.headers
        fields = [
            (b"access-control-allow-methods", ", ".join(self._cors.methods).encode()),
            (b"access-control-max-age", str(int(self._cors.max_age)).encode()),
        ]
        if allowed:
            fields.append((b"access-control-allow-headers", ", ".join(allowed).encode()))
        return fields


def is_preflight(method: str, headers: Mapping[str, str]) -> bool:
    """Fetch §3.3.2: OPTIONS with an origin and the method that is meant."""
    return method == "OPTIONS" and "origin" in headers and "access-control-request-method" in headers


def _named(wanted: str) -> list[str]:
    """The names that a page asks for; an answer of our own must not carry anything else of it."""
    return [name for one in wanted.split(",") if _TOKEN.fullmatch(name := one.strip())][:100]
