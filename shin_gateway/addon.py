"""What an addon is: one layer of the chain, its settings above it.

class CacheSettings(Settings):
    ttl: Duration = "1h"
    \"""How long an answer stays fresh.\"""

class Cache(Addon[CacheSettings]):
    stage = Stage.CACHE

    async def handle(self, call: Call, forward: Forward) -> Reply:
        ...
"""

from __future__ import annotations

import enum
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal, get_args

from pydantic import BaseModel, ConfigDict

from shin_gateway.pricing import Prices

if TYPE_CHECKING:
    from pathlib import Path

    from shin_gateway.call import Call
    from shin_gateway.fetching import Fetcher, FetchLimits
    from shin_gateway.identity import Identity
    from shin_gateway.reply import Reply
    from shin_gateway.roles import Roles
    from shin_gateway.stores.state import StateStore
    from shin_gateway.targets import Target

Forward = Callable[["Call"], Awaitable["Reply"]]
"""The rest of the chain: hand the call on, get the reply."""

Mode = Literal["enforce", "shadow"]


class Stage(enum.IntEnum):
    """Where in the chain an addon stands, outermost first. The order of lines in a policy is no order."""

    OBSERVE = 0
    IDENTIFY = 1
    ADMIT = 2
    SHAPE = 3
    GUARD = 4
    CACHE = 5
    ROUTE = 6
    WIRE = 7


class Settings(BaseModel):
    """Settings of one addon. Unknown keys are errors; docstrings under fields become docs and JSON schema."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True, validate_default=True, frozen=True)


@dataclass(frozen=True)
class Services:
    """What the gateway hands to an addon, so that an addon builds none of it."""

    state: StateStore
    fetcher: Callable[[FetchLimits], Fetcher]
    """Makes what fetches files that calls name by URL; the addon starts and closes it."""
    target_of: Callable[[Call], Target | None]
    """Whom a call will be for, unless the route stage says otherwise; the call stays as it is. Raises Refusal."""
    led_to: Callable[[str], str]
    """`provider/model` that a name of a model leads to at the gateway; "" where nowhere."""
    keeper: Callable[[Call, str], Target | None]
    """A provider by its name, for a call about what it keeps. Raises Refusal."""
    identity: Identity
    """Who is calling."""
    roles: Roles
    """What callers may."""
    prices: Prices = field(default_factory=Prices)
    """What tokens cost: those of shin.yaml before the table's."""
    home: Path | None = None
    """Where this installation keeps its files; None: it keeps none."""


class Addon[S: Settings]:
    """One layer of the chain. One instance per policy that names it, made when the policy loads."""

    name: ClassVar[str]
    """The file's stem, set by the registry: `rate_limit` for addons/rate_limit.py."""
    stage: ClassVar[Stage]
    order: ClassVar[int] = 0
    """Among addons of one stage, lower is further out; equal ones go by name."""
    observer: ClassVar[bool] = False
    """An observer's own exception is logged and the call goes on; any other addon fails closed."""

    identifies: ClassVar[bool] = False
    """Whether it says who is calling. Then nobody else does: not the proxy's URL, and not the key alone."""
    claims: ClassVar[bool] = False
    """Whether it refuses by claims alone (`shin_gateway.admission`), which know themselves what shadow mode is."""
    needs: ClassVar[tuple[str, ...]] = ()
    """Addons without which it is held for show: a policy that has it and not them is refused."""
    changes_calls: ClassVar[bool] = False
    """Whether it changes what a client sends; `shin exec` tells agents that sign their bodies."""

    def __init__(self, settings: S, services: Services, mode: Mode = "enforce") -> None:
        self.settings = settings
        self.services = services
        self.mode = mode

    async def start(self) -> None:
        """Called once before the first call. A failure keeps the policy from loading."""

    async def stop(self) -> None:
        """Called when the last call of this policy has ended."""

    async def handle(self, call: Call, forward: Forward) -> Reply:
        return await forward(call)

    @classmethod
    def demands_key(cls, settings: S) -> bool:
        """Whether, with these settings, nobody gets past it who shows no key or token of ours."""
        return False

    @classmethod
    def settings_type(cls) -> type[Settings]:
        """The class in `Addon[...]`."""
        for base in getattr(cls, "__orig_bases__", ()):
            args: tuple[Any, ...] = get_args(base)
            if args and isinstance(args[0], type) and issubclass(args[0], Settings):
                return args[0]
        return Settings
