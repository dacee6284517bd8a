"""Server-sent events as the WHATWG HTML standard §9.2 defines them, cut without losing a byte."""

from __future__ import annotations

import re

from shin_gateway.dialects.parts import MAX_PART, Part, too_large

_BOM = b"\xef\xbb\xbf"
# An event ends with an empty line: two ends of line. The groups are atomic, or CR LF would count as two.
_END = re.compile(rb"(?>\r\n|\n|\r)(?>\r\n|\n|\r)")
_LINES = re.compile(rb"([^\r\n]*)(\r\n|\n|\r|$)")
# What providers send nearly always: an optional event line, then one data line.
_PLAIN = re.compile(rb"(?:event: ?([^\r\n]*)\r?\n)?data: ?([^\r\n]*)\r?\n\r?\n")


class SsePart(Part):
    """One event. Its fields are read when first asked for: most parts are only passed on."""

    __slots__ = ("_data", "_event", "_read")

    def __init__(self, raw: bytes) -> None:
        self.raw = raw
        self._read = False

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
        plain = _PLAIN.fullmatch(self.raw)
        if plain is not None:
            event, self._data = plain.groups()
            self._event: str | None = event.decode("utf-8", "replace") if event else None
            return
        name = None
        lines: list[bytes] = []
        for field, value in _fields(self.raw):
            if field == b"data":
                lines.append(value)
            elif field == b"event":
                name = value.decode("utf-8", "replace")
        self._event = name or None
        self._data: bytes | None = b"\n".join(lines) if lines else None

    def replace_data(self, data: bytes) -> SsePart:
        if self.data is None:
            return self
        new = data.split(b"\n")
        out: list[bytes] = []
        prefix = end = b""
        for line, line_end in _LINES.findall(self.raw):
            if _name(line) != b"data":
                if prefix:
                    out.extend(_write(value, prefix, end) for value in new)
                    new = []
                out.append(line + line_end)
                continue
            prefix, end = _prefix(line), line_end
            if new:
                out.append(_write(new.pop(0), prefix, end or b"\n"))
        return SsePart(b"".join(out))


def _fields(raw: bytes) -> list[tuple[bytes, bytes]]:
    fields = []
    for line, _ in _LINES.findall(raw.removeprefix(_BOM)):
        name, _, value = line.partition(b":")
        if name:
            fields.append((name, value[1:] if value[:1] == b" " else value))
    return fields


def _name(line: bytes) -> bytes:
    return line.removeprefix(_BOM).partition(b":")[0]


def _prefix(line: bytes) -> bytes:
    name, colon, value = line.partition(b":")
    return name + (colon or b":") + (b" " if value[:1] == b" " else b"")


def _write(value: bytes, prefix: bytes, end: bytes) -> bytes:
    # Without its space a data line would lose the first space of a value that begins with one.
    space = b" " if value[:1] == b" " and prefix[-1:] != b" " else b""
    return prefix + space + value + end


class SseFramer:
    """Cuts a stream of bytes into events, across any borders of the chunks it comes in."""

    __slots__ = ("_buffer", "_limit", "_searched")

    def __init__(self, limit: int = MAX_PART) -> None:
        self._buffer = bytearray()
        self._searched = 0
        self._limit = limit

    def feed(self, chunk: bytes) -> list[Part]:
        self._buffer += chunk
        buffer, parts, start = self._buffer, [], 0
        look_from = max(0, self._searched - 3)
        while (found := _END.search(buffer, look_from)) is not None:
            end = found.end()
            if end == len(buffer) and buffer[-1] == 0x0D:
                break  # a line feed that belongs to this carriage return may follow
            parts.append(SsePart(bytes(buffer[start:end])))
            start = look_from = end
        del buffer[:start]
        self._searched = len(buffer)
        if len(buffer) > self._limit:
            raise too_large(self._limit)
        return parts  # type: ignore[return-value]  # list is invariant

    def end(self) -> list[Part]:
        rest = bytes(self._buffer)
        self._buffer.clear()
        self._searched = 0
        return [SsePart(rest)] if rest else []
