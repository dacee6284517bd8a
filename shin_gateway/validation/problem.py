"""What is wrong with a value, and where."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any

_KINDS = {
    str: "a string", int: "a number", float: "a number", bool: "a boolean", type(None): "null", list: "a list",
    dict: "an object",
}  # fmt: skip
_SHOWN = 12
_LONGEST = 40


class Problem:
    """The first thing that is wrong with a value. Steps are added from the inside out, as the search returns."""

    __slots__ = ("_steps", "text")

    def __init__(self, text: str, *steps: str | int) -> None:
        self.text = text
        self._steps = [*reversed(steps)]

    def within(self, step: str | int) -> Problem:
        self._steps.append(step)
        return self

    @property
    def progress(self) -> tuple[int, list[int]]:
        """How much was right before this was found wrong: what a union judges its branches by."""
        return len(self._steps), [step for step in reversed(self._steps) if isinstance(step, int)]

    @property
    def field(self) -> str:
        """`messages[3].content[1].image_url`; "" for the value itself."""
        steps = (f"[{step}]" if isinstance(step, int) else f".{step}" for step in reversed(self._steps))
        return "".join(steps).removeprefix(".")

    def __str__(self) -> str:
        return f"{self.field or 'The body'}: {self.text}"


def wrong(expected: str, value: Any) -> Problem:
    return Problem(f"should be {expected}, not {_KINDS.get(type(value), 'that')}")


def missing(name: str, expected: str) -> Problem:
    return Problem(f"is missing; should be {expected}", name)


def unlisted(names: Iterable[Any], value: Any) -> Problem:
    return Problem(f"should be {one_of(names)}, not {quoted(value)}")


def unknown(name: str, known: Iterable[str]) -> Problem:
    """A field that is none. It may be a slip of the keyboard."""
    near = get_close_matches(name, known, 1, 0.75)
    hint = f'; did you mean "{near[0]}"?' if near else ""
    return Problem(f"is not a field that this API knows{hint}", _short(name))


def one_of(values: Iterable[Any]) -> str:
    words = [quoted(value) for value in dict.fromkeys(values)]
    shown = words[:_SHOWN] + ([f"{len(words) - _SHOWN} others"] if len(words) > _SHOWN else [])
    return alternatives(shown) if len(shown) < 3 else f"one of {', '.join(shown)}"


def alternatives(words: Iterable[str]) -> str:
    """`a string or a list`."""
    *before, last = dict.fromkeys(words)
    return f"{', '.join(before)} or {last}" if before else last


def quoted(value: Any) -> str:
    return f'"{_short(value)}"' if isinstance(value, str) else _short(str(value))


def _short(text: str) -> str:
    text = "".join(one if one.isprintable() else "?" for one in text[: _LONGEST + 1])
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
