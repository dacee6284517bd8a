"""Defaults and caps, in every dialect, with no other byte changed."""

# ruff: noqa: E501 - tables read best with one case a line

from __future__ import annotations

import json
from typing import Any

import pytest
from anthropic.types.message_create_params import MessageCreateParamsNonStreaming
from google.genai import types as genai
from hypothesis import given
from hypothesis import strategies as st
from openai.types.chat.completion_create_params import CompletionCreateParamsNonStreaming
from openai.types.responses.response_create_params import ResponseCreateParamsNonStreaming
from pydantic import TypeAdapter, ValidationError

from shin_gateway.dialects.json_spans import members
from shin_gateway.errors import Invalid
from shin_gateway.parameters import applies, capped, exceeded, filled, with_defaults
from shin_gateway.parameters.rows import PLACES
from shin_gateway.parameters.settings import Caps, Parameters

CHAT, COMPLETIONS, RESPONSES = "openai.chat", "openai.completions", "openai.responses"
MESSAGES, GEMINI = "anthropic.messages", "gemini.generate"

ALL: dict[str, Any] = {
    "temperature": 0.2, "top_p": 0.9, "top_k": 40, "max_tokens": 5000, "reasoning_effort": "low", "verbosity": "low",
    "stop": ["END"], "seed": 7, "n": 2, "frequency_penalty": 0.5, "presence_penalty": -0.5, "service_tier": "flex",
}  # fmt: skip


def put(dialect: str, body: str, parameters: dict[str, Any], model: str = "") -> str:
    return with_defaults(dialect, "chat", body.encode(), parameters, model).decode()


# ── defaults ─────────────────────────────────────────────────────────────────────────────────────

DEFAULTS = [
    (CHAT, {}, {"temperature": 0.2}, {"temperature": 0.2}),
    (CHAT, {"temperature": 1}, {"temperature": 0.2}, {"temperature": 1}),
    (CHAT, {"temperature": 0}, {"temperature": 0.2}, {"temperature": 0}),
    (CHAT, {"temperature": None}, {"temperature": 0.2}, {"temperature": 0.2}),
    (CHAT, {"max_completion_tokens": 5}, {"max_tokens": 9}, {"max_completion_tokens": 5}),
    (CHAT, {"max_tokens": 5}, {"max_tokens": 9}, {"max_tokens": 5}),
    (CHAT, {"reasoning": {"effort": "high"}}, {"reasoning_effort": "low"}, {"reasoning": {"effort": "high"}}),
    (CHAT, {"reasoning": {"max_tokens": 9}}, {"reasoning_effort": "low"}, {"reasoning": {"max_tokens": 9}}),
    (CHAT, {"stop": "X"}, {"stop": ("END",)}, {"stop": "X"}),
    (CHAT, {}, {"stop": ("END",)}, {"stop": ["END"]}),
    (COMPLETIONS, {}, {"max_tokens": 9, "n": 2, "verbosity": "low"}, {"max_tokens": 9, "n": 2}),
    (COMPLETIONS, {"best_of": 3}, {"n": 2}, {"best_of": 3}),
    (RESPONSES, {}, {"max_tokens": 9, "reasoning_effort": "low", "verbosity": "high"}, {"max_output_tokens": 9, "reasoning": {"effort": "low"}, "text": {"verbosity": "high"}}),
    (RESPONSES, {"reasoning": {"summary": "auto"}}, {"reasoning_effort": "low"}, {"reasoning": {"summary": "auto", "effort": "low"}}),
    (RESPONSES, {"reasoning": None}, {"reasoning_effort": "low"}, {"reasoning": {"effort": "low"}}),
    (RESPONSES, {"reasoning": {}}, {"reasoning_effort": "low"}, {"reasoning": {"effort": "low"}}),
    (RESPONSES, {"reasoning": {"effort": None}}, {"reasoning_effort": "low"}, {"reasoning": {"effort": "low"}}),
    (RESPONSES, {"reasoning": "x"}, {"reasoning_effort": "low"}, {"reasoning": "x"}),
    (RESPONSES, {}, {"seed": 1, "n": 2, "stop": ("X",), "top_k": 3}, {}),
    (MESSAGES, {}, {"max_tokens": 9, "stop": ("X",), "top_k": 3}, {"max_tokens": 9, "stop_sequences": ["X"], "top_k": 3}),
    (MESSAGES, {}, {"temperature": 1.5}, {"temperature": 1}),
    (MESSAGES, {}, {"seed": 1, "n": 2, "frequency_penalty": 1, "verbosity": "low"}, {}),
    (MESSAGES, {}, {"service_tier": "default"}, {"service_tier": "standard_only"}),
    (MESSAGES, {}, {"service_tier": "flex"}, {}),
    (MESSAGES, {"max_tokens": 4096}, {"reasoning_effort": "low"}, {"max_tokens": 4096, "thinking": {"type": "enabled", "budget_tokens": 1024}}),
    (MESSAGES, {"max_tokens": 4096}, {"reasoning_effort": "high"}, {"max_tokens": 4096, "thinking": {"type": "enabled", "budget_tokens": 4095}}),
    (MESSAGES, {"max_tokens": 1024}, {"reasoning_effort": "high"}, {"max_tokens": 1024}),
    (MESSAGES, {"max_tokens": 9}, {"reasoning_effort": "none"}, {"max_tokens": 9, "thinking": {"type": "disabled"}}),
    (MESSAGES, {"max_tokens": 4096, "temperature": 0}, {"reasoning_effort": "low"}, {"max_tokens": 4096, "temperature": 0}),
    (MESSAGES, {"max_tokens": 4096, "tool_choice": {"type": "any"}}, {"reasoning_effort": "low"}, {"max_tokens": 4096, "tool_choice": {"type": "any"}}),
    (MESSAGES, {"max_tokens": 4096, "thinking": {"type": "adaptive"}}, {"temperature": 0, "top_k": 1}, {"max_tokens": 4096, "thinking": {"type": "adaptive"}}),
    (MESSAGES, {}, {"max_tokens": 4096, "reasoning_effort": "low", "temperature": 0.2}, {"max_tokens": 4096, "thinking": {"type": "enabled", "budget_tokens": 1024}}),
    (MESSAGES, {"max_tokens": "x"}, {"reasoning_effort": "low"}, {"max_tokens": "x"}),
    (GEMINI, {}, {"temperature": 0.2, "max_tokens": 9}, {"generationConfig": {"maxOutputTokens": 9, "temperature": 0.2}}),
    (GEMINI, {"generationConfig": {"topK": 1}}, {"temperature": 0.2}, {"generationConfig": {"topK": 1, "temperature": 0.2}}),
    (GEMINI, {"generation_config": {"max_output_tokens": 5}}, {"max_tokens": 9, "n": 2}, {"generation_config": {"max_output_tokens": 5, "candidateCount": 2}}),
    (GEMINI, {"generationConfig": {"max_output_tokens": 5}}, {"max_tokens": 9}, {"generationConfig": {"max_output_tokens": 5}}),
    (GEMINI, {"generation_config": {"top_p": None}}, {"top_p": 0.5}, {"generation_config": {"top_p": 0.5}}),
    (GEMINI, {"generation_config": None}, {"top_p": 0.5}, {"generation_config": {"topP": 0.5}}),
    (GEMINI, {"contents": [], "request": {}}, {"seed": 1}, {"contents": [], "request": {}, "generationConfig": {"seed": 1}}),
    (GEMINI, {"model": "g", "request": {"contents": []}}, {"seed": 1}, {"model": "g", "request": {"contents": [], "generationConfig": {"seed": 1}}}),
    (GEMINI, {}, {"reasoning_effort": "high"}, {"generationConfig": {"thinkingConfig": {"thinkingBudget": 24576}}}),
    (GEMINI, {}, {"reasoning_effort": "none"}, {"generationConfig": {"thinkingConfig": {"thinkingBudget": 0}}}),
    (GEMINI, {"generationConfig": {"thinkingConfig": {"includeThoughts": True}}}, {"reasoning_effort": "low"}, {"generationConfig": {"thinkingConfig": {"includeThoughts": True, "thinkingBudget": 1024}}}),
    (GEMINI, {"generationConfig": {"thinking_config": {"thinking_level": "HIGH"}}}, {"reasoning_effort": "low"}, {"generationConfig": {"thinking_config": {"thinking_level": "HIGH"}}}),
    (GEMINI, {}, {"service_tier": "default"}, {"serviceTier": "standard"}),
    ("openai.embeddings", {"input": "x"}, {"temperature": 0.2}, {"input": "x"}),
    ("plain", {}, {"temperature": 0.2}, {}),
]  # fmt: skip


@pytest.mark.parametrize(("dialect", "body", "parameters", "expected"), DEFAULTS)
def test_defaults(dialect: str, body: Any, parameters: Any, expected: Any) -> None:
    raw = json.dumps(body).encode()
    out, names = filled(dialect, "chat", raw, parameters)
    assert json.loads(out) == expected
    assert (out is raw) == (body == expected) == (not names)


@pytest.mark.parametrize(
    ("dialect", "model", "parameter", "expected"),
    [
        (CHAT, "gpt-4o", "max_tokens", {"max_tokens": 5000}),
        (CHAT, "mistral-large-latest", "max_tokens", {"max_tokens": 5000}),
        (CHAT, "o3-mini", "max_tokens", {"max_completion_tokens": 5000}),
        (CHAT, "openai/gpt-5-mini", "max_tokens", {"max_completion_tokens": 5000}),
        (CHAT, "openrouter/openai/gpt-5.1", "max_tokens", {"max_completion_tokens": 5000}),
        (MESSAGES, "claude-opus-4-20250514", "reasoning_effort", {"thinking": {"type": "enabled", "budget_tokens": 1024}}),
        (MESSAGES, "claude-sonnet-4-5-20250929", "reasoning_effort", {"thinking": {"type": "enabled", "budget_tokens": 1024}}),
        (MESSAGES, "anthropic/claude-opus-4-6", "reasoning_effort", {"output_config": {"effort": "low"}, "thinking": {"type": "adaptive"}}),
        (MESSAGES, "claude-opus-4-7@default", "reasoning_effort", {"output_config": {"effort": "low"}, "thinking": {"type": "adaptive"}}),
        (MESSAGES, "claude-sonnet-5", "reasoning_effort", {"output_config": {"effort": "low"}, "thinking": {"type": "adaptive"}}),
        (MESSAGES, "claude-opus-4-6", "temperature", {"temperature": 0.2}),
        (MESSAGES, "claude-haiku-4-5-20251001", "top_k", {"top_k": 40}),
        (MESSAGES, "gemini-2.5-flash", "top_p", {"top_p": 0.9}),
        (MESSAGES, "claude-opus-4-7", "temperature", {}),
        (MESSAGES, "us.anthropic.claude-opus-4-8-v1:0", "top_k", {}),
        (MESSAGES, "claude-sonnet-5-5", "top_p", {}),
        (MESSAGES, "claude-mythos-preview", "temperature", {}),
        (GEMINI, "gemini-2.5-pro", "reasoning_effort", {"generationConfig": {"thinkingConfig": {"thinkingBudget": 1024}}}),
        (GEMINI, "gemini-3-pro-preview", "reasoning_effort", {"generationConfig": {"thinkingConfig": {"thinkingLevel": "low"}}}),
    ],
)  # fmt: skip
def test_what_depends_on_the_model(dialect: str, model: str, parameter: str, expected: Any) -> None:
    body = '{"max_tokens":9000}' if dialect == MESSAGES else "{}"
    out = json.loads(put(dialect, body, {parameter: ALL[parameter]}, model))
    assert {name: value for name, value in out.items() if name != "max_tokens" or dialect == CHAT} == expected


def test_effort_none_of_models_that_think_by_effort() -> None:
    body = '{"max_tokens":9,"model":"%s"}'
    out = put(MESSAGES, body % "claude-opus-4-6", {"reasoning_effort": "none"}, "claude-opus-4-6")
    assert json.loads(out)["thinking"] == {"type": "disabled"}
    out = put(MESSAGES, body % "claude-opus-5-5", {"reasoning_effort": "none"}, "claude-opus-5-5")
    assert json.loads(out)["output_config"] == {"effort": "low"}
    thinking = b'{"model":"claude-opus-5-5","max_tokens":9,"thinking":{"type":"adaptive"}}'
    out = capped(MESSAGES, thinking, {"reasoning_effort": "none"})[0].decode()
    assert json.loads(out)["output_config"] == {"effort": "low"}


def test_a_forced_tool_does_not_go_with_thinking() -> None:
    body = '{"max_tokens":9,"tool_choice":{"type":"tool","name":"x"}}'
    out = put(MESSAGES, body, {"reasoning_effort": "high"}, "claude-opus-4-6")
    assert json.loads(out).keys() == {"max_tokens", "tool_choice", "output_config"}


@pytest.mark.parametrize(("version", "model", "kept"), [
    ("2023-06-01", "claude-opus-4-6", True), ("2026-10-21", "claude-opus-4-6", False), ("2026-10-21", "gemini-2.5-pro", True),
])  # fmt: skip
def test_a_version_that_refuses_sampling(version: str, model: str, kept: bool) -> None:
    out = with_defaults(MESSAGES, "chat", b"{}", {"temperature": 0.2}, model, version)
    assert out == (b'{"temperature":0.2}' if kept else b"{}")


def test_only_one_of_temperature_and_top_p() -> None:
    assert put(MESSAGES, "{}", {"temperature": 0.2, "top_p": 0.9}) == '{"temperature":0.2}'
    assert put(MESSAGES, '{"top_p":1}', {"temperature": 0.2}) == '{"top_p":1}'


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("{}", '{"seed":7,"x":1}'),
        (" {\n} ", ' {"seed":7\n} '),
        ('{"a": "}" }\n', '{"a": "}","seed":7 }\n'),
        ('{\n  "a": 1,\n  "b": [1e3, 1.0]\n}', '{\n  "a": 1,\n  "b": [1e3, 1.0],"seed":7\n}'),
        ('{"seed": null, "a": "\\u00e9\\/"}', '{"seed": 7, "a": "\\u00e9\\/"}'),
        ('{"a":1,"a":2}', '{"a":1,"a":2,"seed":7}'),
        ('{"s\\u0065ed": 1}', '{"s\\u0065ed": 1}'),
    ],
)
def test_where_they_are_put(body: str, expected: str) -> None:
    expected = expected.replace(',"x":1', "")
    assert put(CHAT, body, {"seed": 7}) == expected


@pytest.mark.parametrize("kind", ["embed", "count", "models", "other"])
def test_calls_without_parameters(kind: str) -> None:
    body = b"not even json"
    assert with_defaults(CHAT, kind, body, ALL) is body
    assert not applies(kind, "/v1/x")


def test_a_compaction_has_no_parameters() -> None:
    assert applies("respond", "/v1/responses?x=/compact")
    assert not applies("respond", "/v1/responses/compact?x=1")


MALFORMED = [
    b"",
    b"[]",
    b"{",
    b"3",
    b'{"a":}',
    b"\xff{}",
    b'{"a":NaN}',
    b'{"a":' + b"[" * 100_000,
    b'{"a":' + b"9" * 5000 + b"}",
]


@pytest.mark.parametrize("body", MALFORMED, ids=[str(body[:9]) for body in MALFORMED])
@pytest.mark.parametrize("dialect", list(PLACES))
def test_a_body_that_is_no_object(dialect: str, body: bytes) -> None:
    with pytest.raises(Invalid):
        with_defaults(dialect, "chat", body, ALL)
    with pytest.raises(Invalid):
        capped(dialect, body, {"n": 1})


# ── what the official clients say to it ──────────────────────────────────────────────────────────


def test_the_official_types_accept_what_is_put_in() -> None:
    chat = put(CHAT, '{"model":"gpt-5","messages":[]}', {name: ALL[name] for name in ALL if name != "top_k"}, "gpt-5")
    _strictly(CompletionCreateParamsNonStreaming, chat)
    _strictly(ResponseCreateParamsNonStreaming, put(RESPONSES, '{"model":"gpt-5","input":"x"}', ALL))
    for model in ("claude-sonnet-4-5", "claude-opus-4-7"):
        body = '{"model":"m","messages":[{"role":"user","content":"x"}]}'
        out = put(MESSAGES, body, ALL | {"service_tier": "auto"}, model)
        _strictly(MessageCreateParamsNonStreaming, out)
    for model in ("gemini-2.5-pro", "gemini-3-pro"):
        out = json.loads(put(GEMINI, '{"contents":[]}', ALL, model))
        config = genai.GenerationConfig.model_validate(out["generationConfig"])
        assert (config.max_output_tokens, config.candidate_count, config.stop_sequences) == (5000, 2, ["END"])
        assert genai.ServiceTier(out["serviceTier"]) is genai.ServiceTier.FLEX


def _strictly(kind: Any, body: str) -> None:
    found = json.loads(body)
    assert set(found) <= kind.__required_keys__ | kind.__optional_keys__
    TypeAdapter(kind).validate_python(found)


# ── caps ─────────────────────────────────────────────────────────────────────────────────────────

ENABLED = {"type": "enabled", "budget_tokens": 20000}

CAPS = [
    (CHAT, {"max_tokens": 9000}, {"max_tokens": 4096}, {"max_tokens": 4096}, ["max_tokens"]),
    (CHAT, {"max_tokens": 4096}, {"max_tokens": 4096}, {"max_tokens": 4096}, []),
    (CHAT, {"max_completion_tokens": 9000}, {"max_tokens": 4096}, {"max_completion_tokens": 4096}, ["max_completion_tokens"]),
    (CHAT, {"max_tokens": 9000, "max_completion_tokens": 9000}, {"max_tokens": 1}, {"max_tokens": 1, "max_completion_tokens": 1}, ["max_completion_tokens", "max_tokens"]),
    (CHAT, {"max_tokens": "9000"}, {"max_tokens": 4096}, {"max_tokens": 4096}, ["max_tokens"]),
    (CHAT, {"max_tokens": -1}, {"max_tokens": 4096}, {"max_tokens": 4096}, ["max_tokens"]),
    (CHAT, {"max_tokens": 10**400}, {"max_tokens": 4096}, {"max_tokens": 4096}, ["max_tokens"]),
    (CHAT, {"max_tokens": []}, {"max_tokens": 4096}, {"max_tokens": []}, []),
    (CHAT, {"max_tokens": True}, {"max_tokens": 4096}, {"max_tokens": True}, []),
    (CHAT, {}, {"max_tokens": 4096}, {"max_tokens": 4096}, ["max_tokens"]),
    (CHAT, {"max_tokens": None}, {"max_tokens": 4096}, {"max_tokens": 4096}, ["max_tokens"]),
    (CHAT, {}, {"n": 1, "temperature": 1, "reasoning_effort": "low"}, {}, []),
    (CHAT, {"n": 5, "temperature": 1.5}, {"n": 1, "temperature": 1.0}, {"n": 1, "temperature": 1.0}, ["n", "temperature"]),
    (CHAT, {"n": -1}, {"n": 1}, {"n": 1}, ["n"]),
    (CHAT, {"presence_penalty": -2}, {"presence_penalty": 0}, {"presence_penalty": -2}, []),
    (CHAT, {"reasoning_effort": "high"}, {"reasoning_effort": "low"}, {"reasoning_effort": "low"}, ["reasoning_effort"]),
    (CHAT, {"reasoning_effort": "ultra"}, {"reasoning_effort": "low"}, {"reasoning_effort": "low"}, ["reasoning_effort"]),
    (CHAT, {"reasoning_effort": "minimal"}, {"reasoning_effort": "low"}, {"reasoning_effort": "minimal"}, []),
    (CHAT, {"reasoning": {"effort": "high", "max_tokens": 90000}}, {"reasoning_effort": "low"}, {"reasoning": {"effort": "low", "max_tokens": 1024}}, ["reasoning.effort", "reasoning.max_tokens"]),
    (COMPLETIONS, {}, {"max_tokens": 9}, {}, []),
    (COMPLETIONS, {"max_tokens": 99, "n": 2, "best_of": 9}, {"max_tokens": 9, "n": 2}, {"max_tokens": 9, "n": 2, "best_of": 2}, ["max_tokens", "best_of"]),
    (RESPONSES, {}, {"max_tokens": 9}, {"max_output_tokens": 9}, ["max_output_tokens"]),
    (RESPONSES, {"reasoning": {"effort": "xhigh"}}, {"reasoning_effort": "medium"}, {"reasoning": {"effort": "medium"}}, ["reasoning.effort"]),
    (MESSAGES, {"max_tokens": 0}, {"max_tokens": 9}, {"max_tokens": 0}, []),
    (MESSAGES, {"max_tokens": 64000, "thinking": ENABLED}, {"max_tokens": 4096}, {"max_tokens": 4096, "thinking": {"type": "enabled", "budget_tokens": 4095}}, ["max_tokens", "thinking.budget_tokens"]),
    (MESSAGES, {"max_tokens": 64000, "thinking": ENABLED}, {"max_tokens": 1000}, {"max_tokens": 1000, "thinking": {"type": "disabled"}}, ["max_tokens", "thinking"]),
    (MESSAGES, {"max_tokens": 64000, "thinking": ENABLED}, {"reasoning_effort": "low"}, {"max_tokens": 64000, "thinking": {"type": "enabled", "budget_tokens": 1024}}, ["thinking.budget_tokens"]),
    (MESSAGES, {"max_tokens": 64000, "thinking": ENABLED}, {"reasoning_effort": "none"}, {"max_tokens": 64000, "thinking": {"type": "disabled"}}, ["thinking"]),
    (MESSAGES, {"max_tokens": 64000, "thinking": ENABLED}, {"reasoning_effort": "max"}, {"max_tokens": 64000, "thinking": ENABLED}, []),
    (MESSAGES, {"max_tokens": 9, "thinking": ENABLED}, {"reasoning_effort": "max"}, {"max_tokens": 9, "thinking": ENABLED}, []),
    (MESSAGES, {"max_tokens": 9, "thinking": {"type": "adaptive"}}, {"reasoning_effort": "low"}, {"max_tokens": 9, "thinking": {"type": "adaptive"}, "output_config": {"effort": "low"}}, ["output_config.effort"]),
    (MESSAGES, {"max_tokens": 9, "thinking": {"type": "adaptive"}}, {"reasoning_effort": "high"}, {"max_tokens": 9, "thinking": {"type": "adaptive"}}, []),
    (MESSAGES, {"max_tokens": 9, "thinking": {"type": "adaptive"}}, {"reasoning_effort": "none"}, {"max_tokens": 9, "thinking": {"type": "disabled"}}, ["thinking"]),
    (MESSAGES, {"max_tokens": 9, "output_config": {"effort": "max"}}, {"reasoning_effort": "minimal"}, {"max_tokens": 9, "output_config": {"effort": "low"}}, ["output_config.effort"]),
    (MESSAGES, {"max_tokens": 9, "thinking": 3}, {"max_tokens": 5, "reasoning_effort": "low"}, {"max_tokens": 5, "thinking": 3}, ["max_tokens"]),
    (MESSAGES, {"max_tokens": 9, "thinking": {"type": "enabled", "budget_tokens": "x"}}, {"reasoning_effort": "low"}, {"max_tokens": 9, "thinking": {"type": "enabled", "budget_tokens": "x"}}, []),
    (GEMINI, {}, {"max_tokens": 9}, {"generationConfig": {"maxOutputTokens": 9}}, ["generationConfig.maxOutputTokens"]),
    (GEMINI, {"generationConfig": {"maxOutputTokens": 99}, "generation_config": {"max_output_tokens": 99, "candidate_count": 4}}, {"max_tokens": 9, "n": 1}, {"generationConfig": {"maxOutputTokens": 9}, "generation_config": {"max_output_tokens": 9, "candidate_count": 1}}, ["generationConfig.maxOutputTokens", "generation_config.max_output_tokens", "generation_config.candidate_count"]),
    (GEMINI, {"request": {"generationConfig": {"maxOutputTokens": 99}}}, {"max_tokens": 9}, {"request": {"generationConfig": {"maxOutputTokens": 9}}}, ["request.generationConfig.maxOutputTokens"]),
    (GEMINI, {"request": {}, "generationConfig": {}}, {"max_tokens": 9}, {"request": {"generationConfig": {"maxOutputTokens": 9}}, "generationConfig": {}}, ["request.generationConfig.maxOutputTokens"]),
    (GEMINI, {"generationConfig": {"thinkingConfig": {"thinkingBudget": -1}}}, {"reasoning_effort": "low"}, {"generationConfig": {"thinkingConfig": {"thinkingBudget": 1024}}}, ["generationConfig.thinkingConfig.thinkingBudget"]),
    (GEMINI, {"generationConfig": {"thinkingConfig": {"thinkingBudget": "30000"}}}, {"reasoning_effort": "none"}, {"generationConfig": {"thinkingConfig": {"thinkingBudget": 0}}}, ["generationConfig.thinkingConfig.thinkingBudget"]),
    (GEMINI, {"generationConfig": {"thinkingConfig": {"thinkingLevel": "HIGH"}}}, {"reasoning_effort": "low"}, {"generationConfig": {"thinkingConfig": {"thinkingLevel": "LOW"}}}, ["generationConfig.thinkingConfig.thinkingLevel"]),
    (GEMINI, {"generationConfig": {"thinkingConfig": {"thinkingLevel": "high"}}}, {"reasoning_effort": "none"}, {"generationConfig": {"thinkingConfig": {"thinkingLevel": "minimal"}}}, ["generationConfig.thinkingConfig.thinkingLevel"]),
    ("plain", {"n": 9}, {"n": 1}, {"n": 9}, []),
]  # fmt: skip


@pytest.mark.parametrize(("dialect", "body", "caps", "expected", "names"), CAPS)
def test_caps(dialect: str, body: Any, caps: Any, expected: Any, names: list[str]) -> None:
    raw = json.dumps(body).encode()
    out, changed = capped(dialect, raw, caps)
    assert json.loads(out) == expected
    assert changed == names
    assert (out is raw) == (not names)


@pytest.mark.parametrize("number", ["1e400", "9e9999", "4097", "4096.5", "-0.1", "1" * 4000])
def test_no_number_is_beyond_a_cap(number: str) -> None:
    out, _ = capped(CHAT, f'{{"max_tokens": {number} }}'.encode(), {"max_tokens": 4096})
    assert out == b'{"max_tokens": 4096 }'


def test_what_is_over_and_what_was_only_missing() -> None:
    caps = {"max_tokens": 9, "n": 1, "reasoning_effort": "low"}
    body = b'{"n": 3, "reasoning_effort": "max"}'
    assert exceeded(CHAT, body, caps) == [("reasoning_effort", "low"), ("n", 1)]
    assert exceeded(CHAT, b"{}", caps) == []
    assert exceeded(CHAT, b"{", {}) == []
    enabled = json.dumps({"max_tokens": 64000, "thinking": ENABLED}).encode()
    assert exceeded(MESSAGES, enabled, {"max_tokens": 4096}) == [("max_tokens", 4096), ("thinking.budget_tokens", 4095)]


# ── properties ───────────────────────────────────────────────────────────────────────────────────

KEYS = sorted(
    {step for rows in PLACES.values() for places in rows.values() for place in places for step in place.path.split(".")}
)
KEYS += [
    "messages",
    "contents",
    "request",
    "generation_config",
    "max_output_tokens",
    "thinking_config",
    "type",
    'é"\\',
    "",
]
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
leaves = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts
    | st.sampled_from(["high", "max", "-1", "1e999", "enabled", "adaptive", "any"])
)  # fmt: skip
values = st.recursive(
    leaves,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS) | texts, inner, max_size=4),
    max_leaves=12,
)
bodies = st.dictionaries(st.sampled_from(KEYS) | texts, values, max_size=8)
layouts = st.sampled_from([{}, {"indent": 2}, {"separators": (",", ":")}, {"indent": "\t", "ensure_ascii": False}])
dialects = st.sampled_from(list(PLACES))
somewhat = st.sets(st.sampled_from(list(ALL))).map(lambda names: {name: ALL[name] for name in names})
LIMITS = {"max_tokens": 2000, "n": 1, "temperature": 0.5, "top_p": 0.5, "top_k": 2, "reasoning_effort": "low"}
models = st.sampled_from(["", "gpt-5", "claude-opus-4-7", "gemini-3-pro"])


@given(dialects, bodies, layouts, somewhat, models)
def test_defaults_leave_everything_else(dialect: str, body: Any, layout: Any, parameters: Any, model: str) -> None:
    raw = json.dumps(body, **layout).encode()
    out, names = filled(dialect, "chat", raw, parameters, model)
    _same_but(raw.decode(), out.decode(), names)
    assert filled(dialect, "chat", out, parameters, model) == (out, []) or dialect == MESSAGES
    assert (out is raw) == (not names)


@given(dialects, bodies, layouts, somewhat.map(lambda some: {k: v for k, v in LIMITS.items() if k in some}), models)
def test_caps_leave_everything_else_and_hold(dialect: str, body: Any, layout: Any, caps: Any, model: str) -> None:
    raw = json.dumps(body, **layout).encode()
    out, names = capped(dialect, raw, caps, model)
    _same_but(raw.decode(), out.decode(), names)
    assert exceeded(dialect, out, caps, model) == []
    assert capped(dialect, out, caps, model)[0] is out or not names
    assert (out is raw) == (not names)


def _same_but(before: str, after: str, names: list[str], at: tuple[int, int] = (0, 0), prefix: str = "") -> None:
    """Every member that is not named, nor leads to one, stands where it stood, with the bytes that it had."""
    was, now = members(before, at[0]), members(after, at[1])
    assert list(was) == list(now)[: len(was)]
    for key, span in was.items():
        name = prefix + key
        if name in names:
            continue
        if any(one.startswith(f"{name}.") for one in names) and isinstance(span.value, dict):
            _same_but(before, after, names, (span.start, now[key].start), f"{name}.")
        elif not any(one.startswith(f"{name}.") for one in names):
            assert before[span.start : span.end] == after[now[key].start : now[key].end]
    added = [prefix + key for key in list(now)[len(was) :]]
    assert all(any(one == name or one.startswith(f"{name}.") for one in names) for name in added)


# ── settings ─────────────────────────────────────────────────────────────────────────────────────


def test_values_are_those_that_were_set() -> None:
    assert Parameters.model_validate({"stop": "X", "seed": 0, "n": None, "temperature": 1}).values == {
        "seed": 0,
        "stop": ("X",),
        "temperature": 1.0,
    }
    assert Parameters(stop=()).values == {}
    assert Caps(max_tokens=5).values == {"max_tokens": 5}


@pytest.mark.parametrize(
    "wrong",
    [{"temperature": 2.1}, {"temperature": "1"}, {"temperature": True}, {"n": 1.0}, {"n": 0}, {"seed": 2**31},
     {"stop": ""}, {"stop": [1]}, {"reasoning_effort": "hard"}, {"max_completion_tokens": 1}, {"temperature": float("nan")}],
)  # fmt: skip
def test_wrong_values(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Parameters.model_validate(wrong)
