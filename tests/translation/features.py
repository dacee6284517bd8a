"""What a call can hold, in each dialect's words, and what becomes of it in the others: the tables of docs/dialects.md.

python -m tests.translation.features > docs/dialects.md
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shin_gateway.errors import Refusal
from shin_gateway.translation.dialects import CHATS, translator
from shin_gateway.translation.effort import budget_of
from shin_gateway.translation.form import Chat, Media, Reasoning, Text, ToolResult, ToolUse
from shin_gateway.translation.losses import Losses
from shin_gateway.translation.translator import Traits
from tests.translation.reply_features import REPLY_FEATURES, reply_fate

Json = dict[str, Any]
CHAT, RESPONSES, MESSAGES, GEMINI = CHATS
MODELS = {CHAT: "gpt-4.1", RESPONSES: "gpt-4.1", MESSAGES: "claude-sonnet-4-5", GEMINI: "gemini-2.5-pro"}
THINKERS = {CHAT: "gpt-5", RESPONSES: "gpt-5", MESSAGES: "claude-sonnet-4-5", GEMINI: "gemini-2.5-pro"}
PATHS = {
    CHAT: "/v1/chat/completions",
    RESPONSES: "/v1/responses",
    MESSAGES: "/v1/messages",
    GEMINI: "/v1beta/models/gemini-2.5-pro:generateContent",
}
PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
PDF = "JVBERi0xLjQKJSVFT0YK"
WAV = "UklGRiQAAABXQVZFZm10IBAAAAABAAEAQB8AAEAfAAABAAgAZGF0YQAAAAA="
SCHEMA: Json = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
STRICT: Json = {**SCHEMA, "additionalProperties": False}

Seen = Callable[[Chat], object]
"""What of a chat a feature is about."""


@dataclass(frozen=True)
class Feature:
    name: str
    seen: Seen
    said: Mapping[str, Json]
    """For each dialect that has it, what its call holds beside a model and one message; `turns` replace the message."""
    thinker: bool = False
    """Whether it is asked of a model that reasons."""


def _parts(chat: Chat, kind: type) -> list[Any]:
    return [part for message in chat.messages for part in message.parts if isinstance(part, kind)]


def _media(chat: Chat) -> object:
    return [(one.kind, one.data or one.url or one.text) for one in _parts(chat, Media)]


def _texts(chat: Chat) -> object:
    return [(message.role, part.text) for message in chat.messages for part in message.parts if isinstance(part, Text)]


def _uses(chat: Chat) -> object:
    return [(one.name, json.loads(one.arguments or "{}")) for one in _parts(chat, ToolUse)]


def _results(chat: Chat) -> object:
    return [
        (chat.tool_name(one.id), one.is_error, [part.text for part in one.parts if isinstance(part, Text)])
        for one in _parts(chat, ToolResult)
    ]


def _tools(chat: Chat) -> object:
    return [(one.name, one.description, one.schema) for one in chat.tools]


def _attribute(name: str) -> Seen:
    return lambda chat: getattr(chat, name)


def _function(**more: Any) -> Json:
    return {"tools": [{"type": "function", "function": {"name": "weather", "parameters": SCHEMA, **more}}]}


def _flat(**more: Any) -> Json:
    return {"tools": [{"type": "function", "name": "weather", "parameters": SCHEMA, "strict": False, **more}]}


def _input(**more: Any) -> Json:
    return {"tools": [{"name": "weather", "input_schema": SCHEMA, **more}]}


def _declared(**more: Any) -> Json:
    return {"tools": [{"functionDeclarations": [{"name": "weather", "parametersJsonSchema": SCHEMA, **more}]}]}


def _only(name: str) -> Json:
    return {"toolConfig": {"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": [name]}}}


def _all(chat: Json, responses: Json, messages: Json, gemini: Json) -> dict[str, Json]:
    return {CHAT: chat, RESPONSES: responses, MESSAGES: messages, GEMINI: gemini}


def _one(*contents: list[Json]) -> dict[str, Json]:
    """Each dialect's parts of one user's message; None where it has no such part."""
    chat, responses, messages, gemini = contents
    return {
        dialect: {"turns": [turn]}
        for dialect, turn in {
            CHAT: {"role": "user", "content": chat},
            RESPONSES: {"role": "user", "content": responses},
            MESSAGES: {"role": "user", "content": messages},
            GEMINI: {"role": "user", "parts": gemini},
        }.items()
        if turn.get("content") or turn.get("parts")
    }


CHAT_USE = {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": '{"city":"Bern"}'}}
RESPONSES_USE = {"type": "function_call", "call_id": "call_1", "name": "weather", "arguments": '{"city":"Bern"}'}
MESSAGES_USE = {"type": "tool_use", "id": "call_1", "name": "weather", "input": {"city": "Bern"}}
GEMINI_USE = {"functionCall": {"id": "call_1", "name": "weather", "args": {"city": "Bern"}}}


def _turns(result: str = "sunny", image: bool = False, failed: bool = False) -> dict[str, Json]:
    """A tool called and answered."""
    url = f"data:image/png;base64,{PNG}"
    texts: dict[str, Any] = {
        RESPONSES: [{"type": "input_text", "text": result}, {"type": "input_image", "image_url": url}],
        MESSAGES: [
            {"type": "text", "text": result},
            {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}},
        ],
    }
    error = {"is_error": True} if failed else {}
    block = {"type": "tool_result", "tool_use_id": "call_1", "content": texts[MESSAGES] if image else result, **error}
    output = texts[RESPONSES] if image else result
    response = {"id": "call_1", "name": "weather", "response": {"error" if failed else "output": result}}
    said = _all(
        {**_function(), "turns": [{"role": "user", "content": "?"}, {"role": "assistant", "tool_calls": [CHAT_USE]},
                                  {"role": "tool", "tool_call_id": "call_1", "content": result}]},
        {**_flat(), "turns": [{"role": "user", "content": "?"}, RESPONSES_USE,
                              {"type": "function_call_output", "call_id": "call_1", "output": output}]},
        {**_input(), "turns": [{"role": "user", "content": "?"}, {"role": "assistant", "content": [MESSAGES_USE]},
                               {"role": "user", "content": [block]}]},
        {**_declared(), "turns": [{"role": "user", "parts": [{"text": "?"}]}, {"role": "model", "parts": [GEMINI_USE]},
                                  {"role": "user", "parts": [{"functionResponse": response}]}]},
    )  # fmt: skip
    if image:
        return {dialect: said[dialect] for dialect in (RESPONSES, MESSAGES)}
    return {dialect: said[dialect] for dialect in (MESSAGES, GEMINI)} if failed else said


def _generation(**config: Any) -> Json:
    return {"generationConfig": config}


FEATURES = (
    Feature("system prompt", _texts, _all(
        {"turns": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "hi"}]},
        {"instructions": "Be brief."}, {"system": "Be brief."},
        {"systemInstruction": {"parts": [{"text": "Be brief."}]}})),
    Feature("developer prompt", _texts, {
        CHAT: {"turns": [{"role": "developer", "content": "Be brief."}, {"role": "user", "content": "hi"}]},
        RESPONSES: {"turns": [{"role": "developer", "content": "Be brief."}, {"role": "user", "content": "hi"}]}}),
    Feature("several turns", _texts, _all(
        *[{"turns": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"},
                     {"role": "user", "content": "c"}]}] * 3,
        {"turns": [{"role": role, "parts": [{"text": text}]}
                   for role, text in (("user", "a"), ("model", "b"), ("user", "c"))]})),
    Feature("image, inline", _media, _one(
        [{"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}}],
        [{"type": "input_image", "image_url": f"data:image/png;base64,{PNG}"}],
        [{"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}}],
        [{"inlineData": {"mimeType": "image/png", "data": PNG}}])),
    Feature("PDF, inline", _media, _one(
        [{"type": "file", "file": {"filename": "a.pdf", "file_data": f"data:application/pdf;base64,{PDF}"}}],
        [{"type": "input_file", "filename": "a.pdf", "file_data": f"data:application/pdf;base64,{PDF}"}],
        [{"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": PDF}}],
        [{"inlineData": {"mimeType": "application/pdf", "data": PDF}}])),
    Feature("document of text", _media, {
        MESSAGES: {"turns": [{"role": "user", "content": [
            {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "A text."}}]}]}}),
    Feature("audio, inline", _media, _one(
        [{"type": "input_audio", "input_audio": {"data": WAV, "format": "wav"}}], [], [],
        [{"inlineData": {"mimeType": "audio/wav", "data": WAV}}])),
    Feature("tools", _tools, _all(_function(), _flat(), _input(), _declared(description="It says."))),
    Feature("tools: strict", lambda chat: [one.strict for one in chat.tools], {
        CHAT: _function(strict=True, parameters=STRICT), RESPONSES: _flat(strict=True, parameters=STRICT)}),
    Feature("tools: free-form", lambda chat: [one.custom for one in chat.tools], {
        CHAT: {"tools": [{"type": "custom", "custom": {"name": "patch", "description": "A patch."}}]},
        RESPONSES: {"tools": [{"type": "custom", "name": "patch", "description": "A patch."}]}}),
    Feature("tool choice: required", _attribute("tool_choice"), _all(
        {**_function(), "tool_choice": "required"}, {**_flat(), "tool_choice": "required"},
        {**_input(), "tool_choice": {"type": "any"}},
        {**_declared(), "toolConfig": {"functionCallingConfig": {"mode": "ANY"}}})),
    Feature("tool choice: one tool", _attribute("tool_choice"), _all(
        {**_function(), "tool_choice": {"type": "function", "function": {"name": "weather"}}},
        {**_flat(), "tool_choice": {"type": "function", "name": "weather"}},
        {**_input(), "tool_choice": {"type": "tool", "name": "weather"}},
        {**_declared(), **_only("weather")})),
    Feature("no parallel tool calls", _attribute("parallel_tools"), {
        CHAT: {**_function(), "parallel_tool_calls": False}, RESPONSES: {**_flat(), "parallel_tool_calls": False},
        MESSAGES: {**_input(), "tool_choice": {"type": "auto", "disable_parallel_tool_use": True}}}),
    Feature("tool calls of earlier turns", _uses, _turns()),
    Feature("tool results", _results, _turns()),
    Feature("tool results with images", _media, _turns(image=True)),
    Feature("tool results that are errors", _results, _turns(failed=True)),
    Feature("web search", lambda chat: [one.kind for one in chat.builtin_tools], _all(
        {"web_search_options": {}}, {"tools": [{"type": "web_search"}]},
        {"tools": [{"type": "web_search_20250305", "name": "web_search"}]}, {"tools": [{"googleSearch": {}}]})),
    Feature("structured output: schema", lambda chat: chat.output and chat.output.schema, _all(
        {"response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": STRICT, "strict": True}}},
        {"text": {"format": {"type": "json_schema", "name": "a", "schema": STRICT, "strict": True}}},
        {"output_config": {"format": {"type": "json_schema", "schema": STRICT}}},
        _generation(responseMimeType="application/json", responseJsonSchema=STRICT))),
    Feature("structured output: any JSON", lambda chat: chat.output and chat.output.kind, {
        CHAT: {"response_format": {"type": "json_object"}}, RESPONSES: {"text": {"format": {"type": "json_object"}}},
        GEMINI: _generation(responseMimeType="application/json")}),
    Feature("reasoning effort", lambda chat: chat.reasoning and budget_of(chat.reasoning), {
        CHAT: {"reasoning_effort": "medium"}, RESPONSES: {"reasoning": {"effort": "medium"}}}, thinker=True),
    Feature("reasoning budget", lambda chat: chat.reasoning and budget_of(chat.reasoning), {
        MESSAGES: {"thinking": {"type": "enabled", "budget_tokens": 8192}, "max_tokens": 16000},
        GEMINI: _generation(thinkingConfig={"thinkingBudget": 8192})}, thinker=True),
    Feature("reasoning in the reply", lambda chat: chat.reasoning and bool(chat.reasoning.show), {
        RESPONSES: {"reasoning": {"effort": "medium", "summary": "auto"}},
        MESSAGES: {"thinking": {"type": "enabled", "budget_tokens": 8192}, "max_tokens": 16000},
        GEMINI: _generation(thinkingConfig={"includeThoughts": True})}, thinker=True),
    Feature("own reasoning of earlier turns", lambda chat: [one.text for one in _parts(chat, Reasoning)], {
        MESSAGES: {"turns": [
            {"role": "user", "content": "a"},
            {"role": "assistant", "content": [{"type": "thinking", "thinking": "Hm.", "signature": "c2ln"},
                                              {"type": "text", "text": "b"}]},
            {"role": "user", "content": "c"}]}}),
    Feature("output limit", _attribute("max_tokens"), _all(
        {"max_completion_tokens": 500}, {"max_output_tokens": 500}, {"max_tokens": 500},
        _generation(maxOutputTokens=500))),
    Feature("temperature", _attribute("temperature"), _all(
        {"temperature": 0.5}, {"temperature": 0.5}, {"temperature": 0.5}, _generation(temperature=0.5))),
    Feature("temperature above 1", _attribute("temperature"), {
        CHAT: {"temperature": 1.5}, RESPONSES: {"temperature": 1.5}, GEMINI: _generation(temperature=1.5)}),
    Feature("top_p", _attribute("top_p"), _all({"top_p": 0.5}, {"top_p": 0.5}, {"top_p": 0.5}, _generation(topP=0.5))),
    Feature("top_k", _attribute("top_k"), {MESSAGES: {"top_k": 5}, GEMINI: _generation(topK=5)}),
    Feature("stop sequences", _attribute("stop"), {
        CHAT: {"stop": ["END"]}, MESSAGES: {"stop_sequences": ["END"]}, GEMINI: _generation(stopSequences=["END"])}),
    Feature("several choices", _attribute("n"), {CHAT: {"n": 2}, GEMINI: _generation(candidateCount=2)}),
    Feature("seed", _attribute("seed"), {CHAT: {"seed": 7}, GEMINI: _generation(seed=7)}),
    Feature("log probabilities", _attribute("logprobs"), {
        CHAT: {"logprobs": True, "top_logprobs": 2},
        RESPONSES: {"include": ["message.output_text.logprobs"], "top_logprobs": 2},
        GEMINI: _generation(responseLogprobs=True, logprobs=2)}),
    Feature("penalties", lambda chat: (chat.frequency_penalty, chat.presence_penalty), {
        CHAT: {"frequency_penalty": 0.5, "presence_penalty": 0.5},
        GEMINI: _generation(frequencyPenalty=0.5, presencePenalty=0.5)}),
    Feature("logit bias", _attribute("logit_bias"), {CHAT: {"logit_bias": {"1": 5}}}),
    Feature("verbosity", _attribute("verbosity"), {
        CHAT: {"verbosity": "low"}, RESPONSES: {"text": {"verbosity": "low"}}}, thinker=True),
    Feature("spoken output", _attribute("modalities"), {
        CHAT: {"modalities": ["text", "audio"], "audio": {"voice": "alloy", "format": "wav"}},
        GEMINI: _generation(responseModalities=["AUDIO"])}),
    Feature("user's id", _attribute("user"), {
        CHAT: {"user": "u1"}, RESPONSES: {"user": "u1"}, MESSAGES: {"metadata": {"user_id": "u1"}}}),
    Feature("metadata", _attribute("metadata"), {
        CHAT: {"metadata": {"a": "b"}}, RESPONSES: {"metadata": {"a": "b"}}, GEMINI: {"labels": {"a": "b"}}}),
    Feature("service tier", _attribute("service_tier"), {
        CHAT: {"service_tier": "default"}, RESPONSES: {"service_tier": "default"},
        MESSAGES: {"service_tier": "standard_only"}}),
    Feature("cache marks", lambda chat: [part.cache for m in chat.messages for part in m.parts if part.cache], {
        MESSAGES: {"turns": [{"role": "user", "content": [
            {"type": "text", "text": "hi", "cache_control": {"type": "ephemeral"}}]}]}}),
    Feature("safety settings", _attribute("safety_settings"), {
        GEMINI: {"safetySettings": [{"category": "HARM_CATEGORY_HARASSMENT", "threshold": "BLOCK_NONE"}]}}),
)  # fmt: skip


def call(dialect: str, feature: Feature) -> Json:
    """A call of this dialect that has the feature."""
    said = dict(feature.said[dialect])
    turns = said.pop("turns", None)
    model = (THINKERS if feature.thinker else MODELS)[dialect]
    if dialect == GEMINI:
        return {"contents": turns or [{"role": "user", "parts": [{"text": "hi"}]}], **said}
    key = "input" if dialect == RESPONSES else "messages"
    limit = {"max_tokens": 4096} if dialect == MESSAGES else {}
    return {"model": model, key: turns or [{"role": "user", "content": "hi"}], **limit, **said}


def fate(feature: Feature, client: str, target: str) -> str:
    """carried: the target's call says the same; mapped: it says something near; dropped: with a note; left out: with
    a note, and never worth a refusal; refused: 400."""
    losses = Losses()
    try:
        chat, body = _taken(feature, client, target, losses)
    except Refusal:
        return "refused"
    there = translator(target).read_call(body, PATHS[target], Losses())
    if feature.seen(there) == feature.seen(chat):
        return "carried"
    blank = translator(target).read_call(call(target, Feature("", feature.seen, {target: {}})), PATHS[target], Losses())
    if losses.dropped and feature.seen(there) in (feature.seen(blank), None, "", [], {}):
        return "dropped" if _is_worth_a_refusal(feature, client, target) else "left out"
    return "mapped"


def _taken(feature: Feature, client: str, target: str, losses: Losses) -> tuple[Chat, Json]:
    chat = translator(client).read_call(call(client, feature), PATHS[client], losses)
    chat.model = (THINKERS if feature.thinker else MODELS)[target]
    return chat, translator(target).write_call(chat, Traits(model=chat.model), losses)


def _is_worth_a_refusal(feature: Feature, client: str, target: str) -> bool:
    try:
        _taken(feature, client, target, Losses(refuse=True))
    except Refusal:
        return True
    return False


HEAD = """# Dialects

A client speaks one API, a model another: the addon [`translate`](addons.md) takes the call across and brings the reply
back. Between equal dialects nothing is touched. This page is made from what the tests find:
`python -m tests.translation.features > docs/dialects.md`.

- **carried**: the target's call says the same.
- **mapped**: it says the nearest thing that the target's API has.
- **dropped**: the target's API has no way to say it. The reply names it in `x-shin-dropped`, the log in the fact
  `dropped`, both as the client's API calls it (`generationConfig.topK`). With `translate: {unsupported: refuse}` such
  a call is answered 400 instead.
- **left out**: dropped and named as well, but no call is refused for it: it makes a call cheaper, faster or easier to
  follow, is a hint that agents send with every call (ids, metadata, cache marks, service tiers, verbosity), or the
  model is told of it in words or asked for the nearest value.
- **refused**: without it the call would mean something else, so it is answered 400.
- A dash: the model's API has no such thing.

Replies and streams say the same. What happens to an error is in [translate](addons.md#translate).
"""


def page() -> str:
    return "\n".join([HEAD, *(_table(client) for client in CHATS)])


def _table(client: str) -> str:
    targets = [target for target in CHATS if target != client]
    lines = [
        f"## Clients of `{client}`", "", f"| a call's | {' | '.join(f'`{one}`' for one in targets)} |",
        "| --- | --- | --- | --- |",
    ]  # fmt: skip
    for feature in FEATURES:
        if client in feature.said:
            lines.append(f"| {feature.name} | {' | '.join(fate(feature, client, target) for target in targets)} |")
    lines += ["", f"| a reply's | {' | '.join(f'`{one}`' for one in targets)} |", "| --- | --- | --- | --- |"]
    for told in REPLY_FEATURES:
        fates = [reply_fate(told, client, target) if target in told.said else "–" for target in targets]
        lines.append(f"| {told.name} | {' | '.join(fates)} |")
    return "\n".join([*lines, ""])


PAGE = Path(__file__).parents[2] / "docs" / "dialects.md"

if __name__ == "__main__":
    print(page(), end="")
