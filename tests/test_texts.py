from __future__ import annotations

import itertools
import json
import re
from collections.abc import Sequence

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from shin_gateway import dialects
from shin_gateway.dialects.json_inner import InnerJson, edits
from shin_gateway.dialects.json_text import Edit, apply, escape
from shin_gateway.dialects.parts import Part
from shin_gateway.dialects.sse import SsePart
from shin_gateway.texts import Rewriter, StreamRewriter, Words, rewrite_body
from tests.dialects.recorded import STREAMS, channels, cut, load, parts_of

letters = st.text('abcä"\\\n😀', max_size=12)
mappings = st.dictionaries(letters.filter(bool), letters, max_size=4)


def rewritten(rewriter: Rewriter, text: str) -> str:
    return apply(text, rewriter.edits(text))


def stream(rewriter: StreamRewriter, parts: Sequence[Part]) -> list[Part]:
    return [out for part in parts for out in rewriter.feed(part)] + rewriter.finish()


def delta(text: str, choice: int = 0) -> Part:
    event = {"choices": [{"index": choice, "delta": {"content": text}}]}
    return SsePart(f"data: {json.dumps(event, ensure_ascii=False)}\n\n".encode())


def arguments(text: str, tool: int = 0) -> Part:
    call = {"index": tool, "function": {"arguments": text}}
    event = {"choices": [{"index": 0, "delta": {"tool_calls": [call]}}]}
    return SsePart(f"data: {json.dumps(event)}\n\n".encode())


def content(parts: Sequence[Part]) -> list[str]:
    return [json.loads(part.data or b"")["choices"][0]["delta"]["content"] for part in parts]


CHAT = dialects.get("openai.chat")


# Words


def test_the_longest_word_wins_and_case_counts() -> None:
    words = Words({"foo": "1", "foobar": "2", "Foo": "3"})
    assert rewritten(words, "foobar foo Foo fOO foobarfoo") == "2 1 3 fOO 21"


@pytest.mark.parametrize(
    ("text", "held"),
    [("", 0), ("x", 0), ("f", 1), ("xfoo", 3), ("foob", 4), ("foobar", 0), ("foobarf", 1), ("fofo", 2), ("foobarx", 0)],
)
def test_holds_what_may_still_become_a_word(text: str, held: int) -> None:
    assert Words({"foo": "1", "foobar": "2"}).held(text) == held


def test_what_belongs_to_a_word_already_is_not_held() -> None:
    assert Words({"abc": "1", "cd": "2"}).held("abc") == 0
    assert Words({}).held("abc") == 0
    assert Words({"": "x"}).edits("abc") == []


@given(mappings, letters)
def test_no_text_that_follows_can_change_what_is_not_held(mapping: dict[str, str], text: str) -> None:
    words = Words(mapping)
    settled = len(text) - words.held(text)
    sure = [edit for edit in words.edits(text) if edit[1] <= settled]
    for more in ("", "a", "b", "c", 'ä"', "\\\n", "abc", "😀a"):
        assert [edit for edit in words.edits(text + more) if edit[0] < settled] == sure


# Streams: what comes out is what rewriting the whole text gives


@given(mappings, st.lists(letters, max_size=8))
@example({"ab": "x"}, ["a", "", "b", "a"])
@example({"abc": "", "b": "y"}, ["a", "b", "c"])
def test_pieces_of_text(mapping: dict[str, str], pieces: list[str]) -> None:
    words = Words(mapping)
    parts = [delta(piece) for piece in pieces]
    out = stream(StreamRewriter(CHAT, words), parts)
    assert "".join(content(out)) == rewritten(words, "".join(pieces))
    assert len(out) == len(parts)
    assert all(new is old or content([new]) != content([old]) for new, old in zip(out, parts, strict=True))


@given(mappings, letters, letters, st.booleans(), st.integers(1, 9))
def test_pieces_of_tool_arguments(mapping: dict[str, str], one: str, two: str, ascii_only: bool, size: int) -> None:
    words = Words(mapping)
    value = {one: one, "n": [1, two, None, {"x": two + one}], "a\\": ""}
    text = json.dumps(value, ensure_ascii=ascii_only)
    parts = [arguments(text[i : i + size]) for i in range(0, len(text), size)]
    out = stream(StreamRewriter(CHAT, words), parts)
    new = channels(CHAT, out)[0, "arguments", 0]
    one_, two_, both = (rewritten(words, text) for text in (one, two, two + one))
    expected = value | {"n": [1, two_, None, {"x": both}]} | {one: one_}
    if "n" not in (one,) and one != "a\\":
        assert json.loads(new) == expected
    assert json.loads(new) == json.loads(apply(text, edits(text, words)))


@given(mappings, st.text('{}[]",:\\u0dabc 1ä', max_size=40), st.lists(st.integers(0, 40), max_size=6))
def test_arguments_that_are_no_json_come_out_the_same_in_pieces(
    mapping: dict[str, str], text: str, places: list[int]
) -> None:
    words = Words(mapping)
    edges = [0, *sorted(place for place in places if place < len(text)), len(text)]
    parts = [arguments(text[a:b]) for a, b in itertools.pairwise(edges)]
    out = stream(StreamRewriter(CHAT, words), parts)
    assert channels(CHAT, out).get((0, "arguments", 0), "") == apply(text, edits(text, words))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"Alice": "Alice"}', '{"Alice": "Bob"}'),
        ('[["Alice", {"a": "b", "Alice": "x Alice"}], "Alice"]', '[["Bob", {"a": "b", "Alice": "x Bob"}], "Bob"]'),
        ('"Alice"', '"Bob"'),
        ("Alice and {", "Bob and {"),
        ('{"a": "b"} then Alice', '{"a": "b"} then Bob'),
        ("{'Alice': 1}", "{'Bob': 1}"),
        (r'{"a": "\u0041lice \n\"Alice\""}', r'{"a": "Bob \n\"Bob\""}'),
        (r'{"a": "\xAlice"}', r'{"a": "\xBob"}'),
        ('{"a": "Ali', '{"a": "Ali'),
        ('{"a": "Alice', '{"a": "Bob'),
        ("  ", "  "),
    ],
)
def test_arguments(text: str, expected: str) -> None:
    assert apply(text, edits(text, Words({"Alice": "Bob"}))) == expected


def test_a_replacement_in_arguments_is_escaped_as_its_surroundings_are() -> None:
    words = Words({"Alice": 'J"ü'})
    assert apply('{"a":"ä Alice"}', edits('{"a":"ä Alice"}', words)) == '{"a":"ä J\\"ü"}'
    assert apply(r'{"a":"\u00e4 Alice"}', edits(r'{"a":"\u00e4 Alice"}', words)) == r'{"a":"\u00e4 J\"\u00fc"}'


@given(st.text(st.characters(codec=None), max_size=8), st.booleans(), st.data())
def test_an_escape_is_never_cut(text: str, ascii_only: bool, data: st.DataObject) -> None:
    """Whatever is settled ends between two characters, so that the rest can be understood."""
    raw = '{"a":"' + escape(text, ascii_only)
    at = data.draw(st.integers(0, len(raw)))
    reader = InnerJson(Words({"zzz": "y"}))
    _, settled = reader.settle(raw[:at], False)
    inside = raw[6:settled]
    assert len(json.loads(f'"{inside}"')) >= 0


class Digits:
    """Replaces runs of three digits or more: an edit's end is known only when something else follows."""

    def edits(self, text: str) -> list[Edit]:
        return [(match.start(), match.end(), "#") for match in re.finditer(r"\d{3,}", text)]

    def held(self, text: str) -> int:
        return len(text) - len(text.rstrip("0123456789"))


@given(st.lists(st.text("12a", max_size=4), max_size=8))
def test_rewriters_other_than_words(pieces: list[str]) -> None:
    out = stream(StreamRewriter(CHAT, Digits()), [delta(piece) for piece in pieces])
    assert "".join(content(out)) == rewritten(Digits(), "".join(pieces))


# Order, waiting, bounds


def test_parts_wait_in_order_and_no_longer_than_needed() -> None:
    rewriter = StreamRewriter(CHAT, Words({"Alice": "Bob"}))
    comment, other = SsePart(b": hi\n\n"), delta("other", choice=1)
    first = delta("Al")
    assert rewriter.feed(first) == []
    assert rewriter.feed(comment) == []
    assert rewriter.feed(other) == []
    out = rewriter.feed(delta("bert"))
    assert out[:3] == [first, comment, other] and len(out) == 4
    assert out[0] is first
    assert rewriter.finish() == []


@pytest.mark.parametrize(
    "end",
    [
        {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]},
        {"choices": [{"index": 0, "delta": {"tool_calls": [{"index": 0, "function": {"arguments": "{"}}]}}]},
    ],
)
def test_the_end_of_a_text_lets_what_waits_go(end: object) -> None:
    rewriter = StreamRewriter(CHAT, Words({"Alice": "Bob"}))
    assert rewriter.feed(delta("Al")) == []
    assert len(rewriter.feed(SsePart(f"data: {json.dumps(end)}\n\n".encode()))) == 2


def test_waiting_is_bounded_by_parts_and_by_characters() -> None:
    words = Words({"Alice": "Bob"})
    rewriter = StreamRewriter(CHAT, words, max_parts=3)
    assert [len(rewriter.feed(part)) for part in [delta("Al"), *[SsePart(b": x\n\n")] * 3]] == [0, 0, 0, 4]
    rewriter = StreamRewriter(CHAT, words, max_characters=500)
    assert rewriter.feed(delta("Al")) == []
    assert len(rewriter.feed(SsePart(b": " + b"x" * 600 + b"\n\n"))) == 2


def test_a_word_over_three_parts_goes_where_it_began() -> None:
    out = stream(StreamRewriter(CHAT, Words({"Alice": "Bob"})), [delta("Hi Al"), delta("ic"), delta("e!")])
    assert content(out) == ["Hi Bob", "", "!"]


def test_two_fields_with_the_same_reasoning_are_two_texts() -> None:
    def both(text: str) -> Part:
        event = {"choices": [{"index": 0, "delta": {"reasoning": text, "reasoning_content": text}}]}
        return SsePart(f"data: {json.dumps(event)}\n\n".encode())

    out = stream(StreamRewriter(CHAT, Words({"Alice": "Bob"})), [both("Al"), both("ice")])
    assert channels(CHAT, out) == {(0, "reasoning"): "Bob", (0, "reasoning_content"): "Bob"}


# All recorded streams


@pytest.mark.parametrize("name", STREAMS)
def test_where_nothing_matches_every_byte_stays(name: str) -> None:
    dialect, parts = parts_of(name)
    out = stream(StreamRewriter(dialect, Words({"Zacharias": "x", "Alicea": "y"})), parts)
    assert all(a is b for a, b in zip(out, parts, strict=True))


@pytest.mark.parametrize("name", STREAMS)
@pytest.mark.parametrize("new", ["Bob", 'Sir "Bob" Ünal \\ 😀 the first'])
def test_every_copy_is_rewritten_and_back(name: str, new: str) -> None:
    dialect, parts = parts_of(name)
    out = stream(StreamRewriter(dialect, Words({"Alice": new, "Grüße": "<1>"})), parts)
    assert [part.event for part in out] == [part.event for part in parts]
    before, after = channels(dialect, parts), channels(dialect, out)
    for channel, text in before.items():
        if channel == (0, "thinking") and name.startswith("anthropic"):
            assert after[channel] == text
            continue
        is_json = "$." not in str(channel) and re.search("arguments|json", str(channel))
        inner = escape(new) if is_json else new
        if channel is not None:
            assert _plain(after[channel]) == _plain(text.replace("Alice", inner).replace("Grüße", "<1>"))
    assert "Alice" not in (after.get(None) or "")
    back = stream(StreamRewriter(dialect, Words({new: "Alice", "<1>": "Grüße"})), out)
    assert {key: _plain(text) for key, text in channels(dialect, back).items()} == {
        key: _plain(text) for key, text in before.items()
    }


def _plain(text: str) -> str:
    """Without the difference between a character and its escape."""
    try:
        return json.dumps(json.loads(text))
    except ValueError:
        return text


@pytest.mark.parametrize("name", STREAMS)
def test_rewriting_does_not_depend_on_how_the_bytes_come(name: str) -> None:
    dialect, source = load(name)
    words = Words({"Alice": "Bob", "Grüße": "Hi"})
    whole = b"".join(part.raw for part in stream(StreamRewriter(dialect, words), cut(dialect, source, name)))
    for size in (1, 7, 50):
        parts = cut(dialect, source, name, size)
        assert b"".join(part.raw for part in stream(StreamRewriter(dialect, words), parts)) == whole


def test_a_body_in_which_nothing_matches_is_the_same_object() -> None:
    body = json.dumps({"messages": [{"content": "x"}]}).encode()
    assert rewrite_body(body, CHAT.call_paths, Words({"y": "z"})) is body
    assert rewrite_body(body, CHAT.call_paths, Words({"x": "\ud800"})) == body.replace(b'"x"', b'"\\ud800"')
