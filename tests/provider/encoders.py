"""Content encodings that give each part out at once, so that an encoded stream still streams."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator

import brotli
import zstandard


def encode(parts: Iterable[bytes], encoding: str) -> Iterator[bytes]:
    """The parts, encoded and flushed one by one, and the encoding's own end as a last part."""
    return {"gzip": _gzip, "deflate": _deflate, "br": _brotli, "zstd": _zstd}.get(encoding, iter)(parts)


def _zlib(parts: Iterable[bytes], bits: int) -> Iterator[bytes]:
    packer = zlib.compressobj(wbits=bits)
    for part in parts:
        yield packer.compress(part) + packer.flush(zlib.Z_SYNC_FLUSH)
    yield packer.flush()


def _gzip(parts: Iterable[bytes]) -> Iterator[bytes]:
    return _zlib(parts, 31)


def _deflate(parts: Iterable[bytes]) -> Iterator[bytes]:
    return _zlib(parts, 15)


def _brotli(parts: Iterable[bytes]) -> Iterator[bytes]:
    packer = brotli.Compressor(quality=4)
    for part in parts:
        yield packer.process(part) + packer.flush()
    yield packer.finish()


def _zstd(parts: Iterable[bytes]) -> Iterator[bytes]:
    packer = zstandard.ZstdCompressor().compressobj()
    for part in parts:
        yield packer.compress(part) + packer.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK)
    yield packer.flush()
