"""Tools of the common form and the choice among them, as Chat Completions has them."""

from __future__ import annotations

from typing import Any

from shin_gateway.translation.choices import of_functions
from shin_gateway.translation.custom_tools import as_function
from shin_gateway.translation.form import BuiltinTool, Chat, Tool, ToolChoice
from shin_gateway.translation.losses import Losses
from shin_gateway.translation.names import for_others
from shin_gateway.translation.openai_chat.messages_in import plain
from shin_gateway.translation.openai_chat.quirks import matches
from shin_gateway.translation.openai_chat.reasoning import ORIGIN
from shin_gateway.translation.translator import Traits

Json = dict[str, Any]

_NARROWED = ("allowed_domains", "blocked_domains")
_SIZES = ("low", "medium", "high")


def write_tools(chat: Chat, traits: Traits, losses: Losses, body: Json) -> None:
    words = traits.words
    tools = chat.tools
    choice = of_functions(chat.tool_choice, chat, losses)
    if choice and choice.allowed and words.get("allowed_tools") == "no":
        tools = [tool for tool in tools if tool.name in choice.allowed]
        choice = ToolChoice(mode=choice.mode)
    plainly = words.get("custom_tools") == "no"
    written = [_tool(as_function(tool) if tool.custom and plainly else tool, traits, losses) for tool in tools]
    for builtin in chat.builtin_tools:
        _builtin(builtin, traits, losses, body, written)
    if not written:
        return
    body["tools"] = written
    if choice is not None:
        custom = set() if plainly else {tool.name for tool in tools if tool.custom}
        body["tool_choice"] = _choice(choice, custom, words.get("required", "required"))
    if chat.parallel_tools is not None:
        body["parallel_tool_calls"] = chat.parallel_tools


def _tool(tool: Tool, traits: Traits, losses: Losses) -> Json:
    if tool.cache:
        losses.soften("cache_control")
    if tool.custom:
        return _custom(tool)
    function: Json = {"name": for_others(tool.name)}
    if tool.description:
        function["description"] = tool.description
    if tool.schema is not None:
        function["parameters"] = tool.schema
    if tool.strict is not None:
        if traits.words.get("strict") != "no":
            function["strict"] = tool.strict
        elif tool.strict:
            losses.soften("tools.strict")
    return {"type": "function", "function": function}


def _custom(tool: Tool) -> Json:
    custom: Json = {"name": for_others(tool.name)}
    if tool.description:
        custom["description"] = tool.description
    if tool.format is not None:
        custom["format"] = nested(tool.format)
    return {"type": "custom", "custom": custom}


def nested(format: Json) -> Json:
    """A grammar as this API has it: Responses has `syntax` and `definition` one level higher."""
    if format.get("type") != "grammar" or "grammar" in format:
        return format
    return {"type": "grammar", "grammar": {key: format[key] for key in ("syntax", "definition") if key in format}}


def _builtin(tool: BuiltinTool, traits: Traits, losses: Losses, body: Json, written: list[Json]) -> None:
    if tool.kind == "web_search" and "type" not in (tool.raw if tool.origin == ORIGIN else {}):
        _search(tool, traits, losses, body)
    elif tool.origin == ORIGIN:
        written.append(tool.raw)
    else:
        losses.drop(f"tools.{plain(tool.kind)}")


def _search(tool: BuiltinTool, traits: Traits, losses: Losses, body: Json) -> None:
    pattern = traits.words.get("web_search_models")
    if pattern and not matches(pattern, traits.model):
        losses.drop("tools.web_search")
        return
    options: Json = {}
    if tool.context_size in _SIZES:
        options["search_context_size"] = tool.context_size
    if tool.location:
        options["user_location"] = {"type": "approximate", "approximate": tool.location}
    if tool.max_uses:
        losses.soften("tools.max_uses")
    for name in _NARROWED:
        if getattr(tool, name):
            losses.drop(f"tools.{name}")
    body["web_search_options"] = options


def _choice(choice: ToolChoice, custom: set[str], required: str) -> Any:
    word = required if choice.mode == "required" else choice.mode
    if choice.mode == "named":
        return _named(choice.name, custom)
    if choice.allowed and choice.mode != "none":
        tools = [_named(name, custom) for name in choice.allowed]
        return {"type": "allowed_tools", "allowed_tools": {"mode": choice.mode, "tools": tools}}
    return word


def _named(name: str, custom: set[str]) -> Json:
    kind = "custom" if name in custom else "function"
    return {"type": kind, kind: {"name": for_others(name)}}
