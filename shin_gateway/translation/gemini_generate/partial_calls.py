"""Function calls whose arguments come in pieces: Vertex streams them so to a caller who asked for it.

The first part names the function, later ones say what belongs where: `{jsonPath: "$.items[0].name", stringValue}`. A
text may go on from piece to piece. The call is whole when a part does not say `willContinue`, or another part comes.

Source: docs.cloud.google.com/vertex-ai/generative-ai/docs/multimodal/function-calling (stream arguments)
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

from shin_gateway.translation.form import Json

_STEP = re.compile(r"\.([^.\[\]]+)|\[(\d+)\]|\['([^']*)'\]")
_WIDEST = 10_000
"""Items of a list."""


class Calls:
    """Puts the calls of one candidate together."""

    def __init__(self) -> None:
        self._part: Json | None = None
        """The part that named the function."""
        self._values: dict[str, Any] = {}
        """By their paths; a list of pieces where it is a text."""

    @property
    def is_open(self) -> bool:
        """Whether a call has begun and more of it may come."""
        return self._part is not None

    def whole(self, parts: Iterable[Any]) -> Iterator[Any]:
        """The parts, with calls once they are complete."""
        for part in parts:
            call = part.get("functionCall") if isinstance(part, dict) else None
            if not isinstance(call, dict):
                yield from self.rest()
                yield part
            elif "willContinue" in call or "partialArgs" in call or (self._part and not call.get("name")):
                yield from self._piece(part, call)
            else:
                yield from self.rest()
                yield part

    def rest(self) -> Iterator[Json]:
        """The call that is open, if there is one."""
        if self._part is None:
            return
        part, self._part = self._part, None
        given = part["functionCall"].get("args")
        args: Json = dict(given) if isinstance(given, dict) else {}
        for path, value in self._values.items():
            _put(args, path, "".join(value) if isinstance(value, list) else value)
        self._values = {}
        names = ("id", "name")
        call = {name: part["functionCall"][name] for name in names if name in part["functionCall"]}
        yield {**part, "functionCall": {**call, "args": args}}

    def _piece(self, part: Json, call: Json) -> Iterator[Json]:
        if self._part is None or call.get("name"):
            yield from self.rest()
            self._part = part
        pieces = call.get("partialArgs")
        for piece in pieces if isinstance(pieces, list) else ():
            if isinstance(piece, dict) and isinstance(piece.get("jsonPath"), str):
                self._take(piece["jsonPath"], piece)
        if not call.get("willContinue"):
            yield from self.rest()

    def _take(self, path: str, piece: Json) -> None:
        text = piece.get("stringValue")
        if isinstance(text, str):
            found = self._values.setdefault(path, [])
            if isinstance(found, list):
                found.append(text)
            return
        value = piece.get("numberValue", piece.get("boolValue"))
        if isinstance(value, int | float) or "nullValue" in piece:
            self._values[path] = value


def _put(args: Json, path: str, value: Any) -> None:
    """Set the value at `path`. One that contradicts what is there already is passed over."""
    steps: list[str | int] = [int(found[2][:9]) if found[2] else found[1] or found[3] for found in _STEP.finditer(path)]
    owner: Any = args
    for step, following in zip(steps, [*steps[1:], None], strict=False):
        if isinstance(step, int):
            if not isinstance(owner, list) or step >= _WIDEST:
                return
            owner.extend([None] * (step + 1 - len(owner)))
        elif not isinstance(owner, dict):
            return
        if following is None:
            owner[step] = value
            return
        inner = owner[step] if isinstance(step, int) else owner.get(step)
        if inner is None:
            inner = owner[step] = [] if isinstance(following, int) else {}
        owner = inner
