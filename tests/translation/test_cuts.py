"""Streams in whatever pieces they come, and broken off at whatever place: the same events, or an error."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shin_gateway import dialects
from shin_gateway.crossing.stream import needs_framer
from shin_gateway.dialects.base import Ending
from shin_gateway.dialects.parts import Part
from shin_gateway.stream import Broken
from shin_gateway.translation.dialects import CHATS
from tests.translation.kit import (
    DIRECTIONS,
    NAMES,
    STREAM_TYPE,
    Carried,
    accumulated,
    answer_of,
    carry,
    events_of,
    now,
    said,
    translated,
    whole,
)
from tests.translation.recorded import ERRORS, STREAMS

RECORDED = [(dialect, name) for dialect in CHATS for name in STREAMS[dialect]]
LONGEST = 1000
"""Bytes of a stream of which every cut is carried across; of longer ones every cut is framed, some are carried."""


def _parts(dialect: str, *pieces: bytes) -> list[Part]:
    framer = needs_framer(dialects.get(dialect).framer(STREAM_TYPE))
    return [part for piece in pieces for part in framer.feed(piece)] + framer.end()


def _bytes(stream: bytes) -> list[bytes]:
    return [stream[at : at + 1] for at in range(len(stream))]


def _places(stream: bytes) -> list[int]:
    """Where to cut: everywhere, or in sixty places and the last fifty bytes."""
    step = 1 if len(stream) <= LONGEST else len(stream) // 60 | 1
    return [*range(0, len(stream), step), *range(len(stream) - 50 if step > 1 else len(stream), len(stream))]


@pytest.mark.parametrize(("dialect", "name"), RECORDED)
def test_a_cut_anywhere_gives_the_same_parts(dialect: str, name: str) -> None:
    stream = STREAMS[dialect][name]
    expected = _parts(dialect, stream)
    assert b"".join([part.raw for part in expected]) == stream
    for at in range(len(stream)):
        assert _parts(dialect, stream[:at], stream[at:]) == expected
    assert _parts(dialect, *_bytes(stream)) == expected


@pytest.mark.parametrize(("client", "target"), DIRECTIONS, ids=NAMES)
def test_a_cut_anywhere_gives_the_client_the_same_bytes(client: str, target: str) -> None:
    for stream in STREAMS[target].values():
        expected = carry(client, target, [stream])
        assert not expected.broken and _ending(client, expected.data).complete
        assert carry(client, target, _bytes(stream)) == expected
        for at in _places(stream):
            assert carry(client, target, [stream[:at], stream[at:]]) == expected, at


@pytest.mark.parametrize(("client", "target"), DIRECTIONS, ids=NAMES)
def test_broken_off_anywhere_is_never_a_clean_end(client: str, target: str) -> None:
    for stream in STREAMS[target].values():
        expected = said(answer_of(events_of(client, carry(client, target, [stream]).data)))
        for at in [*range(0, len(stream), 1 if len(stream) < LONGEST else 61), len(stream) - 1]:
            for is_reset in (False, True):  # the connection closes as if that were all, or is reset
                _broken(client, carry(client, target, [stream[:at]], is_reset), expected)


def _broken(client: str, got: Carried, expected: list[Any]) -> None:
    """The error event follows, and no end went before; or all that the stream means is out."""
    ending = _ending(client, got.data)
    assert not (got.broken and ending.ended)
    if ending.complete if got.broken else not ending.failure:
        assert said(answer_of(events_of(client, got.data))) == expected


def _ending(client: str, data: bytes) -> Ending:
    ending = dialects.get(client).ending()
    for part in _parts(client, data):
        ending.feed(part)
    return ending


@pytest.mark.parametrize(("client", "target"), DIRECTIONS, ids=NAMES)
def test_an_error_in_the_stream_is_the_clients_error_and_nothing_follows(client: str, target: str) -> None:
    stream = ERRORS[target]
    expected = carry(client, target, [stream])
    parts = _parts(client, expected.data)
    failures = [failure for part in parts if (failure := dialects.get(client).failure(part))]
    assert failures and failures[0].status >= 500
    assert dialects.get(client).failure(parts[-1]) is not None
    assert "Grüße".encode() in expected.data
    for pieces in (_bytes(stream), [stream, b"data: more\n\n"]):
        assert carry(client, target, pieces) == expected


@pytest.mark.parametrize(("client", "target"), DIRECTIONS, ids=NAMES)
@pytest.mark.parametrize("name", ["text", "several tools at once", "reasoning", "refusal"])
def test_a_stream_means_what_the_whole_reply_means(client: str, target: str, name: str) -> None:
    stream = STREAMS[target][name]
    answer = answer_of(events_of(target, stream))
    streamed = accumulated(client, carry(client, target, [stream]).data)
    as_whole = whole(client, answer)
    assert said(streamed) == said(as_whole)
    assert streamed.usage == as_whole.usage


@given(st.data())
@settings(max_examples=40, deadline=None)
def test_any_pieces(data: st.DataObject) -> None:
    client, target = data.draw(st.sampled_from(DIRECTIONS))
    stream = STREAMS[target][data.draw(st.sampled_from(sorted(STREAMS[target])))]
    places = sorted(data.draw(st.sets(st.integers(0, len(stream)), max_size=12)))
    pieces = [stream[start:end] for start, end in zip([0, *places], [*places, len(stream)], strict=True)]
    assert carry(client, target, pieces) == carry(client, target, [stream])


def test_a_reset_connection_raises_only_after_what_came_before_was_sent() -> None:
    client, target = DIRECTIONS[1]
    stream = STREAMS[target]["text"]
    reply, _ = translated(client, target, [stream[: len(stream) // 2]], cut=True)
    assert now(reply.read())
    with pytest.raises(Broken):
        now(reply.read())
