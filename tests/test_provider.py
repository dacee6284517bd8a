"""The fake provider against the official SDKs, without a gateway between: what they parse is the real wire format."""

from __future__ import annotations

import asyncio
import hashlib
import json
import socket
import ssl
from collections.abc import AsyncIterator
from typing import Any, Literal

import aiohttp
import anthropic
import openai
import pytest
import websockets
from google import genai
from google.genai import errors as genai_errors
from google.genai import types as genai_types

from tests.provider import (
    BAD_GATEWAY_PAGE,
    BROKEN_SSE,
    ENDLESS_LINE,
    OVERLOADED,
    RATE_LIMITED,
    UNAVAILABLE,
    Answer,
    FakeProvider,
    Stop,
    Tokens,
    ToolCall,
)

TEXT = "Hello from the fake provider."
PROMPT: Any = [{"role": "user", "content": "Say hello, café."}]
TOKENS = Tokens(input=100, output=40, cached=60, cache_write=10, reasoning=15)
TOOL = ToolCall("look_up", {"name": "{echo}", "depth": 2})
CHAT = {"model": "gpt-4o", "messages": PROMPT}
STREAM = {**CHAT, "stream": True}


@pytest.fixture
async def provider() -> AsyncIterator[FakeProvider]:
    async with FakeProvider() as fake:
        yield fake


@pytest.fixture
async def gpt(provider: FakeProvider) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(base_url=f"{provider.url}/v1", api_key="sk-test", max_retries=0) as client:
        yield client


@pytest.fixture
async def claude(provider: FakeProvider) -> AsyncIterator[anthropic.AsyncAnthropic]:
    async with anthropic.AsyncAnthropic(base_url=provider.url, api_key="sk-ant-test", max_retries=0) as client:
        yield client


@pytest.fixture
async def gemini(provider: FakeProvider) -> AsyncIterator[genai.client.AsyncClient]:
    options = genai_types.HttpOptions(base_url=provider.url)
    async with genai.Client(api_key="test", http_options=options, vertexai=False).aio as client:
        yield client


# --- OpenAI


async def test_chat_whole(provider: FakeProvider, gpt: openai.AsyncOpenAI) -> None:
    provider.script(Answer(tokens=TOKENS))
    reply = await gpt.chat.completions.create(model="gpt-4o", messages=PROMPT, n=2)
    assert [choice.message.content for choice in reply.choices] == [TEXT, TEXT]
    assert reply.usage
    assert reply.usage.prompt_tokens_details
    assert reply.usage.completion_tokens_details
    assert (reply.usage.prompt_tokens, reply.usage.prompt_tokens_details.cached_tokens) == (100, 60)
    assert (reply.usage.completion_tokens, reply.usage.completion_tokens_details.reasoning_tokens) == (40, 15)


@pytest.mark.parametrize("asked", [True, False])
async def test_chat_streamed(provider: FakeProvider, gpt: openai.AsyncOpenAI, asked: bool) -> None:
    extra: dict[str, Any] = {"stream_options": {"include_usage": True}} if asked else {}
    stream = await gpt.chat.completions.create(model="gpt-4o", messages=PROMPT, stream=True, **extra)
    chunks = [chunk async for chunk in stream]
    said = [choice.delta.content for chunk in chunks for choice in chunk.choices if choice.delta.content]
    assert said == ["Hello ", "from ", "the ", "fake ", "provider."]
    assert chunks[0].choices[0].delta.role == "assistant"
    assert [chunk.usage.total_tokens for chunk in chunks if chunk.usage] == ([18] if asked else [])
    assert [c.choices[0].finish_reason for c in chunks if c.choices and c.choices[0].finish_reason] == ["stop"]


async def test_chat_tools(provider: FakeProvider, gpt: openai.AsyncOpenAI) -> None:
    provider.default = Answer(tools=(TOOL,))
    wanted = {"name": "Say hello, café.", "depth": 2}
    reply = await gpt.chat.completions.create(model="gpt-4o", messages=PROMPT)
    whole = (reply.choices[0].message.tool_calls or [])[0]
    async with gpt.chat.completions.stream(model="gpt-4o", messages=PROMPT) as stream:
        final = await stream.get_final_completion()
    streamed = (final.choices[0].message.tool_calls or [])[0]
    assert whole.type == streamed.type == "function"
    assert json.loads(whole.function.arguments) == json.loads(streamed.function.arguments) == wanted
    assert final.choices[0].finish_reason == "tool_calls"


async def test_legacy_completions(provider: FakeProvider, gpt: openai.AsyncOpenAI) -> None:
    assert (await gpt.completions.create(model="m", prompt="Hi")).choices[0].text == TEXT
    stream = await gpt.completions.create(model="m", prompt="Hi", stream=True)
    assert "".join([chunk.choices[0].text async for chunk in stream]) == TEXT


async def test_responses_whole(provider: FakeProvider, gpt: openai.AsyncOpenAI) -> None:
    provider.script(Answer(thinking="Let me see.", tokens=TOKENS), Answer(tools=(TOOL,)))
    first = await gpt.responses.create(model="gpt-5", input="Hi")
    second = await gpt.responses.create(model="gpt-5", input=PROMPT)
    assert first.output_text == TEXT
    assert first.usage
    assert first.usage.output_tokens_details.reasoning_tokens == 15
    assert second.output[0].type == "function_call"
    assert json.loads(second.output[0].arguments)["name"] == "Say hello, café."


async def test_responses_streamed_says_its_text_five_times(provider: FakeProvider, gpt: openai.AsyncOpenAI) -> None:
    provider.script(Answer(thinking="Let me see."))
    stream = await gpt.responses.create(model="gpt-5", input="Hi", stream=True)
    events = [event async for event in stream]
    assert [event.sequence_number for event in events] == list(range(len(events)))
    by_type: dict[str, Any] = {event.type: event for event in events}
    deltas = "".join(event.delta for event in events if event.type == "response.output_text.delta")
    copies = [
        deltas,
        by_type["response.output_text.done"].text,
        by_type["response.content_part.done"].part.text,
        by_type["response.output_item.done"].item.content[0].text,
        by_type["response.completed"].response.output_text,
    ]
    assert copies == [TEXT] * 5


async def test_responses_stream_helper_accumulates_tools(provider: FakeProvider, gpt: openai.AsyncOpenAI) -> None:
    provider.script(Answer(tools=(TOOL,)))
    async with gpt.responses.stream(model="gpt-5", input="Hi") as stream:
        final = await stream.get_final_response()
    assert final.output[0].type == "function_call"
    assert json.loads(final.output[0].arguments)["name"] == "Hi"


async def test_structured_output(provider: FakeProvider, gpt: openai.AsyncOpenAI) -> None:
    schema = {"type": "object", "properties": {"hard": {"type": "boolean"}, "why": {"type": "string"}}}
    form: Any = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    reply = await gpt.chat.completions.create(model="m", messages=PROMPT, response_format=form)
    assert json.loads(reply.choices[0].message.content or "") == {"hard": False, "why": "fake"}


async def test_embeddings_and_models(provider: FakeProvider, gpt: openai.AsyncOpenAI) -> None:
    packed = await gpt.embeddings.create(model="text-embedding-3-small", input=["a", "b"])
    plain = await gpt.embeddings.create(model="text-embedding-3-small", input="a", encoding_format="float")
    assert packed.data[0].embedding == plain.data[0].embedding != packed.data[1].embedding
    assert "gpt-4o" in [model.id async for model in gpt.models.list()]
    assert (await gpt.models.retrieve("gpt-5")).id == "gpt-5"


async def test_openai_errors(provider: FakeProvider, gpt: openai.AsyncOpenAI) -> None:
    provider.script(RATE_LIMITED, UNAVAILABLE, BAD_GATEWAY_PAGE, Answer(error_after=2))
    with pytest.raises(openai.RateLimitError) as limited:
        await gpt.chat.completions.create(model="m", messages=PROMPT)
    assert limited.value.code == "rate_limit_exceeded"
    assert limited.value.response.headers["retry-after"] == "1"
    for status in (503, 502):
        with pytest.raises(openai.InternalServerError) as failed:
            await gpt.responses.create(model="m", input="Hi")
        assert failed.value.status_code == status
    stream = await gpt.chat.completions.create(model="m", messages=PROMPT, stream=True)
    with pytest.raises(openai.APIError, match="had an error"):
        [chunk async for chunk in stream]


# --- Anthropic


async def test_messages_whole(provider: FakeProvider, claude: anthropic.AsyncAnthropic) -> None:
    provider.script(Answer(thinking="Let me see.", tokens=TOKENS))
    reply = await claude.messages.create(model="claude-sonnet-4-5", max_tokens=9, messages=PROMPT)
    thought, text = reply.content
    assert thought.type == "thinking"
    assert thought.thinking == "Let me see."
    assert text.type == "text"
    assert text.text == TEXT
    counts = reply.usage
    assert (counts.input_tokens, counts.cache_read_input_tokens, counts.cache_creation_input_tokens) == (30, 60, 10)


async def test_messages_streamed(provider: FakeProvider, claude: anthropic.AsyncAnthropic) -> None:
    provider.script(Answer(thinking="Let me see.", tokens=TOKENS))
    async with claude.messages.stream(model="claude-sonnet-4-5", max_tokens=9, messages=PROMPT) as stream:
        final = await stream.get_final_message()
    thought, text = final.content
    assert thought.type == "thinking"
    assert thought.signature
    assert thought.thinking == "Let me see."
    assert text.type == "text"
    assert text.text == TEXT
    assert (final.stop_reason, final.usage.output_tokens, final.usage.input_tokens) == ("end_turn", 40, 30)


async def test_messages_streamed_on_the_wire(provider: FakeProvider) -> None:
    body = {"model": "claude-sonnet-4-5", "max_tokens": 9, "messages": PROMPT, "stream": True}
    async with aiohttp.ClientSession() as session, session.post(f"{provider.url}/v1/messages", json=body) as reply:
        text = await reply.text()
    names = [line.removeprefix("event: ") for line in text.splitlines() if line.startswith("event: ")]
    assert names[:3] == ["message_start", "content_block_start", "ping"]
    assert names[-3:] == ["content_block_stop", "message_delta", "message_stop"]


async def test_messages_tools(provider: FakeProvider, claude: anthropic.AsyncAnthropic) -> None:
    provider.default = Answer(tools=(TOOL,))
    async with claude.messages.stream(model="claude-sonnet-4-5", max_tokens=9, messages=PROMPT) as stream:
        streamed = await stream.get_final_message()
    whole = await claude.messages.create(model="claude-sonnet-4-5", max_tokens=9, messages=PROMPT)
    for reply in (streamed, whole):
        assert reply.stop_reason == "tool_use"
        assert reply.content[0].type == "tool_use"
        assert reply.content[0].input == {"name": "Say hello, café.", "depth": 2}


async def test_anthropic_counts_models_and_errors(provider: FakeProvider, claude: anthropic.AsyncAnthropic) -> None:
    assert (await claude.messages.count_tokens(model="claude-sonnet-4-5", messages=PROMPT)).input_tokens == 11
    assert "claude-sonnet-4-5" in [model.id async for model in claude.models.list()]
    provider.script(OVERLOADED, Answer(error_after=1))
    with pytest.raises(anthropic.APIStatusError) as overloaded:
        await claude.messages.create(model="m", max_tokens=9, messages=PROMPT)
    assert overloaded.value.status_code == 529
    with pytest.raises(anthropic.APIStatusError, match="Overloaded"):
        async with claude.messages.stream(model="m", max_tokens=9, messages=PROMPT) as stream:
            await stream.get_final_message()


# --- Gemini


async def test_gemini_whole(provider: FakeProvider, gemini: genai.client.AsyncClient) -> None:
    provider.script(Answer(thinking="Let me see.", tokens=TOKENS), Answer(tools=(TOOL,)))
    reply = await gemini.models.generate_content(model="gemini-2.5-pro", contents="Hi")
    assert reply.text == TEXT
    assert reply.usage_metadata
    counts = reply.usage_metadata
    assert (counts.prompt_token_count, counts.cached_content_token_count) == (100, 60)
    assert (counts.candidates_token_count, counts.thoughts_token_count) == (25, 15)
    called = (await gemini.models.generate_content(model="gemini-2.5-pro", contents="Hi")).function_calls
    assert called
    assert called[0].args == {"name": "Hi", "depth": 2}


async def test_gemini_streamed(provider: FakeProvider, gemini: genai.client.AsyncClient) -> None:
    provider.script(Answer(thinking="Let me see."), Answer(tools=(TOOL,)))
    chunks = [c async for c in await gemini.models.generate_content_stream(model="gemini-2.5-pro", contents="Hi")]
    assert "".join(chunk.text or "" for chunk in chunks) == TEXT
    assert chunks[-1].candidates
    assert chunks[-1].candidates[0].finish_reason == genai_types.FinishReason.STOP
    tools = [c async for c in await gemini.models.generate_content_stream(model="gemini-2.5-pro", contents="Hi")]
    assert tools[-1].function_calls
    assert tools[-1].function_calls[0].name == "look_up"


async def test_gemini_array_is_json_whose_members_come_one_by_one(provider: FakeProvider) -> None:
    url = f"{provider.url}/v1beta/models/gemini-2.5-pro:streamGenerateContent"
    asked = {"contents": [{"parts": [{"text": "Hi"}]}]}
    async with aiohttp.ClientSession() as session, session.post(url, json=asked) as reply:
        members = json.loads(await reply.read())
    assert "".join(m["candidates"][0]["content"]["parts"][0]["text"] for m in members) == TEXT
    assert len(provider.seen[0].parts) == len(members) + 1


async def test_gemini_envelope(provider: FakeProvider) -> None:
    provider.default = Answer(echo=True)
    body = {"model": "gemini-2.5-pro", "request": {"contents": [{"parts": [{"text": "say this"}]}]}}
    async with aiohttp.ClientSession() as session:
        async with session.post(f"{provider.url}/v1internal:generateContent", json=body) as reply:
            whole = await reply.json()
        async with session.post(f"{provider.url}/v1internal:streamGenerateContent?alt=sse", json=body) as reply:
            stream = await reply.text()
    assert whole["response"]["candidates"][0]["content"]["parts"] == [{"text": "say this"}]
    assert [json.loads(line[6:])["response"]["modelVersion"] for line in stream.split("\r\n\r\n") if line] == [
        "gemini-2.5-pro"
    ] * 2


async def test_gemini_others_and_errors(provider: FakeProvider, gemini: genai.client.AsyncClient) -> None:
    assert (await gemini.models.count_tokens(model="gemini-2.5-pro", contents="Hi")).total_tokens == 11
    embedded = await gemini.models.embed_content(model="gemini-embedding-001", contents=["a", "b"])
    assert embedded.embeddings
    assert len(embedded.embeddings) == 2
    assert "models/gemini-2.5-pro" in [model.name async for model in await gemini.models.list()]
    provider.script(Answer(status=429))
    with pytest.raises(genai_errors.ClientError) as limited:
        await gemini.models.generate_content(model="gemini-2.5-pro", contents="Hi")
    assert (limited.value.code, limited.value.status) == (429, "RESOURCE_EXHAUSTED")


# --- Bad input and other paths


async def test_a_call_that_is_no_json_gets_the_dialects_400(provider: FakeProvider) -> None:
    async with aiohttp.ClientSession() as session:
        for path in ("/v1/chat/completions", "/v1/messages", "/v1beta/models/m:generateContent"):
            async with session.post(provider.url + path, data=b"{no") as reply:
                assert reply.status == 400
                assert (await reply.json())["error"]
        async with session.post(f"{provider.url}/v1/responses", json={"input": "no model"}) as reply:
            assert reply.status == 400


async def test_any_other_path_is_echoed_and_recorded_as_it_came(provider: FakeProvider) -> None:
    head = b"PUT /x%2Fy?a=1&b HTTP/1.1\r\nHost: Fake\r\nX-Two: 1\r\nx-ONE:  2 \r\nX-Two: 3\r\ncontent-length: 3\r\n\r\n"
    reader, writer = await asyncio.open_connection(provider.host, provider.port)
    writer.write(head + b"abc" + b"GET /again HTTP/1.1\r\nHost: Fake\r\nConnection: close\r\n\r\n")
    both = await reader.read()
    writer.close()
    first, second = provider.seen
    assert (first.method, first.target, first.body) == ("PUT", "/x%2Fy?a=1&b", b"abc")
    assert first.headers[1:4] == [("X-Two", "1"), ("x-ONE", "2"), ("X-Two", "3")]
    assert (second.path, second.connection) == ("/again", first.connection)
    assert hashlib.sha256(b"abc").hexdigest().encode() in both


# --- Faults


async def fetch(fake: FakeProvider, body: Any = STREAM) -> bytes:
    url = f"{fake.url}/v1/chat/completions"
    async with aiohttp.ClientSession() as session, session.post(url, json=body) as reply:
        return await reply.read()


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "zstd"])
async def test_encoded_replies(provider: FakeProvider, encoding: Any) -> None:
    provider.default = Answer(encoding=encoding)
    assert json.loads(await fetch(provider, CHAT))["choices"][0]["message"]["content"] == TEXT
    assert (await fetch(provider)).endswith(b"data: [DONE]\n\n")


async def test_encoded_calls_are_understood(provider: FakeProvider) -> None:
    import zstandard

    packed = zstandard.ZstdCompressor().compress(json.dumps(CHAT).encode())
    async with aiohttp.ClientSession() as session:
        url = f"{provider.url}/v1/chat/completions"
        async with session.post(url, data=packed, headers={"Content-Encoding": "zstd"}) as reply:
            assert reply.status == 200
    assert provider.seen[0].json() == CHAT
    assert provider.seen[0].body == packed


@pytest.mark.parametrize(
    "stop",
    [
        Stop("fin", after="call"),
        Stop("rst", after="call"),
        Stop("fin", after="head"),
        Stop("rst", after="parts", count=2),
        Stop("fin", after="bytes", count=100),
    ],
    ids=str,
)
async def test_cut_connections(provider: FakeProvider, stop: Stop) -> None:
    provider.script(Answer(stop=stop))
    with pytest.raises(aiohttp.ClientError):
        await fetch(provider)


@pytest.mark.parametrize("off", [-5, 5])
async def test_wrong_content_length(provider: FakeProvider, off: int) -> None:
    provider.script(Answer(body=b'{"a": "0123456789"}', length_off=off))
    with pytest.raises(aiohttp.ClientPayloadError if off > 0 else aiohttp.ClientResponseError):
        await fetch(provider)
    assert await fetch(provider)


@pytest.mark.parametrize(
    "stop", [Stop("hang", after="call"), Stop("hang", after="head"), Stop("hang", after="parts", count=2)], ids=str
)
async def test_a_hanging_reply_ends_when_the_client_leaves(provider: FakeProvider, stop: Stop) -> None:
    provider.script(Answer(stop=stop))
    task = asyncio.create_task(fetch(provider))
    seen = (await provider.wait_seen())[0]
    await asyncio.sleep(0.05)
    assert not task.done()
    assert not seen.closed_early
    task.cancel()
    assert await asyncio.wait_for(seen.left, 5) >= seen.at
    assert not seen.done.done()


async def test_parts_wait_at_the_gate(provider: FakeProvider, gpt: openai.AsyncOpenAI) -> None:
    gate = asyncio.Semaphore(1)
    provider.script(Answer(gate=gate))
    stream = await gpt.chat.completions.create(model="m", messages=PROMPT, stream=True)
    count = 0
    async for _ in stream:
        count += 1
        assert len(provider.seen[0].parts) <= count
        gate.release()
    assert count == 7
    assert await asyncio.wait_for(provider.seen[0].done, 20)


@pytest.mark.parametrize("name", BROKEN_SSE)
async def test_broken_streams_are_broken(provider: FakeProvider, name: str) -> None:
    provider.script(BROKEN_SSE[name])
    body = await fetch(provider)
    extra = next(iter(BROKEN_SSE[name].inject.values()))
    assert extra in body
    assert body.startswith(b"data: {")


async def test_a_line_that_never_ends(provider: FakeProvider) -> None:
    provider.script(ENDLESS_LINE)
    url = f"{provider.url}/v1/chat/completions"
    async with aiohttp.ClientSession() as session, session.post(url, json=STREAM) as reply:
        assert len(await reply.content.readexactly(20_000)) == 20_000
    assert await asyncio.wait_for(provider.seen[0].left, 20)


async def test_streams_without_usage_and_without_an_end(provider: FakeProvider) -> None:
    provider.script(Answer(tokens=None, ending=False), Answer(tokens=None))
    body = await fetch(provider, {**STREAM, "stream_options": {"include_usage": True}})
    assert b"usage" not in body
    assert b"[DONE]" not in body
    assert b"usage" not in await fetch(provider, CHAT)


async def test_byte_by_byte_and_five_megabytes(provider: FakeProvider) -> None:
    provider.script(Answer(drip=1), Answer(text="x" * 5_000_000), Answer(text="x" * 5_000_000, pieces=100_000))
    assert (await fetch(provider)).endswith(b"data: [DONE]\n\n")
    assert len(json.loads(await fetch(provider, CHAT))["choices"][0]["message"]["content"]) == 5_000_000
    assert len(await fetch(provider)) > 5_000_000


async def test_a_slow_reader_stops_the_provider() -> None:
    async with FakeProvider(send_buffer=65536) as fake:
        fake.script(Answer(text="x" * 50_000_000, pieces=100_000))
        url = f"{fake.url}/v1/chat/completions"
        async with aiohttp.ClientSession() as session, session.post(url, json=STREAM) as reply:
            await reply.content.readany()
            await asyncio.sleep(0.3)
            assert fake.seen[0].sent < 40_000_000


async def test_refusing_and_turning_away(provider: FakeProvider) -> None:
    with provider.refusing(), pytest.raises(aiohttp.ClientConnectorError):
        await fetch(provider)
    assert await fetch(provider)
    turns: tuple[Literal["fin", "rst"], ...] = ("fin", "rst")
    for how in turns:
        provider.accepting = how
        with pytest.raises(aiohttp.ClientError):
            await fetch(provider)
    provider.accepting = "hang"
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(fetch(provider), 0.2)
    provider.accepting = "serve"
    assert await fetch(provider)


async def test_a_rule_decides_by_call(provider: FakeProvider) -> None:
    provider.rule = lambda seen: Answer(status=503) if seen.json()["model"] == "bad" else None
    assert b"overloaded" in await fetch(provider, {**CHAT, "model": "bad"})
    assert TEXT.encode() in await fetch(provider, CHAT)


# --- TLS and WebSocket


async def test_tls_for_any_name() -> None:
    async with FakeProvider(tls=True) as fake:
        context = ssl.create_default_context(cafile=str(fake.ca_file))
        async with aiohttp.ClientSession(connector=_to_loopback(fake, context)) as session:
            for name in ("api.openai.com", "eu.api.example.org"):
                async with session.get(f"https://{name}:{fake.port}/v1/models") as reply:
                    assert reply.status == 200
            async with session.get(f"{fake.url}/v1/models") as reply:
                assert reply.status == 200
        assert [seen.sni for seen in fake.seen] == ["api.openai.com", "eu.api.example.org", ""]
        async with aiohttp.ClientSession() as stranger:
            with pytest.raises(aiohttp.ClientConnectorCertificateError):
                await stranger.get(fake.url)


def _to_loopback(fake: FakeProvider, context: ssl.SSLContext) -> aiohttp.TCPConnector:
    class Loopback(aiohttp.abc.AbstractResolver):
        async def resolve(self, host: str, port: int = 0, family: Any = 0) -> list[Any]:
            found = {"hostname": host, "host": fake.host, "port": port, "family": socket.AF_INET}
            return [{**found, "proto": 0, "flags": 0}]

        async def close(self) -> None:
            return None

    return aiohttp.TCPConnector(resolver=Loopback(), ssl=context)


async def test_websocket_echo_and_refusal(provider: FakeProvider) -> None:
    url = provider.url.replace("http", "ws") + "/v1/responses"
    async with websockets.connect(url) as client:
        await client.send("hello")
        await client.send(b"\x00" * 200_000)
        assert await client.recv() == "hello"
        assert await client.recv() == b"\x00" * 200_000
    assert provider.seen[0].messages[0] == "hello"
    provider.script(Answer(status=426))
    with pytest.raises(websockets.InvalidStatus):
        await websockets.connect(url)
