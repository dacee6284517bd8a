"""Tools, the choice among them and the form of the answer, from the common form into the Responses API's."""

from __future__ import annotations

from typing import Any

from shin_gateway.translation import mcp
from shin_gateway.translation.form import BuiltinTool, Chat, OutputFormat, Tool, ToolChoice
from shin_gateway.translation.losses import Losses
from shin_gateway.translation.names import for_others
from shin_gateway.translation.openai_responses.names import ORIGIN, Json, plain

_SIZES = ("low", "medium", "high")


def write_tools(chat: Chat, losses: Losses) -> list[Json]:
    tools = [_own(tool, losses) for tool in chat.tools]
    tools += _builtin_tools(chat.builtin_tools, losses)
    if "image" in chat.modalities and not any(tool["type"] == "image_generation" for tool in tools):
        tools.append({"type": "image_generation"})
    return tools


def _own(tool: Tool, losses: Losses) -> Json:
    if tool.cache:
        losses.soften("cache_control")
    if tool.custom:
        written: Json = {"type": "custom", "name": for_others(tool.name)}
        if tool.format:
            written["format"] = _flat(tool.format)
        return written | ({"description": tool.description} if tool.description else {})
    return {
        "type": "function",
        "name": for_others(tool.name),
        **({"description": tool.description} if tool.description else {}),
        "parameters": _parameters(tool.schema),
        # Strict is this API's default and nobody else's: left out, it would make every argument required.
        "strict": bool(tool.strict),
    }


def _parameters(schema: Json | None) -> Json:
    """OpenAI wants an object with `properties`, though there be none."""
    if schema is None:
        return {"type": "object", "properties": {}}
    if "properties" in schema and "type" in schema:
        return schema
    return schema if "$ref" in schema else {"type": "object", "properties": {}, **schema}


def _flat(format: Json) -> Json:
    """A grammar as this API has it: Chat Completions has `syntax` and `definition` one level lower."""
    inner = format.get("grammar")
    return {"type": "grammar", **inner} if isinstance(inner, dict) else format


def _builtin_tools(tools: list[BuiltinTool], losses: Losses) -> list[Json]:
    toolsets = {str(tool.raw.get("mcp_server_name")): tool.raw for tool in tools if tool.kind == _TOOLSET}
    servers = {str(tool.raw.get("name")) for tool in tools if tool.kind == "mcp"}
    found: list[Json] = []
    for tool in tools:
        if tool.origin == ORIGIN:
            written: Json | None = tool.raw
        elif tool.kind == "mcp":
            written = _mcp(tool, toolsets.get(str(tool.raw.get("name"))), losses)
        elif tool.kind == _TOOLSET:  # read with its server
            continue
        else:
            written = _builtin(tool, losses)
        found += [] if written is None else [written]
    if toolsets.keys() - servers:
        losses.drop(f"tools.{_TOOLSET}")
    return found


_TOOLSET = "mcp_toolset"


def _builtin(tool: BuiltinTool, losses: Losses) -> Json | None:
    write = _WRITERS.get(tool.kind)
    if write is None:
        losses.drop(f"tools.{plain(tool.kind)}")
        return None
    written: Json = write(tool, losses)
    return written


def _search(tool: BuiltinTool, losses: Losses) -> Json:
    written: Json = {"type": "web_search"}
    if tool.allowed_domains:
        written["filters"] = {"allowed_domains": tool.allowed_domains}
    if tool.blocked_domains:
        losses.drop("tools.blocked_domains")
    if tool.location:
        written["user_location"] = {"type": "approximate", **tool.location}
    if tool.context_size in _SIZES:
        written["search_context_size"] = tool.context_size
    return written


def _code(tool: BuiltinTool, losses: Losses) -> Json:
    return {"type": "code_interpreter", "container": {"type": "auto"}}


def _image(tool: BuiltinTool, losses: Losses) -> Json:
    return {"type": "image_generation"}


def _mcp(tool: BuiltinTool, toolset: Json | None, losses: Losses) -> Json | None:
    """From Anthropic's form of the same, which runs without asking."""
    server = mcp.from_anthropic(tool.raw, toolset, losses)
    if server is None:
        losses.drop("tools.mcp")
        return None
    written: Json = {"type": "mcp", "server_label": server.name, "server_url": server.url, "require_approval": "never"}
    if server.allowed is not None:
        written["allowed_tools"] = server.allowed
    return written | ({"authorization": server.token} if server.token else {})


_WRITERS: dict[str, Any] = {
    "web_search": _search,
    "code_execution": _code,
    "image_generation": _image,
}


def step_limit(chat: Chat, losses: Losses) -> int | None:
    """`max_tool_calls`, where one tool alone is limited."""
    limits = [tool.max_uses for tool in chat.builtin_tools if tool.max_uses is not None]
    if not limits:
        return None
    if len(chat.builtin_tools) == 1:
        return limits[0]
    losses.soften("tools.max_uses")
    return None


def write_choice(choice: ToolChoice, chat: Chat) -> Any:
    if choice.allowed:
        mode = "auto" if choice.mode == "auto" else "required"
        if choice.mode == "none":
            return "none"
        return {
            "type": "allowed_tools",
            "mode": mode,
            "tools": [_named(name, chat) for name in choice.allowed],
        }
    return _named(choice.name, chat) if choice.mode == "named" else choice.mode


def is_there(choice: Any, tools: list[Json]) -> bool:
    """Whether the tool of OpenAI's that a choice names is among those that are written."""
    if not isinstance(choice, dict) or choice.keys() != {"type"}:
        return True
    return any(tool["type"] == choice["type"] for tool in tools)


def _named(name: str, chat: Chat) -> Json:
    own = next((tool for tool in chat.tools if tool.name == name), None)
    if own is None:
        for builtin in chat.builtin_tools:
            if builtin.kind == name or builtin.raw.get("name") == name:
                return {"type": _type_of(builtin)}
    return {"type": "custom" if own and own.custom else "function", "name": for_others(name)}


def _type_of(builtin: BuiltinTool) -> str:
    own = builtin.raw.get("type") if builtin.origin == ORIGIN else None
    return own if isinstance(own, str) else {"code_execution": "code_interpreter"}.get(builtin.kind, builtin.kind)


def write_format(output: OutputFormat) -> Json:
    if output.kind != "schema":
        return {"type": "json_object" if output.kind == "json" else "text"}
    written: Json = {
        "type": "json_schema",
        "name": for_others(output.name) if output.name else "answer",
        "schema": output.schema or {"type": "object"},
    }
    if output.description:
        written["description"] = output.description
    if output.strict is not None:
        written["strict"] = output.strict
    return written
