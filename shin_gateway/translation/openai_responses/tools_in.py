"""Tools, the choice among them and the form of the answer, as the Responses API writes them, into the common form."""

from __future__ import annotations

from typing import Any

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
    one_of,
    string,
)
from shin_gateway.translation.openai_responses.names import ORIGIN, Json, flat_name, kind_of, plain

_PLACE = ("city", "region", "country", "timezone")
_FUNCTION = frozenset({"type", "name", "description", "parameters", "strict"})
_CUSTOM = frozenset({"type", "name", "description", "format"})
_SEARCH = frozenset({"type", "filters", "user_location", "search_context_size"})
_DEFAULTS: Json = {"external_web_access": True, "search_content_types": ["text"]}
"""Of other fields, what says nothing; else False does."""
_MODES: dict[str, Any] = {"none": "none", "auto": "auto", "required": "required"}


class ToolReader:
    """Gathers the tools of a call, wherever they stand."""

    def __init__(self, losses: Losses) -> None:
        self._losses = losses
        self.tools: list[Tool] = []
        self.builtin: list[BuiltinTool] = []

    def read(self, owner: Json) -> None:
        """The tools in `owner["tools"]`. Raises Misfit."""
        each(maybe_list(owner, "tools"), lambda item: self._one(as_record(item)), "tools")

    def _one(self, item: Json, namespace: str = "") -> None:
        kind = string(item, "type")
        if kind in ("function", "custom"):
            self._own(item, kind, namespace)
        elif kind == "namespace":
            self._namespace(item)
        else:
            self.builtin.append(_builtin(item, kind))
            if kind_of(kind) == "web_search":
                self._report(item, _SEARCH)

    def _namespace(self, item: Json) -> None:
        name = string(item, "name")
        if maybe_string(item, "description"):
            self._losses.soften("tools.namespace.description")
        each(maybe_list(item, "tools"), lambda tool: self._one(as_record(tool), name), "tools")

    def _report(self, item: Json, known: frozenset[str]) -> None:
        for key in item.keys() - known:
            if key == "defer_loading":  # only made things cheaper
                self._losses.soften("tools.defer_loading")
            elif item[key] is not None and item[key] != _DEFAULTS.get(key, False):
                self._losses.drop(f"tools.{plain(key)}")

    def _own(self, item: Json, kind: str, namespace: str) -> None:
        known = _FUNCTION if kind == "function" else _CUSTOM
        self._report(item, known)
        tool = Tool(name=flat_name(namespace, _name(item)), description=maybe_string(item, "description"))
        if kind == "custom":
            tool.custom, tool.format = True, maybe_record(item, "format")
        else:
            tool.schema, tool.strict = maybe_record(item, "parameters"), maybe_flag(item, "strict")
        self.tools.append(tool)


def _name(item: Json) -> str:
    name = string(item, "name")
    if not name:
        raise Misfit("must not be empty", "name")
    return name


def _builtin(item: Json, kind: str) -> BuiltinTool:
    tool = BuiltinTool(kind=kind_of(kind), raw=item, origin=ORIGIN)
    if tool.kind != "web_search":
        return tool
    filters = maybe_record(item, "filters") or {}
    place = maybe_record(item, "user_location") or {}
    try:
        tool.allowed_domains, tool.blocked_domains = (
            _words(filters, "allowed_domains"),
            _words(filters, "blocked_domains"),
        )
    except Misfit as wrong:
        raise wrong.within("filters") from None
    tool.location = {key: place[key] for key in _PLACE if isinstance(place.get(key), str)} or None
    tool.context_size = maybe_string(item, "search_context_size")
    return tool


def _words(owner: Json, name: str) -> list[str]:
    words = maybe_list(owner, name)
    for at, word in enumerate(words):
        if not isinstance(word, str):
            raise Misfit("must be a string", name, at)
    return words


def read_choice(body: Json, losses: Losses) -> ToolChoice | None:
    """`tool_choice`. Raises Misfit."""
    value = body.get("tool_choice")
    if value is None:
        return None
    if isinstance(value, str):
        return ToolChoice(mode=_MODES[one_of(body, "tool_choice", _MODES) or "auto"])
    if not isinstance(value, dict):
        raise Misfit("must be a string or an object", "tool_choice")
    try:
        return _choice(value, losses)
    except Misfit as wrong:
        raise wrong.within("tool_choice") from None


def _choice(value: Json, losses: Losses) -> ToolChoice | None:
    kind = string(value, "type")
    if kind in ("function", "custom"):
        return ToolChoice(mode="named", name=flat_name(maybe_string(value, "namespace"), _name(value)))
    if kind == "mcp":  # a server, not a tool, is what it names
        losses.drop("tool_choice.mcp")
        return None
    if kind != "allowed_tools":
        return ToolChoice(mode="named", name=kind_of(kind))
    mode = _MODES[one_of(value, "mode", ("auto", "required")) or "auto"]
    return ToolChoice(mode=mode, allowed=each(maybe_list(value, "tools"), _allowed, "tools"))


def _allowed(item: Any) -> str:
    kind = string(as_record(item), "type")
    if kind in ("function", "custom"):
        return flat_name(maybe_string(item, "namespace"), _name(item))
    return kind_of(kind)


def read_output(text: Json) -> OutputFormat | None:
    """`text.format`. Raises Misfit."""
    format = maybe_record(text, "format")
    if format is None:
        return None
    try:
        return _format(format)
    except Misfit as wrong:
        raise wrong.within("format") from None


def _format(format: Json) -> OutputFormat:
    kind = one_of(format, "type", ("text", "json_object", "json_schema"))
    if not kind:
        raise Misfit("is missing", "type")
    if kind != "json_schema":
        return OutputFormat(kind="json" if kind == "json_object" else "text")
    schema = maybe_record(format, "schema")
    if schema is None:
        raise Misfit("is missing", "schema")
    return OutputFormat(
        kind="schema",
        name=maybe_string(format, "name"),
        description=maybe_string(format, "description"),
        schema=schema,
        strict=maybe_flag(format, "strict"),
    )
