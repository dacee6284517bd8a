"""Choices among tools where only a client's own functions can be chosen."""

from __future__ import annotations

from shin_gateway.translation.form import Chat, ToolChoice
from shin_gateway.translation.losses import Losses


def hosted(chat: Chat) -> set[str]:
    """The names under which a choice may mean a tool that the provider runs."""
    own = {tool.name for tool in chat.tools}
    found = {name for tool in chat.builtin_tools for name in (tool.kind, tool.raw.get("name")) if isinstance(name, str)}
    return found - own


def of_functions(choice: ToolChoice | None, chat: Chat, losses: Losses) -> ToolChoice | None:
    """The choice without tools that the provider runs; those are there whatever is chosen."""
    if choice is None or not (names := hosted(chat)):
        return choice
    if choice.mode == "named":
        if choice.name not in names:
            return choice
        losses.drop("tool_choice")
        return None
    if not names.intersection(choice.allowed):
        return choice
    allowed = [name for name in choice.allowed if name not in names]
    if not allowed and choice.mode == "required":
        losses.drop("tool_choice")
    return ToolChoice(mode=choice.mode if allowed else "none", allowed=allowed)
