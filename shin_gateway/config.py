"""`shin.yaml`: what holds for the whole server. Every key has a default, so no file is needed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from shin_gateway.policy.positions import Loc, PolicyErrors, parse, read, validate
from shin_gateway.providers import Problem, ProviderSettings, check_rows
from shin_gateway.secret import SecretRef, UrlRef
from shin_gateway.units import Duration

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


class LogSettings(_Part):
    """What is kept."""

    retention: Duration = 90 * 86400.0
    """How long analytics keep the rows of calls."""


class Config(_Part):
    """The whole file."""

    listen: Listen = Listen()
    stores: Stores = Stores()
    providers: dict[str, ProviderSettings] = {}
    """Rows added to the built-in ones, or over one of them key by key; `like:` starts from another row."""
    models: dict[str, str] = {}
    """Names of our own for models: `fast: openai/gpt-4o-mini`."""
    users: dict[str, SecretRef] = {}
    """User names and secrets that the proxy's URL may carry. Empty: any name is believed and no secret is checked."""
    workers: Annotated[int, Field(ge=1, le=256, strict=True)] = 1
    """Proxy processes on the same ports."""
    policies: tuple[Path, ...] = ()
    """Folders of policies, over those that come with the gateway."""
    addons: tuple[Path, ...] = ()
    """Folders of addons beside ours."""
    upstream: UpstreamSettings = UpstreamSettings()
    log: LogSettings = LogSettings()


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
    for alias, model in config.models.items():
        if not model.strip() or alias == model:
            loc: Loc = ("models", alias)
            yield Problem(loc, f'"{alias}" should name a model, like openai/gpt-4o-mini')


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
