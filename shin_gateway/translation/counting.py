"""Counting a call's tokens: three APIs that do it, and our own count for targets that have none.

- Anthropic, `POST /v1/messages/count_tokens` (platform.claude.com/docs/en/api/messages/count_tokens)
- Gemini, `models/M:countTokens` (ai.google.dev/api/tokens); Vertex puts the call's fields at the top
- OpenAI, `POST /v1/responses/input_tokens` (developers.openai.com/api/reference/resources/responses)

What is counted is a chat, so the dialects' translators read and write the calls; here is what differs from a chat's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import msgspec

from shin_gateway import tokens
from shin_gateway.dialects.numbers import count
from shin_gateway.errors import Invalid, UpstreamFailed
from shin_gateway.translation.form import (
    AnyPart,
    Builtin,
    Chat,
    Json,
    Media,
    Reasoning,
    Refused,
    Text,
    Tool,
    ToolResult,
    ToolUse,
)
from shin_gateway.translation.losses import Losses
from shin_gateway.translation.translator import Traits, Translator


class Counted(NamedTuple):
    tokens: int
    """All of the input."""
    cached: int | None = None
    """Those of Gemini's cached content."""
    modalities: Mapping[str, int] | None = None
    """As Gemini has them: `TEXT`, `IMAGE`, `VIDEO`, `AUDIO`, `DOCUMENT`; None where nobody said."""


def counts(dialect: str) -> bool:
    """Whether the API of this dialect has a way to count."""
    return dialect in _FORMS


# ── calls ───────────────────────────────────────────────────────────────────────────────────────


def read_call(translator: Translator, body: Json, path: str, losses: Losses) -> Chat:
    """The chat that a call to the counting API of the translator's dialect is about. Raises Invalid, which names the
    field, and KeyError for a dialect that has no such API."""
    chat = _FORMS[translator.name].read(translator, body, path.partition("?")[0], losses)
    chat.max_tokens, chat.stream = None, False
    return chat


def write_call(translator: Translator, chat: Chat, traits: Traits, losses: Losses) -> tuple[str, Json]:
    """Path and body for a target whose API can count. `chat.model` is the target's name; `traits.words` may say
    `count: flat` where Gemini's call is Vertex', and `count: no` where a server has no such API: then nobody is asked.
    Raises Invalid, and KeyError for a dialect that has no such API."""
    chat.stream = False
    form = _FORMS[translator.name]
    body = translator.write_call(chat, traits, losses)
    return form.path(translator.path(chat).partition("?")[0]), form.write(body, chat, traits)


class _Form(NamedTuple):
    """One API: how its calls differ from the dialect's chats, and its replies."""

    read: Callable[[Translator, Json, str, Losses], Chat]
    write: Callable[[Json, Chat, Traits], Json]
    path: Callable[[str], str]
    read_reply: Callable[[Json], Counted | None]
    write_reply: Callable[[Counted], Json]


_ANTHROPIC = frozenset(
    ["model", "messages", "system", "tools", "tool_choice", "thinking", "output_config", "cache_control",
     "context_management", "mcp_servers", "speed"]
)  # fmt: skip
_RESPONSES = frozenset(
    ["model", "input", "instructions", "tools", "tool_choice", "parallel_tool_calls", "reasoning", "text",
     "truncation", "previous_response_id", "conversation", "personality"]
)  # fmt: skip
_VERTEX = frozenset(["contents", "systemInstruction", "tools", "generationConfig"])
"""What the counting APIs take of a chat's fields. The others make no difference to its input."""


def _read_anthropic(translator: Translator, body: Json, path: str, losses: Losses) -> Chat:
    # A chat must say `max_tokens`, a count must not.
    return translator.read_call({**body, "max_tokens": 1}, path.removesuffix("/count_tokens"), losses)


def _read_responses(translator: Translator, body: Json, path: str, losses: Losses) -> Chat:
    return translator.read_call(body, path.removesuffix("/input_tokens"), losses)


def _read_gemini(translator: Translator, body: Json, path: str, losses: Losses) -> Chat:
    path = f"{path.removesuffix(':countTokens')}:generateContent"
    name = next((name for name in ("generateContentRequest", "generate_content_request") if body.get(name)), "")
    if not name:
        return translator.read_call(body, path, losses)
    inner = body[name]
    if not isinstance(inner, dict):
        raise Invalid(f"{name}: must be an object.", param=name)
    try:
        return translator.read_call(inner, path, losses)
    except Invalid as error:
        if error.param and error.message.startswith(error.param):
            raise Invalid(f"{name}.{error.message}", code=error.code, param=f"{name}.{error.param}") from None
        raise


def _write_gemini(body: Json, chat: Chat, traits: Traits) -> Json:
    if traits.words.get("count") == "flat":
        return _only(body, _VERTEX)
    model = chat.model if "/" in chat.model else f"models/{chat.model}"
    return {"generateContentRequest": {"model": model, **body}}


def _only(body: Json, names: frozenset[str]) -> Json:
    return {name: value for name, value in body.items() if name in names}


# ── replies ─────────────────────────────────────────────────────────────────────────────────────


def read_reply(dialect: str, body: Any) -> Counted:
    """Raises UpstreamFailed for what is no count."""
    found = _FORMS[dialect].read_reply(body) if isinstance(body, dict) else None
    if found is None:
        raise UpstreamFailed("The provider's count of tokens is malformed.", code="upstream_malformed")
    return found


def write_reply(dialect: str, counted: Counted) -> Json:
    """The count as the client's API gives it."""
    return _FORMS[dialect].write_reply(counted)


def _read_input_tokens(body: Json) -> Counted | None:
    found = count(body, "input_tokens")
    return None if found is None else Counted(found)


def _read_gemini_reply(body: Json) -> Counted | None:
    found = count(body, "totalTokens", "total_tokens")
    if found is None:
        return None
    details = body.get("promptTokensDetails")
    rows = [row for row in details if isinstance(row, dict)] if isinstance(details, list) else []
    told = [(row.get("modality"), count(row, "tokenCount")) for row in rows]
    modalities = {name: size for name, size in told if isinstance(name, str) and size is not None}
    return Counted(found, count(body, "cachedContentTokenCount"), modalities or None)


def _write_gemini_reply(counted: Counted) -> Json:
    body: Json = {"totalTokens": counted.tokens}
    if counted.cached is not None:
        body["cachedContentTokenCount"] = counted.cached
    if counted.modalities:
        rows = [{"modality": name, "tokenCount": size} for name, size in counted.modalities.items()]
        body["promptTokensDetails"] = rows
    return body


_FORMS: dict[str, _Form] = {
    "anthropic.messages": _Form(
        read=_read_anthropic,
        write=lambda body, chat, traits: _only(body, _ANTHROPIC),
        path=lambda path: f"{path}/count_tokens",
        read_reply=_read_input_tokens,
        write_reply=lambda counted: {"input_tokens": counted.tokens},
    ),
    "openai.responses": _Form(
        read=_read_responses,
        write=lambda body, chat, traits: _only(body, _RESPONSES),
        path=lambda path: f"{path}/input_tokens",
        read_reply=_read_input_tokens,
        write_reply=lambda counted: {"object": "response.input_tokens", "input_tokens": counted.tokens},
    ),
    "gemini.generate": _Form(
        read=_read_gemini,
        write=_write_gemini,
        path=lambda path: f"{path.rpartition(':')[0]}:countTokens",
        read_reply=_read_gemini_reply,
        write_reply=_write_gemini_reply,
    ),
}


# ── our own count ───────────────────────────────────────────────────────────────────────────────


async def count_here(chat: Chat) -> Counted:
    """An estimate for `chat.model`, of its texts and tools; images and the like are not counted. Long texts do not
    hold the event loop."""
    found = await tokens.count(texts(chat), chat.model)
    return Counted(found, modalities={"TEXT": found})


def texts(chat: Chat) -> list[str]:
    """All that a model reads as text."""
    found = [text for message in chat.messages for part in message.parts for text in _texts_of(part)]
    found += [text for tool in chat.tools for text in _texts_of_tool(tool)]
    found += [_json(tool.raw) for tool in chat.builtin_tools]
    if chat.output is not None and chat.output.schema is not None:
        found.append(_json(chat.output.schema))
    return [text for text in found if text]


def _texts_of(part: AnyPart) -> Iterator[str]:
    match part:
        case Text() | Refused() | Reasoning() | Builtin() | Media():
            yield part.text
        case ToolUse():
            yield part.name
            yield part.arguments
        case ToolResult():
            for inner in part.parts:
                yield inner.text


def _texts_of_tool(tool: Tool) -> Iterator[str]:
    yield tool.name
    yield tool.description
    for value in (tool.schema, tool.format):
        if value is not None:
            yield _json(value)


def _json(value: Json) -> str:
    try:
        return msgspec.json.encode(value).decode()
    except (msgspec.MsgspecError, TypeError, ValueError, RecursionError, OverflowError):
        return ""
