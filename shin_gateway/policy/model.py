"""What a policy file may say."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict

from shin_gateway.listening.cors import Cors
from shin_gateway.policy.match import parse_pattern
from shin_gateway.policy.paths import PathRow
from shin_gateway.units import Duration, Size


def _listed(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


def _host(text: str) -> str:
    return str(parse_pattern(text))


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True, validate_default=True)


class Timeouts(_Part):
    """How long each phase of one attempt may take."""

    # A whole reply of a reasoning model is one part that comes at the end, and the clients themselves wait ten
    # minutes for it; a shorter time here would break calls that work without us.
    connect: Duration = 10.0
    """To connect to the upstream, TLS included."""
    first_part: Duration = 600.0
    """From the call's last byte to the reply's first. A reply that is not streamed comes all at once."""
    idle: Duration = 300.0
    """Silence between two parts."""
    total: Duration = 3600.0
    """From the start of the attempt to the last part."""
    socket: Duration = 3600.0
    """Silence of both sides on a realtime connection, which is closed then."""


class Limits(_Part):
    """Sizes beyond which a call is refused."""

    body: Size = 64_000_000
    """The call's body, compressed or decoded."""


class PresetFile(_Part):
    """A fragment that policies extend: everything a policy may say but `hosts`."""

    extends: Annotated[tuple[str, ...], BeforeValidator(_listed)] = ()
    """Presets to build on, one or a list; where two of them set one thing, the later wins."""
    addons: dict[str, Any] = {}
    """Addons by name: their settings, `on` for the defaults, `off` to take one out that a preset put in.
    Settings replace those of a preset as a whole. `mode: shadow` inside them decides without acting."""
    websocket: Literal["carry", "decline", "pass"] = "carry"
    """A WebSocket that carries calls (Codex, Copilot, realtime APIs): `carry` takes each call through the chain, a
    realtime connection as one call; `decline` answers 426, upon which agents fall back to HTTPS; `pass` lets it
    through unseen."""
    proxy_auth: Literal["optional", "required"] = "optional"
    """Whether the proxy's URL must carry credentials to reach these hosts."""
    timeouts: Timeouts = Timeouts()
    """How long each phase may take."""
    limits: Limits = Limits()
    """Sizes beyond which a call is refused."""
    cors: Cors | None = None
    """Which web pages may ask the gateway listener. It means nothing for other hosts."""
    provider: str = "generic"
    """The row of providers that serves those of the hosts that no row names."""
    paths: tuple[PathRow, ...] = ()
    """Path classes tried before the provider's own."""


class PolicyFile(PresetFile):
    """Which addons, with which settings, a call to these hosts goes through."""

    hosts: tuple[Annotated[str, AfterValidator(_host)], ...]
    """Names (api.openai.com), wildcards (*.openai.azure.com), addresses, each with or without a port;
    `gateway` is our own gateway listener."""


SINGLE_KEYS = ("websocket", "proxy_auth", "timeouts", "limits", "cors", "provider", "paths")
"""Keys that one file sets as a whole; the nearest file wins."""
