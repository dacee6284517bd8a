"""JSON Schema to Gemini's `Schema` and back."""

from __future__ import annotations

import json
from typing import Any

import pytest
from google.genai import types
from hypothesis import given, settings
from hypothesis import strategies as st

from shin_gateway.translation.gemini_generate.schema_out import answer_for_gemini, arguments_for_gemini
from shin_gateway.translation.schemas import BadSchema, from_gemini, inlined

Json = dict[str, Any]


def pruned(schema: Json) -> tuple[Json, set[str]]:
    lost: set[str] = set()
    out = answer_for_gemini(schema, lost.add)
    types.Schema.model_validate(out)  # forbids what it does not know
    json.dumps(out)
    return out, lost


@pytest.mark.parametrize(
    ("schema", "expected", "lost"),
    [
        ({"type": "string"}, {"type": "STRING"}, set()),
        ({"type": ["string", "null"]}, {"type": "STRING", "nullable": True}, set()),
        ({"type": ["string", "integer"]}, {"anyOf": [{"type": "STRING"}, {"type": "INTEGER"}]}, set()),
        ({"type": "null"}, {"type": "NULL"}, set()),
        ({"const": "a"}, {"type": "STRING", "enum": ["a"]}, set()),
        ({"const": 3}, {"type": "INTEGER", "description": "One of: 3."}, {"const"}),
        ({"enum": ["a", "b", "a"]}, {"type": "STRING", "enum": ["a", "b"]}, set()),
        ({"enum": ["a", None]}, {"type": "STRING", "enum": ["a"], "nullable": True}, set()),
        ({"enum": ["", "a"]}, {"type": "STRING", "description": 'One of: "", "a".'}, {"enum"}),
        ({"type": "integer", "enum": [1, 2]}, {"type": "INTEGER", "description": "One of: 1, 2."}, {"enum"}),
        ({"type": "string", "format": "date-time"}, {"type": "STRING", "format": "date-time"}, set()),
        ({"type": "string", "format": "uri"}, {"type": "STRING", "description": "Format: uri."}, {"format"}),
        (
            {"type": "integer", "exclusiveMinimum": 0, "maximum": 9},
            {"type": "INTEGER", "minimum": 1, "maximum": 9},
            set(),
        ),
        ({"type": "number", "exclusiveMaximum": 1.5}, {"type": "NUMBER", "maximum": 1.5}, {"exclusiveMaximum"}),
        ({"type": "number", "multipleOf": 2}, {"type": "NUMBER"}, {"multipleOf"}),
        (
            {"oneOf": [{"type": "string"}, {"type": "number"}], "description": "d"},
            {"anyOf": [{"type": "STRING", "description": "d"}, {"type": "NUMBER", "description": "d"}]},
            set(),
        ),
        (
            {"anyOf": [{"type": "integer"}, {"type": "null"}], "title": "T", "default": None},
            {"type": "INTEGER", "title": "T", "nullable": True},
            set(),
        ),
        (
            {
                "allOf": [
                    {"properties": {"a": {"type": "string"}}, "required": ["a"]},
                    {"properties": {"b": {"type": "null"}}},
                ]
            },
            {"type": "OBJECT", "properties": {"b": {"type": "NULL"}, "a": {"type": "STRING"}}, "required": ["a"]},
            set(),
        ),
        (
            {
                "type": "object",
                "properties": {"a": {"type": "string"}},
                "required": ["a", "z"],
                "additionalProperties": False,
            },
            {"type": "OBJECT", "properties": {"a": {"type": "STRING"}}, "required": ["a"]},
            set(),
        ),
        ({"type": "object", "additionalProperties": {"type": "string"}}, {"type": "OBJECT"}, {"additionalProperties"}),
        (
            {"type": "array", "items": {"type": "string"}, "minItems": 1, "uniqueItems": True},
            {"type": "ARRAY", "items": {"type": "STRING"}, "minItems": 1},
            {"uniqueItems"},
        ),
        (
            {"type": "array", "prefixItems": [{"type": "string"}, {"type": "number"}]},
            {"type": "ARRAY", "items": {"anyOf": [{"type": "STRING"}, {"type": "NUMBER"}]}},
            {"prefixItems"},
        ),
        (
            {"type": "object", "properties": {"a": {"type": "string"}}, "anyOf": [{"required": ["a"]}]},
            {"type": "OBJECT", "properties": {"a": {"type": "STRING"}}},
            set(),
        ),
        ({"$ref": "#/$defs/A", "$defs": {"A": {"type": "boolean"}}}, {"type": "BOOLEAN"}, set()),
        (
            {"type": "string", "examples": ["x", "y"], "$comment": "c", "$schema": "s"},
            {"type": "STRING", "example": "x"},
            set(),
        ),
    ],
)
def test_pruned(schema: Json, expected: Json, lost: set[str]) -> None:
    assert pruned(schema) == (expected, lost)


def test_recursion_is_cut() -> None:
    node = {"type": "object", "properties": {"next": {"$ref": "#/$defs/Node"}, "value": {"type": "string"}}}
    out, lost = pruned({"$ref": "#/$defs/Node", "$defs": {"Node": node}})
    assert out["properties"] == {"next": {"type": "OBJECT"}, "value": {"type": "STRING"}}
    assert lost == {"$ref"}
    assert inlined({"$ref": "#/$defs/Node", "$defs": {"Node": node}})["properties"]["next"] == {"type": "object"}


def test_mutual_recursion_through_all_of_ends() -> None:
    schema = {"$defs": {"A": {"allOf": [{"$ref": "#/$defs/B"}]}, "B": {"allOf": [{"$ref": "#/$defs/A"}]}},
              "$ref": "#/$defs/A"}  # fmt: skip
    pruned(schema)


def test_multiplying_definitions_are_refused() -> None:
    definitions: Json = {"D0": {"type": "string"}}
    for at in range(1, 20):
        one = {"$ref": f"#/$defs/D{at - 1}"}
        definitions[f"D{at}"] = {"type": "object", "properties": {"a": one, "b": one, "c": one}}
    schema = {"$ref": "#/$defs/D19", "$defs": definitions}
    for work in (lambda: inlined(schema), lambda: answer_for_gemini(schema, print)):
        with pytest.raises(BadSchema):
            work()


def test_deep_nesting_is_refused() -> None:
    schema: Json = {"type": "string"}
    for _ in range(200):
        schema = {"type": "array", "items": schema}
    for work in (lambda: inlined(schema), lambda: answer_for_gemini(schema, print), lambda: from_gemini(schema)):
        with pytest.raises(BadSchema):
            work()


@pytest.mark.parametrize("schema", [{}, {"type": "object"}, {"type": "object", "properties": {}}])
def test_no_arguments(schema: Json) -> None:
    assert arguments_for_gemini(schema, print) is None


def test_arguments_are_one_object() -> None:
    a = {"type": "object", "properties": {"x": {"type": "string"}, "y": {"type": "string"}}, "required": ["x", "y"]}
    b = {"type": "object", "properties": {"x": {"type": "string"}}, "required": ["x"]}
    lost: set[str] = set()
    out = arguments_for_gemini({"anyOf": [a, b]}, lost.add)
    assert out is not None and out["type"] == "OBJECT" and out["required"] == ["x"]
    assert lost == {"anyOf"}


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        ({"type": "OBJECT", "properties": {"a": {"type": "STRING", "nullable": True}}},
         {"type": "object", "properties": {"a": {"type": ["string", "null"]}}}),
        ({"type": "STRING", "format": "enum", "enum": ["a"], "nullable": True},
         {"type": ["string", "null"], "enum": ["a", None]}),
        ({"anyOf": [{"type": "STRING"}, {"type": "INTEGER"}], "nullable": True},
         {"anyOf": [{"type": "string"}, {"type": "integer"}, {"type": "null"}]}),
        ({"type": "ARRAY", "items": {"type": "NUMBER"}, "min_items": "3"},
         {"type": "array", "items": {"type": "number"}, "minItems": 3}),
        ({"type": "string", "additionalProperties": False}, {"type": "string", "additionalProperties": False}),
        ({"type": ["STRING", "NULL"]}, {"type": ["string", "null"]}),
        ({"type": ["STRING", "INTEGER"], "nullable": True}, {"type": ["string", "integer", "null"]}),
        ({"type": ["NULL", "STRING"], "nullable": True}, {"type": ["null", "string"]}),
    ],
)  # fmt: skip
def test_from_gemini(schema: Json, expected: Json) -> None:
    assert from_gemini(schema) == expected


def test_order_of_properties() -> None:
    schema = {"type": "OBJECT", "properties": {"a": {"type": "STRING"}, "b": {"type": "STRING"}},
              "propertyOrdering": ["b", "a"]}  # fmt: skip
    assert list(from_gemini(schema)["properties"]) == ["b", "a"]


_KEYWORDS = ["type", "properties", "items", "anyOf", "oneOf", "allOf", "$ref", "$defs", "enum", "const", "required",
             "minimum", "exclusiveMinimum", "format", "nullable", "prefixItems", "description", "default", "minItems",
             "additionalProperties", "propertyOrdering", "pattern", "title"]  # fmt: skip
_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.sampled_from(["string", "object", "array", "null", "#", "#/$defs/a", "#/properties/a", "x"]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from([*_KEYWORDS, "a", "b"]), inner, max_size=4)
    ),
    max_leaves=12,
)


@settings(max_examples=300, deadline=None)
@given(st.dictionaries(st.sampled_from(_KEYWORDS), _values, max_size=5))
def test_nonsense_is_never_a_crash(schema: Json) -> None:
    for work in (inlined, from_gemini):
        try:
            work(schema)
        except BadSchema:
            pass
    try:
        out = answer_for_gemini(schema, lambda _: None)
        arguments_for_gemini(schema, lambda _: None)
    except BadSchema:
        return
    types.Schema.model_validate(out)
