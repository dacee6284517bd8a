"""`tools` and `toolConfig`.

Sources: ai.google.dev/gemini-api/docs/function-calling, …/docs/tool-combination
"""

from __future__ import annotations

from collections.abc import Callable

from shin_gateway.errors import Invalid
from shin_gateway.translation.choices import of_functions
from shin_gateway.translation.custom_tools import as_function
from shin_gateway.translation.form import BuiltinTool, Chat, Json, Tool, ToolChoice
from shin_gateway.translation.gemini_generate.fields import NAME
from shin_gateway.translation.gemini_generate.models import Model
from shin_gateway.translation.gemini_generate.schema_out import arguments_for_gemini
from shin_gateway.translation.losses import Losses
from shin_gateway.translation.names import for_gemini
from shin_gateway.translation.schemas import BadSchema

_BUILTIN: dict[str, Json] = {
    "web_search": {"googleSearch": {}},
    "code_execution": {"codeExecution": {}},
    "url_context": {"urlContext": {}},
    "web_fetch": {"urlContext": {}},
    "google_maps": {"googleMaps": {}},
}
_LIMITS = ("allowed_domains", "blocked_domains", "location")
_HINTS = ("max_uses", "context_size")
_KNOWN = frozenset(["web_search", "code_execution", "url_context", "web_fetch", "file_search", "mcp", "computer",
                    "image_generation", "google_maps"])  # fmt: skip


def _schema_losses(losses: Losses) -> Callable[[str], None]:
    """What to tell of the keywords of a schema that Gemini does not know. A tool checks its arguments by itself."""
    return lambda keyword: losses.soften(f"tools.parameters.{keyword}")


def write_tools(chat: Chat, model: Model, is_vertex: bool, losses: Losses) -> Json:
    """`tools` and `toolConfig`, each only where there is something to say. Raises Invalid."""
    functions = [_function(tool, losses) for tool in chat.tools]
    builtin = _builtin_tools(chat.builtin_tools, losses)
    is_both = bool(functions and builtin)
    if is_both and (is_vertex or not model.is_third):  # refused: built-in tools and functions cannot be combined
        for tool in chat.builtin_tools:
            losses.drop(_named(tool), "the model runs no tools of its own beside a client's")
        builtin, is_both = [], False
    out: Json = {}
    if functions or builtin:
        out["tools"] = [*([{"functionDeclarations": functions}] if functions else []), *builtin]
    choice = of_functions(chat.tool_choice, chat, losses)
    config = _calling(chat, choice, losses) if functions else {}
    if is_both:
        config["includeServerSideToolInvocations"] = True
    if config:
        out["toolConfig"] = config
    if chat.parallel_tools is False and functions:
        losses.drop("parallel_tool_calls")
    return out


def _function(tool: Tool, losses: Losses) -> Json:
    tool = as_function(tool) if tool.custom else tool
    function: Json = {"name": for_gemini(tool.name)}
    if tool.description:
        function["description"] = tool.description
    try:
        schema = arguments_for_gemini(tool.schema or {}, _schema_losses(losses))
    except BadSchema as bad:
        raise Invalid(f"tools.parameters: {bad}.", param="tools.parameters") from None
    if schema is not None:
        function["parameters"] = schema
    if tool.cache:
        losses.soften("cache_control")
    return function


def _builtin_tools(tools: list[BuiltinTool], losses: Losses) -> list[Json]:
    found: list[Json] = []
    for tool in tools:
        row = tool.raw if tool.origin == NAME else _BUILTIN.get(tool.kind)
        if row is None:
            losses.drop(_named(tool))
            continue
        if tool.origin != NAME:
            _narrow(tool, losses)
        if row not in found:
            found.append(row)
    return found


def _narrow(tool: BuiltinTool, losses: Losses) -> None:
    for limit in _LIMITS:
        if getattr(tool, limit):
            losses.drop(f"tools.{limit}")
    for hint in _HINTS:
        if getattr(tool, hint):
            losses.soften(f"tools.{hint}")


def _named(tool: BuiltinTool) -> str:
    return f"tools.{tool.kind}" if tool.kind in _KNOWN else "tools.builtin"


def _calling(chat: Chat, choice: ToolChoice | None, losses: Losses) -> Json:
    is_strict = bool(chat.tools) and all(tool.strict is True for tool in chat.tools)
    if choice is None or choice.mode == "auto":
        if choice is not None and choice.allowed:
            return _config("VALIDATED", choice.allowed)
        if is_strict:  # VALIDATED: calls that fit their schema, or text
            return _config("VALIDATED", [])
        if any(tool.strict is True for tool in chat.tools):
            losses.soften("tools.strict")
        return _config("AUTO", []) if choice is not None else {}
    if choice.mode == "none":
        return _config("NONE", [])
    # ANY holds calls to their schemas as well.
    return _config("ANY", [choice.name] if choice.mode == "named" else choice.allowed)


def _config(mode: str, names: list[str]) -> Json:
    config: Json = {"mode": mode}
    if names:
        config["allowedFunctionNames"] = [for_gemini(name) for name in names]
    return {"functionCallingConfig": config}
