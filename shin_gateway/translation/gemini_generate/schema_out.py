"""JSON Schema as Gemini's `Schema`, a subset of OpenAPI 3.0's.

Gemini takes `type` (one, upper case), `format`, `title`, `description`, `nullable`, `default`, `example`, `enum` of
strings, `anyOf`, `items`, `properties`, `required`, `propertyOrdering` and plain bounds; an unknown keyword is a 400.
References are put in place. What has no equal but can be said in words goes into the description.

Sources: ai.google.dev/api/caching#Schema, cloud.google.com/vertex-ai/generative-ai/docs/reference/rest/v1/Schema
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from shin_gateway.translation.form import Json
from shin_gateway.translation.schemas import References

_ANY: Json = {"anyOf": [{"type": "STRING"}, {"type": "NUMBER"}, {"type": "BOOLEAN"}]}
_TYPES = ("string", "number", "integer", "boolean", "array", "object", "null")
_HINTS = (
    ("properties", "object"), ("additionalProperties", "object"), ("required", "object"), ("items", "array"),
    ("prefixItems", "array"), ("pattern", "string"), ("minLength", "string"), ("maxLength", "string"),
    ("format", "string"), ("minimum", "number"), ("maximum", "number"), ("multipleOf", "number"),
)  # fmt: skip
"""What shows the type of a schema that does not say it."""

_LOST = frozenset(
    [
        "not",
        "if",
        "then",
        "else",
        "contains",
        "minContains",
        "maxContains",
        "uniqueItems",
        "multipleOf",
        "patternProperties",
        "propertyNames",
        "dependentRequired",
        "dependentSchemas",
        "dependencies",
        "unevaluatedProperties",
        "unevaluatedItems",
        "$dynamicRef",
        "additionalItems",
    ]
)
"""Keywords that change what is valid and have no equal."""

_FORMATS = {
    "string": ("enum", "date-time"),
    "number": ("float", "double"),
    "integer": ("int32", "int64"),
}


def arguments_for_gemini(schema: Json, lost: Callable[[str], None]) -> Json | None:
    """The schema of a tool's arguments; None where there are none, since Gemini refuses an object without properties.

    `lost` is told the name of each keyword that could not be carried. Raises BadSchema.
    """
    out = _ToGemini(schema, lost).arguments()
    return out if out.get("properties") else None


def answer_for_gemini(schema: Json, lost: Callable[[str], None]) -> Json:
    """The schema of an answer. Raises BadSchema."""
    return _ToGemini(schema, lost).answer()


class _ToGemini(References):
    def __init__(self, root: Json, lost: Callable[[str], None]) -> None:
        super().__init__(root)
        self._lost = lost

    def answer(self) -> Json:
        return self._node(self._root, (), 0)

    def arguments(self) -> Json:
        if not self._root:
            return {}
        out = self.answer()
        return self._one_object(out["anyOf"]) if "anyOf" in out else out

    def _one_object(self, options: list[Json]) -> Json:
        """Arguments have to be one object: alternatives become its optional properties."""
        objects = [one for one in options if one.get("type") == "OBJECT"]
        self._lost("anyOf")
        properties: Json = {}
        for one in objects:
            properties = {**one.get("properties", {}), **properties}
        required = [name for name in properties if all(name in one.get("required", ()) for one in objects)]
        out: Json = {"type": "OBJECT"}
        if properties:
            out["properties"] = properties
        if required:
            out["required"] = required
        return out

    def _node(self, schema: Any, stack: tuple[str, ...], depth: int) -> Json:
        self.step(depth)
        if not isinstance(schema, dict):
            return self._anything(schema)
        flat, stack, is_cut = self._flat_and_cut(schema, stack, depth)
        for keyword in _LOST & flat.keys():
            self._lost(keyword)
        options = flat.get("anyOf") or flat.get("oneOf")
        if isinstance(options, list) and options:
            return self._options(flat, options, stack, depth)
        kinds, nullable = self._kinds(flat)
        if is_cut:
            kinds = kinds or ["object"]
        if len(kinds) > 1:
            members: list[Any] = [{**flat, "type": kind} for kind in kinds]
            return self._any_of([self._node(one, stack, depth + 1) for one in members], nullable)
        out = self._single(flat, kinds[0], stack, depth) if kinds else self._anything(flat)
        return _nullable(out) if nullable else out

    def _flat_and_cut(self, schema: Json, stack: tuple[str, ...], depth: int) -> tuple[Json, tuple[str, ...], bool]:
        ref = schema.get("$ref")
        if isinstance(ref, str) and ref in stack:
            self._lost("$ref")
            found = self.find(ref)
            kept = ("type", "description", "title")
            cut = {key: found[key] for key in kept if key in found} if isinstance(found, dict) else {}
            return cut, stack, True
        return (*self._flat(schema, stack, depth), False)

    def _flat(self, schema: Json, stack: tuple[str, ...], depth: int) -> tuple[Json, tuple[str, ...]]:
        """The schema with its own reference and its `allOf` merged into it."""
        ref = schema.get("$ref")
        if isinstance(ref, str):
            found = self.find(ref)
            if not isinstance(found, dict) or ref in stack:
                self._lost("$ref")
                found = {}
            self.step(depth)
            beside = {key: value for key, value in schema.items() if key != "$ref"}
            return self._flat({**found, **beside}, (*stack, ref), depth + 1)
        parts = schema.get("allOf")
        if not isinstance(parts, list):
            return schema, stack
        merged = {key: value for key, value in schema.items() if key != "allOf"}
        for part in parts:
            self.step(depth)
            if isinstance(part, dict):
                inner, stack = self._flat(part, stack, depth + 1)
                merged = _merged(merged, inner)
        return merged, stack

    def _kinds(self, schema: Json) -> tuple[list[str], bool]:
        """The types that a schema allows, without null, and whether it allows null."""
        said = schema.get("type")
        words = [said] if isinstance(said, str) else said if isinstance(said, list) else []
        kinds = [word.lower() for word in words if isinstance(word, str) and word.lower() in _TYPES]
        nullable = schema.get("nullable") is True or ("null" in kinds and len(kinds) > 1)
        kinds = [kind for kind in dict.fromkeys(kinds) if kind != "null" or len(kinds) == 1]
        values = _values(schema)
        if None in values and kinds != ["null"]:
            nullable = True
        return kinds or self._guessed(schema, values), nullable

    @staticmethod
    def _guessed(schema: Json, values: list[Any]) -> list[str]:
        if values:
            return list(dict.fromkeys(kind for kind in map(_kind_of, values) if kind != "null")) or ["null"]
        return next(([kind] for keyword, kind in _HINTS if keyword in schema), [])

    def _options(self, flat: Json, options: list[Any], stack: tuple[str, ...], depth: int) -> Json:
        """Gemini wants `anyOf` to stand alone: what stands beside it goes into each of its members."""
        beside = {key: value for key, value in flat.items() if key not in ("anyOf", "oneOf")}
        if "properties" in beside or "items" in beside:
            if any(isinstance(one, dict) and one.keys() - {"required"} for one in options):
                self._lost("anyOf" if "anyOf" in flat else "oneOf")
            return self._node(beside, stack, depth + 1)
        beside.pop("default", None)
        nullable = beside.pop("nullable", None) is True
        members = []
        for one in options:
            if isinstance(one, dict) and (one.get("type") == "null" or one.get("const", 0) is None):
                nullable = True
                continue
            members.append(self._node({**beside, **one} if isinstance(one, dict) else one, stack, depth + 1))
        return self._any_of(members, nullable)

    @staticmethod
    def _any_of(members: list[Json], nullable: bool) -> Json:
        flat = [inner for one in members for inner in one.get("anyOf", [one])]
        if nullable:
            flat = [{**one, "nullable": True} for one in flat]
        if len(flat) < 2:
            return flat[0] if flat else {"type": "NULL"}
        return {"anyOf": flat}

    def _anything(self, schema: Any) -> Json:
        self._lost("type")
        out = [dict(one) for one in _ANY["anyOf"]]
        text = schema.get("description") if isinstance(schema, dict) else None
        if isinstance(text, str):
            out = [{**one, "description": text} for one in out]
        return {"anyOf": out}

    def _single(self, schema: Json, kind: str, stack: tuple[str, ...], depth: int) -> Json:
        out: Json = {"type": kind.upper()}
        remarks: list[str] = []
        if kind == "object":
            self._object(schema, out, stack, depth)
        elif kind == "array":
            self._array(schema, out, stack, depth)
        elif kind == "string":
            _copy(schema, out, _is_count, "minLength", "maxLength")
            _copy(schema, out, _is_text, "pattern")
        elif kind in ("number", "integer"):
            self._bounds(schema, out, kind)
        self._choices(schema, out, kind, remarks)
        self._format(schema, out, kind, remarks)
        _describe(schema, out, remarks)
        return out

    def _object(self, schema: Json, out: Json, stack: tuple[str, ...], depth: int) -> None:
        if isinstance(schema.get("additionalProperties"), dict):
            self._lost("additionalProperties")
        found = schema.get("properties")
        if not isinstance(found, dict) or not found:
            return
        out["properties"] = {name: self._node(one, stack, depth + 1) for name, one in found.items()}
        for keyword in ("required", "propertyOrdering"):
            names = schema.get(keyword)
            kept = (
                [name for name in names if isinstance(name, str) and name in found] if isinstance(names, list) else []
            )
            if kept:
                out[keyword] = list(dict.fromkeys(kept))
        _copy(schema, out, _is_count, "minProperties", "maxProperties")

    def _array(self, schema: Json, out: Json, stack: tuple[str, ...], depth: int) -> None:
        items = schema.get("items")
        places = schema.get("prefixItems", items if isinstance(items, list) else None)
        if isinstance(places, list):
            self._lost("prefixItems")
            members = [self._node(one, stack, depth + 1) for one in places]
            distinct = [one for at, one in enumerate(members) if one not in members[:at]] if len(members) < 50 else []
            out["items"] = self._any_of(distinct, False) if distinct else self._anything(None)
        else:
            out["items"] = self._node(items, stack, depth + 1) if isinstance(items, dict) else self._anything(None)
        _copy(schema, out, _is_count, "minItems", "maxItems")

    def _bounds(self, schema: Json, out: Json, kind: str) -> None:
        _copy(schema, out, _is_number, "minimum", "maximum")
        for keyword, name, step in (("exclusiveMinimum", "minimum", 1), ("exclusiveMaximum", "maximum", -1)):
            value = schema.get(keyword)
            if value is True:  # draft 4: the bound stands beside it
                value = out.get(name)
            if not _is_number(value):
                continue
            if kind == "integer" and isinstance(value, int):
                out[name] = value + step
            else:
                out[name] = value
                self._lost(keyword)

    def _choices(self, schema: Json, out: Json, kind: str, remarks: list[str]) -> None:
        values = [
            value for value in _values(schema) if value is not None and _kind_of(value) in (kind, _WIDER.get(kind))
        ]
        if not values:
            return
        if kind == "string" and all(values):
            out["enum"] = list(dict.fromkeys(values))
            return
        self._lost("const" if "const" in schema else "enum")
        remarks.append(f"One of: {', '.join(map(_shown, values[:50]))}.")

    def _format(self, schema: Json, out: Json, kind: str, remarks: list[str]) -> None:
        word = schema.get("format")
        if not isinstance(word, str) or not word:
            return
        if word in _FORMATS.get(kind, ()):
            out["format"] = word
            return
        self._lost("format")
        remarks.append(f"Format: {word[:100]}.")


_WIDER = {"number": "integer"}


def _merged(one: Json, other: Json) -> Json:
    """Both at once, as `allOf` has it. Of two words on the same matter the first stays."""
    out = {**other, **one}
    if isinstance(one.get("properties"), dict) and isinstance(other.get("properties"), dict):
        out["properties"] = {**other["properties"], **one["properties"]}
    if isinstance(one.get("required"), list) and isinstance(other.get("required"), list):
        out["required"] = [*one["required"], *other["required"]]
    return out


def _nullable(out: Json) -> Json:
    if "anyOf" in out:
        return {"anyOf": [{**one, "nullable": True} for one in out["anyOf"]]}
    return {**out, "nullable": True}


def _values(schema: Json) -> list[Any]:
    if "const" in schema:
        return [schema["const"]]
    values = schema.get("enum")
    return values if isinstance(values, list) else []


def _kind_of(value: Any) -> str:
    if value is None:
        return "null"
    kinds = {bool: "boolean", int: "integer", float: "number", str: "string", list: "array"}
    return kinds.get(type(value), "object")


def _shown(value: Any) -> str:
    try:
        return msgspec.json.encode(value).decode()[:200]
    except (msgspec.MsgspecError, OverflowError, RecursionError, UnicodeEncodeError):
        return "?"


def _describe(schema: Json, out: Json, remarks: list[str]) -> None:
    _copy(schema, out, _is_text, "title")
    text = schema.get("description")
    if isinstance(text, str) and text:
        remarks = [text, *remarks]
    if remarks:
        out["description"] = " ".join(remarks)
    if schema.get("default") is not None:
        out["default"] = schema["default"]
    examples = schema.get("examples")
    example = examples[0] if isinstance(examples, list) and examples else schema.get("example")
    if example is not None:
        out["example"] = example


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and -1e300 < value < 1e300


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value)


def _copy(schema: Json, out: Json, fits: Callable[[Any], bool], *names: str) -> None:
    for name in names:
        if name in schema and fits(schema[name]):
            out[name] = schema[name]
