"""Where the state store is, as one URL.

    redis://user:password@host:6379/0?timeout=0.5     rediss:// for TLS (ca=, cert=, key=: files)
    unix:///run/shin/valkey.sock?db=0
    redis+sentinel://h1:26379,h2:26379/service/0      rediss+sentinel:// for TLS
    redis+cluster://h1:6379,h2:6379                   rediss+cluster:// for TLS

`valkey://` and `valkeys://` mean the same as `redis://` and `rediss://`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal
from urllib.parse import parse_qsl, unquote, urlsplit

from shin_gateway.stores.errors import StoreError

Kind = Literal["server", "unix", "sentinel", "cluster"]

_KINDS: dict[str, Kind] = {"": "server", "sentinel": "sentinel", "cluster": "cluster"}
_PORTS: dict[Kind, int] = {"server": 6379, "unix": 0, "sentinel": 26379, "cluster": 6379}
_TLS = {"redis": False, "valkey": False, "rediss": True, "valkeys": True}
_OPTIONS = {"timeout", "db", "ca", "cert", "key", "sentinel_user", "sentinel_password"}
TIMEOUT = 0.25
"""Seconds, where the URL does not say."""


@dataclass(frozen=True)
class Address:
    """A parsed URL. `str()` leaves every credential out."""

    kind: Kind
    hosts: tuple[tuple[str, int], ...] = ()
    path: str = ""
    db: int = 0
    service: str = ""
    user: str | None = None
    password: str | None = None
    tls: bool = False
    ca: str | None = None
    cert: str | None = None
    key: str | None = None
    sentinel_user: str | None = None
    sentinel_password: str | None = None
    timeout: float = TIMEOUT
    """Seconds that a command on the way of a call may take, and that connecting may take."""

    def __str__(self) -> str:
        scheme = "rediss" if self.tls else "redis"
        places = ",".join(f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host, port in self.hosts)
        return {
            "server": f"{scheme}://{places}/{self.db}",
            "unix": f"unix://{self.path}",
            "sentinel": f"{scheme}+sentinel://{places}/{self.service}/{self.db}",
            "cluster": f"{scheme}+cluster://{places}",
        }[self.kind]

    def __repr__(self) -> str:
        return f"Address({self})"


def parse_address(url: str) -> Address:
    """Raises `StoreError` naming what is wrong, never the URL itself: it may hold a password."""
    try:
        parts = urlsplit(url)
    except ValueError:
        raise StoreError("the state store's URL is not a URL; write one like redis://host:6379/0") from None
    options = _options(parts.query)
    user, _, password = (unquote(text) for text in parts.netloc.rpartition("@")[0].partition(":"))
    common = {"user": user or None, "password": password or None} | {
        name: options[name] for name in ("ca", "cert", "key", "sentinel_user", "sentinel_password") if name in options
    }
    timeout = _number(options["timeout"], "timeout") if "timeout" in options else TIMEOUT
    if parts.scheme == "unix":
        if not parts.path:
            raise StoreError("the state store's URL names no socket: write unix:///path/to/socket")
        db = _db(options.get("db", ""))
        return Address("unix", path=unquote(parts.path), db=db, timeout=timeout, **common)  # type: ignore[arg-type]
    kind, tls = _scheme(parts.scheme)
    hosts = _hosts(parts.netloc.rpartition("@")[2], _PORTS[kind])
    service, db = _place(kind, parts.path, options.get("db", ""))
    return Address(kind, hosts, db=db, service=service, tls=tls, timeout=timeout, **common)  # type: ignore[arg-type]


def _scheme(scheme: str) -> tuple[Kind, bool]:
    base, _, kind = scheme.partition("+")
    if base not in _TLS or kind not in _KINDS:
        raise StoreError(
            f"the state store's URL begins with {scheme!r}; use redis, rediss, valkey, valkeys or unix, "
            "with +sentinel or +cluster where it applies"
        )
    return _KINDS[kind], _TLS[base]


def _options(query: str) -> dict[str, str]:
    options = dict(parse_qsl(query, keep_blank_values=True))
    for name in options:
        if name not in _OPTIONS:
            raise StoreError(f"unknown option {name!r} in the state store's URL; known: {', '.join(sorted(_OPTIONS))}")
    return options


def _hosts(netloc: str, default_port: int) -> tuple[tuple[str, int], ...]:
    hosts = []
    for place in netloc.split(","):
        try:
            part = urlsplit(f"//{place}")
            hosts.append((part.hostname or "localhost", part.port or default_port))
        except ValueError:
            raise StoreError(f"{place!r} in the state store's URL is not host:port") from None
    return tuple(hosts)


def _place(kind: Kind, path: str, db: str) -> tuple[str, int]:
    segments = [unquote(segment) for segment in path.split("/") if segment]
    if kind == "sentinel":
        if not segments:
            raise StoreError("a sentinel URL names the service: redis+sentinel://host:26379/service/0")
        return segments[0], _db(db or "".join(segments[1:]))
    number = _db(db or "".join(segments))
    if kind == "cluster" and number:
        raise StoreError("a cluster has no numbered databases; leave the number out of the state store's URL")
    return "", number


def _db(text: str) -> int:
    if text and not text.isdecimal():
        raise StoreError(f"{text!r} in the state store's URL is not the number of a database")
    return int(text or 0)


def _number(text: str, name: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number < 3600:
        raise StoreError(f"{name} in the state store's URL is a number of seconds above 0, not {text!r}")
    return number
