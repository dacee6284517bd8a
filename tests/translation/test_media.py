"""Data URLs, base64, magic bytes, and what has to be fetched for a target."""

# ruff: noqa: E501 - tables read best with one case a line

from __future__ import annotations

import base64
import time
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shin_gateway.errors import Invalid, Refusal, TooLarge
from shin_gateway.translation.form import Chat, Media, Message, Text, ToolResult
from shin_gateway.translation.media import (
    checked_base64,
    inline,
    kind_of,
    media_of,
    parse_data_url,
    place_of,
    sniff,
    sniff_base64,
    urls_to_inline,
)

FIELD = "messages[0].content[1].image_url"


@pytest.mark.parametrize(
    ("url", "mime", "data"),
    [
        ("data:image/png;base64,aGk=", "image/png", b"hi"),
        ("DATA:Image/PNG;Base64,aGk=", "image/png", b"hi"),
        ("data:image/png;charset=utf-8;base64,aGk=", "image/png", b"hi"),
        ("data:image/png;base64,aGk", "image/png", b"hi"),
        ("data:image/png;base64,aGk%3D", "image/png", b"hi"),
        ("data:image/png;base64,_-8=", "image/png", b"\xff\xef"),
        ("data:image/png;base64,aG\nk=\r\n", "image/png", b"hi"),
        ("data:image/svg+xml,%3Csvg%2F%3E", "image/svg+xml", b"<svg/>"),
        ("data:text/plain;charset=utf-8,gr%C3%BC%C3%9Fe", "text/plain", "grüße".encode()),
        ("data:,a%20b", "text/plain", b"a b"),
        ("data:;base64,aGk=", "text/plain", b"hi"),
        ("data:image/png;base64,", "image/png", b""),
        ("data:application/pdf,a,b;c", "application/pdf", b"a,b;c"),
        ("data:text/plain,ü", "text/plain", "ü".encode()),
    ],
)
def test_a_data_url_is_read(url: str, mime: str, data: bytes) -> None:
    found = parse_data_url(url, FIELD)
    assert found is not None
    assert (found.mime, base64.b64decode(found.data, validate=True)) == (mime, data)


@pytest.mark.parametrize(
    "url", ["https://example.com/a.png", "http://data:1/x", "dat", "", "gs://bucket/x", "/data:x,"]
)
def test_other_urls_are_left_to_others(url: str) -> None:
    assert parse_data_url(url, FIELD) is None


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("data:image/png;base64", "no comma"),
        ("data:", "no comma"),
        ("data:image/png;base64,!!!!", "base64 is broken"),
        ("data:image/png;base64,a", "base64 is broken"),
        ("data:image/png;base64,aGk=aGk=", "base64 is broken"),
        ("data:image/png;base64,aü==", "base64 is broken"),
        ("data:image/png;base64,aGk%ZZ", "base64 is broken"),
        ("data:image/png;base64,aGk%3", "base64 is broken"),
        ("data:image/png;base64,\ud800", "base64 is broken"),
        ("data:image;base64,aGk=", "media type"),
        ("data:image/p ng;base64,aGk=", "media type"),
        ("data:a/b/c;base64,aGk=", "media type"),
        ("data:image/p\r\nng,aGk=", "media type"),
    ],
)
def test_a_broken_data_url_names_the_field(url: str, why: str) -> None:
    with pytest.raises(Invalid, match=why) as error:
        parse_data_url(url, FIELD)
    assert error.value.message.startswith(f"{FIELD}: ")
    assert (error.value.status, error.value.param) == (400, FIELD)


def test_a_data_url_is_bounded() -> None:
    for url in ("data:image/png;base64," + "A" * 400, "data:image/png," + "A" * 300):
        assert parse_data_url(url, FIELD, limit=300) is not None
        with pytest.raises(TooLarge, match="more than 200 bytes"):
            parse_data_url(url, FIELD, limit=200)


def test_good_base64_is_not_copied_and_large_ones_are_quick() -> None:
    text = base64.b64encode(b"\x00\xff" * 4_000_000).decode()
    assert checked_base64(text, FIELD) is text
    began = time.thread_time()
    checked_base64(text, FIELD)
    assert time.thread_time() - began < 1  # 10 ms here; only that it is no loop in Python


@given(st.binary(max_size=200), st.booleans(), st.booleans())
def test_base64_in_every_spelling_means_the_same(data: bytes, urlsafe: bool, padded: bool) -> None:
    text = (base64.urlsafe_b64encode if urlsafe else base64.b64encode)(data).decode()
    assert checked_base64(text if padded else text.rstrip("="), FIELD) == base64.b64encode(data).decode()


@given(st.text(max_size=60))
def test_no_text_breaks_the_readers(text: str) -> None:
    for read in (lambda: parse_data_url("data:" + text, FIELD), lambda: checked_base64(text, FIELD)):
        assert _param_of(read) in (None, FIELD)
    sniff_base64(text)


def _param_of(read: Callable[[], object]) -> str | None:
    try:
        read()
    except Refusal as error:
        return error.param
    return None


@pytest.mark.parametrize(
    ("head", "mime"),
    [
        (b"\x89PNG\r\n\x1a\n\0\0", "image/png"), (b"\xff\xd8\xff\xe0", "image/jpeg"), (b"GIF89a..", "image/gif"), (b"GIF87a..", "image/gif"),
        (b"RIFF\x10\0\0\0WEBPVP8 ", "image/webp"), (b"RIFF\x10\0\0\0WAVEfmt ", "audio/wav"), (b"RIFF\x10\0\0\0AVI LIST", "video/x-msvideo"),
        (b"%PDF-1.7\n", "application/pdf"), (b"ID3\x04", "audio/mpeg"), (b"\xff\xfb\x90\x00", "audio/mpeg"), (b"\xff\xf3\x90\x00", "audio/mpeg"),
        (b"\xff\xf1\x50\x80", "audio/aac"), (b"\xff\xf9\x50\x80", "audio/aac"), (b"OggS\0\2", "audio/ogg"), (b"fLaC\0\0", "audio/flac"),
        (b"\0\0\0\x18ftypmp42", "video/mp4"), (b"\0\0\0\x18ftypisom", "video/mp4"), (b"\0\0\0\x18ftypM4A ", "audio/mp4"),
        (b"\0\0\0\x18ftypqt  ", "video/quicktime"), (b"\0\0\0\x18ftypheic", "image/heic"), (b"\0\0\0\x18ftypavif", "image/avif"),
        (b"\x1aE\xdf\xa3\x01", "video/webm"), (b"II*\0", "image/tiff"),
        (b"", ""), (b"\xff", ""), (b"\xff\xe8", ""), (b"xxxxxxxxWEBP", ""), (b"<html>", ""), (b"hello", ""), (b"\0\0\0\0\0\0\0\0", ""),
    ],
)  # fmt: skip
def test_magic_bytes(head: bytes, mime: str) -> None:
    assert sniff(head) == mime
    assert sniff_base64(base64.b64encode(head + b"\0" * 9000).decode()) == sniff(head + b"\0" * 9000)


def test_kinds_of_media() -> None:
    mimes = ("image/png", "audio/wav", "video/mp4", "application/pdf", "text/plain", "")
    assert [kind_of(mime) for mime in mimes] == ["image", "audio", "video", "document", "document", "document"]


def chat() -> Chat:
    result = ToolResult(id="t", parts=[Text(text="x"), Media(kind="image", url="https://a/2.png")])
    parts = [Media(kind="image", url="https://a/1.png"), result, Media(kind="document", url="https://a/b/3.pdf")]
    inline_one, by_id = Media(kind="image", data="aGk="), Media(kind="image", file_id="f")
    return Chat(messages=[Message(role="user", parts=parts), Message(role="user", parts=[inline_one, by_id])])


@pytest.mark.parametrize(
    ("takes", "urls"),
    [
        (frozenset(), ["https://a/1.png", "https://a/2.png", "https://a/b/3.pdf"]),
        (frozenset({"image"}), ["https://a/b/3.pdf"]),
        (frozenset({"document", "audio"}), ["https://a/1.png", "https://a/2.png"]),
        (frozenset({"image", "document"}), []),
    ],
)
def test_what_a_target_cannot_fetch(takes: frozenset[str], urls: list[str]) -> None:
    assert [one.url for one in urls_to_inline(chat(), takes)] == urls


def test_what_was_fetched_takes_the_place_of_the_url() -> None:
    given = chat()
    first, _, document = urls_to_inline(given, frozenset())
    inline(first, "image/png", b"\x89PNG")
    inline(document, "application/pdf", b"%PDF-")
    assert (first.url, first.mime, first.name, base64.b64decode(first.data)) == ("", "image/png", "1.png", b"\x89PNG")
    assert (document.name, base64.b64decode(document.data)) == ("3.pdf", b"%PDF-")
    assert len(urls_to_inline(given, frozenset())) == 1
    assert len(list(media_of(given))) == 5


def test_a_fetched_document_that_is_text_is_text() -> None:
    media = Media(kind="document", url="https://a/notes.txt?sig=1", name="mine.txt")
    inline(media, "text/plain", "grüße".encode())
    assert (media.text, media.data, media.url, media.name) == ("grüße", "", "", "mine.txt")


@pytest.mark.parametrize(
    ("body", "place"),
    [
        ({"messages": [{"content": [{"type": "text"}, {"image_url": {"url": "u"}}]}]}, "messages[0].content[1].image_url.url"),
        ({"contents": [{"parts": [{"fileData": {"fileUri": "u"}}]}]}, "contents[0].parts[0].fileData.fileUri"),
        ({"input": [{"image_url": "u"}, {"image_url": "u"}]}, "input[0].image_url"),
        ({"input": "nothing"}, ""), (None, ""), ([["u"]], "[0][0]"),
    ],
)  # fmt: skip
def test_an_error_names_the_clients_own_field(body: object, place: str) -> None:
    assert place_of(body, "u") == place


def test_a_deep_body_is_searched_without_recursion() -> None:
    body: object = "u"
    for _ in range(5_000):
        body = [body]
    assert place_of(body, "u").count("[0]") == 5_000
