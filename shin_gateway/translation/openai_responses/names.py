"""Names and ids of the Responses API: of tools in namespaces, of calls longer than OpenAI takes, of built-in tools."""

from __future__ import annotations

import re
from hashlib import blake2b
from typing import Any

ORIGIN = "openai.responses"
Json = dict[str, Any]

LONGEST = 64
"""Characters of a tool's name."""

KINDS = {
    "web_search_2025_08_26": "web_search",
    "web_search_preview": "web_search",
    "web_search_preview_2025_03_11": "web_search",
    "code_interpreter": "code_execution",
    "computer_use_preview": "computer",
    "computer_use": "computer",
}
"""Types of built-in tools by their common name; other types are their own."""

_PLAIN = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,47}")


def dicts(value: Any) -> list[Json]:
    """The objects in a list; none where it is no list."""
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def kind_of(type: str) -> str:
    return KINDS.get(type, type)


def plain(name: object) -> str:
    """A field's name for a note, without anything that a client may have made up."""
    return name if isinstance(name, str) and _PLAIN.fullmatch(name) else "unknown field"


def flat_name(namespace: str, name: str) -> str:
    """One name for a tool in a namespace (`{type: namespace, name, tools}`), which no other API has."""
    if not namespace:
        return name
    joined = f"{namespace}{'' if namespace.endswith('__') else '__'}{name}"
    if len(joined) <= LONGEST:
        return joined
    return f"{joined[:51]}_{blake2b(joined.encode('utf-8', 'surrogatepass'), digest_size=6).hexdigest()}"


def namespaced(body: Json) -> dict[str, tuple[str, str]]:
    """The namespace and name of each flat name, from the client's own call."""
    found: dict[str, tuple[str, str]] = {}
    for tool in _tools(body):
        if isinstance(tool, dict) and tool.get("type") == "namespace":
            _note(tool, found)
    return found


def _tools(body: Json) -> list[Any]:
    tools = list(body["tools"]) if isinstance(body.get("tools"), list) else []
    items = body.get("input")
    for item in items if isinstance(items, list) else ():
        if isinstance(item, dict) and item.get("type") in ("additional_tools", "tool_search_output"):
            more = item.get("tools")
            tools += more if isinstance(more, list) else []
    return tools


def _note(group: Json, found: dict[str, tuple[str, str]]) -> None:
    namespace, tools = group.get("name"), group.get("tools")
    for tool in tools if isinstance(tools, list) and isinstance(namespace, str) else ():
        name = tool.get("name") if isinstance(tool, dict) else None
        if isinstance(name, str) and isinstance(namespace, str):
            found[flat_name(namespace, name)] = (namespace, name)
