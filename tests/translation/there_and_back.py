"""Valid calls and answers of every kind, made at random, and what of them has to arrive.

Every text in a call is a word of its own, so that each can be looked for in what goes out.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator
from typing import Any

from hypothesis import strategies as st

from shin_gateway.outcome import Usage
from shin_gateway.translation.form import (
    Answer,
    AnyPart,
    Began,
    Choice,
    Citation,
    Cited,
    Closed,
    Ended,
    Event,
    Finished,
    Grew,
    Opened,
    Reasoning,
    Refused,
    Sealed,
    Text,
    ToolUse,
    UsageTold,
)
from tests.translation.features import PDF, PNG, WAV
from tests.translation.kit import CHAT, GEMINI, MESSAGES, RESPONSES

Json = dict[str, Any]
Draw = Callable[[st.SearchStrategy[Any]], Any]
IMAGE = f"data:image/png;base64,{PNG}"


class Words:
    """Draws for one call. Each word occurs once."""

    def __init__(self, draw: Draw) -> None:
        self._draw = draw
        self._numbers = itertools.count(1)

    def word(self) -> str:
        return f"w{next(self._numbers)}w{self._draw(_TAILS)}"

    def coin(self) -> bool:
        return bool(self._draw(st.booleans()))

    def upto(self, most: int, least: int = 0) -> range:
        return range(self._draw(st.integers(least, most)))

    def one[T](self, *choices: T) -> T:
        found: T = self._draw(st.sampled_from(choices))
        return found

    def maybe(self, **fields: Callable[[], Any]) -> Json:
        """Some of the fields."""
        return {name: make() for name, make in fields.items() if self.coin()}

    def number(self, low: float, high: float) -> float:
        return round(self._draw(st.floats(low, high)), 3)


_TAILS = st.sampled_from(["", " é", " 東京", "🗼", '"\\', "\n- x", " <b>", "\t", " {}"])


# ── what calls have in common ───────────────────────────────────────────────────────────────────


def _schema(words: Words) -> Json:
    inner = {"type": words.one("string", "integer", "number", "boolean"), "description": words.word()}
    return {
        "type": "object",
        "properties": {"city": {"type": "string"}, "more": words.one(inner, {"type": "array", "items": inner})},
        "required": ["city"],
        **({"additionalProperties": False} if words.coin() else {}),
    }


EFFORTS = ("minimal", "low", "medium", "high")
TOOLS = ("weather", "time", "get-news", "look_up")


def _declared(words: Words) -> list[tuple[str, str, Json]]:
    return [(name, words.word(), _schema(words)) for name in TOOLS[: len(words.upto(4, 1))]]


def _arguments(words: Words) -> Json:
    return {"city": words.word(), **({"more": [1, None, {"a": words.word()}]} if words.coin() else {})}


def _uses(words: Words, tools: list[tuple[str, str, Json]], turn: int) -> list[tuple[str, str, Json, str]]:
    """Calls in parallel: id, name, arguments, result."""
    return [
        (f"call_{turn}_{number}", words.one(*[tool[0] for tool in tools]), _arguments(words), words.word())
        for number in words.upto(3, 1)
    ]


# ── OpenAI Chat Completions ─────────────────────────────────────────────────────────────────────


def chat_call(draw: Draw) -> Json:
    words = Words(draw)
    tools = _declared(words) if words.coin() else []
    messages: list[Json] = []
    for role in ("system", "developer"):
        if words.coin():
            messages.append({"role": role, "content": _chat_texts(words)})
    for turn in words.upto(3, 1):
        messages.append({"role": "user", "content": _chat_content(words)})
        if tools and words.coin():
            uses = _uses(words, tools, turn)
            messages.append({"role": "assistant", **_chat_said(words), "tool_calls": [
                {"id": id, "type": "function", "function": {"name": name, "arguments": json.dumps(given)}}
                for id, name, given, _ in uses]})  # fmt: skip
            messages += [{"role": "tool", "tool_call_id": id, "content": told} for id, _, _, told in uses]
        messages.append({"role": "assistant", "content": words.word()})
    messages.append({"role": "user", "content": _chat_content(words)})
    body: Json = {"model": "asked", "messages": messages, **_chat_settings(words)}
    if tools:
        body["tools"] = [
            {"type": "function", "function": {"name": name, "description": about, "parameters": schema}}
            for name, about, schema in tools
        ]
        body |= words.maybe(
            tool_choice=lambda: words.one(
                "auto", "none", "required", {"type": "function", "function": {"name": tools[0][0]}}
            ),
            parallel_tool_calls=words.coin,
        )
    return body


def _chat_texts(words: Words) -> Any:
    return words.word() if words.coin() else [{"type": "text", "text": words.word()} for _ in words.upto(3, 1)]


def _chat_said(words: Words) -> Json:
    return words.one({"content": None}, {"content": words.word()}, {})


def _chat_content(words: Words) -> Any:
    if words.coin():
        return words.word()
    rows = [
        {"type": "image_url", "image_url": {"url": IMAGE}},
        {"type": "image_url", "image_url": {"url": "https://a.example/a.png", "detail": "low"}},
        {"type": "input_audio", "input_audio": {"data": WAV, "format": "wav"}},
        {"type": "file", "file": {"filename": "a.pdf", "file_data": f"data:application/pdf;base64,{PDF}"}},
    ]
    return [{"type": "text", "text": words.word()}, *[words.one(*rows) for _ in words.upto(3)]]


def _chat_settings(words: Words) -> Json:
    return words.maybe(
        max_completion_tokens=lambda: 3000, temperature=lambda: words.number(0, 2), top_p=lambda: words.number(0, 1),
        n=lambda: words.one(1, 2), stop=lambda: words.one(["END"], "END", ["a1", "b2", "c3"]), seed=lambda: 7171,
        logprobs=lambda: True, frequency_penalty=lambda: words.number(-2, 2), logit_bias=lambda: {"1212": 5},
        presence_penalty=lambda: words.number(-2, 2), user=words.word, metadata=lambda: {"k": words.word()},
        store=words.coin, service_tier=lambda: words.one("auto", "default", "flex", "priority"),
        reasoning_effort=lambda: words.one(*EFFORTS), verbosity=lambda: words.one("low", "high"),
        response_format=lambda: words.one(
            {"type": "json_object"}, {"type": "text"},
            {"type": "json_schema", "json_schema": {"name": "shape", "schema": _schema(words), "strict": True}}),
        stream=lambda: True, prompt_cache_key=words.word, safety_identifier=words.word,
        web_search_options=dict,
    )  # fmt: skip


# ── OpenAI Responses ────────────────────────────────────────────────────────────────────────────


def responses_call(draw: Draw) -> Json:
    words = Words(draw)
    tools = _declared(words) if words.coin() else []
    items: list[Json] = [{"role": "developer", "content": words.word()}] if words.coin() else []
    for turn in words.upto(3, 1):
        items.append({"role": "user", "content": _responses_content(words)})
        if words.coin():
            items.append({"type": "reasoning", "id": f"rs_{turn}", "encrypted_content": "gAAA",
                          "summary": [{"type": "summary_text", "text": words.word()}]})  # fmt: skip
        if tools and words.coin():
            uses = _uses(words, tools, turn)
            items += [{"type": "function_call", "call_id": id, "name": name, "arguments": json.dumps(given)}
                      for id, name, given, _ in uses]  # fmt: skip
            items += [{"type": "function_call_output", "call_id": id, "output": _responses_result(words, told)}
                      for id, _, _, told in uses]  # fmt: skip
        items.append({"type": "message", "id": f"msg_{turn}", "role": "assistant", "status": "completed", "content": [
            {"type": "output_text", "text": words.word(), "annotations": []}]})  # fmt: skip
    items.append({"role": "user", "content": _responses_content(words)})
    body: Json = {"model": "asked", "input": items, **_responses_settings(words)}
    if tools:
        body["tools"] = [
            {"type": "function", "name": name, "description": about, "parameters": schema, "strict": False}
            for name, about, schema in tools
        ]
        body |= words.maybe(
            tool_choice=lambda: words.one("auto", "none", "required", {"type": "function", "name": tools[0][0]}),
            parallel_tool_calls=words.coin,
        )
    return body


def _responses_content(words: Words) -> Any:
    if words.coin():
        return words.word()
    rows = [
        {"type": "input_image", "image_url": IMAGE, "detail": "auto"},
        {"type": "input_image", "image_url": "https://a.example/a.png", "detail": "low"},
        {"type": "input_file", "filename": "a.pdf", "file_data": f"data:application/pdf;base64,{PDF}"},
    ]
    return [{"type": "input_text", "text": words.word()}, *[words.one(*rows) for _ in words.upto(3)]]


def _responses_result(words: Words, told: str) -> Any:
    image = {"type": "input_image", "image_url": IMAGE, "detail": "auto"}
    return told if words.coin() else [{"type": "input_text", "text": told}, *[image for _ in words.upto(1)]]


def _responses_settings(words: Words) -> Json:
    return words.maybe(
        instructions=words.word, max_output_tokens=lambda: 3000, temperature=lambda: words.number(0, 2),
        top_p=lambda: words.number(0, 1), top_logprobs=lambda: 3, user=words.word, store=words.coin,
        metadata=lambda: {"k": words.word()}, service_tier=lambda: words.one("auto", "default", "flex", "priority"),
        reasoning=lambda: {"effort": words.one(*EFFORTS), **words.maybe(summary=lambda: "auto")},
        text=lambda: words.maybe(
            verbosity=lambda: words.one("low", "high"),
            format=lambda: words.one(
                {"type": "json_object"}, {"type": "text"},
                {"type": "json_schema", "name": "shape", "schema": _schema(words), "strict": True})),
        include=lambda: ["reasoning.encrypted_content"], stream=lambda: True, truncation=lambda: "disabled",
        prompt_cache_key=words.word, safety_identifier=words.word, max_tool_calls=lambda: 5,
    )  # fmt: skip


# ── Anthropic Messages ──────────────────────────────────────────────────────────────────────────


def messages_call(draw: Draw) -> Json:
    words = Words(draw)
    tools = _declared(words) if words.coin() else []
    messages: list[Json] = []
    for turn in words.upto(3, 1):
        messages.append({"role": "user", "content": _messages_content(words)})
        if tools and words.coin():
            uses = _uses(words, tools, turn)
            thoughts = [{"type": "thinking", "thinking": words.word(), "signature": "c2ln"}] if words.coin() else []
            blocks = [{"type": "tool_use", "id": id, "name": name, "input": given} for id, name, given, _ in uses]
            messages.append({"role": "assistant", "content": [*thoughts, *blocks]})
            messages.append({"role": "user", "content": [_messages_result(words, id, told) for id, _, _, told in uses]})
        messages.append(
            {"role": "assistant", "content": words.one(words.word(), [{"type": "text", "text": words.word()}])}
        )
    messages.append({"role": "user", "content": _messages_content(words)})
    body: Json = {"model": "asked", "max_tokens": 9000, "messages": messages, **_messages_settings(words)}
    if tools:
        body["tools"] = [{"name": name, "description": about, "input_schema": schema} for name, about, schema in tools]
        body |= words.maybe(
            tool_choice=lambda: words.one(
                {"type": "auto"}, {"type": "none"}, {"type": "any", "disable_parallel_tool_use": True},
                {"type": "tool", "name": tools[0][0]}))  # fmt: skip
    return body


def _messages_content(words: Words) -> Any:
    if words.coin():
        return words.word()
    png = {"type": "base64", "media_type": "image/png", "data": PNG}
    rows = [
        {"type": "image", "source": png},
        {"type": "image", "source": {"type": "url", "url": "https://a.example/a.png"}},
        {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": PDF}},
        {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": words.word()}},
    ]
    marked = {"cache_control": {"type": "ephemeral"}} if words.coin() else {}
    return [*[words.one(*rows) for _ in words.upto(3)], {"type": "text", "text": words.word(), **marked}]


def _messages_result(words: Words, id: str, told: str) -> Json:
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}}
    content = told if words.coin() else [{"type": "text", "text": told}, *[image for _ in words.upto(1)]]
    return {
        "type": "tool_result",
        "tool_use_id": id,
        "content": content,
        **({"is_error": True} if words.coin() else {}),
    }


def _messages_settings(words: Words) -> Json:
    thinks = words.one({"thinking": {"type": "enabled", "budget_tokens": 2048}}, words.maybe(
        temperature=lambda: words.number(0, 1), top_k=lambda: 55, top_p=lambda: words.number(0, 1)))  # fmt: skip
    return thinks | words.maybe(
        system=lambda: words.one(words.word(), [{"type": "text", "text": words.word()}]),
        stop_sequences=lambda: words.one(["END"], ["a1", "b2", "c3", "d4", "e5", "f6"]), stream=lambda: True,
        metadata=lambda: {"user_id": words.word()}, service_tier=lambda: words.one("auto", "standard_only"),
        output_config=lambda: {"format": {"type": "json_schema", "schema": _schema(words)}},
    )  # fmt: skip


# ── Gemini ──────────────────────────────────────────────────────────────────────────────────────


def gemini_call(draw: Draw) -> Json:
    words = Words(draw)
    tools = _declared(words) if words.coin() else []
    contents: list[Json] = []
    for turn in words.upto(3, 1):
        contents.append({"role": "user", "parts": _gemini_parts(words)})
        if tools and words.coin():
            uses = _uses(words, tools, turn)
            contents.append({"role": "model", "parts": [_gemini_use(words, *use[:3]) for use in uses]})
            contents.append({"role": "user", "parts": [_gemini_told(words, *use) for use in uses]})
        contents.append({"role": "model", "parts": [{"text": words.word()}]})
    contents.append({"role": "user", "parts": _gemini_parts(words)})
    body: Json = {"contents": contents, **_gemini_settings(words)}
    if tools:
        kind = words.one("parameters", "parametersJsonSchema")
        body["tools"] = [{"functionDeclarations": [
            {"name": name, "description": about, kind: _typed(schema) if kind == "parameters" else schema}
            for name, about, schema in tools]}]  # fmt: skip
        body |= words.maybe(toolConfig=lambda: {"functionCallingConfig": words.one(
            {"mode": "AUTO"}, {"mode": "NONE"}, {"mode": "ANY"},
            {"mode": "ANY", "allowedFunctionNames": [tools[0][0]]})})  # fmt: skip
    return body


def _gemini_use(words: Words, id: str, name: str, given: Json) -> Json:
    sealed = {"thoughtSignature": "c2ln"} if words.coin() else {}
    return {"functionCall": {"id": id, "name": name, "args": given}, **sealed}


def _gemini_told(words: Words, id: str, name: str, given: Json, told: str) -> Json:
    response = words.one({"output": told}, {"error": told}, {"city": told, "list": [1]})
    return {"functionResponse": {"id": id, "name": name, "response": response}}


def _typed(schema: Any) -> Any:
    """JSON Schema as Gemini's own."""
    if not isinstance(schema, dict):
        return schema
    found = {key: value for key, value in schema.items() if key != "additionalProperties"}
    if isinstance(found.get("type"), str):
        found["type"] = found["type"].upper()
    if "properties" in found:
        found["properties"] = {name: _typed(one) for name, one in found["properties"].items()}
    if "items" in found:
        found["items"] = _typed(found["items"])
    return found


def _gemini_parts(words: Words) -> list[Json]:
    rows = [
        {"inlineData": {"mimeType": "image/png", "data": PNG}},
        {"inlineData": {"mimeType": "audio/wav", "data": WAV}},
        {"inlineData": {"mimeType": "application/pdf", "data": PDF}},
    ]
    return [{"text": words.word()}, *[words.one(*rows) for _ in words.upto(3)]]


def _gemini_settings(words: Words) -> Json:
    config = words.maybe(
        temperature=lambda: words.number(0, 2), topP=lambda: words.number(0, 1), topK=lambda: 55, seed=lambda: 7171,
        maxOutputTokens=lambda: 3000, stopSequences=lambda: words.one(["END"], ["a1", "b2", "c3", "d4", "e5"]),
        presencePenalty=lambda: words.number(-1, 1), frequencyPenalty=lambda: words.number(-1, 1),
        candidateCount=lambda: words.one(1, 2), responseLogprobs=lambda: True,
        thinkingConfig=lambda: words.one({"thinkingBudget": 2048, "includeThoughts": True}, {"thinkingBudget": 0}),
        **words.one(
            {}, {"responseMimeType": lambda: "application/json"},
            {"responseJsonSchema": lambda: _schema(words)}),
    )  # fmt: skip
    if "responseJsonSchema" in config:
        config["responseMimeType"] = "application/json"
    return words.maybe(
        generationConfig=lambda: config, labels=lambda: {"k": words.word()},
        systemInstruction=lambda: {"parts": [{"text": words.word()} for _ in words.upto(2, 1)]},
        safetySettings=lambda: [{"category": "HARM_CATEGORY_HARASSMENT", "threshold": "BLOCK_NONE"}],
    )  # fmt: skip


_MADE = {CHAT: chat_call, RESPONSES: responses_call, MESSAGES: messages_call, GEMINI: gemini_call}


@st.composite
def calls(draw: Draw, dialect: str) -> Json:
    return _MADE[dialect](draw)


# ── answers ─────────────────────────────────────────────────────────────────────────────────────

_LINES = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=12)


@st.composite
def answers(draw: Draw, origin: str) -> Answer:
    """What a provider of this dialect may answer: thoughts first, then texts, then uses of tools."""
    parts: list[AnyPart] = []
    for _ in range(draw(st.integers(0, 1))):
        seal = draw(st.sampled_from(["", "c2lnbmVk"]))
        parts.append(Reasoning(text=draw(_LINES), summary=origin != MESSAGES, seal=seal, id="rs_1", origin=origin))
    parts += [_text(draw) for _ in range(draw(st.integers(0, 2)))]
    uses = [_use(draw, number) for number in range(draw(st.integers(0, 3)))]
    if not parts and not uses:
        parts.append(Refused(text=draw(_LINES)) if origin in (CHAT, RESPONSES) else _text(draw))
    finish = "tools" if uses else draw(st.sampled_from(["stop", "length", "filtered"]))
    usage = Usage(input=draw(st.integers(10, 99)), output=draw(st.integers(5, 99)), cached=3, reasoning=2)
    choice = Choice(parts=[*parts, *uses], finish=finish)
    return Answer(id="id1", model="real", created=4102444800, choices=[choice], usage=usage)


def _text(draw: Draw) -> Text:
    text = draw(_LINES)
    url = "https://a.example/" + draw(st.sampled_from("abc"))
    cited = [Citation(url=url, title="A", start=0, end=len(text), quote=text)] if draw(st.booleans()) else []
    return Text(text=text, citations=cited)


def _use(draw: Draw, number: int) -> ToolUse:
    given = draw(st.dictionaries(st.sampled_from(["city", "day"]), _LINES | st.integers(0, 9), max_size=2))
    return ToolUse(id=f"call_{number}", name=draw(st.sampled_from(TOOLS)), arguments=json.dumps(given))


def in_pieces(draw: Draw, answer: Answer) -> Iterator[Event]:
    """The answer as a stream: texts in pieces, uses of tools that may be open at once."""
    yield Began(answer.id, answer.model, answer.created, answer.usage if draw(st.booleans()) else None)
    choice = answer.choices[0]
    waiting: list[Event] = []
    at_once = draw(st.booleans())
    for at, part in enumerate(choice.parts):
        if waiting and not (at_once and isinstance(part, ToolUse)):
            yield from waiting
            waiting = []
        yield from _opened(draw, at, part)
        closed = Closed(0, at)
        if at_once and isinstance(part, ToolUse):
            waiting.append(closed)
        else:
            yield closed
    yield from waiting
    yield Finished(0, choice.finish or "stop")
    if answer.usage is not None:
        yield UsageTold(answer.usage)
    yield Ended()


def _opened(draw: Draw, at: int, part: AnyPart) -> Iterator[Event]:
    match part:
        case ToolUse():
            yield Opened(0, at, ToolUse(id=part.id, name=part.name))
            yield from (Grew(0, at, piece) for piece in _pieces(draw, part.arguments))
        case Reasoning():
            yield Opened(0, at, Reasoning(summary=part.summary, id=part.id, origin=part.origin))
            yield from (Grew(0, at, piece) for piece in _pieces(draw, part.text))
            if part.seal:
                yield Sealed(0, at, part.seal)
        case Refused():
            yield Opened(0, at, Refused(text=""))
            yield from (Grew(0, at, piece) for piece in _pieces(draw, part.text))
        case Text():
            yield Opened(0, at, Text(text=""))
            yield from (Grew(0, at, piece) for piece in _pieces(draw, part.text))
            yield from (Cited(0, at, citation) for citation in part.citations)


def _pieces(draw: Draw, text: str) -> list[str]:
    places = sorted(draw(st.sets(st.integers(0, len(text)), max_size=3)))
    return [text[start:end] for start, end in zip([0, *places], [*places, len(text)], strict=True)]
