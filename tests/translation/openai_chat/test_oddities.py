"""What servers do that call themselves compatible with OpenAI: streams as bytes, written by us after what they send."""

from __future__ import annotations

import json
from typing import Any

import pytest

from shin_gateway.translation.form import (
    Ended,
    Failed,
    Logged,
    Media,
    Opened,
    Reasoning,
    Text,
    ToolUse,
    UsageTold,
)
from shin_gateway.translation.losses import Losses
from tests.translation.openai_chat.kit import CHAT, accumulated, chunks_of, delta, events_of, origin, sse, stream_of
from tests.translation.openai_chat.test_streams import together, tool

Json = dict[str, Any]
HERE = "openai.chat"
PAGES = [{"title": "One", "url": "https://one.example", "snippet": "s"}, {"title": "Two", "url": "https://two.example"}]
URLS = [page["url"] for page in PAGES]


def parts_of(stream: bytes) -> list[Any]:
    parts, _, ended = together(events_of(stream))
    assert ended
    return parts


def lines(*events: Json, before: str = "data: ", end: str = "\n\n") -> bytes:
    return "".join(f"{before}{json.dumps(event)}{end}" for event in events).encode()


HI = [delta(role="assistant", content="Hi"), delta(content="!"), delta(finish="stop")]


@pytest.mark.parametrize(
    "stream",
    [
        pytest.param(lines(*HI), id="no [DONE]"),
        pytest.param(lines(*HI, before="data:"), id="no space after data:"),
        pytest.param(lines(*HI, end="\r\n\r\n") + b"data: [DONE]\r\n\r\n", id="CRLF"),
        pytest.param(b": OPENROUTER PROCESSING\n\n" * 3 + sse(*HI, "[DONE]"), id="comments"),
        pytest.param(b"data: \n\n" + sse(HI[0], "", " ", *HI[1:], "[DONE]"), id="empty events"),
        pytest.param(b"event: ping\ndata: {}\n\n" + sse(*HI, "[DONE]"), id="pings"),
        pytest.param(b"id: 1\nevent: message\nretry: 5\n" + sse(*HI, "[DONE]"), id="ids and names"),
        pytest.param(lines(*HI, {"choices": [], "usage": None}), id="an empty chunk at the end"),
        pytest.param(lines(HI[0], {"id": "x", "choices": [], "usage": None}, *HI[1:]), id="an empty chunk between"),
        pytest.param(lines(HI[0], {"choices": None}, {"choices": [None]}, {"object": "x"}, *HI[1:]), id="no choices"),
        pytest.param(lines(*[{**one, "index": 7} for one in HI]), id="what nobody knows"),
        pytest.param(
            lines(
                *[{**one, "choices": [{key: value for key, value in one["choices"][0].items() if value is not None}]}
                  for one in HI]
            ),
            id="no null fields",
        ),
        pytest.param(
            lines(*HI[:2], {"choices": [{"index": 0, "delta": None, "finish_reason": "stop"}]}), id="delta null"
        ),
        pytest.param(
            lines(*[{**one, "choices": [{**one["choices"][0], "finish_reason": reason}]}
                    for one, reason in zip(HI, ("", "", "stop"), strict=True)]),
            id="empty reasons",
        ),
        pytest.param(
            lines(*[delta(role="assistant", content=text, tool_calls=[], reasoning_content="") for text in ("Hi", "!")],
                  delta(finish="stop", tool_calls=None, content="")),
            id="empty lists",
        ),
        pytest.param(
            lines(*[{**one, "choices": [{**one["choices"][0], "message": {"role": "assistant", "content": "Hi!"}}]}
                    for one in HI]),
            id="the whole message beside each delta (Perplexity)",
        ),
    ],
)  # fmt: skip
def test_a_text_is_a_text(stream: bytes) -> None:
    assert parts_of(stream) == [Text(text="Hi!")]
    assert accumulated(stream_of(events_of(stream))).choices[0].message.content == "Hi!"


@pytest.mark.parametrize(
    ("events", "parts"),
    [
        # no ids at all, and every call under the same number
        ([tool(0, '{"x":1}', None, "f"), tool(0, "{}", None, "g")], [("f", '{"x":1}'), ("g", "{}")]),
        # a name with every piece
        ([tool(0, '{"x"', "a", "f"), tool(0, ":1}", "a", "f"), tool(0, "", "a", "f")], [("f", '{"x":1}')]),
        ([tool(0, '{"x"', None, "f"), tool(0, ":1}", None, "f"), tool(0, "", None, "f")], [("f", '{"x":1}')]),
        # counted from 1, or by a number that says nothing
        ([tool(1, "{}", "a", "f"), tool(2, "{}", "b", "g")], [("f", "{}"), ("g", "{}")]),
        ([tool(-1, "{}", "a", "f"), tool(-1, "{}", "b", "g")], [("f", "{}"), ("g", "{}")]),
        # names empty in later pieces (GLM), no type
        (
            [tool(0, "", "a", "f"), delta(tool_calls=[{"index": 0, "function": {"name": "", "arguments": "{}"}}])],
            [("f", "{}")],
        ),
        # pieces of several calls in one delta, without numbers or ids (Kimi)
        (
            [
                delta(tool_calls=[{"id": id, "function": {"name": id, "arguments": ""}} for id in ("f", "g")]),
                delta(tool_calls=[{"function": {"arguments": text}} for text in ('{"x"', "{")]),
                delta(tool_calls=[{"function": {"arguments": text}} for text in (":1}", "}")]),
            ],
            [("f", '{"x":1}'), ("g", "{}")],
        ),
        # a number that is none
        ([tool("zero", "{}", "a", "f")], [("f", "{}")]),  # type: ignore[arg-type]
        # no list (older Text Generation Inference)
        ([delta(tool_calls={"index": 0, "id": "", "function": {"name": "f", "arguments": {}}})], [("f", "{}")]),
        # arguments null
        ([delta(tool_calls=[{"index": 0, "id": "a", "function": {"name": "f", "arguments": None}}])], [("f", "")]),
        # legacy
        (
            [delta(function_call={"name": "f", "arguments": ""}), delta(function_call={"arguments": "{}"})],
            [("f", "{}")],
        ),
    ],
)
def test_calls_of_tools(events: list[Json], parts: list[tuple[str, str]]) -> None:
    found = parts_of(sse(*events, delta(finish="tool_calls"), "[DONE]"))
    assert [(part.name, part.arguments) for part in found if isinstance(part, ToolUse)] == parts
    assert len({part.id for part in found}) == len(parts) and all(part.id for part in found)


@pytest.mark.parametrize(
    ("events", "parts"),
    [
        (  # GitHub Copilot
            [delta(reasoning_text="a"), delta(reasoning_text="b", reasoning_opaque="op"), delta(content="c")],
            [Reasoning(text="ab", seal='{"reasoning_opaque":"op"}', origin=HERE), Text(text="c")],
        ),
        (
            [delta(content="c"), delta(reasoning_opaque="op"), tool(0, "{}", "a", "f")],
            [
                Text(text="c"),
                Reasoning(seal='{"reasoning_opaque":"op"}', origin=HERE),
                ToolUse(id="a", name="f", arguments="{}"),
            ],
        ),
        (  # Mistral: `closed` with every piece, then thoughts and text in one
            [
                delta(content=[{"type": "thinking", "thinking": [{"type": "text", "text": "a"}], "closed": True}]),
                delta(
                    content=[
                        {"type": "thinking", "thinking": [{"type": "text", "text": "b"}], "closed": True},
                        {"type": "text", "text": "c"},
                        {"type": "reference", "reference_ids": [1]},
                    ]
                ),
                delta(content="d"),
            ],
            [Reasoning(text="ab", origin=HERE), Text(text="cd")],
        ),
        (  # Databricks
            [
                delta(content=[{"type": "reasoning", "summary": [{"type": "summary_text", "text": "a"}]}]),
                delta(content=[{"type": "text", "text": "c"}]),
            ],
            [Reasoning(text="a", origin=HERE), Text(text="c")],
        ),
        (  # OpenRouter: nothing but a seal, with null beside it
            [
                delta(reasoning=None, reasoning_details=[{"type": "reasoning.encrypted", "data": "x", "id": "rs_1"}]),
                delta(content="c", reasoning=None, reasoning_details=[]),
            ],
            [Reasoning(seal='{"type":"reasoning.encrypted","data":"x","id":"rs_1"}', origin=HERE), Text(text="c")],
        ),
        (  # Groq
            [delta(reasoning="a", channel="analysis"), delta(content="c")],
            [Reasoning(text="a", origin=HERE), Text(text="c")],
        ),
        (  # an image as an entry of the content
            [delta(content=[{"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}])],
            [Media(kind="image", mime="image/png", data="AAAA")],
        ),
    ],
)
def test_thoughts_and_entries(events: list[Json], parts: list[Any]) -> None:
    assert parts_of(sse(*events, delta(finish="stop"), "[DONE]")) == parts


@pytest.mark.parametrize(
    "more",
    [
        [{"citations": URLS}] * 3,
        [{"search_results": PAGES, "citations": URLS}] * 3,
        [{}, {}, {"citations": URLS}],  # xAI: with the last
    ],
)
def test_sources_of_the_answer(more: list[Json]) -> None:
    stream = sse(*[{**one, **also} for one, also in zip(HI, more, strict=True)], "[DONE]")
    (text,) = parts_of(stream)
    assert [citation.url for citation in text.citations] == URLS
    message = CHAT.read_reply({"choices": [{"message": {"content": "Hi!"}}], **more[-1]}).choices[0].parts[0]
    assert isinstance(message, Text) and [one.url for one in message.citations] == URLS
    (annotations,) = [
        one["choices"][0]["delta"]["annotations"]
        for one in chunks_of(stream_of(events_of(stream)))
        if "annotations" in one["choices"][0]["delta"]
    ]
    assert [one["url_citation"]["url"] for one in annotations] == URLS


def test_annotations_of_the_text_go_before_sources() -> None:
    note = {"type": "url_citation", "url_citation": {"url": "https://own.example", "start_index": 0, "end_index": 1}}
    (text,) = parts_of(sse(delta(content="a"), {**delta(annotations=[note]), "citations": URLS}, HI[2], "[DONE]"))
    assert [citation.url for citation in text.citations] == ["https://own.example"]


@pytest.mark.parametrize(
    ("reason", "finish"),
    [
        ("stop", "stop"),
        ("eos_token", "stop"),
        ("end_turn", "stop"),
        ("max_tokens", "length"),
        ("MAX_TOKENS", "length"),
        ("content_filter: SAFETY", "filtered"),
        ("RECITATION", "filtered"),
        ("function_call_filter: MALFORMED_FUNCTION_CALL", "malformed_tool"),
        ("model_length", "context"),
        ({"type": "stop"}, "stop"),
        (1, "stop"),
    ],
)
def test_reasons(reason: Any, finish: str) -> None:
    assert together(events_of(sse(delta(content="a"), delta(finish=reason), "[DONE]")))[1] == [(0, finish)]


@pytest.mark.parametrize(
    "event",
    [
        {"error": {"code": 400, "message": "Token limit reached"}, "choices": [{"index": 0, "delta": {"content": ""}}]},
        {"error": {"message": "broke", "type": "server_error", "failed_generation": "{"}, "status_code": 400},
        {"error": "overloaded", "error_type": "overloaded"},
        {"object": "error", "message": "no", "type": "BadRequestError", "code": 400},
        {"choices": [{"index": 0, "delta": {}, "finish_reason": "network_error"}]},
    ],
)
def test_errors_after_a_reason(event: Json) -> None:
    """OpenRouter tells a reason with every chunk, and may go on with an error."""
    found = events_of(sse(delta(content="a", finish="length"), event, "[DONE]"))
    assert isinstance(found[-1], Failed) and not any(isinstance(one, Ended) for one in found)


def test_usage_in_every_chunk() -> None:
    told = [{"usage": {"prompt_tokens": 1, "completion_tokens": n, "total_tokens": n + 1}} for n in range(3)]
    found = events_of(lines(*[{**one, **usage} for one, usage in zip(HI, told, strict=True)]))
    assert [event.usage.output for event in found if isinstance(event, UsageTold)] == [0, 1, 2]
    asked = origin(stream_usage=True)
    assert chunks_of(stream_of(found, asked))[-1]["usage"]["completion_tokens"] == 2


@pytest.mark.parametrize(
    "logprobs",
    [
        {"content": [{"token": "Hi", "logprob": -0.5}]},
        {"content": [{"token": "Hi", "logprob": None, "bytes": None, "top_logprobs": None}]},
        {"content": [{"token": "Hi", "logprob": -1, "top_logprobs": [{"token": "Ho", "logprob": -2}, None]}]},
        {"tokens": ["Hi"], "token_logprobs": [-0.5], "token_ids": [1]},
        {"tokens": ["Hi"], "token_logprobs": [-0.5], "top_logprobs": [{"Hi": -0.5}]},
    ],
)
def test_log_probabilities(logprobs: Json) -> None:
    chunk = delta(content="Hi")
    chunk["choices"][0]["logprobs"] = logprobs
    found = events_of(sse(chunk, HI[2], "[DONE]"))
    assert [event.logprobs[0]["token"] for event in found if isinstance(event, Logged)] == ["Hi"]
    whole = accumulated(stream_of(found)).choices[0].logprobs
    assert whole.content[0].token == "Hi" and isinstance(whole.content[0].logprob, float)


@pytest.mark.parametrize("logprobs", [None, -0.5, [], {}, {"content": None, "refusal": None}, {"tokens": None}])
def test_no_log_probabilities(logprobs: Any) -> None:
    chunk = delta(content="Hi")
    chunk["choices"][0]["logprobs"] = logprobs
    assert not any(isinstance(event, Logged) for event in events_of(sse(chunk, HI[2], "[DONE]")))


def test_what_azure_says_of_the_prompt_opens_nothing() -> None:
    first = {"id": "", "model": "", "created": 0, "object": "", "choices": [], "prompt_filter_results": [{}]}
    filtered = {"choices": [{"index": 0, "content_filter_offsets": {}, "content_filter_results": {}, "delta": {}}]}
    found = events_of(sse(first, HI[0], filtered, *HI[1:], "[DONE]"))
    assert [type(event) for event in found].count(Opened) == 1
    assert accumulated(stream_of(found, losses=Losses())).choices[0].message.content == "Hi!"
