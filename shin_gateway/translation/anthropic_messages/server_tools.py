"""Steps of tools that run at Anthropic: web search, code execution, MCP."""

from __future__ import annotations

from typing import Any

from shin_gateway.translation.anthropic_messages.names import ORIGIN, Json
from shin_gateway.translation.form import Builtin

_COMMON = {
    "web_search": "web_search",
    "web_fetch": "url_context",
    "code_execution": "code_execution",
    "bash_code_execution": "code_execution",
    "text_editor_code_execution": "code_execution",
    "mcp": "mcp",
}


def builtin(block: Json) -> Builtin:
    """A block of a tool that runs at the provider, of a use or of a result."""
    kind = block.get("type")
    name = block.get("name") if kind == "server_tool_use" else str(kind).partition("_tool_")[0]
    return Builtin(kind=_COMMON.get(str(name), str(name or kind)), raw=[block], text=_shown(block), origin=ORIGIN)


def _shown(block: Json) -> str:
    """What other dialects may show: what was asked, or what came out."""
    given = block.get("input")
    if isinstance(given, dict):
        return next((given[name] for name in ("query", "url", "command", "code") if _is_text(given.get(name))), "")
    return _result(block.get("content"))


def _result(content: Any) -> str:
    if isinstance(content, list):
        return "\n".join([line for line in map(_line, content) if line])
    if not isinstance(content, dict):
        return content if isinstance(content, str) else ""
    return next((content[name] for name in ("stdout", "url", "text", "error_code") if _is_text(content.get(name))), "")


def _line(item: Any) -> str:
    if not isinstance(item, dict):
        return ""
    return " ".join([item[name] for name in ("title", "url", "text") if _is_text(item.get(name))])


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value)


# ── tools that Anthropic defines and the client runs ────────────────────────────────────────────


def _object(required: list[str], **properties: Json) -> Json:
    return {"type": "object", "properties": properties, "required": required}


def _words(*words: str) -> Json:
    return {"type": "string", "enum": list(words)}


_TEXT: Json = {"type": "string"}
_RANGE: Json = {"type": "array", "items": {"type": "integer"}}

_BASH = (
    "Run a command in a bash session that keeps its state between calls.",
    _object([], command=_TEXT, restart={"type": "boolean", "description": "Start the session anew."}),
)
_EDITOR = (
    "View, create and edit text files.",
    _object(
        ["command", "path"],
        command=_words("view", "create", "str_replace", "insert"),
        path=_TEXT,
        view_range=_RANGE | {"description": "First and last line to view; -1: to the end."},
        file_text=_TEXT | {"description": "The whole text of the file to create."},
        old_str=_TEXT | {"description": "The text to replace: it must occur exactly once."},
        new_str=_TEXT | {"description": "The text that takes its place."},
        insert_line={"type": "integer", "description": "The line after which to insert; 0: at the beginning."},
        insert_text=_TEXT,
    ),
)
_MEMORY = (
    "Keep notes in files below /memories, which last beyond this conversation.",
    _object(
        ["command"],
        command=_words("view", "create", "str_replace", "insert", "delete", "rename"),
        path=_TEXT,
        view_range=_RANGE,
        file_text=_TEXT,
        old_str=_TEXT,
        new_str=_TEXT,
        insert_line={"type": "integer"},
        insert_text=_TEXT,
        old_path=_TEXT,
        new_path=_TEXT,
    ),
)


CLIENT_TOOLS: tuple[tuple[str, tuple[str, Json]], ...] = (
    ("bash_", _BASH),
    ("text_editor_", _EDITOR),
    ("memory_", _MEMORY),
)
"""Beginning of the type, description and schema, for models that do not know the tool: the inputs that Anthropic's
own models write (platform.claude.com/docs/en/agents-and-tools/tool-use: bash, text editor and memory tool)."""

SERVER_TOOLS: tuple[tuple[str, str], ...] = (
    ("web_search_", "web_search"),
    ("web_fetch_", "url_context"),
    ("code_execution_", "code_execution"),
    ("mcp_toolset", "mcp_toolset"),
)
"""Beginning of the type, and the form's word."""


def row_of[T](kind: str, rows: tuple[tuple[str, T], ...]) -> T | None:
    """The row whose beginning `kind` has."""
    return next((row for start, row in rows if kind.startswith(start)), None)
