"""Content-encodings of HTTP bodies: gzip, deflate, br, zstd and their stacks, never inflated past a limit."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import Protocol

import brotli
import zstandard

from shin_gateway.errors import Invalid, TooLarge

NAMES = ("gzip", "x-gzip", "deflate", "br", "zstd", "identity")
"""What is understood (RFC 9110 §8.4.1, RFC 7932, RFC 8878)."""

_GZIP = 31
"""zlib's number for a gzip header and the largest window."""
_MAX_CODINGS = 4
_MAX_MEMBERS = 1000
"""gzip members or zstd frames in one body: empty ones cost time and give nothing that a size limit would see."""
_STEP = 64 * 1024
_MAX_WINDOW = 1 << 27
"""Bytes of history that a zstd frame may ask us to keep: 128 MB, the reference tool's own limit."""


class _Coding(Protocol):
    """One coding's decoder. `feed` yields at most about `limit` bytes more than it was given room for."""

    def feed(self, data: bytes, room: int) -> bytes: ...

    def end(self) -> bool:
        """Whether the data ended where the coding ends."""
        ...


class _Full(Exception):
    """More came out than there is room for."""


def _counted(members: int) -> int:
    if members >= _MAX_MEMBERS:
        raise Invalid(f"The body has more than {_MAX_MEMBERS} compressed members.", param="content-encoding")
    return members + 1


class _Zlib:
    """gzip (several members too) and deflate with its zlib header or, as some senders have it, without."""

    def __init__(self, wbits: int) -> None:
        self._wbits = wbits
        self._inflate = zlib.decompressobj(wbits)
        self._finished = False
        self._members = 1

    def feed(self, data: bytes, room: int) -> bytes:
        out = bytearray()
        for start in range(0, len(data), _STEP):  # what follows a member is copied, so there must not be much
            self._feed(data[start : start + _STEP], room, out)
        return bytes(out)

    def _feed(self, data: bytes, room: int, out: bytearray) -> None:
        while data:
            if self._finished and not self._next_member(data):
                return
            out += self._inflate.decompress(data, max(1, room - len(out) + 1))
            if len(out) > room:
                raise _Full
            self._finished = self._inflate.eof
            data = self._inflate.unused_data if self._finished else self._inflate.unconsumed_tail

    def _next_member(self, data: bytes) -> bool:
        """Begin another gzip member; False where padding follows, which is passed over."""
        if self._wbits != _GZIP or not data.strip(b"\0"):
            return False
        self._members = _counted(self._members)
        self._inflate, self._finished = zlib.decompressobj(_GZIP), False
        return True

    def end(self) -> bool:
        return self._finished


class _Deflate:
    """`deflate` means zlib's format, but raw deflate is met in practice: the first two bytes tell."""

    def __init__(self) -> None:
        self._first = b""
        self._zlib: _Zlib | None = None

    def feed(self, data: bytes, room: int) -> bytes:
        if self._zlib is None:
            data = self._first + data
            if len(data) < 2:
                self._first = data
                return b""
            headed = data[0] & 0x0F == 8 and int.from_bytes(data[:2]) % 31 == 0
            self._zlib = _Zlib(zlib.MAX_WBITS if headed else -zlib.MAX_WBITS)
        return self._zlib.feed(data, room)

    def end(self) -> bool:
        return self._zlib is not None and self._zlib.end()


class _Brotli:
    def __init__(self) -> None:
        self._decompressor = brotli.Decompressor()

    def feed(self, data: bytes, room: int) -> bytes:
        out = bytearray()
        while True:
            piece = self._decompressor.process(data, output_buffer_limit=min(_STEP, room - len(out) + 1))
            out += piece
            if len(out) > room:
                raise _Full
            if self._decompressor.can_accept_more_data() or self._decompressor.is_finished():
                return bytes(out)
            data = b""

    def end(self) -> bool:
        return bool(self._decompressor.is_finished())


class _Zstd:
    """One or more frames, one after the other."""

    def __init__(self) -> None:
        self._frame = self._new()
        self._frames = 1
        self._inside = False

    @staticmethod
    def _new() -> zstandard.ZstdDecompressionObj:
        return zstandard.ZstdDecompressor(max_window_size=_MAX_WINDOW).decompressobj(write_size=_STEP)

    def feed(self, data: bytes, room: int) -> bytes:
        out = bytearray()
        while data:
            size = min(_BITE, max(64, (room - len(out)) // _ZSTD_GROWTH))
            bite, data = data[:size], data[size:]
            while bite:
                if self._frame.eof:
                    self._frames = _counted(self._frames)
                    self._frame = self._new()
                out += self._frame.decompress(bite)
                self._inside = not self._frame.eof
                bite = self._frame.unused_data if self._frame.eof else b""
                if len(out) > room:
                    raise _Full
        return bytes(out)

    def end(self) -> bool:
        return not self._inside


_BITE = 1024
_ZSTD_GROWTH = 128 * 1024 // 3
"""A zstd block takes at least 3 bytes and makes at most 128 kB: small bites bound what one call makes."""

_CODINGS: dict[str, Callable[[], _Coding]] = {
    "gzip": lambda: _Zlib(_GZIP),
    "x-gzip": lambda: _Zlib(_GZIP),
    "deflate": _Deflate,
    "br": _Brotli,
    "zstd": _Zstd,
}

_ERRORS = (zlib.error, brotli.error, zstandard.ZstdError)


def _names(content_encoding: str) -> list[str]:
    names = [name.strip().lower() for name in content_encoding.split(",")]
    names = [name for name in names if name not in ("", "identity")]
    for name in names:
        if name not in _CODINGS:
            raise Invalid(
                f"The content-encoding {name[:40]!r} is not understood; use one of {', '.join(NAMES)}.",
                status=415,
                code="unsupported_encoding",
                param="content-encoding",
            )
    if len(names) > _MAX_CODINGS:
        raise Invalid(f"More than {_MAX_CODINGS} content-encodings.", status=415, code="unsupported_encoding")
    return names


class Decoder:
    """Decodes a body that comes in pieces. `limit` bounds all that comes out (None: unbounded)."""

    def __init__(self, content_encoding: str, limit: int | None = None) -> None:
        # The header names the codings in the order they were applied, so the last comes off first.
        self._codings = [(name, _CODINGS[name]()) for name in reversed(_names(content_encoding))]
        self._limit = limit
        self._made = 0
        self._fed = False

    def feed(self, data: bytes) -> bytes:
        """What `data` decodes to, b"" while more is needed. Raises Invalid or TooLarge."""
        self._fed = self._fed or bool(data)
        for name, coding in self._codings:
            if not data:
                return b""
            data = self._decode(name, coding, data)
        self._made += len(data)
        if self._limit is not None and self._made > self._limit:
            raise self._too_large()
        return data

    def end(self) -> None:
        """Say that no more comes. Raises Invalid if the data broke off."""
        for name, coding in self._codings:
            if self._fed and not coding.end():
                raise Invalid(f"The {name} body is cut short.", param="content-encoding")

    def _decode(self, name: str, coding: _Coding, data: bytes) -> bytes:
        room = _UNBOUNDED if self._limit is None else self._limit - self._made
        if coding is not self._codings[-1][1]:
            room += _STEP  # compressed again, a small body grows
        try:
            return coding.feed(data, room)
        except _Full:
            raise self._too_large() from None
        except _ERRORS:
            raise Invalid(f"The body is not valid {name}.", param="content-encoding") from None

    def _too_large(self) -> TooLarge:
        return TooLarge(f"The decoded body is larger than the limit of {self._limit} bytes.")


_UNBOUNDED = 1 << 62


def decode(body: bytes, content_encoding: str, limit: int) -> bytes:
    """The body without its content-encoding, at most `limit` bytes.

    Raises Invalid (400: corrupt or cut short; 415: a coding that is not understood) or TooLarge,
    which is found out without inflating further than the limit. An empty body is empty in any coding.
    """
    decoder = Decoder(content_encoding, limit)
    decoded = decoder.feed(body)
    decoder.end()
    return decoded
