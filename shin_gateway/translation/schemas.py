"""JSON Schema: references put in place, and Gemini's `Schema` read as plain JSON Schema."""

from __future__ import annotations

from typing import Any

from shin_gateway.translation.form import Json

DEEPEST = 48
"""Levels of a schema. Providers take far fewer."""
LARGEST = 5000
"""Nodes of a schema once its references are in place: a few short definitions can multiply without end."""


class BadSchema(Exception):
    """What is no schema, or one of a size that nobody can mean. The message says what is wrong with it."""


def inlined(schema: Json) -> Json:
    """The schema with every reference in its place; one to itself becomes a schema that allows anything of its type.

    Raises BadSchema.
    """
    return _Inliner(schema).node(schema, (), 0)


class References:
    """Finds what `$ref` points to, and counts what was written."""

    def __init__(self, root: Json) -> None:
        self._root = root
        self._nodes = 0

    def step(self, depth: int) -> None:
        self._nodes += 1
        if depth > DEEPEST:
            raise BadSchema("is nested too deeply")
        if self._nodes > LARGEST:
            raise BadSchema("is too large with its references put in place")

    def find(self, ref: str) -> Any:
        """What a JSON pointer within the schema (`#/$defs/Pet`) points to; None for any other reference."""
        if ref == "#":
            return self._root
        found: Any = self._root if ref.startswith("#/") else None
        for step in ref[2:].split("/"):
            step = step.replace("~1", "/").replace("~0", "~")
            if isinstance(found, list) and step.isdecimal() and len(step) < 6:
                found = found[int(step)] if int(step) < len(found) else None
            else:
                found = found.get(step) if isinstance(found, dict) else None
        return found


_DEFINITIONS = ("$defs", "definitions")


class _Inliner(References):
    def node(self, schema: Any, stack: tuple[str, ...], depth: int) -> Any:
        self.step(depth)
        if isinstance(schema, list):
            return [self.node(one, stack, depth + 1) for one in schema]
        if not isinstance(schema, dict):
            return schema
        ref = schema.get("$ref")
        if isinstance(ref, str):
            return self._reference(ref, schema, stack, depth)
        names = _DEFINITIONS if depth == 0 else ()
        return {key: self.node(value, stack, depth + 1) for key, value in schema.items() if key not in names}

    def _reference(self, ref: str, schema: Json, stack: tuple[str, ...], depth: int) -> Any:
        found = self.find(ref)
        beside = {key: value for key, value in schema.items() if key not in ("$ref", *_DEFINITIONS)}
        if ref in stack:
            kind = found.get("type") if isinstance(found, dict) else None
            return {**({"type": kind} if kind else {}), **beside}
        if not isinstance(found, dict):
            return beside
        return self.node({**found, **beside}, (*stack, ref), depth + 1)


# ── from Gemini ─────────────────────────────────────────────────────────────────────────────────

_SNAKE = {
    "any_of": "anyOf", "min_items": "minItems", "max_items": "maxItems", "min_length": "minLength",
    "max_length": "maxLength", "min_properties": "minProperties", "max_properties": "maxProperties",
    "property_ordering": "propertyOrdering", "additional_properties": "additionalProperties",
    "defs": "$defs", "ref": "$ref",
}  # fmt: skip
_COUNTS = frozenset(["minItems", "maxItems", "minLength", "maxLength", "minProperties", "maxProperties"])


def from_gemini(schema: Any, depth: int = 0) -> Json:
    """Gemini's `Schema` as plain JSON Schema. Raises BadSchema."""
    if not isinstance(schema, dict):
        raise BadSchema("must be an object")
    if depth > DEEPEST:
        raise BadSchema("is nested too deeply")
    out: Json = {}
    for key, value in schema.items():
        if value is not None:
            _take(str(_SNAKE.get(key, key)), value, out, depth)
    _ordered(out)
    return _with_null(out) if out.pop("nullable", None) is True else out


def _take(key: str, value: Any, out: Json, depth: int) -> None:
    if key == "type" and isinstance(value, str):
        if value != "TYPE_UNSPECIFIED":
            out[key] = value.lower()
    elif key == "type" and isinstance(value, list):
        out[key] = [one.lower() if isinstance(one, str) else one for one in value]
    elif key in ("properties", "$defs") and isinstance(value, dict):
        out[key] = {name: from_gemini(one, depth + 1) for name, one in value.items()}
    elif key == "anyOf" and isinstance(value, list):
        out[key] = [from_gemini(one, depth + 1) for one in value]
    elif key in ("items", "additionalProperties") and isinstance(value, dict):
        out[key] = from_gemini(value, depth + 1)
    elif key == "example":
        out["examples"] = [value]
    elif key in _COUNTS and isinstance(value, str):  # protobuf's JSON writes int64 as text
        out[key] = int(value) if value.isdecimal() and len(value) < 19 else value
    elif (key, value) != ("format", "enum"):
        out[key] = value


def _ordered(out: Json) -> None:
    """JSON Schema has no `propertyOrdering`; the order of the properties says the same."""
    names, properties = out.pop("propertyOrdering", None), out.get("properties")
    if isinstance(names, list) and isinstance(properties, dict):
        first = {name: properties[name] for name in names if isinstance(name, str) and name in properties}
        out["properties"] = {**first, **properties}


def _with_null(out: Json) -> Json:
    if isinstance(out.get("anyOf"), list):
        return {**out, "anyOf": [*out["anyOf"], {"type": "null"}]}
    if isinstance(out.get("type"), str):
        out["type"] = [out["type"], "null"]
    elif isinstance(out.get("type"), list) and "null" not in out["type"]:
        out["type"] = [*out["type"], "null"]
    if isinstance(out.get("enum"), list):
        out["enum"] = [*out["enum"], None]
    return out
