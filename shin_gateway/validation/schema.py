"""A dialect's schema, read from its file and made into checks."""

from __future__ import annotations

import re
from functools import cache
from typing import Any

import msgspec

from shin_gateway.errors import Invalid
from shin_gateway.validation.checks import (
    Anything,
    Check,
    Enum,
    List,
    Map,
    Number,
    Object,
    OneOf,
    Rules,
    Scalar,
)
from shin_gateway.validation.forms import folder
from shin_gateway.validation.problem import Problem

DIALECTS = (
    "openai.chat", "openai.completions", "openai.responses", "openai.embeddings", "anthropic.messages",
    "gemini.generate",
)  # fmt: skip
"""Those that have a schema."""

_CAMEL = re.compile(r"(?<=[a-z0-9])([A-Z])")


class Schema:
    """What calls of one dialect may hold, form by form."""

    def __init__(self, forms: dict[str, Check]) -> None:
        self._forms = forms

    def check(self, body: bytes, form: str) -> None:
        """Raises Invalid that names the first field at fault. A form without a schema holds anything."""
        check = self._forms.get(form)
        if check is None:
            return
        try:
            problem = check.find(_read(body))
        except RecursionError:
            raise Invalid("The body is nested too deeply.") from None
        if problem is not None:
            raise _invalid(problem)


def _invalid(problem: Problem) -> Invalid:
    if not problem.field:
        return Invalid(f"The body {problem.text}.")
    return Invalid(f"{problem}{'' if problem.text.endswith('?') else '.'}", param=problem.field)


def _read(body: bytes) -> Any:
    try:
        return msgspec.json.decode(body)
    except msgspec.DecodeError as error:
        raise Invalid(f"The body is not valid JSON: {error}.") from None
    except ValueError:
        raise Invalid("The body is not valid JSON: it is not UTF-8, or holds a number that is too large.") from None


@cache
def load(dialect: str, *, refuse_fields: bool = False, refuse_values: bool = False) -> Schema:
    """The dialect's schema. Raises KeyError for one that has none."""
    if dialect not in DIALECTS:
        raise KeyError(dialect)
    file = msgspec.json.decode((folder() / f"{dialect}.json").read_bytes())
    rules = Rules(refuse_fields, refuse_values, bool(file.get("protobuf")))
    return _Builder(file["$defs"], rules).schema(file["forms"])


class _Builder:
    def __init__(self, definitions: dict[str, Any], rules: Rules) -> None:
        self._definitions = definitions
        self._rules = rules
        self._made: dict[str, Object] = {}
        self._scalars: dict[str, Check] = {
            "string": Scalar("a string", str),
            "boolean": Scalar("true or false", bool),
            "null": Scalar("null", type(None)),
            "integer": Number(True, rules),
            "number": Number(False, rules),
        }

    def schema(self, forms: dict[str, Any]) -> Schema:
        return Schema({name: self._check(form) for name, form in forms.items()})

    def _check(self, part: dict[str, Any]) -> Check:
        if "$ref" in part:
            return self._reference(part["$ref"].rpartition("/")[2])
        if "anyOf" in part:
            return OneOf([self._check(one) for one in part["anyOf"]], self._rules)
        if "enum" in part:
            return Enum(part["enum"], self._rules)
        kind = part.get("type")
        if kind == "object":
            return self._object(part)
        if kind == "array":
            return List(self._check(part["items"]), self._rules)
        return self._scalars[kind] if kind else Anything()

    def _reference(self, name: str) -> Check:
        if name not in self._made:
            part = self._definitions[name]
            self._made[name] = made = Object(part.get("required", ()), self._rules)
            made.fill(self._fields(part["properties"]))
        return self._made[name]

    def _object(self, part: dict[str, Any]) -> Check:
        if "properties" not in part:
            return Map(self._check(part.get("additionalProperties", {})))
        made = Object(part.get("required", ()), self._rules)
        made.fill(self._fields(part["properties"]))
        return made

    def _fields(self, properties: dict[str, Any]) -> dict[str, Check]:
        fields = {name: self._check(part) for name, part in properties.items()}
        if self._rules.protobuf:
            fields |= {_CAMEL.sub(r"_\1", name).lower(): check for name, check in fields.items()}
        return fields
