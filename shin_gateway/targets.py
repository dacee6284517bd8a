"""Targets: one way to serve a model. The gateway finds one by the model's name, the proxy by where the client went."""

from __future__ import annotations

import functools
import re
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import quote, urlsplit

from multidict import CIMultiDict

from shin_gateway.call_keys import CREDENTIAL_HEADERS, credential, without_keys
from shin_gateway.errors import Invalid, NotFound, Unavailable, Unsupported
from shin_gateway.providers import ProviderRow, Providers, Quirks
from shin_gateway.secret import FetchedSecret, Secret, SecretMissing, SecretRef
from shin_gateway.translation.dialects import COUNTING, others

if TYPE_CHECKING:
    from collections.abc import Mapping

    from shin_gateway.call import Call
    from shin_gateway.config import Config

PROVIDER = "x-shin-provider"
"""The header by which a call that names no model says whom it is for."""

_FOUND_LATER = ("models", "file", "batch")
"""Kinds of calls whose target takes more to find than what the call says: lists of all models, and what is kept."""
_MODEL_OPTIONAL = ("image", "moderation", "realtime")
_KEPT = (".files", ".batches")
"""Dialects about no model."""
_NOT_KEPT = "Nothing is kept here: the policy lacks the addon conversation."
_LONGEST_NAME = 100
_VERSION = re.compile(r"/(v\d\w*)/")
_REST = re.compile(r"(?:.*?/v1(?:beta/openai)?|/openai/deployments/[^/]+)?/(.*)", re.IGNORECASE | re.DOTALL)
_TAIL = re.compile(r"(:\w+|%3[aA]\w+|/count_tokens|/input_tokens|/compact)$")
"""What a dialect's own path may end with, besides the path that a provider's row gives."""


@dataclass(frozen=True, eq=False)
class Target:
    """Where a call goes and with whose key."""

    name: str
    """`openai/gpt-4o`, for the log; the provider alone where the host decides."""
    provider: str
    base_url: str
    dialect: str
    """The dialect's name; empty where any passes through."""
    model: str
    """What the provider calls the model; empty where the call's own name stands."""
    path: str
    """The dialect's path below `base_url`; empty: the call's own path is kept."""
    auth_header: str
    auth_scheme: str
    auth_below: Mapping[str, tuple[str, str]]
    """Another header and word for paths below `base_url` that begin so."""
    secret: Secret | None
    own_key: bool
    """Whether the client's own credentials go to the provider, untouched."""
    prices: str
    stream_usage: str
    quirks: Quirks
    websocket: bool = False
    """Whether calls that came over a WebSocket go on over one, with a key of ours."""

    def url(self, path: str) -> str:
        """The URL for a call whose path, query included, is `path`. Escapes stay as the client wrote them."""
        path, _, query = path.partition("?")
        below = self._below(path)
        query = query if self.own_key else without_keys(query)
        return _joined(self.base_url, below) + (f"?{query}" if query else "")

    @property
    def fetches(self) -> bool:
        """Whether its key is one that has to be fetched."""
        return isinstance(self.secret, FetchedSecret) and not self.own_key

    async def ready(self) -> None:
        """Have a key to `authorize` with. Raises Unavailable."""
        if isinstance(self.secret, FetchedSecret) and not self.own_key:
            await self.secret.ready()

    def answered(self, status: int) -> None:
        """The provider has answered so: a fetched key that it refuses is fetched again."""
        if status == 401 and isinstance(self.secret, FetchedSecret) and not self.own_key:
            self.secret.refused()

    def authorize(self, headers: CIMultiDict[str], path: str = "") -> None:
        """Put the target's key in the place of the client's, for a call to `path`. Raises Unavailable when it has gone
        meanwhile."""
        if self.own_key:
            return
        for name in CREDENTIAL_HEADERS:
            headers.popall(name, None)
        if self.secret is not None:
            key = _read(self.secret, self.provider)
            header, word = self._auth_for(path) if self.auth_below else (self.auth_header, self.auth_scheme)
            headers[header] = f"{word} {key}" if word else key

    def _auth_for(self, path: str) -> tuple[str, str]:
        below = self._below(path)
        own = (auth for start, auth in self.auth_below.items() if below.startswith(start))
        return next(own, (self.auth_header, self.auth_scheme))

    def _below(self, path: str) -> str:
        if not self.path:
            return path
        is_short = len(path) + len(self.model) < 512  # what is remembered is bounded
        return (_filled if is_short else _fill)(self.path, self.model, path)


def _fill(below: str, model: str, path: str) -> str:
    """A dialect's path with what is missing in it taken from the call's."""
    if below.endswith(("{path}", "{rest}")):
        rest = _REST.fullmatch(path)
        return below.replace("{path}", path.lstrip("/")).replace("{rest}", rest[1] if rest else "")
    version, tail = _VERSION.match(path), _TAIL.search(path)
    below = below.replace("{version}", version[1] if version else "v1")
    return below.replace("{model}", quote(model, safe="@")) + (tail[1] if tail else "")


_filled = functools.lru_cache(maxsize=1024)(_fill)


def aim(call: Call, providers: Providers, config: Config) -> None:
    """Give a call its target, and its model the name that the target knows it by. Raises like `find_target`."""
    target = call.target = target_of(call, providers, config)
    if target is not None and target.model and target.model != call.model:
        call.asked_model = call.asked_model or call.model
        call.rename_model(target.model)


def target_of(call: Call, providers: Providers, config: Config) -> Target | None:
    """Whom a call is for, by where it went or by its model; None where that is found later. Raises like
    `find_target`."""
    arrival = call.arrival
    if arrival.origin is not None:
        return _target_at_host(call, arrival.origin, arrival.row or providers.generic, providers)
    if arrival.row is not None:
        return _gateway_target(arrival.row, own=own_secret(call))
    if call.kind == "models" and call.own_key:
        return _gateway_target(_row_by_default(call, providers, config), own=own_secret(call))
    if call.kind in _FOUND_LATER:
        return None
    if call.kind == "stored":
        raise NotFound(_NOT_KEPT)
    if not call.model and call.kind in _MODEL_OPTIONAL:
        return target_by_default(call, providers, config)
    return find_target(call.model, call.dialect.name, call.kind, providers, config, own_secret(call))


def _target_at_host(call: Call, origin: str, row: ProviderRow, providers: Providers) -> Target:
    """Where the client went by itself: with its own key, or with ours in the place of one that is ours."""
    if call.own_key:
        return target_for_origin(origin, row)
    if call.kind == "stored":  # under our key it is everybody's
        raise NotFound(_NOT_KEPT)
    if row is providers.generic or not _trusted(origin, row):
        raise _misconfigured("The gateway has no key for this host; call it with a key of its own.", "no_credential")
    return _make(row, base_url=origin, secret=_secret(row))


def _trusted(origin: str, row: ProviderRow) -> bool:
    """Whether our key may go there: to the row's own address, or encrypted to a host that the row names outright. Names
    that only fit a pattern may be anybody's."""
    parts, own = urlsplit(origin), urlsplit(row.base_url)
    if (parts.scheme, parts.netloc) == (own.scheme, own.netloc):
        return True
    named = any(pattern.name == parts.hostname and pattern.port in (None, 443) for pattern in row.hosts)
    return named and parts.scheme == "https" and parts.port is None


def own_secret(call: Call) -> SecretRef | None:
    """The client's own key, where a call that came to the gateway is to be asked with it."""
    if not call.own_key or call.arrival.origin is not None:
        return None
    return OwnSecret(credential(call.headers, call.path))


def find_target(
    model: str, dialect: str, kind: str, providers: Providers, config: Config, own: SecretRef | None = None
) -> Target:
    """The target for a model's name as a client of the gateway writes it: an alias, `provider/model`, or a name that
    a provider's patterns know; asked with the key `own` where there is one. Raises Invalid, NotFound, Unsupported,
    Unavailable."""
    if not model:
        raise Invalid('The call names no model; set "model".', param="model")
    row, name = led_to(model, providers, config)
    spoken = _spoken(row, dialect, kind)
    if spoken is None:
        raise Unsupported(_unspoken(model, dialect, row), param="model")
    return _gateway_target(row, name, spoken, row.dialects[spoken], own)


def target_by_default(call: Call, providers: Providers, config: Config) -> Target:
    """The target of a call that names no model: the provider that the header PROVIDER names, else the first that speaks
    the call's dialect and has a key. Raises Invalid, Unsupported, Unavailable."""
    return target_at(_row_by_default(call, providers, config), call.dialect.name, own_secret(call))


def _row_by_default(call: Call, providers: Providers, config: Config) -> ProviderRow:
    dialect, name = call.dialect.name, call.headers.get(PROVIDER, "")
    if name:
        row = providers.get(name)
        if row is None:
            raise Invalid(f"{PROVIDER}: should be one of {_names(providers)}.", param=PROVIDER)
        return row
    row = next((row for row in providers if dialect in row.dialects and (call.own_key or in_use(row, config))), None)
    if row is None:
        raise _misconfigured(f"No provider that speaks the dialect {dialect} has a key.", "no_credential")
    return row


def target_at(row: ProviderRow, dialect: str, own: SecretRef | None = None) -> Target:
    """A provider for a call that is about no model. Raises Unsupported, Unavailable."""
    if dialect not in row.dialects:
        raise Unsupported(f"The provider {row.name} cannot be asked in the dialect {dialect}.", param=PROVIDER)
    return _gateway_target(row, dialect=dialect, path=row.dialects[dialect], own=own)


def _spoken(row: ProviderRow, dialect: str, kind: str) -> str | None:
    """The dialect in which to ask: the client's own, else the first of the row's that it can be translated into; for
    a count of tokens rather one whose API counts."""
    if dialect in row.dialects:
        return dialect
    known = others(dialect, kind)
    spoken = [one for one in row.dialects if one in known]
    counting = [one for one in spoken if one in COUNTING] if kind == "count" else []
    return next(iter(counting or spoken), None)


@functools.lru_cache(maxsize=1024)
def target_for_origin(origin: str, row: ProviderRow) -> Target:
    """The target of a call through the proxy: where the client went by itself, with the client's own key."""
    return _make(row, base_url=origin, own_key=True)


def lister(row: ProviderRow, dialect: str) -> Target:
    """Who is asked for the list of a provider's models. Raises Unavailable."""
    return _gateway_target(row, dialect=dialect)


def keeper(call: Call, name: str, providers: Providers) -> Target | None:
    """The provider of this name, asked about what it keeps; None where there is none any more. Raises Unavailable."""
    row = providers.get(name)
    return None if row is None else _gateway_target(row, own=own_secret(call))


def in_use(row: ProviderRow, config: Config) -> bool:
    """Whether the gateway can ask this provider: it has a key for it, or shin.yaml names one that wants none."""
    if not row.base_url or not row.dialects:
        return False
    return any(secret.present() for secret in row.api_key) or (row.name in config.providers and not row.api_key)


def name_of(model: str, row: ProviderRow, providers: Providers, config: Config) -> str:
    """What a client has to call a provider's model: by its own name where that leads there, else provider/model."""
    if model not in config.models:
        with suppress(NotFound):
            if _find_row(model, providers) == (row, model):
                return model
    return f"{row.name}/{model}"


def led_to(model: str, providers: Providers, config: Config) -> tuple[ProviderRow, str]:
    """The provider that a name of a model leads to, and what the model is called there. Raises NotFound."""
    return _find_row(config.resolve(model)[0], providers)


def _find_row(model: str, providers: Providers) -> tuple[ProviderRow, str]:
    prefix, slash, rest = model.partition("/")
    named = providers.get(prefix) if slash and rest else None
    if named is not None:
        return named, rest
    row = providers.for_model(model)
    if row is None:
        message = f'The model "{_short(model)}" is unknown; write provider/model, with one of {_names(providers)}.'
        raise NotFound(message, code="model_not_found", param="model")
    return row, model


def _gateway_target(
    row: ProviderRow, model: str = "", dialect: str = "", path: str = "", own: SecretRef | None = None
) -> Target:
    if not row.base_url:
        message = f"The provider {row.name} has no base_url; set providers.{row.name}.base_url in shin.yaml."
        raise _misconfigured(message, "no_base_url")
    return _make(row, model=model, dialect=dialect, path=path, secret=own or _secret(row))


def _make(
    row: ProviderRow,
    *,
    model: str = "",
    dialect: str = "",
    path: str = "",
    base_url: str = "",
    secret: Secret | None = None,
    own_key: bool = False,
) -> Target:
    return Target(
        name=f"{row.name}/{model}" if model else row.name,
        provider=row.name,
        base_url=base_url or row.base_url,
        dialect=dialect,
        model=model,
        path=path,
        auth_header=row.auth_header,
        auth_scheme=row.auth_scheme,
        auth_below=row.auth_below,
        secret=secret,
        own_key=own_key,
        prices=row.prices,
        stream_usage=row.stream_usage,
        quirks=row.quirks,
        websocket=row.websocket,
    )


def _secret(row: ProviderRow) -> Secret | None:
    """The first key that is there; None when the provider wants none."""
    for secret in row.api_key:
        if secret.present():
            return secret
    if not row.api_key:
        return None
    wanted = " or ".join(map(str, row.api_key))
    raise _misconfigured(f"The gateway has no key for the provider {row.name}: {wanted} is not there.", "no_credential")


class OwnSecret(SecretRef):
    """The key that a client of the gateway brought for its provider."""

    def __init__(self, key: str) -> None:
        self._key = key

    def read_text(self) -> str:
        if not self._key:
            raise SecretMissing(f"{self} is missing")
        return self._key

    def __str__(self) -> str:
        return "the client's own key"

    def __eq__(self, other: object) -> bool:
        return self is other

    def __hash__(self) -> int:
        return id(self)


def _read(secret: Secret, provider: str) -> str:
    try:
        return secret.read()
    except SecretMissing as error:
        raise _misconfigured(f"The gateway has no key for the provider {provider}: {error}.", "no_credential") from None


def _misconfigured(message: str, code: str) -> Unavailable:
    """A fault of ours that waiting does not mend. A verdict, so 400: agents retry a 503 and hide what it says."""
    refusal = Unavailable(message, code=code, status=400)
    refusal.retryable = False
    return refusal


def _unspoken(model: str, dialect: str, row: ProviderRow) -> str:
    spoken = ", ".join(sorted(one for one in row.dialects if not one.endswith(_KEPT))) or "none of our dialects"
    return (
        f'The model "{_short(model)}" of {row.name} cannot be asked in the dialect {dialect}; it speaks {spoken}, '
        "and there is no translation for this kind of call."
    )


@functools.lru_cache(maxsize=1024)
def _joined(base: str, below: str) -> str:
    """`below` under `base`; what ends the one and begins the other stands once: /api/v1 + /v1/files = /api/v1/files."""
    if below and not below.startswith("/"):
        below = f"/{below}"  # or the path could rewrite the host: https://api.example.com@elsewhere
    ends, starts = urlsplit(base).path.split("/")[1:], below.split("/")[1:]
    for length in range(min(len(ends), len(starts)), 0, -1):
        if ends[-length:] == starts[:length]:
            return base + below[sum(len(part) + 1 for part in starts[:length]) :]
    return base + below


def _short(name: str) -> str:
    name = "".join(character if character.isprintable() else "?" for character in name)
    return name if len(name) <= _LONGEST_NAME else f"{name[:_LONGEST_NAME]}…"


def _names(providers: Providers) -> str:
    return ", ".join(row.name for row in providers if row.dialects and row.base_url)
