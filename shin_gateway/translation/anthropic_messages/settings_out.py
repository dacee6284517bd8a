"""Thinking, sampling and the length of the answer, as each model takes them.

platform.claude.com/docs/en/build-with-claude/thinking and …/extended-thinking: a budget is at least 1,024 and less
than `max_tokens`; with thinking there is no temperature, no top_k, and top_p from 0.95.
"""

from __future__ import annotations

from shin_gateway.translation.anthropic_messages.cards import Card
from shin_gateway.translation.anthropic_messages.names import Json
from shin_gateway.translation.effort import budget_of, effort_of
from shin_gateway.translation.form import Chat, ReasoningWish
from shin_gateway.translation.losses import Losses
from shin_gateway.translation.translator import Traits
from shin_gateway.translation.usual import drop_sampling

_LEAST_BUDGET = 1024
_FREE_BUDGET = 8192
"""Where the model shall decide and this one cannot."""
_LEAST_TOP_P = 0.95


def write_length(chat: Chat, card: Card, traits: Traits, losses: Losses, body: Json) -> int:
    """`max_tokens`, which the API requires. Gives the most it may become."""
    limit = traits.max_output or card.max_output
    most = limit if traits.max_output or card.known else max(limit, chat.max_tokens or 0)
    if chat.max_tokens is not None and chat.max_tokens > most:
        losses.soften("max_tokens")
    body["max_tokens"] = min(chat.max_tokens or limit, most)
    return most if traits.max_output or card.known else 10**9


def write_thinking(chat: Chat, card: Card, most: int, losses: Losses, body: Json) -> bool:
    """`thinking` and `output_config.effort`. Gives whether the model may think."""
    wish = chat.reasoning
    if wish is None:
        return card.thinks
    off = budget_of(wish) == 0
    if card.thinking == "none":
        if not off and (wish.effort or wish.budget):
            losses.soften("reasoning")
        return False
    if off:
        return not write_off(card, losses, body)
    if card.thinking == "budget":
        return _budget(wish, most, losses, body)
    return _adaptive(wish, card, body)


def write_off(card: Card, losses: Losses, body: Json) -> bool:
    """No thinking. Gives whether the model can do without."""
    if not card.thinks:
        return True
    if card.off:
        body["thinking"] = {"type": card.off}
        return card.off == "disabled"
    losses.soften("reasoning")
    body.setdefault("output_config", {})["effort"] = card.efforts[0]
    return False


def _budget(wish: ReasoningWish, most: int, losses: Losses, body: Json) -> bool:
    budget = budget_of(wish)
    if budget is None:
        return False
    budget = _FREE_BUDGET if budget < 0 else max(_LEAST_BUDGET, budget)
    if budget >= body["max_tokens"]:
        body["max_tokens"] = min(most, body["max_tokens"] + budget)
        budget = min(budget, body["max_tokens"] - 1)
    if budget < _LEAST_BUDGET:
        losses.soften("reasoning")  # the answer's limit leaves no room to think
        return False
    body["thinking"] = {"type": "enabled", "budget_tokens": budget}
    return True


def _adaptive(wish: ReasoningWish, card: Card, body: Json) -> bool:
    effort = effort_of(wish)
    if effort is None and wish.budget is None:  # only how to show it was said
        return card.thinks
    body["thinking"] = {"type": "adaptive"}
    if wish.show is not None:
        body["thinking"]["display"] = "summarized" if wish.show else "omitted"
    if effort is not None and card.efforts:
        body.setdefault("output_config", {})["effort"] = _level(effort, card)
    return True


def _level(effort: str, card: Card) -> str:
    if effort in card.efforts:
        return effort
    return "low" if effort in ("none", "minimal") else "high"


def write_sampling(chat: Chat, card: Card, thinking: bool, losses: Losses, body: Json) -> None:
    """`temperature`, `top_p`, `top_k`. What is the default anyway goes without a note."""
    free = card.sampling and not thinking
    if chat.temperature is not None and chat.temperature != 1:
        _temperature(chat.temperature, free, losses, body)
    if chat.top_k is not None:
        _set("top_k", chat.top_k, free, losses, body)
    if chat.top_p is not None and chat.top_p != 1:
        taken = card.one_sampling and "temperature" in body
        fits = card.sampling and not taken and (not thinking or chat.top_p >= _LEAST_TOP_P)
        _set("top_p", chat.top_p, fits, losses, body)


def _temperature(value: float, free: bool, losses: Losses, body: Json) -> None:
    if value > 1 and free:
        losses.soften("temperature")
    if value < 1 or not free:
        _set("temperature", value, free, losses, body)


def _set(name: str, value: float, fits: bool, losses: Losses, body: Json) -> None:
    if fits:
        body[name] = value
    else:
        drop_sampling(name, value, losses)
