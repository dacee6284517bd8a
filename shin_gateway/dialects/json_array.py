"""A JSON array that is streamed element by element, as Gemini does without `alt=sse`."""

from __future__ import annotations

import re

from shin_gateway.dialects.parts import MAX_PART, Part, too_large

_STRUCTURE = re.compile(rb'[{}\[\]"]')
_IN_STRING = re.compile(rb'["\\]')


class ElementPart(Part):
    """One element with what stands before it: `[`, a comma, white space."""

    __slots__ = ("_start",)

    def __init__(self, raw: bytes, start: int) -> None:
        self.raw = raw
        self._start = start

    @property
    def data(self) -> bytes | None:
        return self.raw[self._start :]

    def replace_data(self, data: bytes) -> ElementPart:
        return ElementPart(self.raw[: self._start] + data, self._start)


class JsonArrayFramer:
    """Cuts after each object in the array. An object on its own, as errors come, is one element."""

    __slots__ = ("_at", "_base", "_buffer", "_depth", "_element", "_in_string", "_limit")

    def __init__(self, limit: int = MAX_PART) -> None:
        self._buffer = bytearray()
        self._at = 0
        """Read up to here."""
        self._depth = 0
        self._base = 0
        """The depth at which elements stand: 1 inside an array."""
        self._element = -1
        """Where the element that is being read begins."""
        self._in_string = False
        self._limit = limit

    def feed(self, chunk: bytes) -> list[Part]:
        self._buffer += chunk
        parts: list[Part] = []
        start = 0
        while (end := self._step()) is not None:
            if end <= 0:
                continue
            raw = bytes(self._buffer[start:end])
            parts.append(ElementPart(raw, self._element - start) if self._element >= 0 else Part(raw))
            self._element = -1
            start = end
        del self._buffer[:start]
        self._at -= start
        if self._element >= 0:
            self._element -= start
        if len(self._buffer) > self._limit:
            raise too_large(self._limit)
        return parts

    def end(self) -> list[Part]:
        rest = bytes(self._buffer)
        self._buffer.clear()
        self._at = 0
        return [Part(rest)] if rest else []

    def _step(self) -> int | None:
        """Read up to the next byte that matters: where a part ends there, 0 if none does, None if there is no more."""
        if self._in_string:
            return self._string()
        found = _STRUCTURE.search(self._buffer, self._at)
        if found is None:
            self._at = len(self._buffer)
            return None
        self._at = found.end()
        byte = found[0]
        if byte == b'"':
            self._in_string = True
            return 0
        return self._open(byte) if byte in b"{[" else self._close()

    def _string(self) -> int | None:
        found = _IN_STRING.search(self._buffer, self._at)
        if found is None:
            self._at = len(self._buffer)
            return None
        if found[0] == b'"':
            self._in_string = False
            self._at = found.end()
            return 0
        if found.end() == len(self._buffer):
            self._at = found.start()  # read the backslash again when what it escapes is here
            return None
        self._at = found.end() + 1
        return 0

    def _open(self, byte: bytes) -> int:
        if self._depth == 0 and byte == b"[":
            self._base = 1
        elif self._depth == self._base:
            self._element = self._at - 1
        self._depth += 1
        return 0

    def _close(self) -> int:
        self._depth = max(0, self._depth - 1)
        return self._at if self._depth == self._base or self._depth == 0 else 0
