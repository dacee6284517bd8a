"""Reasoning effort in words and in tokens.

OpenAI has words, Anthropic and Gemini 2.5 token budgets, newer models of both words again. The numbers follow Gemini's
OpenAI-compatible API (ai.google.dev/gemini-api/docs/openai#thinking: low 1,024, medium 8,192, high 24,576), the words
beyond it go on in steps that models accept.
"""

from __future__ import annotations

from shin_gateway.translation.form import Effort, ReasoningWish

BUDGETS: dict[Effort, int] = {
    "none": 0,
    "minimal": 1024,
    "low": 1024,
    "medium": 8192,
    "high": 24576,
    "xhigh": 32000,
    "max": 32000,
}
"""Tokens for each word. Anthropic takes none below 1,024."""


def budget_of(wish: ReasoningWish) -> int | None:
    """Tokens; 0 none, -1 as the model sees fit, None not said."""
    if wish.budget is not None:
        return wish.budget
    return BUDGETS[wish.effort] if wish.effort else None


def effort_of(wish: ReasoningWish) -> Effort | None:
    """The word nearest to what was said; None where nothing was, or the model shall decide."""
    if wish.effort is not None or wish.budget is None or wish.budget < 0:
        return wish.effort
    if wish.budget == 0:
        return "none"
    return "low" if wish.budget <= 2048 else "medium" if wish.budget <= 12288 else "high"
