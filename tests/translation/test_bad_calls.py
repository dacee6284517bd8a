"""Calls that are wrong in every way: refused with the name of the field, or translated; never anything else."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shin_gateway.errors import Invalid, Refusal, Unsupported
from shin_gateway.translation.dialects import CHATS
from shin_gateway.translation.losses import Losses
from tests.translation.bad import FULL, NO_JSON, WRONG, Path, filled, places, with_hole, without
from tests.translation.kit import CHAT, DIRECTIONS, GEMINI, MESSAGES, NAMES, RESPONSES, read_call, write_call

Json = dict[str, Any]
NOTE = re.compile(r"[A-Za-z_*][\w.* -]*")
"""What is noted becomes a header: nothing that a client made up may be in it."""


def _across(client: str, body: bytes) -> list[Refusal]:
    """Read, and written for each target: what was refused."""
    refused: list[Refusal] = []
    targets = [target for target in CHATS if target != client]
    for target in targets:
        losses = Losses()
        try:
            chat = read_call(client, body, losses)
        except Refusal as refusal:
            return [refusal]
        try:
            write_call(target, chat, losses)
        except Refusal as refusal:
            refused.append(refusal)
        assert all(NOTE.fullmatch(note) for note in losses.dropped), losses.dropped
    return refused


def _wrong(client: str) -> Iterator[tuple[Path, str, bytes]]:
    for path in places(FULL[client]):
        text = with_hole(FULL[client], path)
        yield path, "missing", without(FULL[client], path)
        for name, value in WRONG.items():
            yield path, name, filled(text, value)


def test_the_calls_are_good() -> None:
    for client in CHATS:
        assert _across(client, json.dumps(FULL[client]).encode()) == []


@pytest.mark.parametrize("client", CHATS)
def test_a_wrong_field_is_named_or_translated(client: str) -> None:
    for path, name, body in _wrong(client):
        for refusal in _across(client, body):
            assert isinstance(refusal, Invalid | Unsupported), (path, name, refusal)
            assert refusal.param, (path, name, refusal.message)
            assert len(refusal.message) < 500


@pytest.mark.parametrize("client", CHATS)
def test_the_field_is_named_as_the_client_calls_it(client: str) -> None:
    """An error of reading begins with the field that is wrong, down to the entry of a list."""
    for path, name, body in _wrong(client):
        refusal = _refusal(client, body)
        named = re.findall(r"[^.\[\]]+", refusal.param or "") if refusal else []
        if refusal is None or named[-1:] in (["tool_call_id"], ["call_id"]):  # the call it answers is gone
            continue
        depth = min(2, len(named), len(path))
        assert named[:depth] == [str(step) for step in path[:depth]], (path, name, refusal.message)
        assert refusal.message.startswith(refusal.param or "?")


def _refusal(client: str, body: bytes) -> Refusal | None:
    try:
        read_call(client, body)
    except Refusal as refusal:
        return refusal
    return None


@pytest.mark.parametrize("client", CHATS)
def test_what_is_no_json(client: str) -> None:
    for path in list(places(FULL[client]))[::7]:
        text = with_hole(FULL[client], path)
        for value in NO_JSON.values():
            with pytest.raises(Invalid, match="not valid JSON"):
                read_call(client, filled(text, value))
    for body in (b"", b"\xff\xfe", b'{"model": "\xc3("}', b"<html>", b"[]", b"5", b"null", b'"x"'):
        with pytest.raises(Invalid, match="JSON"):
            read_call(client, body)


CUTS = (b"\xc3", b"\xf0\x9f\x97", b"\xed\xa0\xbd", b"\xff", b"\xc0\xaf")
"""Half a character, a surrogate, bytes that never occur, an overlong slash."""


@pytest.mark.parametrize("client", CHATS)
def test_bytes_that_are_no_utf8(client: str) -> None:
    for path in list(places(FULL[client]))[::5]:
        text = with_hole(FULL[client], path)
        for cut in CUTS:
            with pytest.raises(Invalid):
                read_call(client, filled(text, '"x"').replace(b'"x"', b'"x%b"' % cut))


def _turns(client: str, *turns: Json) -> Json:
    if client == GEMINI:
        return {"contents": list(turns)}
    limit = {"max_tokens": 100} if client == MESSAGES else {}
    return {"model": "m", "input" if client == RESPONSES else "messages": list(turns), **limit}


SPOILT = [
    (CHAT, "messages", _turns(CHAT)),
    (MESSAGES, "messages", _turns(MESSAGES)),
    (GEMINI, "contents", _turns(GEMINI)),
    (CHAT, "messages[0].role", _turns(CHAT, {"role": "boss", "content": "hi"})),
    (RESPONSES, "input[0].role", _turns(RESPONSES, {"role": "boss", "content": "hi"})),
    (MESSAGES, "messages[0].role", _turns(MESSAGES, {"role": "boss", "content": "hi"})),
    (GEMINI, "contents[0].role", _turns(GEMINI, {"role": "boss", "parts": [{"text": "hi"}]})),
    (CHAT, "messages[0].content[0].image_url", _turns(CHAT, {"role": "user", "content": [
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,%%%"}}]})),
    (RESPONSES, "input[0].content[0].image_url", _turns(RESPONSES, {"role": "user", "content": [
        {"type": "input_image", "image_url": "data:image/png;base64,%%%"}]})),
    (MESSAGES, "messages[0].content[0].source.data", _turns(MESSAGES, {"role": "user", "content": [
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "%%%"}}]})),
    (GEMINI, "contents[0].parts[0].inlineData.data", _turns(GEMINI, {"role": "user", "parts": [
        {"inlineData": {"mimeType": "image/png", "data": "%%%"}}]})),
    (CHAT, "messages[0].content[1].type", _turns(CHAT, {"role": "user", "content": [
        {"type": "text", "text": "a"}, {"type": "hologram"}]})),
    (MESSAGES, "messages[0].content[1].type", _turns(MESSAGES, {"role": "user", "content": [
        {"type": "text", "text": "a"}, {"type": "hologram"}]})),
    (RESPONSES, "input[0].content[1].type", _turns(RESPONSES, {"role": "user", "content": [
        {"type": "input_text", "text": "a"}, {"type": "hologram"}]})),
]  # fmt: skip


@pytest.mark.parametrize(("client", "param", "body"), SPOILT, ids=[f"{one[0]} {one[1]}" for one in SPOILT])
def test_what_is_wrong_is_named_to_the_entry(client: str, param: str, body: Json) -> None:
    with pytest.raises(Invalid) as caught:
        read_call(client, json.dumps(body).encode())
    assert (caught.value.param or "").startswith(param)
    assert caught.value.message.startswith(param)
    assert caught.value.status == 400


ORPHANS = {
    CHAT: _turns(CHAT, {"role": "user", "content": "hi"},
                 {"role": "tool", "tool_call_id": "call_9", "content": "sunny"}),
    RESPONSES: _turns(RESPONSES, {"role": "user", "content": "hi"},
                      {"type": "function_call_output", "call_id": "call_9", "output": "sunny"}),
    MESSAGES: _turns(MESSAGES, {"role": "user", "content": [
        {"type": "tool_result", "tool_use_id": "call_9", "content": "sunny"}]}),
    GEMINI: _turns(GEMINI, {"role": "user", "parts": [
        {"functionResponse": {"id": "call_9", "name": "weather", "response": {"output": "sunny"}}}]}),
}  # fmt: skip


@pytest.mark.parametrize(("client", "target"), DIRECTIONS, ids=NAMES)
def test_a_result_without_its_call_is_refused_or_kept(client: str, target: str) -> None:
    body = json.dumps(ORPHANS[client]).encode()
    if (refusal := _refusal(client, body)) is None:
        try:
            assert b"sunny" in write_call(target, read_call(client, body))
            return
        except Invalid as late:
            refusal = late
    assert isinstance(refusal, Invalid)
    assert refusal.param


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


@given(st.data())
@settings(max_examples=100, deadline=None)
def test_several_wrong_fields(data: st.DataObject) -> None:
    client = data.draw(st.sampled_from(CHATS))
    body: Any = json.loads(json.dumps(FULL[client]))
    for _ in range(data.draw(st.integers(1, 3))):
        path = data.draw(st.sampled_from(list(places(body)) or [("x",)]))
        owner = body
        for step in path[:-1]:
            owner = owner[step]
        owner[path[-1]] = data.draw(_JSON)
    for refusal in _across(client, json.dumps(body).encode()):
        assert isinstance(refusal, Invalid | Unsupported)
        assert refusal.param
