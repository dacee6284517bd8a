"""Puts a gateway together from its configuration: the same for a worker and for plain mitmdump."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from shin_gateway.ca import CAError
from shin_gateway.config import Config, load_config
from shin_gateway.gateway import Gateway
from shin_gateway.policy.positions import PolicyErrors
from shin_gateway.registry import Registry, RegistryError
from shin_gateway.secret import SecretMissing
from shin_gateway.stores.embedded import EmbeddedState
from shin_gateway.stores.errors import StoreError
from shin_gateway.stores.state import StateStore
from shin_gateway.upstream import Upstream, UpstreamOptions

EXPECTED = (PolicyErrors, RegistryError, CAError, StoreError, SecretMissing)
"""What keeps a gateway from starting through no fault of the program: one line for a person, no traceback."""


@dataclass(frozen=True)
class Places:
    """Where a gateway's files are."""

    home: Path
    config: Path | None = None
    policies: list[Path] = field(default_factory=list)
    """Folders of policies, in addition to those that `shin.yaml` names."""
    addons: list[Path] = field(default_factory=list)

    def read(self) -> Config:
        """Raises PolicyErrors."""
        return load_config(self.config)

    def policy_dirs(self, config: Config) -> list[Path]:
        return [*config.policies, *self.policies]

    def registry(self, config: Config) -> Registry:
        """Raises RegistryError."""
        return Registry.load([*config.addons, *self.addons])


def state_url(config: Config, home: Path) -> str:
    """Where the state is: the server that `stores.state` names, else the embedded one. Raises SecretMissing."""
    return config.stores.state.read() if config.stores.state else EmbeddedState(home).url


def make_home(home: Path) -> None:
    """The folder of everything that is kept, and whatever this process will put there, for its owner alone.

    Raises OSError.
    """
    os.umask(0o077)
    home.mkdir(mode=0o700, parents=True, exist_ok=True)


async def open_gateway(places: Places, config: Config, options: UpstreamOptions) -> Gateway:
    """A started gateway on a state store that runs already. Raises what keeps it from starting."""
    state = await StateStore.connect(state_url(config, places.home))
    gateway = Gateway(
        config=config,
        registry=places.registry(config),
        policy_dirs=places.policy_dirs(config),
        state=state,
        upstream=Upstream(options),
        home=places.home,
    )
    try:
        await gateway.start()
    except BaseException:
        await gateway.stop()
        await state.close()
        raise
    return gateway
