from __future__ import annotations

import gzip
import zlib

import brotli
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from shin_gateway import encodings
from shin_gateway.errors import Invalid, TooLarge


def raw_deflate(body: bytes) -> bytes:
    compress = zlib.compressobj(wbits=-15)
    return compress.compress(body) + compress.flush()


def zstd_frames(body: bytes) -> bytes:
    half = len(body) // 2
    return zstandard.compress(body[:half]) + zstandard.compress(body[half:])


def zstd_streamed(body: bytes) -> bytes:
    compress = zstandard.ZstdCompressor().compressobj()  # writes no content size into the frame
    return compress.compress(body) + compress.flush()


CODINGS = [
    ("gzip", gzip.compress),
    ("x-gzip", gzip.compress),
    ("GZip", lambda body: gzip.compress(body[:3]) + gzip.compress(body[3:])),
    ("deflate", zlib.compress),
    ("deflate", raw_deflate),
    ("br", brotli.compress),
    ("zstd", zstandard.compress),
    ("zstd", zstd_frames),
    ("zstd", zstd_streamed),
    ("identity", bytes),
    ("gzip, br", lambda body: brotli.compress(gzip.compress(body))),
    ("identity, zstd ,gzip", lambda body: gzip.compress(zstandard.compress(body))),
]
COMPRESSED = [coding for coding in CODINGS if coding[0] != "identity"]


@pytest.mark.parametrize(("name", "encode"), CODINGS)
@given(body=st.binary(max_size=3000), size=st.integers(1, 400))
def test_decodes_whole_and_in_pieces(name: str, encode: object, body: bytes, size: int) -> None:
    encoded = encode(body)  # type: ignore[operator]
    assert encodings.decode(encoded, name, len(body)) == body
    decoder = encodings.Decoder(name)
    pieces = [decoder.feed(encoded[i : i + size]) for i in range(0, len(encoded), size)]
    decoder.end()
    assert b"".join(pieces) == body


@pytest.mark.parametrize(("name", "encode"), COMPRESSED)
def test_a_body_that_is_cut_short_is_invalid(name: str, encode: object) -> None:
    encoded = encode(b"some text that goes on " * 50)  # type: ignore[operator]
    for cut in range(1, len(encoded)):
        try:
            decoded = encodings.decode(encoded[:cut], name, 10_000)
        except Invalid:
            continue
        assert len(decoded) < 1150  # a cut between two frames or members is one that nobody can see


@pytest.mark.parametrize(("name", "encode"), COMPRESSED)
def test_a_corrupt_body_is_invalid(name: str, encode: object) -> None:
    with pytest.raises(Invalid, match=r"not valid|cut short"):
        encodings.decode(b"\xff\x07 this is none of them" * 3, name, 10_000)


@pytest.mark.parametrize(("name", "encode"), COMPRESSED)
def test_a_bomb_is_refused_at_the_limit(name: str, encode: object) -> None:
    bomb = encode(b"\0" * 20_000_000)  # type: ignore[operator]
    with pytest.raises(TooLarge, match="limit of 100000 bytes"):
        encodings.decode(bomb, name, 100_000)


@pytest.mark.parametrize("name", ["br", "gzip", "deflate", "zstd"])
def test_an_empty_body_is_empty_in_any_coding(name: str) -> None:
    assert encodings.decode(b"", name, 10) == b""


def test_the_limit_itself_is_allowed_and_one_byte_more_is_not() -> None:
    assert encodings.decode(gzip.compress(b"x" * 100), "gzip", 100) == b"x" * 100
    with pytest.raises(TooLarge):
        encodings.decode(gzip.compress(b"x" * 101), "gzip", 100)
    with pytest.raises(TooLarge):
        encodings.decode(b"x" * 101, "identity", 100)


def test_a_coding_that_is_not_understood_is_415() -> None:
    with pytest.raises(Invalid, match="'lzma' is not understood") as caught:
        encodings.decode(b"x", "gzip, lzma", 10)
    assert caught.value.status == 415


def test_five_codings_on_top_of_each_other_are_refused() -> None:
    with pytest.raises(Invalid, match="More than 4"):
        encodings.Decoder("gzip, gzip, gzip, gzip, gzip")


def test_pieces_of_a_stream_come_out_as_they_come_in() -> None:
    compress = zlib.compressobj(wbits=31)
    decoder = encodings.Decoder("gzip")
    for text in (b"data: one\n\n", b"data: two\n\n"):
        assert decoder.feed(compress.compress(text) + compress.flush(zlib.Z_SYNC_FLUSH)) == text
    decoder.feed(compress.flush())
    decoder.end()


@pytest.mark.parametrize(("name", "member"), [("gzip", gzip.compress(b"", mtime=0)), ("zstd", zstandard.compress(b""))])
def test_members_without_end_are_refused(name: str, member: bytes) -> None:
    with pytest.raises(Invalid, match="more than 1000 compressed members"):
        encodings.decode(member * 200_000, name, 10_000)
