"""Counting tokens: any of the three APIs in front of any target, and our own count where the target has none."""

# ruff: noqa: E501 - tables read best with one case a line

from __future__ import annotations

import asyncio
import copy
import math
from typing import Any

import pytest
from aiohttp import web
from anthropic import AsyncAnthropic
from anthropic.types import MessageCountTokensParams, MessageTokensCount
from google.genai import Client
from google.genai.types import CountTokensResponse, HttpOptions
from hypothesis import given
from hypothesis import strategies as st
from openai import AsyncOpenAI
from openai.types.responses import InputTokenCountParams
from openai.types.responses.input_token_count_response import InputTokenCountResponse
from pydantic import TypeAdapter

from shin_gateway import tokens
from shin_gateway.errors import Invalid, Refusal, UpstreamFailed
from shin_gateway.translation import counting
from shin_gateway.translation.counting import Counted, count_here, counts, read_reply, texts, write_reply
from shin_gateway.translation.dialects import translator
from shin_gateway.translation.form import (
    Builtin,
    BuiltinTool,
    Chat,
    Media,
    Message,
    OutputFormat,
    Reasoning,
    Text,
    Tool,
    ToolResult,
    ToolUse,
)
from shin_gateway.translation.losses import Losses
from shin_gateway.translation.translator import Traits

DIALECTS = ("anthropic.messages", "openai.responses", "gemini.generate")
PATHS = {
    "anthropic.messages": "/v1/messages/count_tokens",
    "openai.responses": "/v1/responses/input_tokens",
    "gemini.generate": "/v1beta/models/gemini-2.5-pro:countTokens",
}
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
CALLS: dict[str, dict[str, Any]] = {
    "anthropic.messages": {
        "model": "m",
        "system": "Be brief.",
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": "Weather in Oslo?"}]},
            {"role": "assistant", "content": [{"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {"city": "Oslo"}}]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "toolu_1", "content": "rain"}]},
        ],
        "tools": [{"name": "weather", "description": "Says the weather", "input_schema": SCHEMA}],
    },
    "openai.responses": {
        "model": "m",
        "instructions": "Be brief.",
        "input": [
            {"role": "user", "content": "Weather in Oslo?"},
            {"type": "function_call", "call_id": "call_1", "name": "weather", "arguments": '{"city":"Oslo"}'},
            {"type": "function_call_output", "call_id": "call_1", "output": "rain"},
        ],
        "tools": [{"type": "function", "name": "weather", "description": "Says the weather", "parameters": SCHEMA, "strict": None}],
    },
    "gemini.generate": {
        "generateContentRequest": {
            "model": "models/gemini-2.5-pro",
            "systemInstruction": {"parts": [{"text": "Be brief."}]},
            "contents": [
                {"role": "user", "parts": [{"text": "Weather in Oslo?"}]},
                {"role": "model", "parts": [{"functionCall": {"name": "weather", "args": {"city": "Oslo"}}}]},
                {"role": "user", "parts": [{"functionResponse": {"name": "weather", "response": {"result": "rain"}}}]},
            ],
            "tools": [{"functionDeclarations": [{"name": "weather", "description": "Says the weather", "parameters": SCHEMA}]}],
        }
    },
}  # fmt: skip


def read(dialect: str, body: dict[str, Any], path: str = "") -> Chat:
    return counting.read_call(translator(dialect), body, path or PATHS[dialect], Losses())


def write(dialect: str, chat: Chat, **words: str) -> tuple[str, dict[str, Any]]:
    return counting.write_call(translator(dialect), chat, Traits(model=chat.model, words=words), Losses())


# ── calls ───────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_count_is_read_as_the_chat_that_it_is_about(dialect: str) -> None:
    before = copy.deepcopy(CALLS[dialect])
    chat = read(dialect, CALLS[dialect])
    assert CALLS[dialect] == before
    assert (chat.max_tokens, chat.stream) == (None, False)
    assert chat.model == ("gemini-2.5-pro" if dialect == "gemini.generate" else "m")
    for text in ("Be brief.", "Weather in Oslo?", "weather", "Says the weather"):
        assert text in texts(chat)
    assert any("rain" in text for text in texts(chat))
    assert any('"city"' in text for text in texts(chat))


@pytest.mark.parametrize("client", DIALECTS)
@pytest.mark.parametrize("target", DIALECTS)
def test_every_count_can_be_asked_of_every_provider(client: str, target: str) -> None:
    chat = read(client, CALLS[client])
    chat.model = "the-model"
    path, body = write(target, chat)
    assert path.replace("gemini-2.5-pro", "the-model") == PATHS[target].replace("gemini-2.5-pro", "the-model")
    again = read(target, body, path)
    assert again.model == "the-model"
    assert [message.role for message in again.messages if message.role not in ("system", "developer")] == [
        "user",
        "assistant",
        "user",
    ]
    for text in ("Be brief.", "Weather in Oslo?", "weather", "Says the weather"):
        assert text in texts(again)


ADAPTERS: dict[str, TypeAdapter[Any]] = {
    "anthropic.messages": TypeAdapter(MessageCountTokensParams),
    "openai.responses": TypeAdapter(InputTokenCountParams),
}


@pytest.mark.parametrize("client", DIALECTS)
@pytest.mark.parametrize("target", ADAPTERS)
def test_official_types_take_the_call(client: str, target: str) -> None:
    chat = read(client, CALLS[client])
    chat.model = "claude-sonnet-4-5" if target == "anthropic.messages" else "gpt-5"
    chat.temperature, chat.stop, chat.max_tokens = 0.5, ["x"], 100
    _, body = write(target, chat)
    ADAPTERS[target].validate_python(body)
    assert set(body) <= {
        "model",
        "messages",
        "system",
        "tools",
        "tool_choice",
        "thinking",
        "input",
        "instructions",
        "reasoning",
        "text",
        "parallel_tool_calls",
    }


def test_geminis_two_ways_to_ask() -> None:
    chat = read("anthropic.messages", CALLS["anthropic.messages"])
    path, body = write("gemini.generate", chat)
    assert path.endswith("/models/m:countTokens")
    assert set(body) == {"generateContentRequest"}
    assert body["generateContentRequest"]["model"] == "models/m"
    _, flat = write("gemini.generate", chat, count="flat")
    assert set(flat) <= {"contents", "systemInstruction", "tools", "generationConfig"}
    assert flat["contents"] == body["generateContentRequest"]["contents"]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (PATHS["gemini.generate"], {"contents": [{"parts": [{"text": "hello"}]}]}),
        (PATHS["gemini.generate"], {"generate_content_request": {"contents": [{"parts": [{"text": "hello"}]}]}}),
        ("/v1/projects/p/locations/l/publishers/google/models/gemini-2.5-pro:countTokens", {"contents": [{"role": "user", "parts": [{"text": "hello"}]}]}),
        ("/v1internal:countTokens", {"request": {"model": "models/gemini-2.5-pro", "contents": [{"parts": [{"text": "hello"}]}]}}),
        (f"{PATHS['gemini.generate']}?key=k", {"contents": [{"parts": [{"text": "hello"}]}]}),
    ],
)  # fmt: skip
def test_forms_of_geminis_call(path: str, body: dict[str, Any]) -> None:
    chat = read("gemini.generate", body, path)
    assert (chat.model, texts(chat)) == ("gemini-2.5-pro", ["hello"])


@pytest.mark.parametrize(
    ("dialect", "body", "field"),
    [
        ("anthropic.messages", {"model": "m", "messages": 5}, "messages"), ("anthropic.messages", {"model": "m", "messages": [{"role": "user", "content": [5]}]}, "messages[0].content[0]"),
        ("openai.responses", {"model": "m", "input": 5}, "input"), ("gemini.generate", {"generateContentRequest": 5}, "generateContentRequest"), ("gemini.generate", {"contents": 5}, "contents"),
        ("gemini.generate", {"generateContentRequest": {"contents": [{"parts": [{"text": 5}]}]}}, "generateContentRequest.contents[0].parts[0].text"),
    ],
)  # fmt: skip
def test_bad_calls_name_the_field(dialect: str, body: dict[str, Any], field: str) -> None:
    with pytest.raises(Invalid) as error:
        read(dialect, body)
    assert error.value.param == field
    assert error.value.message.startswith(field)


@pytest.mark.parametrize("dialect", ["openai.chat", "openai.completions"])
def test_who_has_no_way_to_count(dialect: str) -> None:
    assert not counts(dialect)
    assert all(counts(one) for one in DIALECTS)


# ── replies ─────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("dialect", "body", "counted"),
    [
        ("anthropic.messages", {"input_tokens": 14}, Counted(14)),
        ("anthropic.messages", {"input_tokens": 14, "context_management": {"original_input_tokens": 20}}, Counted(14)),
        ("openai.responses", {"object": "response.input_tokens", "input_tokens": 0}, Counted(0)),
        ("gemini.generate", {"totalTokens": 31, "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 30}, {"modality": "IMAGE", "tokenCount": 1}]}, Counted(31, None, {"TEXT": 30, "IMAGE": 1})),
        ("gemini.generate", {"totalTokens": 31, "cachedContentTokenCount": 5, "totalBillableCharacters": 9}, Counted(31, 5)),
        ("gemini.generate", {"totalTokens": 31, "promptTokensDetails": [None, 5, {"modality": 5}, {"modality": "TEXT"}]}, Counted(31)),
    ],
)  # fmt: skip
def test_replies(dialect: str, body: dict[str, Any], counted: Counted) -> None:
    assert read_reply(dialect, body) == counted


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("value", [None, "5", True, -1, [], {}, math.inf, math.nan, 10**400])
def test_what_is_no_count(dialect: str, value: object) -> None:
    bodies: list[Any] = [value, {"input_tokens": value, "totalTokens": value}, {"error": {"message": "x"}}]
    for body in bodies:
        with pytest.raises(UpstreamFailed):
            read_reply(dialect, body)


def test_official_types_take_the_reply() -> None:
    counted = Counted(31, 5, {"TEXT": 30, "IMAGE": 1})
    assert MessageTokensCount.model_validate(write_reply("anthropic.messages", counted), strict=True).input_tokens == 31
    assert (
        InputTokenCountResponse.model_validate(write_reply("openai.responses", counted), strict=True).input_tokens == 31
    )
    written = write_reply("gemini.generate", counted)
    assert written == {
        "totalTokens": 31,
        "cachedContentTokenCount": 5,
        "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 30}, {"modality": "IMAGE", "tokenCount": 1}],
    }
    del written["promptTokensDetails"]  # the client picks what it knows, its type refuses the rest
    assert CountTokensResponse.model_validate(written).total_tokens == 31
    assert write_reply("gemini.generate", Counted(3)) == {"totalTokens": 3}


async def test_the_official_clients_count() -> None:
    async def answer(ask: web.Request) -> web.Response:
        dialect = next(one for one in DIALECTS if ask.path.endswith(PATHS[one][-12:]))
        chat = read(dialect, await ask.json(), ask.path)
        return web.json_response(write_reply(dialect, await count_here(chat)))

    app = web.Application()
    app.router.add_post("/{path:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        async with AsyncAnthropic(base_url=url, api_key="k") as anthropic:
            asked = {"model": "gpt-4o", "messages": [{"role": "user", "content": "hello world"}]}
            assert (await anthropic.messages.count_tokens(**asked)).input_tokens == 2  # type: ignore[arg-type]
        async with AsyncOpenAI(base_url=f"{url}/v1", api_key="k") as openai:
            assert (await openai.responses.input_tokens.count(model="gpt-4o", input="hello world")).input_tokens == 2
        gemini = Client(api_key="k", http_options=HttpOptions(base_url=url)).aio
        reply = await gemini.models.count_tokens(model="gemini-2.5-pro", contents="hello world")
        assert reply.total_tokens == 3
        await gemini.aclose()
    finally:
        await runner.cleanup()


@given(st.integers(0, 10**12), st.sampled_from(DIALECTS))
def test_a_count_there_and_back(number: int, dialect: str) -> None:
    assert read_reply(dialect, write_reply(dialect, Counted(number))).tokens == number


# ── our own count ───────────────────────────────────────────────────────────────────────────────


def test_the_texts_of_a_chat() -> None:
    parts = [
        Text(text="a"), Reasoning(text="b", seal="SEAL"), ToolUse(id="ID", name="c", arguments="d"), Media(kind="image", data="DATA"), Media(kind="document", text="e"),
        ToolResult(id="ID", parts=[Text(text="f"), Media(kind="image", url="URL")]), Builtin(kind="web_search", raw=[{"x": "RAW"}], text="g"), Text(text=""),
    ]  # fmt: skip
    chat = Chat(
        messages=[Message(role="system", parts=[Text(text="h")]), Message(role="user", parts=parts)],
        tools=[Tool(name="i", description="j", schema={"k": 1}), Tool(name="l", custom=True, format={"m": 2})],
        builtin_tools=[BuiltinTool(kind="x", raw={"n": 3}, origin="o")],
        output=OutputFormat(kind="schema", schema={"o": 4}),
    )
    assert texts(chat) == [
        "h",
        "a",
        "b",
        "c",
        "d",
        "e",
        "f",
        "g",
        "i",
        "j",
        '{"k":1}',
        "l",
        '{"m":2}',
        '{"n":3}',
        '{"o":4}',
    ]
    assert texts(Chat()) == []


async def test_our_own_count() -> None:
    chat = Chat(model="gpt-4o", messages=[Message(role="user", parts=[Text(text="hello world")])])
    assert await count_here(chat) == Counted(2, modalities={"TEXT": 2})
    chat.model = "claude-sonnet-4-5"
    assert (await count_here(chat)).tokens == 3
    assert (await count_here(Chat())).tokens == 0


async def test_a_long_history_does_not_hold_the_loop() -> None:
    await tokens.count(["warm"], "gpt-4o")
    chat = Chat(
        model="gpt-4o",
        messages=[Message(role="user", parts=[Text(text=f"{at} green bottles " * 50)]) for at in range(1000)],
    )
    counting_it = asyncio.ensure_future(count_here(chat))
    ticks = 0
    while not counting_it.done():
        await asyncio.sleep(0.001)
        ticks += 1
    assert counting_it.result().tokens > 100_000
    assert ticks > 5


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["model", "messages", "role", "content", "input", "contents", "parts", "text", "generateContentRequest", "request", "tools", "system", "totalTokens", "promptTokensDetails", "input_tokens"]), inner, max_size=4),
    max_leaves=12,
)  # fmt: skip


@given(
    st.dictionaries(
        st.sampled_from(["model", "messages", "input", "contents", "generateContentRequest", "tools"]),
        _JSON,
        max_size=4,
    ),
    st.sampled_from(DIALECTS),
)
def test_nothing_breaks_the_readers(body: dict[str, Any], dialect: str) -> None:
    try:
        texts(read(dialect, body))
    except Refusal as error:
        assert error.status == 400  # noqa: PT017 - the only one that is right
    try:
        read_reply(dialect, body)
    except UpstreamFailed:
        pass
