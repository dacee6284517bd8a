"""Tools, the choice among them and the form of the answer, as Chat Completions writes them."""

from __future__ import annotations

from typing import Any

from shin_gateway.translation.form import BuiltinTool, OutputFormat, Tool, ToolChoice
from shin_gateway.translation.losses import Losses
from shin_gateway.translation.openai_chat.messages_in import plain
from shin_gateway.translation.openai_chat.reasoning import ORIGIN
from shin_gateway.translation.openai_common import (
    Misfit,
    as_record,
    each,
    maybe_flag,
    maybe_list,
    maybe_record,
    maybe_string,
    one_of,
    record,
    string,
)

Json = dict[str, Any]

_KINDS = {"web_search_preview": "web_search", "code_interpreter": "code_execution"}
"""Types of built-in tools that compatible servers know (Groq: code_interpreter), by their common name."""


def read_tools(body: Json, losses: Losses) -> tuple[list[Tool], list[BuiltinTool]]:
    """`tools`, or the older `functions`. Raises Misfit."""
    found: list[Tool | BuiltinTool] = each(maybe_list(body, "tools"), lambda item: _tool(item, losses), "tools")
    found += each(
        maybe_list(body, "functions"), lambda item: _function(as_record(item), losses, "functions"), "functions"
    )
    return [tool for tool in found if isinstance(tool, Tool)], [tool for tool in found if isinstance(tool, BuiltinTool)]


def _tool(item: Any, losses: Losses) -> Tool | BuiltinTool:
    kind = _kind(as_record(item))
    if kind not in ("function", "custom"):
        return BuiltinTool(kind=_KINDS.get(kind, kind), raw=item, origin=ORIGIN)
    inner = record(item, kind)
    try:
        tool = _function(inner, losses, "tools.function") if kind == "function" else _custom(inner, losses)
    except Misfit as wrong:
        raise wrong.within(kind) from None
    if mark := maybe_record(item, "cache_control"):  # OpenRouter's
        tool.cache = "1h" if mark.get("ttl") == "1h" else "5m"
    _report(item, ("type", kind, "cache_control"), losses, "tools")
    return tool


def _kind(item: Json) -> str:
    """`type`, which Mistral's clients leave out of tools and of the choice among them."""
    kind = maybe_string(item, "type")
    if not kind and isinstance(item.get("function"), dict):
        return "function"
    if not kind:
        raise Misfit("is missing", "type")
    return kind


def _report(owner: Json, known: tuple[str, ...], losses: Losses, where: str) -> None:
    for key in owner.keys() - set(known):
        if owner[key] is not None:
            losses.drop(f"{where}.{plain(key)}")


def _function(inner: Json, losses: Losses, where: str) -> Tool:
    _report(inner, ("name", "description", "parameters", "strict"), losses, where)
    return Tool(
        name=_name(inner),
        description=maybe_string(inner, "description"),
        schema=maybe_record(inner, "parameters"),
        strict=maybe_flag(inner, "strict"),
    )


def _custom(inner: Json, losses: Losses) -> Tool:
    """A free-form tool (developers.openai.com/api/docs/guides/function-calling#custom-tools)."""
    _report(inner, ("name", "description", "format"), losses, "tools.custom")
    format = maybe_record(inner, "format")
    if format and isinstance(grammar := format.get("grammar"), dict):
        format = {"type": "grammar", **grammar}  # flat, as Responses has it
    return Tool(name=_name(inner), description=maybe_string(inner, "description"), custom=True, format=format)


def _name(inner: Json) -> str:
    name = string(inner, "name")
    if not name:
        raise Misfit("must not be empty", "name")
    return name


_MODES: dict[str, Any] = {"none": "none", "auto": "auto", "required": "required", "any": "required"}


def read_choice(body: Json) -> ToolChoice | None:
    """`tool_choice`, or the older `function_call`. Raises Misfit."""
    name = "tool_choice" if body.get("tool_choice") is not None else "function_call"
    value = body.get(name)
    if value is None:
        return None
    if isinstance(value, str):
        return ToolChoice(mode=_MODES[one_of(body, name, _MODES)]) if value else None
    if not isinstance(value, dict):
        raise Misfit("must be a string or an object", name)
    try:
        if name == "function_call":
            return ToolChoice(mode="named", name=_name(value))
        return _choice(value)
    except Misfit as wrong:
        raise wrong.within(name) from None


def _choice(value: Json) -> ToolChoice:
    kind = _kind(value)
    one_of(value, "type", ("function", "custom", "allowed_tools", *_MODES))
    if kind in _MODES:  # Anthropic's way, which some clients take
        return ToolChoice(mode=_MODES[kind])
    inner = record(value, kind)
    try:
        if kind != "allowed_tools":
            return ToolChoice(mode="named", name=_name(inner))
        mode = one_of(inner, "mode", ("auto", "required")) or "auto"
        return ToolChoice(mode=_MODES[mode], allowed=_allowed(inner))
    except Misfit as wrong:
        raise wrong.within(kind) from None


def _allowed(inner: Json) -> list[str]:
    return each(maybe_list(inner, "tools"), _allowed_name, "tools")


def _allowed_name(item: Any) -> str:
    return _name(record(as_record(item), "custom" if item.get("type") == "custom" else "function"))


def read_search(body: Json, losses: Losses) -> BuiltinTool | None:
    """`web_search_options` (developers.openai.com/api/docs/guides/tools-web-search). Raises Misfit."""
    options = maybe_record(body, "web_search_options")
    if options is None:
        return None
    try:
        size = maybe_string(options, "search_context_size")
        location = _location(maybe_record(options, "user_location") or {})
    except Misfit as wrong:
        raise wrong.within("web_search_options") from None
    _report(options, ("search_context_size", "user_location"), losses, "web_search_options")
    return BuiltinTool(kind="web_search", raw=options, origin=ORIGIN, location=location or None, context_size=size)


def _location(place: Json) -> Json:
    try:
        place = maybe_record(place, "approximate") or place
    except Misfit as wrong:
        raise wrong.within("user_location") from None
    return {key: place[key] for key in _PLACE if isinstance(place.get(key), str)}


_PLACE = ("city", "region", "country", "timezone")


def read_output(body: Json) -> OutputFormat | None:
    """`response_format`. Raises Misfit."""
    format = maybe_record(body, "response_format")
    if format is None:
        return None
    try:
        kind = one_of(format, "type", ("text", "json_object", "json_schema"))
        if kind == "json_schema":
            return _schema(record(format, "json_schema"))
        if kind == "json_object" and isinstance(format.get("schema"), dict):  # Together, Fireworks, llama.cpp
            return OutputFormat(kind="schema", schema=format["schema"])
        return OutputFormat(kind="json" if kind == "json_object" else "text")
    except Misfit as wrong:
        raise wrong.within("response_format") from None


def _schema(inner: Json) -> OutputFormat:
    try:
        return OutputFormat(
            kind="schema",
            name=maybe_string(inner, "name"),
            description=maybe_string(inner, "description"),
            schema=maybe_record(inner, "schema"),
            strict=maybe_flag(inner, "strict"),
        )
    except Misfit as wrong:
        raise wrong.within("json_schema") from None
