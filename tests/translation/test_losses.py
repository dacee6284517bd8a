"""What went no further is told in the client's words, and what agents say in every call is worth no refusal."""

from __future__ import annotations

from typing import Any

import pytest

from shin_gateway.errors import Invalid
from shin_gateway.translation.dialects import CHATS, translator
from shin_gateway.translation.losses import Losses
from shin_gateway.translation.translator import Traits
from tests.translation.features import FEATURES, MODELS, PATHS, call

Json = dict[str, Any]
CHAT, RESPONSES, MESSAGES, GEMINI = CHATS


def taken(client: str, target: str, body: Json, model: str = "", refuse: bool = False, **traits: Any) -> Losses:
    """What a crossing collects. Raises Invalid."""
    losses = Losses(refuse)
    chat = translator(client).read_call(body, PATHS[client], losses)
    chat.model = model or MODELS[target]
    told = losses.told_to(translator(client).fields)
    try:
        translator(target).write_call(chat, Traits(model=chat.model, **traits), told)
    except Invalid as wrong:
        raise told.worded(wrong) from None
    return losses


def gemini(**config: Any) -> Json:
    return {"contents": [{"role": "user", "parts": [{"text": "hi"}]}], "generationConfig": config}


def responses(**more: Any) -> Json:
    return {"model": "m", "input": "hi", **more}


def messages(**more: Any) -> Json:
    return {"model": "m", "max_tokens": 9000, "messages": [{"role": "user", "content": "hi"}], **more}


def chat(**more: Any) -> Json:
    return {"model": "m", "messages": [{"role": "user", "content": "hi"}], **more}


SEARCH = {"type": "web_search", "filters": {"allowed_domains": ["a.example"]}}
DEEP = {"type": "object", "properties": {"a": {"type": "array", "items": {"type": "string"}, "uniqueItems": True}}}


@pytest.mark.parametrize(
    ("client", "target", "body", "dropped"),
    [
        (GEMINI, CHAT, gemini(topK=5), ("generationConfig.topK",)),
        (GEMINI, MESSAGES, gemini(seed=1), ("generationConfig.seed",)),
        (GEMINI, MESSAGES, gemini(candidateCount=2), ("generationConfig.candidateCount",)),
        (GEMINI, RESPONSES, gemini(stopSequences=["a"]), ("generationConfig.stopSequences",)),
        (GEMINI, MESSAGES, gemini(responseModalities=["AUDIO"]), ("generationConfig.responseModalities",)),
        (GEMINI, MESSAGES, gemini(temperature=2), ("generationConfig.temperature",)),
        (GEMINI, MESSAGES, {**gemini(), "labels": {"a": "b"}}, ("labels",)),
        (GEMINI, CHAT, {**gemini(), "safetySettings": [{}]}, ("safetySettings",)),
        (GEMINI, CHAT, {**gemini(), "tools": [{"urlContext": {}}]}, ("tools.urlContext",)),
        (MESSAGES, GEMINI, messages(metadata={"user_id": "u"}), ("metadata.user_id",)),
        (MESSAGES, CHAT, messages(top_k=5), ("top_k",)),
        (MESSAGES, RESPONSES, messages(stop_sequences=["a"]), ("stop_sequences",)),
        (MESSAGES, GEMINI, messages(tools=[{"name": "f", "input_schema": DEEP}]),
         ("tools.input_schema.uniqueItems",)),
        (RESPONSES, MESSAGES, responses(text={"verbosity": "low"}), ("text.verbosity",)),
        (RESPONSES, GEMINI, responses(reasoning={"effort": "high"}), ("reasoning.effort",)),
        (RESPONSES, MESSAGES, responses(top_logprobs=2), ("top_logprobs",)),
        (RESPONSES, MESSAGES, responses(temperature=1.5), ("temperature",)),
        (RESPONSES, CHAT, responses(tools=[SEARCH]), ("tools.filters.allowed_domains",)),
        (CHAT, GEMINI, chat(reasoning_effort="high"), ("reasoning_effort",)),
        (CHAT, GEMINI, chat(tools=[{"type": "function", "function": {"name": "f", "parameters": DEEP}}]),
         ("tools.function.parameters.uniqueItems",)),
    ],
)  # fmt: skip
def test_losses_have_the_client_s_names(client: str, target: str, body: Json, dropped: tuple[str, ...]) -> None:
    model = "gemini-2.0-flash" if target == GEMINI else ""
    assert taken(client, target, body, model).dropped == dropped


def test_what_the_reader_cannot_hold_keeps_its_name() -> None:
    """Anthropic's clients know no `user`: it is a field that nobody knows, and not `metadata.user_id`."""
    assert taken(MESSAGES, GEMINI, messages(user="u")).dropped == ("user",)


def test_a_refusal_names_the_client_s_field() -> None:
    with pytest.raises(Invalid) as raised:
        taken(GEMINI, CHAT, gemini(topK=5), refuse=True)
    assert raised.value.param == "generationConfig.topK"
    assert raised.value.message.startswith("generationConfig.topK: ")
    with pytest.raises(Invalid) as raised:
        taken(RESPONSES, MESSAGES, responses(top_logprobs=3), refuse=True)
    assert (raised.value.param, raised.value.code) == ("top_logprobs", "unsupported_parameter")


def test_what_a_server_refuses_has_the_client_s_name() -> None:
    frugal = {"drop": frozenset({"top_k", "stop_sequences", "topK", "max_output_tokens", "max_completion_tokens"})}
    assert taken(GEMINI, MESSAGES, gemini(topK=5), **frugal).dropped == ("generationConfig.topK",)
    assert taken(CHAT, MESSAGES, chat(stop="a"), **frugal).dropped == ("stop",)
    assert taken(MESSAGES, GEMINI, messages(top_k=5), **frugal).dropped == ("top_k",)
    assert taken(MESSAGES, RESPONSES, messages(), **frugal).dropped == ("max_tokens",)
    assert taken(RESPONSES, CHAT, responses(max_output_tokens=99), **frugal).dropped == ("max_output_tokens",)


USE = {"id": "call_9", "type": "function", "function": {"name": "f", "arguments": "{}"}}
ITEM = {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"}


@pytest.mark.parametrize(
    ("client", "body", "param"),
    [
        (CHAT, chat(messages=[{"role": "user", "content": "a"}, {"role": "assistant", "tool_calls": [USE]},
                              {"role": "user", "content": "b"}]), "messages"),
        (RESPONSES, responses(input=[{"role": "user", "content": "a"}, ITEM, {"role": "user", "content": "b"}]),
         "input"),
        (GEMINI, {"contents": [{"role": "user", "parts": [{"text": "a"}]},
                               {"role": "model", "parts": [{"functionCall": {"name": "f", "id": "c"}}]},
                               {"role": "user", "parts": [{"text": "b"}]}]}, "contents"),
    ],
    ids=["chat", "responses", "gemini"],
)  # fmt: skip
def test_a_history_that_cannot_be_said(client: str, body: Json, param: str) -> None:
    with pytest.raises(Invalid) as raised:
        taken(client, MESSAGES, body)
    assert raised.value.param == param
    assert raised.value.message.startswith(f"{param}: ")


@pytest.mark.parametrize(
    ("client", "param", "named"),
    [
        (CHAT, "messages[3].content[1]", "messages[3].content[1]"),
        (RESPONSES, "messages[3]", "input"),
        (GEMINI, "messages[3].content[1]", "contents.parts"),
        (MESSAGES, "messages[3]", "messages"),
        (MESSAGES, "tools.parameters", "tools.input_schema"),
        (CHAT, "tools.parameters", "tools.function.parameters"),
        (GEMINI, "response_format.schema", "generationConfig.responseSchema"),
        (RESPONSES, None, None),
    ],
)
def test_what_a_writer_raises_names_the_client_s_place(client: str, param: str | None, named: str | None) -> None:
    wrong = Invalid(f"{param}: is wrong.", code="bad_media", param=param)
    worded = Losses().told_to(translator(client).fields).worded(wrong)
    assert (worded.message, worded.param, worded.code) == (f"{named}: is wrong.", named, "bad_media")


@pytest.mark.parametrize("client", [RESPONSES, MESSAGES, GEMINI])
def test_no_name_is_the_form_s(client: str) -> None:
    """Whatever is lost of any feature, its name begins like a field of the call."""
    for feature in FEATURES:
        body = call(client, feature) if client in feature.said else {}
        for target in CHATS:
            for name in taken(client, target, body).dropped if body and target != client else ():
                assert name.partition(".")[0] in {*body, "cache_control"}, (feature.name, target, name)


# ── agents ──────────────────────────────────────────────────────────────────────────────────────

SCHEMA = {
    "$schema": "https://json-schema.org/draft/2020-12/schema", "type": "object", "required": ["path"],
    "properties": {"path": {"type": ["string", "object"]}, "pages": {"type": "array", "uniqueItems": True},
                   "env": {"type": "object", "propertyNames": {"type": "string"}, "additionalProperties": {}}},
    "additionalProperties": False,
}  # fmt: skip
READ = {"name": "Read", "description": "Reads.", "input_schema": SCHEMA}
CLAUDE_CODE = messages(
    system=[{"type": "text", "text": "x-anthropic-billing-header: cc_version=2"},
            {"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}],
    tools=[{**READ, "eager_input_streaming": True, "strict": True}, {**READ, "name": "Later", "defer_loading": True}],
    metadata={"user_id": '{"device_id": "1", "account_uuid": ""}'},
    thinking={"type": "enabled", "budget_tokens": 8000, "display": "omitted"},
    context_management={"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]}, stream=True,
)  # fmt: skip
CODEX = responses(
    instructions="Be brief.", store=False, stream=True, tool_choice="auto", parallel_tool_calls=True,
    include=["reasoning.encrypted_content"], prompt_cache_key="01a1", service_tier="priority",
    reasoning={"effort": "medium", "summary": "auto"}, text={"verbosity": "low"}, client_metadata={"session_id": "1"},
    tools=[{"type": "function", "name": "exec", "strict": False, "parameters": SCHEMA},
           {"type": "custom", "name": "apply_patch", "description": "Edits.",
            "format": {"type": "grammar", "syntax": "lark", "definition": "start: /a/"}},
           {"type": "namespace", "name": "agents", "description": "Others.", "tools": [
               {"type": "function", "name": "spawn", "parameters": SCHEMA, "strict": False}]}],
)  # fmt: skip
THINKING = {"includeThoughts": True, "thinkingLevel": "HIGH"}
GEMINI_CLI = {
    **gemini(temperature=1, topP=0.95, topK=64, thinkingConfig=THINKING),
    "systemInstruction": {"role": "user", "parts": [{"text": "Be brief."}]},
    "tools": [{"functionDeclarations": [{"name": "read", "parametersJsonSchema": SCHEMA}]}],
    "labels": {"session": "1"}, "sessionId": "1",
}  # fmt: skip
AGENTS = {"Claude Code": (MESSAGES, CLAUDE_CODE), "Codex": (RESPONSES, CODEX), "Gemini CLI": (GEMINI, GEMINI_CLI)}
"""What their real calls hold, shortened."""
ASKED = {
    CHAT: ("gpt-5", "gpt-4.1"), RESPONSES: ("gpt-5", "gpt-4.1"), MESSAGES: ("claude-sonnet-4-5", "claude-3-5-haiku"),
    GEMINI: ("gemini-2.5-pro", "gemini-2.0-flash", "gemini-3-pro-preview"),
}  # fmt: skip
NO_IDS = frozenset({"user", "metadata", "store", "service_tier", "safety_identifier", "prompt_cache_key", "verbosity"})


@pytest.mark.parametrize("agent", AGENTS)
@pytest.mark.parametrize("target", CHATS)
@pytest.mark.parametrize("drop", [frozenset(), NO_IDS], ids=["", "no ids"])
def test_agents_are_not_refused_for_what_changes_nothing(agent: str, target: str, drop: frozenset[str]) -> None:
    client, body = AGENTS[agent]
    for model in ASKED[target] if target != client else ():
        taken(client, target, body, model, refuse=True, drop=drop)
