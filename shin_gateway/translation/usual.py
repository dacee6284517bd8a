"""Sampling that a call states although it is what the API does anyway: nobody wished for it.

Gemini CLI says `topP: 0.95, topK: 64` in every call, the defaults of Gemini's models (40 in older ones).
Source: ai.google.dev/gemini-api/docs/models, and packages/core/src/config/defaultModelConfigs.ts of gemini-cli
"""

from __future__ import annotations

from shin_gateway.translation.losses import Losses

_USUAL: dict[str, tuple[float, ...]] = {"temperature": (1,), "top_p": (0.95, 1), "top_k": (40, 64)}


def drop_sampling(name: str, value: float, losses: Losses, why: str = "") -> None:
    """Note that `name` goes no further. Raises Invalid for a value that someone chose, where the policy wants that."""
    if value in _USUAL.get(name, ()):
        losses.soften(name)
    else:
        losses.drop(name, why)
