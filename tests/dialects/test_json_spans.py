from __future__ import annotations

import json
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shin_gateway.dialects import json_spans
from shin_gateway.dialects.json_spans import collect, members, paths, read, scan
from shin_gateway.dialects.json_text import Written, escape, splice, unescape
from shin_gateway.errors import Invalid

scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
values = st.recursive(scalars, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=20)
EVERYTHING = paths(["**"])
surrogates = st.text(st.characters(codec=None))
"""Any characters, lone surrogates among them."""


def strings_in(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value]
    inside = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [text for item in inside for text in strings_in(item)]


@given(values, st.booleans(), st.sampled_from([None, 1, "\t"]))
def test_reads_what_the_standard_library_reads(value: Any, ascii_only: bool, indent: Any) -> None:
    text = json.dumps(value, ensure_ascii=ascii_only, indent=indent)
    found, slots = scan(text, EVERYTHING)
    wanted = [] if isinstance(value, str) else strings_in(value)
    assert found == value
    assert [slot.text for slot in slots] == wanted
    assert all(json.loads(f'"{text[slot.start : slot.end]}"') == slot.text for slot in slots)
    assert [(slot.path, slot.text) for slot in collect(found, EVERYTHING)] == [(slot.path, slot.text) for slot in slots]


@given(st.text('{}[]",:\\ntruefalsu0123456789.eE+- \n/ud8', max_size=30))
def test_takes_and_refuses_what_the_standard_library_does(text: str) -> None:
    try:
        expected = json.loads(text, parse_constant=lambda name: 1 / 0)
    except (ValueError, ZeroDivisionError):
        with pytest.raises(Invalid):
            scan(text, EVERYTHING)
    else:
        assert scan(text, EVERYTHING)[0] == expected


@given(values, st.randoms())
def test_broken_json_is_invalid_and_nothing_worse(value: Any, chance: random.Random) -> None:
    text = list(json.dumps(value, indent=1))
    for _ in range(3):
        text[chance.randrange(len(text))] = chance.choice('{}[]",:\\ 0ax')
    try:
        scan("".join(text), EVERYTHING)
    except Invalid:
        pass


@given(values)
def test_changing_strings_changes_nothing_else(value: Any) -> None:
    text = json.dumps(value, indent=2)
    _, slots = scan(text, EVERYTHING)
    changed = splice(text, [(slot, [(0, len(slot.text), slot.text)]) for slot in slots])
    assert json.loads(changed) == value
    blanked = splice(text, [(slot, [(0, len(slot.text), "")]) for slot in slots])
    assert strings_in(json.loads(blanked)) == [""] * len(slots) or isinstance(value, str)


def test_walks_wanted_paths_only() -> None:
    wanted = paths(["messages.*.content", "messages.*.content.*.text", "messages.*.input.**", "args:json"])
    text = json.dumps(
        {
            "model": "no",
            "messages": [
                {"role": "no", "content": "one"},
                {"content": [{"type": "text", "text": "two"}, {"image": "no"}]},
                {"input": {"a": ["three", {"b": "four"}], "c": 5}, "name": "no"},
            ],
            "args": '{"x":1}',
        }
    )
    slots = scan(text, wanted)[1]
    assert [slot.text for slot in slots] == ["one", "two", "three", "four", '{"x":1}']
    assert slots[1].path == ("messages", 1, "content", 0, "text")
    assert [slot.json for slot in slots] == [False] * 4 + [True]


def test_names_written_with_escapes_are_names_all_the_same() -> None:
    slots = scan(r'{"cont\u0065nt": "hidden", "content": "seen", "content": "again"}', paths(["content"]))[1]
    assert [slot.text for slot in slots] == ["hidden", "seen", "again"]


def test_passes_over_objects_by_type_but_not_when_the_type_is_written_twice() -> None:
    wanted = paths(["*.text"], skip={"*": ["secret"]})
    assert scan('[{"text": "a", "type": "secret"}, {"type": "text", "text": "b"}]', wanted)[1][0].text == "b"
    assert scan('[{"type": "text", "text": "a", "type": "secret"}]', wanted)[1][0].text == "a"
    assert scan('[{"type": ["secret"], "text": "a"}]', wanted)[1][0].text == "a"


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b'{"a": "\xff"}', "not valid UTF-8 at byte 7"),
        (b'\xef\xbb\xbf{"a": 1}', "byte order mark"),
        (b'{"a": NaN}', "NaN is not a JSON value"),
        (b'{"a": -Infinity}', "-Infinity is not"),
        (b'{"a":\n "b}', "line 2, column 2"),
        (b'{"a": 1} x', "more after its end at line 1, column 10"),
        (b'{"a": 1,}', "name in double quotes is missing"),
        (b'{"a" 1}', "colon"),
        (b'{"a": [1 2]}', "not valid JSON"),
        (b'{"a": [1', "ends too early|missing"),
        (b'{"a": 1 "b": 2}', "comma or closing brace"),
        (b'{"a": "tab\there"}', "control character"),
        (b"", "ends too early|missing"),
        (b'{"a": ' + b"9" * 5000 + b"}", "not valid JSON"),
        (b"[" * 100_000, "nested|deep"),
        (b'{"a":' * 100_000, "nested|deep"),
        (b'{"x":{"b":' + b"[" * 100_000, "nested|deep|early|missing"),
    ],
)
def test_says_what_is_wrong_and_where(body: bytes, message: str) -> None:
    with pytest.raises(Invalid, match=f"(?i){message}"):
        scan(json_spans.decode(body), paths(["a.**", "a"]))


def test_two_hundred_levels_are_the_most() -> None:
    deep = lambda levels: '{"a":' * levels + '"x"' + "}" * levels  # noqa: E731
    assert scan(deep(200), EVERYTHING)[1][0].text == "x"
    assert collect(read(deep(200)), EVERYTHING)[0].text == "x"
    with pytest.raises(Invalid, match="more than 200 deep"):
        scan(deep(201), EVERYTHING)
    with pytest.raises(Invalid, match="more than 200 deep"):
        collect(read(deep(201)), EVERYTHING)


def test_finds_members_of_any_type() -> None:
    text = ' {"a" : [1, {"b": 2}] ,"c":null, "a": 3 } '
    found = members(text)
    assert text[found["a"].start : found["a"].end] == "3"
    assert found["c"].value is None
    for broken in ("[]", "3", "", "{", '{"a"}', '{"a":1,}'):
        with pytest.raises(Invalid):
            members(broken)


@given(surrogates, st.booleans())
def test_each_character_is_found_where_it_is_written(text: str, ascii_only: bool) -> None:
    raw = escape(text, ascii_only)
    raw.encode()  # lone surrogates are escaped, so that it can be sent
    text = unescape(raw)
    written = Written(raw)
    assert written.text == text
    pieces = [raw[written.at(i) : written.at(i + 1)] for i in range(len(text))]
    assert "".join(pieces) == raw
    assert [unescape(piece) for piece in pieces] == list(text)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (r'{"a":"caf\u00e9 Alice \/ \u0042"}', r'{"a":"caf\u00e9 J\u00fcrgen \/ \u0042"}'),
        ('{"a":"café Alice \\n"}', '{"a":"café Jürgen \\n"}'),
        (r'{"a":"Alice\n\\"}', r'{"a":"Jürgen\n\\"}'),
        (r'{"a":"\ud83d\ude00Alice\ud83d"}', r'{"a":"\ud83d\ude00J\u00fcrgen\ud83d"}'),
    ],
)
def test_keeps_the_writers_own_escapes(before: str, after: str) -> None:
    slots = scan(before, EVERYTHING)[1]
    start = slots[0].text.index("Alice")
    assert splice(before, [(slots[0], [(start, start + 5, "Jürgen")])]) == after


def test_many_edits_keep_what_is_between_them_as_it_was() -> None:
    for raw in (r"a\nb\na\nb", r"a\/b\u000Aa\/b"):
        slots = scan(f'"{raw}"', _just_a_string())[1]
        edits = [(i, i + 1, "X") for i, char in enumerate(slots[0].text) if char == "a"]
        assert splice(f'"{raw}"', [(slots[0], edits)]) == f'"{raw.replace("a", "X")}"'


def _just_a_string() -> json_spans.Paths:
    node = paths(())
    node.is_text = True
    return node
