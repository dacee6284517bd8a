"""Ids as calls name them and replies give them."""

# ruff: noqa: E501 - tables read best with one case a line

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shin_gateway.dialects.json_spans import read
from shin_gateway.errors import Invalid
from shin_gateway.files import ids, models


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("/v1/files", ""),
        ("/v1/files/", ""),
        ("/v1/files?after=file-1", ""),
        ("/v1/files/file-1", "file-1"),
        ("/v1/files/file-1/content?x=1", "file-1"),
        ("/v1//files/%66ile-1/", "file-1"),
        ("/files/file-1", "file-1"),
        ("/V1/Files/file-1", "file-1"),
        ("/v1/x/../files/file-1", "file-1"),
        ("/v1/batches/batch_1/cancel", "batch_1"),
        ("/v1/uploads/upload_1/parts", "upload_1"),
        ("/v1/messages/batches", ""),
        ("/v1/messages/batches/msgbatch_1/results", "msgbatch_1"),
        ("/v1beta/files/abc:download?alt=media", "abc"),
        ("/v1beta/batches/b1:cancel", "b1"),
        ("/upload/v1beta/files?upload_id=u", ""),
        ("/v1beta/models/m:batchGenerateContent", ""),
        ("/files/v1/files/file-1", "file-1"),
    ],
)
def test_in_a_path(path: str, found: str) -> None:
    assert ids.in_path(path) == found


@pytest.mark.parametrize(
    ("call", "found"),
    [
        ({"input_file_id": "file-1", "endpoint": "/v1/x"}, ["file-1"]),
        ({"input_file_id": "files/abc"}, ["abc"]),
        ({"batch": {"inputConfig": {"fileName": "files/abc"}}}, ["abc"]),
        ({"batch": {"input_config": {"file_name": "files/abc"}}}, ["abc"]),
        ({"batch": {"inputConfig": {"requests": {"requests": [{}]}}}}, []),
        ({"input_file_id": ["file-1"]}, []),
        ({"input_file_id": "a b\n"}, []),
        ({"batch": []}, []),
    ],
)
def test_in_a_call(call: dict[str, Any], found: list[str]) -> None:
    assert ids.in_call(json.dumps(call).encode()) == found


@pytest.mark.parametrize(
    ("reply", "found"),
    [
        ({"id": "file-1", "filename": "files/x"}, ["file-1"]),
        (
            {"id": "batch_1", "input_file_id": "file-1", "output_file_id": "file-2", "error_file_id": None},
            ["batch_1", "file-2"],
        ),
        ({"id": "upload_1", "file": {"id": "file-3"}}, ["upload_1", "file-3"]),
        ({"file": {"name": "files/abc", "uri": "https://x/files/abc"}}, ["abc"]),
        ({"name": "files/abc"}, ["abc"]),
        ({"name": "batches/b", "response": {"responsesFile": "files/out"}}, ["b", "out"]),
        ({"name": "batches/b", "metadata": {"output": {"responsesFile": "files/out"}}}, ["b", "out"]),
        ({"batch_id": "batch_9", "name": "what I call it"}, ["batch_9"]),
        ({"id": 1, "file": [], "response": "x", "metadata": {"output": None}}, []),
    ],
)
def test_in_a_reply(reply: dict[str, Any], found: list[str]) -> None:
    assert ids.in_reply(json.dumps(reply).encode()) == found


@given(st.binary(max_size=200))
def test_nonsense_names_nothing(body: bytes) -> None:
    for said in (body, b'{"id":' + body, b"[" * 9999):
        with suppress(Invalid):
            assert ids.in_call(said) == []
        assert isinstance(ids.in_reply(said), list)
        assert models.named(said) == []


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b'{"input_file_id":"file-1"', b'\xef\xbb\xbf{"input_file_id":"file-1"}',
     '{"input_file_id":"file-1"}'.encode("utf-16"), b'{"input_file_id":"file-1","x":' + b"[" * 9999 + b"]" * 9999 + b"}"],
)  # fmt: skip
def test_a_batch_that_we_cannot_read_is_refused(body: bytes) -> None:
    """A provider may be able to, and the file may be another caller's."""
    with pytest.raises(Invalid):
        ids.in_call(body)


@pytest.mark.parametrize("more", ['"batch":"x"', '"batch":{"inputConfig":5}', '"batch":[1]'])
def test_other_fields_do_not_hide_a_batchs_file(more: str) -> None:
    assert ids.in_call(f'{{"input_file_id":" file-1 ",{more}}}'.encode()) == ["file-1"]


def test_a_list_with_some_left_out() -> None:
    body = b'{"object":"list", "data":[{"id":"a","n":1e2},{"id":"b"},{"x":1}],"first_id":"a","last_id":"b","has_more":true}'
    listing = ids.Listing(body)
    assert listing.ids == [["a"], ["b"], [""]]
    left = json.loads(listing.without({0, 2}))
    assert left == {"object": "list", "data": [{"id": "b"}], "first_id": "b", "last_id": "b", "has_more": True}
    assert b"1e2" in listing.without({1})
    assert json.loads(listing.without({0, 1, 2}))["last_id"] is None
    assert listing.next_page("openai.files") == ("after", "b")
    assert listing.next_page("anthropic.files") == ("after_id", "b")


def test_a_list_of_gemini() -> None:
    listing = ids.Listing(b'{"files":[{"name":"files/a"}],"nextPageToken":"t"}')
    assert listing.ids == [["a"]]
    assert listing.next_page("gemini.files") == ("pageToken", "t")
    assert ids.Listing(b'{"operations":[]}').next_page("gemini.batches") is None


@pytest.mark.parametrize("body", [b"", b"{}", b"[]", b'{"data": 1}', b'{"data": null}', b"\xff"])
def test_what_is_no_list(body: bytes) -> None:
    with pytest.raises(ValueError):
        ids.Listing(body)


def test_the_models_of_a_batch() -> None:
    body = (
        b'{"requests": [{"params": {"model": "a/b", "x":1.0}}, {"params":{"model":"c"}},{"params":{"model":"a\\/b"}}]}'
    )
    assert models.named(body) == ["a/b", "c"]
    made = models.renamed(body, {"a/b": "b"})
    assert (
        made
        == b'{"requests": [{"params": {"model": "b", "x":1.0}}, {"params":{"model":"c"}},{"params":{"model":"b"}}]}'
    )
    assert read(made.decode())["requests"][1] == {"params": {"model": "c"}}
    with pytest.raises(Invalid):
        models.renamed(b"{", {})


@pytest.mark.parametrize(
    "body", [b'{"requests": 1}', b'{"requests": [1]}', b'{"requests": [{"params": {"model": 1}}]}', b"{}"]
)
def test_a_batch_that_names_no_models(body: bytes) -> None:
    assert models.named(body) == []
