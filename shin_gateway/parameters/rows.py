"""Where each API has the parameters, as data, and how it writes them.

Sources: platform.openai.com/docs/api-reference/{chat,responses,completions}/create,
platform.claude.com/docs/en/{api/messages,build-with-claude/thinking},
ai.google.dev/api/generate-content#generationconfig, openrouter.ai/docs/use-cases/reasoning-tokens.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from shin_gateway.parameters import efforts
from shin_gateway.parameters.body import Body

Write = Callable[[Any, Body], Any]
"""The value in this API's form, for this body; None where it cannot be said."""
Lower = Callable[[Any, Any], Any]
"""What stands there, and the cap in, what may stand there out: the value itself where it is within the cap."""


def as_number(value: object) -> float | None:
    """A number, also one in a string, which lenient servers take; None for anything else."""
    if isinstance(value, str) and len(value) <= 40:
        try:
            return float(value)
        except ValueError:
            return None
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


def _same(value: Any, _: Body) -> Any:
    return value


def _never(_: Any, __: Body) -> None:
    """Only looked for: another place is the one to write to."""


def _listed(value: Any, _: Body) -> Any:
    return list(value)


def _at_most(value: Any, cap: Any) -> Any:
    number = as_number(value)
    return value if number is None or number <= cap else cap


def _count_at_most(value: Any, cap: Any) -> Any:
    """Some servers take a negative count for no limit at all."""
    number = as_number(value)
    return value if number is None or 0 <= number <= cap else cap


@dataclass(frozen=True, slots=True)
class Place:
    """One place of one parameter. Of several, the first that fits the model is written to, and all are looked at."""

    path: str
    write: Write = _same
    lower: Lower = _at_most
    models: re.Pattern[str] | None = None
    """Models that it is for; None: all."""
    beside: tuple[str, Callable[[Body], Any]] | None = None
    """Another member, and what goes into it, without which this one has no effect; None where it is better left out."""


_REASONERS = re.compile(r"^(?:o\d|gpt-[5-9]|gpt-\d\d|codex|computer-use)")
"""Models that refuse `max_tokens`. Many compatible servers know nothing else, and OpenAI's older models take both."""
_EFFORT_MODELS = re.compile(r"claude-(?:mythos|[a-z]+-(?:4-[6-9](?!\d)|4-\d\d(?!\d)|[5-9]))")
"""Claude models that think by effort; older ones by budget, which models after 4.6 refuse."""
_SAMPLED = re.compile(r"^(?!.*claude-(?:mythos|[a-z]+-(?:4-[7-9](?!\d)|4-\d\d(?!\d)|[5-9])))")
"""All models but the Claude models that refuse temperature, top_p and top_k: 4.7 and later."""
_LEVEL_MODELS = re.compile(r"gemini-(?:[3-9]|\d\d)")
"""Gemini models that think by level; older ones by budget."""
_CONFIG = "generationConfig"
_TIERS = {"default": "standard", "flex": "flex", "priority": "priority"}
_CLAUDE_TIERS = {"auto": "auto", "default": "standard_only"}

_OPENAI = {
    "temperature": (Place("temperature"),),
    "top_p": (Place("top_p"),),
    "service_tier": (Place("service_tier"),),
}
_SAMPLING = {
    "top_k": (Place("top_k"),),
    "stop": (Place("stop", _listed),),
    "seed": (Place("seed"),),
    "frequency_penalty": (Place("frequency_penalty"),),
    "presence_penalty": (Place("presence_penalty"),),
}

Rows = Mapping[str, tuple[Place, ...]]

PLACES: Mapping[str, Rows] = {
    "openai.chat": {
        "max_tokens": (
            Place("max_completion_tokens", lower=_count_at_most, models=_REASONERS),
            Place("max_tokens", lower=_count_at_most),
        ),
        "reasoning_effort": (
            Place("reasoning_effort", lower=efforts.word),
            Place("reasoning.effort", _never, efforts.word),
            Place("reasoning.max_tokens", _never, efforts.budget),
        ),
        "verbosity": (Place("verbosity"),),
        "n": (Place("n", lower=_count_at_most),),
        **_OPENAI,
        **_SAMPLING,
    },
    "openai.completions": {
        "max_tokens": (Place("max_tokens", lower=_count_at_most),),
        "n": (Place("n", lower=_count_at_most), Place("best_of", _never, _count_at_most)),
        **_OPENAI,
        **_SAMPLING,
    },
    "openai.responses": {
        "max_tokens": (Place("max_output_tokens", lower=_count_at_most),),
        "reasoning_effort": (Place("reasoning.effort", lower=efforts.word),),
        "verbosity": (Place("text.verbosity"),),
        **_OPENAI,
    },
    "anthropic.messages": {
        "max_tokens": (Place("max_tokens", lower=_count_at_most),),
        "reasoning_effort": (  # before what does not go with it; its budgets are capped by `efforts.settle`
            Place(
                "output_config.effort",
                efforts.claude_word,
                efforts.claude_cap,
                _EFFORT_MODELS,
                ("thinking", efforts.adaptive),
            ),
            Place("thinking", efforts.thinking, efforts.keep),
        ),
        "temperature": (Place("temperature", efforts.temperature, models=_SAMPLED),),
        "top_p": (Place("top_p", efforts.top_p, models=_SAMPLED),),
        "top_k": (Place("top_k", efforts.top_k, models=_SAMPLED),),
        "stop": (Place("stop_sequences", _listed),),
        "service_tier": (Place("service_tier", lambda value, _: _CLAUDE_TIERS.get(value)),),
    },
    "gemini.generate": {
        "max_tokens": (Place(f"{_CONFIG}.maxOutputTokens", lower=_count_at_most),),
        "reasoning_effort": (
            Place(f"{_CONFIG}.thinkingConfig.thinkingLevel", efforts.level, efforts.level_cap, _LEVEL_MODELS),
            Place(f"{_CONFIG}.thinkingConfig.thinkingBudget", efforts.gemini_budget, efforts.budget),
        ),
        "temperature": (Place(f"{_CONFIG}.temperature"),),
        "top_p": (Place(f"{_CONFIG}.topP"),),
        "top_k": (Place(f"{_CONFIG}.topK"),),
        "stop": (Place(f"{_CONFIG}.stopSequences", _listed),),
        "seed": (Place(f"{_CONFIG}.seed"),),
        "n": (Place(f"{_CONFIG}.candidateCount", lower=_count_at_most),),
        "frequency_penalty": (Place(f"{_CONFIG}.frequencyPenalty"),),
        "presence_penalty": (Place(f"{_CONFIG}.presencePenalty"),),
        "service_tier": (Place("serviceTier", lambda value, _: _TIERS.get(value)),),
    },
}

SAMPLING = frozenset({"temperature", "top_p", "top_k"})
UNSAMPLED_SINCE = "2026-10-21"
"""The `anthropic-version` since which Anthropic refuses them for every model."""
UNLIMITED = frozenset({"openai.chat", "openai.responses", "anthropic.messages", "gemini.generate"})
"""Dialects in which a call without a limit may be answered at any length. Completions end after 16 tokens."""
