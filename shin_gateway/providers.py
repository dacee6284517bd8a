"""Providers as rows of data: where they are, how they want their key, what they speak."""

from __future__ import annotations

import fnmatch
import functools
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, model_validator

from shin_gateway.policy.match import HostPattern, HostTable, parse_pattern
from shin_gateway.policy.paths import PathClass, PathRow, PathTable
from shin_gateway.policy.positions import Loc, read, validate
from shin_gateway.provider_keys import OAuth, ProviderKeys
from shin_gateway.secret import KeyRef, Secret
from shin_gateway.wording import meant_or_known

if TYPE_CHECKING:
    from shin_gateway.config import Config

_ROWS = Path(__file__).with_name("providers.yaml")
_NAME = re.compile(r"(?!v\d|api$|health$)[a-z][a-z0-9_-]*")
_OWN = {"hosts": (), "models": (), "api_key": (), "oauth": None}
"""Keys that `like` does not inherit: they say which provider this is, and a key must not reach another's server."""
_BEARER = ("authorization", "Bearer")
"""How an access token is shown (RFC 6750 §2.1)."""


def _listed(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


def _word(value: Any) -> Any:
    """In YAML 1.2 `no` is a word, but a number is none."""
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


def _host(text: str) -> str:
    return str(parse_pattern(text))


def _url(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        raise ValueError("should be the start of a URL, like https://api.example.com/v1")
    if parts.password or parts.username:
        raise ValueError("a URL of a provider carries no credentials; write api_key: env:NAME")
    return text.rstrip("/")


def _auth(text: str) -> str:
    if not re.fullmatch(r"[a-z][a-z0-9-]*(: [A-Za-z]+)?", text):
        raise ValueError('should be a header, and a word before the key if there is one, like "authorization: Bearer"')
    return text


class Quirks(BaseModel):
    """How a server differs from what its dialect's documents say. Only calls that are translated are fitted to it."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    drop: Annotated[frozenset[str], BeforeValidator(_listed)] = frozenset()
    """Fields of a call, at its top level, that the server refuses or does not know."""
    rename: dict[str, str] = {}
    """Fields at the top level that it calls otherwise: max_completion_tokens: max_tokens."""
    words: dict[str, Annotated[str, BeforeValidator(_word)]] = {}
    """Other differences, each named by the dialect's writer."""


class ProviderSettings(BaseModel):
    """One row as it is written; every key may be left out."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    like: str | None = None
    """A row to start from; hosts, models, api_key and oauth are not taken over."""
    hosts: Annotated[tuple[Annotated[str, AfterValidator(_host)], ...], BeforeValidator(_listed)] = ()
    """Hosts that this row serves when a call comes through the proxy."""
    base_url: Annotated[str, AfterValidator(_url)] | None = None
    """What the provider's own SDK calls its base URL; the gateway builds its URLs on it."""
    auth: Annotated[str, AfterValidator(_auth)] = "authorization: Bearer"
    """The header of the key, and the word before the key."""
    auth_below: dict[str, Annotated[str, AfterValidator(_auth)]] = {}
    """The same for paths that begin so, where they want it otherwise: {/v1beta/openai/: "authorization: Bearer"}."""
    api_key: Annotated[tuple[KeyRef, ...], BeforeValidator(_listed)] = ()
    """Where the key is, one or a list: the first that is there is taken. None: the provider wants no key."""
    oauth: OAuth | None = None
    """In place of a key: where access tokens are fetched and for what. They are sent as `authorization: Bearer`."""
    models: Annotated[tuple[str, ...], BeforeValidator(_listed)] = ()
    """Patterns of models' names by which the gateway finds this row: gpt-*."""
    dialects: dict[str, str] = {}
    """What it speaks, and under which path below base_url. {model} and {version} stand for what the call says, {path}
    for the call's own path and {rest} for what of it comes after /v1."""
    prices: str = ""
    """Its name in the price table; empty: prices are not known."""
    stream_usage: Literal["ask", "given"] = "given"
    """Whether a stream tells its usage only when asked (stream_options.include_usage)."""
    websocket: bool = False
    """Whether the gateway asks it over a WebSocket what came over one (the Responses API)."""
    quirks: Quirks = Quirks()
    """How it differs from what the documents of its dialect say: {drop: [logprobs]}."""
    lists: str | None = None
    """Where it lists its models, below base_url, in the form of the first of its dialects; absent: beside that
    dialect's own path (/models beside /chat/completions); empty: it has no list that tells what it serves."""
    paths: tuple[PathRow, ...] = ()
    """Path classes tried before the general ones."""

    @model_validator(mode="after")
    def _has_one_key(self) -> ProviderSettings:
        if self.oauth and self.api_key:
            raise ValueError("a provider has either api_key or oauth")
        return self


@dataclass(frozen=True)
class Problem:
    """Something wrong with rows that are each well formed; `loc` is the way to it inside `providers:`."""

    loc: Loc
    message: str
    hint: str = ""


@dataclass(frozen=True, eq=False)
class ProviderRow:
    """One provider, complete."""

    name: str
    hosts: tuple[HostPattern, ...]
    base_url: str
    """Empty where it differs from customer to customer and shin.yaml says none."""
    auth_header: str
    auth_scheme: str
    """The word before the key, or empty."""
    auth_below: Mapping[str, tuple[str, str]]
    """Header and word for paths that begin so."""
    api_key: tuple[Secret, ...]
    """The key or, where tokens are fetched, that which fetches them."""
    models: tuple[str, ...]
    dialects: Mapping[str, str]
    prices: str
    stream_usage: Literal["ask", "given"]
    websocket: bool
    quirks: Quirks
    lists: str | None
    """Where its list of models is; None: beside the path of the first of its dialects; empty: it has none."""
    paths: PathTable
    """Its own path classes and then the general ones."""


class Providers:
    """All rows: found by name, by host, by a model's name."""

    def __init__(self, rows: Iterable[ProviderRow]) -> None:
        self._rows = {row.name: row for row in rows}
        self._hosts: HostTable[ProviderRow] = HostTable()
        for row in self._rows.values():
            for pattern in row.hosts:
                self._hosts.put(pattern, row)
        for row in self._rows.values():
            _serve_base(self._hosts, row)
        self.for_model = functools.lru_cache(maxsize=1024)(self._for_model)
        """`for_model(name) -> ProviderRow | None`; remembered, bounded."""

    @classmethod
    def load(cls, config: Config | None = None, keys: ProviderKeys | None = None) -> Providers:
        """The built-in rows and those of shin.yaml, which win. The rows were checked when the file was read.

        Without `keys` nobody can be asked with a key that is kept or fetched.
        """
        written = merged(config.providers if config else {})
        keys = keys or ProviderKeys()
        return cls(_row(name, _inherited(name, written), keys) for name in written)

    def get(self, name: str) -> ProviderRow | None:
        return self._rows.get(name)

    @property
    def generic(self) -> ProviderRow:
        """The row for hosts that no row names, and for the gateway's own paths."""
        return self._rows["generic"]

    def __iter__(self) -> Iterator[ProviderRow]:
        return iter(self._rows.values())

    def for_host(self, host: str, port: int | None = None) -> ProviderRow | None:
        """The row that names this host."""
        return self._hosts.find(host, port)

    def serving(self, host: str, port: int | None, otherwise: str) -> ProviderRow:
        """The row that names this host, else the one that the policy says (`provider:`), else `generic`."""
        return self.for_host(host, port) or self._rows.get(otherwise) or self.generic

    def _for_model(self, model: str) -> ProviderRow | None:
        """The row whose pattern fits the model's name: the longest pattern, and of equals the later row."""
        fits = (
            (len(glob), place, row)
            for place, row in enumerate(self._rows.values())
            for glob in row.models
            if fnmatch.fnmatchcase(model, glob)
        )
        return max(fits, default=(0, 0, None), key=lambda fit: fit[:2])[2]


def classify(method: str, path: str, row: ProviderRow, own: PathTable | None = None) -> PathClass | None:
    """What a request on a provider's host is; None when it is no call and passes untouched.

    `method` is GET, POST, … or WEBSOCKET for an upgrade; `path` with or without query; `own` the policy's classes.
    """
    found = own.find(method, path) if own and own.rows else None
    found = found or row.paths.find(method, path)
    return None if found is None or found.kind == "other" else found


def check_rows(written: Mapping[str, ProviderSettings]) -> Iterator[Problem]:
    """What is wrong with the rows of shin.yaml, seen together with the built-in ones."""
    rows = merged(written)
    claimed: dict[str, str] = {}
    for name, row in written.items():
        if not _NAME.fullmatch(name):
            yield Problem((name,), f'"{name}" cannot be a provider\'s name: lower case, and not one of our own paths')
        if row.like and row.like not in rows:
            yield Problem((name, "like"), f'unknown provider "{row.like}"', meant_or_known(row.like, rows))
        elif name in _line_of(name, rows)[1:]:
            yield Problem((name, "like"), f'"{name}" is like itself')
        for index, host in enumerate(row.hosts):
            first = claimed.setdefault(host, name)
            if first != name:
                yield Problem((name, "hosts", index), f'host "{host}" is already claimed by provider "{first}"')


def merged(written: Mapping[str, ProviderSettings]) -> dict[str, ProviderSettings]:
    """The built-in rows with those of shin.yaml over them, key by key; new ones come last."""
    rows = dict(_builtin().providers)
    for name, row in written.items():
        rows[name] = _over(rows[name], row) if name in rows and not row.like else row
    return rows


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    paths: tuple[PathRow, ...]
    providers: dict[str, ProviderSettings]


@cache
def _builtin() -> _File:
    return validate(read(_ROWS), _File)


def _over(below: ProviderSettings, above: ProviderSettings) -> ProviderSettings:
    said = {key: getattr(above, key) for key in above.model_fields_set}
    if above.api_key or above.oauth:
        said = {"api_key": (), "oauth": None} | said  # the one takes the other's place
    return below.model_copy(update=said)


def _line_of(name: str, rows: Mapping[str, ProviderSettings]) -> list[str]:
    """The row and all that it is like; ends where it would repeat itself, with the repeated name."""
    line = [name]
    while (like := rows[line[-1]].like) and like in rows:
        line.append(like)
        if like in line[:-1]:
            break
    return line


def _inherited(name: str, rows: Mapping[str, ProviderSettings]) -> ProviderSettings:
    row = rows[name]
    if not row.like:
        return row
    below = _inherited(row.like, rows)
    return _over(below.model_copy(update=_OWN), row)


def _row(name: str, row: ProviderSettings, keys: ProviderKeys) -> ProviderRow:
    header, scheme = _BEARER if row.oauth else _header_and_word(row.auth)
    auth_below = {} if row.oauth else row.auth_below
    return ProviderRow(
        name=name,
        hosts=tuple(map(parse_pattern, row.hosts)),
        base_url=row.base_url or "",
        auth_header=header,
        auth_scheme=scheme,
        auth_below={path: _header_and_word(auth) for path, auth in auth_below.items()},
        api_key=keys.secrets_of(name, row.api_key, row.oauth),
        models=row.models,
        dialects=row.dialects,
        prices=row.prices,
        stream_usage=row.stream_usage,
        quirks=row.quirks,
        websocket=row.websocket,
        lists=row.lists,
        paths=PathTable((*row.paths, *_builtin().paths)),
    )


def _header_and_word(auth: str) -> tuple[str, str]:
    header, _, word = auth.partition(": ")
    return header, word


def _serve_base(hosts: HostTable[ProviderRow], row: ProviderRow) -> None:
    """A row also serves the host of its base URL, unless another row names that host outright."""
    parts = urlsplit(row.base_url)
    if parts.hostname:
        pattern = parse_pattern(f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname)
        port = parts.port or (443 if parts.scheme == "https" else 80)
        if hosts.get(pattern) is None:
            pattern = HostPattern(pattern.name, port)
            if hosts.get(pattern) is None:
                hosts.put(pattern, row)
