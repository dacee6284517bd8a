"""Tools, the choice among them and the form of the answer, as this API's clients write them."""

from __future__ import annotations

from typing import Any

from shin_gateway.translation.anthropic_messages.blocks_in import read_cache
from shin_gateway.translation.anthropic_messages.names import ORIGIN, Json, plain
from shin_gateway.translation.anthropic_messages.server_tools import CLIENT_TOOLS, SERVER_TOOLS, row_of
from shin_gateway.translation.form import BuiltinTool, OutputFormat, Tool, ToolChoice
from shin_gateway.translation.losses import Losses
from shin_gateway.translation.openai_common import (
    Misfit,
    as_record,
    each,
    maybe_flag,
    maybe_list,
    maybe_record,
    maybe_string,
    maybe_whole,
    one_of,
    record,
    string,
)


def read_tools(body: Json, losses: Losses) -> tuple[list[Tool], list[BuiltinTool]]:
    """`tools` and `mcp_servers`. Raises Misfit."""
    found = each(maybe_list(body, "tools"), lambda item: _tool(as_record(item), losses), "tools")
    servers = each(maybe_list(body, "mcp_servers"), _mcp_server, "mcp_servers")
    tools = [tool for tool in found if isinstance(tool, Tool)]
    return tools, [tool for tool in found if isinstance(tool, BuiltinTool)] + servers


def _tool(item: Json, losses: Losses) -> Tool | BuiltinTool:
    kind = maybe_string(item, "type") or "custom"
    if kind == "custom":
        return _custom(item, losses)
    if defined := row_of(kind, CLIENT_TOOLS):
        description, schema = defined
        _note_rest(item, _KNOWN, losses)
        return Tool(name=_name(item), description=description, schema=schema, cache=read_cache(item))
    return _server_tool(kind, item, losses)


_KNOWN = frozenset({"type", "name", "description", "input_schema", "strict", "cache_control"})
_LIMITS = frozenset(
    {"type", "name", "cache_control", "max_uses", "allowed_domains", "blocked_domains", "user_location"}
)
_HINTS = frozenset(
    {"eager_input_streaming", "input_examples", "defer_loading", "max_characters", "use_cache", "response_inclusion"}
)
"""What makes a tool cheaper or better understood; without it the tool is the same."""


def _custom(item: Json, losses: Losses) -> Tool:
    _note_rest(item, _KNOWN, losses)
    return Tool(
        name=_name(item),
        description=maybe_string(item, "description"),
        schema=record(item, "input_schema"),
        strict=maybe_flag(item, "strict"),
        cache=read_cache(item),
    )


def _note_rest(item: Json, known: frozenset[str], losses: Losses) -> None:
    if item.keys() <= known:
        return
    for name in item.keys() - known:
        value = item[name]
        if value is None or (name == "allowed_callers" and value == ["direct"]):
            continue
        note = losses.soften if name in _HINTS else losses.drop
        note(f"tools.{plain(name)}")


def _name(item: Json) -> str:
    name = string(item, "name")
    if not name:
        raise Misfit("must not be empty", "name")
    return name


_PLACE = ("city", "region", "country", "timezone")


def _server_tool(kind: str, item: Json, losses: Losses) -> BuiltinTool:
    common = row_of(kind, SERVER_TOOLS)
    if common is not None and common != "mcp_toolset":
        _note_rest(item, _LIMITS, losses)
    place = maybe_record(item, "user_location")
    return BuiltinTool(
        kind=common or kind,
        raw=item,
        origin=ORIGIN,
        max_uses=maybe_whole(item, "max_uses", 1),
        allowed_domains=_domains(item, "allowed_domains"),
        blocked_domains=_domains(item, "blocked_domains"),
        location={name: place[name] for name in _PLACE if isinstance(place.get(name), str)} if place else None,
    )


def _domains(item: Json, name: str) -> list[str]:
    return each(maybe_list(item, name), _domain, name)


def _domain(item: Any) -> str:
    if isinstance(item, str):
        return item
    raise Misfit("must be a string")


def _mcp_server(item: Any) -> BuiltinTool:
    string(as_record(item), "url")
    return BuiltinTool(kind="mcp", raw=item, origin=ORIGIN)


_MODES: dict[str, Any] = {"auto": "auto", "any": "required", "tool": "named", "none": "none"}


def read_choice(body: Json) -> tuple[ToolChoice | None, bool | None]:
    """`tool_choice`, and whether several tools may be called at once. Raises Misfit."""
    value = maybe_record(body, "tool_choice")
    if value is None:
        return None, None
    try:
        kind = one_of(value, "type", _MODES)
        if not kind:
            raise Misfit("is missing", "type")
        choice = ToolChoice(mode=_MODES[kind], name=_name(value) if kind == "tool" else "")
        alone = maybe_flag(value, "disable_parallel_tool_use")
    except Misfit as wrong:
        raise wrong.within("tool_choice") from None
    return choice, None if alone is None else not alone


def read_output(body: Json) -> OutputFormat | None:
    """`output_config.format`, or the older `output_format`. Raises Misfit."""
    config = maybe_record(body, "output_config") or {}
    owner, path = (config, ("output_config",)) if config.get("format") is not None else (body, ())
    name = "format" if path else "output_format"
    try:
        found = maybe_record(owner, name)
        return _output(found, name) if found is not None else None
    except Misfit as wrong:
        raise wrong.within(*path) from None


def _output(found: Json, name: str) -> OutputFormat:
    try:
        if one_of(found, "type", ("json_schema",)) != "json_schema":
            raise Misfit("is missing", "type")
        return OutputFormat(kind="schema", schema=record(found, "schema"), strict=True)
    except Misfit as wrong:
        raise wrong.within(name) from None
