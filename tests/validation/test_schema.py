"""What the schemas let through and what they say of the rest: table by table, one for each dialect."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shin_gateway.errors import Invalid
from shin_gateway.validation.forms import form_of
from shin_gateway.validation.schema import DIALECTS, load
from tests.dialects import recorded

KINDS = {
    "openai.chat": "chat", "openai.completions": "complete", "openai.responses": "respond",
    "openai.embeddings": "embed", "anthropic.messages": "chat", "gemini.generate": "chat",
}  # fmt: skip
FORMS = {"call_code_assist.json": "envelope", "call_embed.json": "embed_batch"}


def said(dialect: str, body: Any, form: str = "", **strict: bool) -> tuple[str, str | None]:
    """The message and the field; "" where the call is let through."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    try:
        load(dialect, **strict).check(raw, form or KINDS[dialect])
    except Invalid as refusal:
        return refusal.message, refusal.param
    return "", None


def user(content: Any) -> dict[str, Any]:
    return {"role": "user", "content": content}


def chat(*messages: Any, **more: Any) -> dict[str, Any]:
    return {"model": "gpt-5", "messages": list(messages) or [user("Hi.")], **more}


def claude(*content: Any, **more: Any) -> dict[str, Any]:
    return {"model": "claude", "max_tokens": 9, "messages": [user(list(content) or "Hi.")], **more}


def respond(*items: Any, **more: Any) -> dict[str, Any]:
    return {"model": "gpt-5", "input": list(items) or "Hi.", **more}


def gemini(*parts: Any, **more: Any) -> dict[str, Any]:
    return {"contents": [{"role": "user", "parts": list(parts) or [{"text": "Hi."}]}], **more}


IMAGE = {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}
CALLED = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
ANSWERED = {"role": "tool", "tool_call_id": "c1", "content": ""}

TAKEN: list[tuple[str, Any]] = [
    ("openai.chat", chat(user([{"type": "text", "text": "x"}, IMAGE]), temperature=1, max_tokens=16.0, top_p=None)),
    ("openai.chat", chat({"role": "assistant", "content": None, "tool_calls": [CALLED], "refusal": None})),
    ("openai.chat", chat({"role": "assistant", "tool_calls": [CALLED]}, ANSWERED)),
    ("openai.chat", chat({"role": "assistant", "tool_calls": [{**CALLED, "type": None}]}, ANSWERED)),
    ("openai.chat", chat({"role": "assistant", "tool_calls": [{"id": "c1", "function": CALLED["function"]}]})),
    ("openai.chat", chat({"role": "assistant", "tool_calls": [CALLED | {"function": {"name": "f", "arguments": {}}}]})),
    ("openai.chat", chat({"role": "assistant", "function_call": {"name": "f", "arguments": {"a": [1]}}})),
    ("openai.chat", chat(user([{"type": "image_url", "image_url": "https://example.com/a.png"}]))),
    ("openai.chat", chat(tools=[{"function": {"name": "f"}}], tool_choice={"function": {"name": "f"}})),
    ("openai.chat", chat({"role": "developer", "content": "x"}, user(""), tools=None, tool_choice="auto")),
    ("openai.chat", chat(reasoning_effort="newest", service_tier="newer", unheard_of={"a": 1})),
    ("openai.chat", chat(user([{"type": "video_url", "video_url": {"url": "x"}}]))),
    ("openai.chat", chat(tools=[{"type": "function", "function": {"name": "f"}}], response_format={"type": "text"})),
    ("openai.chat", {"messages": [], "stream": True, "stream_options": {"include_usage": True}}),
    ("openai.completions", {"model": "x", "prompt": [[1, 2], [3]], "logit_bias": {"50256": -100}}),
    ("openai.completions", {"model": "x", "prompt": "x", "suffix": None, "stop": ["a"], "n": 1}),
    ("openai.embeddings", {"model": "x", "input": [1, 2, 3], "dimensions": 256}),
    ("openai.embeddings", {"model": "x", "input": ["a", "b"], "encoding_format": "base64"}),
    ("openai.responses", respond(user("x"), {"role": "assistant", "content": [{"type": "output_text", "text": "y"}]})),
    ("openai.responses", respond({"type": "additional_tools", "tools": []}, {"id": "msg_1"}, {"type": "newest"})),
    ("openai.responses", respond({"type": "reasoning", "summary": [], "encrypted_content": "x", "content": None})),
    ("openai.responses", respond({"type": "web_search_call", "status": "completed"})),
    ("openai.responses", respond(tools=[{"type": "function", "name": "f", "parameters": {}}], type="response.create")),
    ("openai.responses", {"prompt": {"id": "pmpt_1"}, "conversation": "conv_1", "store": False, "include": None}),
    ("anthropic.messages", claude({"type": "text", "text": "x", "cache_control": {"type": "ephemeral", "ttl": "1h"}})),
    ("anthropic.messages", claude(system=[{"type": "text", "text": "x"}], thinking={"type": "adaptive"}, top_k=5)),
    ("anthropic.messages", claude(tools=[{"name": "f", "input_schema": {"type": "object", "properties": {"a": {}}}}])),
    ("anthropic.messages", claude(tools=[{"type": "custom", "name": "f", "input_schema": {"type": "object"}}])),
    ("anthropic.messages", claude(tools=[{"type": "web_search_29990101", "anything": 1}])),
    ("anthropic.messages", claude({"type": "tool_result", "tool_use_id": "t", "content": "x", "is_error": True})),
    ("anthropic.messages", {"anthropic_version": "vertex-2023-10-16", "max_tokens": 1, "messages": [user("x")]}),
    ("gemini.generate", gemini({"text": "x", "thoughtSignature": "c2ln"}, {"functionCall": {"name": "f", "args": {}}})),
    ("gemini.generate", {"contents": {"parts": {"text": "x"}}, "system_instruction": {"parts": {"text": "y"}}}),
    ("gemini.generate", gemini({"inline_data": {"mime_type": "image/png", "data": "AA=="}})),
    ("gemini.generate", gemini(generationConfig={"maxOutputTokens": "64", "thinkingConfig": {"thinkingBudget": -1}})),
    ("gemini.generate", gemini(tools=[{"function_declarations": [{"name": "f", "parameters": {"type": "object"}}]}])),
    ("gemini.generate", gemini(tools=[{"googleSearch": {}}], safetySettings=[{"category": 7, "threshold": "OFF"}])),
]  # fmt: skip


@pytest.mark.parametrize(("dialect", "body"), TAKEN)
def test_what_providers_take_passes(dialect: str, body: Any) -> None:
    assert said(dialect, body) == ("", None)


REFUSED: list[tuple[str, Any, str, str]] = [
    ("openai.chat", chat(user([{"type": "text", "text": "x"}, IMAGE | {"image_url": 1}])),
     "messages[0].content[1].image_url", 'should be a string or an object with "url", not a number.'),
    ("openai.chat", chat(user([{"text": "x"}])),
     "messages[0].content[0].type", 'is missing; should be one of "text", "image_url", "input_audio", "file".'),
    ("openai.chat", chat(user(None)), "messages[0].content", "should be a string or a list, not null."),
    ("openai.chat", chat(user([{"type": "text", "text": ["x"]}])),
     "messages[0].content[0].text", "should be a string, not a list."),
    ("openai.chat", chat({"role": "judge", "content": "x"}), "messages[0].role",
     'should be one of "developer", "system", "user", "assistant", "tool", "function", not "judge".'),
    ("openai.chat", chat({"content": "x"}), "messages[0].role",
     'is missing; should be one of "developer", "system", "user", "assistant", "tool", "function".'),
    ("openai.chat", chat("Hi."), "messages[0]", 'should be an object with "role", not a string.'),
    ("openai.chat", chat({"role": "tool", "content": "x"}),
     "messages[0].tool_call_id", "is missing; should be a string."),
    ("openai.chat", chat({"role": "assistant", "tool_calls": [CALLED | {"function": {"name": "f", "arguments": []}}]}),
     "messages[0].tool_calls[0].function.arguments", "should be a string or an object, not a list."),
    ("openai.chat", {"model": "x"}, "messages", "is missing; should be a list."),
    ("openai.chat", chat() | {"messages": None}, "messages", "should be a list, not null."),
    ("openai.chat", chat(temperature="hot"), "temperature", "should be a number, not a string."),
    ("openai.chat", chat(max_tokens=1.5), "max_tokens", "should be a whole number, not 1.5."),
    ("openai.chat", chat(n=True), "n", "should be a whole number, not a boolean."),
    ("openai.chat", chat(stop=["a", 3]), "stop[1]", "should be a string, not a number."),
    ("openai.chat", chat(logit_bias={"7": "x"}), "logit_bias.7", "should be a whole number, not a string."),
    ("openai.chat", chat(tools=[{"type": "function", "function": {}}]),
     "tools[0].function.name", "is missing; should be a string."),
    ("openai.chat", chat(tools=[{"function": {}}]), "tools[0].function.name", "is missing; should be a string."),
    ("openai.chat", chat(tools=[{}]), "tools[0].function", 'is missing; should be an object with "name".'),
    ("openai.chat", chat(tool_choice={"type": "function", "name": "f"}),
     "tool_choice.function", 'is missing; should be an object with "name".'),
    ("openai.chat", chat(reasoning_effort=3), "reasoning_effort",
     'should be one of "none", "minimal", "low", "medium", "high", "xhigh", "max", not a number.'),
    ("openai.embeddings", {"input": [[1], [2, "a"]]}, "input[1][1]", "should be a whole number, not a string."),
    ("openai.embeddings", {"input": ["a", 1]}, "input[1]", "should be a string, not a number."),
    ("openai.responses", respond() | {"input": 3}, "input", "should be a string or a list, not a number."),
    ("openai.responses", respond(user([{"type": "input_text", "text": 1}])),
     "input[0].content[0].text", "should be a string, not a number."),
    ("openai.responses", respond({"type": "function_call_output", "call_id": "c"}),
     "input[0].output", "is missing; should be a string or a list."),
    ("openai.responses", respond({"type": 3}), "input[0].type", "not a number."),
    ("openai.responses", respond(previous_response_id=7), "previous_response_id", "should be a string, not a number."),
    ("anthropic.messages", {"messages": [user("x")]}, "max_tokens", "is missing; should be a whole number."),
    ("anthropic.messages", claude({"type": "image", "source": {"type": "base64", "media_type": "image/png"}}),
     "messages[0].content[0].source.data", "is missing; should be a string."),
    ("anthropic.messages", claude({"type": "tool_use", "id": "x", "name": "f", "input": "{}"}),
     "messages[0].content[0].input", "should be an object, not a string."),
    ("anthropic.messages", claude(tools=[{"name": "f"}]), "tools[0].input_schema", "is missing; should be an object."),
    ("anthropic.messages", claude(system=1), "system", "should be a string or a list, not a number."),
    ("gemini.generate", gemini({"text": 1}), "contents[0].parts[0].text", "should be a string, not a number."),
    ("gemini.generate", gemini({"inline_data": "x"}),
     "contents[0].parts[0].inline_data", "should be an object, not a string."),
    ("gemini.generate", {"contents": "x"}, "contents", "should be a list, not a string."),
    ("gemini.generate", {}, "contents", "is missing; should be a list."),
    ("gemini.generate", gemini(generation_config={"maxOutputTokens": "many"}),
     "generation_config.maxOutputTokens", "should be a whole number, not a string."),
]  # fmt: skip


@pytest.mark.parametrize(("dialect", "body", "field", "text"), REFUSED)
def test_what_is_wrong_is_named(dialect: str, body: Any, field: str, text: str) -> None:
    message, param = said(dialect, body)
    assert param == field
    assert message.startswith(f"{field}: ") and message.endswith(text)


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_body_that_is_no_object(dialect: str) -> None:
    for body in ([], "x", 3, None):
        message, param = said(dialect, body)
        assert message.startswith("The body should be an object") and param is None


@pytest.mark.parametrize(
    "raw", [b"", b"{", b'{"messages": "\xff"}', b'{"messages": 1e400}', b"[" * 100_000]
)  # fmt: skip
def test_a_body_that_is_no_json(raw: bytes) -> None:
    message, _ = said("openai.chat", raw)
    assert message.startswith(("The body is not valid JSON", "The body is nested too deeply"))


def test_a_schema_inside_a_call_that_is_nested_too_deeply() -> None:
    deep = b'{"items":' * 600 + b"{}" + b"}" * 600
    raw = b'{"contents":[],"generationConfig":{"responseSchema":' + deep + b"}}"
    assert said("gemini.generate", raw)[0] == "The body is nested too deeply."


def test_huge_numbers() -> None:
    assert said("openai.chat", chat(seed=10**18)) == ("", None)
    for raw in (b"1" * 400, b"-" + b"9" * 5000):
        said("openai.chat", b'{"messages":[],"max_tokens":' + raw + b"}")  # says what it will, and raises nothing else


# ── strict ───────────────────────────────────────────────────────────────────────────────────────

STRICT = {"refuse_fields": True, "refuse_values": True}


def test_a_field_that_is_unknown() -> None:
    body = chat(temprature=1)
    assert said("openai.chat", body) == ("", None)
    message = 'temprature: is not a field that this API knows; did you mean "temperature"?'
    assert said("openai.chat", body, refuse_fields=True) == (message, "temprature")
    inner = chat(user("x") | {"nmae": 1})
    assert said("openai.chat", inner, refuse_fields=True)[1] == "messages[0].nmae"


def test_values_and_types_that_are_unknown() -> None:
    assert said("openai.chat", chat(verbosity="loud"), refuse_values=True)[0] == (
        'verbosity: should be one of "low", "medium", "high", not "loud".'
    )
    part = chat(user([{"type": "image", "source": {}}]))
    assert said("openai.chat", part) == ("", None)
    assert said("openai.chat", part, refuse_values=True)[0] == (
        'messages[0].content[0].type: should be one of "text", "image_url", "input_audio", "file", not "image".'
    )


def test_strict_takes_both_spellings_of_gemini() -> None:
    for name in ("thinking_config", "thinkingConfig"):
        body = gemini(generation_config={name: {"includeThoughts": True}})
        assert said("gemini.generate", body, **STRICT) == ("", None)


def test_long_and_odd_names_are_shown_short() -> None:
    message, _ = said("openai.chat", chat(**{"a\n" * 500: 1}), refuse_fields=True)
    assert len(message) < 150 and "\n" not in message
    message, _ = said("openai.chat", chat({"role": "x" * 9999, "content": ""}))
    assert len(message) < 250


# ── recorded bodies ──────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", recorded.CALLS)
def test_recorded_calls_pass(name: str) -> None:
    dialect, body = recorded.load(name)
    assert said(dialect.name, body, FORMS.get(name.partition("/")[2], "")) == ("", None)


def places(value: Any, *path: Any) -> list[tuple[Any, ...]]:
    """The paths of all values inside."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [found for step, one in inner for found in [(*path, step), *places(one, *path, step)]]


def changed(body: Any, path: tuple[Any, ...], value: Any) -> Any:
    copy = json.loads(json.dumps(body))
    at = copy
    for step in path[:-1]:
        at = at[step]
    at[path[-1]] = value
    return copy


ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=3,
)


@pytest.mark.parametrize("name", recorded.CALLS)
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_any_value_anywhere_is_taken_or_named(name: str, data: st.DataObject) -> None:
    dialect, raw = recorded.load(name)
    body = json.loads(raw)
    path = data.draw(st.sampled_from(places(body)))
    form = FORMS.get(name.partition("/")[2], "")
    _, param = said(dialect.name, changed(body, path, data.draw(ANY)), form, **data.draw(st.sampled_from([{}, STRICT])))
    assert param is None or isinstance(param, str)


# ── forms ────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("dialect", "kind", "path", "form"),
    [
        ("openai.responses", "respond", "/v1/responses", "respond"),
        ("openai.responses", "respond", "/v1/responses/compact", "compact"),
        ("openai.responses", "count", "/v1/responses/input_tokens", "count"),
        ("gemini.generate", "chat", "/v1internal:streamGenerateContent?alt=sse", "envelope"),
        ("gemini.generate", "count", "/v1internal:countTokens", ""),
        ("gemini.generate", "embed", "/v1beta/models/m:embedContent", "embed"),
        ("gemini.generate", "embed", "/v1beta/models/m:batchEmbedContents", "embed_batch"),
        ("anthropic.messages", "chat", "/v1/messages?beta=true", "chat"),
    ],
)
def test_forms(dialect: str, kind: str, path: str, form: str) -> None:
    assert form_of(dialect, kind, path) == form


def test_other_forms() -> None:
    parts = [{"text": "x"}]
    assert said("gemini.generate", {"content": {"parts": parts}, "taskType": "RETRIEVAL_QUERY"}, "embed")[0] == ""
    assert said("gemini.generate", {"requests": [{"content": 3}]}, "embed_batch")[1] == "requests[0].content"
    assert said("gemini.generate", {"generateContentRequest": gemini()}, "count")[0] == ""
    assert said("gemini.generate", {"request": {"contents": 3}}, "envelope")[1] == "request.contents"
    assert said("anthropic.messages", {"model": "x", "messages": [user("x")]}, "count")[0] == ""
    assert said("openai.responses", {"model": "x", "input": 3}, "compact")[1] == "input"
    assert said("openai.responses", {"input": [3]}, "nobody knows")[0] == ""
