"""The Responses API's frames: what a WebSocket carries of it, each way. Pure code, no I/O.

A call is a text frame `{"type": "response.create", …}` with the fields of `POST /responses`; a reply is one text
frame for each event of the stream. A refusal is `{"type": "error", "status": …, "error": {…}}`, after which the
connection goes on. Source: https://developers.openai.com/api/docs/guides/websocket-mode
"""

from __future__ import annotations

import re
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from shin_gateway.dialects.base import to_json
from shin_gateway.dialects.openai import error_object
from shin_gateway.errors import Invalid, Refusal, UpstreamFailed

CREATE = "response.create"
STEER = "response.steer"
ENDS = frozenset(
    {"response.completed", "response.failed", "response.incomplete", "response.cancelled", "error"}
)  # fmt: skip
"""Types of the events after which nothing of a reply follows."""

_CARRIERS = ("type", "stream", "stream_id", "generate", "background")
"""Fields that say how a call travels, and that `POST /responses` does not take or that we set there."""
_HEADER = "ws_request_header_"
_ITS_OWN = ("x-openai-", "x-codex-", "traceparent", "tracestate")
_LANE = re.compile(r"[A-Za-z0-9_.-]{1,256}")
_TYPE = re.compile(rb'\s*\{\s*"type"\s*:\s*"([a-z_.]+)"').match
_NOT_TOLD = frozenset(
    {"content-length", "content-type", "content-encoding", "transfer-encoding", "set-cookie", "connection", "date"}
)

_decode_fields = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_decode_items = msgspec.json.Decoder(list[msgspec.Raw]).decode
_decode_any = msgspec.json.Decoder().decode


class FrameRefused(Exception):
    """A frame that is answered with an error, and the lane to answer on."""

    def __init__(self, refusal: Refusal, lane: str | None = None) -> None:
        super().__init__(refusal.message)
        self.refusal = refusal
        self.lane = lane


@dataclass(frozen=True, slots=True)
class Create:
    """One `response.create`."""

    frame: bytes
    """As it came."""
    fields: Mapping[str, msgspec.Raw]
    """Values as they were written, in their order."""
    lane: str | None
    """`stream_id`: calls of one lane run one after the other, and their events say the lane's name."""
    previous: str | None
    """`previous_response_id`."""
    warm: bool
    """`generate: false`: prepare for a later call, and say nothing."""

    @property
    def stores(self) -> bool:
        """Whether the provider is to keep the reply."""
        return bytes(self.fields.get("store", b"")) != b"false"


@dataclass(frozen=True, slots=True)
class Steer:
    """`response.steer`: more input for a reply that is under way."""

    previous: str
    input: Any


def read(message: str | bytes) -> Create | Steer:
    """What a client's message says. Raises FrameRefused."""
    if isinstance(message, bytes):
        raise _refused("A message must be text, not bytes.")
    frame = message.encode("utf-8", "surrogatepass")
    fields = _fields_of(frame)
    lane = _lane_of(fields)
    kind = _value(fields, "type")
    if kind == STEER:
        return Steer(str(_value(fields, "previous_response_id") or ""), _value(fields, "input"))
    if kind != CREATE:
        raise _refused(f'type: must be "{CREATE}".', lane, param="type", code="unknown_event_type")
    previous = _value(fields, "previous_response_id", lane)
    if previous is not None and not isinstance(previous, str):
        raise _refused("previous_response_id: must be a string.", lane, param="previous_response_id")
    return Create(frame, fields, lane, previous or None, _value(fields, "generate", lane) is False)


def _fields_of(frame: bytes) -> dict[str, msgspec.Raw]:
    try:
        return _decode_fields(frame)
    except msgspec.ValidationError:
        raise _refused("A message must be a JSON object.") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise _refused(f"The message is not valid JSON: {error}.", code="invalid_json") from None
    except RecursionError:
        raise _refused("The message is nested too deeply.", code="invalid_json") from None


def _lane_of(fields: Mapping[str, msgspec.Raw]) -> str | None:
    if "stream_id" not in fields:
        return None
    lane = _value(fields, "stream_id")
    if isinstance(lane, str) and _LANE.fullmatch(lane):
        return lane
    words = "stream_id: must have 1 to 256 letters, digits, underscores, hyphens and periods."
    raise _refused(words, param="stream_id", code="invalid_stream_id")


def _value(fields: Mapping[str, msgspec.Raw], name: str, lane: str | None = None) -> Any:
    raw = fields.get(name)
    try:
        return None if raw is None else _decode_any(raw)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        raise _refused(f"{name}: cannot be read.", lane, param=name) from None


def _refused(message: str, lane: str | None = None, *, param: str | None = None, code: str = "") -> FrameRefused:
    return FrameRefused(Invalid(message, code=code or None, param=param), lane)


# Calls


def call_body(create: Create, context: Sequence[bytes] | None = None) -> bytes:
    """The body of the same call over HTTPS, values as they were written. With `context`, items that came before its
    own input, it says everything itself and refers to no earlier reply. Raises Invalid."""
    members = []
    for name, value in create.fields.items():
        if name in _CARRIERS or (context is not None and name in ("input", "previous_response_id")):
            continue
        members.append(_member(name, value))
    if context is not None:
        members.append(b'"input":[%b]' % b",".join([*context, *input_items(create)]))
    return b"{%b}" % b",".join([*members, b'"stream":true'])


def call_headers(create: Create, had: Container[str]) -> dict[str, str]:
    """Headers that the call would have had over HTTPS, as Codex says them in `client_metadata`: whole ones under
    `ws_request_header_…`, and new values of those that its upgrade `had`. Raises FrameRefused."""
    metadata = _value(create.fields, "client_metadata", create.lane)
    found = {}
    for key, value in metadata.items() if isinstance(metadata, dict) else ():
        name = key.removeprefix(_HEADER).replace("_", "-")
        wanted = name.startswith(_ITS_OWN) and (key.startswith(_HEADER) or name in had)
        if wanted and isinstance(value, str) and value.isascii() and value.isprintable():
            found[name] = value
    return found


def frame_of(body: bytes, create: Create) -> bytes:
    """The frame that says what `body` says, on the lane of `create`."""
    fields = _decode_fields(body)
    members = [_member("type", to_json(CREATE))]
    members += [_member(name, value) for name, value in fields.items() if name not in _CARRIERS]
    members += [_member(name, create.fields[name]) for name in ("stream_id", "generate") if name in create.fields]
    return b"{%b}" % b",".join(members)


def untouched(create: Create) -> bytes:
    """The frame as it came, unless two of its members have one name, of which we read the last."""
    pairs = [(to_json(name), bytes(value)) for name, value in create.fields.items()]
    for comma, colon in ((b",", b":"), (b", ", b": ")):  # as serde and Python's json write
        if create.frame == b"{%b}" % comma.join([name + colon + value for name, value in pairs]):
            return create.frame
    return b"{%b}" % b",".join([name + b":" + value for name, value in pairs])


def input_items(create: Create) -> list[bytes]:
    """The call's own input, as items joined by commas; nothing where it has none. Raises Invalid."""
    raw = bytes(create.fields.get("input", b"")).strip()
    if raw[:1] == b'"':
        return [b'{"type":"message","role":"user","content":%b}' % raw]
    if raw[:1] not in (b"[", b"", b"n"):
        raise Invalid("input: must be a string or a list of items.", param="input")
    inner = raw[1:-1].strip() if raw[:1] == b"[" else b""
    return [inner] if inner else []


def _member(name: str, value: bytes | msgspec.Raw) -> bytes:
    return b"%b:%b" % (to_json(name), bytes(value))


# Replies


def type_of(event: bytes) -> str:
    """The `type` of an event's JSON, "" where it has none."""
    found = _TYPE(event)
    if found is not None:
        return found[1].decode()
    try:
        kind = _decode_any(_decode_fields(event)["type"])
    except (msgspec.MsgspecError, KeyError, RecursionError, UnicodeDecodeError):
        return ""
    return kind if isinstance(kind, str) else ""


def on_lane(event: bytes, lane: str | None) -> bytes:
    """The event with the name of its lane."""
    if lane is None or event[:1] != b"{":
        return event
    return b'{"stream_id":"%b",%b' % (lane.encode(), event[1:].lstrip())


def nested_error(event: bytes) -> bytes:
    """An `error` event as a WebSocket has it: a stream over HTTPS says flat what is nested here."""
    try:
        said = _decode_any(event)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        return event
    if not isinstance(said, dict) or isinstance(said.get("error"), dict):
        return event
    error = {"type": "server_error", "code": said.get("code"), "message": str(said.get("message") or "")}
    return to_json({**said, "error": {**error, "param": said.get("param")}})


def error_frame(
    status: int, error: Mapping[str, object], lane: str | None = None, headers: Mapping[str, str] | None = None
) -> bytes:
    """`{"type": "error", …}`. Codex reads `headers` beside the error, OpenAI's SDKs inside."""
    told = {name: value for name, value in (headers or {}).items() if name.lower() not in _NOT_TOLD}
    frame: dict[str, object] = {"type": "error", "status": status}
    if lane is not None:
        frame["stream_id"] = lane
    inside = {"type": "server_error", "message": "The call failed.", **error}
    if told:
        return to_json({**frame, "error": {**inside, "headers": told}, "headers": told})
    return to_json({**frame, "error": inside})


def refusal_frame(refusal: Refusal, lane: str | None = None) -> bytes:
    return error_frame(refusal.status, error_object(refusal), lane)


def steer_failed(steer: Steer) -> bytes:
    """Nothing of it was taken; the client may say it with its next call."""
    message = "Steering is not available through the gateway; send the input with the next response.create."
    error = {"type": "invalid_request_error", "code": "steering_not_supported", "message": message}
    said = {"input": steer.input, "previous_response_id": steer.previous}
    return to_json({"type": "response.steer.failed", "sequence_number": 0, "error": error, "steer": said})


def whole_error(status: int, body: bytes, lane: str | None, headers: Mapping[str, str]) -> bytes:
    """A whole reply that is an error, as a frame."""
    try:
        said = _decode_any(body)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        said = None
    error = said.get("error") if isinstance(said, dict) else None
    if isinstance(error, str):
        error = {"message": error}
    if not isinstance(error, dict):
        error = error_object(UpstreamFailed("The upstream refused the call.", status=status))
    return error_frame(status, {**error, "message": str(error.get("message") or "")}, lane, headers)


def whole_events(body: bytes) -> Iterator[bytes]:
    """A whole reply as the events of the shortest stream that says the same. Raises UpstreamFailed."""
    try:
        fields = _decode_fields(body)
        items = _decode_items(fields["output"])
    except (msgspec.MsgspecError, KeyError, RecursionError, UnicodeDecodeError):
        raise UpstreamFailed("The upstream's reply is no response.", code="upstream_nonsense") from None
    numbers = iter(range(2 * len(items) + 2))
    begun = {**fields, "output": b"[]", "status": b'"in_progress"'}
    yield _event("response.created", next(numbers), response=_object(begun))
    for index, item in enumerate(items):
        place = str(index).encode()
        yield _event("response.output_item.added", next(numbers), output_index=place, item=bytes(item))
        yield _event("response.output_item.done", next(numbers), output_index=place, item=bytes(item))
    end = "response.incomplete" if bytes(fields.get("status", b"")) == b'"incomplete"' else "response.completed"
    yield _event(end, next(numbers), response=body)


def warmed(create: Create, reply_id: str, created_at: int) -> list[bytes]:
    """The reply to a call with `generate: false`: an id to refer to, and no output."""
    known = ("model", "instructions", "store", "metadata", "tools", "previous_response_id", "reasoning", "text")
    fields: dict[str, bytes] = {
        "id": to_json(reply_id), "object": b'"response"', "created_at": str(created_at).encode(),
        "error": b"null", "incomplete_details": b"null", "output": b"[]", "parallel_tool_calls": b"true",
        "tool_choice": b'"auto"', "tools": b"[]", "metadata": b"{}",
    }  # fmt: skip
    fields |= {name: bytes(create.fields[name]) for name in known if name in create.fields}
    begun = _object({**fields, "status": b'"in_progress"', "usage": b"null"})
    ended = _object({**fields, "status": b'"completed"', "usage": _NO_USAGE})
    return [_event("response.created", 0, response=begun), _event("response.completed", 1, response=ended)]


_NO_USAGE = to_json(
    {
        "input_tokens": 0,
        "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
        "output_tokens": 0,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": 0,
    }
)


def _object(fields: Mapping[str, bytes | msgspec.Raw]) -> bytes:
    return b"{%b}" % b",".join([_member(name, value) for name, value in fields.items()])


def _event(kind: str, number: int, **fields: bytes) -> bytes:
    return _object({"type": to_json(kind), "sequence_number": str(number).encode(), **fields})
