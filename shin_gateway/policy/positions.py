"""YAML 1.2 whose every error names file, line and column, and what was probably meant."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, StringMark, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from shin_gateway.wording import meant_or_known, shown

Loc = tuple[str | int, ...]
"""The way from the top of a document to a value: `("addons", "retry", "attempts")`."""

_TAG = "tag:yaml.org,2002:"
_TYPED = {f"{_TAG}{name}" for name in ("int", "float", "bool", "null")}
_KNOWN = _TYPED | {f"{_TAG}{name}" for name in ("str", "timestamp", "value", "merge", "map", "seq")}
_BRANCH = re.compile(r"literal\[|[A-Z]\w*Settings$|\[key\]$")
"""What pydantic puts into a way that nobody wrote: which side of a union it tried, and that a key itself is wrong."""
_NO_MAPPING = ("dict_type", "model_type", "model_attributes_type")


@dataclass(frozen=True, order=True)
class PolicyError:
    """One thing that is wrong in one file. Lines and columns count from 1; line 0 means the whole file."""

    file: str
    line: int
    column: int
    message: str
    hint: str = ""
    warning: bool = False

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}:{self.column}" if self.line else self.file
        kind = "warning: " if self.warning else ""
        return f"{where}: {kind}{self.message}" + (f"; {self.hint}" if self.hint else "")


class PolicyErrors(Exception):
    """Everything that is wrong, in the order of files and lines."""

    def __init__(self, errors: Iterable[PolicyError]) -> None:
        self.errors = sorted(set(errors))
        super().__init__("\n".join(map(str, self.errors)))


class Document:
    """A parsed file: plain values in `data`, and the place where each of them was written."""

    def __init__(self, file: str, root: Node | None, data: Any) -> None:
        self.file = file
        self.data = data
        self._root = root

    def place(self, loc: Loc, *, key: bool = False) -> tuple[int, int]:
        """Line and column of the value at `loc`, or of its key; of the nearest thing above it that was written."""
        node, mark = self._root, self._root.start_mark if self._root else None
        for part in loc:
            found = _child(node, part)
            if found is None:
                continue
            key_node, node = found
            mark = (key_node if key and key_node else node).start_mark
        return (mark.line + 1, mark.column + 1) if mark else (1, 1)

    def error(self, loc: Loc, message: str, hint: str = "", *, key: bool = False) -> PolicyError:
        return PolicyError(self.file, *self.place(loc, key=key), message, hint)

    def warn(self, loc: Loc, message: str, hint: str = "") -> PolicyError:
        return PolicyError(self.file, *self.place(loc), message, hint, warning=True)


def read(path: Path) -> Document:
    """The file at `path`. Raises PolicyErrors: unreadable, not UTF-8, not YAML, not a mapping."""
    file = shown(path)
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise PolicyErrors([PolicyError(file, 0, 0, f"cannot be read: {error.strerror}")]) from error
    except UnicodeDecodeError as error:
        raise PolicyErrors([PolicyError(file, 0, 0, "is not UTF-8")]) from error
    return parse(text, file)


def parse(text: str, file: str) -> Document:
    """A document from its text; an empty one is an empty mapping. Raises PolicyErrors."""
    yaml = YAML(typ="safe", pure=True)
    try:
        root = yaml.compose(text)
    except YAMLError as error:
        raise PolicyErrors([_syntax(file, error, text)]) from error
    except RecursionError as error:
        raise PolicyErrors([PolicyError(file, 0, 0, "is nested too deeply")]) from error
    builder = _Builder(file, yaml)
    data = builder.value(root) if root is not None else {}
    if not builder.errors and not isinstance(data, dict):
        builder.refuse(root, "should be a mapping: lines of `key: value`")
    if builder.errors:
        raise PolicyErrors(builder.errors)
    return Document(file, root, data)


def validate[M: BaseModel](document: Document, model: type[M], data: Any = None, at: Loc = ()) -> M:
    """`data` (the document's, or a part of it that stands at `at`) as a model. Raises PolicyErrors."""
    try:
        return model.model_validate(document.data if data is None else data)
    except ValidationError as error:
        found = error.errors(include_url=False, include_input=False)
        telling = [one for one in found if not _beside(one, found)]
        raise PolicyErrors(_explain(document, model, at, dict(one)) for one in telling or found) from None


class _Builder:
    """Plain values from nodes. Duplicate keys, merge keys and tags are errors; keys are always text."""

    def __init__(self, file: str, yaml: YAML) -> None:
        self.errors: list[PolicyError] = []
        self._file = file
        self._yaml = yaml
        self._done: dict[int, Any] = {}
        self._open: set[int] = set()

    def refuse(self, node: Node, message: str, hint: str = "") -> None:
        mark = node.start_mark
        self.errors.append(PolicyError(self._file, mark.line + 1, mark.column + 1, message, hint))

    def value(self, node: Node) -> Any:
        """The value of a node; an alias yields the very object of its anchor."""
        if id(node) in self._done:
            return self._done[id(node)]
        if id(node) in self._open:
            return self.refuse(node, "contains itself")
        self._open.add(id(node))
        made = self._make(node)
        self._open.discard(id(node))
        self._done[id(node)] = made
        return made

    def _make(self, node: Node) -> Any:
        if str(node.tag) not in _KNOWN:
            return self.refuse(node, f"unknown tag {node.tag}")
        if isinstance(node, MappingNode):
            return self._mapping(node)
        if isinstance(node, SequenceNode):
            return [self.value(item) for item in node.value]
        assert isinstance(node, ScalarNode)
        return self._scalar(node)

    def _mapping(self, node: MappingNode) -> dict[str, Any]:
        made: dict[str, Any] = {}
        for key, value in node.value:
            if not isinstance(key, ScalarNode):
                self.refuse(key, "a key should be one word")
            elif str(key.tag) == f"{_TAG}merge":
                self.refuse(key, "merge keys (<<) are not supported")
            elif key.value in made:
                self.refuse(key, f'duplicate key "{key.value}"')
            else:
                made[key.value] = self.value(value)
        return made

    def _scalar(self, node: ScalarNode) -> Any:
        if str(node.tag) not in _TYPED:
            return node.value  # a date stays as it is written
        try:
            return self._yaml.constructor.construct_object(node)
        except (ValueError, OverflowError):
            return self.refuse(node, "is not a number that can be read")


def _child(node: Node | None, part: str | int) -> tuple[Node | None, Node] | None:
    if isinstance(node, MappingNode):
        return next(((key, value) for key, value in node.value if key.value == str(part)), None)
    if isinstance(node, SequenceNode) and isinstance(part, int) and part < len(node.value):
        return None, node.value[part]
    return None


def _syntax(file: str, error: YAMLError, text: str) -> PolicyError:
    mark = getattr(error, "problem_mark", None)
    if isinstance(error, MarkedYAMLError) and isinstance(mark, StringMark):
        message = str(error.problem or error.context or "is not YAML")
        return PolicyError(file, mark.line + 1, mark.column + 1, f"is not YAML: {message}", _tab(text, mark))
    return PolicyError(file, *_odd_character(text), "is not YAML: a character that YAML does not allow")


def _tab(text: str, mark: StringMark) -> str:
    lines = text.splitlines()
    line = lines[mark.line] if mark.line < len(lines) else ""
    return "indent with spaces, not tabs" if line[: mark.column + 1].startswith("\t") else ""


def _odd_character(text: str) -> tuple[int, int]:
    """Line and column of the first control character, which YAML refuses without saying where."""
    for number, line in enumerate(text.split("\n"), 1):
        for column, character in enumerate(line, 1):
            if ord(character) < 32 and character not in "\t\r":
                return number, column
    return 1, 1


def _explain(document: Document, model: type[BaseModel], at: Loc, error: dict[str, Any]) -> PolicyError:
    """Our words for one of pydantic's errors. The offending value is never shown: it may be a secret."""
    loc: Loc = at + tuple(error["loc"])
    name, kind = _named(loc), error["type"]
    if kind == "extra_forbidden":
        known = _keys(model, error["loc"][:-1])
        return document.error(loc, f'unknown key "{name}"', meant_or_known(name, known), key=True)
    if kind == "missing":
        return document.error(loc[:-1], f'missing key "{name}"', key=True)
    if kind in _NO_MAPPING:
        return document.error(loc, f'"{name}" should be a mapping' if name else "should be a mapping")
    if kind in ("value_error", "assertion_error"):
        return document.error(loc, str(error["ctx"]["error"]))
    return document.error(loc, _sentence(name, error["msg"]))


def _named(loc: Loc) -> str:
    return next((str(part) for part in reversed(loc) if not _BRANCH.match(str(part))), "")


def _beside(error: Any, found: Iterable[Any]) -> bool:
    """Whether it says that a word was expected where a mapping was written, in which something else is wrong."""
    loc = error["loc"]
    if not loc or not str(loc[-1]).startswith("literal["):
        return False
    siblings = (one for one in found if one["loc"][: len(loc) - 1] == loc[:-1] and one["loc"] != loc)
    return any(one["type"] not in (*_NO_MAPPING, "literal_error") for one in siblings)


def _sentence(name: str, message: str) -> str:
    subject = f'"{name}"' if name and not name.isdigit() else "this"
    message = message.replace("Input should", f"{subject} should", 1).replace("'", '"')
    return message.replace("be a valid tuple", "be a list")


def _keys(model: Any, loc: Loc) -> set[str]:
    """The keys of the model that stands at `loc` inside `model`."""
    for part in loc:
        field = model.model_fields.get(str(part)) if _is_model(model) else None
        model = _inner(field.annotation) if field else _inner(model)
    return set(model.model_fields) if _is_model(model) else set()


def _inner(annotation: Any) -> Any:
    """The model inside `list[Model]`, `dict[str, Model]`, `Model | None`."""
    if _is_model(annotation):
        return annotation
    return next((found for one in reversed(get_args(annotation)) if _is_model(found := _inner(one))), annotation)


def _is_model(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)
