"""Streams and replies that are not what they should be: a typed error or the best that can be made of them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shin_gateway import dialects
from shin_gateway.crossing.stream import needs_framer
from shin_gateway.dialects.base import Ending
from shin_gateway.errors import UpstreamFailed
from shin_gateway.translation import bodies
from shin_gateway.translation.dialects import CHATS, translator
from shin_gateway.translation.form import Ended, Failed
from shin_gateway.translation.losses import Losses
from tests.translation.bad import NO_JSON, WRONG, filled, places, with_hole
from tests.translation.kit import (
    CHAT,
    DIRECTIONS,
    GEMINI,
    MESSAGES,
    NAMES,
    RESPONSES,
    STREAM_TYPE,
    answer_of,
    asked,
    carry,
    events_of,
    said,
)
from tests.translation.recorded import ERRORS, STREAMS

Json = dict[str, Any]
HTML = b"<html><head><title>502 Bad Gateway</title></head><body><center>nginx</center></body></html>"
NAMED = [(dialect, name) for dialect in CHATS for name in STREAMS[dialect]]


def _events(stream: bytes) -> list[bytes]:
    """Server-sent events, terminators included."""
    end = b"\r\n\r\n" if b"\r\n\r\n" in stream else b"\n\n"
    return [event + end for event in stream.split(end) if event]


def _to_all(target: str, stream: bytes) -> Iterator[tuple[str, Ending]]:
    """Carried to every client: it broke off, or what came is a stream of the client's dialect."""
    for client in CHATS:
        if client == target:
            continue
        got = carry(client, target, [stream])
        ending = dialects.get(client).ending()
        for part in needs_framer(dialects.get(client).framer(STREAM_TYPE)).feed(got.data):
            ending.feed(part)
            if part.data not in (None, b"", b"[DONE]"):
                json.loads(part.data or b"")
        assert bool(got.broken) or ending.complete, (client, got)
        assert not (got.broken and ending.ended)
        yield client, ending


# ── in another order ────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("target", "name"), NAMED)
def test_each_event_missing_doubled_or_moved(target: str, name: str) -> None:
    events = _events(STREAMS[target][name])
    for at in range(len(events)):
        rest = [*events[:at], *events[at + 1 :]]
        for stream in (rest, [*events[: at + 1], *events[at:]], [*rest[: at + 1], events[at], *rest[at + 1 :]],
                       [events[at], *rest], [*rest, events[at]]):  # fmt: skip
            list(_to_all(target, b"".join(stream)))


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_any_order(data: st.DataObject) -> None:
    target, name = data.draw(st.sampled_from(NAMED))
    events = _events(STREAMS[target][name]) + _events(ERRORS[target])
    list(_to_all(target, b"".join(data.draw(st.lists(st.sampled_from(events), max_size=20)))))


@pytest.mark.parametrize("target", CHATS)
def test_a_beginning_that_comes_twice_changes_nothing(target: str) -> None:
    events = _events(STREAMS[target]["text"])
    expected = {client: said(answer_of(events_of(client, _carried(client, target, events)))) for client in CHATS}
    if target in (MESSAGES, RESPONSES):
        for client in CHATS:
            again = _carried(client, target, [events[0], *events])
            assert said(answer_of(events_of(client, again))) == expected[client]


def _carried(client: str, target: str, events: list[bytes]) -> bytes:
    return b"".join(events) if client == target else carry(client, target, [b"".join(events)]).data


UNKNOWN = {
    CHAT: [b'data: {"id":"x","object":"chat.completion.news","choices":[]}\n\n', b"data: {}\n\n", b"event: news\n\n"],
    RESPONSES: [b'event: response.news\ndata: {"type":"response.news","sequence_number":4}\n\n',
                b'event: codex.rate_limits\ndata: {"type":"codex.rate_limits"}\n\n', b"data: {}\n\n"],
    MESSAGES: [b'event: news\ndata: {"type":"news"}\n\n', b'event: ping\ndata: {"type": "ping"}\n\n', b"data: {}\n\n",
               b'data: {"type":"content_block_delta","index":0,"delta":{"type":"news"}}\n\n'],
    GEMINI: [b'data: {"news":[]}\n\n', b"data: {}\n\n", b": comment\n\n",
             b'data: {"candidates":[{"content":{"parts":[{"news":{}}]}}]}\n\n'],
}  # fmt: skip


@pytest.mark.parametrize(("client", "target"), DIRECTIONS, ids=NAMES)
def test_unknown_events_are_passed_over(client: str, target: str) -> None:
    events = _events(STREAMS[target]["text"])
    expected = said(answer_of(events_of(client, _carried(client, target, events))))
    for unknown in (*UNKNOWN[target], b": keep-alive\n\n", b"\n\n", b"id: 5\nretry: 10\n\n"):
        for at in range(1, len(events)):
            got = _carried(client, target, [*events[:at], unknown, *events[at:]])
            assert said(answer_of(events_of(client, got))) == expected


# ── what is no event ────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("client", "target"), DIRECTIONS, ids=NAMES)
def test_html_with_status_200_is_no_stream(client: str, target: str) -> None:
    for stream in (HTML, b"", b"\n", b"data: " + HTML + b"\n\n", b"\xff\xfe\n\n", b"data: \n\n", b"data: null\n\n"):
        got = carry(client, target, [stream])
        ending = dialects.get(client).ending()
        for part in needs_framer(dialects.get(client).framer(STREAM_TYPE)).feed(got.data):
            ending.feed(part)
        assert got.broken or ending.failure, (stream, got)


@pytest.mark.parametrize(("client", "target"), DIRECTIONS, ids=NAMES)
def test_what_came_before_an_event_that_is_no_json_goes_out(client: str, target: str) -> None:
    events = _events(STREAMS[target]["text"])
    before = b"".join(events[: len(events) // 2])
    stream = before + b"data: {\n\n"
    got = carry(client, target, [stream])
    assert carry(client, target, [stream[at : at + 1] for at in range(len(stream))]) == got
    if got.broken:  # readers may pass over it
        assert got.data == carry(client, target, [before], cut=True).data


@pytest.mark.parametrize("target", CHATS)
def test_every_field_of_every_event_is_wrong_in_every_way(target: str) -> None:
    for stream in (*list(STREAMS[target].values())[2:4], ERRORS[target]):
        events = _events(stream)
        for at, event in enumerate(events):
            head, found, data = event.partition(b"data: ")
            if not found or data.startswith(b"[DONE]"):
                continue
            text = data.strip().decode()
            for broken in _spoilt(json.loads(text)):
                changed = [*events[:at], head + b"data: " + broken + b"\n\n", *events[at + 1 :]]
                _read_all(target, b"".join(changed))


def _spoilt(body: Json) -> Iterator[bytes]:
    for path in places(body):
        text = with_hole(body, path)
        for value in (*WRONG.values(), NO_JSON["half a character"]):
            yield filled(text, value)


def _read_all(target: str, stream: bytes) -> None:
    """The reader's events keep to the form's rules, up to an error or a cut; every writer can write them."""
    reader = translator(target).reader()
    framer = needs_framer(dialects.get(target).framer(STREAM_TYPE))
    found = []
    try:
        for part in framer.feed(stream):
            found += reader.feed(part)
    except UpstreamFailed:
        pass
    told = [event for event in found if not isinstance(event, Failed | Ended)]
    if told:
        answer_of([*told, Ended()])
    for client, origin in ORIGINS.items():
        if client != target:
            writer = translator(client).writer(origin, Losses())
            for event in found:
                if not isinstance(event, Failed):
                    writer.write(event)


ORIGINS = {client: asked(client) for client in CHATS}


# ── whole replies ───────────────────────────────────────────────────────────────────────────────

REPLIES: dict[str, Json] = {
    CHAT: {
        "id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "gpt-5", "service_tier": "default",
        "choices": [{"index": 0, "finish_reason": "tool_calls", "logprobs": {"content": [
            {"token": "a", "logprob": -1.0, "bytes": [97], "top_logprobs": [
                {"token": "a", "logprob": -1.0, "bytes": [97]}]}], "refusal": None},
            "message": {"role": "assistant", "content": "Sun.", "refusal": None, "reasoning_content": "Hm.",
                        "annotations": [{"type": "url_citation", "url_citation": {
                            "url": "https://a.example", "title": "A", "start_index": 0, "end_index": 3}}],
                        "audio": None, "tool_calls": [{"id": "call_1", "type": "function", "function": {
                            "name": "weather", "arguments": "{}"}}]}}],
        "usage": {"prompt_tokens": 9, "completion_tokens": 5, "total_tokens": 14,
                  "prompt_tokens_details": {"cached_tokens": 2}, "completion_tokens_details": {"reasoning_tokens": 1}}},
    RESPONSES: {
        "id": "resp_1", "object": "response", "created_at": 1, "status": "completed", "model": "gpt-5", "error": None,
        "incomplete_details": None, "output": [
            {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "Hm."}],
             "encrypted_content": "gAAA"},
            {"type": "web_search_call", "id": "ws_1", "status": "completed",
             "action": {"type": "search", "query": "weather"}},
            {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed", "content": [
                {"type": "output_text", "text": "Sun.", "logprobs": [], "annotations": [
                    {"type": "url_citation", "url": "https://a.example", "title": "A", "start_index": 0,
                     "end_index": 3}]}]},
            {"type": "function_call", "id": "fc_1", "call_id": "call_1", "name": "weather", "arguments": "{}",
             "status": "completed"}],
        "usage": {"input_tokens": 9, "input_tokens_details": {"cached_tokens": 2}, "output_tokens": 5,
                  "output_tokens_details": {"reasoning_tokens": 1}, "total_tokens": 14}},
    MESSAGES: {
        "id": "msg_1", "type": "message", "role": "assistant", "model": "claude-sonnet-4-5", "content": [
            {"type": "thinking", "thinking": "Hm.", "signature": "c2ln"},
            {"type": "redacted_thinking", "data": "cmVk"},
            {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {"query": "weather"}},
            {"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": [
                {"type": "web_search_result", "url": "https://a.example", "title": "A", "encrypted_content": "ZW5j"}]},
            {"type": "text", "text": "Sun.", "citations": [
                {"type": "web_search_result_location", "url": "https://a.example", "title": "A",
                 "encrypted_index": "aQ", "cited_text": "S"}]},
            {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {"city": "Bern"}}],
        "stop_reason": "tool_use", "stop_sequence": None,
        "usage": {"input_tokens": 9, "output_tokens": 5, "cache_read_input_tokens": 2,
                  "cache_creation_input_tokens": 1}},
    GEMINI: {
        "candidates": [{"index": 0, "finishReason": "STOP", "content": {"role": "model", "parts": [
            {"text": "Hm.", "thought": True}, {"text": "Sun.", "thoughtSignature": "c2ln"},
            {"executableCode": {"language": "PYTHON", "code": "1"}},
            {"codeExecutionResult": {"outcome": "OUTCOME_OK", "output": "1"}},
            {"functionCall": {"id": "1", "name": "weather", "args": {"city": "Bern"}}}]},
            "groundingMetadata": {"webSearchQueries": ["weather"], "groundingChunks": [
                {"web": {"uri": "https://a.example", "title": "A"}}], "groundingSupports": [
                {"segment": {"startIndex": 0, "endIndex": 3, "text": "Sun"}, "groundingChunkIndices": [0]}]},
            "logprobsResult": {"chosenCandidates": [{"token": "S", "logProbability": -1.0}], "topCandidates": [
                {"candidates": [{"token": "S", "logProbability": -1.0}]}]}}],
        "usageMetadata": {"promptTokenCount": 9, "candidatesTokenCount": 5, "totalTokenCount": 15,
                          "thoughtsTokenCount": 1, "cachedContentTokenCount": 2},
        "modelVersion": "gemini-2.5-pro", "responseId": "r1", "createTime": "2025-11-21T10:00:00Z"},
}  # fmt: skip


@pytest.mark.parametrize("target", CHATS)
def test_every_field_of_a_reply_is_wrong_in_every_way(target: str) -> None:
    for broken in _spoilt(REPLIES[target]):
        try:
            answer = translator(target).read_reply(bodies.reply_object(broken))
        except UpstreamFailed:
            continue
        for client, origin in ORIGINS.items():
            if client != target:
                bodies.encoded(translator(client).write_reply(answer, origin, Losses()))


@pytest.mark.parametrize("target", CHATS)
def test_what_is_no_reply_is_a_typed_error(target: str) -> None:
    for body in (HTML, b"", b"null", b"[]", b'"x"', b"\xff", b"[" * 10_000):
        with pytest.raises(UpstreamFailed) as caught:
            translator(target).read_reply(bodies.reply_object(body))
        assert caught.value.status == 502
    for empty in ({}, {"news": 1}):
        with pytest.raises(UpstreamFailed):
            translator(target).read_reply(empty)


REPORTED = [
    HTML, b"", b"null", b"[]", b'"x"', b"\xff", b'{"error": "no"}', b'{"error": {"message": 5}}', b'{"error": [1]}',
    b'{"error": {"message": "no", "code": 429, "status": "RESOURCE_EXHAUSTED"}}', b'{"detail": ["x"]}',
    b'{"type":"error","error":{"type":"overloaded_error","message":"no"}}',
]  # fmt: skip


@pytest.mark.parametrize("target", CHATS)
def test_any_error_body_can_be_told(target: str) -> None:
    for status in (400, 401, 403, 404, 413, 422, 429, 500, 502, 503, 529):
        for body in REPORTED:
            failure = translator(target).read_error(bodies.any_object(body), status)
            assert failure.status >= 400
            assert isinstance(failure.message, str) and isinstance(failure.type, str)
