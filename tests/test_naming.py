"""The reply carries the name that the client asked for, and every other byte is the provider's."""

# ruff: noqa: E501 - tables read best with one case a line

from __future__ import annotations

import gzip
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from shin_gateway import dialects
from shin_gateway.dialects.json_spans import members
from shin_gateway.dialects.parts import Part
from shin_gateway.dialects.sse import SseFramer, SsePart
from shin_gateway.naming import ModelName, named, set_back
from shin_gateway.reply import Reply

CHAT, RESPONSES, MESSAGES, GEMINI = "openai.chat", "openai.responses", "anthropic.messages", "gemini.generate"

WHOLE = [
    (CHAT, '{"id":"c","object":"chat.completion","model":"%s","choices":[{"message":{"content":"model"}}]}'),
    (CHAT, '{\n  "choices": [{"message": {"tool_calls": [{"function": {"arguments": "{\\"model\\":\\"x\\"}"}}]}}],\n  "model" : "%s" }\n'),
    (CHAT, '{"choices":[{"message":{"tool_calls":[{"function":{"arguments":{"model":"x"}}}]}}],"model":"%s"}'),
    ("openai.completions", '{"model":"%s","choices":[{"text":"\\u00e9"}]}'),
    ("openai.embeddings", '{"object":"list","data":[{"embedding":[0.10]}],"model":"%s"}'),
    (RESPONSES, '{"id":"r","tools":[{"type":"image_generation","model":"gpt-image-1"}],"model":"%s","output":[]}'),
    (MESSAGES, '{"model":"%s","id":"m","usage":{"iterations":[{"model":"x"}]},"content":[]}'),
    (GEMINI, '{"candidates":[{"content":{"role":"model","parts":[{"text":"}"}]}}],"modelVersion":"%s","responseId":"r"}'),
    (GEMINI, '{"response":{"candidates":[],"modelVersion":"%s"},"traceId":"t"}'),
    (GEMINI, '[{"modelVersion":"%s","candidates":[]}\n,\r\n{"candidates":[],"modelVersion":"%s"}]\n'),
    (GEMINI, '{"candidates":[{"content":{"parts":[{"functionCall":{"args":{"modelVersion":"x"}}}]}}],"modelVersion":"%s"}'),
]  # fmt: skip


@pytest.mark.parametrize(("dialect", "body"), WHOLE)
@pytest.mark.parametrize("model", ["fast", "openai/gpt-4o", 'a"b\\é☃', "\ud800"])
@pytest.mark.parametrize("theirs", ["gpt-4o-2024-08-06", "é"])
def test_whole_replies(dialect: str, body: str, model: str, theirs: str) -> None:
    given_, wanted = (
        body.replace("%s", name) for name in (theirs, json.dumps(model, ensure_ascii="\ud800" in model)[1:-1])
    )
    assert named(dialect, given_.encode(), model) == wanted.encode()


SAME = [
    b"", b"{", b"[]", b"null", b'"model"', b'{"model":null}', b'{"model":3}', b'{"model":["a"]}', b'{"choices":[]}', b"<html>\"model\"",
    b'{"x":{"model":"a"}}', b'{"message":"model","error":{"model":"x"}}', b'{"x\\"model":"a"}', b"[" * 5000 + b'"model"', b'{"model":"a"',
    b'{"object":"model"}', b'{"modelVersion":{}}',
]  # fmt: skip


@pytest.mark.parametrize("body", SAME)
@pytest.mark.parametrize("dialect", [CHAT, RESPONSES, MESSAGES, GEMINI, "plain"])
def test_what_has_no_name_stays(dialect: str, body: bytes) -> None:
    assert named(dialect, body, "fast") == body
    if dialect != "plain":
        part = SsePart(b"data: " + body + b"\n\n")
        assert ModelName(dialect, "fast").feed(part) == (part,)


def test_bytes_that_are_no_utf_8_stay() -> None:
    body = b'{"x":{"model":1},"y":"\xff\xfe","model":"a"}'
    assert named(CHAT, body, "fast") == body.replace(b'"a"', b'"fast"')


# ── streams ──────────────────────────────────────────────────────────────────────────────────────


def sse(*events: str, end: str = "\n") -> str:
    return "".join(event.replace("\n", end) + end * 2 for event in events)


STREAMS = {
    CHAT: sse(
        ": hello",
        'data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"%s","choices":[{"index":0,"delta":{"role":"assistant","content":""}}]}',
        'data: {"id":"c","model":"%s","choices":[{"index":0,"delta":{"content":"{\\"model\\":\\"theirs\\"}"}}]}',
        'data: {"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"function":{"arguments":{"model":"theirs"}}}]}}],"model":"%s","id":"c"}',
        'data: {"id":"{","model":"%s","choices":[]}',
        'data:{"id":"c","model":"%s","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}',
        'data: {"choices":[{"x":{"model":"theirs"}}]}',
        'event: x\nid: 1\ndata: {"id":"c",\ndata: "model":\ndata: "%s"}',
        'data: {"error":{"message":"model","model":"theirs"}}',
        "data: [DONE]",
    ),
    RESPONSES: sse(
        'event: response.created\ndata: {"type":"response.created","sequence_number":0,"response":{"id":"r","model":"%s","output":[],"tools":[{"type":"image_generation","model":"theirs"}]}}',
        'event: response.in_progress\ndata: {"type":"response.in_progress","response":{"id":"r","error":null,"model":"%s"}}',
        'event: response.output_item.added\ndata: {"type":"response.output_item.added","item":{"model":"theirs"}}',
        'event: response.output_text.delta\ndata: {"type":"response.output_text.delta","delta":"model"}',
        'event: response.completed\ndata: {"type":"response.completed","response":{"model":"%s","output":[{"content":[{"text":"\\"model\\":\\"theirs\\""}]}]}}',
    ),
    MESSAGES: sse(
        'event: message_start\ndata: {"type":"message_start","message":{"id":"m","model":"%s","content":[],"usage":{"input_tokens":1}}}',
        'event: ping\ndata: {"type": "ping"}',
        'event: content_block_start\ndata: {"type":"content_block_start","index":0,"content_block":{"type":"tool_use","input":{"model":"theirs"}}}',
        'event: content_block_delta\ndata: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"model"}}',
        'event: message_delta\ndata: {"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":1}}',
        'event: message_stop\ndata: {"type":"message_stop"}',
    ),
    GEMINI: sse(
        'data: {"candidates": [{"content": {"parts": [{"text": "a}"}],"role": "model"}}],"usageMetadata": {"promptTokenCount": 9},"modelVersion": "%s","responseId": "r"}',
        'data: {"candidates": [{"content": {"parts": [{"text": "b"}],"role": "model"}}],"modelVersion": "%s","usageMetadata": {"x": 1}}',
        'data: {"candidates": [{"content": {"parts": [{"functionCall": {"args": {"modelVersion": "theirs"}}}]}}],"modelVersion": "%s","responseId": "}"}',
        'data: {"response": {"candidates": [{"finishReason": "STOP"}],"modelVersion": "%s"}}',
        'data: {"candidates": [{"x": {"modelVersion": "theirs"}}]}',
        end="\r\n",
    ),
}  # fmt: skip

streams = pytest.mark.parametrize(("dialect", "stream"), STREAMS.items())


def renamed(dialect: str, pieces: list[bytes], model: str = "fast") -> bytes:
    framer, name = SseFramer(), ModelName(dialect, model)
    parts = [part for piece in pieces for part in framer.feed(piece)]
    out = [one for part in [*parts, *framer.end()] for one in name.feed(part)]
    return b"".join(part.raw for part in [*out, *name.finish()])


@streams
def test_streams_cut_at_every_byte(dialect: str, stream: str) -> None:
    theirs, wanted = stream.replace("%s", "theirs").encode(), stream.replace("%s", "fast").encode()
    assert theirs.count(b"theirs") > wanted.count(b"theirs") > 0
    for at in range(len(theirs)):
        assert renamed(dialect, [theirs[:at], theirs[at:]]) == wanted
    assert renamed(dialect, [theirs[at : at + 1] for at in range(len(theirs))]) == wanted


@streams
def test_a_stream_that_is_cut_off(dialect: str, stream: str) -> None:
    """Whatever comes, nothing but the name changes, and nothing is raised."""
    theirs = stream.replace("%s", "theirs").encode()
    for at in range(len(theirs)):
        out = renamed(dialect, [theirs[:at]])
        assert out.replace(b"fast", b"theirs") == theirs[:at]


@streams
def test_every_part_is_read_as_before(dialect: str, stream: str) -> None:
    framer, name = SseFramer(), ModelName(dialect, "fast")
    for part in framer.feed(stream.replace("%s", "theirs").encode()):
        (out,) = name.feed(part)
        assert out.event == part.event
        assert (out.data is None) == (part.data is None)
        assert out == SsePart(out.raw)


def test_a_stream_that_is_one_array() -> None:
    array = '[{"candidates":[],"modelVersion":"%s"}\n,\r\n{"x":{"modelVersion":"t"},"modelVersion":"%s"}\n]'
    theirs, wanted = array.replace("%s", "t").encode(), array.replace("%s", "fast").encode()
    for at in range(len(theirs)):
        framer = dialects.get(GEMINI).framer("application/json")
        assert framer is not None
        name = ModelName(GEMINI, "fast")
        parts = [*framer.feed(theirs[:at]), *framer.feed(theirs[at:]), *framer.end()]
        assert b"".join(out.raw for part in parts for out in name.feed(part)) == wanted


def test_names_may_change_within_a_stream() -> None:
    events = [f'data: {{"id":1,"model":"{name}"}}\n\n'.encode() for name in ("auto", "auto", "gpt-4o", "auto")]
    assert renamed(CHAT, events) == b'data: {"id":1,"model":"fast"}\n\n' * 4


def test_bytes_without_meaning_pass() -> None:
    part = Part(b'"model": "x"')
    assert ModelName(CHAT, "fast").feed(part) == (part,)


# ── properties ───────────────────────────────────────────────────────────────────────────────────

KEYS = ["model", "modelVersion", "response", "message", "x", '"model', "a\\", "{", "}"]
texts = st.sampled_from([*KEYS, "theirs", '{"model":"theirs"}', '"model":"theirs"', "\\"]) | st.text(max_size=3).filter(
    lambda text: text.isprintable()
)
values = st.recursive(
    st.none() | st.integers() | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=4),
    max_leaves=10,
)
layouts = st.sampled_from([{}, {"separators": (",", ":")}, {"ensure_ascii": False}])
OWNERS = {CHAT: (), RESPONSES: ("response",), MESSAGES: ("message",), GEMINI: ("response",)}


@given(
    st.sampled_from(list(OWNERS)),
    st.lists(st.dictionaries(st.sampled_from(KEYS), values, max_size=6), min_size=1, max_size=4),
    layouts,
)
def test_only_the_names_change(dialect: str, events: list[Any], layout: Any) -> None:
    """Whole, and as the parts of one stream, in which the filter goes by what it saw before."""
    stream = ModelName(dialect, "fast")
    key = "modelVersion" if dialect == GEMINI else "model"
    for event in events:
        before = json.dumps(event, **layout)
        after = named(dialect, before.encode(), "fast").decode()
        _same_but_names(before, after, key, OWNERS[dialect])
        (part,) = stream.feed(SsePart(f"data: {before}\n\n".encode()))
        assert part.raw.decode() == f"data: {after}\n\n"


def _same_but_names(before: str, after: str, key: str, owners: tuple[str, ...], at: tuple[int, int] = (0, 0)) -> None:
    was, now = members(before, at[0]), members(after, at[1])
    assert list(was) == list(now)
    for name, span in was.items():
        if name == key and isinstance(span.value, str):
            assert now[name].value == "fast"
        elif name in owners and isinstance(span.value, dict):
            _same_but_names(before, after, key, (), (span.start, now[name].start))
        else:
            assert before[span.start : span.end] == after[now[name].start : now[name].end]


# ── on a reply ───────────────────────────────────────────────────────────────────────────────────


def reply(body: bytes, status: int = 200, dialect: str = CHAT, **headers: str) -> Reply:
    given_ = CIMultiDict({name.replace("_", "-"): value for name, value in headers.items()})
    return Reply(status, given_, dialects.get(dialect), body=body)


def test_a_whole_reply_and_its_headers() -> None:
    one = reply(gzip.compress(b'{"model":"x"}'), content_encoding="gzip", etag="e", x_request_id="r")
    set_back(one, "fast")
    assert (one.raw_body, dict(one.headers)) == (b'{"model":"fast"}', {"x-request-id": "r"})


@pytest.mark.parametrize("one", [
    reply(b'{"error":{},"model":"x"}', 404, etag="e"), reply(b'{"model":"x"}', dialect="plain", etag="e"), reply(b"", etag="e"),
    reply(b"no gzip", content_encoding="gzip", etag="e"), reply(b'{"x":1}', etag="e"),
])  # fmt: skip
def test_replies_that_stay(one: Reply) -> None:
    body = one.raw_body
    set_back(one, "fast")
    assert one.raw_body is body
    assert one.headers["etag"] == "e"


class Pieces:
    """A source of bytes that are there already."""

    def __init__(self, body: bytes, size: int) -> None:
        self._pieces = [body[at : at + size] for at in range(0, len(body), size)]

    async def read(self) -> bytes:
        return self._pieces.pop(0) if self._pieces else b""

    def close(self) -> None:
        self._pieces = []


@streams
@pytest.mark.parametrize("coding", ["", "gzip"])
async def test_a_streamed_reply(dialect: str, stream: str, coding: str) -> None:
    theirs, spoken = stream.replace("%s", "theirs").encode(), dialects.get(dialect)
    headers = CIMultiDict({"content-type": "text/event-stream", "content-encoding": coding, "content-length": "9"})
    source = Pieces(gzip.compress(theirs) if coding else theirs, 7)
    one = Reply(200, headers, spoken, source=source, framer=spoken.framer("text/event-stream"))
    set_back(one, "fast")
    out = b""
    while piece := await one.read():
        out += piece
    assert out == stream.replace("%s", "fast").encode()
    assert dict(one.headers) == {"content-type": "text/event-stream"}
