"""Items of tools that run at the provider, and of those that only OpenAI's clients know: kept as they are."""

from __future__ import annotations

from typing import Any

from shin_gateway.translation.form import Builtin
from shin_gateway.translation.openai_responses.names import ORIGIN, Json

KINDS = {
    "web_search_call": "web_search",
    "file_search_call": "file_search",
    "code_interpreter_call": "code_execution",
    "image_generation_call": "image_generation",
    "computer_call": "computer",
    "computer_call_output": "computer",
    "mcp_call": "mcp",
    "mcp_list_tools": "mcp",
    "mcp_approval_request": "mcp",
    "mcp_approval_response": "mcp",
}
"""The common name of what an item is a step of; other types are their own."""

OF_USER = frozenset(
    {"computer_call_output", "local_shell_call_output", "shell_call_output", "apply_patch_call_output"}
    | {"mcp_approval_response", "compaction_trigger", "configuration_update"}
)
"""What the client adds; everything else came from the model."""


def step(item: Json, kind: str) -> Builtin:
    return Builtin(kind=KINDS.get(kind, kind), raw=[item], text=text_of(item), origin=ORIGIN)


def text_of(item: Json) -> str:
    """What may be shown of it elsewhere: a query, a command, code, an output. Never raises."""
    for name in ("action", "operation"):
        inner = item.get(name)
        if isinstance(inner, dict) and (found := _first(inner)):
            return found
    return _first(item)


def _first(owner: Json) -> str:
    return next((text for name in _SHOWN if (text := _joined(owner.get(name)))), "")


_SHOWN = ("query", "queries", "url", "command", "commands", "code", "diff", "output", "arguments")


def _joined(value: Any) -> str:
    if isinstance(value, str):
        return value if len(value) < 100_000 else ""
    if isinstance(value, list):
        return "\n".join(one for one in value if isinstance(one, str))
    return ""
