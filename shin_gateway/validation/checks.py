"""What checks values: one object for each part of a schema, built once, and walked with the value.

`find` gives the first problem, or None. It costs a call for each value that the schema looks at, and nothing is made
while all is well. A union gives the problem of the branch that fits best, not one for each branch.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from shin_gateway.validation.problem import Problem, alternatives, missing, one_of, unknown, unlisted, wrong

TAGS = ("type", "role")
"""Fields that tell one kind of object from another."""
CLOSED = frozenset({"role"})
"""Fields whose values no provider adds to."""

_TAG = (str, type(None))
_NUMERIC = re.compile(r"\s*-?\d+(\.\d+)?([eE][+-]?\d+)?\s*").fullmatch
Kinds = frozenset[type]


@dataclass(frozen=True)
class Rules:
    """How strict to be, and with what kind of JSON."""

    refuse_fields: bool = False
    """Refuse fields that the schema does not name."""
    refuse_values: bool = False
    """Refuse values and types of objects that it does not list."""
    protobuf: bool = False
    """JSON as protobuf reads it: names in snake case too, numbers in quotes, one for a list of one, enums in any case.
    https://protobuf.dev/programming-guides/json/"""


class Check(Protocol):
    kinds: Kinds
    """Types of JSON that are looked into; of any other the check says only that it is wrong."""
    expected: str
    """In words: `a string`."""

    def find(self, value: Any) -> Problem | None: ...


class Anything:
    kinds: Kinds = frozenset({str, int, float, bool, type(None), list, dict})
    expected = "anything"

    def find(self, value: Any) -> Problem | None:
        return None


class Scalar:
    """A value of some types and nothing more."""

    def __init__(self, expected: str, *kinds: type) -> None:
        self.expected = expected
        self.kinds = frozenset(kinds)

    def find(self, value: Any) -> Problem | None:
        return None if type(value) in self.kinds else wrong(self.expected, value)


class Number:
    """`1.0` is a whole number: JSON knows one kind only, and providers read it so."""

    def __init__(self, whole: bool, rules: Rules) -> None:
        self.expected = "a whole number" if whole else "a number"
        self.kinds = frozenset({int, float, str} if rules.protobuf else {int, float})
        self._whole = whole

    def find(self, value: Any) -> Problem | None:
        kind = type(value)
        if kind is int or (kind is float and not (self._whole and not value.is_integer())):
            return None
        if kind is float:
            return Problem(f"should be {self.expected}, not {value:g}")
        if kind is str and str in self.kinds and _NUMERIC(value):
            return None
        return wrong(self.expected, value)


class Enum:
    """One of some values. New ones pass unless the rules refuse them."""

    def __init__(self, values: Sequence[Any], rules: Rules) -> None:
        self.values = frozenset(values)
        self.expected = one_of(values)
        self.kinds = frozenset(map(type, values)) | (frozenset({int}) if rules.protobuf else frozenset())
        self.listed = list(values)
        self._open = not rules.refuse_values
        self._any_case = rules.protobuf

    def find(self, value: Any) -> Problem | None:
        if type(value) not in self.kinds:
            return wrong(self.expected, value)
        return None if self._open or self.holds(value) else unlisted(self.listed, value)

    def holds(self, value: Any) -> bool:
        if self._any_case:
            return type(value) is int or value in self.values or value.upper() in self.values
        return value in self.values

    def closed(self) -> Enum:
        twin = object.__new__(Enum)
        twin.__dict__ |= {**self.__dict__, "_open": False}
        return twin


class List:
    def __init__(self, items: Check, rules: Rules) -> None:
        self.expected = "a list"
        self._lone = rules.protobuf
        self.kinds = frozenset({list}) | (items.kinds if self._lone else frozenset())
        self._items = items
        self._plain = items.kinds if isinstance(items, Scalar) else None

    def find(self, value: Any) -> Problem | None:
        if type(value) is not list:
            return self._items.find(value) if self._lone and type(value) is dict else wrong(self.expected, value)
        if self._plain is not None and self._plain.issuperset(map(type, value)):
            return None
        find = self._items.find
        for index, item in enumerate(value):
            if (problem := find(item)) is not None:
                return problem.within(index)
        return None


class Map:
    """An object with any names."""

    kinds: Kinds = frozenset({dict})
    expected = "an object"

    def __init__(self, values: Check) -> None:
        self._values = values
        self.takes_anything = isinstance(values, Anything)

    def find(self, value: Any) -> Problem | None:
        if type(value) is not dict:
            return wrong(self.expected, value)
        if self.takes_anything:
            return None
        for name, one in value.items():
            if (problem := self._values.find(one)) is not None:
                return problem.within(name)
        return None


class Object:
    """An object with named fields. One that is not required may be null."""

    kinds: Kinds = frozenset({dict})

    def __init__(self, required: Sequence[str], rules: Rules) -> None:
        self.fields: dict[str, Check] = {}
        self.required = tuple(required)
        self.expected = f"an object with {_and(required)}" if required else "an object"
        self._rules = rules
        self._tag: Enum | None = None

    def fill(self, fields: dict[str, Check]) -> None:
        """Later than the rest, since objects may hold themselves."""
        for name in CLOSED & fields.keys():
            if isinstance(one := fields[name], Enum):
                fields[name] = one.closed()
        self.fields = fields
        tag = fields.get("type")
        self._tag = tag if isinstance(tag, Enum) and not self._rules.refuse_values else None

    def find(self, value: Any) -> Problem | None:
        if type(value) is not dict:
            return wrong(self.expected, value)
        if self._tag is not None and self._is_new(value.get("type")):
            return None
        fields, required = self.fields, self.required
        for name in required:
            if name not in value:
                return missing(name, fields[name].expected)
        for name, one in value.items():
            check = fields.get(name)
            if check is None:
                if self._rules.refuse_fields:
                    return unknown(name, fields)
            elif (one is not None or name in required) and (problem := check.find(one)) is not None:
                return problem.within(name)
        return None

    def _is_new(self, tag: object) -> bool:
        """Whether this is a type of object that the schema has never heard of."""
        assert self._tag is not None
        return type(tag) is str and not self._tag.holds(tag)

    def takes(self, name: str, tag: str | None) -> bool:
        """Whether a value with this tag may be such an object."""
        if tag is None:
            return name not in self.required
        enum = enum_of(self.fields.get(name))
        return enum is None or enum.holds(tag)


class Best:
    """A union whose branches nothing tells apart but trying."""

    def __init__(self, branches: Sequence[Check]) -> None:
        self._branches = tuple(branches)
        self.kinds = frozenset().union(*(branch.kinds for branch in branches))
        self.expected = alternatives(branch.expected for branch in branches)

    def find(self, value: Any) -> Problem | None:
        problems: list[Problem] = []
        for branch in self._branches:
            problem = branch.find(value)
            if problem is None:
                return None
            problems.append(problem)
        return max(problems, key=lambda problem: problem.progress)


class Missing:
    """What a value without its tag is told."""

    kinds: Kinds = frozenset({dict})

    def __init__(self, name: str, expected: str) -> None:
        self.expected = expected
        self._name = name

    def find(self, value: Any) -> Problem | None:
        return missing(self._name, self.expected)


class Tagged:
    """A union of objects, told apart by their tags."""

    kinds: Kinds = frozenset({dict})

    def __init__(self, branches: Sequence[Object], rules: Rules) -> None:
        self._branches = tuple(branches)
        self._open = not rules.refuse_values
        self._known: dict[str, list[Any]] | None = None
        self._chosen: dict[tuple[object, object], Check] = {}
        common = [name for name in TAGS if all(name in branch.required for branch in branches)]
        self.expected = f"an object with {_and(common)}" if common else "an object"

    def find(self, value: Any) -> Problem | None:
        if type(value) is not dict:
            return wrong(self.expected, value)
        tags = kind, role = value.get("type"), value.get("role")
        if type(kind) in _TAG and type(role) in _TAG and (check := self._chosen.get(tags)) is not None:
            return check.find(value)
        known = self._tags()
        for name, tag in zip(TAGS, tags, strict=True):
            if tag is None or not known[name] or tag in known[name]:
                continue
            if type(tag) is not str:
                return wrong(one_of(known[name]), tag).within(name)
            new = self._open and name not in CLOSED
            return None if new else unlisted(known[name], tag).within(name)
        check = self._choose(dict(zip(TAGS, tags, strict=True)))
        if all(tag is None or tag in known[name] for name, tag in zip(TAGS, tags, strict=True)):
            self._chosen[tags] = check
        return check.find(value)

    def _tags(self) -> dict[str, list[Any]]:
        """The values that tell branches apart. Asked for later than the branches are made, who may hold this."""
        if self._known is None:
            self._known = {name: _values(self._branches, name) for name in TAGS}
        return self._known

    def _choose(self, tags: dict[str, Any]) -> Check:
        fitting: Sequence[Object] = self._branches
        for name, tag in tags.items():
            narrowed = [one for one in fitting if one.takes(name, tag)]
            if not narrowed and tag is None:
                return Missing(name, one_of(_values(fitting, name)))
            fitting = narrowed or fitting
        return fitting[0] if len(fitting) == 1 else Best(fitting)


def _values(branches: Iterable[Object], name: str) -> list[Any]:
    enums = [enum for one in branches if (enum := enum_of(one.fields.get(name))) is not None]
    return list(dict.fromkeys(value for enum in enums for value in enum.listed))


class OneOf:
    """A union: the type of the JSON value says which branches it may be."""

    def __init__(self, branches: Sequence[Check], rules: Rules) -> None:
        self.kinds = frozenset().union(*(branch.kinds for branch in branches))
        self._by_kind = {kind: _united([one for one in branches if kind in one.kinds], rules) for kind in self.kinds}
        objects = [self._by_kind[dict].expected] if dict in self.kinds else []
        others = [one.expected for one in branches if dict not in one.kinds and one.expected != "null"]
        self.expected = alternatives([*others, *objects])

    def find(self, value: Any) -> Problem | None:
        check = self.of_kind(type(value))
        return wrong(self.expected, value) if check is None else check.find(value)

    def of_kind(self, kind: type) -> Check | None:
        """What checks values of this type of JSON."""
        return self._by_kind.get(kind)


def enum_of(check: Check | None) -> Enum | None:
    """The values that a string may have there, if they are listed."""
    if isinstance(check, OneOf):
        check = check.of_kind(str)
    return check if isinstance(check, Enum) else None


def _united(branches: Sequence[Check], rules: Rules) -> Check:
    if len(branches) == 1:
        return branches[0]
    objects = [one for one in branches if isinstance(one, Object)]
    if any(isinstance(one, Map) and one.takes_anything for one in branches):
        return next(one for one in branches if isinstance(one, Map))
    return Tagged(objects, rules) if len(objects) == len(branches) else Best(branches)


def _and(names: Iterable[str]) -> str:
    words = [f'"{name}"' for name in names][:3]
    return " and ".join(filter(None, [", ".join(words[:-1]), words[-1]]))
