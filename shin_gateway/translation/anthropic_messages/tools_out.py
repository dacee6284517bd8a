"""Tools, the choice among them and the form of the answer, as this API takes them."""

from __future__ import annotations

from shin_gateway.translation import custom_tools, mcp, names
from shin_gateway.translation.anthropic_messages import schemas
from shin_gateway.translation.anthropic_messages.blocks_out import Blocks
from shin_gateway.translation.anthropic_messages.cards import Card
from shin_gateway.translation.anthropic_messages.names import ORIGIN, Json, dumps
from shin_gateway.translation.anthropic_messages.turns import LONGEST_NAME
from shin_gateway.translation.choices import hosted
from shin_gateway.translation.form import BuiltinTool, Chat, OutputFormat, Tool, ToolChoice
from shin_gateway.translation.losses import Losses


def write_tools(chat: Chat, card: Card, blocks: Blocks, used: dict[str, None], body: Json) -> None:
    """`tools` and `mcp_servers`. `used` are the tools of the history: the API wants them defined."""
    allowed = chat.tool_choice.allowed if chat.tool_choice else []
    wanted = [tool for tool in chat.tools if not allowed or tool.name in allowed]
    tools = [_tool(tool, card, blocks) for tool in wanted]
    for builtin in chat.builtin_tools:
        _builtin(builtin, tools, blocks.losses, body)
    if used and not tools:
        tools = [{"name": name, "input_schema": schemas.of_tool(None)} for name in used]
        body["tool_choice"] = {"type": "none"}
    if tools:
        body["tools"] = tools


def _tool(tool: Tool, card: Card, blocks: Blocks) -> Json:
    if tool.custom:
        tool = custom_tools.as_function(tool)
    written: Json = {
        "name": names.for_others(tool.name, LONGEST_NAME),
        "input_schema": schemas.of_tool(tool.schema),
    }
    if tool.description:
        written["description"] = tool.description
    if tool.strict and not (card.schemas and _enforce(written)):
        blocks.losses.soften("tools.strict")
    return blocks.marked(written, tool)


def _enforce(written: Json) -> bool:
    try:
        written["input_schema"] = schemas.strict(written["input_schema"])
    except schemas.Unenforceable:
        return False
    written["strict"] = True
    return True


# ── tools that run at the provider ──────────────────────────────────────────────────────────────

_SERVER: dict[str, Json] = {
    "web_search": {"type": "web_search_20250305", "name": "web_search"},
    "url_context": {"type": "web_fetch_20250910", "name": "web_fetch"},
    "code_execution": {"type": "code_execution_20250825", "name": "code_execution"},
}
"""The versions that every model takes and whose results need no code execution to be read."""


def _builtin(tool: BuiltinTool, tools: list[Json], losses: Losses, body: Json) -> None:
    if tool.kind == "mcp":
        _mcp(tool, tools, losses, body)
    elif tool.origin == ORIGIN:
        tools.append(tool.raw)
    elif tool.kind in _SERVER:
        tools.append(_server_tool(tool, losses))
    else:
        losses.drop(f"tools.{tool.kind}" if tool.kind in _KINDS else "tools")


_KINDS = frozenset({"file_search", "computer_use", "computer_use_preview", "image_generation", "local_shell", "shell"})


def _server_tool(tool: BuiltinTool, losses: Losses) -> Json:
    written = dict(_SERVER[tool.kind])
    if tool.kind == "code_execution":
        return written
    if tool.max_uses:
        written["max_uses"] = tool.max_uses
    if tool.allowed_domains:
        written["allowed_domains"] = tool.allowed_domains
        if tool.blocked_domains:  # the API takes one of them
            losses.soften("tools.blocked_domains")
    elif tool.blocked_domains:
        written["blocked_domains"] = tool.blocked_domains
    if tool.location and tool.kind == "web_search":
        written["user_location"] = {"type": "approximate", **tool.location}
    if tool.context_size and tool.context_size != "medium":
        losses.soften("tools.context_size")
    return written


def _mcp(tool: BuiltinTool, tools: list[Json], losses: Losses, body: Json) -> None:
    """platform.claude.com/docs/en/agents-and-tools/mcp-connector, from OpenAI's form of the same."""
    if tool.origin == ORIGIN:
        body.setdefault("mcp_servers", []).append(tool.raw)
        return
    found = mcp.from_openai(tool.raw, losses)
    if found is None:
        losses.drop("tools.mcp")
        return
    server: Json = {"type": "url", "name": found.name, "url": found.url}
    if found.token:
        server["authorization_token"] = found.token
    body.setdefault("mcp_servers", []).append(server)
    tools.append(_toolset(found))


def _toolset(server: mcp.Server) -> Json:
    toolset: Json = {"type": "mcp_toolset", "mcp_server_name": server.name}
    if server.allowed is not None:
        toolset["default_config"] = {"enabled": False}
        toolset["configs"] = {name: {"enabled": True} for name in server.allowed}
    return toolset


# ── choice ──────────────────────────────────────────────────────────────────────────────────────

_CHOICES = {"auto": "auto", "none": "none", "required": "any", "named": "tool"}


def write_choice(chat: Chat, forced: bool, losses: Losses, body: Json) -> None:
    """`tool_choice`; without tools the API refuses one. `forced`: whether a call may be demanded."""
    if "tools" not in body or "tool_choice" in body:
        return
    wish = chat.tool_choice
    kind = _CHOICES[wish.mode] if wish else "auto"
    if kind in ("any", "tool") and not forced:
        losses.drop("tool_choice", "the model cannot be made to call a tool, or not while it thinks")
        kind = "auto"
    name = _chosen(wish, chat) if kind == "tool" and wish else ""
    if name and name not in [tool.get("name") for tool in body["tools"]] and wish and wish.name in hosted(chat):
        losses.drop("tool_choice")
        kind = "auto"
    choice: Json = {"type": kind}
    if kind == "tool":
        choice["name"] = name
    if chat.parallel_tools is False and kind != "none":
        choice["disable_parallel_tool_use"] = True
    if wish is not None or len(choice) > 1:
        body["tool_choice"] = choice


def _chosen(wish: ToolChoice, chat: Chat) -> str:
    if wish.name in hosted(chat) and (own := _SERVER.get(wish.name)):
        return str(own["name"])
    return names.for_others(wish.name, LONGEST_NAME)


def demands_tool(chat: Chat) -> bool:
    return chat.tool_choice is not None and chat.tool_choice.mode in ("required", "named")


# ── the answer's form ───────────────────────────────────────────────────────────────────────────

_JSON = "Answer with one JSON object and nothing else: no explanation, no code fence."
_SCHEMA = "Answer with JSON that follows this JSON Schema and nothing else: no explanation, no code fence.\n"


def write_output(wish: OutputFormat | None, card: Card, losses: Losses, body: Json, system: list[Json]) -> None:
    """`output_config.format`; where that cannot be, an instruction in the system prompt."""
    if wish is None or wish.kind == "text":
        return
    schema = wish.schema
    if schema is not None and wish.description:
        schema = {"description": wish.description, **schema}
    if schema is not None and card.schemas and _hold(schema, body):
        return
    losses.soften("response_format")
    text = _JSON if schema is None else _SCHEMA + dumps(schema)
    system.append({"type": "text", "text": text})


def _hold(schema: Json, body: Json) -> bool:
    try:
        enforced = schemas.strict(schema)
    except schemas.Unenforceable:
        return False
    body.setdefault("output_config", {})["format"] = {"type": "json_schema", "schema": enforced}
    return True
