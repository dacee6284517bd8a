"""Frames of the Responses API, read and written; what one connection remembers."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types.responses.responses_server_event import ResponsesServerEvent
from pydantic import TypeAdapter

from shin_gateway.errors import Invalid, RateLimited
from shin_gateway.websockets import frames
from shin_gateway.websockets.frames import Create, FrameRefused, Steer
from shin_gateway.websockets.history import History, Scribe

EVENT: TypeAdapter[Any] = TypeAdapter(ResponsesServerEvent)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=10,
)
FIELDS = ["type", "model", "input", "stream_id", "generate", "previous_response_id", "client_metadata", "store"]


def read(**fields: Any) -> Create:
    create = frames.read(json.dumps({"type": "response.create", **fields}))
    assert isinstance(create, Create)
    return create


def body(create: Create, context: list[bytes] | None = None) -> Any:
    return json.loads(frames.call_body(create, context))


def test_a_frame_is_a_call() -> None:
    create = read(model="m", input="hi", stream_id="a.b-c_1", generate=False, background=True, store=False)
    assert (create.lane, create.warm, create.previous, create.stores) == ("a.b-c_1", True, None, False)
    assert body(create) == {"model": "m", "input": "hi", "store": False, "stream": True}


def test_values_keep_their_bytes() -> None:
    written = '{"type":"response.create","input":[ {"a" : 1.0e1,"b":"\\u00fc/\\/"} ],"x":10000000000000000000000000.0}'
    create = frames.read(written)
    assert isinstance(create, Create)
    assert frames.call_body(create) == (
        b'{"input":[ {"a" : 1.0e1,"b":"\\u00fc/\\/"} ],"x":10000000000000000000000000.0,"stream":true}'
    )


def test_a_call_with_what_came_before_it() -> None:
    create = read(model="m", input=[{"id": 2}], previous_response_id="r1")
    said = body(create, [b'{"id":1}', b'{"id":0},{"id":9}'])
    assert said == {"model": "m", "input": [{"id": 1}, {"id": 0}, {"id": 9}, {"id": 2}], "stream": True}
    nothing: list[Any] = [[], None]
    for empty in nothing:
        assert body(read(input=empty, previous_response_id="r1"), [b'{"id":1}'])["input"] == [{"id": 1}]
    assert body(read(previous_response_id="r1"), [b"1"])["input"] == [1]
    assert body(read(previous_response_id="r1"))["previous_response_id"] == "r1"


@pytest.mark.parametrize("given_input", [7, {}, True])
def test_an_input_that_is_none(given_input: object) -> None:
    with pytest.raises(Invalid) as raised:
        frames.call_body(read(input=given_input, previous_response_id="r1"), [])
    assert raised.value.param == "input"


def test_a_changed_call_is_a_frame_again() -> None:
    create = read(model="m", input="hi", stream_id="a", generate=False)
    frame = frames.frame_of(b'{"input":"ho","model":"m","stream":true}', create)
    assert json.loads(frame) == {
        "type": "response.create", "input": "ho", "model": "m", "stream_id": "a", "generate": False,
    }  # fmt: skip


@pytest.mark.parametrize("separators", [(",", ":"), (", ", ": ")])
def test_an_untouched_frame_is_what_came(separators: tuple[str, str]) -> None:
    frame = json.dumps({"type": "response.create", "input": [{"a": "ü"}], "n": 1.5}, separators=separators)
    create = frames.read(frame)
    assert isinstance(create, Create)
    assert frames.untouched(create) == frame.encode()


def test_of_two_members_with_one_name_only_the_one_we_read_goes_on() -> None:
    create = frames.read('{"type":"response.create","input":"bad","input":"good"}')
    assert isinstance(create, Create)
    assert json.loads(frames.untouched(create)) == {"type": "response.create", "input": "good"}
    assert b"bad" not in frames.untouched(create)


def test_headers_of_a_frame() -> None:
    metadata = {
        "ws_request_header_x_openai_internal_codex_responses_lite": "true", "ws_request_header_traceparent": "00-1",
        "x-codex-turn-metadata": "new", "x-codex-window-id": "w", "authorization": "no", "ws_request_header_host": "no",
        "ws_request_header_authorization": "no", "x-codex-bad": "a\r\nb", "session_id": "s", "x-codex-number": 7,
    }  # fmt: skip
    create = read(client_metadata=metadata)
    assert frames.call_headers(create, {"x-codex-turn-metadata", "authorization", "x-codex-bad", "x-codex-number"}) == {
        "x-openai-internal-codex-responses-lite": "true", "traceparent": "00-1", "x-codex-turn-metadata": "new",
    }  # fmt: skip
    assert frames.call_headers(read(client_metadata=7), ()) == {}


@given(st.dictionaries(st.sampled_from(FIELDS), JSON | st.just("response.create")) | JSON)
def test_any_json_is_read_or_refused(value: Any) -> None:
    try:
        said = frames.read(json.dumps(value))
        if isinstance(said, Create):
            frames.call_headers(said, ())
            json.loads(frames.untouched(said))
            json.loads(frames.call_body(said, [b"{}"]))
    except (FrameRefused, Invalid) as refused:
        refusal = refused.refusal if isinstance(refused, FrameRefused) else refused
        assert refusal.status == 400
        EVENT.validate_json(frames.refusal_frame(refusal))


@given(st.text() | st.binary())
def test_any_message_is_read_or_refused(message: str | bytes) -> None:
    with contextlib.suppress(FrameRefused):
        frames.read(message)


def test_refusals_are_the_apis_error_events() -> None:
    event = EVENT.validate_json(frames.refusal_frame(RateLimited("Wait."), "main"))
    assert (event.type, event.status, event.stream_id, event.error.code) == ("error", 429, "main", "rate_limited")
    event = EVENT.validate_json(frames.whole_error(502, b"<html>", None, {"retry-after": "3", "Content-Type": "x"}))
    assert (event.status, event.error.headers) == (502, {"retry-after": "3"})
    event = EVENT.validate_json(frames.whole_error(400, b'{"error":{"message":null,"code":"c"}}', None, {}))
    assert (event.error.code, event.error.message) == ("c", "")
    assert EVENT.validate_json(frames.whole_error(400, b'{"error":"no"}', None, {})).error.message == "no"
    flat = b'{"type":"error","code":"server_error","message":"Bad.","param":null,"sequence_number":3}'
    event = EVENT.validate_json(frames.nested_error(flat))
    assert (event.error.message, event.error.code, event.sequence_number) == ("Bad.", "server_error", 3)


def test_a_steering_that_failed_gives_the_input_back() -> None:
    steer = frames.read('{"type":"response.steer","previous_response_id":"r","input":"stop"}')
    assert isinstance(steer, Steer)
    event = EVENT.validate_json(frames.steer_failed(steer))
    assert (event.error.code, event.steer.input, event.steer.previous_response_id) == (
        "steering_not_supported",
        "stop",
        "r",
    )


def test_a_prewarm_is_a_reply_without_output() -> None:
    create = read(model="m", instructions="be brief", generate=False, tools=[])
    created, completed = [EVENT.validate_json(event) for event in frames.warmed(create, "resp_1", 7)]
    assert (created.type, created.response.status) == ("response.created", "in_progress")
    assert (completed.type, completed.response.id, completed.response.output) == ("response.completed", "resp_1", [])
    assert (completed.response.instructions, completed.response.usage.total_tokens) == ("be brief", 0)


def test_types_and_lanes() -> None:
    assert frames.type_of(b'{"type":"response.completed"}') == "response.completed"
    assert frames.type_of(b'{"a":1,"type":"error"}') == "error"
    for nothing in (b"", b"[]", b"{}", b'{"type":7}', b"\xff", b'{"a":' * 10_000):
        assert frames.type_of(nothing) == ""
    assert json.loads(frames.on_lane(b'{"type":"x"}', "a")) == {"stream_id": "a", "type": "x"}
    assert frames.on_lane(b'{"type":"x"}', None) == b'{"type":"x"}'


# ── history ─────────────────────────────────────────────────────────────────────────────────────


def done(index: int, **item: Any) -> tuple[str, bytes]:
    kind = "response.output_item.done"
    return kind, json.dumps({"type": kind, "output_index": index, "item": item}).encode()


def completed(reply_id: str, *output: Any) -> tuple[str, bytes]:
    kind = "response.completed"
    return kind, json.dumps({"type": kind, "response": {"id": reply_id, "output": output}}).encode()


def test_the_output_is_written_down_from_the_items() -> None:
    scribe = Scribe(stored=True)
    for event in (done(1, id="b"), done(0, id="a"), completed("r1")):
        scribe.feed(*event)
    assert (scribe.reply_id, [json.loads(item)["id"] for item in scribe.output]) == ("r1", ["a", "b"])


def test_or_from_the_end_where_there_were_none() -> None:
    scribe = Scribe(stored=True)
    scribe.feed(*completed("r1", {"id": "a"}, {"id": "b"}))
    assert len(scribe.output) == 2


@pytest.mark.parametrize(("stored", "kept"), [(True, ["thought", "sealed", "said"]), (False, ["sealed", "said"])])
def test_reasoning_that_nobody_knows_is_not_handed_back(stored: bool, kept: list[str]) -> None:
    scribe = Scribe(stored)
    scribe.feed(*done(0, id="thought", type="reasoning", summary=[]))
    scribe.feed(*done(1, id="sealed", type="reasoning", encrypted_content="xyz"))
    scribe.feed(*done(2, id="said", type="message"))
    assert [json.loads(item)["id"] for item in scribe.output] == kept


@pytest.mark.parametrize("event", [b"", b"{", b"[]", b'{"response":7}', b'{"response":{"id":7}}', b'{"item":{}}'])
def test_a_scribe_passes_over_nonsense(event: bytes) -> None:
    scribe = Scribe(stored=False)
    for kind in ("response.completed", "response.output_item.done"):
        scribe.feed(kind, event)
    assert scribe.reply_id is None
    scribe.feed(*done(0, type=7))
    assert scribe.output == []


def test_the_oldest_context_goes_first_and_is_missed() -> None:
    history = History(limit=124)
    history.keep("a", [b"x" * 40])
    history.keep("b", [b"x" * 40, b"y" * 10])
    assert history.before("a") == (b"x" * 40,)
    history.keep("c", [b"z" * 60])
    for gone in ("a",):
        with pytest.raises(Invalid) as raised:
            history.before(gone)
        assert raised.value.code == "previous_response_not_found"
    assert history.before("c") == (b"z" * 60,)
    assert history.before("elsewhere") is None
    history.keep("d", [b"z" * 117])
    with pytest.raises(Invalid):
        history.before("d")


def test_a_context_that_is_kept_again_counts_once() -> None:
    history = History(limit=100)
    for _ in range(5):
        history.keep("a", [b"x" * 60])
    assert history.before("a") == (b"x" * 60,)
