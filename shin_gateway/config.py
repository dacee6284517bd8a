"""`shin.yaml`: what holds for the whole server. Every key has a default, so no file is needed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Discriminator, Field, Tag

from shin_gateway.auth_settings import AuthSettings
from shin_gateway.listening.limits import ListenLimits
from shin_gateway.parameters.settings import Parameters
from shin_gateway.policy.positions import Loc, PolicyErrors, parse, read, validate
from shin_gateway.pricing import PriceSettings
from shin_gateway.providers import Problem, ProviderSettings, check_rows
from shin_gateway.roles import DEFAULTS, Role
from shin_gateway.secret import SecretRef, UrlRef
from shin_gateway.units import Duration
from shin_gateway.wording import meant_or_known

Port = Annotated[int, Field(ge=0, le=65535, strict=True)]
"""0 takes a free one."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True, validate_default=True)


class Listen(_Part):
    """Where the gateway listens."""

    host: str = "127.0.0.1"
    """The address of all three ports; beyond loopback only with authentication."""
    proxy_port: Port = 8080
    gateway_port: Port = 4000
    admin_port: Port = 4040
    limits: ListenLimits = ListenLimits()
    """What one client may hold on to."""
    proxy_auth: Literal["policy", "required"] = "policy"
    """Whom the proxy serves: `policy` leaves it to each policy, and where there are no `users` tunnels for everybody;
    `required` wants the secret of a user, a virtual key or a token from everybody."""


class Stores(_Part):
    """Servers that replace the embedded stores, as URLs. A URL with a password in it is written by reference."""

    state: UrlRef | None = None
    """Redis or Valkey, also Sentinel, Cluster and TLS."""
    analytics: UrlRef | None = None
    """ClickHouse."""


class UpstreamSettings(_Part):
    """How providers are reached."""

    proxy: UrlRef | None = None
    """A corporate proxy that all upstream connections go through."""
    ca: Path | None = None
    """A file of root certificates to trust beside the public ones."""


class User(_Part):
    """A user of this server, with one secret for the proxy, the gateway and the admin API."""

    secret: SecretRef
    roles: Annotated[
        tuple[Annotated[str, Field(strict=True, min_length=1, max_length=64)], ...], Field(max_length=32)
    ] = ("admin",)
    """What he may."""
    team: Annotated[str, Field(strict=True, max_length=200)] = ""
    project: Annotated[str, Field(strict=True, max_length=200)] = ""


def _user(value: object) -> object:
    return value if isinstance(value, User | dict) else User(secret=SecretRef(SecretRef.checked(value)))


class LogSettings(_Part):
    """What is kept."""

    retention: Duration = 90 * 86400.0
    """How long analytics keep the rows of calls."""


class Alias(Parameters):
    """A name of our own for a model, with parameters for calls that leave them out."""

    model: Annotated[str, Field(strict=True)]
    """A model's name, `provider/model`, or another alias."""


def _form(value: object) -> str | None:
    if isinstance(value, str):
        return "name"
    return "mapping" if isinstance(value, dict | Alias) else None


AliasOrName = Annotated[
    Annotated[str, Tag("name")] | Annotated[Alias, Tag("mapping")],
    Discriminator(
        _form,
        custom_error_type="alias",
        custom_error_message="Input should be the name of a model, or a mapping with `model` in it",
    ),
]

MAX_ALIASES = 8
"""Aliases that may lead from one to the next."""


class Config(_Part):
    """The whole file."""

    listen: Listen = Listen()
    stores: Stores = Stores()
    providers: dict[str, ProviderSettings] = {}
    """Rows added to the built-in ones, or over one of them key by key; `like:` starts from another row."""
    models: dict[str, AliasOrName] = {}
    """Names of our own for models: `fast: openai/gpt-4o-mini`, or with
    parameters for calls that leave them out: `fast: {model: openai/gpt-4o-mini, temperature: 0.2}`."""
    users: dict[str, Annotated[User, BeforeValidator(_user)]] = {}
    """Users and their secrets: `alice: env:ALICE`, who has the role admin, or
    `alice: {secret: env:ALICE, roles: [user], team: red}`. Empty: a name in the proxy's URL is believed."""
    auth: AuthSettings = AuthSettings()
    """How callers show who they are, beside virtual keys and users."""
    roles: dict[str, Role] = {}
    """What callers may, by role, over the built-in roles admin, user and guest; one of the same name is replaced."""
    prices: dict[str, PriceSettings] = {}
    """Prices over those of the price table, by `provider/model` or by the model alone: `my-deployment: {input: $2.50,
    output: $10}`. The provider is named as in the price table."""
    workers: Annotated[int, Field(ge=1, le=256, strict=True)] = 1
    """Proxy processes on the same ports."""
    policies: tuple[Path, ...] = ()
    """Folders of policies, over those that come with the gateway."""
    addons: tuple[Path, ...] = ()
    """Folders of addons beside ours."""
    upstream: UpstreamSettings = UpstreamSettings()
    log: LogSettings = LogSettings()

    @property
    def for_others(self) -> bool:
        """Whether the proxy serves others than whoever runs it, and wants a login of everybody."""
        return bool(self.users) or self.listen.proxy_auth == "required"

    def resolve(self, name: str) -> tuple[str, Mapping[str, Any]]:
        """The model that `name` stands for, itself where it is no alias, and the parameters that come with it.

        Where aliases lead to one another, the parameters of the first win.
        """
        parameters: Mapping[str, Any] = {}
        for _ in range(MAX_ALIASES):
            alias = self.models.get(name)
            if alias is None:
                break
            if isinstance(alias, Alias):
                parameters = {**alias.values, **parameters}
            name = _led_to(alias)
        return name, parameters


def load_config(path: Path | None = None, overrides: Mapping[str, Any] | None = None) -> Config:
    """The file's configuration, or the defaults. Raises PolicyErrors with every position.

    `overrides` has the shape of the file and wins over it section by section: `{"listen": {"proxy_port": 9000}}`.
    Paths in the file count from the file's folder, those in `overrides` from the working directory.
    """
    document = read(path) if path else parse("", "shin.yaml")
    config = validate(document, Config)
    errors = [document.error(one.loc, one.message, one.hint) for one in _problems(config)]
    if errors:
        raise PolicyErrors(errors)
    if path:
        config = _rooted(config, path.absolute().parent)
    return _overridden(config, overrides or {})


def _problems(config: Config) -> Iterator[Problem]:
    for problem in check_rows(config.providers):
        yield Problem(("providers", *problem.loc), problem.message, problem.hint)
    for name, alias in config.models.items():
        message = _misled(name, config.models)
        if message:
            loc: Loc = ("models", name) if isinstance(alias, str) else ("models", name, "model")
            yield Problem(loc, message)
    roles = {*DEFAULTS, *config.roles}
    for where, role in _roles_named(config):
        if role not in roles:
            yield Problem(where, f'there is no role "{role}"', meant_or_known(role, roles))


def _roles_named(config: Config) -> Iterator[tuple[Loc, str]]:
    for name, user in config.users.items():
        for number, role in enumerate(user.roles):
            yield ("users", name, "roles", number), role
    for number, issuer in enumerate(config.auth.issuers):
        for word, role in issuer.role_names.items():
            yield ("auth", "issuers", number, "role_names", word), role
    asked = config.auth.introspection
    for word, role in (asked.role_names if asked else {}).items():
        yield ("auth", "introspection", "role_names", word), role


def _misled(name: str, aliases: Mapping[str, str | Alias]) -> str:
    """What is wrong with where an alias leads; "" when nothing is."""
    line = [name]
    while (alias := aliases.get(line[-1])) is not None:
        line.append(_led_to(alias))
        if not line[1].strip() or line[1] == name:
            return f'"{name}" should name a model, like openai/gpt-4o-mini'
        if line[-1] == name:
            return f'"{name}" leads back to itself: {" → ".join(line)}'
        if line[-1] in line[:-1]:
            return ""  # a loop further on, which is reported there
        if len(line) > MAX_ALIASES + 1:
            return f'"{name}" leads through more than {MAX_ALIASES} aliases'
    return ""


def _led_to(alias: str | Alias) -> str:
    return alias.model if isinstance(alias, Alias) else alias


def _rooted(config: Config, root: Path) -> Config:
    ca = config.upstream.ca
    changes = {
        "policies": tuple(root / path.expanduser() for path in config.policies),
        "addons": tuple(root / path.expanduser() for path in config.addons),
        "upstream": config.upstream.model_copy(update={"ca": root / ca.expanduser() if ca else None}),
    }
    return config.model_copy(update=changes)


def _overridden(config: Config, overrides: Mapping[str, Any]) -> Config:
    merged = {key: getattr(config, key) for key in Config.model_fields}
    for key, value in overrides.items():
        part = merged.get(key)
        merged[key] = dict(part) | dict(value) if isinstance(part, BaseModel) else value
    return validate(parse("", "command line"), Config, merged)
