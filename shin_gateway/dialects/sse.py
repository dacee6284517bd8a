"""Server-sent events as the WHATWG HTML standard §9.2 defines them, cut without losing a byte."""

from __future__ import annotations

import re

from shin_gateway.dialects.parts import MAX_PART, Part, too_large

_CR = 0x0D
_BOM = b"\xef\xbb\xbf"
# An event ends with an empty line: two ends of line. The line feed is taken for good, or CR LF would count as two.
_END = re.compile(rb"(?:\n|\r\n?+)(?:\n|\r\n?+)")
_LINES = re.compile(rb"([^\r\n]*)(\r\n|\n|\r|$)")
# What providers send nearly always: an optional event line, then one data line.
_PLAIN = re.compile(rb"(?:event: ?([^\r\n]*)\r?\n)?data: ?([^\r\n]*)\r?\n\r?\n")


class SsePart(Part):
    """One event. Its fields are read when first asked for: most parts are only passed on."""

    __slots__ = ("_data", "_event", "_read")

    def __init__(self, raw: bytes, data: bytes | None = None) -> None:
        """`data` of an event that has nothing else, where the caller knows it."""
        self.raw = raw
        self._read = data is not None
        self._event: str | None = None
        self._data = data

    @property
    def event(self) -> str | None:
        if not self._read:
            self._parse()
        return self._event

    @property
    def data(self) -> bytes | None:
        if not self._read:
            self._parse()
        return self._data

    def _parse(self) -> None:
        self._read = True
        if _is_one_line(self.raw):
            self._data = self.raw[6:-2]
            return
        plain = _PLAIN.fullmatch(self.raw)
        if plain is not None:
            event, self._data = plain.groups()
            self._event = event.decode("utf-8", "replace") if event else None
            return
        name = None
        lines: list[bytes] = []
        for field, value in _fields(self.raw):
            if field == b"data":
                lines.append(value)
            elif field == b"event":
                name = value.decode("utf-8", "replace")
        self._event = name or None
        self._data = b"\n".join(lines) if lines else None

    def replace_data(self, data: bytes) -> SsePart:
        if self.data is None:
            return self
        bom = _BOM if self.raw.startswith(_BOM) else b""
        new = data.split(b"\n")
        out: list[bytes] = []
        last = len(out)
        prefix = end = b""
        for line, line_end in _LINES.findall(self.raw.removeprefix(_BOM)):
            if line.partition(b":")[0] != b"data":
                out.append(line + line_end)
                continue
            prefix, end = _prefix(line), line_end or end
            if new:
                out.append(_write(new.pop(0), prefix, line_end))
            last = len(out)
        out[last:last] = [_write(value, prefix, end or b"\n") for value in new]
        return SsePart(bom + b"".join(out))


def _fields(raw: bytes) -> list[tuple[bytes, bytes]]:
    fields = []
    for line, _ in _LINES.findall(raw.removeprefix(_BOM)):
        name, _, value = line.partition(b":")
        if name:
            fields.append((name, value[1:] if value[:1] == b" " else value))
    return fields


def _prefix(line: bytes) -> bytes:
    name, colon, value = line.partition(b":")
    return name + (colon or b":") + (b" " if value[:1] == b" " else b"")


def _write(value: bytes, prefix: bytes, end: bytes) -> bytes:
    # Without its space a data line would lose the first space of a value that begins with one.
    space = b" " if value[:1] == b" " and prefix[-1:] != b" " else b""
    return prefix + space + value + end


def _is_one_line(chunk: bytes) -> bool:
    """Whether it is one event that is one line of data, and nothing else: most of what most providers write."""
    if not chunk.startswith(b"data: ") or chunk.find(b"\n") != len(chunk) - 2:
        return False
    return chunk.endswith(b"\n\n") and b"\r" not in chunk


def _is_one(chunk: bytes) -> bool:
    """Whether it is surely one event and nothing else, in one kind of line end: what providers write at once."""
    if chunk.endswith(b"\n\n"):
        return chunk.find(b"\n\n") == len(chunk) - 2 and b"\r" not in chunk
    if not chunk.endswith(b"\r\n\r\n") or chunk.find(b"\n\r") != len(chunk) - 3:
        return False
    return b"\n\n" not in chunk and b"\r\r" not in chunk


class SseFramer:
    """Cuts a stream of bytes into events, across any borders of the chunks it comes in."""

    __slots__ = ("_buffer", "_limit", "_searched")

    def __init__(self, limit: int = MAX_PART) -> None:
        self._buffer = bytearray()
        self._searched = 0
        self._limit = limit

    def feed(self, chunk: bytes) -> list[Part]:
        source: bytes | bytearray = chunk
        if self._buffer:
            self._buffer += chunk
            source = self._buffer
        elif _is_one_line(chunk):
            return [SsePart(chunk, chunk[6:-2])]
        elif _is_one(chunk):
            return [SsePart(chunk)]
        parts: list[Part] = []
        start, look_from = 0, max(0, self._searched - 3)
        while (found := _END.search(source, look_from)) is not None:
            end = found.end()
            if end == len(source) and source[-1] == _CR:
                break  # a line feed that belongs to this carriage return may follow
            parts.append(SsePart(bytes(source[start:end])))
            start = look_from = end
        self._keep(source, start)
        return parts

    def _keep(self, source: bytes | bytearray, start: int) -> None:
        if source is self._buffer:
            del self._buffer[:start]
        elif start < len(source):
            self._buffer += source[start:]
        self._searched = len(self._buffer)
        if self._searched > self._limit:
            raise too_large(self._limit)

    def end(self) -> list[Part]:
        rest = bytes(self._buffer)
        self._buffer.clear()
        self._searched = 0
        return [SsePart(rest)] if rest else []
