"""`tools` and `toolConfig` of a call.

Source: ai.google.dev/api/caching#Tool
"""

from __future__ import annotations

from typing import Any

from shin_gateway.translation.form import BuiltinTool, Json, Tool, ToolChoice
from shin_gateway.translation.gemini_generate.fields import NAME, Fields, drop, objects
from shin_gateway.translation.losses import Losses
from shin_gateway.translation.openai_common import Misfit, maybe_list, maybe_record, maybe_string, string
from shin_gateway.translation.schemas import BadSchema, from_gemini

KINDS = {
    "googleSearch": "web_search",
    "googleSearchRetrieval": "web_search",
    "enterpriseWebSearch": "web_search",
    "codeExecution": "code_execution",
    "urlContext": "url_context",
    "fileSearch": "file_search",
    "computerUse": "computer",
    "googleMaps": "google_maps",
    "retrieval": "retrieval",
    "mcpServers": "mcp",
}
"""Built-in tools by their common names."""

_TOOL = Fields("functionDeclarations", *KINDS)
_FUNCTION = Fields(
    "name", "description", "parameters", "parametersJsonSchema", "response", "responseJsonSchema", "behavior"
)
_CONFIG = Fields("functionCallingConfig", "retrievalConfig", "includeServerSideToolInvocations")
_CALLING = Fields("mode", "allowedFunctionNames", "streamFunctionCallArguments")
_MODES = {
    "": "auto",
    "MODE_UNSPECIFIED": "auto",
    "AUTO": "auto",
    "VALIDATED": "auto",
    "ANY": "required",
    "NONE": "none",
}


def read_tools(value: Any, losses: Losses) -> tuple[list[Tool], list[BuiltinTool]]:
    """Raises Misfit."""
    tools: list[Tool] = []
    builtin: list[BuiltinTool] = []
    for at, row in enumerate(objects(value)):
        try:
            tool = _TOOL.of(row, "tools.", losses)
            tools += _functions(tool, losses)
        except Misfit as wrong:
            raise wrong.within(at) from None
        builtin += [_builtin(name, tool[name], losses) for name in KINDS if tool.get(name) is not None]
    return tools, builtin


def _functions(tool: Json, losses: Losses) -> list[Tool]:
    found = []
    for at, row in enumerate(objects(tool.get("functionDeclarations"))):
        try:
            found.append(_function(row, losses))
        except Misfit as wrong:
            raise wrong.within("functionDeclarations", at) from None
    return found


def _function(row: Any, losses: Losses) -> Tool:
    function = _FUNCTION.of(row, "tools.functionDeclarations.", losses)
    drop(function, "tools.functionDeclarations.", losses, ("response", "responseJsonSchema", "behavior"))
    name = string(function, "name")
    if not name:
        raise Misfit("must not be empty", "name")
    schema = maybe_record(function, "parametersJsonSchema")
    return Tool(
        name=name,
        description=maybe_string(function, "description"),
        schema=read_schema(function, "parameters") if schema is None else schema,
    )


def read_schema(owner: Json, name: str) -> Json | None:
    """A field that holds Gemini's `Schema`, as JSON Schema. Raises Misfit."""
    value = owner.get(name)
    if value is None:
        return None
    try:
        return from_gemini(value)
    except BadSchema as bad:
        raise Misfit(str(bad), name) from None


_SHARED = ("web_search", "code_execution", "url_context")
"""Tools that others have too, but not with everything that Google's can be told."""
_SEARCH = Fields("excludeDomains")


def _builtin(name: str, value: Any, losses: Losses) -> BuiltinTool:
    tool = BuiltinTool(kind=KINDS[name], raw={name: value}, origin=NAME)
    if tool.kind in _SHARED and isinstance(value, dict):
        hosts = _SEARCH.of(value, f"tools.{name}.", losses).get("excludeDomains")
        tool.blocked_domains = [host for host in hosts if isinstance(host, str)] if isinstance(hosts, list) else []
    return tool


def read_choice(value: Any, losses: Losses) -> ToolChoice | None:
    """Raises Misfit."""
    if value is None:
        return None
    config = _CONFIG.of(value, "toolConfig.", losses)
    drop(config, "toolConfig.", losses, ("retrievalConfig",))
    if config.get("includeServerSideToolInvocations"):  # more to see, but the answer is the same
        losses.soften("toolConfig.includeServerSideToolInvocations")
    if config.get("functionCallingConfig") is None:
        return None
    try:
        calling = _CALLING.of(config["functionCallingConfig"], "toolConfig.functionCallingConfig.", losses)
        if maybe_string(calling, "mode").upper() == "VALIDATED":  # AUTO, with calls held to their schemas
            losses.soften("toolConfig.functionCallingConfig.mode")
        return _choice(calling)
    except Misfit as wrong:
        raise wrong.within("functionCallingConfig") from None


def _choice(calling: Json) -> ToolChoice:
    mode = _MODES.get(maybe_string(calling, "mode").upper())
    if mode is None:
        raise Misfit("must be AUTO, ANY, NONE or VALIDATED", "mode")
    allowed = maybe_list(calling, "allowedFunctionNames")
    for at, name in enumerate(allowed):
        if not isinstance(name, str):
            raise Misfit("must be a string", "allowedFunctionNames", at)
    if mode == "required" and len(allowed) == 1:
        return ToolChoice(mode="named", name=allowed[0])
    return ToolChoice(mode="required" if mode == "required" else "none" if mode == "none" else "auto", allowed=allowed)
