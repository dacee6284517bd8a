"""Reasoning effort: words, levels and budgets of tokens, and what Anthropic allows beside them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from shin_gateway.parameters.body import Body
from shin_gateway.translation.effort import BUDGETS

ORDER = tuple(BUDGETS)
_LEAST_CLAUDE = 1024
"""Anthropic takes no smaller budget."""
_AUTOMATIC_AT_MOST = BUDGETS["high"]
"""What every model of Gemini's takes for a budget that was left to it (-1)."""
_CLAUDE_WORDS: Mapping[str, str] = {"minimal": "low"} | {one: one for one in ORDER[2:]}
_LEVELS = {"none": "minimal", "xhigh": "high", "max": "high"}
_DEFAULT = "high"
"""How hard Claude thinks when it thinks as it sees fit."""
_ALWAYS_THINKING = re.compile(r"claude-(?:mythos|[a-z]+-[5-9])")


def _over(value: str, cap: str) -> bool:
    """A word that we do not know may mean more than any other."""
    return value not in ORDER or ORDER.index(value) > ORDER.index(cap)


def keep(value: Any, _: Any) -> Any:
    return value


def word(value: Any, cap: Any) -> Any:
    return cap if isinstance(value, str) and _over(value.lower(), cap) else value


def budget(value: Any, cap: Any) -> Any:
    """-1 leaves it to the model."""
    most = BUDGETS[cap]
    if isinstance(value, str) and value.lstrip("-").isdecimal() and len(value) <= 20:
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int | float) or 0 <= value <= most or cap == ORDER[-1]:
        return value
    return min(most, _AUTOMATIC_AT_MOST) if value < 0 else most


def claude_word(value: Any, body: Body) -> Any:
    return "low" if value == "none" and _cannot_stop(body) else _CLAUDE_WORDS.get(value)


def claude_cap(value: Any, cap: Any) -> Any:
    return _CLAUDE_WORDS.get(cap, "low") if isinstance(value, str) and _over(value.lower(), cap) else value


def level(value: Any, _: Body) -> Any:
    return _LEVELS.get(value, value)


def level_cap(value: Any, cap: Any) -> Any:
    if not isinstance(value, str) or not _over(value.lower(), cap):
        return value
    most = _LEVELS.get(cap, cap)
    return most.upper() if value.isupper() else most


def gemini_budget(value: Any, _: Body) -> Any:
    return min(BUDGETS[value], _AUTOMATIC_AT_MOST)


def thinking(value: Any, body: Body) -> Any:
    """Anthropic's `thinking`, where the rest of the call allows it: thinking does not go with a forced tool, a
    temperature, top_k, a top_p below 0.95, nor with a `max_tokens` that leaves no room."""
    if value == "none":
        return None if _cannot_stop(body) else {"type": "disabled"}
    if _is_forced(body) or body.value("top_k") is not None:
        return None
    if body.value("temperature") not in (None, 1) or not _is_wide(body.value("top_p")):
        return None
    tokens = min(BUDGETS[value], _limit(body) - 1)
    return {"type": "enabled", "budget_tokens": tokens} if tokens >= _LEAST_CLAUDE else None


def adaptive(body: Body) -> Any:
    """Up to 4.8 an effort makes a model think only beside this; later models do so anyway."""
    return None if _is_forced(body) else {"type": "adaptive"}


def temperature(value: Any, body: Body) -> Any:
    """Anthropic's scale ends at 1. It takes only one of temperature and top_p."""
    return None if _thinks(body) or body.value("top_p") is not None else min(value, 1)


def top_p(value: Any, body: Body) -> Any:
    return None if _thinks(body) or body.value("temperature") is not None else value


def top_k(value: Any, body: Body) -> Any:
    return None if _thinks(body) else value


def _thinks(body: Body) -> bool:
    """Then Anthropic refuses to be told how to sample."""
    found = body.value("thinking")
    return isinstance(found, dict) and found.get("type") in ("enabled", "adaptive")


def _is_forced(body: Body) -> bool:
    return body.value("tool_choice.type") in ("any", "tool")


def _cannot_stop(body: Body) -> bool:
    """Some of these models refuse to be kept from thinking."""
    model = body.value("model")
    return isinstance(model, str) and _ALWAYS_THINKING.search(model) is not None


def _is_wide(top_p: Any) -> bool:
    return top_p is None or (isinstance(top_p, int | float) and top_p >= 0.95)


def _limit(body: Body) -> int:
    limit = body.value("max_tokens")
    return int(limit) if isinstance(limit, int | float) and 0 <= limit < 1e9 else 0


def settle(body: Body, caps: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """Hold Anthropic's thinking to the caps; its budget has to stay below `max_tokens`. What was changed to what."""
    cap = caps.get("reasoning_effort")
    found = body.find("thinking")
    if not found or not isinstance(found[0].value, dict):
        return []
    kind = found[0].value.get("type")
    if kind == "enabled":
        return _settle_budget(body, cap, "max_tokens" in caps)
    if kind == "adaptive" and cap == "none" and not _cannot_stop(body):
        found[0].change({"type": "disabled"})
        return [("thinking", "none")]
    if kind == "adaptive" and cap and body.value("output_config.effort") is None and _over(_DEFAULT, cap):
        name = body.put("output_config.effort", _CLAUDE_WORDS.get(cap, "low"))
        return [(name, cap)] if name else []
    return []


def _settle_budget(body: Body, cap: Any, below_limit: bool) -> list[tuple[str, Any]]:
    (whole,) = body.find("thinking")
    found = body.find("thinking.budget_tokens")
    given = found[0].value if found else 0
    if isinstance(given, bool) or not isinstance(given, int | float):
        return []
    most = BUDGETS[cap] if cap and cap != ORDER[-1] else given
    if below_limit:
        most = min(most, _limit(body) - 1)
    if given <= most:
        return []
    if most < _LEAST_CLAUDE:
        whole.change({"type": "disabled"})
        return [("thinking", "none")]
    found[0].change(most)
    return [(found[0].name, most)]
