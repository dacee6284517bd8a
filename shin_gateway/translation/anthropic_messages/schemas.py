"""JSON Schemas as this API takes them: of tools, and of answers that are held to one.

platform.claude.com/docs/en/build-with-claude/structured-outputs (JSON Schema limitations). What a grammar cannot
enforce is said in the description instead, as the official SDK does.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from shin_gateway.translation.anthropic_messages.names import Json

_FORMATS = ("date-time", "time", "date", "duration", "email", "hostname", "uri", "ipv4", "ipv6", "uuid")
_KEPT = frozenset({"type", "enum", "const", "default", "title", "description", "required", "$ref"})
_NAMED = frozenset({"properties", "$defs", "definitions"})
_LEFT_OUT = frozenset({"additionalProperties", "$schema", "$id", "$comment"})
_GROUPS = ("$defs", "definitions")
_COMBINED = ("anyOf", "oneOf", "allOf")


class Unenforceable(Exception):
    """The schema allows what a grammar of this API cannot: open maps, recursion, schemas kept elsewhere."""


def of_tool(schema: Json | None) -> Json:
    """An object at the top, of one shape: the API refuses `anyOf`, `oneOf` and `allOf` there."""
    if not schema:
        return {"type": "object", "properties": {}}
    if schema.get("type") == "object" and not any(name in schema for name in _COMBINED):
        return schema
    merged = {name: value for name, value in schema.items() if name not in _COMBINED}
    merged["type"] = "object"
    merged["properties"] = dict(_properties(schema))
    return merged


def _properties(schema: Json) -> Json:
    """Those of the schema and of all its variants. None of a variant's is required: another may hold."""
    found: Json = {}
    for name in _COMBINED:
        variants = schema.get(name)
        for variant in variants if isinstance(variants, list) else ():
            if isinstance(variant, dict):
                found |= _properties(variant)
    own = schema.get("properties")
    return found | own if isinstance(own, dict) else found


def strict(schema: Json) -> Json:
    """A schema that can be enforced: objects closed, constraints that no grammar has moved to the description.

    Raises Unenforceable, and RecursionError for one nested too deeply.
    """
    _require_tree(schema)
    return _strict(schema)


def _strict(schema: Json) -> Json:
    out: Json = {}
    said: list[str] = []
    for name, value in schema.items():
        _take(name, value, out, said)
    if out.get("type") == "object" or "properties" in out:
        _require_closed(schema)
        out["additionalProperties"] = False
    if said:
        out["description"] = "\n\n".join(filter(None, (out.get("description"), "{" + ", ".join(said) + "}")))
    return out


def _take(name: str, value: Any, out: Json, said: list[str]) -> None:
    if name in _KEPT or _is_enforced(name, value):
        out[name] = value
    elif name == "items" and isinstance(value, dict):
        out[name] = _strict(value)
    elif name in _NAMED and isinstance(value, dict):
        out[name] = {key: _strict(one) if isinstance(one, dict) else {} for key, one in value.items()}
    elif name in _COMBINED and isinstance(value, list):
        variants = [_strict(one) for one in value if isinstance(one, dict)]
        out["anyOf" if name == "oneOf" else name] = variants
    elif name not in _LEFT_OUT:
        said.append(f"{name}: {value}")


def _is_enforced(name: str, value: Any) -> bool:
    return (name == "format" and value in _FORMATS) or (name == "minItems" and value in (0, 1))


def _require_closed(schema: Json) -> None:
    more = schema.get("additionalProperties")
    if more is True or isinstance(more, dict) or (more is None and not schema.get("properties")):
        raise Unenforceable


# ── references ──────────────────────────────────────────────────────────────────────────────────


def _require_tree(schema: Json) -> None:
    """Raises Unenforceable where a definition contains itself, or stands elsewhere."""
    top = {name: value for name, value in schema.items() if name not in _GROUPS}
    edges = {"#": set(_references(top))}
    for group in _GROUPS:
        found = schema.get(group)
        for name, value in found.items() if isinstance(found, dict) else ():
            edges[f"#/{group}/{name}"] = set(_references(value))
    while edges:
        leaves = [name for name, targets in edges.items() if not targets & edges.keys()]
        if not leaves or any(not target.startswith("#") for targets in edges.values() for target in targets):
            raise Unenforceable
        for name in leaves:
            del edges[name]


def _references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if isinstance(value.get("$ref"), str):
            yield value["$ref"]
        for inner in value.values():
            yield from _references(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _references(inner)
