"""Calls and whole replies: what is read from them, and that nothing else of them changes."""

from __future__ import annotations

import json
import re

import pytest

from shin_gateway import dialects
from shin_gateway.dialects.base import Peek
from shin_gateway.errors import Invalid
from shin_gateway.outcome import Usage
from shin_gateway.texts import Words
from tests.dialects.recorded import CALLS, REPLIES, load

SWAP = Words({"Alice": "Bob Ünal"})
BACK = Words({"Bob Ünal": "Alice"})
GEMINI_PATH = "/v1beta/models/gemini-2.5-pro:streamGenerateContent?alt=sse"

# Where Alice may stay: names, ids, urls, media, signatures, encrypted and other opaque things, definitions of tools.
STAYS = {
    "openai.chat/call.json": {
        *("messages.1.content.1.image_url.url", "messages.1.content.2.file.filename", "metadata.who", "user"),
        *("messages.2.tool_calls.0.id", "messages.2.tool_calls.0.function.name", "messages.3.tool_call_id"),
        *("tools.0.function.name", "tools.0.function.description"),
    },
    "openai.responses/call.json": {
        *("input.0.content", "input.0.tools.0.name", "input.0.tools.0.description", "input.1.content.1.image_url"),
        *("input.3.encrypted_content", "input.11.encrypted_content", "input.12.result", "prompt_cache_key"),
        *("tools.0.name", "tools.0.description"),
    },
    "anthropic.messages/call.json": {
        *("messages.1.content.0.thinking", "messages.1.content.0.signature", "messages.1.content.1.data"),
        *("messages.2.content.1.content.1.source.data", "messages.2.content.2.source.url"),
        *("messages.2.content.4.source.data", "messages.2.content.5.source", "messages.4.content.0.content"),
        *("tools.0.description", "metadata.user_id"),
    },
    "gemini.generate/call.json": {
        *("contents.0.parts.1.inlineData.data", "contents.0.parts.2.fileData.fileUri"),
        *("contents.1.parts.0.thoughtSignature", "tools.0.functionDeclarations.0.description"),
    },
    "anthropic.messages/reply.json": {"content.0.thinking", "content.0.signature"},
}
STAYS["gemini.generate/call_code_assist.json"] = {
    "project",
    *(f"request.{path}" for path in STAYS["gemini.generate/call.json"]),
}


def strings(value: object, path: str = "") -> dict[str, str]:
    if isinstance(value, str):
        return {path[1:]: value}
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return {found: text for key, item in items for found, text in strings(item, f"{path}.{key}").items()}


@pytest.mark.parametrize("name", CALLS)
def test_every_text_of_a_call_is_rewritten_and_nothing_else(name: str) -> None:
    dialect, body = load(name)
    new = dialect.rewrite_call(body, SWAP)
    stays = {path for path, text in strings(json.loads(new)).items() if "Alice" in re.sub('"Alice": ?"', "", text)}
    assert stays == STAYS.get(name, set())
    assert dialect.rewrite_call(new, BACK) == body
    assert dialect.rewrite_call(body, Words({"Zacharias": "x"})) is body


@pytest.mark.parametrize("name", REPLIES)
def test_every_text_of_a_reply_is_rewritten_and_nothing_else(name: str) -> None:
    dialect, body = load(name)
    new = dialect.rewrite_reply(body, SWAP)
    stays = {path for path, text in strings(json.loads(new)).items() if "Alice" in re.sub('"Alice": ?"', "", text)}
    assert stays == STAYS.get(name, set())
    assert dialect.rewrite_reply(new, BACK) == body
    assert dialect.rewrite_reply(body, Words({"Zacharias": "x"})) is body


@pytest.mark.parametrize("body", [b"<html>Alice</html>", b"", b"\xff", b'{"choices":', b"[]", b"null"])
@pytest.mark.parametrize("name", dialects.NAMES)
def test_a_reply_that_is_not_json_stays(name: str, body: bytes) -> None:
    dialect = dialects.get(name)
    assert dialect.rewrite_reply(body, SWAP) is body
    assert dialect.reply_slots(body) == []
    assert dialect.account(body) == (None, None)


def test_a_reply_with_broken_characters_keeps_them() -> None:
    body = b'{"choices":[{"message":{"content":"Alice \xff\xfe"}}],"x":"\xc3"}'
    assert dialects.get("openai.chat").rewrite_reply(body, Words({"Alice": "B"})) == body.replace(b"Alice", b"B")


REPLY_USAGE = {
    "openai.chat/reply.json": (Usage(input=1200, output=40, cached=1024, reasoning=8), "gpt-5.1-2026-08-07"),
    "openai.completions/reply.json": (Usage(input=5, output=6), "gpt-3.5-turbo-instruct"),
    "openai.embeddings/reply.json": (Usage(input=8), "text-embedding-3-small"),
    "openai.responses/reply.json": (Usage(input=1300, output=60, cached=1280, reasoning=32), "gpt-5.1-codex"),
    "anthropic.messages/reply.json": (
        Usage(input=3210, output=77, cached=3000, cache_write=200, cache_write_1h=50),
        "claude-sonnet-4-5-20250929",
    ),
    "gemini.generate/reply.json": (Usage(input=24, output=42, cached=8, reasoning=12), "gemini-2.5-pro"),
}


@pytest.mark.parametrize("name", REPLY_USAGE)
def test_usage_and_model_of_whole_replies(name: str) -> None:
    dialect, body = load(name)
    assert dialect.account(body) == REPLY_USAGE[name]


# Provider, dialect, its usage object, what it means.
QUIRKS = [
    (
        "xAI",
        {
            "prompt_tokens": 10,
            "completion_tokens": 5,
            "total_tokens": 45,
            "completion_tokens_details": {"reasoning_tokens": 30},
        },
        Usage(input=10, output=35, reasoning=30),
    ),
    (
        "OpenAI",
        {
            "prompt_tokens": 10,
            "completion_tokens": 35,
            "total_tokens": 45,
            "completion_tokens_details": {"reasoning_tokens": 30},
        },
        Usage(input=10, output=35, reasoning=30),
    ),
    (
        "Gemini's compatible API",
        {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 45},
        Usage(input=10, output=35, reasoning=30),
    ),
    (
        "DeepSeek",
        {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15, "prompt_cache_hit_tokens": 8},
        Usage(input=10, output=5, cached=8),
    ),
    (
        "Moonshot",
        {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15, "cached_tokens": 7},
        Usage(input=10, output=5, cached=7),
    ),
    (
        "Perplexity",
        {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15, "citation_tokens": 90},
        Usage(input=10, output=5),
    ),
    (
        "audio",
        {
            "prompt_tokens": 10,
            "completion_tokens": 5,
            "total_tokens": 15,
            "prompt_tokens_details": {"audio_tokens": 4},
            "completion_tokens_details": {"audio_tokens": 3},
        },
        Usage(input=10, output=5, input_audio=4, output_audio=3),
    ),
    (
        "nulls",
        {"prompt_tokens": 10, "completion_tokens": None, "total_tokens": None, "prompt_tokens_details": None},
        Usage(input=10),
    ),
    ("nonsense", {"prompt_tokens": "many", "completion_tokens": -3}, None),
    ("null", None, None),
]


@pytest.mark.parametrize(("provider", "usage", "expected"), QUIRKS)
def test_compatible_servers_count_in_their_own_ways(provider: str, usage: object, expected: Usage | None) -> None:
    body = json.dumps({"model": "m", "choices": [{"message": {"content": "x"}}], "usage": usage}).encode()
    assert dialects.get("openai.chat").account(body)[0] == expected


def test_usage_that_a_server_puts_into_the_choice_is_found() -> None:
    body = b'{"choices":[{"index":0,"delta":{},"usage":{"prompt_tokens":3,"completion_tokens":4,"total_tokens":7}}]}'
    assert dialects.get("openai.chat").account(body)[0] == Usage(input=3, output=4)


def test_compaction_is_billed_on_top() -> None:
    usage = {"input_tokens": 5, "output_tokens": 6, "iterations": [
        {"type": "compaction", "input_tokens": 100, "output_tokens": 20, "cache_read_input_tokens": 7},
        {"type": "message", "input_tokens": 5, "output_tokens": 6},
    ]}  # fmt: skip
    body = json.dumps({"model": "claude", "usage": usage}).encode()
    assert dialects.get("anthropic.messages").account(body)[0] == Usage(input=112, output=26, cached=7)


PEEKS = [
    ("openai.chat", b'{"model":"gpt-5","stream":true,"max_tokens":7}', "/v1/chat/completions", Peek("gpt-5", True, 7)),
    ("openai.chat", b'{"model":"m","max_tokens":7,"max_completion_tokens":9}', "/", Peek("m", False, 9)),
    ("openai.chat", b'{"messages":[]}', "/openai/deployments/my-gpt/chat/completions?api-version=1", Peek("my-gpt")),
    ("openai.chat", b'{"model":"m","stream":null,"max_tokens":"x"}', "/", Peek("m")),
    ("openai.responses", b'{"model":"m","max_output_tokens":5,"input":"x"}', "/", Peek("m", False, 5)),
    ("openai.responses", b'{"prompt":{"id":"pmpt_1"}}', "/v1/responses", Peek(None)),
    (
        "anthropic.messages",
        b'{"model":"claude","max_tokens":5,"stream":true}',
        "/v1/messages?beta=true",
        Peek("claude", True, 5),
    ),
    (
        "anthropic.messages",
        b'{"anthropic_version":"vertex"}',
        "/v1/projects/p/locations/l/publishers/anthropic/models/claude-x@2025:streamRawPredict",
        Peek("claude-x@2025", True),
    ),
    ("anthropic.messages", b"{}", "/model/anthropic.claude-v2%3A0/invoke", Peek("anthropic.claude-v2:0")),
    ("gemini.generate", b'{"generationConfig":{"maxOutputTokens":6}}', GEMINI_PATH, Peek("gemini-2.5-pro", True, 6)),
    (
        "gemini.generate",
        b"{}",
        "/v1/projects/p/locations/global/publishers/google/models/gemini-x:generateContent",
        Peek("gemini-x"),
    ),
    (
        "gemini.generate",
        b'{"model":"gemini-x","request":{"generationConfig":{"maxOutputTokens":3}}}',
        "/v1internal:streamGenerateContent?alt=sse",
        Peek("gemini-x", True, 3),
    ),
    ("gemini.generate", b'{"request":{"model":"models/g","contents":[]}}', "/v1internal:countTokens", Peek("g")),
    ("gemini.generate", b'{"model":"models/e","content":{}}', "/v1beta/models/e:embedContent", Peek("e")),
    ("plain", b"anything", "/", Peek()),
]


@pytest.mark.parametrize(("name", "body", "path", "expected"), PEEKS)
def test_peeks(name: str, body: bytes, path: str, expected: Peek) -> None:
    assert dialects.get(name).peek(body, path) == expected


BAD = [
    (b'{"stream":false}', "model", "missing"),
    (b'{"model":""}', "model", "not empty"),
    (b'{"model":"  "}', "model", "not empty"),
    (b'{"model":5}', "model", "string"),
    (b'{"model":["a"]}', "model", "string"),
    (b'{"model":"m","stream":"yes"}', "stream", "expected bool"),
    (b'{"model":"m","stream":1}', "stream", "expected bool"),
    (b'["model"]', None, "must be a JSON object"),
    (b'"model"', None, "must be a JSON object"),
    (b"", None, "not valid JSON"),
    (b'{"model":"m"', None, "not valid JSON"),
    (b'{"model":"m",}', None, "not valid JSON"),
    (b'{"model":"\xff"}', None, "not valid JSON"),
    (b'\xef\xbb\xbf{"model":"m"}', None, "not valid JSON"),
    (b'{"model":"m","x":' + b"[" * 100_000, None, "not valid JSON"),
]


@pytest.mark.parametrize(("body", "param", "message"), BAD)
@pytest.mark.parametrize(
    "name", ["openai.chat", "openai.completions", "openai.responses", "openai.embeddings", "anthropic.messages"]
)
def test_a_bad_head_is_named(name: str, body: bytes, param: str | None, message: str) -> None:
    with pytest.raises(Invalid, match=message) as caught:
        dialects.get(name).peek(body, "/v1/x")
    assert caught.value.param == param


@pytest.mark.parametrize(
    ("name", "body", "path", "new_body", "new_path"),
    [
        (
            "openai.chat",
            b' { "a" : [1] ,"model" : "old" , "b":"\\u00e9" }',
            "/v1",
            b' { "a" : [1] ,"model" : "n\\"ew" , "b":"\\u00e9" }',
            "/v1",
        ),
        ("openai.chat", b'{"model":"a","model":"b"}', "/", b'{"model":"a","model":"n\\"ew"}', "/"),
        (
            "openai.chat",
            b'{"x":1}',
            "/openai/deployments/old/chat/completions?v=1",
            b'{"x":1}',
            "/openai/deployments/n%22ew/chat/completions?v=1",
        ),
        (
            "gemini.generate",
            b'{"model":"x"}',
            GEMINI_PATH,
            b'{"model":"x"}',
            "/v1beta/models/n%22ew:streamGenerateContent?alt=sse",
        ),
        (
            "gemini.generate",
            b'{"model":"x","request":{}}',
            "/v1internal:generateContent",
            b'{"model":"n\\"ew","request":{}}',
            "/v1internal:generateContent",
        ),
        (
            "gemini.generate",
            b'{"a": 1, "request": {"contents": [] , "model" : "models/x"} }',
            "/v1internal:countTokens",
            b'{"a": 1, "request": {"contents": [] , "model" : "n\\"ew"} }',
            "/v1internal:countTokens",
        ),
    ],
)
def test_renames_the_model_and_nothing_else(name: str, body: bytes, path: str, new_body: bytes, new_path: str) -> None:
    assert dialects.get(name).with_model(body, path, 'n"ew') == (new_body, new_path)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b'{"stream": true, "a": 1 }\n', b'{"stream": true, "a": 1 ,"stream_options":{"include_usage":true}}\n'),
        (b'{"stream":true,"stream_options":{}}', b'{"stream":true,"stream_options":{"include_usage":true}}'),
        (b'{"stream":true,"stream_options":null}', b'{"stream":true,"stream_options":{"include_usage":true}}'),
        (b'{"stream_options":{"x":1},"stream":true}', b'{"stream_options":{"include_usage":true,"x":1},"stream":true}'),
        (
            b'{"stream_options":{"include_usage":false},"stream":true}',
            b'{"stream_options":{"include_usage":true},"stream":true}',
        ),
        (b'{"stream":true,"stream_options":{"include_usage":true}}', None),
        (b'{"stream":true,"a":"\\u00e4"}', b'{"stream":true,"a":"\\u00e4","stream_options":{"include_usage":true}}'),
        (b'{"stream":true,"stream\\u005foptions":{"include_usage":true}}', None),
        (
            b'{"stream":true,"a":"\\"stream_options\\""}',
            b'{"stream":true,"a":"\\"stream_options\\"","stream_options":{"include_usage":true}}',
        ),
    ],
)
@pytest.mark.parametrize("name", ["openai.chat", "openai.completions"])
def test_asks_for_usage_where_the_caller_did_not(name: str, body: bytes, expected: bytes | None) -> None:
    assert dialects.get(name).ask_usage(body) == expected


def test_other_dialects_need_not_ask() -> None:
    for name in ("openai.responses", "anthropic.messages", "gemini.generate", "plain"):
        assert dialects.get(name).ask_usage(b'{"stream":true}') is None


def test_finds_the_event_that_was_only_asked_for() -> None:
    from tests.dialects.recorded import parts_of

    for name in ("openai.chat/text.sse", "openai.chat/azure.sse", "openai.completions/text.sse"):
        dialect, parts = parts_of(name)
        extra = [part for part in parts if dialect.is_usage_only(part)]
        assert len(extra) == 1 and b'"usage":{' in extra[0].raw
    dialect, parts = parts_of("openai.chat/no_done.sse")
    assert not any(dialect.is_usage_only(part) for part in parts)
