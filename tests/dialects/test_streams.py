from __future__ import annotations

import pytest

from shin_gateway import dialects
from shin_gateway.dialects.base import Failure
from shin_gateway.dialects.sse import SsePart
from shin_gateway.outcome import Usage
from tests.dialects.recorded import STREAMS, channels, parts_of

ARGUMENTS = '{"name":"Alice","q":"say \\"hi\\" to Al\\u00efce"}'
ANTHROPIC = {"input": 3210, "cached": 3000, "cache_write": 200, "cache_write_1h": 50}
GEMINI = Usage(input=24, output=42, cached=8, reasoning=12, input_audio=5)
RESPONSES = Usage(input=1300, output=60, cached=1280, reasoning=32)

# What each stream says: texts by channel, usage, model.
EXPECTED = {
    "openai.chat/text.sse": (
        {(0, "content"): "Dear Alice, Grüße from Albert.\n"},
        Usage(input=1200, output=40, cached=1024, reasoning=8),
        "gpt-5.1-2026-08-07",
    ),
    "openai.chat/tools.sse": (
        {
            (0, "arguments", 0): '{"name":"Alice","x":"\\u00e9 \\ud83d\\ude00"}',
            (0, "arguments", 1): '{"text":"say \\"hi\\" to Alice"}',
        },
        Usage(input=90, output=30),
        "gpt-5.1-2026-08-07",
    ),
    "openai.chat/reasoning.sse": (
        {(0, "reasoning_content"): "The user is Alice. Hello Ali", (0, "content"): "Hi Alice"},
        Usage(input=100, output=50, cached=64, reasoning=30),
        "deepseek-reasoner",
    ),
    "openai.chat/two_choices.sse": (
        {(0, "content"): "Alice", (1, "content"): "Hello Alice"},
        None,
        "gpt-5.1-2026-08-07",
    ),
    "openai.chat/mistral.sse": (
        {(0, "thinking"): "About Alice", (0, "content"): "Alice"},
        Usage(input=10, output=20),
        "magistral-medium-latest",
    ),
    "openai.chat/groq.sse": ({(0, "content"): "Alice"}, Usage(input=21, output=7), "llama-3.3-70b-versatile"),
    "openai.chat/openrouter.sse": (
        {
            (0, "reasoning"): "Think of Alice",
            (0, "reasoning_details", "summary"): "Think of Alice",
            (0, "content"): "Hi Alice",
        },
        Usage(input=50, output=20, cached=10, cache_write=5, reasoning=6),
        "anthropic/claude-sonnet-4.5",
    ),
    "openai.completions/text.sse": (
        {(0, "text"): "Alice and Grüße"},
        Usage(input=5, output=6),
        "gpt-3.5-turbo-instruct",
    ),
    "openai.responses/text.sse": (
        {(0, "response.output_text", 0): "Dear Alice, Grüße."},
        RESPONSES,
        "gpt-5.1-codex",
    ),
    "openai.responses/tools.sse": (
        {
            (0, "response.reasoning_summary_text", 0): "Think of Alice",
            (1, "response.function_call_arguments"): ARGUMENTS,
            (2, "response.function_call_arguments"): ARGUMENTS,
            (3, "response.custom_tool_call_input"): "*** Alice",
        },
        RESPONSES,
        "gpt-5.1-codex",
    ),
    "anthropic.messages/text.sse": (
        {(0, "text"): "Dear Alice, Grüße Ali"},
        Usage(output=15, **ANTHROPIC),
        "claude-sonnet-4-5-20250929",
    ),
    "anthropic.messages/tools.sse": (
        {(0, "text"): "I ask Alice", (1, "partial_json"): ARGUMENTS, (2, "partial_json"): ARGUMENTS},
        Usage(output=80, **ANTHROPIC),
        "claude-sonnet-4-5-20250929",
    ),
    "anthropic.messages/thinking.sse": (
        {(0, "thinking"): "The user is Alice", (2, "text"): "Hi Alice"},
        Usage(output=55, reasoning=40, **ANTHROPIC),
        "claude-sonnet-4-5-20250929",
    ),
    "gemini.generate/text.sse": ({(0, "text"): "Dear Alice, Grüße"}, GEMINI, "gemini-2.5-pro"),
    "gemini.generate/array.json": ({(0, "text"): "Dear Alice, Grüße"}, GEMINI, "gemini-2.5-pro"),
    "gemini.generate/code_assist.sse": ({(0, "text"): "Dear Alice, Grüße"}, GEMINI, "gemini-2.5-pro"),
    "gemini.generate/tools.sse": (
        {(0, "thought"): "About Alice", (0, "text"): "Hi Alice", (0, "arguments", "$.text"): "To Alice"},
        GEMINI,
        "gemini-2.5-pro",
    ),
    "gemini.generate/two_candidates.sse": (
        {(0, "text"): "Alice", (1, "text"): "Hey Alice"},
        Usage(input=1, output=2),
        None,
    ),
}


@pytest.mark.parametrize("name", EXPECTED)
def test_texts_usage_and_model(name: str) -> None:
    texts, usage, model = EXPECTED[name]
    dialect, parts = parts_of(name)
    reader = dialect.usage_reader()
    for part in parts:
        reader.feed(part)
    found = {channel: text for channel, text in channels(dialect, parts).items() if channel is not None and text}
    assert (found, reader.usage, reader.model) == (texts, usage, model)


@pytest.mark.parametrize("name", STREAMS)
def test_any_cut_gives_the_same_parts(name: str) -> None:
    _dialect, parts = parts_of(name)
    for size in (1, 2, 3, 5, 7, 64, 1000):
        assert parts_of(name, size)[1] == parts


CUT = {"openai.chat/cut.sse", "anthropic.messages/cut.sse", "gemini.generate/cut.sse"}
FAILED = {
    "openai.chat/error.sse": Failure(429, "tokens", "Rate limit reached", True),
    "openai.chat/error_openrouter.sse": Failure(502, "server_error", "Provider disconnected", True),
    "openai.responses/failed.sse": Failure(429, "rate_limit_exceeded", "Rate limit reached for gpt-5.1-codex", True),
    "openai.responses/error.sse": Failure(500, "server_error", "The server had an error", True),
    "openai.responses/error_nested.sse": Failure(
        400, "invalid_request_error", "Your input exceeds the context window", False
    ),
    "anthropic.messages/error.sse": Failure(529, "overloaded_error", "Overloaded", True),
    "gemini.generate/error.sse": Failure(503, "UNAVAILABLE", "The model is overloaded.", True),
}


@pytest.mark.parametrize("name", STREAMS)
def test_tells_an_end_from_a_cut_and_from_a_failure(name: str) -> None:
    dialect, parts = parts_of(name)
    ending = dialect.ending()
    for part in parts:
        ending.feed(part)
    assert (ending.complete, ending.failure) == (name not in CUT, FAILED.get(name))


@pytest.mark.parametrize("name", sorted(set(STREAMS) - CUT - set(FAILED)))
def test_a_stream_that_lacks_its_last_words_is_cut(name: str) -> None:
    """Wherever a stream stops before its final event or finish reason, it does not count as complete."""
    dialect, parts = parts_of(name)
    real = [part for part in parts if dialect.is_real(part)]
    ending = dialect.ending()
    states = []
    for part in real:
        states.append(ending.complete)
        ending.feed(part)
    first_complete = states.index(True) if True in states else len(real)
    assert all(states[first_complete:])
    assert first_complete >= len(real) - 3


def test_comments_and_pings_are_not_real() -> None:
    for name in ("openai.chat", "anthropic.messages", "openai.responses", "gemini.generate"):
        assert not dialects.get(name).is_real(SsePart(b": keep-alive\n\n"))
    assert not dialects.get("anthropic.messages").is_real(SsePart(b'event: ping\ndata: {"type": "ping"}\n\n'))
    assert dialects.get("openai.chat").is_real(SsePart(b"data: {}\n\n"))


@pytest.mark.parametrize("name", STREAMS)
def test_nonsense_events_pass_without_an_error(name: str) -> None:
    dialect, _ = parts_of(name)
    reader, ending = dialect.usage_reader(), dialect.ending()
    for data in (
        *(b"", b"{", b"[]", b"nonsense", b"\xff\xfe", b"null", b'{"a":' * 3000, b'"usage"', b"[DONE"),
        *(b'{"usage":{"prompt_tokens":"x","input_tokens":-1},"choices":[{"index":"a","delta":3}]}', b'{"choices":3}'),
        *(b'{"usage":{}}', b'{"type":3,"delta":"x","index":"y"}', b'{"error":{}}', b'{"error":{"code":"999"}}'),
        *(b'{"candidates":[1,{"content":3},{"content":{"parts":[1,{"text":5}]},"index":"x"}]}', b'{"error":7}'),
        *(b'{"candidates":{"a":{"content":{"parts":[{"text":"x"}]}}}}', b'{"type":"error","error":3}'),
        *(b'{"response":{"output":[3],"usage":{"input_tokens":null}},"type":"response.completed"}', b'{"response":3}'),
        *(b'{"choices":[{"delta":{"tool_calls":[3,{"index":"q","function":{"arguments":"x"}}]}}]}',),
        *(
            b'{"choices":{"a":{"delta":{"content":"x"}}}}',
            b'{"choices":[{"delta":{"tool_calls":{"a":{"function":3}}}}]}',
        ),
        *(b'{"choices":[{"delta":{"tool_calls":{"a":{"function":{"arguments":"x"}}}}}]}',),
        *(b'{"message":3,"usage":{"output_tokens":true}}', b'{"usageMetadata":{"promptTokenCount":1e400}}'),
        *(
            b'{"candidates":[{"content":{"parts":{"text":"x"}}}]}',
            b'{"candidates":[{"content":{"parts":{"a":{"text":"x"}}}}]}',
        ),
    ):
        for raw in (b"data: " + data + b"\n\n", b"event: error\ndata: " + data + b"\n\n"):
            part = SsePart(raw)
            reader.feed(part)
            ending.feed(part)
            dialect.slots(part)
            dialect.produced(part)
            dialect.is_usage_only(part)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("openai.chat/openrouter.sse", "Think of AliceHi Alice"),
        ("openai.chat/tools.sse", None),
        ("openai.responses/text.sse", "Dear Alice, Grüße."),
        ("anthropic.messages/thinking.sse", "The user is AliceHi Alice"),
        ("gemini.generate/text.sse", "Dear Alice, Grüße"),
    ],
)
def test_what_was_produced_is_counted_once(name: str, text: str | None) -> None:
    dialect, parts = parts_of(name)
    produced = "".join(dialect.produced(part) for part in parts)
    assert produced == text if text else sorted(produced) == sorted("".join(EXPECTED[name][0].values()))


def test_json_instead_of_a_stream_is_read_whole() -> None:
    assert dialects.get("openai.chat").framer("application/json") is None
    assert dialects.get("plain").framer("image/png") is None
    assert dialects.get("openai.chat").framer("") is not None
