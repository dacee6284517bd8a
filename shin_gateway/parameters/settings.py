"""Parameters as people write them in YAML, for aliases and policies alike."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from shin_gateway.translation.form import Effort


def _listed(value: object) -> object:
    return [value] if isinstance(value, str) else value


Most = Annotated[int, Field(ge=1, le=10_000_000, strict=True)]
Choices = Annotated[int, Field(ge=1, le=128, strict=True)]
Temperature = Annotated[float, Field(ge=0, le=2, strict=True)]
Share = Annotated[float, Field(ge=0, le=1, strict=True)]
Penalty = Annotated[float, Field(ge=-2, le=2, strict=True)]
Stop = Annotated[str, Field(min_length=1)]


class _Values(BaseModel):
    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True, validate_default=True, frozen=True)

    @property
    def values(self) -> Mapping[str, Any]:
        """Those that were set, by name."""
        names = self.model_fields_set & _NAMES
        return {name: value for name in sorted(names) if (value := getattr(self, name)) not in (None, ())}


class Parameters(_Values):
    """Defaults. What the client says itself stands; what its API has no place for is left out."""

    temperature: Temperature | None = None
    """How freely the model chooses, 0 to 2; Anthropic's scale ends at 1."""
    top_p: Share | None = None
    """The share of probability from which tokens are chosen."""
    top_k: Annotated[int, Field(ge=1, strict=True)] | None = None
    """How many tokens it chooses from. OpenAI's own models refuse it."""
    max_tokens: Most | None = None
    """The longest reply in tokens, reasoning included."""
    reasoning_effort: Effort | None = None
    """How much it thinks. For models of token budgets it is turned into one."""
    verbosity: Literal["low", "medium", "high"] | None = None
    """How long-winded it is."""
    stop: Annotated[tuple[Stop, ...], BeforeValidator(_listed)] | None = None
    """Texts at which it stops, one or a list."""
    seed: Annotated[int, Field(strict=True, ge=-(2**31), lt=2**31)] | None = None
    """Makes the same call likelier to get the same answer."""
    n: Choices | None = None
    """How many answers."""
    frequency_penalty: Penalty | None = None
    """Against words that came often."""
    presence_penalty: Penalty | None = None
    """Against words that came at all."""
    service_tier: Literal["auto", "default", "flex", "priority"] | None = None
    """The provider's class of service."""


class Caps(_Values):
    """The most that a call may ask for."""

    temperature: Temperature | None = None
    """The highest temperature."""
    top_p: Share | None = None
    """The greatest share of probability."""
    top_k: Annotated[int, Field(ge=1, strict=True)] | None = None
    """The most tokens to choose from."""
    max_tokens: Most | None = None
    """The longest reply in tokens. A call that says nothing gets this limit, where it would otherwise have none."""
    reasoning_effort: Effort | None = None
    """The greatest effort. Budgets of tokens are held to what the word stands for."""
    n: Choices | None = None
    """The most answers."""
    frequency_penalty: Penalty | None = None
    """The highest penalty."""
    presence_penalty: Penalty | None = None
    """The highest penalty."""


_NAMES = Parameters.model_fields.keys()
