"""A call's body, of which some members are read, put in or changed; every other byte stays as it came."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from shin_gateway.dialects.json_spans import Span, decode, members
from shin_gateway.dialects.json_text import Edit, apply

_UPPER = re.compile("[A-Z]")


@dataclass(slots=True)
class _Object:
    """One object of the text. `changes` are new values for its members, and members that it did not have."""

    name: str
    """The way to it as the client wrote it, with a dot at its end; empty at the top."""
    members: dict[str, Span]
    start: int
    """After its brace."""
    changes: dict[str, Any] = field(default_factory=dict)

    def edits(self) -> Iterator[Edit]:
        new: list[str] = []
        for key, value in self.changes.items():
            if (span := self.members.get(key)) is not None:
                yield span.start, span.end, _json(value)
            else:
                new.append(f"{_json(key)}:{_json(value)}")
        if new:  # behind all that is there: providers' prompt caches go by the beginning
            end = max((span.end for span in self.members.values()), default=self.start)
            yield end, end, ("," if self.members else "") + ",".join(new)


@dataclass(frozen=True, slots=True)
class Member:
    """A member that is there and not null."""

    owner: _Object
    key: str
    value: Any

    @property
    def name(self) -> str:
        """As the client wrote it: `generationConfig.maxOutputTokens`."""
        return self.owner.name + self.key

    def change(self, value: Any) -> None:
        self.owner.changes[self.key] = value


class Body:
    """Members are named by dotted paths. What is written `maxTokens` there is found as `max_tokens` too, since
    protobuf's JSON, which Gemini speaks, takes both."""

    def __init__(self, body: bytes) -> None:
        """Raises Invalid for what is no JSON object."""
        self._body = body
        self._text = decode(body)
        self._objects: dict[int, _Object] = {}
        self._top = self._open("", 0)
        inner = self._top.members.get("request")
        # Gemini's envelope: `{model, project, request: {contents, …}}`
        if inner is not None and isinstance(inner.value, dict) and "contents" not in self._top.members:
            self._top = self._open("request.", inner.start)

    def find(self, path: str) -> list[Member]:
        """All members that `path` may mean, in whatever spelling. A null says nothing, so it is none."""
        *parents, last = path.split(".")
        owners = [self._top]
        for step in parents:
            owners = [child for owner in owners for child in self._children(owner, step)]
        found = ((owner, key, _value(owner, key)) for owner in owners for key in _spellings(last))
        return [Member(owner, key, value) for owner, key, value in found if value is not None]

    def value(self, path: str) -> Any:
        """What stands there now; None where nothing does."""
        found = self.find(path)
        return found[-1].value if found else None

    def put(self, path: str, value: Any) -> str:
        """Put in a member that is not there, and what it stands in. Its name, or "" where the client wrote something
        else than an object on the way to it, which the provider will refuse."""
        *parents, last = path.split(".")
        owner = self._top
        for number, step in enumerate(parents):
            children = self._children(owner, step)
            if not children:
                return self._put_whole(owner, step, [*parents[number + 1 :], last], value)
            owner = children[0]
        owner.changes[_written(owner, last)] = value
        return owner.name + last

    def _put_whole(self, owner: _Object, step: str, below: list[str], value: Any) -> str:
        key = _written(owner, step)
        held = _value(owner, key)
        if held is not None and key not in owner.changes:
            return ""
        made = owner.changes.setdefault(key, {})
        *parents, last = below
        for parent in parents:
            made = made.setdefault(parent, {})
        made[last] = value
        return ".".join([owner.name + key, *below])

    @property
    def bytes(self) -> bytes:
        """The identical object when nothing changed."""
        edits = [edit for one in self._objects.values() for edit in one.edits()]
        return apply(self._text, sorted(edits)).encode() if edits else self._body

    def _open(self, name: str, at: int) -> _Object:
        if at not in self._objects:
            self._objects[at] = _Object(name, members(self._text, at), self._text.index("{", at) + 1)
        return self._objects[at]

    def _children(self, owner: _Object, step: str) -> list[_Object]:
        spans = ((key, owner.members.get(key)) for key in _spellings(step) if key not in owner.changes)
        return [
            self._open(f"{owner.name}{key}.", span.start)
            for key, span in spans
            if span is not None and isinstance(span.value, dict)
        ]


def _value(owner: _Object, key: str) -> Any:
    if key in owner.changes:
        return owner.changes[key]
    span = owner.members.get(key)
    return None if span is None else span.value


def _written(owner: _Object, step: str) -> str:
    """The spelling in which `owner` has it, as null or not yet in the text, else the first."""
    return next((key for key in _spellings(step) if key in owner.members or key in owner.changes), step)


def _spellings(step: str) -> tuple[str, ...]:
    snake = _UPPER.sub(lambda match: f"_{match[0].lower()}", step)
    return (step,) if snake == step else (step, snake)


def _json(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))
