from __future__ import annotations

import itertools
import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from shin_gateway.dialects.json_array import JsonArrayFramer
from shin_gateway.dialects.parts import Framer, Part
from shin_gateway.dialects.sse import SseFramer, SsePart
from shin_gateway.errors import UpstreamFailed

lines = st.sampled_from(
    [
        b"data: a",
        b"data:b",
        b"data",
        b"data:  c",
        b"event: e",
        b"event:f",
        b": comment",
        b":",
        b"id: 1",
        b"retry: 5",
        "data: größer ☃".encode(),
        b"data: \xff\xfe",
        b"\xef\xbb\xbfdata: x",
        b"",
        b"",
        b"",
        b"nonsense",
        b"data: [DONE]",
    ]
)
sources = st.lists(st.tuples(lines, st.sampled_from([b"\n", b"\r\n", b"\r"])), max_size=25).map(
    lambda pairs: b"".join(line + end for line, end in pairs)
)


def cut(framer: Framer, source: bytes, places: list[int]) -> list[Part]:
    edges = [0, *sorted(place % (len(source) + 1) for place in places), len(source)]
    parts = [part for a, b in itertools.pairwise(edges) for part in framer.feed(source[a:b])]
    return parts + framer.end()


def reference(source: bytes) -> list[tuple[str | None, bytes | None]]:
    """Events by the letter of the standard, line by line; those without data are left out."""
    text = source.removeprefix(b"\xef\xbb\xbf").replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    events, name, data = [], None, []
    for line in text.split(b"\n"):
        if not line:
            if data:
                events.append((name, b"\n".join(data)))
            name, data = None, []
            continue
        field, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if field == b"data":
            data.append(value)
        elif field == b"event":
            name = value.decode() or None
    return events


@given(sources, st.lists(st.integers(0, 10_000), max_size=12))
@example(b"data: a\r\n\r\ndata: b\r\n\r\n", [9, 10])
@example(b"data: a\r\r\ndata: b\n\r\n", [9])
def test_any_cut_gives_the_same_parts_and_loses_nothing(source: bytes, places: list[int]) -> None:
    parts = cut(SseFramer(), source, places)
    assert b"".join(part.raw for part in parts) == source
    assert parts == cut(SseFramer(), source, [])
    assert parts == cut(SseFramer(), source, list(range(len(source))))


@given(sources)
@example(b"\n\n\xef\xbb\xbfdata: x\n")
def test_reads_events_as_the_standard_says(source: bytes) -> None:
    source += b"\n\n"
    # A byte order mark counts at the very beginning only; elsewhere it is part of a name.
    parts = cut(SseFramer(), source, [])
    mine = [(part.event, part.data) for part in parts if part.data is not None]
    if b"\xef\xbb\xbf" not in source[1:]:
        assert mine == reference(source)


def test_fields() -> None:
    part = SsePart(b"\xef\xbb\xbf: hi\r\nid: 7\r\nevent: go\r\ndata: {\r\ndata:  1}\r\n\r\n")
    assert (part.event, part.data) == ("go", b"{\n 1}")
    assert SsePart(b": only a comment\n\n").data is None
    assert SsePart(b"data: [DONE]").data == b"[DONE]"


@pytest.mark.parametrize(
    ("raw", "new", "expected"),
    [
        (b"data: a\n\n", b"b", b"data: b\n\n"),
        (b"data:a\r\n\r\n", b"b", b"data:b\r\n\r\n"),
        (b"data:a\n\n", b" b", b"data:  b\n\n"),
        (b"event: e\ndata: a\nid: 1\n\n", b"b", b"event: e\ndata: b\nid: 1\n\n"),
        (b"data: a\ndata:b\n: c\n\n", b"x\ny", b"data: x\ndata:y\n: c\n\n"),
        (b"data: a\ndata: b\nid: 1\n\n", b"x", b"data: x\nid: 1\n\n"),
        (b"data: a\nid: 1\n\n", b"x\ny", b"data: x\ndata: y\nid: 1\n\n"),
        (b"\xef\xbb\xbfdata: a\n\n", b"b", b"\xef\xbb\xbfdata: b\n\n"),
        (b": c\n\n", b"b", b": c\n\n"),
        (b"data: a", b"b", b"data: b"),
    ],
)
def test_replacing_the_data_keeps_the_rest(raw: bytes, new: bytes, expected: bytes) -> None:
    assert SsePart(raw).replace_data(new).raw == expected


@given(sources)
def test_replacing_the_data_by_itself_changes_nothing(source: bytes) -> None:
    for part in cut(SseFramer(), source, []):
        if part.data is not None:
            again = part.replace_data(part.data)
            assert (again.data, again.raw.replace(b"data\n", b"data:\n")) == (part.data, again.raw)


def test_an_event_without_end_is_refused() -> None:
    framer = SseFramer(limit=1000)
    framer.feed(b"data: " + b"x" * 900)
    with pytest.raises(UpstreamFailed, match="more than 1000 bytes"):
        framer.feed(b"x" * 200)
    array = JsonArrayFramer(limit=100)
    with pytest.raises(UpstreamFailed):
        array.feed(b'[{"a": "' + b"x" * 200)


elements = st.lists(st.dictionaries(st.text(max_size=5), st.text() | st.lists(st.text(), max_size=2)), max_size=5)


@given(elements, st.sampled_from([None, 1]), st.lists(st.integers(0, 10_000), max_size=12))
def test_a_json_array_is_cut_into_its_elements(items: list[object], indent: int | None, places: list[int]) -> None:
    source = json.dumps(items, indent=indent).encode() + b"\r\n"
    parts = cut(JsonArrayFramer(), source, places)
    assert b"".join(part.raw for part in parts) == source
    assert [json.loads(part.data) for part in parts if part.data is not None] == items
    assert parts == cut(JsonArrayFramer(), source, list(range(len(source))))


def test_an_array_part_gets_other_data() -> None:
    parts = JsonArrayFramer().feed(b'[{"a": 1},\r\n{"a": 2}]')
    assert [part.raw for part in parts] == [b'[{"a": 1}', b',\r\n{"a": 2}', b"]"]
    assert parts[1].replace_data(b"{}").raw == b",\r\n{}"


def test_an_object_on_its_own_is_one_part() -> None:
    framer = JsonArrayFramer()
    parts = [*framer.feed(b'{"error": {"code"'), *framer.feed(b": 400}}\n"), *framer.end()]
    assert parts[0].data == b'{"error": {"code": 400}}'
