"""Forms: fields found, a name changed, and every other byte as it came."""

from __future__ import annotations

import time

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shin_gateway.dialects import multipart
from shin_gateway.dialects.multipart import MAX_PARTS, Patch, boundary, pieces, text, texts
from shin_gateway.errors import Invalid

NAMES = ("model", "stream")


def form(*parts: bytes, mark: bytes = b"B") -> bytes:
    return b"".join(b"--" + mark + b"\r\n" + part + b"\r\n" for part in parts) + b"--" + mark + b"--\r\n"


def part(name: str, value: bytes, more: str = "") -> bytes:
    return f'Content-Disposition: form-data; name="{name}"{more}\r\n\r\n'.encode() + value


def read(body: bytes, mark: bytes = b"B") -> dict[str, str | None]:
    return {name: text(body, field) for name, field in texts(body, mark, NAMES).items()}


FILE = part("file", b"RIFF\r\n--Bnot\r\n\x00", '; filename="a.wav"\r\nContent-Type: audio/wav')


@pytest.mark.parametrize(
    ("content_type", "mark"),
    [
        ("multipart/form-data; boundary=abc", b"abc"),
        ('Multipart/Form-Data; charset=utf-8; boundary="a b;c"', b"a b;c"),
        ("application/json", None),
        ("", None),
        ("multipart/mixed; boundary=abc", None),
    ],
)
def test_what_divides_the_parts(content_type: str, mark: bytes | None) -> None:
    assert boundary(content_type) == mark


@pytest.mark.parametrize("rest", ["", "; boundary=", "; boundary=" + "x" * 300])
def test_a_form_without_a_boundary(rest: str) -> None:
    with pytest.raises(Invalid):
        boundary(f"multipart/form-data{rest}")


@pytest.mark.parametrize(
    "body",
    [
        form(part("model", b"whisper-1"), part("stream", b"true")),
        b"preamble\r\n" + form(part("model", b"whisper-1"), part("stream", b"true")) + b"epilogue",
        form(part("file", b"--B", '; filename="model"'), part("stream", b"true"), part("model", b"whisper-1")),
        form(b"content-disposition:form-data;name=model\r\n\r\nwhisper-1", part("stream", b"true")),
        form(
            b"Content-Type: text/plain\r\nCONTENT-DISPOSITION: form-data;\r\n name=model\r\n\r\nwhisper-1",
            part("stream", b"true"),
        ),
        form(part("a", b""), part("model", b"whisper-1"), part("stream", b"true"), b"\r\nno headers"),
        form(part("model", b"whisper-1"), part("stream", b"true"), part("other; name=model", b"x")),
    ],
)
def test_fields(body: bytes) -> None:
    assert read(body) == {"model": "whisper-1", "stream": "true"}


@pytest.mark.parametrize(
    "body",
    [
        b"", b"{}", b"--B", b"--B\r\n", b"--B--"[:3], b"--B\r\n" + part("model", b"a"), form(part("model", b"a"))[:-6],
        b"--Bx\r\n" + part("model", b"a") + b"\r\n--B--",
        form(FILE),  # a boundary that goes on is no boundary, and says that somebody reads it otherwise
        form(part("model", b"a"), part("model", b"b")),
        form(b'content-disposition: form-data; name="model"; name="x"\r\n\r\na'),
        form(part("model", b"x" * 5000)),
        form(b"x: " + b"y" * 5000 + b"\r\n\r\nbody"),
        form(part("model", b"\xff")),
        form(*[part("x", b"")] * (MAX_PARTS + 1)),
        b"--B\n" + part("model", b"a").replace(b"\r\n", b"\n") + b"\n--B--\n",
    ],
)  # fmt: skip
def test_what_is_no_form(body: bytes) -> None:
    with pytest.raises(Invalid):
        read(body)


def test_a_file_is_no_field() -> None:
    assert read(form(part("model", b"x", '; filename="x"'), part("stream", b"1", "; filename*=utf-8''x"))) == {}


@given(
    st.dictionaries(st.sampled_from(["model", "stream", "prompt", "language"]), st.text(max_size=30), max_size=4),
    st.binary(max_size=300),
)
def test_forms_of_a_real_client(fields: dict[str, str], file: bytes) -> None:
    sent = httpx2.Request("POST", "http://x/", data=fields, files={"file": ('ü".wav', file, "audio/wav")})
    mark = boundary(sent.headers["content-type"])
    assert mark is not None
    sent.read()
    assert read(sent.content, mark) == {name: value for name, value in fields.items() if name in NAMES}


@given(st.binary(max_size=2000))
def test_anything_is_read_or_refused(body: bytes) -> None:
    for said in (body, b"--B\r\n" + body, form(body)):
        try:
            read(said)
        except Invalid:
            pass


@given(st.binary(max_size=50), st.integers(0, 50), st.integers(0, 50), st.binary(max_size=9))
def test_a_patch(body: bytes, one: int, other: int, new: bytes) -> None:
    start, end = sorted((min(one, len(body)), min(other, len(body))))
    patch = Patch(start, end, new)
    made = b"".join(pieces(body, patch))
    assert made == body[:start] + new + body[end:]
    assert len(made) == patch.size(body)
    assert b"".join(pieces(body, None)) == body


def test_a_large_form_is_read_at_once_and_not_copied() -> None:
    body = form(part("file", bytes(25_000_000), '; filename="a.wav"'), part("model", b"whisper-1"))
    started = time.thread_time()
    field = texts(body, b"B", NAMES)["model"]
    assert time.thread_time() - started < 2  # 10 ms here; only that it is no loop in Python
    sent = list(pieces(body, Patch(field.start, field.end, b"other")))
    assert max(map(len, sent)) <= multipart.PIECE
    assert all(one.obj is body for one in sent if isinstance(one, memoryview))


def test_heads_made_to_be_slow_are_read_quickly() -> None:
    slow = b'content-disposition: form-data; name="a"' + b';x="' * 900
    started = time.thread_time()
    texts(form(*[slow + b"\r\n\r\n"] * 150), b"B", NAMES)
    assert time.thread_time() - started < 5
